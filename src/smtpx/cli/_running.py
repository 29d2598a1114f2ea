"""Runs one command: its arguments, and what becomes of whatever it raises."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn, Protocol, cast

from smtpx.cli._console import Console, printable, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import Signals

__all__ = [
    "Command",
    "Parser",
    "count_of",
    "loaded",
    "port_of",
    "requests_to_end",
    "run",
    "seconds_of",
]

_HIDDEN = "\0"  # No word of a command line has one.
_NO_VALUE = re.compile("argument (-[^/:]+).*: expected one argument")
_FILES = re.compile(r"FILE|DIR|OUT|PEM|ROWS|LEDGER|COMMAND")
_FORMS = ("json", "jsonl", "csv")


class Command(Protocol):
    """What each module of a command has."""

    def parser(self) -> Parser:
        """What it takes."""
        ...

    def run(self, arguments: argparse.Namespace, console: Console) -> int:
        """Do it, and return the exit code."""
        ...


class Parser(argparse.ArgumentParser):
    """A command's parser: exact options, and the ones that all commands share."""

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            f"smtpx {command}",
            description=description,
            epilog=epilog,
            # Half an option must not mean another one with the next release.
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        shared = self.add_argument_group("output")
        shared.add_argument("--json", action="store_true", help="print one JSON document")
        shared.add_argument("-q", "--quiet", action="store_true", help="print errors only")
        shared.add_argument(
            *("-v", "--verbose"),
            action="count",
            default=0,
            help="show the dialogue; -vv with times",
        )
        shared.add_argument("--debug", action="store_true", help="show Python's traceback")

    def print_help(self, file: object = None) -> None:
        """Tell what it takes, on standard output."""
        written(sys.stdout, self.format_help())

    def read(self, words: Sequence[str], given: Mapping[str, object]) -> argparse.Namespace:
        """Read a command line, beside what is `given`; after ``--`` there are no options."""
        # argparse forgets that between the options and the other words.
        end = words.index("--") if "--" in words else len(words)
        others = [f"{_HIDDEN}{word}" if word[:1] == "-" else word for word in words[end + 1 :]]
        arguments = self.parse_intermixed_args([*words[:end], *others], argparse.Namespace(**given))
        for name, value in vars(arguments).items():
            if isinstance(value, str):
                setattr(arguments, name, value.removeprefix(_HIDDEN))
            elif isinstance(value, list):
                shown = [
                    each.removeprefix(_HIDDEN) if isinstance(each, str) else each
                    for each in cast("list[object]", value)
                ]
                setattr(arguments, name, shown)
        self._check_words(arguments)
        return arguments

    def _check_words(self, arguments: argparse.Namespace) -> None:
        """Only the name of a file may be octets that are no text here; and it is not empty."""
        for action in self._actions:
            given: object = getattr(arguments, action.dest, None)
            values = cast("list[object]", given) if isinstance(given, list) else [given]
            for value in values:
                names_file = _FILES.search(str(action.metavar)) is not None
                flag = action.option_strings[0] if action.option_strings else action.metavar
                if value == "" and names_file:
                    self.error(f"{flag} is empty, as of a variable that is not set: name a file")
                if not isinstance(value, str) or value.isascii() or _is_text(value):
                    continue
                if not (names_file and _may_be_file(value)):
                    shown = os.fsencode(value).decode(errors="backslashreplace")
                    encoding = sys.getfilesystemencoding().upper()
                    self.error(
                        f"{flag} '{shown}' is no {encoding}, which this terminal's locale wants: "
                        "write it so, or set LC_ALL to the locale that it is written in"
                    )

    def error(self, message: str) -> NoReturn:
        """End with one sentence and what to do."""
        if match := _NO_VALUE.fullmatch(message):
            sign = "=" if match[1].startswith("--") else ""
            message += f" (one that begins with a dash is written {match[1]}{sign}VALUE)"
        said = printable(message.replace(repr(_HIDDEN)[1:-1], "").replace(_HIDDEN, ""))
        raise _Misused(f"{self.prog}: {said}. See {self.prog} --help.")


def _is_text(value: str) -> bool:
    try:
        _ = value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_be_file(value: str) -> bool:
    return "://" not in value and ("@" not in value or Path(value).exists())


