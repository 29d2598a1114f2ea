"""Which addresses were not reached lately; pure.

They come last, and where there is nothing else one message at a time tries them. So what is dead
costs one wait, and what is back is found by the next message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

__all__ = ["Hosts"]

# Seconds, doubled with each failure.
_PAUSE, _LONGEST = 60.0, 600.0
_MOST = 10_000


class _Silence:
    __slots__ = ("is_tried", "pause", "until")

    def __init__(self, pause: float, until: float) -> None:
        self.pause = pause
        self.until = until
        self.is_tried = False
        """One message is finding out whether it is back."""


class Hosts:
    """Remembers addresses that could not be reached, or said that they take no session."""

    def __init__(self) -> None:
        self._silent: OrderedDict[str, _Silence] = OrderedDict()

    def away(self, addresses: Iterable[str], now: float) -> frozenset[str]:
        """Those of the addresses that were not reached lately."""
        return frozenset(each for each in addresses if self._is_away(each, now))

    def are_away(self, addresses: Iterable[str], now: float) -> bool:
        """True if none of them was reached lately: nobody waits for them any more."""
        return all(self._is_away(each, now) for each in addresses)

    def _is_away(self, address: str, now: float) -> bool:
        known = self._silent.get(address)
        return known is not None and known.until > now

    def claim(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those that nobody else is trying; who is given them tells of each what came of it."""
        claimed: list[str] = []
        for address in addresses:
            known = self._silent.get(address)
            if known is None or not known.is_tried:
                claimed.append(address)
                if known is not None:
                    known.is_tried = True
        return tuple(claimed)

    def untried(self, addresses: Iterable[str]) -> None:
        """Nothing came of these that were claimed: they were not tried."""
        for address in addresses:
            if (known := self._silent.get(address)) is not None:
                known.is_tried = False

    def failed(self, address: str, now: float) -> None:
        """It could not be reached."""
        known = self._silent.pop(address, None)
        if known is not None and known.until > now and not known.is_tried:
            self._silent[address] = known  # Those who were on their way say the same again.
            return
        pause = _PAUSE if known is None else min(known.pause * 2, _LONGEST)
        self._silent[address] = _Silence(pause, now + pause)
        while len(self._silent) > _MOST:
            _ = self._silent.popitem(last=False)

    def answered(self, address: str) -> None:
        """It was reached: nothing is held against it."""
        _ = self._silent.pop(address, None)
