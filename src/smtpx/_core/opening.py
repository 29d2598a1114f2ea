"""From a connected transport to a session: greeting, EHLO, STARTTLS (RFC 5321 §3.1–2, 3207)."""

from __future__ import annotations

from smtpx._core.connection import Connection
from smtpx._core.handshake import protect, upgrade
from smtpx._core.steps import Steps, T
from smtpx._core.trust import explained, is_about_our_certificate
from smtpx._wire.commands import STARTTLS, ehlo
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx.errors import (
    ConnectionLost,
    ExtensionMissing,
    GreetingRefused,
    HelloRefused,
    LocalProtocolError,
    TLSFailure,
    TLSPolicyError,
    TLSRefused,
)
from smtpx.replies import Reply
from smtpx.tls import TLSMode


def open_session(connection: Connection, name: str, tls: TLSMode) -> Steps[None]:
    """Bring the session to where commands may be sent, protected as `tls` says.

    ::

        S: 220 mx.example.net ESMTP
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go ahead

    Raises:
        GreetingRefused, HelloRefused, TLSRefused: the server said no.
        TLSPolicyError: STARTTLS is required and not offered, or the handshake failed.
    """
    if tls is TLSMode.IMPLICIT:
        yield from protect(connection)
    greeting = yield from _first_under_tls(connection.greet())
    if not greeting.positive:
        raise GreetingRefused(None, greeting)
    _ = yield from hello(connection, name)
    if tls is TLSMode.STARTTLS and not connection.extensions.starttls:
        raise TLSPolicyError(
            "the server does not offer STARTTLS, or someone on the way removed it; nothing was "
            "sent in plain text: smtps:// is for servers that begin with TLS, and ?tls=none for "
            "one on a private network, such as a container",
            TLSFailure.STARTTLS_MISSING,
        )
    if tls is TLSMode.STARTTLS or (tls is TLSMode.OPPORTUNISTIC and connection.extensions.starttls):
        _ = yield from start_tls(connection)
        _ = yield from _first_under_tls(hello(connection, name))


def _first_under_tls(procedure: Steps[T]) -> Steps[T]:
    """With TLS 1.3 a server may look at our certificate when the handshake is over for us."""
    try:
        return (yield from procedure)
    except ConnectionLost as error:
        if isinstance(error.__cause__, OSError) and is_about_our_certificate(error.__cause__):
            raise explained(error.__cause__, (), greeted=True) from error.__cause__
        raise


def hello(connection: Connection, name: str) -> Steps[Reply]:
    """Identify the client and learn the extensions; fall back to HELO where EHLO is unknown.

    Raises:
        HelloRefused: the server takes neither.
    """
    connection.extensions = NO_EXTENSIONS
    connection.client_name = name
    said = ehlo("LHLO" if connection.lmtp else "EHLO", name)
    reply = yield from connection.command(said)
    if reply.positive:
        connection.understand(Extensions.of(reply))
    elif reply.permanent and not connection.lmtp:
        # RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO.
        said = ehlo("HELO", name)
        reply = yield from connection.command(said)
    if not reply.positive:
        raise HelloRefused(said.shown, reply)
    return reply


def start_tls(connection: Connection) -> Steps[Reply]:
    """STARTTLS and the handshake; EHLO must follow (RFC 3207 §4.2).

    Raises:
        ExtensionMissing: the server does not offer STARTTLS.
        TLSRefused: it does, but not now.
        TLSPolicyError: the handshake failed.
        RemoteProtocolError: octets in plain text followed the reply.
    """
    if connection.tls:
        raise LocalProtocolError("TLS is already on")
    if not connection.extensions.starttls:
        raise ExtensionMissing("STARTTLS", "TLS was asked for")
    reply = yield from connection.command(STARTTLS)
    if not reply.positive:
        raise TLSRefused("STARTTLS", reply)
    yield from upgrade(connection)
    return reply
