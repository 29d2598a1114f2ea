"""Sending the content, and what it means when that breaks off (RFC 5321 §4.1.1.4, RFC 3030 §2).

The outcome is in doubt from the write that holds the last octet of the content on, and not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from smtpx._core.connection import Connection
from smtpx._core.steps import Steps
from smtpx._wire.commands import END_OF_DATA, Command, Phase, bdat
from smtpx.errors import (
    ConnectionLost,
    ContentRefused,
    RemoteProtocolError,
    SMTPError,
    TimedOut,
)
from smtpx.replies import Reply
from smtpx.results import Status, Verdict

SESSION_OVER = (ConnectionLost, TimedOut, RemoteProtocolError)


class Failure(NamedTuple):
    """Why the content did not go out, and what that means for those who were to get it."""

    verdict: Verdict
    error: SMTPError


def send_data(connection: Connection, pieces: Iterator[bytes], due: int) -> Steps[Failure | None]:
    """Send stuffed content and the end of data; its `due` replies are left to be settled."""
    held = b""
    for piece in pieces:
        if held and (failure := (yield from _send_piece(connection, held))):
            return failure
        held = piece
    return (yield from _send_last(connection, held + END_OF_DATA.wire, END_OF_DATA, due))


def send_chunks(connection: Connection, pieces: Iterator[bytes], due: int) -> Steps[Failure | None]:
    """Send content as it is by BDAT; the `due` replies to its last chunk are left to be settled."""
    held = b""
    for piece in pieces:
        if held:
            chunk = bdat(len(held), last=False)
            connection.expect(chunk)
            try:
                yield from connection.send(chunk.wire + held)
                (reply,) = yield from connection.settle()
            except SESSION_OVER as error:
                return Failure((Status.NOT_TRIED, None), error)
            if not reply.positive:
                return _refused(chunk.shown, reply)
        held = piece
    last = bdat(len(held), last=True)
    return (yield from _send_last(connection, last.wire + held, last, due))


def early_reply(connection: Connection) -> Steps[Failure | None]:
    """Look what came before the content had ended: it is no reply to its end, but may say no."""
    if not (yield from connection.has_early_reply()):
        return None
    lost: SMTPError = ConnectionLost(
        "the server closed the connection in the middle of the content",
        phase=Phase.DATA_BLOCK.field,
    )
    if connection.has_unread:
        lost = RemoteProtocolError("the server sent part of a reply that nobody asked for")
    return (yield from _early(connection, lost))


def _send_piece(connection: Connection, piece: bytes) -> Steps[Failure | None]:
    """Send a piece that more will follow, unless the server already says no."""
    if failure := (yield from early_reply(connection)):
        return failure
    try:
        yield from connection.send(piece, Phase.DATA_BLOCK)
    except TimedOut as error:
        return Failure((Status.NOT_TRIED, None), error)
    except ConnectionLost as error:
        return (yield from _early(connection, error))
    return None


def _early(connection: Connection, lost: SMTPError) -> Steps[Failure]:
    """What a server said before the content had ended; `lost` if it turns out to be nothing."""
    words = yield from connection.last_words()
    if words is None:
        return Failure((Status.NOT_TRIED, None), lost)
    if words.positive or words.intermediate:
        early = RemoteProtocolError(f"the server answered content that had not ended by {words}")
        return Failure((Status.NOT_TRIED, None), early)
    return _refused("the content", words)


def _send_last(
    connection: Connection, octets: bytes, command: Command, due: int
) -> Steps[Failure | None]:
    """Send the write that completes the content."""
    # What comes before it would be taken for the reply to the end of data.
    if failure := (yield from early_reply(connection)):
        return failure
    connection.expect(command, due)
    try:
        yield from connection.send(octets, Phase.DATA_BLOCK)
    except TimedOut as error:
        return Failure((Status.IN_DOUBT, None), error)
    except ConnectionLost as error:
        words = yield from connection.last_words()
        if words is not None and not words.positive and not words.intermediate:
            return _refused("the content", words)
        return Failure((Status.IN_DOUBT, None), error)
    return None


def _refused(command: str, reply: Reply) -> Failure:
    return Failure((Status.REFUSED, reply), ContentRefused(command, reply))
