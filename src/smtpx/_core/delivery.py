"""One message, of whatever form, over one session."""

from __future__ import annotations

from typing import TypeAlias, cast

from smtpx._core.connection import Connection
from smtpx._core.steps import Steps
from smtpx._core.transaction import transaction
from smtpx._wire.content import Content, Source
from smtpx.envelope import BodyType, Envelope
from smtpx.errors import LocalProtocolError
from smtpx.messages import AnyMessage, envelope_of, is_message, serialise
from smtpx.results import SendResult

Message: TypeAlias = "Source | AnyMessage"


def deliver(
    connection: Connection,
    message: Message,
    envelope: Envelope | None,
    *,
    all_or_nothing: bool = False,
) -> Steps[SendResult]:
    """Write the message as this server can take it, and run its transaction."""
    envelope, content = written(connection, message, envelope)
    return (yield from transaction(connection, envelope, content, all_or_nothing=all_or_nothing))


def written(
    connection: Connection, message: Message, envelope: Envelope | None
) -> tuple[Envelope, Content]:
    """The message as this server can take it, and its envelope.

    Without an envelope, an `EmailMessage` says in its header who sends and who gets it.

    Raises:
        LocalProtocolError, AddressError: there is no envelope, or the message cannot be written.
        TypeError: it is no message.
    """
    if not isinstance(message, bytes) and is_message(message):
        if envelope is None:
            envelope = envelope_of(message)
        octets = serialise(
            message,
            smtputf8=envelope.needs_smtputf8,
            seven_bit=not connection.extensions.eight_bit_mime,
        )
        return envelope, Content(octets, binary=envelope.body is BodyType.BINARY)
    if envelope is None:
        raise LocalProtocolError("bytes do not say who sends and who gets them: give an Envelope")
    return envelope, Content(cast("Source", message), binary=envelope.body is BodyType.BINARY)
