"""What a ledger is asked, and what it answers: the language of its operations.

An operation is a generator of statements that returns a value. Whoever runs it has begun a
transaction, answers each statement with its rows, and commits when it has returned.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import compress, islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

__all__ = ["Ask", "Dialect", "Row", "Statements", "Table", "Tell", "in_parts", "marks"]

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]

# No database takes fewer values in one statement; SQLite's older ones took 999.
_MOST = 500


class Ask(NamedTuple):
    """A statement whose rows are wanted."""

    text: str
    values: Sequence[object] = ()


class Tell(NamedTuple):
    """A statement to be run once for each row of values; answered with no rows."""

    text: str
    rows: Sequence[Sequence[object]]


Statements: TypeAlias = Generator[Ask | Tell, list[Row], T]


class Table:
    """What rows are added to, but for those that are there."""

    def __init__(
        self, name: str, own: Sequence[str], same: Sequence[str], begin: Mapping[str, str]
    ) -> None:
        """A row has values of its `own`, and of columns that are the `same` for all of a call.

        All rows `begin` alike, by words of SQL: each value that is bound takes its time.
        """
        self._name = name
        self._columns = (*own, *same)
        self._begin = begin
        self._texts: dict[tuple[bool, ...], str] = {}

    def add(self, rows: Sequence[tuple[object, ...]], same: Sequence[object]) -> Statements[None]:
        """Add rows. Columns that none has a value for are left out: a ``None`` takes as long."""
        if not rows:
            return
        columns = [*zip(*rows, strict=True), *[(value,) * len(rows) for value in same]]
        none = (None,) * len(rows)
        filled = tuple([values != none for values in columns])
        text = self._texts.get(filled) or self._text(filled)
        _ = yield Tell(text, [*zip(*compress(columns, filled), strict=True)])

    def _text(self, filled: tuple[bool, ...]) -> str:
        named = [*compress(self._columns, filled)]
        values = ["?"] * len(named) + [*self._begin.values()]
        text = self._texts[filled] = (
            f"INSERT INTO {self._name} ({','.join([*named, *self._begin])}) "
            f"VALUES ({','.join(values)}) ON CONFLICT DO NOTHING"
        )
        return text


class Dialect:
    """What the databases call differently, and how they mark a value in a statement."""

    def __init__(self, name: str, mark: str, words: Mapping[str, str]) -> None:
        self.name = name
        self.written = lru_cache(maxsize=4096)(partial(_written, mark, words))
        """A statement as this database reads it."""


def _written(mark: str, words: Mapping[str, str], text: str) -> str:
    for word, meaning in words.items():
        text = text.replace("{" + word + "}", meaning)
    return text.replace("?", mark)


def marks(values: Sequence[object]) -> str:
    """So many marks for values, in parentheses."""
    return f"({','.join('?' * len(values))})"


def in_parts(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in lists that fit one statement."""
    left = iter(values)
    while part := list(islice(left, _MOST)):
        yield part
