"""A message's content and the next one's command group in one write (RFC 2920 §3.1).

One round trip a message, from a server with PIPELINING and without CHUNKING.
"""

from __future__ import annotations

from dataclasses import dataclass

from smtpx._core.connection import Connection
from smtpx._core.sending import SESSION_OVER, early_reply, ended
from smtpx._core.steps import Steps, octets_written
from smtpx._core.supply import (
    Budget,
    Drawn,
    Emit,
    Outgoing,
    Supply,
    ask_for_more,
    draw,
    not_sent,
    tell,
)
from smtpx._core.transaction import (
    Performed,
    Plan,
    all_refused,
    finals_of,
    plain_group,
    plan_of,
    refusals_of,
    result_of,
    send_content,
    send_lone_dot,
    with_finals,
)
from smtpx._wire.commands import DATA, END_OF_DATA, RSET, Command, Phase
from smtpx._wire.content import Content
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, RemoteProtocolError, SessionFull, SMTPError, TimedOut
from smtpx.replies import Reply
from smtpx.results import SendResult, Status, Verdict


@dataclass(slots=True)
class _Planned:
    """A message whose commands are made: RSET goes first, since the one before it may fail."""

    outgoing: Outgoing
    envelope: Envelope
    content: Content
    group: bytes
    plan: Plan | None
    """``None`` where the group was composed as one, and nobody has asked for its commands."""

    @property
    def is_chunked(self) -> bool:
        """The content goes by BDAT, so that there is no DATA in the group."""
        return self.plan is not None and self.plan.chunked


