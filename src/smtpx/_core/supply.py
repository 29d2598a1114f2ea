"""Messages waiting to be sent, and what is told of each (used by `stream`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from smtpx._core.connection import Connection
from smtpx._core.delivery import Message, written
from smtpx._core.sending import SESSION_OVER
from smtpx._core.steps import More, Steps
from smtpx._core.transaction import transaction
from smtpx._wire.commands import Phase
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, LocalProtocolError, SMTPError
from smtpx.results import SendResult, Status, outcomes_of


@dataclass(slots=True)
class Outgoing:
    """A message on its way."""

    message: Message
    envelope: Envelope | None
    attempts: int = 0
    """How many sessions have ended before it was sent."""


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

    def put_back(self, outgoing: Outgoing) -> None:
        """Keep a message that was not sent for another session."""
        outgoing.attempts += 1
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


def ask_for_more(connection: Connection) -> Steps[bool]:
    """Ask for more messages; False if none is there yet.

    Raises:
        ConnectionLost: the caller was interrupted meanwhile.
    """
    try:
        return (yield More()) is not None
    except OSError as error:
        connection.broken = True
        raise ConnectionLost(str(error), phase=Phase.OTHER.field) from error


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
        if len(result.not_tried) == len(result.outcomes) and content.is_repeatable:
            supply.put_back(outgoing)
        else:
            result.message = outgoing.message
            emit(result)
        raise error
    result.message = outgoing.message
    emit(result)


def not_sent(outgoing: Outgoing, error: Exception) -> SendResult:
    """The result of a message that could not be sent to this server, or to any."""
    envelope = outgoing.envelope
    cause = error if isinstance(error, SMTPError) else LocalProtocolError(str(error))
    cause.__cause__ = None if cause is error else error
    not_tried = (Status.NOT_TRIED, None)
    outcomes = (
        () if envelope is None else outcomes_of(envelope, [not_tried] * len(envelope.recipients))
    )
    cause.result = SendResult(outcomes, None, cause, message=outgoing.message)
    return cause.result
