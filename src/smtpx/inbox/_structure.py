"""Where the parts of a message are in its octets (RFC 2046 §5.1), found within bounds.

Nothing is copied, and no step takes long: whoever waits for the interpreter gets it in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesHeaderParser, HeaderParser
from typing import NamedTuple

from smtpx.inbox._decoding import WINDOW, header_text

__all__ = ["Leaf", "TooMuch", "leaves"]

_MOST_PARTS = 1000
_MOST_DEPTH = 50
_MOST_HEADER = 256 * 1024
_MOST_DELIMITERS = 20_000
# Reading a field's parameters takes as long as its length squared.
_MOST_PARAMETERS = 4096
_PARAMETRIC = ("Content-Type", "Content-Disposition")
_BLANK = re.compile(rb"\r?\n\r?\n")
_REST = re.compile(rb"(--)?[ \t]*(?:\r?\n|\Z)")


class TooMuch(Exception):
    """It is larger, or deeper, than anybody's mail; the text says in what."""


class Leaf(NamedTuple):
    """A part that has no parts: its header section, and where its body is."""

    header: Message[str, str]
    start: int
    end: int


def leaves(content: bytes) -> Iterator[Leaf]:
    """Each part of a message; what is in a message/rfc822 is one part.

    Raises:
        TooMuch: it would take long, or there are too many.
    """
    for count, leaf in enumerate(_Splitter(content).leaves(0, len(content), 0, "text/plain")):
        if count == _MOST_PARTS:
            raise TooMuch(f"it has more than {_MOST_PARTS} parts")
        yield leaf


class _Splitter:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._delimiters = 0

    def leaves(self, start: int, end: int, depth: int, kind: str) -> Iterator[Leaf]:
        """Those of one entity; `kind` is what it is where it does not say."""
        if depth > _MOST_DEPTH:
            raise TooMuch(f"it has more than {_MOST_DEPTH} levels")
        header, start = self._header(start, end, kind)
        spans = self._spans(header, start, end)
        if spans is None:
            yield Leaf(header, start, end)
            return
        is_digest = header.get_content_type() == "multipart/digest"
        inner = "message/rfc822" if is_digest else "text/plain"
        for first, last in spans:
            yield from self.leaves(first, last, depth + 1, inner)

    def _header(self, start: int, end: int, kind: str) -> tuple[Message[str, str], int]:
        """The header section, and where the body begins."""
        content = self._content
        most = min(end, start + _MOST_HEADER)
        if content.startswith((b"\r\n", b"\n"), start, end):
            octets = content[start : start + content[start : start + 2].index(b"\n") + 1]
        else:
            blank = _BLANK.search(content, start, most)
            if blank is None and most < end:
                raise TooMuch("a header section is larger than any mail's")
            octets = content[start : most if blank is None else blank.end()]
        header = BytesHeaderParser().parsebytes(octets)
        # A line that is no field ends the section early; each octet is a character of the rest.
        rest = str(header.get_payload())
        if not octets.isascii():
            header = HeaderParser().parsestr(header_text(octets))
        for name in _PARAMETRIC:
            if len(header.get(name, "")) > _MOST_PARAMETERS:
                header.replace_header(name, header[name][:_MOST_PARAMETERS])
        header.set_default_type(kind)
        return header, start + len(octets) - len(rest)

    def _spans(
        self, header: Message[str, str], start: int, end: int
    ) -> Iterator[tuple[int, int]] | None:
        """Where the parts of a multipart are; None where it is none, or has no delimiter."""
        boundary = header.get_boundary() if header.get_content_maintype() == "multipart" else None
        if not boundary:
            return None
        try:
            delimiter = b"--" + boundary.encode("ascii", "surrogateescape")
        except UnicodeEncodeError:
            return None
        lines = self._lines(delimiter, start, end)
        _, begun, is_last = next(lines, (0, 0, True))
        return None if is_last else self._between(begun, lines, end)

    def _between(
        self, begun: int, lines: Iterator[tuple[int, int, bool]], end: int
    ) -> Iterator[tuple[int, int]]:
        for at, after, is_last in lines:
            # The line end before a delimiter is part of it.
            back = 2 if self._content.startswith(b"\r\n", at - 2) else 1
            yield begun, max(begun, at - back)
            if is_last:
                return
            begun = after
        yield begun, end

    def _lines(self, delimiter: bytes, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Each line that is the delimiter: where it begins and ends, and if it is the last."""
        content = self._content
        at = (
            start
            if content.startswith(delimiter, start, end)
            else self._next(delimiter, start, end)
        )
        while at >= 0:
            self._delimiters += 1
            if self._delimiters > _MOST_DELIMITERS:
                raise TooMuch(f"it has more than {_MOST_DELIMITERS} delimiters")
            rest = _REST.match(content, at + len(delimiter), end)
            if rest is not None:
                yield at, rest.end(), rest[1] is not None
            at = self._next(delimiter, at + len(delimiter), end)

    def _next(self, delimiter: bytes, start: int, end: int) -> int:
        """Where the delimiter begins a line, from `start` on; -1 where it does not."""
        needle = b"\n" + delimiter
        for at in range(start, end, WINDOW):
            found = self._content.find(needle, at, min(end, at + WINDOW + len(needle) - 1))
            if found >= 0:
                return found + 1
        return -1
