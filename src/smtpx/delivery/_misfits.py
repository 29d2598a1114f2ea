"""TLSA records whose data is none of the length that their digest has; pure.

dnspython reads nothing of a response with such a record. But it is only of no use (RFC 7672 §2.2),
and says no less than others that there is TLS.
"""

from __future__ import annotations

from itertools import repeat

__all__ = ["without_misfits"]

_HEADER, _POINTER, _TLSA = 12, 0xC0, 52
# Of a record after its name: type, class, TTL and the length of its data.
_FIXED = 10
_LENGTHS = {1: 32, 2: 64}
_NO_MATCHING = 255


def without_misfits(wire: bytes) -> bytes:
    """The response, with a matching type that nobody knows where the data does not fit it.

    Raises:
        EOFError: it ends too early.
    """
    changed = bytearray(wire)
    try:
        place = _HEADER
        for _ in repeat(None, int.from_bytes(wire[4:6])):
            place = _after_name(wire, place) + 4
        for _ in repeat(None, int.from_bytes(wire[6:8])):
            place = _after_name(wire, place)
            kind = int.from_bytes(wire[place : place + 2])
            length = wire[place + 8] << 8 | wire[place + 9]
            place += _FIXED
            if kind == _TLSA and length >= 3:
                expected = _LENGTHS.get(wire[place + 2], length - 3)
                if expected != length - 3:
                    changed[place + 2] = _NO_MATCHING
            place += length
    except IndexError:
        raise EOFError("the response ends too early") from None
    return bytes(changed)


def _after_name(wire: bytes, place: int) -> int:
    while (octet := wire[place]) != 0:
        if octet >= _POINTER:
            return place + 2
        place += 1 + octet
    return place + 1
