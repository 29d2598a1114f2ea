"""The mail transaction: MAIL, RCPT, DATA or BDAT, and what became of each recipient.

RFC 5321 §3.3, §4.1.1.2 to .4; pipelined by RFC 2920; LMTP's replies by RFC 2033 §4.2; BDAT by
RFC 3030. The transaction never raises for what the server says or does: the result tells.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from smtpx._core.connection import Connection
from smtpx._core.sending import (
    SESSION_OVER,
    send_chunks,
    send_data,
    send_last_chunk,
    send_whole,
)
from smtpx._core.steps import Steps, octets_written
from smtpx._wire import commands
from smtpx._wire.commands import DATA, END_OF_DATA, RSET, Command, Phase
from smtpx._wire.content import SMALL, Content
from smtpx._wire.parameters import mail_parameters, rcpt_parameters, size_parameter
from smtpx.envelope import BodyType, Envelope
from smtpx.errors import (
    ContentRefused,
    LocalProtocolError,
    RecipientsRefused,
    RemoteProtocolError,
    SenderRefused,
    SMTPError,
)
from smtpx.replies import Reply
from smtpx.results import SendResult, Status, Verdict, outcomes_of

# An Enum's attributes are slow to look up until Python 3.12, and this is asked for every message.
_SEVEN_BIT = BodyType.SEVEN_BIT


def transaction(
    connection: Connection, envelope: Envelope, content: Content, *, all_or_nothing: bool = False
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
    extensions, octets = connection.extensions, content.whole
    if (
        extensions.pipelining
        and envelope.is_plain
        and octets is not None
        and not (all_or_nothing or connection.lmtp)
    ):
        chunk = f"BDAT {len(octets)} LAST\r\n" if extensions.chunking else ""
        reset = connection.open_transaction
        group = plain_group(connection, envelope, content, reset=reset, then=chunk)
        if len(group) <= connection.limits.window:
            if chunk:
                return _at_once(connection, envelope, content, group, octets)
            return _plain_transaction(connection, envelope, content, group)
    plan = plan_of(connection, envelope, content)
    return _planned_transaction(connection, envelope, content, plan, all_or_nothing)


def _planned_transaction(
    connection: Connection, envelope: Envelope, content: Content, plan: Plan, all_or_nothing: bool
) -> Steps[SendResult]:
    performed = yield from perform(connection, plan, content, all_or_nothing=all_or_nothing)
    return result_of(envelope, performed)


def plain_group(
    connection: Connection, envelope: Envelope, content: Content, *, reset: bool, then: str = ""
) -> bytes:
    """The commands before the content of a message without options, composed as one.

    With RSET before them if asked, and `then`, a command line, after. It takes half the time, and
    nearly every message goes this way; what is refused or goes wrong is judged as ever.

    Raises:
        ExtensionMissing, LocalProtocolError: they cannot be made.
    """
    parameters = parameters_of(connection, envelope, content)
    recipients = [str(recipient.address) for recipient in envelope.recipients]
    return commands.envelope_commands(
        envelope.sender, parameters, recipients, reset=reset, then=then
    )


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
    wire = group + octets
    reset = connection.open_transaction
    before = len(envelope.recipients) + 1 + reset
    heard: list[Reply] = []
    written = 0
    try:
        yield from connection.check_quiet()
        connection.open_transaction = True
        connection.expect_group(group, before + 1)
        written = len(wire)
        yield from connection.send(wire, Phase.MAIL)
        last = yield from connection.settle_success(before + 1)
        if last is None:
            yield from connection.settle(
                heard=heard, fresh=not connection.has_unread, together=True
            )
            if reset:
                check_reset(connection, heard[0])
        # A reply too many may have come before the last, which then is not the content's.
        connection.check_in_step()
    except SESSION_OVER as over:
        # What the transport did not take whole, the server cannot have accepted.
        if octets_written(over.__cause__, written) < len(wire):
            return untried(envelope, over)
        plan = plan_of(connection, envelope, content)
        return result_of(envelope, broken_off(plan, heard[reset:before], over))
    if last is not None:
        connection.open_transaction = False
        return SendResult(envelope, last)
    mail, *rcpt, final = heard[reset:]
    if final.positive:
        connection.open_transaction = False
    return result_of(envelope, judge(plan_of(connection, envelope, content), mail, rcpt, final))


def untried(envelope: Envelope, over: SMTPError) -> SendResult:
    """The result of a message of which nothing was sent."""
    not_tried: Verdict = (Status.NOT_TRIED, None)
    return result_of(envelope, Performed([not_tried] * len(envelope.recipients), None, over))


def _plain_transaction(
    connection: Connection, envelope: Envelope, content: Content, group: bytes
) -> Steps[SendResult]:
    """A small message in two round trips, one for the group and one for the content."""
    reset = connection.open_transaction
    connection.open_transaction = True
    before = len(envelope.recipients) + 1 + reset
    try:
        yield from connection.check_quiet()
        connection.expect(Command(group, Phase.MAIL), before)
        connection.expect(DATA)
        yield from connection.send(group + DATA.wire, Phase.MAIL)
        replies = yield from connection.settle_group(before)
        if reset and replies is not None:
            check_reset(connection, replies.pop(0))
    except SESSION_OVER as over:
        return untried(envelope, over)
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


def result_of(envelope: Envelope, performed: Performed) -> SendResult:
    """Say of its recipients what became of a message."""
    verdicts, reply, error = performed
    result = SendResult(outcomes_of(envelope, verdicts), reply, error)
    if error is not None:
        error.result = result
    return result


_Said: TypeAlias = tuple[Reply, list[Reply], Reply | None]
_Refused: TypeAlias = dict[int, Reply]
_Refusal: TypeAlias = SenderRefused | RecipientsRefused | ContentRefused


class Plan(NamedTuple):
    """A transaction's commands, made and checked before the first of them is sent."""

    mail: Command
    rcpt: list[Command]
    body: BodyType
    chunked: bool
    """The content goes by BDAT."""


