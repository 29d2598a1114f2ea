"""A part's octets without their transfer encoding (RFC 2045 §6), a piece at a time."""

from __future__ import annotations

import binascii
import codecs
from collections.abc import Iterator

__all__ = ["WINDOW", "decoded", "header_text", "text_of"]

WINDOW = 1 << 18
"""How many octets are looked at in one step."""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_OTHERS = bytes(set(range(256)) - set(_ALPHABET))
# They decode names, or Python's source, and take long for it.
_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}


def decoded(content: bytes, start: int, end: int, encoding: str) -> Iterator[bytes]:
    """The octets between `start` and `end`; what is malformed is read as far as it can be."""
    match encoding:
        case "base64":
            yield from _from_base64(content, start, end)
        case "quoted-printable":
            yield from _from_quoted_printable(content, start, end)
        case _:
            for at in range(start, end, WINDOW):
                yield content[at : min(end, at + WINDOW)]


def _from_base64(content: bytes, start: int, end: int) -> Iterator[bytes]:
    left = b""
    for at in range(start, end, WINDOW):
        piece = left + content[at : min(end, at + WINDOW)].translate(None, _OTHERS)
        piece, padding, _ = piece.partition(b"=")
        whole = len(piece) // 4 * 4
        yield binascii.a2b_base64(piece[:whole])
        left = piece[whole:]
        if padding:
            break
    if len(left) > 1:
        yield binascii.a2b_base64(left + b"=" * (4 - len(left)))


def _from_quoted_printable(content: bytes, start: int, end: int) -> Iterator[bytes]:
    at = start
    while at < end:
        until = min(end, at + WINDOW)
        if until < end:
            # Not in the middle of an escape: after a line, or before the last of a long one.
            line = content.rfind(b"\n", at, until) + 1
            escape = content.rfind(b"=", until - 2, until)
            until = line or (escape if escape > at else until)
        yield binascii.a2b_qp(content[at:until])
        at = until


def text_of(octets: bytes, charset: str) -> str:
    """The text; by its charset, or as most senders would have meant it."""
    try:
        if charset and codecs.lookup(charset).name.replace("_", "-") not in _NO_CHARSETS:
            return octets.decode(charset, "replace")
    except (LookupError, ValueError):
        pass  # Nobody knows it.
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def header_text(octets: bytes) -> str:
    """A header section's text, each line by itself: programs put together what others wrote."""
    if octets.isascii():
        return octets.decode()
    return "".join(text_of(line, "") for line in octets.splitlines(keepends=True))
