"""The outboxes of this process, each in a database that Django has."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode

from django.db import DEFAULT_DB_ALIAS, connections
from django.views.decorators.debug import sensitive_variables

from smtpx import SMTPError, _checks
from smtpx.outbox import AsyncOutbox, LedgerUnavailable, Outbox, OutboxOptions

__all__ = ["Kept", "opened", "read", "url_of"]

# What Django's own backend for PostgreSQL takes, and libpq does not.
_DJANGO_ALONE = {
    *("assume_role", "isolation_level", "pool"),
    *("prepare_threshold", "server_side_binding"),
}


_OPTIONS = ("database", *OutboxOptions.__annotations__)


class Kept(NamedTuple):
    """Where mail is kept until it is sent, and how."""

    database: str
    """The alias of one of Django's databases."""
    options: OutboxOptions


@sensitive_variables()
def read(given: object) -> Kept:
    """Read what the option ``outbox`` says.

    Raises:
        ValueError, TypeError, smtpx.SMTPError: a part of it is wrong, or unknown, or that database
            cannot have an outbox.
    """
    if not isinstance(given, Mapping):
        raise _checks.complaint("outbox", given, "a dict such as {'database': 'default'}, or None")
    options = dict(cast("Mapping[str, Any]", given))
    if unknown := options.keys() - _OPTIONS:
        raise _checks.unknown("option of outbox", unknown, _OPTIONS)
    database = options.pop("database", DEFAULT_DB_ALIAS)
    if database not in connections:
        raise ValueError(f"outbox: DATABASES has no {database!r}")
    kept = Kept(database, cast("OutboxOptions", options))
    try:
        _ = AsyncOutbox(url_of(database), **kept.options)  # It looks at them, and opens nothing.
    except (TypeError, ValueError, SMTPError) as error:
        raise type(error)(f"outbox: {error}") from error
    return kept


@sensitive_variables()
def url_of(database: str) -> str:
    """The URL by which a worker finds the outbox that a database has.

    Raises:
        ValueError: it can have none.
    """
    connection = connections[database]
    vendor: str = connection.vendor
    if vendor == "sqlite":
        return _sqlite_url(database, connection.settings_dict["NAME"])
    if vendor == "postgresql":
        return _postgresql_url(connection.settings_dict)
    raise ValueError(
        f"an outbox is in SQLite or in PostgreSQL, and {database!r} is {vendor}: name "
        "another of DATABASES, such as an SQLite file that has nothing else"
    )


def _sqlite_url(database: str, name: object) -> str:
    path = str(name)
    if not path or ":memory:" in path or "mode=memory" in path:
        raise ValueError(
            f"the database {database!r} is in memory, and what is there survives nothing. Is it "
            f"that of `manage.py test`? Give DATABASES[{database!r}] "
            'a "TEST": {"NAME": …} that is a file'
        )
    if path.startswith("file:"):
        raise ValueError(f"give the database {database!r} a NAME that is a path, no URI")
    return f"sqlite:///{quote(Path(path).absolute().as_posix())}"


@sensitive_variables()
def _postgresql_url(said: Mapping[str, Any]) -> str:
    """What libpq is told of it, as a URL."""
    others: dict[str, Any] = {
        name: value
        for name, value in said["OPTIONS"].items()
        if name not in _DJANGO_ALONE and isinstance(value, (str, int))
    }
    for name, setting in (("host", "HOST"), ("port", "PORT")):
        if said[setting]:
            others[name] = said[setting]
    user, password = quote(str(said["USER"]), ""), quote(str(said["PASSWORD"]), "")
    who = f"{user}:{password}@" if password else f"{user}@" if user else ""
    name = quote(str(said["NAME"] or ""), "")
    return f"postgresql://{who}/{name}?{urlencode(others, quote_via=quote)}"


# The transaction of the first mail may be what keeps the outbox from making them.
_NO_TABLES = (
    "if the outbox has no tables yet, put smtpx.integrations.django into INSTALLED_APPS and run "
    "manage.py migrate"
)
_by_kept: list[tuple[str, OutboxOptions, Outbox]] = []
_lock = Lock()


def opened(kept: Kept) -> Outbox:
    """The process's outbox there; its tables are made if they are missing.

    It holds no connection until it is asked for something.

    Raises:
        smtpx.outbox.OutboxError: there is none to be had.
        TypeError, ValueError, ExtraMissing: one of its options is wrong.
    """
    url = url_of(kept.database)
    with _lock:
        known = [one for where, options, one in _by_kept if (where, options) == (url, kept.options)]
        if known:
            return known[0]
        try:
            outbox = Outbox(url, **kept.options)
        except LedgerUnavailable as error:
            if not connections[kept.database].in_atomic_block:
                raise
            raise LedgerUnavailable(f"{error}; {_NO_TABLES}") from error
        # The connection is Django's, where mail is put in; and a test's database is to be removed.
        outbox.close()
        _by_kept.append((url, kept.options, outbox))
        return outbox


@atexit.register
def _at_exit() -> None:
    for _, _, outbox in _by_kept:
        outbox.close()
