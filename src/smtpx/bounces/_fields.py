"""Header fields as they may come from anybody: bounded, on one line, never refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

SECTION = 262_144
"""Octets of a header section that are read."""
FIELDS = 2000
"""Fields that are read."""
FIELD = 4096
"""Characters of a field that are kept."""

_NAME = re.compile(r"[!-9;-~]+")
# Controls, and what changes the direction in which the rest of a line is shown.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a header section, in order; names are compared without regard to case."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, octets: bytes) -> Fields:
        """Read a header section; it ends where an empty line is. Lines end in LF."""
        return cls(tuple(islice(_pairs(octets[:SECTION]), FIELDS)))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def every(self, name: str) -> list[str]:
        """The bodies of all fields of that name; those that are empty are left out."""
        name = name.lower()
        return [body for other, body in self.pairs if other.lower() == name and body]

    def first(self, name: str) -> str | None:
        """The body of the first of them."""
        name = name.lower()
        return next((body for other, body in self.pairs if body and other.lower() == name), None)


def printable(text: str) -> str:
    """The text on one line, cut to its bound: safe in a log or a terminal."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(text[: 2 * FIELD].split()))[
        :FIELD
    ]


def _pairs(octets: bytes) -> Iterator[tuple[str, str]]:
    name = ""
    lines: list[str] = []
    for line in octets.decode("utf-8", "replace").split("\n"):
        if not line:
            break
        if line[0] in " \t":
            lines.append(line)
            continue
        if name:
            yield name, printable("".join(lines))
        name, colon, body = line.partition(":")
        name = name.rstrip()
        if not colon or not _NAME.fullmatch(name):
            name = ""  # No field, such as mbox's "From "; what follows folded is none either.
        lines = [body]
    if name:
        yield name, printable("".join(lines))
