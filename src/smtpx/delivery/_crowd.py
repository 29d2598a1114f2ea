"""Which of many messages are on their way, and whose turn it is next; pure.

A domain that is slow has its share of the places, and no more. What takes long makes room for
others. What waits for the DNS needs no place for long: that is for what is spoken to a host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Generic, TypeVar

__all__ = ["Crowd"]

T = TypeVar("T")

# After so many seconds a message makes room for another; so many times the places there are then.
_YOUNG, _MOST = 5.0, 4
# The same for one whose hosts are looked up; so many of these there are at once.
_LOOKING, _WIDTH = 0.25, 256
# Messages, and octets of them, that wait for their domain's share while others overtake them.
_HELD, _OCTETS = 1000, 32 << 20


class Crowd(Generic[T]):
    """Whatever stands for each message, from when it is read until it is done."""

    def __init__(self, places: int) -> None:
        self._places, self._most = places, places * _MOST
        self._share = max(places // 2, 1)
        """Of one domain: sessions with it have limits of their own, and so has an outbox."""
        self._held: dict[T, tuple[Collection[str], int]] = {}
        self._looking: dict[T, float] = {}
        """Their hosts are looked up, since then."""
        self._asking: dict[T, None] = {}
        """They would speak to a host now."""
        self._placed: dict[T, float] = {}
        """They may speak to hosts, since then."""
        self._domains: dict[T, Collection[str]] = {}
        self._taken: Counter[str] = Counter()
        self._octets = 0

    def add(self, one: T, domains: Collection[str], octets: int) -> None:
        """It is read."""
        self._held[one] = domains, octets
        self._octets += octets

    def next(self, now: float) -> T | None:
        """Who is to begin now, if anybody is: its hosts are looked up first."""
        if not self._has_room(now):
            return None
        for one, (domains, octets) in self._held.items():
            if all(self._taken[domain] < self._share for domain in domains):
                self._looking[one], self._domains[one] = now, domains
                self._taken.update(domains)
                self._octets -= octets
                del self._held[one]
                return one
        return None

    def ask(self, one: T) -> None:
        """It would speak to a host now."""
        self._asking[one] = None
        _ = self._looking.pop(one, None)

    def admit(self, now: float) -> T | None:
        """Who of those that asked may speak to a host now, if anybody may."""
        for one in self._asking:
            if one in self._placed or self._has_place(now):
                _ = self._placed.setdefault(one, now)
                del self._asking[one]
                return one
        return None

    def wants_more(self, now: float) -> bool:
        """True if another message may be read, for none of those that wait can begin."""
        return self._has_room(now) and len(self._held) < _HELD and self._octets < _OCTETS

    def done(self, one: T) -> None:
        """It has come to its end, if it began."""
        for those in (self._looking, self._asking, self._placed):
            _ = those.pop(one, None)
        if one in self._domains:
            self._taken.subtract(self._domains.pop(one))
            self._taken += Counter()  # What is not above 0 is left out.

    def looks_again(self, now: float) -> float | None:
        """When there is room, if there is none now, and nothing comes to its end before."""
        found: list[float] = []
        young = self._young(now)
        if self._asking and len(self._placed) < self._most and len(young) >= self._places:
            found.append(sorted(young)[-self._places])
        ends = sorted(young + self._new(now))
        too_many = len(ends) + len(self._asking) - self._places
        if not self._is_full and 0 <= too_many < len(ends):
            found.append(ends[too_many])
        return min(found, default=None)

    @property
    def _is_full(self) -> bool:
        waiting = len(self._looking) + len(self._asking)
        return len(self._placed) >= self._most or waiting >= _WIDTH

    def _has_room(self, now: float) -> bool:
        busy = len(self._new(now)) + len(self._asking) + len(self._young(now))
        return busy < self._places and not self._is_full

    def _has_place(self, now: float) -> bool:
        return len(self._young(now)) < self._places and len(self._placed) < self._most

    def _new(self, now: float) -> list[float]:
        """When each makes room whose hosts are looked up, if it has not done so."""
        return [end for began in self._looking.values() if (end := began + _LOOKING) > now]

    def _young(self, now: float) -> list[float]:
        """The same of those that may speak to hosts."""
        return [end for began in self._placed.values() if (end := began + _YOUNG) > now]
