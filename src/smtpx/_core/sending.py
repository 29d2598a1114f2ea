"""One message, of whatever form, over one session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeGuard, cast

from smtpx import _checks
from smtpx._core.connection import Connection
from smtpx._core.division import Share, Whole, divide, is_undivided, session_full
from smtpx._core.given import Message, addressed
from smtpx._core.interruption import hang
from smtpx._core.naming import name, name_in
from smtpx._core.plan import plan_of
from smtpx._core.signing import signed
from smtpx._core.steps import Steps
from smtpx._core.telling import Telling
from smtpx._core.transaction import transaction
from smtpx._core.verdicts import unfinished, untried
from smtpx._loading import loading
from smtpx._message.encodings import as_octets, seven_bit
from smtpx._message.messages import is_message
from smtpx._wire.content import Content, Source
from smtpx.envelope import BodyType, Envelope
from smtpx.errors import LimitExceeded, LocalProtocolError, SMTPError
from smtpx.results import SendResult

# An Enum's attributes are slow to look up until Python 3.12, and these are asked for every message.
_SEVEN_BIT, _BINARY = BodyType.SEVEN_BIT, BodyType.BINARY


def deliver(
    connection: Connection,
    message: Message,
    envelope: Envelope | None,
    all_or_nothing: bool = False,
) -> Steps[SendResult]:
    """Write the message as this server can take it, and run its transaction, or several.

    Raises:
        LocalProtocolError, AddressError, ExtensionMissing: it cannot be sent so; nothing was.
    """
    connection.content_ended = False
    try:
        envelope, content = written(connection, message, envelope)
        if connection.extensions.limits:
            procedure = _within_limits(connection, envelope, content, all_or_nothing)
        else:
            procedure = _observed(connection, envelope, content, all_or_nothing)
        result = yield from procedure
    except SMTPError as error:
        name(connection, error)
        raise
    name_in(connection, result)
    return result


def _within_limits(
    connection: Connection, envelope: Envelope, content: Content, all_or_nothing: bool
) -> Steps[SendResult]:
    """One mail transaction or several, as the server limits them (RFC 9422)."""
    if connection.is_full:
        return untried(envelope, session_full(connection))
    if not is_undivided(connection.extensions, envelope):
        everyone = Share.of(envelope)
        if divide(connection, everyone)[1] is not None:
            if all_or_nothing:
                raise LimitExceeded(
                    "LIMITS",
                    "all_or_nothing needs one mail transaction; for these recipients the server "
                    f"wants several ({dict(connection.extensions.limits)})",
                )
            check_repeatable(connection, content)
            # What one of them cannot ask for is told before the first of them is sent.
            _ = plan_of(connection, envelope, content)
            return (yield from _in_parts(connection, everyone, content))
    return (yield from _observed(connection, envelope, content, all_or_nothing))


def _observed(
    connection: Connection, envelope: Envelope, content: Content, all_or_nothing: bool = False
) -> Steps[SendResult]:
    """A mail transaction, and what is told of it to whoever observes."""
    connection.transactions += 1
    performed = transaction(connection, envelope, content, all_or_nothing)
    telling = connection.telling
    return performed if telling is None else _told(connection, telling, envelope, performed)


def _told(
    connection: Connection, telling: Telling, envelope: Envelope, performed: Steps[SendResult]
) -> Steps[SendResult]:
    ended = telling.begun(envelope)
    result = yield from performed
    name_in(connection, result)
    try:
        _ = ended(result)
    except BaseException as interruption:
        hang(interruption, result)
        raise
    return result


def check_repeatable(connection: Connection, content: Content) -> None:
    """Make sure that a content can go out several times.

    Raises:
        LocalProtocolError: it is a file or an iterator.
    """
    if not content.is_repeatable:
        raise LocalProtocolError(
            "for these recipients the server wants several mail transactions "
            f"({dict(connection.extensions.limits)}), but this content can be read only once: "
            "give bytes"
        )


def _in_parts(connection: Connection, everyone: Share, content: Content) -> Steps[SendResult]:
    """One transaction after the other, as far as the session goes."""
    whole = Whole(everyone.envelope)
    try:
        return (yield from _each_part(connection, everyone, content, whole))
    except BaseException as interruption:
        if not isinstance(interruption, (SMTPError, GeneratorExit)):
            hang(interruption, whole.as_far_as_known(unfinished(connection, everyone.envelope)))
        raise


def _each_part(
    connection: Connection, everyone: Share, content: Content, whole: Whole
) -> Steps[SendResult]:
    left: Share | None = everyone
    while left is not None:
        share, rest = divide(connection, left)
        if not connection.usable:
            share, rest = left, None
            result = untried(share.envelope, connection.over())
        elif share is None or connection.is_full:
            share, rest = left, None
            result = untried(share.envelope, session_full(connection))
        else:
            result = yield from _observed(connection, share.envelope, content)
        joined = whole.add(share, result)
        if joined is not None:
            return joined
        left = rest
    raise AssertionError("every recipient is in a part")


def _can_be_read_again(message: object) -> TypeGuard[Iterable[bytes]]:
    if hasattr(message, "read") or isinstance(message, Iterator):
        return False
    return isinstance(message, Iterable)


def written(
    connection: Connection, message: Message, envelope: Envelope | None
) -> tuple[Envelope, Content]:
    """The message as this server can take it, and its envelope.

    Raises:
        LocalProtocolError, AddressError: there is no envelope, or the message cannot be written.
        TypeError: it is no message.
    """
    if envelope is None:
        envelope = addressed(message)
    elif not isinstance(envelope, Envelope):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("envelope", envelope, "a smtpx.Envelope(sender, recipients)")
    body, extensions = envelope.body, connection.extensions
    eight_bit = extensions.eight_bit_mime and body is not _SEVEN_BIT
    is_binary = body is _BINARY
    signer = connection.signer
    source: Source
    if type(message) is bytes or isinstance(message, (bytes, bytearray, memoryview)):
        source = message if eight_bit or body is not None else seven_bit(bytes(message))
    elif is_message(message):
        with loading("a message"):
            source, has_binary_parts = as_octets(
                message,
                smtputf8=envelope.needs_smtputf8,
                eight_bit=eight_bit,
                # What is signed has lines.
                binary=is_binary or (body is None and extensions.binary_mime and signer is None),
            )
        if has_binary_parts and not is_binary:
            envelope, is_binary = envelope.replace(body=_BINARY), True
    elif _can_be_read_again(message) and (
        signer is not None or not (eight_bit or is_binary) or extensions.limits
    ):
        # What is signed, encoded or sent in parts is needed as a whole.
        whole = b"".join(message)
        source = whole if eight_bit or is_binary or body is not None else seven_bit(whole)
    else:
        source = cast("Source", message)
    content = Content(source, is_binary)
    if signer is not None:
        content = signed(signer, content, binary=is_binary)
    return envelope, content