class Performed(NamedTuple):
    """What became of a plan: a verdict for each RCPT, the reply to the content, what went wrong."""

    verdicts: list[Verdict]
    reply: Reply | None
    error: SMTPError | None


def plan_of(connection: Connection, envelope: Envelope, content: Content) -> Plan:
    """Make the commands of a transaction, with the parameters that this server takes.

    Raises:
        ExtensionMissing, LocalProtocolError: they cannot be made.
    """
    body = body_of(connection, envelope, content)
    parameters = parameters_of(connection, envelope, content)
    extensions, drop = connection.extensions, envelope.drop_unsupported
    rcpt = [
        commands.rcpt(recipient.address, rcpt_parameters(recipient, extensions, drop=drop))
        for recipient in envelope.recipients
    ]
    chunked = body is BodyType.BINARY or _goes_by_chunks(connection, content)
    return Plan(commands.mail(envelope.sender, parameters), rcpt, body, chunked)


def body_of(connection: Connection, envelope: Envelope, content: Content) -> BodyType:
    """What BODY the content is sent as.

    Raises:
        LocalProtocolError: the envelope says 7-bit, and it is not.
    """
    body, eight_bit = envelope.body, content.eight_bit
    if body is None:
        if eight_bit is None:  # shows only in reading: ask for room where there is some
            eight_bit = connection.extensions.eight_bit_mime
        return BodyType.EIGHT_BIT if eight_bit else _SEVEN_BIT
    if body is _SEVEN_BIT and eight_bit:
        raise LocalProtocolError("body=SEVEN_BIT was asked for content with octets above 127")
    return body


def _goes_by_chunks(connection: Connection, content: Content) -> bool:
    """True for large content, which BDAT takes as it is: no dot is looked for, and none doubled."""
    if connection.lmtp or not connection.extensions.chunking:
        return False
    return content.size is None or content.size > SMALL


