"""What an outbox is opened with, and what a message is put in with: declared once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from smtpx import _checks
from smtpx.addresses import Address
from smtpx.errors import AddressError

from ._arguments import (
    campaign_name,
    limits_of,
    moment_of,
    seconds_of,
)
from ._dispatching import Dispatcher
from ._putting import AT_ONCE, Terms
from ._schedule import Limit, Retries

__all__ = ["FIVE_DAYS", "OutboxOptions", "PutOptions", "Settings", "settings_of", "terms_of"]

FIVE_DAYS = timedelta(days=5)


class OutboxOptions(TypedDict, total=False):
    """The keyword arguments of an `Outbox`."""

    retries: Retries
    """When what was refused for now is tried again."""
    limits: Mapping[str, Limit] | None
    """How fast destinations are sent to, by all processes together: by the domain of the
    recipients, or ``"*"`` for each next hop."""
    lease: float
    """Seconds after which this worker is dead that shows no sign of life: others send what it had.
    """
    spool: str | Path | None
    """A directory for contents above 256 KiB. With SQLite it is beside the file. With PostgreSQL it
    has to be one that all machines share; without it they are kept in the database."""
    patience: float
    """Seconds to wait for other transactions, and for a database server that was restarted."""
    dispatcher: Dispatcher | None
    """The engine that has batches delivered; without one, that is `Outbox.run`."""
    bounces: str | None
    """The address that reports come from which the sender gets of what was refused or has expired
    (RFC 3464). Without it there are none; none is sent to the null sender, nor of a template."""
    warn_after: timedelta | None
    """For how long a message may wait, from when it was due on, until its sender is told so, once.
    Without it nobody is; `bounces` says whom it comes from."""
    overdue: float
    """Seconds after which `Outbox.reconcile` calls out a batch that is due and untouched."""


class PutOptions(TypedDict, total=False):
    """The keyword arguments of all that puts messages into an outbox."""

    not_before: datetime | None
    """Nothing is tried before; a datetime with a time zone."""
    expires: timedelta
    """For how long it is tried, from now or `not_before` on: five days, if nothing is said."""
    priority: int
    """Of what is due, the higher goes first; 0, if nothing is said."""
    on_doubt: Literal["resend", "hold"]
    """What is done where a crash, or a lost connection, leaves unknown whether it was accepted.

    ``"resend"``, the default, sends it again with the same Message-ID, as every mail server does.
    ``"hold"`` never sends it twice: it stays in doubt until `resolve`, or a late outcome.
    """
    campaign: str | None
    """A name under which `counts` tells of it."""


for _public in (OutboxOptions, PutOptions):
    _public.__module__ = "smtpx.outbox"


class Settings(NamedTuple):
    """The options of an outbox, complete and checked."""

    retries: Retries
    limits: Mapping[str, Limit]
    lease: float
    spool: Path | None
    patience: float
    dispatcher: Dispatcher | None
    bounces: str | None
    warn_after: float | None
    overdue: float


def settings_of(options: OutboxOptions) -> Settings:
    """Complete the options, and look at them.

    Raises:
        TypeError, ValueError: one of them is wrong, or there is no such option.
    """
    _check_names(options, OutboxOptions)
    retries = options.get("retries", Retries())
    if not isinstance(retries, Retries):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("retries", retries, "a smtpx.outbox.Retries")
    lease, patience = options.get("lease", 30.0), options.get("patience", 30.0)
    _checks.amount("lease", lease, "seconds")
    _checks.amount("patience", patience, "seconds")
    overdue = options.get("overdue", 30.0)
    _checks.amount("overdue", overdue, "seconds")
    spool = options.get("spool")
    if spool == "" or not (spool is None or isinstance(spool, (str, Path))):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _checks.complaint("spool", spool, "the path of a directory or None")
    bounces = options.get("bounces")
    _checks.text("bounces", bounces, or_none=True)
    warn_after = options.get("warn_after")
    if warn_after is not None and bounces is None:
        raise ValueError("warn_after: give bounces, too: the address that warnings come from")
    dispatcher = options.get("dispatcher")
    if dispatcher is not None and (
        isinstance(dispatcher, type)
        or not callable(getattr(dispatcher, "wake", None))
        or not isinstance(getattr(dispatcher, "transactional", None), bool)
    ):
        raise _checks.complaint(
            "dispatcher",
            dispatcher,
            "one of smtpx.outbox.dispatchers, with `wake` and `transactional`, or None",
        )
    return Settings(
        retries,
        limits_of(options.get("limits")),
        min(float(lease), _checks.LONGEST_WAIT),
        None if spool is None else Path(spool),
        min(float(patience), _checks.LONGEST_WAIT),
        dispatcher,
        None if bounces is None else _address("bounces", bounces),
        None if warn_after is None else seconds_of("warn_after", warn_after),
        overdue,
    )


def terms_of(options: PutOptions, now: float, warn_after: float | None = None) -> Terms:
    """Complete the options of what is put in, and look at them; `warn_after` is in seconds.

    Raises:
        TypeError, ValueError: one of them is wrong, or there is no such option.
    """
    _check_names(options, PutOptions)
    priority, on_doubt = options.get("priority", 0), options.get("on_doubt", "resend")
    _checks.count("priority", priority, -1000, 1000)
    _checks.one_of("on_doubt", on_doubt, ("resend", "hold"))
    due = moment_of("not_before", options.get("not_before")) or AT_ONCE
    return Terms(
        campaign=campaign_name(options.get("campaign")),
        hold=on_doubt == "hold",
        priority=priority,
        due=due,
        expires=max(due, now) + seconds_of("expires", options.get("expires", FIVE_DAYS)),
        now=now,
        warn=None if warn_after is None else max(due, now) + warn_after,
    )


def _address(name: str, value: str) -> str:
    try:
        return str(Address.parse(value))
    except AddressError as error:
        raise AddressError(f"{name}: {error}") from error


def _check_names(options: Mapping[str, Any], known: Any) -> None:
    if unknown := options.keys() - known.__annotations__.keys():
        raise _checks.unknown("option", unknown, known.__annotations__)
