"""What ``manage.py check`` says of the mail settings."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning

from smtpx.integrations.django._mailers import MISTAKES, mailers
from smtpx.integrations.django._settings import Settings


def check_mail(**_: Any) -> list[CheckMessage]:
    """Look at each mailer that is ours; nothing is dialled.

    ``smtpx.E001``: it cannot be made. ``smtpx.E002``: it puts mail into an outbox from which a
    worker sends by another server. ``smtpx.W001``: it sends in plain text over a network.
    """
    messages: list[CheckMessage] = []
    by_database: dict[str, tuple[str, Settings]] = {}
    for mailer in mailers():
        try:
            made = mailer.made()
        except MISTAKES as error:
            told = str(error).removeprefix(f"{mailer.setting}: ")  # An InvalidMailer says it.
            messages.append(Error(f"{mailer.setting}: {told}", id="smtpx.E001"))
            continue
        if made._is_exposed:
            messages.append(
                Warning(
                    f"{mailer.setting}: mail, and who gets it, goes over the network in plain "
                    "text.",
                    hint="Leave out use_tls=False and tls=none: STARTTLS is then required.",
                    id="smtpx.W001",
                )
            )
        settings = made._settings
        if settings.outbox is not None:
            first, others = by_database.setdefault(
                settings.outbox.database, (mailer.setting, settings)
            )
            if settings != others:
                messages.append(_two_in_one(first, mailer.setting, settings.outbox.database))
    return messages


def _two_in_one(first: str, second: str, database: str) -> CheckMessage:
    return Error(
        f"{first} and {second} put mail into one outbox, that of the database {database!r}, and "
        "differ in their options: a worker would send the mail of both by those of one.",
        hint="Give each an outbox in a database of its own, such as an SQLite file.",
        id="smtpx.E002",
    )
