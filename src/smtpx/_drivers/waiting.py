"""Waiting for one descriptor with a deadline, on every system."""

from __future__ import annotations

import select
import selectors
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from smtpx._checks import LONGEST_WAIT
from smtpx._core.steps import Send, by_total

if TYPE_CHECKING:
    import socket

# For a few sockets, and without a descriptor of its own: the process may have none left.
if sys.platform == "win32":
    Selector = selectors.SelectSelector
else:
    Selector = selectors.PollSelector

KEPT = 4 * 2**20
"""About so many octets are kept unread while we write, when a peer must get rid of its replies.

It might stop reading otherwise, and both would wait for ever (RFC 2920 §3.1).

As much as `send_many` has in flight at most. A peer that says more is read no further: it takes
what we write, or the time for that is up."""
# Seconds for a farewell when the time is up.
_MOMENT = 0.1
# Seconds by which a wait may end too early.
_TICK = 0.02


class Transport(Protocol):
    """A socket that does not block, or TLS over it."""

    def recv(self, size: int, /) -> bytes:
        """What has come; ``b""`` is the end."""
        ...

    def send(self, octets: bytes | memoryview, /) -> int:
        """Write what fits; the value is how many octets the peer may have, or more."""
        ...


class Deadline:
    """Seconds that are left of a total; without a total, as many as a phase asks for."""

    __slots__ = ("end",)

    def __init__(self, total: float | None) -> None:
        self.end = None if total is None else time.monotonic() + total
        """When it is over, by the monotonic clock; ``None``: never."""

    def within(self, seconds: float | None) -> float | None:
        """The smaller of `seconds` and what is left.

        Raises:
            TimeoutError: nothing is left.
        """
        if self.end is None:
            return seconds
        left = self.end - time.monotonic()
        if left <= 0:
            raise by_total(TimeoutError("the total time is used up"))
        return left if seconds is None else min(left, seconds)

    @property
    def is_over(self) -> bool:
        """True if there is no time for anything more."""
        return self.end is not None and self.end - time.monotonic() < _TICK

    def judged(self, error: OSError) -> OSError:
        """The same error, which knows whether it comes of the total."""
        if isinstance(error, TimeoutError) and self.is_over:
            return by_total(error)
        return error

    @staticmethod
    def after(total: float | None) -> Deadline:
        """One deadline serves all who have none."""
        return NO_DEADLINE if total is None else Deadline(total)

    def for_farewell(self, most: float | None = None) -> Deadline:
        """A deadline for what is left to say: at `most` so many seconds, but never none."""
        if self.end is None:
            return self if most is None else Deadline(most)
        left = max(self.end - time.monotonic(), _MOMENT)
        return Deadline(left if most is None else min(left, most))


NO_DEADLINE = Deadline(None)


class Pace:
    """How long the peer may still hold up what is written to it.

    A write has its timeout. Where it has a rate, each octet that is taken earns its share of a
    second, up to the timeout: a peer that stalls is given up after the timeout, one that trickles
    after that and as long as the octets take at the rate, however many writes they are. A reply
    fills the time up again. What goes out at once, as nearly everything does, reads no clock.
    """

    __slots__ = ("_due", "_left", "_rate", "_timeout", "is_behind")

    def __init__(self) -> None:
        self._left: float | None = None  # of the timeout; None is all of it
        self.is_behind = False
        """Some of the timeout has been used: `refill` and `took_at_once` do nothing before."""
        self._due: float | None = None
        self._rate: float | None = None
        self._timeout = 0.0

    def begin(self, step: Send) -> None:
        """Note that a write does not go out at once."""
        self._due, self._rate = None, step.rate
        if step.timeout is not None:
            self._timeout = left = step.timeout
            if step.rate is not None and self._left is not None:
                left = min(left, self._left)
            self._due = time.monotonic() + left

    def advance(self, octets: int) -> None:
        """Note that so many octets were taken."""
        if self._due is not None and self._rate is not None:
            latest = time.monotonic() + self._timeout
            self._due = min(self._due + octets / self._rate, latest)

    def end(self) -> None:
        """Note that everything was taken."""
        if self._due is not None and self._rate is not None:
            self._left = self._due - time.monotonic()
            self.is_behind = True

    def refill(self) -> None:
        """Note that the peer replied."""
        self._left = None
        self.is_behind = False

    def took_at_once(self, step: Send) -> None:
        """Note that a write did not have to wait."""
        if self._left is not None and step.rate is not None:
            self._left += len(step.data) / step.rate  # No more than the timeout counts.

    @property
    def left(self) -> float | None:
        """Seconds until it has taken too long; ``None`` if it never will."""
        return None if self._due is None else max(self._due - time.monotonic(), 0)


def at_a_time(seconds: float | None) -> float | None:
    """As much of a time as the system takes at once."""
    return None if seconds is None else min(seconds, LONGEST_WAIT)


class Waiter:
    """Waits until a non-blocking socket can be read or written."""

    __slots__ = ("_descriptor", "_poll", "is_readable")

    def __init__(self, connected: socket.socket) -> None:
        # The descriptor outlives the socket object that TLS replaces.
        self._descriptor = connected.fileno()
        self._poll = None
        self.is_readable: Callable[[], object]
        """True if octets, or the end of the stream, are there: asked twice for every message."""
        if hasattr(select, "poll"):  # not on Windows
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLIN)
            self.is_readable = partial(self._poll.poll, 0)
        else:
            self.is_readable = self._is_selected

    def _is_selected(self) -> bool:
        return bool(select.select([self._descriptor], [], [], 0)[0])

    def until_readable(self, seconds: float | None) -> None:
        """Wait for octets or the end of the stream.

        Raises:
            TimeoutError: neither came within `seconds`.
        """
        seconds = at_a_time(seconds)
        if self._poll is not None:
            ready = bool(self._poll.poll(None if seconds is None else seconds * 1000))
        else:
            ready = bool(select.select([self._descriptor], [], [], seconds)[0])
        if not ready:
            raise TimeoutError("timed out")

    def until_writable(self, seconds: float | None) -> None:
        """Wait for room to write.

        Raises:
            TimeoutError: there was none within `seconds`.
        """
        seconds = at_a_time(seconds)
        if self._poll is not None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            ready = bool(poll.poll(None if seconds is None else seconds * 1000))
        else:
            ready = bool(select.select([], [self._descriptor], [], seconds)[1])
        if not ready:
            raise TimeoutError("timed out")
