"""Unstructured text and display names as a header holds them (RFC 2047, RFC 5322 §2.2.3, §3.2)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

__all__ = ["folded_text", "is_plain", "phrase"]

# RFC 2047 §2: a line with an encoded word has at most 76 characters, the word at most 75.
_LINE = 78
_ENCODED_LINE = 76
_START, _END = "=?utf-8?", "?="
_CHROME = len(_START) + len("q?") + len(_END)
# RFC 2047 §5 (3): what may stand for itself in a display name, so anywhere.
_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/"
_Q = [chr(octet) if octet in _SAFE else f"={octet:02X}" for octet in range(256)]
_Q[0x20] = "_"
_LONGEST_CHARACTER = len("=F0=9F=98=80")
_CONTINUED = ("=8", "=9", "=A", "=B")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def is_plain(text: str) -> bool:
    """True if it can stand in a header as it is, if it fits."""
    return (
        text.isascii()
        and text.isprintable()
        and "=?" not in text
        and text[:1] != " "
        and text[-1:] != " "
    )


def folded_text(text: str, column: int) -> str:
    """Text to stand at this column of a header, folded, encoded if need be."""
    if is_plain(text):
        if column + len(text) <= _LINE:
            return text
        if "  " not in text:
            lines = _filled(text.split(" "), column, _LINE)
            if lines:
                return "\r\n ".join(lines)
    return _encoded(text, column)


def phrase(name: str, column: int) -> str:
    """A display name (RFC 5322 §3.2.5) to stand at this column."""
    if is_plain(name):
        written = name
        if not _ATOMS.fullmatch(name):
            escaped = name.replace("\\", "\\\\").replace('"', '\\"')
            written = f'"{escaped}"'
        if column + len(written) <= _LINE:
            return written
    return _encoded(name, column)


def _filled(words: list[str], column: int, line: int) -> list[str]:
    """As many words to a line as there is room for; none if one is too long."""
    lines: list[str] = []
    room, current = line - column, ""
    for word in words:
        longer = f"{current} {word}" if current else word
        if len(longer) <= room:
            current = longer
            continue
        if not current or len(word) >= line:
            return []
        lines.append(current)
        room, current = line - 1, word
    return [*lines, current]


def _encoded(text: str, column: int) -> str:
    """Encoded words, on as many lines as are needed, the first on the next if it has no room."""
    octets = text.encode()
    quoted = "".join(map(_Q.__getitem__, octets))
    room = _ENCODED_LINE - column - _CHROME
    if len(quoted) <= (len(octets) + 2) // 3 * 4:
        words = [f"q?{piece}" if piece else "" for piece in _quoted_pieces(quoted, room)]
    else:
        pieces = _octet_pieces(octets, room)
        words = [f"b?{binascii.b2a_base64(p, newline=False).decode()}" if p else "" for p in pieces]
    return "\r\n ".join([f"{_START}{word}{_END}" if word else "" for word in words])


def _quoted_pieces(quoted: str, room: int) -> Iterator[str]:
    while len(quoted) > room:
        at = room if room >= _LONGEST_CHARACTER else 0
        if at:
            # Neither within an octet nor between those of a character (RFC 2047 §5).
            at -= 1 if quoted[at - 1] == "=" else 2 if quoted[at - 2] == "=" else 0
            while quoted[at : at + 2] in _CONTINUED:
                at -= 3
        yield quoted[:at]
        quoted = quoted[at:]
        room = _ENCODED_LINE - 1 - _CHROME
    yield quoted


def _octet_pieces(octets: bytes, room: int) -> Iterator[bytes]:
    room = max(0, room)
    while len(octets) > room // 4 * 3:
        at = room // 4 * 3
        while octets[at] & 0xC0 == 0x80:
            at -= 1
        yield octets[:at]
        octets = octets[at:]
        room = _ENCODED_LINE - 1 - _CHROME
    yield octets
