"""The command ``smtpx``: SMTP for people who write no Python.

Each command is a module of its own, with a `parser()` and a `run()`. Only the one that is called
is imported, so that ``smtpx --version`` costs no more than Python itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from smtpx import Endpoint, PoolLimits, SessionOptions
    from smtpx.outbox import OutboxOptions

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "send": "send a message: from flags, a file, or standard input as sendmail does",
    "doctor": "ask a server what it would do with mail; nothing is sent",
    "serve": "catch mail on this machine, and show it in a browser",
    "check": "find what is wrong with a message",
    "bounces": "read delivery reports and complaints",
    "outbox": "see, and settle, what an outbox holds",
    "bench": "measure smtpx against a server of yours",
    "completion": "print what completes this command in a shell",
}
"""Each command, with what it is for."""

_ALIASES = {"probe": "doctor"}


def main(
    argv: Sequence[str] | None = None,
    *,
    accounts: Mapping[str, tuple[Endpoint, PoolLimits | None, SessionOptions]] | None = None,
    outbox: tuple[str, OutboxOptions] | None = None,
) -> int:
    """Run the command, and return its exit code; `argv` is without the program's own name.

    A program that has it as a command of its own gives what its settings say: `accounts` by name,
    which go before those of smtpx.toml, ``"default"`` before ``SMTPX_URL``; and the `outbox` that
    is meant where ``--db`` names none, as URL and options.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        from smtpx.cli._console import Streams

        with Streams():
            return _run(words, accounts or {}, outbox)
    except KeyboardInterrupt:  # A command tells of it better, once it runs.
        return _interrupted()


def _run(
    words: list[str],
    accounts: Mapping[str, tuple[Endpoint, PoolLimits | None, SessionOptions]],
    outbox: tuple[str, OutboxOptions] | None,
) -> int:
    first = words[0] if words else "--help"
    if first == "--version":
        from smtpx import __version__

        return _said(f"smtpx {__version__}\n")
    if first in ("-h", "--help", "help"):
        return _said(_help())
    name = _ALIASES.get(first, first)
    if name not in COMMANDS:
        return _unknown(first)
    from smtpx.cli._running import run

    return run(name, words[1:], accounts=accounts, outbox=outbox)


def _interrupted() -> int:
    from smtpx.cli._console import Streams, written

    with Streams():
        written(sys.stderr, "smtpx: interrupted\n")
    return 130


def _said(text: str) -> int:
    from smtpx.cli._console import written

    written(sys.stdout, text)
    return 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    listed = "".join(f"  {name:{width}}  {purpose}\n" for name, purpose in COMMANDS.items())
    return (
        "usage: smtpx COMMAND ...\n\n"
        f"{listed}\n"
        "smtpx COMMAND --help tells what each takes. smtpx --version tells which smtpx this is.\n"
    )


def _unknown(word: str) -> int:
    from difflib import get_close_matches

    from smtpx.cli._console import printable, written

    near = get_close_matches(word, [*COMMANDS, *_ALIASES], 1)
    guess = f" Did you mean {near[0]}?" if near else ""
    written(sys.stderr, f"smtpx: there is no command {printable(word)!r}.{guess}\n{_help()}")
    return 2
