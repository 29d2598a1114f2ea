"""One connection's protocol state, and the only way to exchange commands for replies.

Nothing else touches the reply parser, the queue of unanswered commands or the extension set.
Every reply is popped against the command that asked for it; all outstanding replies are read
before anything is raised (RFC 2920 §3.1); what nobody asked for ends the session.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque

from smtpx._core.steps import Glance, Receive, Send, StartTLS, Steps
from smtpx._wire.commands import GREETING, Command, Phase
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx._wire.parser import ReplyParser
from smtpx.dialogue import Line, Observer, Speaker
from smtpx.errors import (
    ConnectionLost,
    LocalProtocolError,
    RemoteProtocolError,
    TimedOut,
    TLSPolicyError,
)
from smtpx.options import Limits, Timeouts
from smtpx.replies import Reply

# How long the parting words of a server are waited for when the connection breaks under our feet.
_LAST_WORDS = 2.0


class Connection:
    """What is known about one connection to a server.

    It does no I/O: its methods are procedures, run by a driver.
    """

    __slots__ = (
        "_parser",
        "_pending",
        "_seconds",
        "authenticated",
        "broken",
        "extensions",
        "greeting",
        "limits",
        "lmtp",
        "local",
        "observer",
        "open_transaction",
        "parting",
        "secrets",
        "timeouts",
        "tls",
    )

    def __init__(
        self,
        *,
        lmtp: bool = False,
        local: bool = False,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.lmtp = lmtp
        self.local = local
        """The peer is on this machine: what is said in plain text stays here."""
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.observer = observer
        self.extensions: Extensions = NO_EXTENSIONS
        self.greeting: Reply | None = None
        self.tls = False
        self.authenticated = False
        self.open_transaction = False
        """MAIL may have been accepted and not completed: RSET goes before the next MAIL."""
        self.parting: Reply | None = None
        """A 421, or the reply to QUIT: the server closes after it (RFC 5321 §3.8)."""
        self.broken = False
        """The dialogue is out of step or the transport gone: never to be used again."""
        self.secrets: tuple[bytes, ...] = ()
        """What is cut out of replies while an AUTH exchange runs: some servers echo it."""
        self._parser = ReplyParser(self.limits)
        self._pending: deque[Command] = deque()
        self._seconds = {
            phase: getattr(self.timeouts, phase.value) for phase in Phase
        }  # looked up for every reply

    @property
    def usable(self) -> bool:
        """True if another command may be sent."""
        return not self.broken and self.parting is None

    def greet(self) -> Steps[Reply]:
        """Read the greeting, which answers no command."""
        self._pending.append(GREETING)
        reply = yield from self._reply()
        self.greeting = reply
        return reply

    def exchange(self, *commands: Command) -> Steps[list[Reply]]:
        """Send a command group and return its replies, in order.

        What is unanswered stays within `limits.window` octets, or is one command where the
        server does not pipeline. The caller sees to it that the group is one (RFC 2920 §3.1).

        ::

            C: MAIL FROM:<a@example.org>
            C: RCPT TO:<b@example.net>
            C: DATA
            S: 250 ok
            S: 550 no such user
            S: 503 nobody to send to
        """
        yield from self.check_quiet()
        window = self.limits.window if self.extensions.pipelining else 0
        unsent = deque(commands)
        unanswered = 0
        replies: list[Reply] = []
        while len(replies) < len(commands):
            # Refilled when half empty: neither a write for each reply nor a standstill.
            if unsent and unanswered <= window // 2 and self.parting is None:
                group: list[bytes] = []
                while unsent and (not unanswered or unanswered + len(unsent[0].wire) <= window):
                    following = unsent.popleft()
                    group.append(following.wire)
                    unanswered += len(following.wire)
                    self._say(following)
                    self._pending.append(following)
                yield from self.send(b"".join(group), self._pending[0].phase)
            elif self.parting is not None and not self._pending:
                # 421: the server closes, and will answer nothing that was still to come.
                replies += [self.parting] * len(unsent)
                break
            unanswered -= len(self._pending[0].wire)
            replies.append((yield from self._reply()))
        return replies

    def command(self, command: Command) -> Steps[Reply]:
        """Send one command and return its reply."""
        (reply,) = yield from self.exchange(command)
        return reply

    def send(self, data: bytes | memoryview, phase: Phase = Phase.DATA_BLOCK) -> Steps[None]:
        """Write octets as they are."""
        try:
            yield Send(data, self._seconds[phase])
        except OSError as error:
            raise self._lost(error, phase) from error

    def expect(self, command: Command, replies: int = 1) -> None:
        """Note that replies are due to a command whose octets are sent by other means."""
        self._say(command)
        self._pending.extend([command] * replies)

    def settle(self) -> Steps[Reply]:
        """Read the reply to the oldest unanswered command."""
        return (yield from self._reply())

    def last_words(self) -> Steps[Reply | None]:
        """Read the reply that a server sent unasked before it closed, if there is one.

        Postfix and others answer 5yz in the middle of the content and hang up; that reply, not
        the broken pipe, is the reason. The connection is of no further use.
        """
        self.broken = True
        fresh = True
        try:
            while (reply := self._parser.next_reply()) is None:
                data = yield Receive(_LAST_WORDS, fresh)
                fresh = False
                if not data:
                    return None
                self._parser.feed(data)
        except (OSError, RemoteProtocolError):
            return None
        self._hear(reply)
        return reply

    @property
    def has_unread(self) -> bool:
        """True if octets have come in that no reply has used up."""
        return not self._parser.is_empty

    def has_early_reply(self) -> Steps[bool]:
        """True if the server already says something, or hung up, before it was asked."""
        if not self.has_unread:
            try:
                data = yield Glance()
            except OSError:
                return True
            if data is None:
                return False
            self._parser.feed(data)
        return True

    def check_quiet(self) -> Steps[None]:
        """Make sure that commands may be sent, and that nothing waits to be read.

        Raises:
            LocalProtocolError: the session is over by our own doing.
            ConnectionLost: the server has closed the connection, with a 421 or without.
            RemoteProtocolError: the server said something that nobody asked for.
        """
        if self.parting is not None:
            raise ConnectionLost(
                f"the server closed the session: {self.parting}",
                phase=Phase.OTHER.value,
                reply=self.parting,
            )
        if self.broken:
            raise LocalProtocolError("the session is over: open another one")
        if not self.has_unread:
            try:
                data = yield Glance()
            except OSError as error:
                raise self._lost(error, Phase.OTHER) from error
            if data is None:
                return
            if not data:
                self.broken = True
                raise ConnectionLost("the server closed the connection", phase=Phase.OTHER.value)
            self._parser.feed(data)
        raise self._unsolicited()

    def upgrade(self) -> Steps[None]:
        """After the 220 to STARTTLS: do the handshake, and forget what was learnt before it.

        RFC 3207 §4.2. Octets that came in plain text behind the 220 would be read as if they had
        been protected, so they end the session.

        Raises:
            RemoteProtocolError: something arrived between the 220 and the handshake.
            TLSPolicyError: the handshake failed.
        """
        if self.has_unread or (yield Glance()):
            self.broken = True
            raise RemoteProtocolError(
                "octets in plain text followed the reply to STARTTLS: an attack, or a broken server"
            )
        yield from self.handshake()
        self.extensions = NO_EXTENSIONS
        self.authenticated = False

    def handshake(self) -> Steps[None]:
        """Do the TLS handshake.

        Raises:
            TLSPolicyError: the peer's certificate or its TLS is not as the policy asks.
        """
        try:
            yield StartTLS(self._seconds[Phase.TLS])
        except OSError as error:
            lost = self._lost(error, Phase.TLS)
            # An SSLError says in words what is wrong; any other means that the peer went away.
            if type(error).__module__ == "ssl" and not isinstance(error, TimeoutError):
                raise TLSPolicyError(f"the TLS handshake failed: {error}") from error
            raise lost from error
        self.tls = True

    def _reply(self) -> Steps[Reply]:
        """Read the reply to the oldest pending command (R3)."""
        pending = self._pending[0]
        if self.parting is None:
            fresh = True
            while (reply := self._parse()) is None:
                try:
                    data = yield Receive(self._seconds[pending.phase], fresh)
                except OSError as error:
                    raise self._lost(error, pending.phase, pending) from error
                if not data:
                    raise self._closed(pending)
                fresh = False
                self._parser.feed(data)
            if self.secrets:
                reply = _without(reply, self.secrets)
            self._hear(reply)
            if _is_out_of_place(reply, pending):
                self.broken = True
                raise RemoteProtocolError(
                    f"{pending.shown or 'connecting'} was answered by {reply}"
                )
            if reply.raw.startswith(b"421") or pending.phase is Phase.QUIT:
                self.parting = reply
        else:
            reply = self.parting
        _ = self._pending.popleft()
        return reply

    def _parse(self) -> Reply | None:
        try:
            return self._parser.next_reply()
        except RemoteProtocolError:
            self.broken = True
            raise

    def _unsolicited(self) -> Exception:
        """What the waiting octets mean when nothing was asked (R3)."""
        self.broken = True
        try:
            reply = self._parser.next_reply()
        except RemoteProtocolError as error:
            return error
        if reply is None:
            return RemoteProtocolError("the server sent part of a reply that nobody asked for")
        self._hear(reply)
        if reply.code in (421, 221):
            self.parting = reply
            return ConnectionLost(
                f"the server closed the session: {reply}", phase=Phase.OTHER.value, reply=reply
            )
        return RemoteProtocolError(f"the server sent a reply that nobody asked for: {reply}")

    def _closed(self, pending: Command) -> ConnectionLost:
        self.broken = True
        cut = ", in the middle of a reply" if self.has_unread else ""
        return ConnectionLost(
            f"the server closed the connection{cut} while we waited for {_due(pending)}",
            phase=pending.phase.value,
        )

    def _lost(
        self, error: OSError, phase: Phase, pending: Command | None = None
    ) -> ConnectionLost | TimedOut:
        self.broken = True
        doing = "we wrote to the server" if pending is None else f"we waited for {_due(pending)}"
        if isinstance(error, TimeoutError):
            seconds = self._seconds[phase]
            within = "" if seconds is None else f" ({phase.value}={seconds:g} seconds)"
            return TimedOut(f"the time was up while {doing}{within}", phase=phase.value)
        return ConnectionLost(f"the connection was lost while {doing}: {error}", phase=phase.value)

    def _say(self, command: Command) -> None:
        if self.observer is not None and command.wire:
            self.observer(Line(Speaker.CLIENT, command.shown))

    def _hear(self, reply: Reply) -> None:
        if self.observer is not None:
            for line in reply.raw.decode("utf-8", "replace").removesuffix("\n").split("\n"):
                self.observer(Line(Speaker.SERVER, line.removesuffix("\r")))


def _is_out_of_place(reply: Reply, command: Command) -> bool:
    """True if no server that is in step answers so: a 3yz says "go on", and only where one can."""
    if command.phase is Phase.DATA_INITIATION:
        return reply.positive
    return reply.intermediate and command.phase is not Phase.AUTH


def _without(reply: Reply, secrets: tuple[bytes, ...]) -> Reply:
    forms = {form for secret in secrets if secret for form in (secret, b64encode(secret))}
    lines: list[bytes] = []
    for line in reply.raw.splitlines(keepends=True):
        text = line[4:]
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, b"[redacted]")
        lines.append(line[:4] + text)
    return Reply(b"".join(lines))


def _due(command: Command) -> str:
    if command is GREETING:
        return "the greeting"
    if command.phase is Phase.DATA_TERMINATION:
        return "the reply to the end of data"
    return f"the reply to {command.shown}"
