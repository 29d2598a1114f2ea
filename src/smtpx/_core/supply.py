"""Messages waiting to be sent, and what is told of each (used by `stream`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field

from smtpx._core.connection import Connection
from smtpx._core.delivery import Message, written
from smtpx._core.sending import SESSION_OVER
from smtpx._core.steps import Steps
from smtpx._core.transaction import transaction
from smtpx._wire.commands import Phase
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, LocalProtocolError, SMTPError
from smtpx.results import Outcome, SendResult, Status, outcomes_of


@dataclass(slots=True)
class Outgoing:
    """A message on its way."""

    message: Message
    envelope: Envelope | None
    attempts: int = 0
    """How many sessions have ended before it was sent."""
    doubt: SMTPError | None = None
    """Why it is in doubt: one of them had written it, and the reply was not seen (RFC 1047)."""


@dataclass(slots=True)
class Supply:
    """What is to be sent next; shared by the sessions that send it.

    Filled when a session asks for `More`.
    """

    resend_doubtful: bool = False
    """Send a message again that is in doubt, at the price of a possible duplicate."""
    ready: deque[Outgoing] = field(default_factory=lambda: deque[Outgoing]())
    exhausted: bool = False
    """Nothing will be added any more."""

    def put_back(self, outgoing: Outgoing, doubt: SMTPError | None = None) -> None:
        """Keep a message for another session; with `doubt`, it may have been accepted already."""
        outgoing.attempts += 1
        outgoing.doubt = doubt or outgoing.doubt
        self.ready.appendleft(outgoing)


@dataclass(frozen=True, slots=True)
class Window:
    """How much may be in flight: written and not yet answered."""

    messages: int = 64
    octets: int = 4 * 2**20
    """Of commands and content."""


@dataclass(slots=True)
class Budget:
    """How many mail transactions may still be begun in a session."""

    left: int


Emit = Callable[[SendResult], None]


def send_alone(
    connection: Connection, supply: Supply, emit: Emit, outgoing: Outgoing
) -> Steps[None]:
    """Send one message with nothing else in flight."""
    try:
        envelope, content = written(connection, outgoing.message, outgoing.envelope)
        result = yield from transaction(connection, envelope, content)
    except (SMTPError, TypeError) as unsendable:
        emit(not_sent(outgoing, unsendable))
        return
    error = result.error
    if isinstance(error, SESSION_OVER):
        untried = len(result.not_tried) == len(result.outcomes)
        resent = supply.resend_doubtful and bool(result.in_doubt)
        if (untried or resent) and content.is_repeatable:
            supply.put_back(outgoing, None if untried else error)
        else:
            result.message = outgoing.message
            emit(told(outgoing, result))
        raise error
    result.message = outgoing.message
    emit(told(outgoing, result))
    if not connection.usable:  # A refusal in the middle of the content leaves no way back.
        raise parted(connection)


def parted(connection: Connection) -> ConnectionLost:
    """The error of a session that ended after what became of its last message was known."""
    said = "" if connection.parting is None else f": {connection.parting}"
    return ConnectionLost(
        f"the server closed the session{said}", phase=Phase.OTHER.field, reply=connection.parting
    )


def told(outgoing: Outgoing, result: SendResult) -> SendResult:
    """What the caller is told: a second try that fails does not undo the first, still in doubt."""
    if outgoing.doubt is None or len(result.accepted) == len(result.outcomes):
        return result
    error = copy(outgoing.doubt)
    outcomes = [
        outcome
        if outcome.status is Status.ACCEPTED
        else Outcome(outcome.recipient, Status.IN_DOUBT, None)
        for outcome in result.outcomes
    ]
    error.result = SendResult(outcomes, result.reply, error, message=result.message)
    return error.result


def not_sent(outgoing: Outgoing, error: Exception) -> SendResult:
    """The result of a message that could not be sent to this server, or to any, or not again."""
    envelope = outgoing.envelope
    cause = error if isinstance(error, SMTPError) else LocalProtocolError(str(error))
    cause.__cause__ = None if cause is error else error
    verdict = (Status.NOT_TRIED if outgoing.doubt is None else Status.IN_DOUBT, None)
    outcomes = (
        () if envelope is None else outcomes_of(envelope, [verdict] * len(envelope.recipients))
    )
    cause.result = SendResult(outcomes, None, cause, message=outgoing.message)
    return cause.result
