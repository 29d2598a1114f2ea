"""Which of many messages are on their way, and whose turn it is next; pure.

A domain that is slow has its share of the places, and no more. What takes long makes room for
others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Generic, TypeVar

__all__ = ["Crowd"]

T = TypeVar("T")

# After so many seconds a message makes room for another; so many times the places there are then.
_YOUNG, _MOST = 5.0, 4
# Messages, and octets of them, that wait for their domain's share while others overtake them.
_HELD, _OCTETS = 1000, 32 << 20


class Crowd(Generic[T]):
    """Whatever stands for each message, from when it is read until it is done."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._share = max(places // 2, 1)
        """Of one domain: sessions with it have limits of their own, and so has an outbox."""
        self._held: dict[T, tuple[Collection[str], int]] = {}
        self._began: dict[T, float] = {}
        self._domains: dict[T, Collection[str]] = {}
        self._taken: Counter[str] = Counter()
        self._octets = 0

    def add(self, one: T, domains: Collection[str], octets: int) -> None:
        """It is read."""
        self._held[one] = domains, octets
        self._octets += octets

    def next(self, now: float) -> T | None:
        """Who is to begin now, if anybody is."""
        if not self._has_place(now):
            return None
        for one, (domains, octets) in self._held.items():
            if all(self._taken[domain] < self._share for domain in domains):
                self._began[one], self._domains[one] = now, domains
                self._taken.update(domains)
                self._octets -= octets
                del self._held[one]
                return one
        return None

    def wants_more(self, now: float) -> bool:
        """True if another message may be read, for none of those that wait can begin."""
        return self._has_place(now) and len(self._held) < _HELD and self._octets < _OCTETS

    def done(self, one: T) -> None:
        """It has come to its end, if it began."""
        if self._began.pop(one, None) is not None:
            self._taken.subtract(self._domains.pop(one))
            self._taken += Counter()  # What is not above 0 is left out.

    def looks_again(self, now: float) -> float | None:
        """When there is room, if there is none now, and nothing comes to its end before."""
        began = list(self._began.values())
        if self._has_place(now) or len(began) >= self._places * _MOST:
            return None
        return began[-self._places] + _YOUNG

    def _has_place(self, now: float) -> bool:
        if len(self._began) >= self._places * _MOST:
            return False
        return sum(began > now - _YOUNG for began in self._began.values()) < self._places
