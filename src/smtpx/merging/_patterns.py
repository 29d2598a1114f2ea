"""Text that has fields in it: ``Dear {{name}},``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from sys import intern
from typing import final

from smtpx._values import Value
from smtpx.errors import LocalProtocolError

__all__ = [
    "FIELD",
    "PRINTABLE",
    "AsItIs",
    "Pattern",
    "fixed",
    "has_fields",
    "joined",
    "pattern_of",
    "room_in",
    "tight",
]

PRINTABLE = frozenset(map(chr, range(0x20, 0x7F)))
"""ASCII without controls."""

FIELD = re.compile(r"(?<!\{)\{\{\s*([A-Za-z_]\w*)\s*\}\}(?!\})", re.ASCII)


@final
class Pattern(Value):
    """A text to be filled in."""

    pieces: list[str]
    """What stands between its fields, and an empty place for each of them."""
    places: list[str]
    """The fields as they stand there."""
    names: tuple[str, ...]
    """The fields, each once."""
    alone: str | None = None
    """The one field that it is, with nothing beside it."""

    def fill(self, values: Mapping[str, str]) -> str:
        if self.alone is not None:
            return values[self.alone]
        # To join copies whole pieces; the operator ``%`` looks at each of their characters.
        filled = self.pieces.copy()
        filled[1::2] = map(values.__getitem__, self.places)
        return "".join(filled)

    def placed(self, place_of: Callable[[str], str]) -> Pattern:
        """The same with others' places for its fields."""
        return Pattern(self.pieces, [intern(place_of(name)) for name in self.places], self.names)


class AsItIs(Value):
    """What a writer writes of values that may stand as they are, as nearly all may."""

    pattern: Pattern
    characters: frozenset[str]
    """What each value may have: a space only between two words."""
    room: int
    """How long each value may be."""


def room_in(length: int, *patterns: Pattern) -> int:
    """How long each value may be for all of it to have this length at most."""
    fixed = sum(len(piece) for pattern in patterns for piece in pattern.pieces)
    return (length - fixed) // max(1, sum(len(pattern.places) for pattern in patterns))


def has_fields(text: str) -> bool:
    """True too for what only looks like a field, so that `pattern_of` can refuse it."""
    return "{{" in text


def tight(text: str) -> str:
    """The text with no space within its fields' braces, so that each is one word."""
    return FIELD.sub(r"{{\1}}", text)


def pattern_of(text: str, where: str) -> Pattern:
    """The pattern of a text.

    Raises:
        LocalProtocolError: it has braces that are no field; nobody is to get them as they are.
    """
    pieces: list[str] = []
    places: list[str] = []
    at = 0
    for field in FIELD.finditer(text):
        pieces += [_literal(text[at : field.start()], where), ""]
        places.append(intern(field[1]))  # Found by what it is, not by how it is spelt.
        at = field.end()
    pieces.append(_literal(text[at:], where))
    alone = places[0] if pieces == ["", "", ""] else None
    return Pattern(pieces, places, tuple(dict.fromkeys(places)), alone)


def fixed(text: str) -> Pattern:
    """The pattern of a text without fields."""
    return Pattern([text], [], ())


def joined(patterns: Iterable[Pattern]) -> Pattern:
    """One pattern of several, one behind the other."""
    pieces, places = [""], list[str]()
    for pattern in patterns:
        pieces[-1] += pattern.pieces[0]
        pieces += pattern.pieces[1:]
        places += pattern.places
    return Pattern(pieces, places, tuple(dict.fromkeys(places)))


def _literal(text: str, where: str) -> str:
    if "{{" in text:
        shown = text[text.index("{{") :][:40]
        raise LocalProtocolError(
            f"{where} has {shown!r}, which is not a field: a field is a name, {{{{name}}}}; "
            "let a template engine do the rest before"
        )
    return text
