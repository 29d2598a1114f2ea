"""The mark before the doubt: the caller is asked before the last octet of a content may leave.

Whoever keeps a ledger of messages commits "in flight" there: what was not marked cannot have been
accepted. Without a mark nothing of this runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from smtpx._core.steps import Mark, Steps
from smtpx.errors import MarkRefused

if TYPE_CHECKING:
    from smtpx._core.connection import Connection
    from smtpx._core.supply import Budget, Outgoing, Supply

T = TypeVar("T")


def allowed(
    connection: Connection, supply: Supply, outgoing: Sequence[Outgoing]
) -> Steps[Sequence[bool]]:
    """Of each message, whether its last octet may leave.

    Raises:
        SMTPError: the mark failed with it; nothing of theirs is complete.
    """
    if supply.mark is None:
        return [True] * len(outgoing)
    messages = [message.message for message in outgoing]
    step = Mark(supply.mark, messages, connection.timeouts.data_block)
    _ = yield step
    if step.failure is not None:
        connection.broken = True  # A content may be half sent.
        raise step.failure
    return step.allowed


def marked(
    connection: Connection, supply: Supply, outgoing: Outgoing, procedure: Steps[T]
) -> Steps[T]:
    """Run a procedure that sends one content; it asks at the end of that."""
    return procedure if supply.mark is None else _marked(connection, supply, outgoing, procedure)


def _marked(
    connection: Connection, supply: Supply, outgoing: Outgoing, procedure: Steps[T]
) -> Steps[T]:
    connection.mark = partial(_may_end, connection, supply, outgoing)
    try:
        return (yield from procedure)
    finally:
        connection.mark = None


def _may_end(connection: Connection, supply: Supply, outgoing: Outgoing) -> Steps[bool]:
    (word,) = yield from allowed(connection, supply, [outgoing])
    return word


def unmarked(budget: Budget) -> MarkRefused:
    """Why a message does not go out; that is no failure of the session, nor the server's."""
    budget.answered += 1
    budget.refused += 1
    return mark_refused()


def mark_refused() -> MarkRefused:
    """Why a message does not go out."""
    return MarkRefused("the mark said that this message must not be sent")
