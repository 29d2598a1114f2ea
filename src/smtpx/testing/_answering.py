"""What goes over the wire in answer to a question of the DNS, right or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from ._zones import Spoken, module
from .name_faults import Misanswer

__all__ = ["Said"]

_CHAIN = 12


class Said:
    """What goes over the wire in answer to one query."""

    def __init__(
        self, query: Any, name: str, spoken: Spoken, *, is_authority: bool, tcp: bool
    ) -> None:
        self._query = query
        self._name = name
        self._spoken = spoken
        self._is_authority = is_authority
        self._tcp = tcp

    def messages(self, does: Misanswer | None) -> Iterator[bytes]:
        """Each message."""
        match does:
            case None | Misanswer.LATE:
                yield self._wire(self._right())
            case Misanswer.SILENCE:
                pass
            case Misanswer.GARBAGE:
                yield b"\x00garbage"
            case Misanswer.GARBAGE_FIRST:
                yield b"\x00garbage"
                yield self._wire(self._right())
            case Misanswer.CUT:
                whole = self._wire(self._right())
                yield whole[: max(len(whole) * 2 // 3, 13)]
            case Misanswer.WRONG_ID:
                yield self._with_another_id()
            case Misanswer.WRONG_ID_FIRST:
                yield self._with_another_id()
                yield self._wire(self._right())
            case Misanswer.TRUNCATED | Misanswer.NO_TCP if not self._tcp:
                yield self._truncated()
            case Misanswer.TRUNCATED:
                yield self._wire(self._right())
            case Misanswer.NO_TCP:
                pass
            case _:
                yield self._wire(self._wrong(does))

    def _response(self) -> Any:
        response = module("message").make_response(self._query)
        if self._is_authority:
            response.flags |= module("flags").AA
        else:
            response.flags |= module("flags").RA
        return response

    def _right(self) -> Any:
        flags, response = module("flags"), self._response()
        response.set_rcode(self._spoken.code)
        response.answer, response.authority = self._spoken.answer, self._spoken.authority
        wants = self._query.flags & flags.AD or self._query.ednsflags & flags.DO
        if self._spoken.is_secure and wants:
            response.flags |= flags.AD
        return response

    def _wrong(self, does: Misanswer) -> Any:
        kinds, response = module("rdatatype"), self._response()
        match does:
            case Misanswer.WRONG_QUESTION:
                asked = self._query.question[0]
                other = module("message").make_query("elsewhere.example.", asked.rdtype)
                other.id = self._query.id
                return module("message").make_response(other)
            case Misanswer.ALIAS_LOOP:
                response.answer = self._aliases(self._name, f"also.{self._name}", self._name)
            case Misanswer.ALIAS_CHAIN:
                links = [f"link{place}.{self._name}" for place in range(_CHAIN)]
                response.answer = self._aliases(self._name, *links)
            case Misanswer.STRIPPED:
                response = self._right()
                response.flags &= ~module("flags").AD
                for section in (response.answer, response.authority):
                    section[:] = [one for one in section if one.rdtype != kinds.RRSIG]
            case Misanswer.BOGUS if self._is_authority:
                response = self._right()
                for section in (response.answer, response.authority):
                    section[:] = [_spoiled(one) for one in section]
            case Misanswer.BOGUS:
                response.set_rcode(module("rcode").SERVFAIL)
                edns = module("edns")
                response.use_edns(options=[edns.EDEOption(edns.EDECode.DNSSEC_BOGUS)])
            case Misanswer.NODATA:
                pass
            case _:
                response.set_rcode(module("rcode").from_text(does.value))
        return response

    def _aliases(self, *names: str) -> list[Any]:
        return [
            module("rrset").from_text(f"{each}.", 300, "IN", "CNAME", f"{other}.")
            for each, other in pairwise(names)
        ]

    def _with_another_id(self) -> bytes:
        right = self._wire(self._right())
        return bytes([right[0] ^ 1]) + right[1:]

    def _truncated(self) -> bytes:
        short = self._response()
        short.flags |= module("flags").TC
        return bytes(short.to_wire())

    def _wire(self, response: Any) -> bytes:
        """The message, or by UDP that it is too long for it."""
        most = 65535 if self._tcp else self._query.payload or 512
        try:
            return bytes(response.to_wire(max_size=most, want_shuffle=False))
        except module("exception").TooBig:
            return self._truncated()


def _spoiled(rrset: Any) -> Any:
    """Signatures that do not hold."""
    if rrset.rdtype != module("rdatatype").RRSIG:
        return rrset
    spoiled = [
        one.replace(signature=bytes([one.signature[0] ^ 1]) + one.signature[1:]) for one in rrset
    ]
    return module("rrset").from_rdata_list(rrset.name, rrset.ttl, spoiled)
