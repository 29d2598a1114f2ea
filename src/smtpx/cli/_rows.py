"""The rows of a table that a letter is merged with: a CSV with a header, JSON, or JSON lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeAlias

from smtpx.cli._console import printable
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._marks import marked_encoding
from smtpx.cli._reading import reading

__all__ = ["Named", "Row", "rows_in"]

Row: TypeAlias = dict[str, Any]

_SEPARATORS = (";", "\t")
# Of Excel, which does not show it.
# A ZIP archive, as new spreadsheets are, and what old ones begin with.
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SEPARATOR_LINE = re.compile(r"sep=([,;|\t])\r?\n?")


class Named(NamedTuple):
    """A row, and what to call it where it is wrong."""

    name: str
    row: Row
    problem: str = ""
    """Why it is no row, if it is none."""


def rows_in(name: str, group_by: str | None = None) -> Iterator[Named]:
    """The rows of a file; with `group_by`, one for all that have the same in that column.

    Raises:
        Stop: the file has none, or not that column.
    """
    rows = (_named(f"{name}, row {number}", row) for number, row in enumerate(_rows(name), 1))
    yield from rows if group_by is None else _grouped(name, rows, group_by)


def _named(name: str, row: Row | str) -> Named:
    return Named(name, {}, row) if isinstance(row, str) else Named(name, row)


def _encoding(name: str, path: Path) -> str:
    with reading(path), path.open("rb") as file:
        begin = file.read(4)
    if begin.startswith(_SPREADSHEETS):
        raise Stop(f"{name} is a spreadsheet: save it as CSV", Exit.CONTENT_REFUSED)
    return marked_encoding(begin) or "utf-8"


def _rows(name: str) -> Iterator[Row | str]:
    """Each row, or what is wrong with it."""
    path, done = Path(name), 0
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise Stop(f"{name} is no regular file, and rows are read more than once: save them in one")
    with reading(path), path.open(encoding=_encoding(name, path), newline="") as file:
        try:
            for row in _read(name, path.suffix.lower(), file):
                yield row
                done += 1
        except UnicodeError:
            raise Stop(f"{name} is not UTF-8: convert it", Exit.CONTENT_REFUSED) from None
        except (ValueError, csv.Error, RecursionError) as error:
            # Of a number that is longer than any, Python tells what programs can do about it.
            why = str(error).partition(" (4300 digits)")[0]
            raise Stop(
                f"{name}, row {done + 1} cannot be read: {why}", Exit.CONTENT_REFUSED
            ) from None


def _read(name: str, kind: str, file: TextIO) -> Iterator[Row | str]:
    match kind:
        case ".json":
            return _objects(name, _loaded(file.read()))
        case ".jsonl" | ".ndjson":
            return _objects(name, (_loaded(line) for line in file if line.strip()))
        case _:
            return _lines(name, _table(file))


def _loaded(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_Object)


class _Object(Row):
    """What JSON has as an object; of a name that comes twice, some readers take the first."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs] if len(self) < len(pairs) else []
        self.twice = next((name for name in names if names.count(name) > 1), None)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _table(file: TextIO) -> csv.DictReader[str]:
    """The lines of a CSV; spreadsheets separate by what their language has no other use for."""
    header = file.readline()
    if (said := _SEPARATOR_LINE.fullmatch(header)) is not None:
        return csv.DictReader(file, delimiter=said[1], strict=True)
    others = [each for each in _SEPARATORS if each in header and "," not in header]
    delimiter = others[0] if others else ","
    return csv.DictReader(chain([header], file), delimiter=delimiter, strict=True)


def _objects(name: str, found: Any) -> Iterator[Row | str]:
    if not hasattr(found, "__iter__") or isinstance(found, (dict, str)):
        raise Stop(f"{name}: write a list of objects", Exit.CONTENT_REFUSED)
    for row in found:
        if not isinstance(row, _Object):
            yield "write an object"
        else:
            yield row if row.twice is None else f"it has {row.twice!r} twice: rename one"


def _lines(name: str, reader: csv.DictReader[str]) -> Iterator[Row | str]:
    names = reader.fieldnames or []
    if not names or any(not each.strip() for each in names):
        raise Stop(
            f"{name} has no header: name its columns in the first line", Exit.CONTENT_REFUSED
        )
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice is not None:
        raise Stop(f"{name} has two columns {twice!r}: rename one", Exit.CONTENT_REFUSED)
    for row in reader:
        is_whole = None not in row and None not in row.values()
        yield dict(row) if is_whole else "it has not as many columns as the header"


def _grouped(name: str, rows: Iterator[Named], column: str) -> Iterator[Named]:
    """A column that says the same throughout each group stands once; of others, a line a row."""
    groups: dict[str, list[Row]] = {}
    for where, row, problem in rows:
        if problem:
            yield Named(where, row, problem)
            continue
        if column not in row:
            there_are = ", ".join(map(str, row))
            problem = f"{where}: there is no column {column!r} to group by; there are {there_are}"
            raise Stop(problem, Exit.CONTENT_REFUSED)
        groups.setdefault(str(row[column]), []).append(row)
    differing = {
        key
        for group in groups.values()
        for row in group
        for key in row.keys() | group[0].keys()
        if row.get(key) != group[0].get(key)
    }
    for value, group in groups.items():
        one = dict(group[0])
        for key in differing & one.keys():
            one[key] = "\n".join(str(row.get(key, "")) for row in group)
        yield Named(f"{name}, the rows of {printable(value)!r}", one)
