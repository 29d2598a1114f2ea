"""The octets of a response as dnspython reads them: not too many, and none too few.

It reads nothing of a response with one record that is none, and takes its time for each of
thousands.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ._misfits import STUB, without_misfits
from ._sections import answers_of

if TYPE_CHECKING:
    import dns.message

__all__ = ["response_of"]

# Of a response so many records are read. Where their numbers stand: answer, authority and
# additional section.
_READ = 200
_COUNTS = (6, 8, 10)
_MX = 15
# Of a usage, a selector and a matching type that nobody knows.
_BLANK = b"\xff\xff\xff"


def response_of(query: dns.message.Message, wire: bytes) -> dns.message.Message:
    """The response that a name server has sent.

    Raises:
        DNSException, ValueError, EOFError: it is none to this query.
    """
    import dns.exception
    import dns.message
    import dns.rdatatype

    part = _bounded(wire)
    is_cut = part is not wire
    kind = query.question[0].rdtype
    try:
        response = dns.message.from_wire(part, ignore_trailing=is_cut)
    except dns.exception.FormError:
        if kind != dns.rdatatype.TLSA:
            raise
        response = dns.message.from_wire(without_misfits(part), ignore_trailing=is_cut)
        _restore_stubs(response)
    if not query.is_response(response):
        raise ValueError("it answers another question")
    if is_cut and kind == dns.rdatatype.MX:
        _read_best(response, wire)
    return response


def _bounded(wire: bytes) -> bytes:
    """The response, if it has no more records than are read; else with so many counted."""
    counts = [int.from_bytes(wire[place : place + 2]) for place in _COUNTS]
    if sum(counts) <= _READ:
        return wire
    room = _READ
    for place, count in enumerate(counts):
        counts[place] = min(count, room)
        room = max(room - count, 0)
    return wire[: _COUNTS[0]] + struct.pack("!3H", *counts) + wire[_COUNTS[-1] + 2 :]


def _restore_stubs(response: dns.message.Message) -> None:
    """Have what was too short for a TLSA record be one, though of no use."""
    import dns.rdata
    import dns.rdatatype

    kind = dns.rdatatype.TLSA
    for found in [one for one in response.answer if int(one.rdtype) == STUB]:
        records = response.find_rrset(response.answer, found.name, found.rdclass, kind, create=True)
        blank = dns.rdata.from_wire(found.rdclass, kind, _BLANK, 0, len(_BLANK))
        records.add(blank, found.ttl)


def _read_best(response: Any, wire: bytes) -> None:
    """Have the best mail exchangers be those that are read, wherever they stand.

    Raises:
        DNSException, EOFError: it is no response.
    """
    import dns.name
    import dns.rdata

    chain = response.resolve_chaining()
    records = chain.answer
    if records is None:
        return
    try:
        known = [one for one in answers_of(wire) if one.type == _MX]
        known.sort(key=lambda one: wire[one.data : one.data + 2])
    except IndexError:
        raise EOFError("the response ends too early") from None
    ttl = records.ttl
    records.clear()
    for one in known[:_READ]:
        if dns.name.from_wire(wire, one.owner)[0] == chain.canonical_name:
            data = dns.rdata.from_wire(records.rdclass, records.rdtype, wire, one.data, one.length)
            records.add(data, ttl)
