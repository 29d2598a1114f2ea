"""What an attempt at a host has come to, and what it says of the host; without waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from smtpx.errors import (
    ConnectionLost,
    GreetingRefused,
    HelloRefused,
    ReplyError,
    SMTPError,
    TimedOut,
)
from smtpx.results import SendResult, Status
from smtpx.sansio import Dialled

from ._places import Kept
from ._settings import Settings
from ._steps import Said, Try

__all__ = [
    "FAREWELL",
    "busy",
    "counts_against",
    "held_back",
    "is_gone",
    "is_too_many",
    "said_by",
    "source_of",
    "unreached_of",
]

FAREWELL = 5.0
"""Seconds for all farewells at the end."""
_BEFORE_EHLO = ("connect", "greeting")
_UNTOUCHED = ("mail", "other")
_PARTING = 421


def held_back(step: Try) -> Said:
    """One message at a time tries these addresses, and it is another one."""
    return Said(
        error=ConnectionLost(
            f"{', '.join(step.addresses)} could not be reached lately, and is left to another "
            "message to try",
            phase="connect",
        )
    )


def busy(step: Try, seconds: float) -> Said:
    """There was no place for another session."""
    return Said(
        error=TimedOut(
            f"for {seconds:.3g} s there were as many sessions with {step.host} as there may be "
            "(DeliveryLimits)",
            phase="connect",
        )
    )


def said_by(kept: Kept[Any], step: Try, result: SendResult | None, error: SMTPError | None) -> Said:
    """What a server has made of a message."""
    domain = step.envelope.recipients[0].address.domain.lower()
    is_repeated = domain in kept.domains
    kept.domains.add(domain)
    return Said(
        result,
        error,
        kept.protection,
        is_repeated,
        address=kept.address,
        source=kept.source,
        begun=(kept.address,),
    )


def source_of(dialled: Dialled) -> str:
    """Our own address of a connection, as this machine has it."""
    try:
        return "" if dialled.socket is None else str(dialled.socket.getsockname()[0])
    except OSError:
        return ""  # Some systems do not know it any more once the peer has hung up.


def blamed(unreached: Iterable[tuple[str, SMTPError]], *, is_cut: bool) -> Iterator[str]:
    """The addresses that could not be reached, but for those that we had no time for."""
    for address, error in unreached:
        if not (is_cut and isinstance(error, TimedOut)):
            yield address


def unreached_of(dialled: Dialled, settings: Settings) -> tuple[tuple[str, SMTPError], ...]:
    """What each address has said that could not be reached."""
    return tuple(
        (address, _unreached(address, settings.rules.port, error))
        for address, error in dialled.failures
    )


def _unreached(address: str, port: int, error: OSError) -> SMTPError:
    kind = TimedOut if isinstance(error, TimeoutError) else ConnectionLost
    lost = kind(f"no connection with {address} port {port}: {error}", phase="connect")
    lost.__cause__ = error
    return lost


def counts_against(error: SMTPError) -> bool:
    """True if other messages do better elsewhere: it does not answer, or takes no session."""
    if isinstance(error, (ConnectionLost, TimedOut)):
        return error.phase in _BEFORE_EHLO
    return isinstance(error, GreetingRefused) or (
        isinstance(error, HelloRefused) and error.reply.code == _PARTING
    )


def is_too_many(error: SMTPError) -> bool:
    """True if it may be that a server has enough sessions of ours."""
    return isinstance(error, (GreetingRefused, HelloRefused)) and error.reply.code == _PARTING


def is_gone(said: Said) -> bool:
    """True if a session that was kept had ended before anything of the message was taken.

    A 421 is no answer to the message (RFC 5321 §3.8).
    """
    error = said.error
    outcomes = () if said.result is None else said.result.outcomes
    if isinstance(error, ReplyError):
        return error.reply.code == _PARTING and all(
            one.reply is None or one.reply.code == _PARTING for one in outcomes
        )
    is_untouched = isinstance(error, ConnectionLost) and error.phase in _UNTOUCHED
    return is_untouched and all(one.status is Status.NOT_TRIED for one in outcomes)
