"""One connection's protocol state, and the only way to exchange commands for replies.

All outstanding replies are read before anything is raised (RFC 2920 §3.1). How they are read is
what `hearing` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from smtpx._core import failures
from smtpx._core.hearing import GLANCE, Hearing
from smtpx._core.learnt import Learnt
from smtpx._core.steps import Send, Steps, is_by_total, octets_written
from smtpx._core.telling import Telling
from smtpx._wire.commands import END_OF_DATA, GREETING, Command, Phase
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions, without
from smtpx._wire.parser import TLS_ALERT
from smtpx.errors import ConnectionLost, MalformedReply, TimedOut
from smtpx.observing import Observer
from smtpx.options import Limits, Timeouts
from smtpx.replies import Reply

if TYPE_CHECKING:
    from smtpx.pins import Pin
    from smtpx.signing import Signer
    from smtpx.tls import Protection

# An Enum's attributes are slow to look up until Python 3.12, and these are asked for every message.
_MAIL, _DATA_BLOCK, _DATA_TERMINATION = Phase.MAIL, Phase.DATA_BLOCK, Phase.DATA_TERMINATION


class Connection(Hearing):
    """What is known about one connection to a server.

    It does no I/O: its methods are procedures, run by a driver.
    """

    __slots__ = (
        "authenticated",
        "client_name",
        "content_ended",
        "domains",
        "extensions",
        "greeting",
        "ignored",
        "learnt",
        "lmtp",
        "local",
        "mark",
        "open_transaction",
        "pins",
        "protection",
        "server",
        "signer",
        "transactions",
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
        telling = None if observer is None else Telling(observer, session)
        super().__init__(timeouts, limits, telling)
        self.server = server
        """What errors call the server: ``host:port``, or the path of a unix socket."""
        self.lmtp = lmtp
        self.local = local
        """The peer is on this machine: what is said in plain text stays here."""
        self.pins = pins
        """One of these the peer must have, whatever else vouches for it; with none, any may be."""
        self.signer = signer
        self.ignored = ignored
        """EHLO keywords that the caller does not want to be believed."""
        self.learnt = learnt or Learnt()
        """What other sessions with this server have shown."""
        self.transactions = 0
        """Mail transactions begun so far."""
        self.extensions: Extensions = NO_EXTENSIONS
        self.greeting: Reply | None = None
        self.protection: Protection | None = None
        """What the TLS handshake agreed on, once there was one."""
        self.authenticated = False
        self.client_name = ""
        """What we last identified ourselves by."""
        self.open_transaction = False
        """MAIL may have been accepted and not completed: RSET goes before the next MAIL."""
        self.content_ended = False
        """The last octet of a content may have left, of the present message or of a part of it."""
        self.mark: Callable[[], Steps[bool]] | None = None
        """Asks whether the present content may end (`marking`)."""
        self.domains: set[str] = set()
        """Domains of recipients named so far, where the server limits them (RFC 9422 §4.3)."""

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

    def greet(self) -> Steps[Reply]:
        """Read the greeting, which answers no command.

        Raises:
            TLSPolicyError: the server speaks TLS already.
        """
        self._pending.append(GREETING)
        is_fed = self.has_unread
        if not is_fed:
            hint = failures.why_silent(self.server, tls=self.tls)
            yield from self._receive(GREETING, fresh=True, hint=hint)
        try:
            (reply,) = yield from self.settle(fresh=is_fed)
        except MalformedReply as error:
            if not error.line.startswith(TLS_ALERT):
                raise
            raise failures.greeted_by_tls() from error
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
            if self.telling is not None:
                for command in group:
                    self.telling.said(command)
            # Before the write: what fails half-way may have left, and is unanswered (R15).
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
            yield Send._made(data, self._seconds[phase], rate)
        except OSError as error:
            raise self._unwritten(error, len(data), phase) from error

    def _unwritten(self, error: OSError, size: int, phase: Phase) -> ConnectionLost | TimedOut:
        """The error of a transport that failed in a write of so many octets."""
        is_late = is_by_total(error) and octets_written(error, size) == 0
        # What took the time may have been ours: a message to write, or a signer.
        doing = "we got ready to write" if is_late else "we wrote to the server"
        return self.lost(error, phase, doing)

    def exchange_at_once(self, group: bytes, content: bytes, replies: int) -> Steps[bytes | None]:
        """Send a whole transaction in one write; return the octets of its last reply.

        ``None``: not all of its replies are a yes. What has come of them is left for `settle`, and
        nobody has looked behind them. It is one generator for what `check_quiet`, `send`,
        `settle_success` and `look_behind` do.

        Raises:
            LocalProtocolError, ConnectionLost, TimedOut, RemoteProtocolError: as they do. Unless
                there is an `open_transaction`, nothing was written.
        """
        self._check_idle()
        try:
            early = yield GLANCE
        except OSError as error:
            raise self._not_quiet(error) from error
        if early is not None:
            raise self._unasked(early)
        self.open_transaction = True
        self.expect_group((group,), replies)
        wire = group + content
        try:
            yield Send._made(wire, self._seconds[_MAIL], None)
        except OSError as error:
            raise self._unwritten(error, len(wire), _MAIL) from error
        if self.telling is not None:
            return None
        try:
            data = yield self._first[_DATA_TERMINATION]
        except OSError as error:
            raise self._unheard(error, END_OF_DATA) from error
        if not data:
            raise self._closed(END_OF_DATA)
        last = self._parser.feed_success(data, replies)
        if last is None:
            last = yield from self.settle_success(replies, fresh=False)
            is_followed = last is not None and (yield from self.look_behind())
        else:
            self._pending.clear()
            try:
                behind = yield GLANCE
            except OSError:
                behind = b""
            is_followed = behind is not None and self._follows(behind)
        if is_followed:
            raise failures.behind_a_yes(self.parting)
        return last

    def expect(self, command: Command, replies: int = 1) -> None:
        """Note that replies are due to a command whose octets are sent by other means."""
        if self.telling is not None:
            self.telling.said(command)
        if command.phase is _DATA_TERMINATION:
            self.content_ended = True
        self._pending.extend([command] * replies)

    def expect_group(self, groups: Iterable[bytes], replies: int) -> None:
        """Note the same of the commands of whole transactions, each of which ends with its data."""
        if self.telling is not None:
            self.telling.said(Command(b"".join(groups), Phase.DATA_TERMINATION))
        self.content_ended = True
        self._pending.extend([END_OF_DATA] * replies)
