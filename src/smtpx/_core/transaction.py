"""The mail transaction: MAIL, RCPT, DATA or BDAT, and what became of each recipient.

RFC 5321 §3.3, §4.1.1.2 to .4; pipelined by RFC 2920; LMTP's replies by RFC 2033 §4.2; BDAT by
RFC 3030. The transaction never raises for what the server says or does: the result tells.
"""

from __future__ import annotations

from typing import TypeAlias

from smtpx._core import failures
from smtpx._core.connection import Connection
from smtpx._core.failures import SESSION_OVER
from smtpx._core.marking import mark_refused
from smtpx._core.plan import Plan, body_of, plain_group, plan_of
from smtpx._core.steps import Steps, octets_written
from smtpx._core.transfer import (
    send_chunks,
    send_data,
    send_last_chunk,
    send_whole,
)
from smtpx._core.verdicts import (
    Performed,
    alike,
    all_refused,
    broken_off,
    chunks_unknown,
    judge,
    not_given,
    refusals_of,
    reset_refused,
    result_of,
    untried,
    was_read_as_commands,
    with_finals,
)
from smtpx._wire.commands import DATA, END_OF_DATA, RSET, Command, Phase
from smtpx._wire.content import Content
from smtpx.envelope import BodyType, Envelope
from smtpx.errors import ContentRefused, RemoteProtocolError, SMTPError
from smtpx.replies import Reply
from smtpx.results import SendResult, Status, Verdict

# An Enum's attributes are slow to look up until Python 3.12, and these are asked for every message.
_SEVEN_BIT, _MAIL = BodyType.SEVEN_BIT, Phase.MAIL

_IN_DOUBT: Verdict = (Status.IN_DOUBT, None)
_NOT_TRIED: Verdict = (Status.NOT_TRIED, None)


def transaction(
    connection: Connection, envelope: Envelope, content: Content, all_or_nothing: bool = False
) -> Steps[SendResult]:
    """Run one mail transaction, pipelined as far as the server allows.

    With `all_or_nothing` the content is sent only if every recipient was accepted.

    ::

        C: MAIL FROM:<a@example.org> SIZE=320
        C: RCPT TO:<b@example.net>
        C: RCPT TO:<c@example.net>
        C: DATA
        S: 250 2.1.0 ok
        S: 250 2.1.5 ok
        S: 550 5.1.1 no such user
        S: 354 go ahead
        C: (content)
        C: .
        S: 250 2.0.0 queued as 4B1F

    Raises:
        ExtensionMissing, LocalProtocolError: the request cannot be sent to this server; nothing
            of it was.
    """
    if connection.open_transaction:
        return _after_reset(connection, envelope, content, all_or_nothing)
    extensions, octets = connection.extensions, content.whole
    if (
        extensions.pipelining
        and envelope.is_plain
        and octets is not None
        and not (all_or_nothing or connection.lmtp)
    ):
        by_chunk = extensions.chunking and not content.has_commands()
        chunk = f"BDAT {len(octets)} LAST\r\n" if by_chunk else ""
        group = plain_group(connection, envelope, content, False, chunk)
        if len(group) <= connection.limits.window:
            if chunk:
                return _at_once(connection, envelope, content, group, octets)
            return _plain_transaction(connection, envelope, content, group)
    plan = plan_of(connection, envelope, content)
    return _planned_transaction(connection, envelope, content, plan, all_or_nothing)


def _after_reset(
    connection: Connection, envelope: Envelope, content: Content, all_or_nothing: bool
) -> Steps[SendResult]:
    """End what an earlier failure left open, and wait until it is: then the transaction.

    A server that refused all recipients of a message keeps its transaction open. Were RSET refused,
    too, it would take the next content under the former sender.
    """
    try:
        if connection.learnt.refuses_reset:
            connection.broken = True
            raise connection.over()
        reply = yield from connection.command(RSET)
        check_reset(connection, reply)
    except SESSION_OVER as over:
        connection.was_gone = True
        return untried(envelope, over)
    return (yield from transaction(connection, envelope, content, all_or_nothing))


def _planned_transaction(
    connection: Connection, envelope: Envelope, content: Content, plan: Plan, all_or_nothing: bool
) -> Steps[SendResult]:
    performed = yield from perform(connection, plan, content, all_or_nothing=all_or_nothing)
    return result_of(envelope, performed)


