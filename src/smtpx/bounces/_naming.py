"""Whom a text for people names, and which of its lines are about them.

An address is a recipient by where it stands: the best places that there are in a text count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

from smtpx.bounces._texts import LINE

_RECIPIENTS = 1000
_ADDRESSES_IN_A_LINE = 10
_NEAR = 80
"""Characters before an address that say what it is there for."""

# Where an address begins or ends, unless it is quoted: spaces, punctuation and symbols of any
# script, and what is not seen. Letters of any script may be in one (RFC 6531 §3.3).
_NOWHERE = (
    r"\s\x00-\x20<>():,;\"\[\]@|*`\x7f-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7"
    r"\u0589\u05be\u05c3\u060c\u061b-\u061f\u06d4\u0964\u0965"
    r"\u2000-\u206f\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u303f\u30fb"
    r"\ufe10-\ufe6f\ufeff\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
# Scripts that have no spaces between words: an address in ASCII ends where their letters begin.
_UNSPACED = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]"
# Possessive, and only from where a word begins, so that no line takes longer than its length.
_ADDRESS = re.compile(
    rf"(?<![^{_NOWHERE}'=])(?!['.])(?:(?:SMTP|Recipient|Address|RCPT|To)=)?"
    rf"(?:{_UNSPACED}++(?=[A-Za-z][\w.+=-]*+@[A-Za-z0-9]))?"
    rf"((?:\"[^\"\n]{{1,64}}+\"|[^{_NOWHERE}]++)"
    rf"@(?:\[[0-9A-Za-z.:]{{1,60}}+\]|(?:[A-Za-z0-9-]++\.)++[A-Za-z0-9-]++(?={_UNSPACED}++(?![\w.-]))"
    rf"|[^{_NOWHERE}'#\\?!]++))",
    re.IGNORECASE,
)
_ONLY_MARKS = re.compile(r"[^\w@]*+(?:mailto:)?[<\"']*+")
_LABEL = re.compile(r"\W*+([^:：@]{1,60})[:：]\s*+(?:rfc822;\s*+)?[<\"'(\[]*+")
_NEXT_IN_A_LIST = re.compile(r"[>\"')\]]*+\s*+[,;]\s*+[<\"'(\[]*+")
_OWNED = re.compile(r"(?:expanded from|generated (?:from|by)):?\s*+[<\"']*+$", re.IGNORECASE)
_OF_A_RECIPIENT = re.compile(
    r"recipient|address|user|account|mailbox|deliver|fail|unknown|reject|not reach"
    r"|收件[人者]|宛先|empfänger|destinataire|destinatario|получател",
    re.IGNORECASE,
)
_OF_ANOTHER = re.compile(
    r"\b(?:from|sender|sent by|reply-?to|contact|message-?id|subject|postmaster|administrator"
    r"|[he]h?lo|return-path|delivered-to|questions?|assistance|support|help|try|write to"
    r"|e-?mail us)\b|\bif\s*$",
    re.IGNORECASE,
)
# What is to be written to in place of a recipient.
_BEFORE_A_NEW_ONE = re.compile(
    r"(?:(?<!\bin )(?<!\byou )\buse|\b(?:changed|moved|write) to|\bto now|\baddress is now"
    r"|\bnew (?:e-?mail )?(?:address|mailbox)(?: is)?)\s*:?\s*[<\"'(\[]*$",
    re.IGNORECASE,
)
_AFTER_A_NEW_ONE = re.compile(r"[>\"')\]]*+[\s,]*+(?:instead|from now on)\b", re.IGNORECASE)
_ROLE = re.compile(r"(?:abuse|admin|help|info|noc|post[-_.]?master|support)", re.IGNORECASE)
# A sentence that began in the line above, and does not end with the address.
_IS_OPEN = re.compile(r"[\w,]\s*$")
_GOES_ON = re.compile(r"[>\"')\]]*+\s++(?!on \w{3}, \d)[a-z]")
_BEFORE_A_RECIPIENT = re.compile(
    r"(?:smtp[=:]|[45]\d\d[ -].*"
    r"|\b(?:to|for|recipients?|address(?:es)?|user|mailbox|account|rcpt to)\s*:?)"
    r"\s*[<\"'(\[]*$",
    re.IGNORECASE,
)
_AFTER_A_RECIPIENT = re.compile(
    r"[>\"')\]]*+\s*+(?:\.\.\.|(?:is|was|has|does|did|could|cannot|not|unknown|user"
    r"|mailbox|invalid|rejected|failed)\b)",
    re.IGNORECASE,
)


class Rank(IntEnum):
    """How surely an address is a recipient."""

    HEAD = 1
    """It heads what is said of it: ``<bob@example.net>:``, ``Recipient: bob@example.net``."""
    SENTENCE = 2
    """``could not be delivered to bob@example.net``"""
    ALONE = 3
    """It is one if there is no other."""
    OTHER = 4
    """``write to help@example.net``"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address stands."""

    line: int
    address: str
    rank: Rank
    rest: str
    """What its line says of it."""
    is_original: bool = False
    """It was written to, and the recipient before it is what became of it."""


