"""The commands around the mail transaction (RFC 5321 §4.1.1.5 to .10)."""

from __future__ import annotations

import re

from smtpx import _checks
from smtpx._core.connection import Connection
from smtpx._core.steps import Steps
from smtpx._wire.commands import QUIT, RSET, Command, Phase, command
from smtpx.errors import LocalProtocolError, RemoteProtocolError, SMTPError
from smtpx.replies import Reply

# A server may pass over white space before it, and take what follows for another command.
_VERB = r"([A-Za-z][A-Za-z0-9\-]*)(?: |\Z)"

# Commands that change what the session is: each has a procedure of its own.
_OWN_PROCEDURE = frozenset(
    {"AUTH", "BDAT", "DATA", "EHLO", "HELO", "LHLO", "QUIT", "RSET", "STARTTLS", "XCLIENT"}
)


def say(connection: Connection, text: str) -> Steps[Reply]:
    """Send any command that stands alone, and return its reply whatever it is.

    What is wrong is said before the procedure begins: its end would be that of the session.

    Raises:
        LocalProtocolError: the text has a control character, is too long, does not begin with a
            verb, or is a command that changes the state of the session.
        TypeError: it is no text.
    """
    _checks.text("command", text)
    stated = command(Phase.OTHER, text)
    match = re.match(_VERB, text)
    if match is None:
        raise LocalProtocolError(f"{_checks.shown(text)} does not begin with a verb such as NOOP")
    verb = match[1].upper()
    if verb in _OWN_PROCEDURE:
        raise LocalProtocolError(f"{verb} changes the session: use the method made for it")
    return _said(connection, verb, stated)


def _said(connection: Connection, verb: str, stated: Command) -> Steps[Reply]:
    if verb in ("MAIL", "RCPT"):
        connection.open_transaction = True
    return (yield from connection.command(stated))


def ask(connection: Connection, verb: str, name: str, argument: str) -> Steps[Reply]:
    """VRFY, EXPN or HELP; `name` is that of its argument, which only HELP can do without.

    Raises:
        LocalProtocolError: the argument has a control character, is too long or missing.
        TypeError: it is no text.
    """
    _checks.text(name, argument)
    if not argument.strip(" ") and verb != "HELP":
        raise LocalProtocolError(f"{name} is empty: {verb} needs one")
    return say(connection, f"{verb} {argument}" if argument else verb)


def reset(connection: Connection) -> Steps[Reply]:
    """RSET: give up the mail transaction that is open."""
    reply = yield from connection.command(RSET)
    if reply.positive:
        connection.open_transaction = False
    return reply


def quit_session(connection: Connection) -> Steps[Reply | None]:
    """QUIT, and never fail: what was accepted stays accepted (RFC 5321 §4.1.1.10).

    Where somebody was interrupted who still waits for replies, it would be one more command.
    """
    if not connection.usable or connection.unanswered:
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
    if not connection.usable:
        raise RemoteProtocolError(
            f"the session ended too early to be believed: {connection.over()}"
        )
    reply = yield from connection.command(QUIT)
    if reply.code != 221:
        connection.broken = True
        raise RemoteProtocolError(f"QUIT was answered by {reply}")