def _at_once(
    connection: Connection, envelope: Envelope, content: Content, group: bytes, octets: bytes
) -> Steps[SendResult]:
    """A small message in one round trip (RFC 3030 §4.2).

    ::

        C: MAIL FROM:<a@example.org>
        C: RCPT TO:<b@example.net>
        C: BDAT 86 LAST
        C: (content)
        S: 250 ok
        S: 250 ok
        S: 250 queued
    """
    before = group.count(b"\n") - 1  # One reply to each command line.
    heard: list[Reply] = []
    last: bytes | None = None
    try:
        if connection.mark is not None and not (yield from connection.mark()):
            return untried(envelope, mark_refused())
        last = yield from connection.exchange_at_once(group, octets, before + 1)
        if last is None:
            yield from connection.settle(
                heard=heard, fresh=not connection.has_unread, together=True
            )
            if (yield from connection.look_behind()) and heard[-1].positive:
                raise failures.behind_a_yes(connection.parting)
    except SESSION_OVER as over:
        # What the transport did not take whole, the server cannot have accepted.
        size = len(group) + len(octets)
        written = size if connection.open_transaction else 0
        if octets_written(over.__cause__, written) < size:
            return untried(envelope, over)
        plan = plan_of(connection, envelope, content)
        if not isinstance(over, RemoteProtocolError):
            return result_of(envelope, broken_off(plan, heard[:before], over))
        if len(heard) <= before or not was_read_as_commands(connection, heard[before]):
            return result_of(envelope, alike(len(plan.rcpt), Status.IN_DOUBT, over))
    if not heard:
        connection.open_transaction = False
        connection.learnt.takes_chunks = True
        return SendResult(envelope, last)
    performed = judge(connection, plan_of(connection, envelope, content), heard, reset=False)
    if performed.error is None:
        connection.learnt.takes_chunks = True
    return result_of(envelope, performed)


def _plain_transaction(
    connection: Connection, envelope: Envelope, content: Content, group: bytes
) -> Steps[SendResult]:
    """A small message in two round trips, one for the group and one for the content."""
    before = group.count(b"\n")  # One reply to each command line.
    heard: list[Reply] = []
    try:
        yield from connection.check_quiet()
        connection.open_transaction = True
        connection.expect(Command(group, _MAIL), before)
        connection.expect(DATA)
        yield from connection.send(group + DATA.wire, _MAIL)
        replies = yield from connection.settle_group(before, heard)
    except SESSION_OVER as over:
        return result_of(envelope, not_given(plan_of(connection, envelope, content), heard, over))
    if replies is None:
        body = body_of(connection, envelope, content)
        finals, error = yield from send_content(connection, body, content, 1)
        if error is None:
            connection.open_transaction = False
            return SendResult(envelope, finals[0][1])
        performed = with_finals(connection, finals, {}, error, len(envelope.recipients))
    else:
        mail, *rcpt, data = replies
        plan = plan_of(connection, envelope, content)
        said = (mail, rcpt if mail.positive else [], data)
        performed = yield from _conclude(connection, plan, content, said, all_or_nothing=False)
    return result_of(envelope, performed)


_Said: TypeAlias = tuple[Reply, list[Reply], Reply | None]


def perform(
    connection: Connection, plan: Plan, content: Content, *, all_or_nothing: bool = False
) -> Steps[Performed]:
    """Run a planned transaction. It raises only what the content's own source raises."""
    heard: list[Reply] = []
    try:
        said = yield from _ask(connection, plan, all_or_nothing, heard)
    except SESSION_OVER as over:
        return not_given(plan, heard, over)
    return (yield from _conclude(connection, plan, content, said, all_or_nothing))


def _conclude(
    connection: Connection, plan: Plan, content: Content, said: _Said, all_or_nothing: bool
) -> Steps[Performed]:
    """Send the content, where what was said before it allows."""
    mail, rcpt, data = said
    refused, refusal = refusals_of(plan, mail, rcpt, data, all_or_nothing)
    if refusal is not None:
        if data is not None and data.intermediate:
            yield from end_data(connection, mail)
        return all_refused(plan, refused, refusal)
    # RFC 2033 §4.2: LMTP answers the end of data once for each recipient it accepted.
    accepted = len(rcpt) - len(refused)
    due = accepted if connection.lmtp else 1
    finals, error = yield from send_content(
        connection, plan.body, content, due, chunked=plan.chunked
    )
    if plan.chunked and error is not None:
        if connection.surplus is not None:
            # With DATA the 354 shows that the replies before it were in step; BDAT has none.
            return alike(len(plan.rcpt), Status.IN_DOUBT, error)
        if isinstance(error, ContentRefused) and (
            unknown := chunks_unknown(connection, error.reply)
        ):
            finals, error = [_NOT_TRIED], unknown
    return with_finals(connection, finals, refused, error, accepted)


