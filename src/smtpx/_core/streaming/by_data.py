"""A message's content and the next one's command group in one write (RFC 2920 §3.1).

One round trip a message, from a server with PIPELINING and without CHUNKING.
"""

from __future__ import annotations

from dataclasses import dataclass

from smtpx._core.connection import Connection
from smtpx._core.failures import NO_ROOM, SESSION_OVER
from smtpx._core.housekeeping import leave_in_step
from smtpx._core.marking import Marker, allowed, marked
from smtpx._core.plan import Plan, plain_group, plan_of
from smtpx._core.steps import Steps, octets_written
from smtpx._core.streaming.supply import (
    Budget,
    Drawing,
    Drawn,
    Emit,
    Outgoing,
    Supply,
    accounted,
    ask_for_more,
    not_sent,
    settle,
    tell,
    tell_unmarked,
)
from smtpx._core.transaction import check_reset, end_data, finals_of, send_content
from smtpx._core.transfer import early_reply, ended
from smtpx._core.verdicts import (
    Refused,
    all_refused,
    no_to_reset,
    not_given,
    refusals_of,
    reset_refused,
    result_of,
    with_finals,
)
from smtpx._wire.commands import DATA, END_OF_DATA, RSET, Command, Phase
from smtpx.errors import (
    ConnectionLost,
    MarkRefused,
    RemoteProtocolError,
    ReplyError,
    SMTPError,
    TimedOut,
)
from smtpx.marking import Alone
from smtpx.replies import Reply
from smtpx.results import SendResult, Status, Verdict

_NOT_TRIED: Verdict = (Status.NOT_TRIED, None)
_IN_DOUBT: Verdict = (Status.IN_DOUBT, None)


@dataclass(slots=True)
class _Planned:
    """A message whose commands are made."""

    drawn: Drawn
    reset: bool
    """RSET is the first of them, since the message before may fail."""
    group: bytes
    plan: Plan | None
    """``None`` where the group was composed as one, and nobody has asked for its commands."""

    @property
    def is_chunked(self) -> bool:
        """The content goes by BDAT, so that there is no DATA in the group."""
        return self.plan is not None and self.plan.chunked

    @property
    def before(self) -> int:
        """How many replies come before that to DATA."""
        return self.group.count(b"\n") - (not self.is_chunked)  # One to each command line.


@dataclass(slots=True)
class _Given:
    """A message whose content, to its end, is written: what was said of it."""

    message: _Planned
    refused: Refused
    due: int
    """How many replies there are to the end of data."""
    finals: list[Verdict] | None = None
    """``None`` as long as nobody knows."""
    error: SMTPError | None = None


