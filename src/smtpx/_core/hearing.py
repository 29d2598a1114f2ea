"""What a server says: the replies that are due, and what nobody asked for.

Nothing else touches the reply parser. Every reply is popped against the command that asked for it;
what nobody asked for ends the session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from smtpx._core import failures
from smtpx._core.steps import BrokenOff, Glance, Receive, Steps
from smtpx._core.telling import Telling
from smtpx._secrecy import Hidden, redacted
from smtpx._wire.commands import Command, Phase
from smtpx._wire.parser import ReplyParser
from smtpx.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, TimedOut
from smtpx.options import Limits, Timeouts
from smtpx.replies import Reply

# How long the parting words of a server are waited for when the connection breaks under our feet,
# if the phase has as much.
_LAST_WORDS = 2.0

GLANCE = Glance()
# What it is called when neither side speaks.
_QUIET = "nothing was being said"
# After these commands even a 2yz reply means something for the session.
_TURNING = (Phase.DATA_INITIATION, Phase.QUIT)


class Hearing:
    """The listening half of a connection: the commands without a reply, and the replies."""

    __slots__ = (
        "_first",
        "_further",
        "_has_gone_on",
        "_is_silent",
        "_parser",
        "_pending",
        "_seconds",
        "broken",
        "challenge",
        "limits",
        "parting",
        "secrets",
        "surplus",
        "telling",
        "timeouts",
        "was_gone",
    )

    def __init__(
        self, timeouts: Timeouts | None, limits: Limits | None, telling: Telling | None
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.telling = telling
        """Tells whoever observes the session."""
        self.broken = False
        """The dialogue is out of step or the transport gone: never to be used again."""
        self.parting: Reply | None = None
        """A 421, or the reply to QUIT: the server closes after it (RFC 5321 §3.8)."""
        self.was_gone = False
        """It ended by what the server said, before a mail transaction was answered."""
        self.surplus: tuple[Reply, ...] | None = None
        """What came behind the last reply that was due: any of those may then be another's."""
        self.secrets: tuple[bytes, ...] = ()
        """What is cut out of replies, by `conceal`."""
        self.challenge = Hidden()
        """The last 334 as it came, while secrets are cut out."""
        self._is_silent = False  # Nothing has come any more after the parting.
        self._has_gone_on = False  # The server said yes after it.
        self._parser = ReplyParser(self.limits)
        self._pending: deque[Command] = deque()
        self._seconds: list[float | None] = [getattr(self.timeouts, p.field) for p in Phase]
        # What is asked for with every reply.
        self._first = [Receive(seconds, fresh=True) for seconds in self._seconds]
        self._further = [Receive(seconds, fresh=False) for seconds in self._seconds]

    @property
    def usable(self) -> bool:
        """True if another command may be sent."""
        return not self.broken and self.parting is None

    def over(self) -> ConnectionLost:
        """The error of whoever still wants something of the session, which has ended."""
        return failures.over(self.parting)

    def lost(
        self, error: OSError, phase: Phase, doing: str, hint: str = ""
    ) -> ConnectionLost | TimedOut:
        """The error of a transport that failed, which ends the session."""
        self.broken = True
        return failures.lost(error, phase, self._seconds[phase], doing, hint)

    def conceal(self, secrets: tuple[bytes, ...]) -> None:
        """Cut these out of what the server says, while an AUTH exchange runs: some echo them."""
        self.secrets = self._parser.secrets = secrets
        self.challenge = Hidden()

    def feed(self, octets: bytes) -> None:
        """Take what the server said before anything was asked of it, behind a proxy's answer."""
        self._parser.feed(octets)

    @property
    def unanswered(self) -> int:
        """How many replies are still to come."""
        return len(self._pending)

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
                # Nearly all replies are a yes that means nothing else: they are not looked at.
                plain = reply.positive and command.phase not in _TURNING
                if not plain or self.telling is not None or self.secrets:
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

    def _receive(self, command: Command, fresh: bool, hint: str = "") -> Steps[None]:
        try:
            data = yield (self._first if fresh else self._further)[command.phase]
        except OSError as error:
            raise self._unheard(error, command, hint) from error
        if not data:
            raise self._closed(command)
        self._parser.feed(data)

    def _unheard(
        self, error: OSError, command: Command, hint: str = ""
    ) -> ConnectionLost | TimedOut:
        """The error of a transport that failed while a reply was waited for."""
        return self.lost(error, command.phase, f"we waited for {failures.due(command)}", hint)

    def _closed(self, command: Command) -> ConnectionLost:
        """The error of a stream that ended in place of a reply."""
        self.broken = True
        return failures.closed(command, is_cut=self._parser.is_cut)

    def _heard(self, reply: Reply, command: Command) -> Reply:
        """What a reply means for the session."""
        shown = self._shown(reply)
        if self.telling is not None:
            self.telling.heard(shown)
        if reply.raw.startswith(b"334"):
            self.challenge = Hidden(reply.raw)  # It is answered as it came, and shown as it may be.
        reply = shown
        if reply.intermediate or command.phase is Phase.DATA_INITIATION:
            self._check_place(reply, command)
        if reply.raw.startswith(b"421") or command.phase is Phase.QUIT:
            self.parting = reply
        return reply

    def _shown(self, reply: Reply) -> Reply:
        """The reply without the secrets that the server echoes."""
        return _without(reply, self.secrets) if self.secrets else reply

    def _check_place(self, reply: Reply, command: Command) -> None:
        """No server that is in step answers so: a 3yz says "go on", and only where one can."""
        if command.phase is Phase.DATA_INITIATION:
            out_of_place = reply.positive
        else:
            out_of_place = command.phase is not Phase.AUTH
        if out_of_place:
            self.broken = True
            raise failures.out_of_place(reply, command)

    def settle_group(
        self, count: int, heard: list[Reply] | None = None
    ) -> Steps[list[Reply] | None]:
        """Read the replies to `count` commands and to DATA; ``None`` if nothing was refused.

        The short way of `settle`, where they come together; `heard` is as there.
        """
        parser = self._parser
        if self.telling is not None or self.parting is not None:
            return (yield from self.settle(heard=heard))
        if parser.is_empty:
            yield from self._receive(self._pending[0], fresh=True)
        if not parser.took_go_ahead(count):
            return (yield from self.settle(fresh=parser.has_line, heard=heard))
        self.answered(count + 1)
        return None

    def settle_success(self, count: int, fresh: bool = True) -> Steps[bytes | None]:
        """Wait for `count` replies as long as all are positive; return the octets of the last.

        ``None``: something else has come, and nothing was taken. The time is for all together;
        what is left of it if it is not `fresh`.
        """
        parser = self._parser
        while self.telling is None and self.parting is None:
            if not parser.is_empty:
                last = parser.next_success(count)
                if last is not None:
                    self.answered(count)
                    return last
                if not parser.is_promising:
                    break  # Left as it came: the caller has `settle` read it, and judge.
            yield from self._receive(self._pending[0], fresh)
            fresh = False
        return None

    def settle_successes(self, counts: Iterable[int]) -> list[bytes]:
        """Take the replies to transactions, so many to each; return the octets of the last.

        As far as all to one have come and are positive. The short way of `settle` for a window
        of transactions, nearly all of which succeed.
        """
        if self.telling is not None or self.parting is not None:
            return []
        last, taken = self._parser.next_positives(counts)
        self.answered(taken)
        return last

    def answered(self, count: int) -> None:
        """Note that so many of the oldest commands have had their replies."""
        pending = self._pending
        if count == len(pending):
            pending.clear()
            return
        for _ in range(count):
            _ = pending.popleft()

    def last_words(self, phase: Phase) -> Steps[Reply | None]:
        """Read the reply that a server sent unasked before it closed, if there is one.

        Postfix and others answer 5yz in the middle of the content and hang up; that reply, not
        the broken pipe, is the reason. The connection is of no further use.
        """
        self.broken = True  # First of all, for the caller may be interrupted while we wait.
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
        if self.telling is not None:
            self.telling.heard(reply)
        return reply

    @property
    def has_unread(self) -> bool:
        """True if octets have come in that no reply has used up."""
        return not self._parser.is_empty

    def has_early_reply(self) -> Steps[bool]:
        """True if the server already says something, or hung up, before the content has ended.

        Raises:
            ConnectionLost: we have closed the connection ourselves.
        """
        if self._parser.is_empty:
            try:
                data = yield GLANCE
            except BrokenOff as error:
                raise self.lost(error, Phase.DATA_BLOCK, "we wrote the content") from error
            except OSError:
                return True
            if data is None:
                return False
            self._parser.feed(data)
        return True

    def glance(self, phase: Phase) -> Steps[bytes | None]:
        """Take what has come, though no reply is read here."""
        try:
            return (yield GLANCE)
        except OSError as error:
            raise self.lost(error, phase, _QUIET) from error

    def check_quiet(self) -> Steps[None]:
        """Make sure that commands may be sent, and that nothing waits to be read.

        Raises:
            LocalProtocolError: the session is over by our own doing.
            ConnectionLost: the server has closed the connection, with a 421 or without.
            RemoteProtocolError: the server said something that nobody asked for.
        """
        self._check_idle()
        try:
            early = yield GLANCE
        except OSError as error:
            raise self._not_quiet(error) from error
        if early is not None:
            raise self._unasked(early)

    def _check_idle(self) -> None:
        """Make sure of the same, as far as it is known without looking."""
        # A server that has parted is broken with, too; its own words are the better reason.
        if self.parting is not None:
            raise self.over()
        if self.broken:
            raise LocalProtocolError("the session is over: open another one")
        if not self._parser.is_empty:
            raise self._unasked()

    def _not_quiet(self, error: OSError) -> ConnectionLost | TimedOut:
        """The error of a transport that failed when it was looked at."""
        return self.lost(error, Phase.OTHER, _QUIET)

    def _unasked(self, early: bytes | None = None) -> ConnectionLost | RemoteProtocolError:
        """What it means that something has come before it was asked for, or was there already."""
        if early is not None:
            if not early:
                self.broken = True
                return ConnectionLost("the server closed the connection", phase=Phase.OTHER.field)
            self._parser.feed(early)
        self.was_gone = True
        return self._unsolicited()

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
        if self.telling is not None:
            self.telling.heard(reply)
        if reply.code in (421, 221):
            self.parting = reply
            return failures.over(reply)
        self.surplus = (reply, *self._rest())
        return RemoteProtocolError(f"the server sent a reply that nobody asked for: {reply}")

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
        if self.parting is parting:  # Else it was a 421, or a 221, and is kept as the parting.
            raise error
        return True

    def look_behind(self) -> Steps[bool]:
        """Look once, without waiting, whether anything follows the last reply that was due.

        The end of the stream takes nothing back; the connection is of no more use. True if a 421
        follows: had a reply too many come before, it would be the one to the last command.

        Raises:
            RemoteProtocolError: there is more, so that any of them may be another's.
        """
        if self._parser.is_empty:
            try:
                data = yield GLANCE
            except OSError:
                data = b""
            if data is None:
                return False
            return self._follows(data)
        return self.check_in_step()

    def _follows(self, data: bytes) -> bool:
        """The same of what has just come."""
        # After the end of the stream nothing can be sent; what was answered stays so.
        self.broken = self.broken or not data
        self._parser.feed(data)
        return self.check_in_step()


def _without(reply: Reply, secrets: tuple[bytes, ...]) -> Reply:
    lines = reply.raw.splitlines()
    return Reply(b"".join(line[:4] + redacted(line[4:], secrets) + b"\r\n" for line in lines))
