"""What ``manage.py check`` says of the mail settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings as project
from django.core.checks import CheckMessage, Error, Warning
from django.views.debug import get_default_exception_reporter_filter

from smtpx import Endpoint, EndpointError
from smtpx.integrations.django._mailers import MISTAKES, Mailer, as_dict, mailers, named
from smtpx.integrations.django._settings import Settings
from smtpx.integrations.logs import MailHandler

_HINTS = {"url": "Give username and password beside the url: what has that name is hidden."}
_HINT = "Have a backend of your own add it: docs/django.md shows one."


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
        messages += [
            _shown_password(mailer.setting, option, _HINTS.get(option, _HINT))
            for option in _telling(_shown(mailer))
        ]
        if settings.outbox is not None:
            first, others = by_database.setdefault(
                settings.outbox.database, (mailer.setting, settings)
            )
            if settings != others:
                messages.append(_two_in_one(first, mailer.setting, settings.outbox.database))
    hint = "Have a function add it: docs/logging.md shows one."
    return messages + [_shown_password(*found, hint) for found in _telling_handlers()]


def _shown_password(where: str, option: str, hint: str) -> CheckMessage:
    return Warning(
        f"{where}: the password in its {option} is shown in Django's error reports.",
        hint=hint,
        id="smtpx.W002",
    )


def _telling_handlers() -> Iterator[tuple[str, str]]:
    """The handlers in ``LOGGING`` that are ours, and what of them has a password."""
    shown = _shown_settings().get("LOGGING")
    for name, config in as_dict(as_dict(shown).get("handlers")).items():
        said = as_dict(config)
        if named(said.get("class", said.get("()")), MailHandler) is None:
            continue
        where = f"LOGGING['handlers'][{name!r}]"
        if said.get("credentials") is not None:
            yield where, "credentials"
        for option in _telling(said):
            yield where, option


def _shown(mailer: Mailer) -> object:
    """The options of a mailer, as Django's error reports show them."""
    shown = _shown_settings()
    if hasattr(project, "MAILERS"):
        return as_dict(as_dict(shown.get("MAILERS")).get(mailer.alias)).get("OPTIONS")
    return shown.get("SMTPX")


def _shown_settings() -> Mapping[str, Any]:
    settings: dict[str, Any] = get_default_exception_reporter_filter().get_safe_settings()
    return settings


def _telling(shown: object, option: str = "") -> Iterator[str]:
    """The options, those within others too, that have a URL with a password."""
    if isinstance(shown, str):
        if _has_password(shown):
            yield option
    elif isinstance(shown, Mapping):
        for name, value in cast("Mapping[str, object]", shown).items():
            yield from _telling(value, name)
    elif isinstance(shown, (list, tuple)):
        for value in cast("Sequence[object]", shown):
            yield from _telling(value, option)


def _has_password(text: str) -> bool:
    """Whether it is a URL with a password, of whatever kind."""
    try:
        if urlsplit(text).password is not None:
            return True
    except ValueError:
        pass
    try:
        return Endpoint.parse(text).password is not None  # Of a service, without an @ behind it.
    except EndpointError:
        return False  # Whoever is given it complains.


def _two_in_one(first: str, second: str, database: str) -> CheckMessage:
    return Error(
        f"{first} and {second} put mail into one outbox, that of the database {database!r}, and "
        "differ in their options: a worker would send the mail of both by those of one.",
        hint="Give each an outbox in a database of its own, such as an SQLite file.",
        id="smtpx.E002",
    )
