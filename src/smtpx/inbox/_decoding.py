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
# As mail programs and browsers read them: by the larger charset, of which they name a part
# (https://encoding.spec.whatwg.org/#names-and-labels). ASCII with octets above 127 is none.
_MEANT = {
    "ascii": "",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift-jis": "cp932",
    "euc-kr": "cp949",
}
_LABELS = {
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-8-e": "iso8859-8",
    "windows-31j": "cp932",
    "sjis": "cp932",
    "gb_2312-80": "gb18030",
    "csgb2312": "gb18030",
    "ksc_5601": "cp949",
    "cn-big5": "big5hkscs",
    "unicode-1-1-utf-8": "utf-8",
    "utf8mb4": "utf-8",
}
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
    codec = _codec_of(charset)
    if codec:
        try:
            return octets.decode(codec, "replace")
        except (LookupError, ValueError):
            pass  # It is none of text, or gives up.
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def _codec_of(charset: str) -> str:
    """The codec of a charset; empty where nobody knows it, or nothing follows from it."""
    label = charset.lower().removeprefix("x-")
    for name in (_LABELS.get(label, label), label.replace("windows-", "cp")):
        try:
            known = codecs.lookup(name).name.replace("_", "-")
        except (LookupError, ValueError):
            continue
        return "" if known in _NO_CHARSETS else _MEANT.get(known, known)
    return ""


def header_text(octets: bytes) -> str:
    """A header section's text, each line by itself: programs put together what others wrote."""
    if octets.isascii():
        return octets.decode()
    return "".join(text_of(line, "") for line in octets.splitlines(keepends=True))
