"""The AUTH exchange (RFC 4954 §4)."""

from __future__ import annotations

import base64
import binascii

from smtpx._core.connection import Connection
from smtpx._core.steps import Steps
from smtpx._wire.commands import Phase, command
from smtpx.errors import (
    AuthenticationRefused,
    ExtensionMissing,
    RemoteProtocolError,
    SMTPError,
    TLSPolicyError,
    without_frames,
)
from smtpx.replies import Reply
from smtpx.sasl import Credentials, Mechanism, usable

# RFC 4954 §4: an initial response that would exceed the length of a command line waits for the
# server's empty challenge instead. RFC 5321 §4.5.3.1.4 gives a line 512 octets.
_LONGEST_LINE = 510

# RFC 4954 §6 and practice: this mechanism will not do, another one may.
_TRY_ANOTHER = (504, 534)


def log_in(connection: Connection, credentials: Credentials) -> Steps[Reply]:
    """Authenticate by the strongest mechanism that both sides have.

    After a definite refusal the same password is not tried through another mechanism: that is
    how accounts get locked.

    Raises:
        ExtensionMissing: the server offers no AUTH, or no mechanism we have.
        TLSPolicyError: only mechanisms that show the password are left, and there is no TLS.
        AuthenticationRefused: the server does not take the credentials.
    """
    offered = connection.extensions.auth
    if not offered:
        raise ExtensionMissing("AUTH", "credentials were given")
    protected = connection.tls or connection.local
    refused: AuthenticationRefused | None = None
    for mechanism in usable(offered, credentials, protected=protected):
        try:
            return (yield from authenticate(connection, mechanism))
        except AuthenticationRefused as error:
            if error.reply.code not in _TRY_ANOTHER:
                raise
            refused = error
    if refused is not None:
        raise refused
    if not protected and any(usable(offered, credentials, protected=True)):
        raise TLSPolicyError(
            f"the server offers {', '.join(offered)}, which show the password to everyone on the "
            "way: use submission:// or smtps://"
        )
    raise ExtensionMissing("AUTH", f"of its mechanisms ({', '.join(offered)}) we have none")


def authenticate(connection: Connection, mechanism: Mechanism) -> Steps[Reply]:
    """Authenticate by one mechanism.

    Raises:
        AuthenticationRefused: the server said no.
        RemoteProtocolError: its challenges are no base64, or do not end.
    """
    connection.secrets = mechanism.secrets
    try:
        reply = yield from _converse(connection, mechanism)
    except SMTPError as error:
        # R14: there are tracebacks that show variables, and those of its frames are secrets.
        raise without_frames(error) from error.__cause__
    finally:
        connection.secrets = ()
    if reply.intermediate:
        connection.broken = True
        raise RemoteProtocolError(f"AUTH {mechanism.name} was answered by {reply}")
    if not reply.positive:
        raise AuthenticationRefused(f"AUTH {mechanism.name}", reply)
    connection.authenticated = True
    return reply


def _converse(connection: Connection, mechanism: Mechanism) -> Steps[Reply]:
    """Run one mechanism.

    ::

        C: AUTH PLAIN AGJvYgBzZWNyZXQ=
        S: 235 2.7.0 welcome

        C: AUTH CRAM-MD5
        S: 334 PDE4OTYuNjk3QG14PgA=
        C: Ym9iIDhhMWE4NDNlNmM…
        S: 535 5.7.8 no
    """
    initial = mechanism.initial()
    line = f"AUTH {mechanism.name}"
    if initial is not None:
        # RFC 4954 §4: an empty initial response is written as an equals sign.
        with_initial = f"{line} {_base64(initial) or '='}"
        if len(with_initial) <= _LONGEST_LINE:
            line, initial = with_initial, None
    reply = yield from connection.command(command(Phase.AUTH, line, secret=True))
    challenges = 0
    while reply.code == 334:
        challenges += 1
        challenge = _challenge(reply)
        if challenge is None or challenges > connection.limits.challenges:
            # RFC 4954 §4: a line with a single * cancels the exchange.
            _ = yield from connection.command(command(Phase.AUTH, "*", secret=True))
            connection.broken = True
            why = "a challenge is no base64" if challenge is None else "its challenges do not end"
            raise RemoteProtocolError(f"AUTH {mechanism.name} failed: {why}")
        if initial is None:
            response = mechanism.respond(challenge)
        else:
            response, initial = initial, None
        answer = command(Phase.AUTH, _base64(response), secret=True)
        reply = yield from connection.command(answer)
    return reply


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _challenge(reply: Reply) -> bytes | None:
    try:
        return base64.b64decode(reply.lines[-1].strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