def _ask(
    connection: Connection, plan: Plan, all_or_nothing: bool, heard: list[Reply]
) -> Steps[_Said]:
    """Everything up to the content: one command group, or command by command.

    `heard` has the replies as they come. The value is what was said to MAIL, to each RCPT that
    was sent, and to DATA if it was sent.
    """
    # Under all_or_nothing DATA must wait: once 354 is there, the accepted ones get a message.
    data_joins = not all_or_nothing and not plan.chunked
    group = [plan.mail, *plan.rcpt]
    # A group that breaks off has left the transaction open.
    connection.open_transaction = True
    if connection.extensions.pipelining:
        if data_joins:
            group.append(DATA)
        replies = [*(yield from connection.exchange(*group, heard=heard))]
        data = replies.pop() if data_joins else None
        mail = replies.pop(0)
        if not mail.positive:
            replies.clear()  # What was said to each RCPT then is only that there was no MAIL.
        if data is not None:
            return mail, replies, data
    else:
        mail = yield from connection.command(plan.mail)
        heard.append(mail)
        if mail.positive:
            _ = yield from connection.exchange(*plan.rcpt, heard=heard)
        replies = heard[1:]
    wanted = all if all_or_nothing else any
    if connection.parting is not None:
        return mail, replies, connection.parting
    if plan.chunked or not mail.positive or not wanted(reply.positive for reply in replies):
        return mail, replies, None
    return mail, replies, (yield from connection.command(DATA))


def check_reset(connection: Connection, reply: Reply) -> None:
    """Make sure that nothing is left of the transaction before.

    Raises:
        RemoteProtocolError, ConnectionLost: the server refused RSET.
    """
    if not reply.positive:
        connection.broken = True
        raise reset_refused(connection, reply)
    connection.open_transaction = False
    connection.learnt.takes_reset = True


def end_data(connection: Connection, mail: Reply) -> Steps[None]:
    """After a 354 to DATA though nobody is to get the content: end it without any.

    RFC 2920 §3.1 asks for a lone dot; its reply means nothing. But where MAIL was refused, the
    transaction is another's, whose recipients would get an empty message: that one is broken off.
    """
    if not mail.positive:
        connection.broken = True
        return
    try:
        connection.expect(END_OF_DATA)
        yield from connection.send(END_OF_DATA.wire)
        _ = yield from connection.settle()
    except SESSION_OVER:
        pass  # The refusal that led here is the news; the connection knows that it is broken.


def send_content(
    connection: Connection, body: BodyType, content: Content, due: int, *, chunked: bool = False
) -> Steps[tuple[list[Verdict], SMTPError | None]]:
    """Send the content, by BDAT or after DATA, and read the `due` replies to its end."""
    seven_bit = body is _SEVEN_BIT
    try:
        if not chunked and content.whole is not None:
            failure = yield from send_whole(connection, content.whole, due)
        elif not chunked:
            failure = yield from send_data(connection, content.stuffed(seven_bit=seven_bit), due)
        else:
            binary = body is BodyType.BINARY
            pieces = content.raw() if binary else content.pieces(seven_bit=seven_bit)
            if content.is_repeatable and content.size is not None:
                failure = yield from send_last_chunk(connection, pieces, content.size, due)
            else:
                failure = yield from send_chunks(connection, pieces, due)
    except Exception:
        # The caller's file or iterator failed: half a content must not end as if it were whole.
        connection.broken = True
        raise
    if failure is not None:
        return [failure.verdict] * due, failure.error
    return (yield from finals_of(connection, due))


def finals_of(connection: Connection, due: int) -> Steps[tuple[list[Verdict], SMTPError | None]]:
    """Read the `due` replies to an end of data that was written; nothing may follow them.

    One time is for all of them.
    """
    finals: list[Verdict] = []
    try:
        while len(finals) < due:
            reply = yield from _final(connection, is_first=not finals)
            finals.append((Status.ACCEPTED if reply.positive else Status.REFUSED, reply))
        if not connection.unanswered:
            taken = any(status is Status.ACCEPTED for status, _ in finals)
            if (yield from connection.look_behind()) and taken:
                raise failures.behind_a_yes(connection.parting)
    except SESSION_OVER as error:
        if connection.surplus is not None:
            finals = []  # Any of them may be another's.
        return finals + [_IN_DOUBT] * (due - len(finals)), error
    status, first = finals[0]
    if status is Status.REFUSED and first and all(s is Status.REFUSED for s, _ in finals):
        return finals, ContentRefused(None, first)
    return finals, None


def _final(connection: Connection, *, is_first: bool) -> Steps[Reply]:
    """The next reply to the end of data. LMTP has one for each recipient (RFC 2033 §4.2)."""
    if connection.parting is None:
        leaving = connection.unanswered - 1
        (reply,) = yield from connection.settle(leaving=leaving, fresh=is_first)
        return reply
    # A 421 answers one command, or one recipient. To a content that was sent after it, as a server
    # wanted that goes on, silence is no refusal.
    words = yield from connection.last_words(Phase.DATA_TERMINATION)
    if words is None:
        raise connection.over()
    connection.answered(1)
    return words
