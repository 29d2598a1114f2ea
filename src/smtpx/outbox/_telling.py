"""Who has said what became of a message for one recipient, and why, where no reply says it.

A client has one server for all, and a `smtpx.Delivery` several: its outcomes know more each than
the whole result.
"""

from __future__ import annotations

from smtpx.results import Outcome, SendResult

__all__ = ["doubt_of", "host_of", "is_broken_off", "reason_of"]

# What is waited for in a transaction, in the words of `smtpx.Timeouts`.
_TRANSACTION = {"mail", "rcpt", "data_init", "data_block", "data_end"}


def host_of(outcome: Outcome, result: SendResult) -> str:
    """The server that answered for that recipient; empty where none did."""
    return getattr(outcome, "host", result.server) or ""


def reason_of(outcome: Outcome, result: SendResult) -> str:
    """Why no server has answered for that recipient; a delivery's failure ends in its code."""
    failure = getattr(outcome, "failure", None)
    domains = {one.recipient.domain.lower() for one in result.outcomes}
    if failure is None or (result.error is not None and len(domains) == 1):
        return str(outcome if result.error is None else result.error)
    # The error of the whole result may be that of another domain.
    why = f"{failure.value} ({failure.enhanced})"
    attempts = getattr(outcome, "attempts", ())
    return f"{attempts[-1]}: {why}" if attempts else why


def doubt_of(outcome: Outcome, result: SendResult) -> str:
    """Why it is unknown whether the server has taken it."""
    attempts = getattr(outcome, "attempts", ())
    own = attempts[-1].error if attempts else None
    return f"in doubt: {own or result.error}"


def is_broken_off(outcome: Outcome, result: SendResult) -> bool:
    """True if a server was reached, and told of this message before the connection was lost."""
    attempts = getattr(outcome, "attempts", ())
    errors = [each.error for each in attempts] or [result.error]
    return any(getattr(error, "phase", "") in _TRANSACTION for error in errors)
