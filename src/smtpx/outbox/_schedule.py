"""When a message is tried again, and how fast a destination is sent to. Pure."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from smtpx import _checks
from smtpx.replies import Reply

__all__ = [
    "HELD_MOST",
    "Limit",
    "Retries",
    "free_at",
    "granted",
    "held_for",
    "is_greylisting",
    "pause",
]

# Seconds for which nothing is sent to what could not be reached, at first and at the most.
_HELD, HELD_MOST = 1.0, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """The schedule by which a refusal for now is followed by another attempt.

    The pauses grow from `first` by `factor` to `most`. Each is longer or shorter by up to `jitter`
    of itself: what failed together does not come back together.
    """

    __module__ = "smtpx.outbox"

    first: float = 300.0
    """Seconds after the first refusal."""
    factor: float = 2.0
    most: float = 4080.0
    """Seconds between attempts, at the most."""
    greylisted: float = 90.0
    """Seconds after a first refusal that reads like greylisting (RFC 6647)."""
    jitter: float = 0.2

    def __post_init__(self) -> None:
        for name in ("first", "most", "greylisted"):
            _check_amount(name, getattr(self, name))
        _check_amount("factor", self.factor, least=1.0)
        _check_amount("jitter", self.jitter, least=0.0, most=0.9)


def pause(retries: Retries, attempts: int, reply: Reply | None, chance: float) -> float:
    """Seconds until the next attempt, after so many; `chance` is a number from 0 to 1."""
    if attempts <= 1 and reply is not None and is_greylisting(reply):
        seconds = min(retries.greylisted, retries.first)
    else:
        # More steps than these only make numbers too large.
        steps = min(attempts - 1, 64)
        try:
            seconds = min(float(retries.first * retries.factor**steps), retries.most)
        except OverflowError:
            seconds = retries.most
    return min(seconds, _checks.LONGEST_WAIT) * (1 + retries.jitter * (2 * chance - 1))


def held_for(failures: int) -> float:
    """Seconds for which what could not be reached is left alone, after so many failures before."""
    return min(_HELD * 2.0 ** min(failures, 16), HELD_MOST)


def is_greylisting(reply: Reply) -> bool:
    """True if the reply reads like greylisting: it asks for another attempt, soon."""
    if not reply.transient:
        return False
    text = " ".join(reply.lines).lower()
    return "greylist" in text or "graylist" in text or "grey-list" in text


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How fast one destination is sent to, by all processes together."""

    __module__ = "smtpx.outbox"

    rate: float | None = None
    """Messages a second; ``None`` sets no limit."""
    burst: int = 1
    """Messages that may go at once after a pause."""
    at_once: int | None = None
    """Messages that may be taken from the ledger and not yet answered."""

    def __post_init__(self) -> None:
        if self.rate is not None:
            _check_amount("rate", self.rate)
        for name in ("burst", "at_once"):
            _checks.count(name, getattr(self, name), 1, or_none=name == "at_once")


def granted(limit: Limit, wanted: int, earliest: float, now: float) -> tuple[int, float]:
    """How many of so many may go now, and the new `earliest`.

    `earliest` is when the next message would conform if the rate were kept evenly (GCRA).
    """
    if limit.rate is None:
        return wanted, earliest
    interval = 1 / limit.rate
    # It is never further ahead than a burst, unless the clock was set back.
    earliest = min(max(earliest, now), now + limit.burst * interval)
    # The small number forgives what floats lose of seconds since 1970.
    room = math.floor((now - earliest) / interval + limit.burst + 1e-4)
    several = max(0, min(wanted, room))
    return several, earliest + several * interval


def free_at(limit: Limit, earliest: float, now: float) -> float:
    """When the next message may go, if that is not now."""
    if limit.rate is None:
        return now
    interval = 1 / limit.rate
    return min(earliest, now + limit.burst * interval) - (limit.burst - 1) * interval


def _check_amount(
    name: str, value: object, *, least: float | None = None, most: float = math.inf
) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _checks.complaint(name, value, "a number")
    if (
        not abs(value) <= sys.float_info.max
        or value > most
        or (value <= 0 if least is None else value < least)
    ):
        span = "above 0" if least is None else f"of {least:g} or more"
        if most != math.inf:
            span += f", {most:g} at most"
        raise ValueError(f"{name}={value!r}: give a number {span}")