class Contents:
    """The procedure; `run` it once for a session."""

    __slots__ = ("_budget", "_connection", "_emit", "_full", "_supply")

    def __init__(self, connection: Connection, supply: Supply, emit: Emit, budget: Budget) -> None:
        self._connection = connection
        self._supply = supply
        self._emit = emit
        self._budget = budget
        self._full: SessionFull | None = None

    def run(self) -> Steps[None]:
        """Send until the supply has no more.

        ::

            C: RSET
            C: MAIL FROM:<a@example.org>
            C: RCPT TO:<b@example.net>
            C: DATA
            S: 250 ok
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
        while (message := (yield from self._next())) is not None:
            try:
                replies = yield from self._connection.exchange(*self._commands(message))
            except SESSION_OVER:
                self._put_back(message)
                raise
            asked: tuple[_Planned, list[Reply] | None] | None = (message, replies)
            while asked is not None:
                asked = yield from self._complete(*asked)
        if self._full is not None:
            raise self._full

    def _next(self) -> Steps[_Planned | None]:
        """The next message that may be sent; ``None`` if there is none, or none yet."""
        connection, supply, budget = self._connection, self._supply, self._budget
        while budget.left and self._full is None:
            if supply.ready:
                outgoing = supply.ready.popleft()
                budget.left -= 1
                try:
                    return self._planned(draw(connection, supply, outgoing))
                except SessionFull as full:
                    self._full = full
                    budget.left += 1
                    continue
                except (SMTPError, TypeError) as error:
                    tell(self._emit, outgoing, not_sent(outgoing, error))
                    continue
            if supply.exhausted or not (yield from ask_for_more(connection)):
                return None
        return None

    def _planned(self, drawn: Drawn) -> _Planned:
        outgoing, envelope, content = drawn
        if envelope.is_plain and content.whole is not None:
            then = DATA.wire.decode()
            group = plain_group(self._connection, envelope, content, reset=True, then=then)
            return _Planned(outgoing, envelope, content, group, None)
        plan = plan_of(self._connection, envelope, content)
        group = b"".join([command.wire for command in _commands_of(plan)])
        return _Planned(outgoing, envelope, content, group, plan)

    def _plan(self, message: _Planned) -> Plan:
        if message.plan is None:
            message.plan = plan_of(self._connection, message.envelope, message.content)
        return message.plan

    def _commands(self, message: _Planned) -> list[Command]:
        return _commands_of(self._plan(message))

    def _complete(
        self, message: _Planned, replies: list[Reply] | None
    ) -> Steps[tuple[_Planned, list[Reply] | None] | None]:
        """Send the content, where somebody wants it; return the message asked for along with it.

        No replies mean that nothing was refused.
        """
        connection = self._connection
        connection.open_transaction = True
        if replies is None:
            return (yield from self._send(message, {}))
        plan = self._plan(message)
        reset, mail, *rcpt = replies
        data = None if plan.chunked else rcpt.pop()
        if connection.parting is not None and connection.parting in (reset, mail):
            self._put_back(message)
            raise connection.over()
        if not reset.positive:
            self._put_back(message)
            connection.broken = True
            raise RemoteProtocolError(f"RSET must always succeed, but the server said {reset}")
        refused, refusal = refusals_of(plan, mail, rcpt, data, all_or_nothing=False)
        if refusal is not None:
            if data is not None and data.intermediate:
                yield from send_lone_dot(connection)
            self._report(message, all_refused(plan, refused, refusal))
            if connection.parting is not None:
                raise connection.over()
            return None
        return (yield from self._send(message, refused))

    def _send(
        self, message: _Planned, refused: dict[int, Reply]
    ) -> Steps[tuple[_Planned, list[Reply] | None] | None]:
        connection, content = self._connection, message.content
        finals: list[Verdict] | None
        error: SMTPError | None
        accepted = len(message.envelope.recipients) - len(refused)
        due = accepted if connection.lmtp else 1
        following: _Planned | None = None
        joined = False
        if content.whole is None or message.is_chunked:
            plan = self._plan(message)
            try:
                finals, error = yield from send_content(
                    connection, plan.body, content, due, chunked=plan.chunked
                )
            except Exception as unreadable:  # The caller's file; the session is broken now.
                tell(self._emit, message.outgoing, not_sent(message.outgoing, unreadable))
                raise connection.over() from unreadable
        else:
            following = yield from self._next()
            if following is not None:
                joined = len(following.group) <= connection.limits.window
            finals, error = yield from self._send_both(
                content.whole, following if joined else None, due
            )
        doubtful = finals is not None and any(s is Status.IN_DOUBT for s, _ in finals)
        if finals is None or (doubtful and self._supply.resend_doubtful and content.is_repeatable):
            self._supply.put_back(message.outgoing, error if doubtful else None)
        elif error is None and not refused and due == 1:
            connection.open_transaction = False
            tell(self._emit, message.outgoing, SendResult(message.envelope, finals[0][1]))
        else:
            self._report(message, with_finals(connection, finals, refused, error, accepted))
        if isinstance(error, SESSION_OVER) or not connection.usable:
            if following is not None:
                self._put_back(following)
            raise error if isinstance(error, SESSION_OVER) else connection.over()
        if following is None:
            return None
        try:
            if not joined:
                return following, (yield from connection.exchange(*self._commands(following)))
            if following.is_chunked:
                return following, (yield from connection.settle())
            before = len(following.envelope.recipients) + 2
            return following, (yield from connection.settle_group(before))
        except SESSION_OVER:
            self._put_back(following)
            raise

    def _send_both(
        self, whole: bytes, following: _Planned | None, due: int
    ) -> Steps[tuple[list[Verdict] | None, SMTPError | None]]:
        """Write a content, its end, and the following command group; read what is said to the end.

        No verdicts mean that the end was not written: the message can go by another session.
        """
        connection = self._connection
        octets = content = ended(whole)
        if early := (yield from early_reply(connection)):
            if early.verdict[0] is Status.NOT_TRIED:
                return None, early.error
            return [early.verdict] * due, early.error
        connection.expect(END_OF_DATA, due)
        if following is not None:
            octets += following.group
            self._expect(following)
        try:
            yield from connection.send(octets)
        except (ConnectionLost, TimedOut) as error:
            if octets_written(error.__cause__, len(octets)) < len(content):
                return None, error
            doubtful: list[Verdict] = [(Status.IN_DOUBT, None)] * due
            return doubtful, error
        return (yield from finals_of(connection, due))

    def _expect(self, following: _Planned) -> None:
        envelope_commands = following.group
        if not following.is_chunked:
            envelope_commands = envelope_commands.removesuffix(DATA.wire)
        count = len(following.envelope.recipients) + 2
        self._connection.expect(Command(envelope_commands, Phase.MAIL), count)
        if not following.is_chunked:
            self._connection.expect(DATA)

    def _report(self, message: _Planned, performed: Performed) -> None:
        result = result_of(message.envelope, performed)
        tell(self._emit, message.outgoing, result)

    def _put_back(self, message: _Planned) -> None:
        self._supply.put_back(message.outgoing)


def _commands_of(plan: Plan) -> list[Command]:
    after = [] if plan.chunked else [DATA]
    return [RSET, plan.mail, *plan.rcpt, *after]
