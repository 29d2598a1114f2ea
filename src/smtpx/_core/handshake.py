"""TLS on a connection: the handshake, what may not come before it, and what is forgotten after it.

How far the peer is trusted is decided by `trust`.
"""

from __future__ import annotations

from smtpx._core.connection import Connection
from smtpx._core.failures import usual_on
from smtpx._core.steps import StartTLS, Steps
from smtpx._core.trust import check_pins, explained, is_tls_error, plain_text_instead
from smtpx._wire.commands import Phase
from smtpx._wire.extensions import NO_EXTENSIONS
from smtpx.errors import RemoteProtocolError, TLSPolicyError


def protect(connection: Connection) -> Steps[None]:
    """TLS from the start, before the greeting (RFC 8314 §3).

    Raises:
        TLSPolicyError: the server has greeted us already, or the handshake failed.
    """
    if (yield from connection.glance(Phase.TLS)):
        connection.broken = True
        raise plain_text_instead(greeted=False, usual=usual_on(connection.server))
    yield from _handshake(connection)


def upgrade(connection: Connection) -> Steps[None]:
    """After the 220 to STARTTLS: do the handshake, and forget what was learnt before it.

    RFC 3207 §4.2. Octets that came in plain text behind the 220 would be read as if they had
    been protected, so they end the session.

    Raises:
        RemoteProtocolError: something arrived between the 220 and the handshake.
        TLSPolicyError: the handshake failed.
    """
    if connection.has_unread or (yield from connection.glance(Phase.TLS)):
        connection.broken = True
        raise RemoteProtocolError(
            "octets in plain text followed the reply to STARTTLS: an attack, or a broken server"
        )
    yield from _handshake(connection)
    connection.extensions = NO_EXTENSIONS
    connection.authenticated = False


def _handshake(connection: Connection) -> Steps[None]:
    """Do the TLS handshake.

    Raises:
        TLSPolicyError: the peer's certificate or its TLS is not as the policy asks.
    """
    if connection.has_unread:
        connection.broken = True
        raise RemoteProtocolError("the server spoke in plain text before the TLS handshake")
    step = StartTLS(connection.timeouts.tls)
    try:
        yield step
    except OSError as error:
        hint = ""
        if connection.greeting is None:
            usual = usual_on(connection.server)
            hint = f"is this port one that begins with TLS, as 465 does?{usual}"
        lost = connection.lost(error, Phase.TLS, "we waited for the TLS handshake", hint)
        if not is_tls_error(error):
            raise lost from error
        greeted = connection.greeting is not None
        raise explained(
            error,
            step.presented,
            greeted=greeted,
            missing=step.missing,
            usual=usual_on(connection.server),
        ) from error
    # Before an octet of SMTP is said, and also where a session was resumed.
    try:
        check_pins(connection.pins, step.protection)
    except TLSPolicyError:
        connection.broken = True
        raise
    connection.protection = step.protection
    if connection.telling is not None and step.protection is not None:
        connection.telling.protected(step.protection)
