"""What ``manage.py check`` says of the mail settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as project
from django.core.checks import CheckMessage, Error, Warning

from smtpx import Endpoint, EndpointError
from smtpx.integrations.django._mailers import MISTAKES, as_dict, mailers, named
from smtpx.integrations.django._settings import Settings
from smtpx.integrations.logs import MailHandler


def check_mail(**_: Any) -> list[CheckMessage]:
    """Look at each mailer that is ours; nothing is dialled.

    ``smtpx.E001``: it cannot be made. ``smtpx.E002``: it puts mail into an outbox from which a
    worker sends by another server. ``smtpx.W001``: it sends in plain text over a network.
    ``smtpx.W002``: a password is where error reports show it; so it may be in ``LOGGING``.
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
        if settings.endpoint.password is not None:
            hint = "Give username and password beside the url: what has that name is hidden."
            messages.append(_shown_password(mailer.setting, hint))
        if settings.outbox is not None:
            first, others = by_database.setdefault(
                settings.outbox.database, (mailer.setting, settings)
            )
            if settings != others:
                messages.append(_two_in_one(first, mailer.setting, settings.outbox.database))
    hint = "Have a function add the url: docs/logging.md shows one."
    return messages + [_shown_password(handler, hint) for handler in _telling_handlers()]


def _shown_password(where: str, hint: str) -> CheckMessage:
    return Warning(
        f"{where}: the password in it is shown in Django's error reports.",
        hint=hint,
        id="smtpx.W002",
    )


def _telling_handlers() -> Iterator[str]:
    """The handlers in ``LOGGING`` that have a password of ours."""
    for name, config in as_dict(as_dict(project.LOGGING).get("handlers")).items():
        said = as_dict(config)
        if named(said.get("class"), MailHandler) is None:
            continue
        if said.get("credentials") is not None or _has_password(said.get("url")):
            yield f"LOGGING['handlers'][{name!r}]"


def _has_password(url: object) -> bool:
    try:
        return isinstance(url, str) and Endpoint.parse(url).password is not None
    except EndpointError:
        return False  # The handler itself complains.


def _two_in_one(first: str, second: str, database: str) -> CheckMessage:
    return Error(
        f"{first} and {second} put mail into one outbox, that of the database {database!r}, and "
        "differ in their options: a worker would send the mail of both by those of one.",
        hint="Give each an outbox in a database of its own, such as an SQLite file.",
        id="smtpx.E002",
    )