def count_of(text: str) -> int:
    """Read a number of things: 1 or more.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def port_of(text: str) -> int:
    """Read the number of a port.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not 0 < (port := count_of(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 1 to 65535")
    return port


def seconds_of(text: str) -> float:
    """Read a time in seconds, above 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return float(text)


class _Misused(Exception):
    """What is wrong with the command line."""


def loaded(name: str) -> Command:
    """The module of a command."""
    return cast("Command", import_module(f"smtpx.cli.{name}"))


def run(name: str, words: Sequence[str], **given: object) -> int:
    """Run the command `name`; return its exit code, whatever happens.

    What is `given` is among its arguments, beside what the words say.
    """
    with _terminable():
        return _run(name, words, given)


def _run(name: str, words: Sequence[str], given: Mapping[str, object]) -> int:
    command = loaded(name)
    try:
        parser = command.parser()
        arguments = parser.read(words, {"said": words, **given})
        forms = [form for form in _FORMS if getattr(arguments, form, False)]
        if len(forms) > 1:
            parser.error(f"--{forms[0]} and --{forms[1]}: give one of them")
    except SystemExit:
        return 0  # --help has been told.
    except _Misused as error:
        written(sys.stderr, f"{error}\n")
        failure = {"error": {"kind": "Usage", "message": str(error)}}
        Console(json="--json" in words).document(name, 2, failure)
        return 2
    console = Console(
        json=arguments.json,
        lines=forms not in ([], ["json"]),
        quiet=arguments.quiet,
        verbose=arguments.verbose,
    )
    try:
        return command.run(arguments, console)
    except (KeyboardInterrupt, Exception) as error:
        if arguments.debug:
            import traceback

            written(sys.stderr, traceback.format_exc())
        if isinstance(error, KeyboardInterrupt):
            return _interrupted(name, console, error)
        return _failed(name, console, error)


def requests_to_end() -> list[Signals]:
    """The signals that ask a program to end; one that is ignored, as by nohup, stays so.

    There are none in a thread, which cannot take them.
    """
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return []
    named = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    there = [each for each in named if each is not None]
    return [each for each in there if signal.getsignal(each) is not signal.SIG_IGN]


@contextmanager
def _terminable() -> Generator[None]:
    """A request to end is told of as Ctrl-C is; whoever has a way of their own keeps it."""
    import signal

    taken = [each for each in requests_to_end() if signal.getsignal(each) is signal.SIG_DFL]
    for each in taken:
        _ = signal.signal(each, signal.default_int_handler)
    try:
        yield
    finally:
        for each in taken:
            _ = signal.signal(each, signal.SIG_DFL)


def _interrupted(name: str, console: Console, interrupt: KeyboardInterrupt) -> int:
    from smtpx.cli import _exits, _shapes

    # A result that exists is never lost: it hangs on the interrupt.
    result = _shapes.result_of(interrupt)
    told: dict[str, object] = {}
    said = "interrupted"
    if result is not None:
        told = _shapes.result(result)
        firsts = "; ".join(str(each) for each in result.outcomes[:3])
        said += f": {printable(firsts)}{_shapes.DOUBT if result.in_doubt else ''}"
    console.problem(said)
    code = _exits.Exit.INTERRUPTED
    console.document(name, code, {**told, "error": _shapes.INTERRUPTED})
    return code


def _failed(name: str, console: Console, error: Exception) -> int:
    import smtpx
    from smtpx.cli import _exits, _shapes

    if isinstance(error, _exits.Stop):
        code = error.code
    elif isinstance(error, smtpx.SMTPError):
        code = _exits.of_error(error)
    elif isinstance(error, OSError):
        code = _exits.Exit.USAGE if error.filename else _exits.Exit.NOT_CONNECTED
    elif isinstance(error, ValueError):
        code = _exits.Exit.USAGE  # An argument that smtpx itself found wrong.
    else:
        code = _exits.Exit.MISTAKE
    said = printable(_shapes.sentence_of(error))
    if code is _exits.Exit.MISTAKE:
        said = f"a mistake in smtpx ({type(error).__name__}: {said}): --debug shows where"
    console.problem(said)
    console.document(name, code, {"error": _shapes.error(error)})
    return code
