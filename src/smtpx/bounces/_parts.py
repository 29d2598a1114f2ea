"""The parts of a message (RFC 2046), read without recursion and within bounds.

The `email` package's parser goes as deep as the message says, and takes time that grows faster than
its length: nothing to give a stranger's report to.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from smtpx.bounces._fields import Fields

DEPTH = 8
"""Multiparts within multiparts that are looked into."""
PARTS = 200
"""Parts that are looked at, over all."""

RETURNED = (
    *("message/rfc822", "text/rfc822-headers", "text/rfc822-header"),
    *("message/global", "message/global-headers"),
)
"""The media types of a message that comes back, or of its header."""

_TYPE = re.compile(r"\s*([\w.+-]+/[\w.+-]+)", re.ASCII)
_BOUNDARY = re.compile(
    r";\s?boundary\s?=\s?(?:\"([^\"]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE
)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is no multipart."""

    fields: Fields
    body: bytes
    """As it stands in the message, with LF line ends."""

    @property
    def type(self) -> str:
        """Its media type, in lower case."""
        return _type(self.fields)

    @property
    def octets(self) -> bytes:
        """The body, its transfer encoding undone, with LF line ends."""
        encoding = (self.fields.first("Content-Transfer-Encoding") or "").lower()
        if encoding.startswith("quoted-printable"):
            return _lf(binascii.a2b_qp(self.body))
        if encoding.startswith("base64"):
            digits = _NOT_BASE64.sub(b"", self.body)
            digits = digits[: len(digits) - (len(digits) % 4 == 1)]
            return _lf(binascii.a2b_base64(digits + b"=" * (-len(digits) % 4)))
        return self.body


def parts_of(message: bytes) -> tuple[Fields, list[Part]]:
    """The header of a message, and its parts in order, those of multiparts within it included.

    A message within it stays one part.
    """
    top = _part(_lf(message).lstrip())  # Whoever stored it may have put lines before it.
    return top.fields, list(_leaves(top))


def _leaves(top: Part) -> Iterator[Part]:
    waiting = [(top, 0)]
    seen = 0
    while waiting and seen < PARTS:
        part, depth = waiting.pop()
        seen += 1
        if not part.type.startswith("multipart/"):
            yield part
        elif depth < DEPTH:
            inner = [_part(octets) for octets in _between_boundaries(part)]
            if not inner:  # Whoever lost or changed the boundary left a text.
                yield Part(Fields(()), part.body)
            waiting += [(child, depth + 1) for child in reversed(inner)]


def _between_boundaries(part: Part) -> Iterator[bytes]:
    match = _BOUNDARY.search(part.fields.first("Content-Type") or "")
    if match is None:
        return
    boundary = (match[1] or match[2]).rstrip().encode()
    delimiter = re.compile(rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*$\n?", re.MULTILINE)
    start: int | None = None
    count = 0
    for found in delimiter.finditer(part.body):
        if start is not None:
            yield part.body[start : found.start()]
            count += 1
        start = found.end()
        if found[1] or count == PARTS:
            return
    if start is not None:  # The last one was cut off.
        yield part.body[start:]


def _part(octets: bytes) -> Part:
    if octets.startswith(b"\n"):
        return Part(Fields(()), octets[1:])
    header, _, body = octets.partition(b"\n\n")
    return Part(Fields.of(header), body)


def _type(fields: Fields) -> str:
    match = _TYPE.match(fields.first("Content-Type") or "text/plain")
    return "text/plain" if match is None else match[1].lower()


def _lf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
