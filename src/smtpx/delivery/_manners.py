"""What name servers were found to be like, held for a minute; pure but for the clock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic

__all__ = ["Manners"]

# Seconds for which what was found holds.
_HELD = 60.0


class Manners:
    """Which name servers say nothing, and which know no EDNS.

    After its minute one question finds out anew; for all others it holds as long as that takes.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._silent: dict[str, float] = {}
        self._plain: dict[str, float] = {}
        """Until when what was found holds."""

    def choose(self, servers: Sequence[str], asked: Collection[str]) -> str:
        """Whom to ask: somebody else each time, and nobody who says nothing while another may."""
        others = [each for each in servers if each not in asked] or servers
        return next((each for each in others if not self._holds(self._silent, each)), others[0])

    def knows_edns(self, server: str) -> bool:
        """True unless it was found otherwise."""
        return not self._holds(self._plain, server)

    def was_silent(self, server: str) -> None:
        """It has not answered in time, or cannot be reached."""
        self._silent[server] = self._clock() + _HELD

    def has_spoken(self, server: str) -> None:
        """It has answered, whatever that was."""
        _ = self._silent.pop(server, None)

    def found_edns(self, server: str, *, known: bool) -> None:
        """It has answered what has EDNS; or what has none, where it would not the same with it."""
        if known:
            _ = self._plain.pop(server, None)
        else:
            self._plain[server] = self._clock() + _HELD

    def _holds(self, found: dict[str, float], server: str) -> bool:
        until, now = found.get(server), self._clock()
        if until is None:
            return False
        if until <= now:
            found[server] = now + _HELD
            return False
        return True