def parameters_of(connection: Connection, envelope: Envelope, content: Content) -> str:
    """The parameters of MAIL, as this server takes them.

    Raises:
        ExtensionMissing, LocalProtocolError: they cannot be made.
    """
    addresses_are_all = envelope.is_plain and envelope.body is None and not envelope.needs_smtputf8
    if addresses_are_all and content.eight_bit is False:
        return size_parameter(content.size, connection.extensions)
    return mail_parameters(
        envelope,
        connection.extensions,
        size=content.size,
        body=body_of(connection, envelope, content),
        smtputf8=envelope.needs_smtputf8 or content.internationalized_header,
        tls=connection.tls,
    )


def perform(
    connection: Connection, plan: Plan, content: Content, *, all_or_nothing: bool = False
) -> Steps[Performed]:
    """Run a planned transaction. It raises only what the content's own source raises."""
    try:
        said = yield from _ask(connection, plan, all_or_nothing)
    except SESSION_OVER as error:
        return Performed([(Status.NOT_TRIED, None)] * len(plan.rcpt), None, error)
    return (yield from _conclude(connection, plan, content, said, all_or_nothing))


def _conclude(
    connection: Connection, plan: Plan, content: Content, said: _Said, all_or_nothing: bool
) -> Steps[Performed]:
    """Send the content, where what was said before it allows."""
    mail, rcpt, data = said
    refused, refusal = refusals_of(plan, mail, rcpt, data, all_or_nothing)
    if refusal is not None:
        if data is not None and data.intermediate:
            yield from send_lone_dot(connection)
        return all_refused(plan, refused, refusal)
    # RFC 2033 §4.2: LMTP answers the end of data once for each recipient it accepted.
    accepted = len(rcpt) - len(refused)
    due = accepted if connection.lmtp else 1
    finals, error = yield from send_content(
        connection, plan.body, content, due, chunked=plan.chunked
    )
    return with_finals(connection, finals, refused, error, accepted)


def with_finals(
    connection: Connection,
    finals: list[Verdict],
    refused: _Refused,
    error: SMTPError | None,
    accepted: int,
) -> Performed:
    """Join what was said to the end of data with what was said to each RCPT before."""
    if all(status is Status.ACCEPTED for status, _ in finals):
        connection.open_transaction = False
    verdicts = finals if connection.lmtp else finals * accepted
    return Performed(_with_refused(verdicts, refused), finals[0][1], error)


def judge(plan: Plan, mail: Reply, rcpt: list[Reply], final: Reply) -> Performed:
    """What the replies to a whole transaction mean that was sent without waiting."""
    refused, refusal = refusals_of(plan, mail, rcpt, None, all_or_nothing=False)
    if refusal is not None:
        return all_refused(plan, refused, refusal)
    verdict: Verdict = (Status.ACCEPTED if final.positive else Status.REFUSED, final)
    verdicts = _with_refused([verdict] * (len(rcpt) - len(refused)), refused)
    error = None if final.positive else ContentRefused("the content", final)
    return Performed(verdicts, final, error)


def broken_off(plan: Plan, heard: list[Reply], error: SMTPError) -> Performed:
    """What it means that the session ended after a whole transaction was sent without waiting.

    `heard` are the replies to MAIL and to each RCPT, as far as they came.
    """
    refused: _Refused = {}
    if heard:
        mail, *rcpt = heard
        refused, refusal = refusals_of(plan, mail, rcpt, None, all_or_nothing=False)
        if refusal is not None:
            return all_refused(plan, refused, refusal)
    in_doubt: Verdict = (Status.IN_DOUBT, None)
    verdicts = _with_refused([in_doubt] * (len(plan.rcpt) - len(refused)), refused)
    return Performed(verdicts, None, error)


