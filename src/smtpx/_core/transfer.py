"""Sending the content, and what it means when that breaks off (RFC 5321 §4.1.1.4, RFC 3030 §2).

The outcome is in doubt from the write that holds the last octet of the content on, and not before.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtpx._core.connection import Connection
from smtpx._core.failures import SESSION_OVER
from smtpx._core.marking import mark_refused
from smtpx._core.steps import Steps
from smtpx._values import Value
from smtpx._wire.commands import END_OF_DATA, Command, Phase, bdat
from smtpx._wire.content import Piece, with_dots_doubled
from smtpx.errors import (
    ConnectionLost,
    ContentRefused,
    RemoteProtocolError,
    SMTPError,
    TimedOut,
)
from smtpx.replies import Reply
from smtpx.results import Status, Verdict

# Chunks that may be unanswered: their replies fit any buffer, so that nobody waits in a write.
_CHUNKS_AHEAD = 8


class Failure(Value):
    """Why the content did not go out, and what that means for those who were to get it."""

    verdict: Verdict
    error: SMTPError


def send_data(connection: Connection, pieces: Iterator[Piece], due: int) -> Steps[Failure | None]:
    """Send stuffed content and the end of data; its `due` replies are left to be settled."""
    held: Piece = b""
    for piece in pieces:
        if held and (failure := (yield from _send_piece(connection, held))):
            return failure
        held = piece
    last = b"".join((held, END_OF_DATA.wire))
    return (yield from _send_last(connection, last, END_OF_DATA, due))


def send_whole(connection: Connection, octets: bytes, due: int) -> Steps[Failure | None]:
    """Send all of a canonical content, and the end of data, in one write; as `send_data`."""
    return (yield from _send_last(connection, ended(octets), END_OF_DATA, due))


def ended(octets: bytes) -> bytes:
    """A whole canonical content as it goes after DATA: stuffed, and ended."""
    return with_dots_doubled(octets) + END_OF_DATA.wire


def send_last_chunk(
    connection: Connection, pieces: Iterator[Piece], size: int, due: int
) -> Steps[Failure | None]:
    """Send content of `size` octets as one chunk; its `due` replies are left to be settled.

    ::

        C: BDAT 10485760 LAST
        C: (10485760 octets)
    """
    command = bdat(size, last=True)
    held: Piece = command.wire
    for piece in pieces:
        if failure := (yield from _send_piece(connection, held)):
            return failure
        held = piece
    return (yield from _send_last(connection, held, command, due))


def send_chunks(connection: Connection, pieces: Iterator[Piece], due: int) -> Steps[Failure | None]:
    """Send content of unknown size in chunks; the replies to the last are left to be settled.

    With PIPELINING the replies are read as they come. The last chunk waits for those to all
    others: only then is it certain that a refused one was not followed by LAST, and that no reply
    was sent unasked.

    ::

        C: BDAT 524288
        C: (524288 octets)
        C: BDAT 524288
        C: (524288 octets)
        S: 250 524288 octets received
        S: 250 524288 octets received
        C: BDAT 1702 LAST
        C: (1702 octets)
    """
    ahead = _CHUNKS_AHEAD if connection.extensions.pipelining else 0
    held: Piece = b""
    for piece in pieces:
        if held and (failure := (yield from _send_chunk(connection, held, ahead))):
            return failure
        held = piece
    if failure := (yield from _settle_chunks(connection, leaving=0)):
        return failure
    last = bdat(len(held), last=True)
    return (yield from _send_last(connection, b"".join((last.wire, held)), last, due))


def _send_chunk(connection: Connection, piece: Piece, ahead: int) -> Steps[Failure | None]:
    """Send a chunk that more will follow, and leave no more than `ahead` unanswered."""
    if connection.unanswered == 0 and (failure := (yield from early_reply(connection))):
        return failure
    chunk = bdat(len(piece), last=False)
    connection.expect(chunk)
    try:
        yield from connection.send(chunk.wire)
        yield from connection.send(piece)
    except TimedOut as error:
        return Failure((Status.NOT_TRIED, None), error)
    except ConnectionLost as error:
        return (yield from _early(connection, error))
    return (yield from _settle_chunks(connection, leaving=ahead))


def _settle_chunks(connection: Connection, leaving: int) -> Steps[Failure | None]:
    """Read replies to chunks until only `leaving` are unanswered, and what more has come."""
    try:
        while connection.unanswered > leaving or (
            connection.unanswered and (yield from connection.has_early_reply())
        ):
            (reply,) = yield from connection.settle(leaving=connection.unanswered - 1)
            if not reply.positive:
                break
        else:
            return None
    except SESSION_OVER as error:
        return Failure((Status.NOT_TRIED, None), error)
    try:
        # RFC 3030 §2: the server discards the chunks that follow, and answers each.
        _ = yield from connection.settle()
    except SESSION_OVER:
        pass  # The refusal is the news; the connection knows that it is broken.
    return _refused(reply)


def early_reply(connection: Connection) -> Steps[Failure | None]:
    """Look what came before the content had ended: it is no reply to its end, but may say no."""
    try:
        if not (yield from connection.has_early_reply()):
            return None
    except ConnectionLost as error:
        return Failure((Status.NOT_TRIED, None), error)
    lost: SMTPError = ConnectionLost(
        "the server closed the connection in the middle of the content",
        phase=Phase.DATA_BLOCK.field,
    )
    if connection.has_unread:
        lost = RemoteProtocolError("the server sent part of a reply that nobody asked for")
    return (yield from _early(connection, lost))


def _send_piece(connection: Connection, piece: Piece) -> Steps[Failure | None]:
    """Send a piece that more will follow, unless the server already says no."""
    if failure := (yield from early_reply(connection)):
        return failure
    try:
        yield from connection.send(piece)
    except TimedOut as error:
        return Failure((Status.NOT_TRIED, None), error)
    except ConnectionLost as error:
        return (yield from _early(connection, error))
    return None


def _early(connection: Connection, lost: SMTPError) -> Steps[Failure]:
    """What a server said before the content had ended; `lost` if it turns out to be nothing."""
    chunks = connection.unanswered
    while (words := (yield from connection.last_words(Phase.DATA_BLOCK))) is not None:
        if not words.positive and not words.intermediate:
            return _refused(words)
        if chunks == 0:
            early = f"the server answered content that had not ended by {words}"
            return Failure((Status.NOT_TRIED, None), RemoteProtocolError(early))
        chunks -= 1
    return Failure((Status.NOT_TRIED, None), lost)


def _send_last(
    connection: Connection, octets: Piece, command: Command, due: int
) -> Steps[Failure | None]:
    """Send the write that completes the content."""
    if connection.mark is not None and not (yield from connection.mark()):
        connection.broken = True  # Half a content has no other end.
        return Failure((Status.NOT_TRIED, None), mark_refused())
    # What comes before it, also while the mark is asked, would be taken for the reply to the end.
    if failure := (yield from early_reply(connection)):
        return failure
    connection.expect(command, due)
    try:
        yield from connection.send(octets)
    except TimedOut as error:
        return Failure((Status.IN_DOUBT, None), error)
    except ConnectionLost as error:
        words = yield from connection.last_words(Phase.DATA_BLOCK)
        if words is not None and not words.positive and not words.intermediate:
            return _refused(words)
        return Failure((Status.IN_DOUBT, None), error)
    return None


def _refused(reply: Reply) -> Failure:
    return Failure((Status.REFUSED, reply), ContentRefused(None, reply))
