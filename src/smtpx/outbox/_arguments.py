"""What callers give to the outbox alone, looked at where they give it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from smtpx import _checks
from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.errors import AddressError

from ._schedule import Limit
from .states import State

__all__ = [
    "campaign_name",
    "check_cursor",
    "check_several",
    "id_of",
    "key_of",
    "limits_of",
    "moment_of",
    "recipient_of",
    "seconds_of",
    "state_of",
]

# Longer names would not fit every index.
_LONGEST = 255
# No event has a larger number.
_LAST = 2**63 - 1


def key_of(name: str, value: object) -> str | None:
    """Take a name of 1 to 255 characters, or ``None``."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise _checks.complaint(name, value, "a str or None")
    if not 0 < len(value) <= _LONGEST:
        raise ValueError(
            f"{name}: give 1 to {_LONGEST} characters, not {len(value)}; "
            "a hash of what is longer will do"
        )
    return id_of(name, value)


def id_of(name: str, value: object) -> str:
    """Take a `str` that a database takes, too."""
    _checks.text(name, value)
    text = str(value)
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError(f"{name}: give text without NUL and halves of surrogate pairs")
    return text


def campaign_name(value: object) -> str:
    """Take the name of a campaign; empty for ``None``."""
    return key_of("campaign", value) or ""


def check_several(name: str, value: Any, what: str) -> None:
    """Make sure that it is an iterable, and not one thing that happens to be one."""
    if _checks.is_one(value) or isinstance(value, Envelope) or not hasattr(value, "__iter__"):
        raise _checks.complaint(name, value, f"an iterable of {what}")


def seconds_of(name: str, value: object) -> float:
    """Take a `timedelta` above 0."""
    if not isinstance(value, timedelta):
        raise _checks.complaint(name, value, "a datetime.timedelta")
    if value <= timedelta(0):
        raise ValueError(f"{name}={value}: give a timedelta above 0")
    return value.total_seconds()


def moment_of(name: str, value: object) -> float | None:
    """Take a `datetime` with a time zone, as seconds since the epoch; or ``None``."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise _checks.complaint(name, value, "a datetime with a time zone or None")
    if value.utcoffset() is None:
        raise ValueError(f"{name}={value}: it has no time zone: give datetime.now({UTC}) and such")
    return value.timestamp()


def recipient_of(value: object) -> Address:
    """Take an `Address`, or one as text; ``postmaster`` needs no domain."""
    if isinstance(value, Address):
        return value
    _checks.text("recipient", value)
    try:
        return Address.parse(str(value), bare_local_part=True)
    except AddressError as error:
        raise AddressError(f"recipient: {error}") from error


def check_cursor(name: str, value: object) -> None:
    """Make sure that it is the number of an event, or 0."""
    _checks.count(name, value, 0, _LAST)


def state_of(name: str, value: object) -> State | None:
    """Take a `State` or ``None``."""
    if value is not None and not isinstance(value, State):
        raise _checks.complaint(name, value, "a smtpx.outbox.State or None")
    return value


def limits_of(value: object) -> Mapping[str, Limit]:
    """Take limits by the name of a destination, or ``None``."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _checks.complaint(
            "limits", value, "a dict of destinations and smtpx.outbox.Limit, or None"
        )
    limits: dict[str, Limit] = {}
    for name, limit in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not isinstance(limit, Limit):
            raise TypeError(
                "limits: give a dict such as {'*': smtpx.outbox.Limit(rate=10)}, "
                f"not of {type(name).__name__} and {type(limit).__name__}"
            )
        destination = _destination(name)
        if destination in limits:
            raise ValueError(f"limits: {name!r} is there twice, in other words: give it once")
        limits[destination] = limit
    return limits


def _destination(name: str) -> str:
    """A domain as those of recipients are kept; ``"*"`` stands for each next hop."""
    if name == "*":
        return name
    try:
        return Address.parse(f"postmaster@{name.removesuffix('.')}").domain.lower()
    except AddressError:
        raise ValueError(
            f"limits: {name!r:.80} is no domain of recipients: give one, or '*' for each next hop"
        ) from None
