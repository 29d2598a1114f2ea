"""The AUTH exchange (RFC 4954 §4)."""

from __future__ import annotations

import base64
import binascii

from smtpx._core.connection import Connection
from smtpx._core.steps import Obtain, Steps
from smtpx._secrecy import Hidden, redacted
from smtpx._wire.commands import Command, Phase, command
from smtpx.errors import (
    AuthenticationRefused,
    ConnectionLost,
    ExtensionMissing,
    ExtraMissing,
    LocalProtocolError,
    RemoteProtocolError,
    TimedOut,
    TLSPolicyError,
)
from smtpx.replies import Reply
from smtpx.sasl.choice import Mechanisms, advice, allowed
from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import Channel, Mechanism, MechanismFactory

# RFC 4954 §4: an initial response that would exceed the length of a command line waits for the
# server's empty challenge instead. RFC 5321 §4.5.3.1.4 gives a line 512 octets.
_LONGEST_LINE = 510

# RFC 4954 §6 and practice: this mechanism will not do, another one may.
_TRY_ANOTHER = (504, 534)


_CANCEL = command(Phase.AUTH, "*", secret=True)


def log_in(
    connection: Connection,
    credentials: Credentials,
    *,
    host: str = "",
    port: int = 0,
    mechanisms: Mechanisms | None = None,
) -> Steps[Reply]:
    """Authenticate by the strongest mechanism that both sides have.

    After a definite refusal the same password is not tried through another mechanism: that is
    how accounts get locked. A token that was refused is renewed once, if it has a source.

    Raises:
        ExtensionMissing: the server offers no AUTH, or no mechanism we have or may use.
        LocalProtocolError: none of those can be used here; why, is said of each. `ExtraMissing`
            among them: one could be, were a package installed.
        TLSPolicyError: only mechanisms that show the password are left, and there is no TLS.
        AuthenticationRefused: the server does not take the credentials.
        RemoteProtocolError: the server breaks the protocol, or does not prove itself.
        TimedOut: the source of the credentials took too long.
    """
    offered = connection.extensions.auth
    if not offered:
        late = connection.extensions.starttls and not connection.tls
        after = ", and it may after STARTTLS (?tls=starttls)" if late else ""
        raise ExtensionMissing("AUTH", f"credentials were given{after}")
    factories = allowed(offered, credentials, mechanisms)
    if not factories:
        which = "can use none" if mechanisms is None else "may use none"
        remedy = advice(offered, credentials) if mechanisms is None else ""
        raise ExtensionMissing(
            "AUTH", f"of its mechanisms ({', '.join(offered)}) we {which}{remedy}"
        )
    if not (connection.tls or connection.local):
        factories = [factory for factory in factories if not factory.reveals_secret]
    if not factories:
        raise TLSPolicyError(
            f"the server offers {', '.join(offered)}, of which those we may use show the password "
            "or token to everyone on the way: use submission:// or smtps://"
        )
    channel = Channel(host, port, connection.lmtp, connection.protection, frozenset(offered))
    held = yield from _obtain(connection, credentials)
    try:
        return (yield from _try_each(connection, factories, held, channel))
    except AuthenticationRefused as error:
        if credentials.token is None or credentials.source is None or error.transient:
            raise
        refused = error
    if not connection.usable:
        raise refused
    renewed = yield from _obtain(connection, credentials)
    if renewed == held:
        raise refused
    return (yield from _try_each(connection, factories, renewed, channel))


def _obtain(connection: Connection, credentials: Credentials) -> Steps[Credentials]:
    """The credentials with what their source says, if they have one."""
    if credentials.source is None:
        return credentials
    step = Obtain(credentials.source, connection.timeouts.auth)
    try:
        yield step
    except TimeoutError as error:
        connection.broken = True
        raise TimedOut(
            "the time was up while we waited for the source of the password or token",
            phase=Phase.AUTH.field,
        ) from error
    return credentials._holding(step.secret)


