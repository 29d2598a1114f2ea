"""``manage.py smtpx``: the command ``smtpx``, for the mail settings of the project."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from smtpx.cli import main
from smtpx.integrations.django._mailers import MISTAKES, mailers
from smtpx.integrations.django._outboxes import url_of
from smtpx.integrations.django._settings import Settings

_COMMANDS = {
    "doctor": "ask the server of the mailer what it would do with mail; nothing is sent",
    "outbox": "run: send what is due; status, list, show, retry, resolve, cancel, reconcile",
}


class Command(BaseCommand):
    """Hands its words to the command ``smtpx``, with the mailers as accounts."""

    help = "Ask the mail server (doctor); send, see and settle what is in the outbox (outbox)."
    requires_system_checks = ()  # The doctor is asked where something is wrong.

    def add_arguments(self, parser: CommandParser) -> None:
        """What it takes."""
        parser.add_argument("--mailer", default="default", help="which of MAILERS is meant")
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = "commands:\n" + "".join(
            f"  {name:8} {purpose}\n" for name, purpose in _COMMANDS.items()
        )
        parser.add_argument("command", choices=list(_COMMANDS), help="see below")
        parser.add_argument(
            "words",
            nargs=argparse.REMAINDER,
            help="as those of `smtpx doctor` and `smtpx outbox`: see their --help",
        )

    def handle(self, *, mailer: str, command: str, words: list[str], **_: Any) -> None:
        """Run it; its exit code becomes that of ``manage.py``."""
        read = _read()
        if mailer not in read:
            known = ", ".join(read) or "none at all"
            raise CommandError(f"there is no mailer {mailer!r} of smtpx: there is {known}")
        chosen = read[mailer]
        outbox = None
        if chosen.outbox is not None:
            outbox = url_of(chosen.outbox.database), chosen.outbox.options
        elif command == "outbox" and "--db" not in words:
            raise CommandError(f"the mailer {mailer!r} has no outbox: add it to its options")
        accounts = {name: (said.endpoint, said.pool, said.options) for name, said in read.items()}
        accounts["default"] = accounts[mailer]
        if code := main([command, *words], accounts=accounts, outbox=outbox):
            sys.exit(code)


def _read() -> dict[str, Settings]:
    """What each mailer says.

    Raises:
        CommandError: one of them is wrong.
    """
    try:
        return {mailer.alias: mailer.made()._settings for mailer in mailers()}
    except MISTAKES as error:
        raise CommandError(str(error)) from error
