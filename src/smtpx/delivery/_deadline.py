"""When the time for a message is over, whatever it is that takes so long (`Timeouts.total`)."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import Protocol

from smtpx.errors import TimedOut

__all__ = ["NEVER", "Deadline"]

_TICK = 0.02
# Seconds for a farewell, though it is over.
_MOMENT = 0.25


class _Timed(Protocol):
    """A session."""

    @property
    def total(self) -> float | None: ...

    @total.setter
    def total(self, seconds: float | None) -> None: ...


class Deadline:
    """One for a whole message: all of its domains, hosts and sessions."""

    __slots__ = ("_total", "ends")

    def __init__(self, total: float | None) -> None:
        self._total = inf if total is None else total
        self.ends = monotonic() + self._total
        """By the monotonic clock."""

    @property
    def left(self) -> float:
        """Seconds."""
        return self.ends - monotonic()

    @property
    def seconds(self) -> float | None:
        """The same for what takes ``None`` for no limit, and never none."""
        return None if self._total == inf else max(self.left, 0.001)

    def within(self, seconds: float) -> float:
        """The smaller of `seconds` and what is left, and never none."""
        return max(min(seconds, self.left), 0.001)

    def share(self) -> Deadline:
        """One for the next step, of half of what is left: what comes after it has its time."""
        part = Deadline(self._total)
        part.ends = min(self.ends, monotonic() + self.left / 2)
        return part

    def check(self, what: str) -> None:
        """Go on, if there is time for `what`, an infinitive.

        Raises:
            TimedOut: it is over.
        """
        if self.left <= 0:
            raise TimedOut(
                f"{self._total:g} s are over (total, for the whole message), before there was "
                f"time {what}",
                phase="other",
            )

    def hurry(self, session: _Timed, *, parting: bool = False) -> None:
        """Have what is said next in a session be over in time; a farewell has a moment more."""
        if self._total < inf:
            session.total = max(self.left, _MOMENT if parting else 0.001)

    def rest(self, session: _Timed) -> None:
        """The session may serve another message."""
        if self._total < inf:
            session.total = self._total

    def has_cut(self, left: float) -> bool:
        """True if it has ended what began with so little left that nobody is to blame."""
        return self.left < _TICK and left < self._total / 2


NEVER = Deadline(None)