@dataclass(slots=True)
class Named:
    """A recipient that a text names."""

    line: int
    address: str
    said: list[str]
    original: str | None = None


def addresses_of(bodies: Iterable[str]) -> list[str]:
    """The addresses in the bodies of fields, as far as they are plain ones."""
    return [address for body in bodies for address in _ADDRESS.findall(body[:LINE])]


def is_address(text: str) -> bool:
    """True for a plain address, and nothing beside it."""
    return _ADDRESS.fullmatch(text) is not None


def places_in(lines: Sequence[str]) -> Iterator[Place]:
    """The places of all addresses, in order."""
    above = ""
    for number, line in enumerate(lines):
        if "@" in line:
            yield from _places_of(number, line, above)
        above = line


def _places_of(number: int, line: str, above: str) -> Iterator[Place]:
    end, rank = 0, Rank.OTHER
    for match in islice(_ADDRESS.finditer(line), _ADDRESSES_IN_A_LINE):
        before, after = line[: match.start(1)], line[match.end() :]
        address = match[1].rstrip(".-")
        if _OWNED.search(before[-_NEAR:]):
            yield Place(number, address, Rank.HEAD, line, is_original=True)
            continue
        if not (end and _NEXT_IN_A_LIST.fullmatch(line[end : match.start()])):
            rank = _rank(address, before, after, above)
        end = match.end()
        heads_the_line = _ONLY_MARKS.fullmatch(before) is not None
        yield Place(number, address, rank, after if heads_the_line else line)


def _rank(address: str, before: str, after: str, above: str) -> Rank:
    near = before[-_NEAR:]
    if _is_new(near, after) or (_ONLY_MARKS.fullmatch(before) and _is_new(above[-_NEAR:], "")):
        return Rank.OTHER
    if _ONLY_MARKS.fullmatch(before):
        if not (_GOES_ON.match(after) and _IS_OPEN.search(above)):
            return Rank.HEAD
        near = f"{above} {before}"[-_NEAR:]
    label = _LABEL.fullmatch(before)
    if label is not None:
        if label[1].strip().lower() == "to":  # Of the message that is reported on.
            return Rank.ALONE
        if _OF_A_RECIPIENT.search(label[1]) and not _OF_ANOTHER.search(label[1]):
            return Rank.HEAD
    if _OF_ANOTHER.search(near[-_NEAR // 2 :]):
        return Rank.OTHER
    if _BEFORE_A_RECIPIENT.search(near) or _AFTER_A_RECIPIENT.match(after):
        return Rank.SENTENCE
    return Rank.OTHER if _ROLE.match(address) else Rank.ALONE


def _is_new(before: str, after: str) -> bool:
    return bool(_BEFORE_A_NEW_ONE.search(before) or _AFTER_A_NEW_ONE.match(after))


def named_in(places: Iterable[Place], lines: Sequence[str]) -> dict[str, Named]:
    """Those of the best rank, by address in lower case, each with the lines up to the next one."""
    places = list(places)
    rank = min((place.rank for place in places), default=Rank.OTHER)
    found: dict[str, Named] = {}
    begun: list[Named] = []  # Those whom the last line names that names anybody.
    begin = depth = -1
    for place in places:
        if place.rank != rank or len(found) == _RECIPIENTS:
            continue
        if place.is_original and begun and _goes_on(lines[begin : place.line + 1]):
            begun[-1].original = place.address
            continue
        indentation = _indentation(lines[place.line])
        depth = indentation if depth < 0 else depth
        if rank is Rank.HEAD and indentation > depth and not place.is_original:
            continue  # It is part of what is said.
        if place.line != begin:
            for one in begun:
                one.said += lines[begin + 1 : place.line]
            begun, begin = [], place.line
        one = found.setdefault(place.address.lower(), Named(place.line, place.address, []))
        one.said.append(place.rest)
        begun.append(one)
    for one in begun:
        one.said += lines[begin + 1 :]
    is_sure = rank < Rank.ALONE or (rank is Rank.ALONE and len(found) == 1)
    return found if is_sure else {}


def _goes_on(lines: Sequence[str]) -> bool:
    """Whether all lines are indented deeper than the first."""
    first, *others = map(_indentation, lines)
    return all(indentation > first for indentation in others)


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
