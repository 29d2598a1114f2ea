"""A text with fields as the body of a part, in seven bits (RFC 2045 §6.7, §6.8)."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from smtpx.merging._patterns import FIELD, PRINTABLE, AsItIs, Pattern, pattern_of

__all__ = ["Base64Body", "QuotedPrintableBody", "body_of", "line_feeds", "shortest"]

_LINE = 76
_SOFT = "=\r\n"
# The room that is kept for a value in its line. One that needs more has its line encoded anew.
_ROOM = 40


class _Line(NamedTuple):
    """A line of a text, in two forms."""

    encoded: Pattern
    plain: Pattern
    names: frozenset[str]


class QuotedPrintableBody:
    """Encoded once, but for the values: those that are short are put in, encoded by themselves."""

    encoding = "quoted-printable"

    def __init__(self, text: str, where: str) -> None:
        self.names = pattern_of(text, where).names
        lines = text.split("\n")
        encoded = [*map(_with_room, lines)]
        self._whole = pattern_of("\r\n".join(encoded), where)
        self.as_it_is: Sequence[AsItIs] = (AsItIs(self._whole, PRINTABLE - {"="}, _ROOM),)
        self._lines: list[_Line] = []
        for form, line in zip(encoded, lines, strict=True):
            plain = pattern_of(line, where)
            self._lines.append(_Line(pattern_of(form, where), plain, frozenset(plain.names)))

    def written(self, values: Mapping[str, str]) -> str:
        short: dict[str, str] = {}
        for name in self.names:
            value = values[name]
            if "=" in value or value[-1:] == " " or not (value.isascii() and value.isprintable()):
                value = _quoted(value)
                if "\n" in value:
                    continue
            # A line must not end with what stands before an empty value.
            if 0 < len(value) <= _ROOM:
                short[name] = value
        if len(short) == len(self.names):
            return self._whole.fill(short)
        return "\r\n".join(
            [
                encoded.fill(short) if short.keys() >= names else _quoted(plain.fill(values))
                for encoded, plain, names in self._lines
            ]
        )


class Base64Body:
    """For text that quoted-printable would make three times as long."""

    encoding = "base64"
    as_it_is: Sequence[AsItIs] = ()

    def __init__(self, text: str, where: str) -> None:
        pattern = pattern_of(text, where)
        self.names = pattern.names
        self._whole = pattern

    def written(self, values: Mapping[str, str]) -> str:
        texts = {name: line_feeds(values[name]) for name in self.names}
        return _in_base64(self._whole.fill(texts))


def body_of(text: str, where: str) -> QuotedPrintableBody | Base64Body:
    """The body in the shorter encoding."""
    text = line_feeds(text)
    encoding, _ = shortest(text)
    kind = Base64Body if encoding == Base64Body.encoding else QuotedPrintableBody
    return kind(text, where)


def shortest(text: str) -> tuple[str, Callable[[str], str]]:
    """The name of the encoding that makes a text the shorter, and what encodes it so."""
    octets = text.encode()
    if len(binascii.b2a_qp(octets)) > len(octets) * 4 // 3:
        return Base64Body.encoding, _in_base64
    return QuotedPrintableBody.encoding, _quoted


def _with_room(line: str) -> str:
    """A line with its fields, broken as if each value took all of its room."""
    written: list[str] = []
    column = 0
    for piece, width in _pieces(line):
        if column + width >= _LINE:
            written.append(_SOFT)
            column = 0
        written.append(piece)
        column += width
    return "".join(written)


def _pieces(line: str) -> Iterator[tuple[str, int]]:
    """What must not be broken, and how long it is."""
    at = 0
    for field in FIELD.finditer(line):
        yield from map(_character, line[at : field.start()])
        yield f"{{{{{field[1]}}}}}", _ROOM
        at = field.end()
    rest = line[at:]
    yield from map(_character, rest[:-1])
    if rest:
        yield _encoded(rest[-1]) if rest[-1] in " \t" else _character(rest[-1])


def _character(character: str) -> tuple[str, int]:
    if character in " \t" or ("!" <= character <= "~" and character != "="):
        return character, 1
    return _encoded(character)


def _encoded(character: str) -> tuple[str, int]:
    encoded = "".join([f"={octet:02X}" for octet in character.encode()])
    return encoded, len(encoded)


def line_feeds(text: str) -> str:
    """The text with LF for each of its line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _in_base64(text: str) -> str:
    octets = text.replace("\n", "\r\n").encode()
    encoded = binascii.b2a_base64(octets, newline=False).decode("ascii")
    lines = [encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE)]
    return "\r\n".join([*lines, ""])


def _quoted(text: str) -> str:
    return binascii.b2a_qp(line_feeds(text).encode()).replace(b"\n", b"\r\n").decode("ascii")
