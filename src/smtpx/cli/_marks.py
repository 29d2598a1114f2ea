"""Byte order marks, which editors of Windows write before a text, and do not show."""

from __future__ import annotations

import codecs

__all__ = ["marked_encoding", "unmarked"]

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def marked_encoding(octets: bytes) -> str | None:
    """The encoding that a mark before these octets tells; ``None`` where there is no mark."""
    return next((name for mark, name in _MARKS.items() if octets.startswith(mark)), None)


def unmarked(octets: bytes) -> bytes:
    """A text without its mark, in UTF-8 if the mark is of UTF-16.

    Raises:
        UnicodeDecodeError: it is not UTF-16.
    """
    encoding = marked_encoding(octets)
    if encoding is None:
        return octets
    if encoding == "utf-16":
        return octets.decode(encoding).encode()
    return octets.removeprefix(codecs.BOM_UTF8)
