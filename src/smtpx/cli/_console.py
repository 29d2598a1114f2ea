"""Where the command speaks: results on standard output, the story on standard error.

A reader that has gone away (``| head``) ends the output, and changes nothing else: what was sent
was sent, and the exit code says so.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

__all__ = [
    "SCHEMA",
    "Console",
    "Streams",
    "cell",
    "columns",
    "counted",
    "has_colour",
    "printable",
    "written",
]

SCHEMA = 1
"""The version of everything that is printed as JSON."""

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}


def counted(count: int, noun: str) -> str:
    """So many of a thing."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


class Console:
    """One run's output, as its flags want it."""

    def __init__(
        self, *, json: bool = False, lines: bool = False, quiet: bool = False, verbose: int = 0
    ) -> None:
        """With `json` the result is one document; with `lines`, what the command prints as such."""
        self.json = json
        self.is_for_people = not (json or lines or quiet)
        self.quiet = quiet
        self.verbose = verbose

    def result(self, text: str = "", colour: str = "") -> None:
        """A line of the result; nothing where programs read it, or silence is wanted."""
        if self.is_for_people:
            written(sys.stdout, _painted(sys.stdout, text, colour) + "\n")

    def story(self, text: str, colour: str = "") -> None:
        """A line of what happens meanwhile, for whoever watches."""
        if not self.quiet:
            written(sys.stderr, _painted(sys.stderr, text, colour) + "\n")

    def warning(self, text: str) -> None:
        """What the user should change, though it works."""
        written(sys.stderr, _painted(sys.stderr, f"smtpx: warning: {text}", "yellow") + "\n")

    def problem(self, text: str) -> None:
        """Why the exit code is not 0: said even where silence is wanted."""
        written(sys.stderr, _painted(sys.stderr, f"smtpx: {text}", "red") + "\n")

    def document(self, command: str, code: int, fields: Mapping[str, object]) -> None:
        """The one JSON document of a run."""
        if self.json:
            self.line({"schema": SCHEMA, "command": command, "exit": int(code), **fields})

    def line(self, value: Mapping[str, object]) -> None:
        """A JSON value on a line of its own."""
        import json

        # What is not ASCII is escaped: half of a surrogate pair could not be written.
        written(sys.stdout, json.dumps(value) + "\n")


class _Closed(io.TextIOWrapper):
    """In place of an output that was closed: the first who writes there hears of it.

    It keeps the number of the descriptor, which would else be that of a file or a socket.
    """

    _is_told = False

    def write(self, text: str, /) -> int:
        """Fail once.

        Raises:
            OSError: it is closed.
        """
        if not self._is_told:
            self._is_told = True
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return len(text)


class Streams:
    """All three while it is entered: Python has None in place of one that was closed before."""

    def __enter__(self) -> None:
        self._put = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
        for name in self._put:
            nowhere = io.FileIO(os.devnull, "r" if name == "stdin" else "w")
            # That nobody reads the story can be told to nobody.
            kind = _Closed if name == "stdout" else io.TextIOWrapper
            buffer = io.BufferedReader(nowhere) if name == "stdin" else io.BufferedWriter(nowhere)
            setattr(sys, name, kind(buffer, encoding="utf-8"))

    def __exit__(self, *_: object) -> None:
        for name in self._put:
            getattr(sys, name).close()
            setattr(sys, name, None)


def written(stream: TextIO, text: str) -> None:
    """Write and flush; go on without a word where nobody reads.

    What cannot be written is told on standard error: it changes nothing of what has been done.
    """
    try:
        try:
            _ = stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            _ = stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        # Else the interpreter would complain of it once more at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError) and stream is not sys.stderr:
            written(sys.stderr, f"smtpx: the output cannot be written: {error.strerror}\n")


def has_colour(stream: TextIO) -> bool:
    """True if colours are wanted there (NO_COLOR, FORCE_COLOR, TERM)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _painted(stream: TextIO, text: str, colour: str) -> str:
    if not (colour and text and has_colour(stream)):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def printable(text: str) -> str:
    """A stranger's text, fit for a terminal: on one line, and without what moves the cursor."""
    return "".join(
        character if character.isprintable() else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    return " " if character in "\t\r\n" else character.encode("unicode_escape").decode("ascii")


def cell(text: str) -> str:
    """A stranger's text in a table: no formula, where that is opened as a sheet."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of texts as lines, each column as wide as its widest text, two spaces between."""
    if not rows:
        return []
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
