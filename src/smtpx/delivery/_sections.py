"""The answer section of a response, record by record, without what a parser makes of each; pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

__all__ = ["Place", "answers_of"]

_HEADER, _POINTER = 12, 0xC0
# Of a record after its name: type, class, TTL and the length of its data.
_FIXED = 10


class Place(NamedTuple):
    """Where a record stands in a response."""

    type: int
    owner: int
    """Where its name begins."""
    fixed: int
    """Where its type stands."""
    data: int
    length: int
    """Octets of its data."""


def answers_of(wire: bytes) -> Iterator[Place]:
    """The records of the answer section, in their order.

    Raises:
        IndexError: the response ends too early.
    """
    place = _HEADER
    for _ in repeat(None, int.from_bytes(wire[4:6])):
        place = _after_name(wire, place) + 4
    for _ in repeat(None, int.from_bytes(wire[6:8])):
        fixed = _after_name(wire, place)
        data = fixed + _FIXED
        length = wire[data - 2] << 8 | wire[data - 1]
        yield Place(int.from_bytes(wire[fixed : fixed + 2]), place, fixed, data, length)
        place = data + length


def _after_name(wire: bytes, place: int) -> int:
    while (octet := wire[place]) != 0:
        if octet >= _POINTER:
            return place + 2
        place += 1 + octet
    return place + 1