def _try_each(
    connection: Connection,
    factories: list[MechanismFactory],
    credentials: Credentials,
    channel: Channel,
) -> Steps[Reply]:
    refused: AuthenticationRefused | None = None
    obstacles: list[str] = []
    missing: ExtraMissing | None = None
    binding = True
    for factory in factories:
        if factory.name.endswith("-PLUS") and not binding:
            continue
        try:
            mechanism = factory(credentials, channel)
        except LocalProtocolError as error:
            obstacles.append(f"{factory.name} {error}")
            if isinstance(error, ExtraMissing):
                missing = missing or error
            continue
        try:
            return (yield from authenticate(connection, mechanism))
        except AuthenticationRefused as error:
            another = mechanism.untried or error.reply.code in _TRY_ANOTHER
            if not another or error.reply.transient or not connection.usable:
                raise
            # Servers need not know the one binding that there is in TLS 1.3.
            binding = binding and not mechanism.untried
            refused = error
    if refused is not None:
        raise refused
    problem = f"no mechanism of the server can be used here: {'; '.join(obstacles)}"
    if missing is None:
        raise LocalProtocolError(problem)
    missing.args, missing.msg = (problem,), problem
    raise missing.with_traceback(None)


def authenticate(connection: Connection, mechanism: Mechanism) -> Steps[Reply]:
    """Authenticate by one mechanism.

    Raises:
        AuthenticationRefused: the server said no.
        RemoteProtocolError: its challenges are no base64, are not the mechanism's, or do not end;
            or it said yes too early.
    """
    connection.conceal(mechanism.secrets)
    try:
        reply = yield from _converse(connection, mechanism)
        _ = connection.check_in_step()
    finally:
        connection.conceal(())
    if reply.intermediate:
        connection.broken = True
        raise RemoteProtocolError(f"AUTH {mechanism.name} was answered by {reply}")
    if not reply.positive:
        raise AuthenticationRefused(f"AUTH {mechanism.name}", reply, _told(mechanism))
    try:
        mechanism.conclude()
    except BaseException:
        connection.broken = True
        raise
    connection.authenticated = True
    return reply


def _told(mechanism: Mechanism) -> dict[str, str]:
    """What the mechanism knows of the refusal, without the secrets that the server echoes."""
    secrets = mechanism.secrets

    def shown(text: str) -> str:
        return redacted(text.encode("utf-8", "replace"), secrets).decode()

    return {shown(name): shown(value) for name, value in mechanism.details.items()}


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
    opening, waiting = _opening(mechanism)
    reply = yield from connection.command(opening)
    challenges = 0
    while reply.code == 334:
        challenges += 1
        try:
            challenge = _decoded(connection.challenge) if mechanism.reads_challenges else b""
            if challenges > connection.limits.challenges:
                raise RemoteProtocolError(f"AUTH {mechanism.name}: the challenges do not end")
            answer = waiting or _line(Hidden(mechanism.respond(challenge)))
            waiting = None
        except Exception:
            # RFC 4954 §4: a line with a single * cancels the exchange.
            try:
                _ = yield from connection.command(_CANCEL)
            except (ConnectionLost, TimedOut, RemoteProtocolError):
                pass  # It is over in any case.
            connection.broken = True
            raise
        connection.conceal(mechanism.secrets)
        reply = yield from connection.command(answer)
    return reply


def _opening(mechanism: Mechanism) -> tuple[Command, Command | None]:
    """The AUTH command, and the initial response where it has to wait for a challenge."""
    initial = mechanism.initial()
    if initial is None:
        return command(Phase.AUTH, f"AUTH {mechanism.name}", secret=True), None
    initial = Hidden(initial)
    answer = _line(initial)
    # RFC 4954 §4: an empty initial response is written as an equals sign.
    said = answer.wire[:-2] or b"="
    if len(mechanism.name) + len(said) + 6 <= _LONGEST_LINE:
        text = f"AUTH {mechanism.name} "
        return command(Phase.AUTH, text + said.decode("ascii"), secret=True), None
    return command(Phase.AUTH, f"AUTH {mechanism.name}", secret=True), answer


def _line(response: Hidden) -> Command:
    return command(Phase.AUTH, base64.b64encode(response).decode("ascii"), secret=True)


def _decoded(challenge: Hidden) -> Hidden:
    word = Hidden(challenge.splitlines()[-1][4:].strip())
    try:
        return Hidden(base64.b64decode(word, validate=True))
    except binascii.Error:
        pass  # Its traceback has a frame of `base64`, which may show an echo.
    raise RemoteProtocolError("a challenge of AUTH is no base64")
