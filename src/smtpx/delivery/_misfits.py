"""TLSA records whose data is none of the length that their digest has; pure.

dnspython reads nothing of a response with such a record. But it is only of no use (RFC 7672 §2.2),
and says no less than others that there is TLS.
"""

from __future__ import annotations

from ._sections import answers_of

__all__ = ["STUB", "without_misfits"]

_TLSA = 52
STUB = 65534
"""A type of nobody's (RFC 6895 §3.1), for a record that is too short for what each one has."""
_LEAST = 3
_LENGTHS = {1: 32, 2: 64}
_NO_MATCHING = 255


def without_misfits(wire: bytes) -> bytes:
    """The response, with a matching type that nobody knows where the data does not fit it.

    A record without even a matching type is a `STUB`.

    Raises:
        EOFError: it ends too early.
    """
    changed = bytearray(wire)
    try:
        for kind, _, fixed, data, length in answers_of(wire):
            if kind == _TLSA and length < _LEAST:
                changed[fixed : fixed + 2] = STUB.to_bytes(2)
            elif kind == _TLSA:
                expected = _LENGTHS.get(wire[data + 2], length - _LEAST)
                if expected != length - _LEAST:
                    changed[data + 2] = _NO_MATCHING
    except IndexError:
        raise EOFError("the response ends too early") from None
    return bytes(changed)
