"""Messages waiting to be sent, and what is told of each (used by `stream`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import TypeAlias

from smtpx._core.connection import Connection, Ended
from smtpx._core.delivery import Message, check_repeatable, written
from smtpx._core.division import Share, Whole, divide, is_undivided, session_full
from smtpx._core.sending import SESSION_OVER
from smtpx._core.steps import More, Steps
from smtpx._core.transaction import transaction
from smtpx._wire.commands import Phase
from smtpx._wire.content import Content
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
    part: tuple[Whole, Share] | None = None
    """Of which message it is a part, and which one."""
    mended: Message | None = None
    """What is sent in its place: the same in each attempt and for each part."""
    ended: Ended | None = None
    """Tells who observes the session in which it was begun."""


@dataclass(slots=True)
class Supply:
    """What is to be sent next; shared by the sessions that send it.

    Filled when a session asks for `More`.
    """

    resend_doubtful: bool = False
    """Send a message again that is in doubt, at the price of a possible duplicate."""
    check: Callable[[Message, Envelope | None], Message] | None = None
    """Gives back a message as it is to be sent, or raises why it is not."""
    ready: deque[Outgoing] = field(default_factory=lambda: deque[Outgoing]())
    exhausted: bool = False
    """Nothing will be added any more."""

    def put_back(self, outgoing: Outgoing, doubt: SMTPError | None = None) -> None:
        """Keep a message for another session; with `doubt`, it may have been accepted already."""
        outgoing.attempts += 1
        outgoing.doubt = doubt or outgoing.doubt
        outgoing.ended = None
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


# A message from the supply, as a server can take it. A plain tuple: there are many of them.
Drawn: TypeAlias = tuple[Outgoing, Envelope, Content]


def draw(connection: Connection, supply: Supply, outgoing: Outgoing) -> Drawn:
    """Write a message from the supply as this server can take it.

    Where the server wants it in several transactions, the rest goes back as another part of it.

    Raises:
        SessionFull: this session may not name any of its recipients; it is back in the supply.
        LocalProtocolError, AddressError, TypeError: it cannot be sent.
    """
    message = outgoing.message
    if supply.check is not None:
        if outgoing.mended is None:
            outgoing.mended = supply.check(message, outgoing.envelope)
        message = outgoing.mended
    envelope, content = written(connection, message, outgoing.envelope)
    if outgoing.part is None and is_undivided(connection.extensions, envelope):
        if connection.observer is not None:
            outgoing.ended = connection.begun(envelope)
        return outgoing, envelope, content
    whole, everyone = outgoing.part or (Whole(envelope), Share.of(envelope))
    share, rest = divide(connection, everyone)
    if share is None:
        supply.ready.appendleft(outgoing)
        raise session_full(connection)
    if rest is not None:
        check_repeatable(connection, content)
        left = Outgoing(outgoing.message, rest.envelope, part=(whole, rest), mended=outgoing.mended)
        supply.ready.appendleft(left)
        outgoing.part = whole, share
        outgoing.envelope = share.envelope
    if connection.observer is not None:
        outgoing.ended = connection.begun(share.envelope)
    return outgoing, share.envelope, content


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


def send_alone(connection: Connection, supply: Supply, emit: Emit, message: Drawn) -> Steps[None]:
    """Send one message with nothing else in flight."""
    outgoing, envelope, content = message
    try:
        result = yield from transaction(connection, envelope, content)
    except Exception as why:  # It cannot be sent to this server, or its file cannot be read.
        tell(emit, outgoing, not_sent(outgoing, why))
    else:
        error = result.error
        if isinstance(error, SESSION_OVER):
            untried = len(result.not_tried) == len(result.outcomes)
            resent = supply.resend_doubtful and bool(result.in_doubt)
            if (untried or resent) and content.is_repeatable:
                supply.put_back(outgoing, None if untried else error)
            else:
                tell(emit, outgoing, result)
            raise error
        tell(emit, outgoing, result)
    if not connection.usable:  # A refusal in the middle of the content leaves no way back.
        raise connection.over()


def tell(emit: Emit, outgoing: Outgoing, result: SendResult) -> None:
    """Tell the caller what became of a message, once it is known of all of its parts."""
    result.message = outgoing.message
    if outgoing.ended is not None:
        _ = outgoing.ended(result)
    if outgoing.doubt is not None:
        result = _still_in_doubt(result, outgoing.doubt)
    if outgoing.part is None:
        emit(result)
        return
    whole, share = outgoing.part
    joined = whole.add(share, result)
    if joined is not None:
        emit(joined)


def _still_in_doubt(result: SendResult, doubt: SMTPError) -> SendResult:
    """A second try that fails does not undo the first."""
    if len(result.accepted) == len(result.outcomes):
        return result
    error = copy(doubt)
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
        ()
        if not isinstance(envelope, Envelope)  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        else outcomes_of(envelope, [verdict] * len(envelope.recipients))
    )
    cause.result = SendResult(outcomes, None, cause, message=outgoing.message)
    return cause.result
