"""A message's content and the next one's command group in one write (RFC 2920 §3.1).

One round trip a message, from a server with PIPELINING and without CHUNKING.
"""

from __future__ import annotations

from dataclasses import dataclass

from smtpx._core.connection import Connection
from smtpx._core.sending import SESSION_OVER, early_reply
from smtpx._core.steps import Steps, octets_written
from smtpx._core.supply import Budget, Emit, Outgoing, Supply, ask_for_more, draw, not_sent, tell
from smtpx._core.transaction import (
    Performed,
    Plan,
    all_refused,
    finals_of,
    plan_of,
    refusals_of,
    result_of,
    send_content,
    send_lone_dot,
    with_finals,
)
from smtpx._wire.commands import DATA, END_OF_DATA, RSET, Command
from smtpx._wire.content import Content
from smtpx.envelope import BodyType, Envelope
from smtpx.errors import ConnectionLost, RemoteProtocolError, SessionFull, SMTPError, TimedOut
from smtpx.replies import Reply
from smtpx.results import Status, Verdict


@dataclass(slots=True)
class _Planned:
    """A message whose commands are made."""

    outgoing: Outgoing
    envelope: Envelope
    content: Content
    plan: Plan

    @property
    def group(self) -> list[Command]:
        # The one before may have failed, and left its transaction open: RSET goes first.
        after = [] if self.plan.chunked else [DATA]
        return [RSET, self.plan.mail, *self.plan.rcpt, *after]


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
                replies = yield from self._connection.exchange(*message.group)
            except SESSION_OVER:
                self._put_back(message)
                raise
            asked: tuple[_Planned, list[Reply]] | None = (message, replies)
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
                    _, envelope, content = draw(connection, supply, outgoing)
                    plan = plan_of(connection, envelope, content)
                except SessionFull as full:
                    self._full = full
                    budget.left += 1
                    continue
                except (SMTPError, TypeError) as error:
                    tell(self._emit, outgoing, not_sent(outgoing, error))
                    continue
                return _Planned(outgoing, envelope, content, plan)
            if supply.exhausted or not (yield from ask_for_more(connection)):
                return None
        return None

    def _complete(
        self, message: _Planned, replies: list[Reply]
    ) -> Steps[tuple[_Planned, list[Reply]] | None]:
        """Send the content, where somebody wants it; return the message asked for along with it."""
        connection, plan = self._connection, message.plan
        connection.open_transaction = True
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
        finals: list[Verdict] | None
        error: SMTPError | None
        due = len(rcpt) - len(refused) if connection.lmtp else 1
        following: _Planned | None = None
        joined = False
        if message.content.whole is None or data is None:
            try:
                finals, error = yield from send_content(
                    connection, plan.body, message.content, due, chunked=plan.chunked
                )
            except Exception as unreadable:  # The caller's file; the session is broken now.
                tell(self._emit, message.outgoing, not_sent(message.outgoing, unreadable))
                raise connection.over() from unreadable
        else:
            following = yield from self._next()
            joined = following is not None and self._fits(following)
            finals, error = yield from self._send_both(message, following if joined else None, due)
        doubtful = finals is not None and any(s is Status.IN_DOUBT for s, _ in finals)
        if finals is None or (
            doubtful and self._supply.resend_doubtful and message.content.is_repeatable
        ):
            self._supply.put_back(message.outgoing, error if doubtful else None)
        else:
            self._report(
                message, with_finals(connection, finals, refused, error, len(rcpt) - len(refused))
            )
        if isinstance(error, SESSION_OVER) or not connection.usable:
            if following is not None:
                self._put_back(following)
            raise error if isinstance(error, SESSION_OVER) else connection.over()
        if following is None:
            return None
        try:
            if joined:
                return following, (yield from connection.settle())
            return following, (yield from connection.exchange(*following.group))
        except SESSION_OVER:
            self._put_back(following)
            raise

    def _send_both(
        self, message: _Planned, following: _Planned | None, due: int
    ) -> Steps[tuple[list[Verdict] | None, SMTPError | None]]:
        """Write a content, its end, and the following command group; read what is said to the end.

        No verdicts mean that the end was not written: the message can go by another session.
        """
        connection = self._connection
        seven_bit = message.plan.body is BodyType.SEVEN_BIT
        content = b"".join(message.content.stuffed(seven_bit=seven_bit)) + END_OF_DATA.wire
        group = [] if following is None else following.group
        if early := (yield from early_reply(connection)):
            if early.verdict[0] is Status.NOT_TRIED:
                return None, early.error
            return [early.verdict] * due, early.error
        connection.expect(END_OF_DATA, due)
        for command in group:
            connection.expect(command)
        octets = content + b"".join([command.wire for command in group])
        try:
            yield from connection.send(octets)
        except (ConnectionLost, TimedOut) as error:
            if octets_written(error.__cause__, len(octets)) < len(content):
                return None, error
            doubtful: list[Verdict] = [(Status.IN_DOUBT, None)] * due
            return doubtful, error
        return (yield from finals_of(connection, due))

    def _fits(self, following: _Planned) -> bool:
        size = sum([len(command.wire) for command in following.group])
        return size <= self._connection.limits.window

    def _report(self, message: _Planned, performed: Performed) -> None:
        result = result_of(message.envelope, performed)
        tell(self._emit, message.outgoing, result)

    def _put_back(self, message: _Planned) -> None:
        self._supply.put_back(message.outgoing)