def refusals_of(
    plan: Plan, mail: Reply, rcpt: list[Reply], data: Reply | None, all_or_nothing: bool
) -> tuple[_Refused, _Refusal | None]:
    """Which recipients were refused, and why nobody is to get the content, if so."""
    if not mail.positive:
        return {}, SenderRefused(plan.mail.shown, mail)
    refused = {i: reply for i, reply in enumerate(rcpt) if not reply.positive}
    if refused and (all_or_nothing or len(refused) == len(plan.rcpt)):
        first, reply = next(iter(refused.items()))
        return refused, RecipientsRefused(plan.rcpt[first].shown, reply)
    if data is not None and not data.intermediate:
        return refused, ContentRefused(DATA.shown, data)
    return refused, None


def all_refused(plan: Plan, refused: _Refused, refusal: _Refusal) -> Performed:
    # MAIL and DATA are refused for everyone, RCPT for one.
    for_all = None if isinstance(refusal, RecipientsRefused) else refusal.reply
    verdicts = [_verdict(refused.get(i) or for_all) for i in range(len(plan.rcpt))]
    return Performed(verdicts, None, refusal)


def _with_refused(verdicts: list[Verdict], refused: _Refused) -> list[Verdict]:
    for i, reply in refused.items():  # in the order of the recipients
        verdicts.insert(i, _verdict(reply))
    return verdicts


def _verdict(refusal: Reply | None) -> Verdict:
    return (Status.NOT_TRIED, None) if refusal is None else (Status.REFUSED, refusal)


def _ask(connection: Connection, plan: Plan, all_or_nothing: bool) -> Steps[_Said]:
    """Everything up to the content: one command group, or command by command.

    The value is what was said to MAIL, to each RCPT that was sent, and to DATA if it was sent.
    """
    # Under all_or_nothing DATA must wait: once 354 is there, the accepted ones get a message.
    data_joins = not all_or_nothing and not plan.chunked
    group = [plan.mail, *plan.rcpt]
    reset = connection.open_transaction
    if reset:
        # A transaction that an earlier failure left open would take our recipients and content
        # under its own sender: RSET goes first, in the same group.
        group.insert(0, RSET)
    # A group that breaks off has left the transaction open.
    connection.open_transaction = True
    if connection.extensions.pipelining:
        if data_joins:
            group.append(DATA)
        replies = yield from connection.exchange(*group)
        if reset:
            check_reset(connection, replies.pop(0))
        data = replies.pop() if data_joins else None
        mail = replies.pop(0)
        if not mail.positive:
            replies.clear()  # What was said to each RCPT then is only that there was no MAIL.
        if data is not None:
            return mail, replies, data
    else:
        if reset:
            check_reset(connection, (yield from connection.command(RSET)))
        mail = yield from connection.command(plan.mail)
        replies = (yield from connection.exchange(*plan.rcpt)) if mail.positive else []
    wanted = all if all_or_nothing else any
    if connection.parting is not None:
        return mail, replies, connection.parting
    if plan.chunked or not mail.positive or not wanted(reply.positive for reply in replies):
        return mail, replies, None
    return mail, replies, (yield from connection.command(DATA))


def check_reset(connection: Connection, reply: Reply) -> None:
    if not reply.positive:
        connection.broken = True
        raise RemoteProtocolError(f"RSET must always succeed, but the server said {reply}")


def send_lone_dot(connection: Connection) -> Steps[None]:
    """End a content nobody is to get, without any (RFC 2920 §3.1); its reply means nothing."""
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
    """Read the `due` replies to an end of data that was written; one time is for all of them."""
    finals: list[Verdict] = []
    while len(finals) < due:
        leaving = connection.unanswered - 1
        try:
            (reply,) = yield from connection.settle(leaving=leaving, fresh=not finals)
        except SESSION_OVER as error:
            in_doubt: Verdict = (Status.IN_DOUBT, None)
            return finals + [in_doubt] * (due - len(finals)), error
        finals.append((Status.ACCEPTED if reply.positive else Status.REFUSED, reply))
    status, first = finals[0]
    if status is Status.REFUSED and first and all(s is Status.REFUSED for s, _ in finals):
        return finals, ContentRefused("the end of data", first)
    return finals, None
