"""What a ledger is asked, and what it answers: the language of its operations.

An operation is a generator of statements that returns a value. Whoever runs it has begun a
transaction, answers each statement with its rows, and commits when it has returned.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

__all__ = ["Ask", "Dialect", "Row", "Statements", "Tell", "in_parts", "marks"]

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


class Dialect(NamedTuple):
    """What the databases call differently, and how they mark a value in a statement."""

    name: str
    mark: str
    words: tuple[tuple[str, str], ...]

    def written(self, text: str) -> str:
        """A statement as this database reads it."""
        return _written(self, text)


@lru_cache(maxsize=4096)
def _written(dialect: Dialect, text: str) -> str:
    for word, meaning in dialect.words:
        text = text.replace("{" + word + "}", meaning)
    return text.replace("?", dialect.mark)


def marks(values: Sequence[object]) -> str:
    """So many marks for values, in parentheses."""
    return f"({','.join('?' * len(values))})"


def in_parts(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in lists that fit one statement."""
    left = iter(values)
    while part := list(islice(left, _MOST)):
        yield part
