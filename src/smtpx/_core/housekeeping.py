"""The commands around the mail transaction (RFC 5321 §4.1.1.5 to .10)."""

from __future__ import annotations

from smtpx._core.connection import Connection
from smtpx._core.steps import Steps
from smtpx._wire.commands import QUIT, RSET, Phase, command
from smtpx.errors import LocalProtocolError, RemoteProtocolError, SMTPError
from smtpx.replies import Reply

# Commands that change what the session is: each has a procedure of its own.
_OWN_PROCEDURE = frozenset(
    {"AUTH", "BDAT", "DATA", "EHLO", "HELO", "LHLO", "QUIT", "RSET", "STARTTLS", "XCLIENT"}
)


def say(connection: Connection, text: str) -> Steps[Reply]:
    """Send any command that stands alone, and return its reply whatever it is.

    Raises:
        LocalProtocolError: the text has a control character, or is a command that changes the
            state of the session.
    """
    verb = text.partition(" ")[0].upper()
    if verb in _OWN_PROCEDURE:
        raise LocalProtocolError(f"{verb} changes the session: use the method made for it")
    if verb in ("MAIL", "RCPT"):
        connection.open_transaction = True
    return (yield from connection.command(command(Phase.OTHER, text)))


def reset(connection: Connection) -> Steps[Reply]:
    """RSET: give up the mail transaction that is open."""
    reply = yield from connection.command(RSET)
    if reply.positive:
        connection.open_transaction = False
    return reply


def quit_session(connection: Connection) -> Steps[Reply | None]:
    """QUIT, and never fail: what was accepted stays accepted (RFC 5321 §4.1.1.10)."""
    if not connection.usable:
        return None
    try:
        return (yield from connection.command(QUIT))
    except SMTPError:
        return None


def leave_in_step(connection: Connection) -> Steps[None]:
    """QUIT where the replies before it are believed only if they were in step.

    The 221 answers QUIT and nothing else, so that none of those is another's.

    Raises:
        RemoteProtocolError: they were not.
        ConnectionLost, TimedOut: nobody knows.
    """
    if connection.parting is None:
        reply = yield from connection.command(QUIT)
        if reply.code != 221:
            connection.broken = True
            raise RemoteProtocolError(f"QUIT was answered by {reply}")
