"""One connection's protocol state, and the only way to exchange commands for replies.

Nothing else touches the reply parser, the queue of unanswered commands or the extension set.
Every reply is popped against the command that asked for it; all outstanding replies are read
before anything is raised (RFC 2920 §3.1); what nobody asked for ends the session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from smtpx._core.learnt import Learnt
from smtpx._core.steps import Glance, Receive, Send, StartTLS, Steps, is_by_total, octets_written
from smtpx._core.trust import (
    check_pins,
    explained,
    is_tls_error,
    plain_text_instead,
)
from smtpx._secrecy import redacted
from smtpx._wire.commands import END_OF_DATA, GREETING, Command, Phase
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions, without
from smtpx._wire.parser import TLS_ALERT, ReplyParser
from smtpx.errors import (
    ConnectionLost,
    LocalProtocolError,
    MalformedReply,
    RemoteProtocolError,
    TimedOut,
    TLSFailure,
    TLSPolicyError,
)
from smtpx.observing import Line, MessageBegun, MessageEnded, Observer, Protected, Speaker
from smtpx.options import Limits, Timeouts
from smtpx.replies import Reply
from smtpx.results import SendResult

if TYPE_CHECKING:
    from smtpx.envelope import Envelope
    from smtpx.pins import Pin
    from smtpx.signing import Signer
    from smtpx.tls import Protection

# How long the parting words of a server are waited for when the connection breaks under our feet,
# if the phase has as much.
_LAST_WORDS = 2.0


_USE_SMTPS = "use smtps://, or ?tls=implicit"
# Whose ports are taken for a mail server's.
_OF_OTHERS = {
    "22": "SSH",
    "80": "HTTP",
    "110": "POP3",
    "143": "IMAP",
    "443": "HTTP",
    "993": "IMAP",
    "995": "POP3",
}

Ended: TypeAlias = Callable[[SendResult], object]
"""Called with what became of a mail transaction."""

SESSION_OVER = (ConnectionLost, TimedOut, RemoteProtocolError)
"""What is raised here once the session is of no further use."""
_GLANCE = Glance()
# An Enum's attributes are slow to look up until Python 3.12, and these are asked for every message.
_DATA_BLOCK, _DATA_TERMINATION = Phase.DATA_BLOCK, Phase.DATA_TERMINATION
# After these commands even a 2yz reply means something for the session.
_TURNING = (Phase.DATA_INITIATION, Phase.QUIT)


class Connection:
    """What is known about one connection to a server.

    It does no I/O: its methods are procedures, run by a driver.
    """

    __slots__ = (
        "_first",
        "_further",
        "_has_gone_on",
        "_is_silent",
        "_messages",
        "_parser",
        "_pending",
        "_seconds",
        "authenticated",
        "broken",
        "client_name",
        "content_ended",
        "domains",
        "extensions",
        "greeting",
        "ignored",
        "learnt",
        "limits",
        "lmtp",
        "local",
        "mark",
        "observer",
        "open_transaction",
        "parting",
        "pins",
        "protection",
        "secrets",
        "server",
        "session",
        "signer",
        "surplus",
        "timeouts",
        "transactions",
        "was_gone",
    )

    def __init__(
        self,
        *,
        server: str | None = None,
        lmtp: bool = False,
        local: bool = False,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        observer: Observer | None = None,
        pins: tuple[Pin, ...] = (),
        signer: Signer | None = None,
        session: int = 0,
        ignored: frozenset[str] = frozenset(),
        learnt: Learnt | None = None,
    ) -> None:
        self.server = server
        """What errors call the server: ``host:port``, or the path of a unix socket."""
        self.lmtp = lmtp
        self.local = local
        """The peer is on this machine: what is said in plain text stays here."""
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.observer = observer
        self.pins = pins
        """One of these the peer must have, whatever else vouches for it; with none, any may be."""
        self.signer = signer
        self.session = session
        """The number by which the observer knows this session."""
        self.ignored = ignored
        """EHLO keywords that the caller does not want to be believed."""
        self.learnt = learnt or Learnt()
        """What other sessions with this server have shown."""
        self.transactions = 0
        """Mail transactions begun so far."""
        self.surplus: tuple[Reply, ...] | None = None
        """What came behind the last reply that was due: any of those may then be another's."""
        self._messages = 0
        self.extensions: Extensions = NO_EXTENSIONS
        self.greeting: Reply | None = None
        self.protection: Protection | None = None
        """What the TLS handshake agreed on, once there was one."""
        self.authenticated = False
        self.client_name = ""
        """What we last identified ourselves by."""
        self.open_transaction = False
        """MAIL may have been accepted and not completed: RSET goes before the next MAIL."""
        self.parting: Reply | None = None
        """A 421, or the reply to QUIT: the server closes after it (RFC 5321 §3.8)."""
        self.broken = False
        """The dialogue is out of step or the transport gone: never to be used again."""
        self.was_gone = False
        """It ended by what the server said, before a mail transaction was answered."""
        self.content_ended = False
        """The last octet of a content may have left, of the present message or of a part of it."""
        self.mark: Callable[[], Steps[bool]] | None = None
        """Asks whether the present content may end (`marking`)."""
        self.domains: set[str] = set()
        """Domains of recipients named so far, where the server limits them (RFC 9422 §4.3)."""
        self.secrets: tuple[bytes, ...] = ()
        """What is cut out of replies, by `conceal`."""
        self._is_silent = False  # Nothing has come any more after the parting.
        self._has_gone_on = False  # The server said yes after it.
        self._parser = ReplyParser(self.limits)
        self._pending: deque[Command] = deque()
        self._seconds: list[float | None] = [getattr(self.timeouts, p.field) for p in Phase]
        # What is asked for with every reply.
        self._first = [Receive(seconds, fresh=True) for seconds in self._seconds]
        self._further = [Receive(seconds, fresh=False) for seconds in self._seconds]

    @property
    def tls(self) -> bool:
        """True once TLS is on."""
        return self.protection is not None

    @property
    def is_full(self) -> bool:
        """True if no other mail transaction may be begun (MAILMAX, RFC 9422 §4.1)."""
        most = self.extensions.mail_max
        return most is not None and self.transactions >= most

    def understand(self, extensions: Extensions) -> None:
        """Take what the server announces, but for what is not to be believed."""
        self.extensions = without(extensions, self.ignored | self.learnt.broken)

    @property
    def usable(self) -> bool:
        """True if another command may be sent."""
        return not self.broken and self.parting is None

    def over(self) -> ConnectionLost:
        """The error of whoever still wants something of a session that has ended."""
        why = "the session is over"
        if self.parting is not None:
            why = f"the server closed the session: {self.parting}"
        return ConnectionLost(why, phase=Phase.OTHER.field, reply=self.parting)

    def feed(self, octets: bytes) -> None:
        """Take what the server said before anything was asked of it, behind a proxy's answer."""
        self._parser.feed(octets)

    def conceal(self, secrets: tuple[bytes, ...]) -> None:
        """Cut these out of what the server says, while an AUTH exchange runs: some echo them."""
        self.secrets = self._parser.secrets = secrets

    def greet(self) -> Steps[Reply]:
        """Read the greeting, which answers no command.

        Raises:
            TLSPolicyError: the server speaks TLS already.
        """
        self._pending.append(GREETING)
        try:
            (reply,) = yield from self.settle()
        except MalformedReply as error:
            if not error.line.startswith(TLS_ALERT):
                raise
            raise TLSPolicyError(
                f"the server speaks TLS from the start on this port: {_USE_SMTPS}",
                TLSFailure.TLS_EXPECTED,
            ) from error
        self.greeting = reply
        return reply

    def exchange(self, *commands: Command, heard: list[Reply] | None = None) -> Steps[list[Reply]]:
        """Send a command group and return its replies, in order; `heard` has them as they come.

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
        replies = [] if heard is None else heard
        ahead = self.extensions.pipelining
        for group in self._groups(commands) if ahead else ((command,) for command in commands):
            if self.parting is not None:
                # 421: the server closes, and will answer nothing that was still to come.
                replies += [self.parting] * len(group)
                continue
            for command in group:
                self._say(command)
            self._pending.extend(group)
            wire = group[0].wire if len(group) == 1 else b"".join([c.wire for c in group])
            yield from self.send(wire, group[0].phase)
            # Half a window stays unanswered while the other half is written.
            _ = yield from self.settle(leaving=len(group) if ahead else 0, heard=replies)
        return (yield from self.settle(heard=replies))

    def _groups(self, commands: tuple[Command, ...]) -> Iterable[tuple[Command, ...]]:
        """Divide commands so that two neighbours fit the window; all in one if they do."""
        window = self.limits.window
        if sum([len(command.wire) for command in commands]) <= window:
            return (commands,)
        groups: list[tuple[Command, ...]] = []
        group: list[Command] = []
        size = 0
        for command in commands:
            size += len(command.wire)
            if group and size > window // 2:
                groups.append(tuple(group))
                group, size = [], len(command.wire)
            group.append(command)
        return [*groups, tuple(group)]

    def command(self, command: Command) -> Steps[Reply]:
        """Send one command and return its reply."""
        (reply,) = yield from self.exchange(command)
        return reply

    def send(self, data: bytes | memoryview, phase: Phase = _DATA_BLOCK) -> Steps[None]:
        """Write octets as they are."""
        rate = self.limits.data_rate if phase is _DATA_BLOCK else None
        try:
            yield Send(data, self._seconds[phase], rate)
        except OSError as error:
            is_late = is_by_total(error) and octets_written(error, len(data)) == 0
            # What took the time may have been ours: a message to write, or a signer.
            doing = "we got ready to write" if is_late else "we wrote to the server"
            raise self._lost(error, phase, doing) from error

    def expect(self, command: Command, replies: int = 1) -> None:
        """Note that replies are due to a command whose octets are sent by other means."""
        if self.observer is not None:
            self._say(command)
        if command.phase is _DATA_TERMINATION:
            self.content_ended = True
        self._pending.extend([command] * replies)

    def expect_group(self, groups: Iterable[bytes], replies: int) -> None:
        """Note the same of the commands of whole transactions, each of which ends with its data."""
        if self.observer is not None:
            self._say(Command(b"".join(groups), Phase.DATA_TERMINATION))
        self.content_ended = True
        self._pending.extend([END_OF_DATA] * replies)

    def settle_successes(self, counts: Iterable[int]) -> list[bytes]:
        """Take the replies to transactions, so many to each; return the octets of the last.

        As far as all to one have come and are positive. The short way of `settle` for a window
        of transactions, nearly all of which succeed.
        """
        if self.observer is not None or self.parting is not None:
            return []
        last, taken = self._parser.next_positives(counts)
        self.answered(taken)
        return last

    @property
    def unanswered(self) -> int:
        """How many replies are still to come."""
        return len(self._pending)

    def settle_success(self, count: int) -> Steps[bytes | None]:
        """Wait for `count` replies as long as all are positive; return the octets of the last.

        ``None``: something else has come, and nothing was taken. The time is for all together.
        """
        parser = self._parser
        fresh = True
        while self.observer is None and self.parting is None:
            if not parser.is_empty:
                last = parser.next_success(count)
                if last is not None:
                    self.answered(count)
                    return last
                if not parser.is_promising:
                    break
            yield from self._receive(self._pending[0], fresh)
            fresh = False
        return None

    def answered(self, count: int) -> None:
        """Note that so many of the oldest commands have had their replies."""
        pending = self._pending
        if count == len(pending):
            pending.clear()
            return
        for _ in range(count):
            _ = pending.popleft()

    def settle_group(
        self, count: int, heard: list[Reply] | None = None
    ) -> Steps[list[Reply] | None]:
        """Read the replies to `count` commands and to DATA; ``None`` if nothing was refused.

        The short way of `settle`, where they come together; `heard` is as there.
        """
        parser = self._parser
        if self.observer is not None or self.parting is not None:
            return (yield from self.settle(heard=heard))
        if parser.is_empty:
            yield from self._receive(self._pending[0], fresh=True)
        if not parser.took_go_ahead(count):
            return (yield from self.settle(fresh=parser.has_line, heard=heard))
        self.answered(count + 1)
        return None

    def settle(
        self,
        leaving: int = 0,
        *,
        heard: list[Reply] | None = None,
        fresh: bool = True,
        together: bool = False,
    ) -> Steps[list[Reply]]:
        """Read replies, oldest command first, until only `leaving` commands are unanswered.

        They are appended to `heard` as they come, for those who must know how far it went. Each
        has its time, the first what is left of it if it is not `fresh`; or one is for all of them
        `together`.
        """
        pending, parser = self._pending, self._parser
        replies = [] if heard is None else heard
        reply: Reply | None
        while len(pending) > leaving:
            command = pending[0]
            if self.parting is not None:
                reply = yield from self._after_parting(self.parting, command)
            else:
                try:
                    reply = parser.next_reply()
                except RemoteProtocolError as error:
                    self.broken = True
                    self.was_gone = command.phase is Phase.MAIL
                    if self.secrets:
                        # R14: the variables of the parser are what the server echoes.
                        raise error.with_traceback(None) from None
                    raise
                if reply is None:
                    yield from self._receive(command, fresh)
                    fresh = False
                    continue
                plain = reply.positive and command.phase not in _TURNING
                if not plain or self.observer is not None or self.secrets:
                    reply = self._heard(reply, command)
                fresh = not together
            _ = pending.popleft()
            replies.append(reply)
        return replies

    def _after_parting(self, parting: Reply, command: Command) -> Steps[Reply]:
        """What answers a command that was sent before the server said 421.

        RFC 5321 §3.8: the server closes, so that the 421 answers it. Some go on all the same, and
        may have accepted what was already on its way: what they say counts.

        Raises:
            ConnectionLost: the server has gone on, and then said no more.
        """
        if not self._is_silent:
            words = yield from self.last_words(command.phase)
            if words is not None:
                if words.intermediate or command.phase is Phase.DATA_INITIATION:
                    self._check_place(words, command)
                self._has_gone_on |= words.positive
                return words
            self._is_silent = True
        if self._has_gone_on:
            raise self.over()
        return parting

    def _receive(self, command: Command, fresh: bool) -> Steps[None]:
        try:
            data = yield (self._first if fresh else self._further)[command.phase]
        except OSError as error:
            doing = f"we waited for {_due(command)}"
            hint = self._hint_of_silence() if command is GREETING else ""
            raise self._lost(error, command.phase, doing, hint) from error
        if not data:
            raise self._closed(command)
        self._parser.feed(data)

    def _heard(self, reply: Reply, command: Command) -> Reply:
        """What a reply means for the session."""
        shown = self._shown(reply)
        if self.observer is not None:
            self._hear(shown)
        if not reply.raw.startswith(b"334"):  # A challenge is answered as it came.
            reply = shown
        if reply.intermediate or command.phase is Phase.DATA_INITIATION:
            self._check_place(reply, command)
        if reply.raw.startswith(b"421") or command.phase is Phase.QUIT:
            self.parting = reply
        return reply

    def _check_place(self, reply: Reply, command: Command) -> None:
        """No server that is in step answers so: a 3yz says "go on", and only where one can."""
        if command.phase is Phase.DATA_INITIATION:
            out_of_place = reply.positive
        else:
            out_of_place = command.phase is not Phase.AUTH
        if out_of_place:
            self.broken = True
            asked = "the content" if command is END_OF_DATA else command.shown or "connecting"
            raise RemoteProtocolError(f"{asked} was answered by {reply}")

    def last_words(self, phase: Phase) -> Steps[Reply | None]:
        """Read the reply that a server sent unasked before it closed, if there is one.

        Postfix and others answer 5yz in the middle of the content and hang up; that reply, not
        the broken pipe, is the reason. The connection is of no further use.
        """
        self.broken = True
        fresh = True
        seconds = self._seconds[phase]
        seconds = _LAST_WORDS if seconds is None else min(_LAST_WORDS, seconds)
        try:
            while (reply := self._parser.next_reply()) is None:
                data = yield Receive(seconds, fresh)
                fresh = False
                if not data:
                    return None
                self._parser.feed(data)
        except (OSError, RemoteProtocolError):
            return None
        reply = self._shown(reply)
        self._hear(reply)
        return reply

    @property
    def has_unread(self) -> bool:
        """True if octets have come in that no reply has used up."""
        return not self._parser.is_empty

    def has_early_reply(self) -> Steps[bool]:
        """True if the server already says something, or hung up, before it was asked."""
        if self._parser.is_empty:
            try:
                data = yield _GLANCE
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
            raise self.over()
        if self.broken:
            raise LocalProtocolError("the session is over: open another one")
        if self._parser.is_empty:
            try:
                data = yield _GLANCE
            except OSError as error:
                raise self._lost(error, Phase.OTHER, "nobody had anything to say") from error
            if data is None:
                return
            if not data:
                self.broken = True
                raise ConnectionLost("the server closed the connection", phase=Phase.OTHER.field)
            self._parser.feed(data)
        self.was_gone = True
        raise self._unsolicited()

    def _glance(self) -> Steps[bytes | None]:
        """What has come before the TLS handshake."""
        try:
            return (yield _GLANCE)
        except OSError as error:
            raise self._lost(error, Phase.TLS, "nobody had anything to say") from error

    def check_in_step(self) -> bool:
        """Make sure that what came was asked for, all replies that were due having been taken.

        True if a 421 follows them: the server closes now.

        Raises:
            RemoteProtocolError: there is more, so that any of them may be another's.
        """
        if not self.has_unread:
            return False
        parting = self.parting
        error = self._unsolicited()
        if self.parting is parting:
            raise error
        return True

    def _rest(self) -> Iterable[Reply]:
        """The whole replies that have come in."""
        try:
            while (reply := self._parser.next_reply()) is not None:
                yield reply
        except RemoteProtocolError:
            pass  # It is no reply, and the session is over.

    def rest_is_due(self) -> bool:
        """True if what has come and nobody has looked at are replies, and no more than are due."""
        due = len(self._pending)
        try:
            while self._parser.next_reply() is not None:
                due -= 1
        except RemoteProtocolError:
            return False
        return due >= 0

    def look_behind(self) -> Steps[bool]:
        """Look once, without waiting, whether anything follows the last reply that was due.

        The end of the stream takes nothing back; the connection is of no more use. True if a 421
        follows: had a reply too many come before, it would be the one to the last command.

        Raises:
            RemoteProtocolError: there is more, so that any of them may be another's.
        """
        if self._parser.is_empty:
            try:
                data = yield _GLANCE
            except OSError:
                data = b""
            if data is None:
                return False
            self.broken = self.broken or not data
            self._parser.feed(data)
        return self.check_in_step()

    def check_behind(self, *, taken: bool) -> Steps[None]:
        """Look behind the reply to a content; a 421 takes nothing back if that was not `taken`.

        Raises:
            RemoteProtocolError: that reply may be another's.
        """
        is_followed = yield from self.look_behind()
        if is_followed and taken:
            raise RemoteProtocolError(
                f"what may be the reply to the content came behind a yes: {self.parting}"
            )

    def upgrade(self) -> Steps[None]:
        """After the 220 to STARTTLS: do the handshake, and forget what was learnt before it.

        RFC 3207 §4.2. Octets that came in plain text behind the 220 would be read as if they had
        been protected, so they end the session.

        Raises:
            RemoteProtocolError: something arrived between the 220 and the handshake.
            TLSPolicyError: the handshake failed.
        """
        if self.has_unread or (yield from self._glance()):
            self.broken = True
            raise RemoteProtocolError(
                "octets in plain text followed the reply to STARTTLS: an attack, or a broken server"
            )
        yield from self._handshake()
        self.extensions = NO_EXTENSIONS
        self.authenticated = False

    def protect(self) -> Steps[None]:
        """TLS from the start, before the greeting (RFC 8314 §3).

        Raises:
            TLSPolicyError: the server has greeted us already, or the handshake failed.
        """
        if (yield from self._glance()):
            self.broken = True
            raise plain_text_instead(greeted=False, usual=self._whose_port())
        yield from self._handshake()

    def _handshake(self) -> Steps[None]:
        """Do the TLS handshake.

        Raises:
            TLSPolicyError: the peer's certificate or its TLS is not as the policy asks.
        """
        if self.has_unread:
            self.broken = True
            raise RemoteProtocolError("the server spoke in plain text before the TLS handshake")
        step = StartTLS(self._seconds[Phase.TLS])
        try:
            yield step
        except OSError as error:
            hint = ""
            if self.greeting is None:
                usual = self._whose_port()
                hint = f"is this port one that begins with TLS, as 465 does?{usual}"
            lost = self._lost(error, Phase.TLS, "we waited for the TLS handshake", hint)
            if not is_tls_error(error):
                raise lost from error
            greeted = self.greeting is not None
            raise explained(
                error,
                step.presented,
                greeted=greeted,
                missing=step.missing,
                usual=self._whose_port(),
            ) from error
        # Before an octet of SMTP is said, and also where a session was resumed.
        try:
            check_pins(self.pins, step.protection)
        except TLSPolicyError:
            self.broken = True
            raise
        self.protection = step.protection
        if self.observer is not None and self.protection is not None:
            _ = self.observer(Protected(self.session, self.protection))

    def _unsolicited(self) -> ConnectionLost | RemoteProtocolError:
        """What the waiting octets mean when nothing was asked (R3)."""
        self.broken = True
        self.surplus = ()
        try:
            reply = self._parser.next_reply()
        except RemoteProtocolError as error:
            return error.with_traceback(None)
        if reply is None:
            return RemoteProtocolError("the server sent part of a reply that nobody asked for")
        reply = self._shown(reply)
        self._hear(reply)
        if reply.code in (421, 221):
            self.parting = reply
            return ConnectionLost(
                f"the server closed the session: {reply}", phase=Phase.OTHER.field, reply=reply
            )
        self.surplus = (reply, *self._rest())
        return RemoteProtocolError(f"the server sent a reply that nobody asked for: {reply}")

    def _closed(self, pending: Command) -> ConnectionLost:
        self.broken = True
        cut = ", in the middle of a reply" if self._parser.is_cut else ""
        return ConnectionLost(
            f"the server closed the connection{cut} while we waited for {_due(pending)}",
            phase=pending.phase.field,
        )

    def _lost(
        self, error: OSError, phase: Phase, doing: str, hint: str = ""
    ) -> ConnectionLost | TimedOut:
        """The error of a transport that failed; the hint is for one that was silent."""
        self.broken = True
        if isinstance(error, TimeoutError):
            seconds = self._seconds[phase]
            within = "" if seconds is None else f" ({phase.field}={seconds:g} seconds)"
            if is_by_total(error):
                within = " (total, for the whole call)"
            advice = f": {hint}" if hint else ""
            return TimedOut(f"the time was up while {doing}{within}{advice}", phase=phase.field)
        return ConnectionLost(f"the connection was lost while {doing}: {error}", phase=phase.field)

    def _hint_of_silence(self) -> str:
        """What a server is that lets us speak first."""
        if self.tls:
            return f"an HTTP server says nothing before it is asked{self._whose_port()}"
        return (
            f"a server that begins with TLS says nothing ({_USE_SMTPS}), nor does one of "
            f"HTTP{self._whose_port()}"
        )

    def _whose_port(self) -> str:
        """What is usual on the server's port, if that is no mail."""
        port = (self.server or "").rpartition(":")[2]
        return f"; port {port} is that of {_OF_OTHERS[port]}" if port in _OF_OTHERS else ""

    def begun(self, envelope: Envelope) -> Ended:
        """Tell the observer of a mail transaction; what is returned tells it of the result."""
        observer = self.observer
        if observer is None:
            raise AssertionError("who tells an observer has one")
        self._messages += 1
        number = self._messages
        _ = observer(MessageBegun(self.session, number, envelope))
        return lambda result: observer(MessageEnded(self.session, number, result))

    def _say(self, command: Command) -> None:
        if self.observer is not None:
            for line in command.shown.split("\r\n"):
                _ = self.observer(Line(Speaker.CLIENT, line, self.session))

    def _shown(self, reply: Reply) -> Reply:
        """The reply without the secrets that the server echoes."""
        return _without(reply, self.secrets) if self.secrets else reply

    def _hear(self, reply: Reply) -> None:
        if self.observer is not None:
            for line in reply.raw.decode("utf-8", "replace").removesuffix("\n").split("\n"):
                _ = self.observer(Line(Speaker.SERVER, line.removesuffix("\r"), self.session))


def _without(reply: Reply, secrets: tuple[bytes, ...]) -> Reply:
    lines = reply.raw.splitlines()
    return Reply(b"".join(line[:4] + redacted(line[4:], secrets) + b"\r\n" for line in lines))


def _due(command: Command) -> str:
    if command is GREETING:
        return "the greeting"
    if command.phase is Phase.DATA_TERMINATION:
        return "the reply to the end of data"
    lines = command.shown.split("\r\n")  # Of a group composed as one, the first and the last.
    return f"the reply to {' … '.join(lines[:1] + lines[1:][-1:])}"
