"""What callers give to the outbox, looked at where they give it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

from ._schedule import Limit
from .states import State

__all__ = [
    "amount",
    "campaign_name",
    "flag",
    "key_of",
    "limits_of",
    "moment_of",
    "number",
    "one_of",
    "seconds_of",
    "state_of",
    "text",
]

# Longer names would not fit every index.
_LONGEST = 255


def text(name: str, value: object, *, or_none: bool = False) -> None:
    """Take a `str`."""
    if not (isinstance(value, str) or (or_none and value is None)):
        raise _wrong(name, value, "a str or None" if or_none else "a str")


def key_of(name: str, value: object) -> str | None:
    """Take a name of 1 to 255 characters, or ``None``."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong(name, value, "a str or None")
    if not 0 < len(value) <= _LONGEST or "\0" in value:
        raise ValueError(
            f"{name}: give 1 to {_LONGEST} characters and no NUL, not {len(value)}; "
            "a hash of what is longer will do"
        )
    return value


def campaign_name(value: object) -> str:
    """Take the name of a campaign; empty for ``None``."""
    return key_of("campaign", value) or ""


def flag(name: str, value: object) -> None:
    """Take True or False."""
    if value is not True and value is not False:
        raise _wrong(name, value, "True or False")


def number(name: str, value: object, least: int, most: int | None = None) -> None:
    """Take an `int` of a range."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, value, "an int")
    if value < least or (most is not None and value > most):
        span = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name}={value}: give {span}")


def amount(name: str, value: object) -> None:
    """Take a finite number above 0."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(name, value, "seconds as a number")
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r}: give seconds above 0")


def one_of(name: str, value: object, *words: str) -> None:
    """Take one of some words."""
    allowed = " or ".join(repr(word) for word in words)
    if not isinstance(value, str):
        raise _wrong(name, value, allowed)
    if value not in words:
        raise ValueError(f"{name}={value[:60]!r}: give {allowed}")


def seconds_of(name: str, value: object) -> float:
    """Take a `timedelta` above 0."""
    if not isinstance(value, timedelta):
        raise _wrong(name, value, "a datetime.timedelta")
    if value <= timedelta(0):
        raise ValueError(f"{name}={value}: give a timedelta above 0")
    return value.total_seconds()


def moment_of(name: str, value: object) -> float | None:
    """Take a `datetime` with a time zone, as seconds since the epoch; or ``None``."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise _wrong(name, value, "a datetime with a time zone or None")
    if value.utcoffset() is None:
        raise ValueError(f"{name}={value}: it has no time zone: give datetime.now({UTC}) and such")
    return value.timestamp()


def state_of(name: str, value: object) -> State | None:
    """Take a `State` or ``None``."""
    if value is not None and not isinstance(value, State):
        raise _wrong(name, value, "a smtpx.outbox.State or None")
    return value


def limits_of(value: object) -> Mapping[str, Limit]:
    """Take limits by the name of a destination, or ``None``."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong("limits", value, "a dict of destinations and smtpx.outbox.Limit, or None")
    limits: dict[str, Limit] = {}
    for name, limit in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not isinstance(limit, Limit):
            raise TypeError(
                "limits: give a dict such as {'*': smtpx.outbox.Limit(rate=10)}, "
                f"not of {type(name).__name__} and {type(limit).__name__}"
            )
        limits[name.lower()] = limit
    return limits


def _wrong(name: str, value: object, allowed: str) -> TypeError:
    given = value.__name__ + " itself" if isinstance(value, type) else type(value).__name__
    return TypeError(f"{name}: give {allowed}, not {given}")
