"""What is drawn on a terminal by `rich` (extra: ``cli``): tables, and a bar that moves.

Elsewhere, and without it, the same is said by plain lines. A stranger's text is never markup.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TextIO

from smtpx.cli._console import Console, columns, has_colour

__all__ = ["Bar", "bar", "is_terminal", "table"]

_WIDE_ENOUGH_FOR_A_BAR = 72
_LONGEST_BAR = 100
_NARROWEST_COLUMN = 16


def is_terminal(stream: TextIO) -> bool:
    """True where what was written can be written over (``TERM=dumb`` cannot)."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show rows of texts; in a pipe they are columns without headings, for programs."""
    if not (console.is_for_people and rows):
        return
    if not is_terminal(sys.stdout):
        lines = columns(rows)
    elif shutil.get_terminal_size().columns < _NARROWEST_COLUMN * len(headings):
        lines = _one_below_the_other(headings, rows)
    elif find_spec("rich"):
        _draw(headings, rows)
        return
    else:
        lines = columns([headings, *rows])
    for line in lines:
        console.result(line)


def _one_below_the_other(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Where columns would be too narrow to be read."""
    width = max(map(len, headings))
    lines: list[str] = []
    for row in rows:
        pairs = zip(headings, row, strict=True)
        lines += [f"{heading:{width}}  {text}" for heading, text in pairs if text]
        lines.append("")
    return lines


def _draw(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text: Any = import_module("rich.text").Text
    drawn: Any = import_module("rich.table").Table(box=import_module("rich.box").SIMPLE_HEAD)
    for heading in headings:
        drawn.add_column(text(heading), overflow="fold")
    for row in rows:
        drawn.add_row(*(text(each) for each in row))
    _rich(sys.stdout).print(drawn)


class Bar:
    """How far something has come, on one line of a terminal."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress = progress
        self._task = task

    def show(self, done: int, text: str) -> None:
        """Draw it anew, with `text` beside it."""
        self._progress.update(self._task, completed=done, said=text, refresh=True)


@contextmanager
def bar(stream: TextIO, total: int) -> Generator[Bar | None]:
    """A bar that is gone at the end; None where nothing can be drawn."""
    if not (is_terminal(stream) and find_spec("rich")):
        yield None
        return
    parts: Any = import_module("rich.progress")
    rich = _rich(stream)
    rich.width -= 1  # A line that is full is two on some terminals, and cannot be taken back.
    said = parts.TextColumn("{task.fields[said]}", markup=False)
    shown = [said]
    if rich.width >= _WIDE_ENOUGH_FOR_A_BAR:
        # What COLUMNS says may be any number.
        length = min(rich.width - _WIDE_ENOUGH_FOR_A_BAR + 12, _LONGEST_BAR)
        shown = [parts.BarColumn(bar_width=length), said]
    with parts.Progress(*shown, console=rich, transient=True, auto_refresh=False) as progress:
        yield Bar(progress, progress.add_task("", total=total, said=""))


def _rich(stream: TextIO) -> Any:
    return import_module("rich.console").Console(
        file=stream, no_color=not has_colour(stream), highlight=False
    )
