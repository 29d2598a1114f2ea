"""The text of a report for people, up to the message that came back with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from smtpx._message.characters import unescaped
from smtpx.bounces._fields import Fields
from smtpx.bounces._parts import RETURNED, Part
from smtpx.bounces._reports import Returned

TEXT = 262_144
"""Octets of a text that are read."""
LINE = 2000
"""Characters of a line that are read."""

# Others than these take more than linear time, or are no codecs of text.
_CHARSET = re.compile(
    r"charset\s?=\s?\"?(iso-8859-(?:[1-9]|1[013-6])|windows-125[0-8]|iso-2022-(?:jp|kr)|shift_jis|euc-(?:jp|kr)"
    r"|koi8-[ru]|utf-16(?:[bl]e)?|gb2312|gbk|gb18030|big5)\b",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*+)[^<>]*+>")
_UNSEEN = ("head", "script", "style", "title")
_ON_A_LINE_OF_ITS_OWN = ("br", "div", "h1", "h2", "h3", "li", "p", "pre", "table", "td", "tr")

# "--- Below this line is a copy of the message.", "Message headers follow." and their like.
_HEADING = re.compile(
    r"[\s|]*+[-=*_]{2}.*?\b(?:original|copy|returned|unsent|undelivered|headers?|forwarded"
    r"|message text|body)\b"
    r"|_{8,}|.{0,20}\bfirst \d+ lines of"
    r"|\s*(?:(?:this|here|below|included|attached) (?:is|are) |the )?(?:an? |the )?"
    r"(?:copy|beginning|headers?|text|contents?|body) of (?:the|your)"
    r"(?: original| returned| failed| undelivered)? (?:message|e?-?mail)\b"
    r"|\s*(?:the )?(?:(?:original|returned|unsent|undelivered) message|message)"
    r"(?: headers?| text)?(?: is)?(?: as)? ?(?:follows?|below|attached|:)[ .:]*$",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"(?:Return-Path|Received|DKIM-Signature|Delivered-To|X-Originating-IP|MIME-Version) ?:",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Text:
    """What people are told."""

    lines: Sequence[str]
    returned: Returned | None
    """The header of the message that was sent, if it stands in the text."""


def text_of(parts: Sequence[Part]) -> Text:
    """The text of those parts that come before the message that came back."""
    told = list(takewhile(lambda part: part.type not in RETURNED, parts)) or parts
    plain = [part for part in told if part.type == "text/plain" and part.body.strip()]
    if plain:
        text = "\n".join(map(decoded, plain))
    else:
        text = "\n".join(_without_tags(decoded(part)) for part in told if part.type == "text/html")
    lines = text[:TEXT].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split("\n")
    for number, line in enumerate(lines):
        is_field = _FIELD.match(line)
        if is_field or _HEADING.match(line[:LINE]):
            rest = "\n".join(lines[number if is_field else number + 1 :]).lstrip("\n")
            returned = Returned(Fields.of(rest.encode("utf-8", "replace")))
            return Text([line[:LINE] for line in lines[:number]], returned)
    return Text([line[:LINE] for line in lines], None)


def decoded(part: Part) -> str:
    """The text of a part, as far as it is read."""
    charset = _CHARSET.search(part.fields.first("Content-Type") or "")
    return part.octets[:TEXT].decode("utf-8" if charset is None else charset[1], "replace")


def _without_tags(text: str) -> str:
    told = "".join(_between_tags(text))
    return unescaped(told)


def _between_tags(text: str) -> Iterator[str]:
    unseen: str | None = None
    place = 0
    for tag in _TAG.finditer(text):
        name = tag[2].lower()
        if unseen is None:
            yield text[place : tag.start()]
            if name in _ON_A_LINE_OF_ITS_OWN:
                yield "\n"
            if name in _UNSEEN and not tag[1]:
                unseen = name
        elif name == unseen and tag[1]:
            unseen = None
        place = tag.end()
    if unseen is None:
        yield text[place:]