class Contents:
    """The procedure; `run` it once for a session."""

    __slots__ = (
        "_asked",
        "_budget",
        "_connection",
        "_drawing",
        "_emit",
        "_following",
        "_given",
        "_heard",
        "_supply",
    )

    def __init__(
        self,
        connection: Connection,
        supply: Supply,
        emit: Emit,
        budget: Budget,
        drawing: Drawing,
    ) -> None:
        self._connection = connection
        self._supply = supply
        self._emit = emit
        self._budget = budget
        self._drawing = drawing
        self._given: _Given | None = None
        """Told once the replies to the next command group have shown that all are in step."""
        self._asked: _Planned | None = None
        """Its commands are on their way, and nothing of its content."""
        self._heard: list[Reply] = []
        """The replies to those, as far as they came."""
        self._following: _Planned | None = None
        """Nothing of it is on its way."""

    def run(self) -> Steps[None]:
        """Send until the supply has no more.

        ::

            C: MAIL FROM:<a@example.org>
            C: RCPT TO:<b@example.net>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            C: (content)
            C: .
            C: RSET
            C: MAIL FROM:<a@example.org>
            C: RCPT TO:<c@example.net>
            C: DATA
            S: 250 taken
            S: 250 ok
            …

        Raises:
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over; what was not sent
                is back in the supply.
        """
        return accounted(self._connection, self._run(), self._account)

    def _run(self) -> Steps[None]:
        connection = self._connection
        replies: list[Reply] | None = None
        while True:
            if self._asked is None:
                if not connection.usable:
                    raise connection.over()
                if self._following is None:
                    self._following = yield from self._next(reset=connection.open_transaction)
                if self._following is None:
                    return
                self._asked, self._following = self._following, None
                self._heard = heard = list[Reply]()
                commands = self._commands(self._asked)
                replies = yield from connection.exchange(*commands, heard=heard)
            replies = yield from self._give(self._asked, replies)

    def _next(self, *, reset: bool) -> Steps[_Planned | None]:
        """The next message that may be sent; ``None`` if there is none, or none yet."""
        drawing = self._drawing
        while True:
            drawn = drawing.next()
            if drawn is not None:
                try:
                    return self._planned(drawn, reset)
                except SMTPError as error:
                    tell(self._supply, self._emit, drawn[0], not_sent(drawn[0], error))
            elif drawing.has_ended or not (yield from ask_for_more(self._connection, self._supply)):
                return None

    def _planned(self, drawn: Drawn, reset: bool) -> _Planned:
        _, envelope, content = drawn
        if envelope.is_plain and content.whole is not None:
            then = DATA.wire.decode()
            group = plain_group(self._connection, envelope, content, reset, then)
            return _Planned(drawn, reset, group, None)
        plan = plan_of(self._connection, envelope, content)
        group = b"".join([command.wire for command in _commands_of(plan, reset)])
        return _Planned(drawn, reset, group, plan)

    def _plan(self, message: _Planned) -> Plan:
        if message.plan is None:
            _, envelope, content = message.drawn
            message.plan = plan_of(self._connection, envelope, content)
        return message.plan

    def _commands(self, message: _Planned) -> list[Command]:
        return _commands_of(self._plan(message), message.reset)

    def _give(self, message: _Planned, replies: list[Reply] | None) -> Steps[list[Reply] | None]:
        """Send the content, where somebody wants it; return the replies to what was asked with it.

        No replies mean that nothing was refused.
        """
        self._connection.open_transaction = True
        refused: Refused | None = {}
        if replies is not None:
            refused = yield from self._wanted(message, replies)
        if refused is None:
            return None
        if message.drawn[2].whole is None or message.is_chunked:
            yield from self._give_alone(message, refused)
            return None
        return (yield from self._give_and_ask(message, refused))

    def _wanted(self, message: _Planned, replies: list[Reply]) -> Steps[Refused | None]:
        """Who has refused the message before its content; ``None`` if nobody is to get it."""
        connection, plan = self._connection, self._plan(message)
        if connection.parting is not None:
            raise connection.over()  # Nothing was taken, and another session can have it.
        if message.reset:
            reset, *replies = replies
            check_reset(connection, reset)
            connection.open_transaction = True
        mail, *rcpt = replies
        data = None if plan.chunked else rcpt.pop()
        refused, refusal = refusals_of(plan, mail, rcpt, data, all_or_nothing=False)
        if refused or refusal:
            self._budget.has_refused = True
        if refusal is None:
            return refused
        if data is not None and data.intermediate:
            yield from end_data(connection, mail)
        self._asked = None
        result = result_of(message.drawn[1], all_refused(plan, refused, refusal))
        self._budget.answered += 1
        tell(self._supply, self._emit, message.drawn[0], result)
        return None

    def _give_alone(self, message: _Planned, refused: Refused) -> Steps[None]:
        """Send a large content, and nothing else along with it."""
        connection, plan = self._connection, self._plan(message)
        outgoing, _, content = message.drawn
        given = _Given(message, refused, self._due(message, refused))
        connection.content_ended = False
        outgoing.is_written = True  # Where nobody can say any more how far it has come.
        try:
            procedure = send_content(
                connection, plan.body, content, given.due, chunked=plan.chunked
            )
            given.finals, given.error = yield from marked(
                connection, self._supply.mark, outgoing.message, procedure
            )
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, NO_ROOM):
                # The caller's file cannot be read; the session is broken now.
                self._asked = None
                tell(self._supply, self._emit, outgoing, not_sent(outgoing, error))
                raise connection.over() from error
            if connection.content_ended:
                self._asked, self._given = None, given
            raise
        self._asked, self._given = None, given
        if isinstance(given.error, MarkRefused):
            self._budget.count_unmarked()
        self._tell()
        if isinstance(given.error, SESSION_OVER):
            raise given.error

    def _give_and_ask(self, message: _Planned, refused: Refused) -> Steps[list[Reply] | None]:
        """Write a content, its end, and the following command group; read what is said to both.

        Behind one that goes alone, no message is taken to wait for its reply.
        """
        connection = self._connection
        _, _, content = message.drawn
        following = None
        if not isinstance(message.drawn[0].message, Alone):
            following = self._following = yield from self._next(reset=True)
        given = _Given(message, refused, self._due(message, refused))
        octets = whole = ended(content.whole or b"")
        if (mark := self._supply.mark) is not None:
            yield from self._mark(mark, message)
        if early := (yield from early_reply(connection)):
            self._asked, self._given = None, given
            given.finals, given.error = [early.verdict] * given.due, early.error
            if following is not None:
                self._supply.put_back(following.drawn[0])
                self._following = None
            self._tell()
            raise early.error if isinstance(early.error, SESSION_OVER) else connection.over()
        connection.expect(END_OF_DATA, given.due)
        joined = following is not None and len(following.group) <= connection.limits.window
        message.drawn[0].is_written = True
        self._given, self._asked = given, None
        if following is not None and joined:
            octets += following.group
            self._expect(following)
            self._asked, self._following = following, None
        try:
            yield from connection.send(octets)
        except (ConnectionLost, TimedOut) as error:
            if octets_written(error.__cause__, len(octets)) < len(whole):
                given.finals = [_NOT_TRIED] * given.due
                given.error = error
            raise
        given.finals, given.error = yield from finals_of(connection, given.due)
        if isinstance(given.error, SESSION_OVER):
            raise given.error
        replies: list[Reply] | None = None
        if self._asked is not None:
            replies = yield from self._answers(self._asked)
        self._tell()
        return replies

    def _mark(self, mark: Marker, message: _Planned) -> Steps[None]:
        """Ask whether a content may end.

        Raises:
            ConnectionLost: it may not. There is no other end to it than that of the session.
        """
        outgoing = message.drawn[0]
        (word,) = yield from allowed(self._connection, mark, [outgoing.message])
        if not word:
            tell_unmarked(self._supply, self._emit, self._budget, outgoing)
            self._asked = None
            self._connection.broken = True
            raise self._connection.over()

    def _answers(self, asked: _Planned) -> Steps[list[Reply] | None]:
        """The replies to a group that was written behind a content; they show it to be in step."""
        connection = self._connection
        self._heard = heard = list[Reply]()
        if asked.is_chunked:
            replies = yield from connection.settle(heard=heard)
        else:
            answers = yield from connection.settle_group(asked.before, heard)
            if answers is None or answers[-1].intermediate:
                return answers  # The 354 answers DATA and nothing else.
            replies = answers
        _ = connection.check_in_step()
        if not replies[0].positive and connection.parting is None:
            # A refused RSET may be the sign of a reply too many: the 221 shows that it is none.
            refused = reset_refused(connection, replies[0])
            yield from leave_in_step(connection)
            self._tell()
            raise refused
        return replies

    def _expect(self, following: _Planned) -> None:
        envelope_commands = following.group
        if not following.is_chunked:
            envelope_commands = envelope_commands.removesuffix(DATA.wire)
        self._connection.expect(Command(envelope_commands, Phase.MAIL), following.before)
        if not following.is_chunked:
            self._connection.expect(DATA)

    def _due(self, message: _Planned, refused: Refused) -> int:
        if not self._connection.lmtp:
            return 1
        # RFC 2033 §4.2: LMTP answers the end of data once for each recipient it accepted.
        return len(message.drawn[1].recipients) - len(refused)

    def _tell(self) -> None:
        """Tell what became of the message that was given."""
        given = self._given
        if given is None:
            return
        if given.message.drawn[0].is_told:
            self._given = None  # We were interrupted just then.
            return
        connection, drawn = self._connection, given.message.drawn
        outgoing, envelope, _ = drawn
        finals = given.finals or [_IN_DOUBT] * given.due
        if given.error is None and not given.refused and given.due == 1:
            connection.open_transaction = self._asked is not None
            self._budget.answered += 1
            tell(self._supply, self._emit, outgoing, SendResult(envelope, finals[0][1]))
            self._given = None
            return
        accepted = len(envelope.recipients) - len(given.refused)
        performed = with_finals(connection, finals, given.refused, given.error, accepted)
        if any(status is Status.REFUSED for status, _ in finals):
            self._budget.has_refused = True
        again = settle(
            self._supply, self._emit, self._budget, drawn, result_of(envelope, performed)
        )
        self._given = None
        if again is not None:
            self._supply.put_back(again)

    def _was_refused(self, asked: _Planned, error: SMTPError) -> bool:
        """True, and told, if what came before the end refuses a message for everyone."""
        heard = self._heard[asked.reset :]
        if not heard or self._connection.parting is not None or self._given is not None:
            return False
        performed = not_given(self._plan(asked), heard, error)
        if not isinstance(performed.error, ReplyError):
            return False
        self._budget.answered += 1
        self._budget.has_refused = True
        outgoing, envelope, _ = asked.drawn
        tell(self._supply, self._emit, outgoing, result_of(envelope, performed))
        return True

    def _account(self, error: SMTPError) -> None:
        """Say of everything that was drawn what it means that the session ended like this."""
        asked = self._asked
        if asked is not None and self._was_refused(asked, error):
            self._asked = None
        waiting = [message for message in (self._asked, self._following) if message is not None]
        unsent: list[Outgoing] = [message.drawn[0] for message in waiting]
        given = self._given
        kept = unsent if given is None else [*unsent, given.message.drawn[0]]
        self._drawing.give_back(kept)
        self._supply.put_back(*unsent)
        if given is not None:
            is_misread = isinstance(error, RemoteProtocolError) or (
                asked is not None and asked.reset and no_to_reset(self._heard)
            )
            if given.finals is None or is_misread:
                # What came before a reply that nobody asked for may be another's.
                given.finals, given.error = None, error
            self._tell()


def _commands_of(plan: Plan, reset: bool) -> list[Command]:
    before = [RSET] if reset else []
    after = [] if plan.chunked else [DATA]
    return [*before, plan.mail, *plan.rcpt, *after]
