"""The mail transaction: MAIL, RCPT, DATA or BDAT, and what became of each recipient.

RFC 5321 §3.3, §4.1.1.2 to .4; pipelined by RFC 2920; LMTP's replies by RFC 2033 §4.2; BDAT by
RFC 3030. The transaction never raises for what the server says or does: the result tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from smtpx._core.connection import Connection
from smtpx._core.sending import SESSION_OVER, Verdict, send_chunks, send_data
from smtpx._core.steps import Steps
from smtpx._wire import commands
from smtpx._wire.commands import DATA, END_OF_DATA, RSET, Command
from smtpx._wire.content import Content
from smtpx._wire.parameters import mail_parameters, rcpt_parameters
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
from smtpx.results import Outcome, SendResult, Status


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
    plan = plan_of(connection, envelope, content)
    performed = yield from perform(connection, plan, content, all_or_nothing=all_or_nothing)
    outcomes = tuple(
        Outcome(recipient.address, status, reply)
        for recipient, (status, reply) in zip(envelope.recipients, performed.verdicts, strict=True)
    )
    result = SendResult(outcomes, performed.reply, performed.error)
    if performed.error is not None:
        performed.error.result = result
    return result


@dataclass(slots=True)
class Plan:
    """A transaction's commands, made and checked before the first of them is sent."""

    mail: Command
    rcpt: list[Command]
    body: BodyType


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
    extensions = connection.extensions
    body = envelope.body
    if body is None:
        eight_bit = content.eight_bit
        if eight_bit is None:  # shows only in reading: ask for room where there is some
            eight_bit = extensions.eight_bit_mime
        body = BodyType.EIGHT_BIT if eight_bit else BodyType.SEVEN_BIT
    elif body is BodyType.SEVEN_BIT and content.eight_bit:
        raise LocalProtocolError("body=SEVEN_BIT was asked for content with octets above 127")
    parameters = mail_parameters(
        envelope,
        extensions,
        size=content.size,
        body=body,
        smtputf8=envelope.needs_smtputf8 or content.internationalized_header,
        tls=connection.tls,
    )
    drop = envelope.drop_unsupported
    rcpt = [
        commands.rcpt(recipient.address, rcpt_parameters(recipient, extensions, drop=drop))
        for recipient in envelope.recipients
    ]
    return Plan(commands.mail(envelope.sender, parameters), rcpt, body)


def perform(
    connection: Connection, plan: Plan, content: Content, *, all_or_nothing: bool = False
) -> Steps[Performed]:
    """Run a planned transaction. It raises only what the content's own source raises."""
    try:
        replies = yield from _ask(connection, plan, all_or_nothing)
    except SESSION_OVER as error:
        return Performed([(Status.NOT_TRIED, None)] * len(plan.rcpt), None, error)
    verdicts, refusal = _verdicts(plan, replies, all_or_nothing)
    if refusal is not None:
        if replies.data is not None and replies.data.intermediate:
            yield from _send_lone_dot(connection)
        return Performed(verdicts, None, refusal)
    accepted = [i for i, (status, _) in enumerate(verdicts) if status is Status.ACCEPTED]
    # RFC 2033 §4.2: LMTP answers the end of data once for each recipient it accepted.
    due = len(accepted) if connection.lmtp else 1
    finals, error = yield from _send_content(connection, plan, content, due)
    if all(status is Status.ACCEPTED for status, _ in finals):
        connection.open_transaction = False
    each = finals if connection.lmtp else finals * len(accepted)
    for i, final in zip(accepted, each, strict=True):
        verdicts[i] = final
    return Performed(verdicts, finals[0][1], error)


@dataclass(slots=True)
class _Replies:
    """The replies before the content; ``None`` where the command was not sent."""

    mail: Reply
    rcpt: list[Reply]
    data: Reply | None = None


def _ask(connection: Connection, plan: Plan, all_or_nothing: bool) -> Steps[_Replies]:
    """Everything up to the content: one command group, or command by command."""
    # A transaction that an earlier failure left open would take our recipients and content under
    # its own sender: RSET goes first, in the same group.
    before = [RSET] if connection.open_transaction else []
    # Under all_or_nothing DATA must wait: once 354 is there, the accepted ones get a message.
    after = [] if all_or_nothing or plan.body is BodyType.BINARY else [DATA]
    # A group that breaks off has left the transaction open.
    connection.open_transaction = True
    if connection.extensions.pipelining:
        group = yield from connection.exchange(*before, plan.mail, *plan.rcpt, *after)
        _check_reset(connection, group[: len(before)])
        mail, *rest = group[len(before) :]
        replies = _Replies(mail, rest[: len(plan.rcpt)] if mail.positive else [])
        if after:
            replies.data = rest[-1]
            return replies
    else:
        _check_reset(connection, (yield from connection.exchange(*before)))
        replies = _Replies((yield from connection.command(plan.mail)), [])
        if replies.mail.positive:
            replies.rcpt = yield from connection.exchange(*plan.rcpt)
    wanted = all if all_or_nothing else any
    if connection.parting is not None:
        replies.data = connection.parting
    elif plan.body is not BodyType.BINARY and wanted(reply.positive for reply in replies.rcpt):
        replies.data = yield from connection.command(DATA)
    return replies


def _check_reset(connection: Connection, replies: Sequence[Reply]) -> None:
    for reply in replies:
        if not reply.positive:
            connection.broken = True
            raise RemoteProtocolError(f"RSET must always succeed, but the server said {reply}")


def _verdicts(
    plan: Plan, replies: _Replies, all_or_nothing: bool
) -> tuple[list[Verdict], SMTPError | None]:
    """What the replies before the content mean for each recipient, and why to stop here."""
    if not replies.mail.positive:
        refused = (Status.REFUSED, replies.mail)
        return [refused] * len(plan.rcpt), SenderRefused(plan.mail.shown, replies.mail)
    verdicts: list[Verdict] = [
        (Status.ACCEPTED if reply.positive else Status.REFUSED, reply) for reply in replies.rcpt
    ]
    refusals = [i for i, (status, _) in enumerate(verdicts) if status is Status.REFUSED]
    if len(refusals) == len(verdicts) or (all_or_nothing and refusals):
        first = refusals[0]
        error = RecipientsRefused(plan.rcpt[first].shown, replies.rcpt[first])
        unsent = (Status.NOT_TRIED, None)
        return [v if v[0] is Status.REFUSED else unsent for v in verdicts], error
    if replies.data is not None and not replies.data.intermediate:
        refused = (Status.REFUSED, replies.data)
        return (
            [v if v[0] is Status.REFUSED else refused for v in verdicts],
            ContentRefused(DATA.shown, replies.data),
        )
    return verdicts, None


def _send_lone_dot(connection: Connection) -> Steps[None]:
    """End a content nobody is to get, without any (RFC 2920 §3.1); its reply means nothing."""
    try:
        connection.expect(END_OF_DATA)
        yield from connection.send(END_OF_DATA.wire)
        _ = yield from connection.settle()
    except SESSION_OVER:
        pass  # The refusal that led here is the news; the connection knows that it is broken.


def _send_content(
    connection: Connection, plan: Plan, content: Content, due: int
) -> Steps[tuple[list[Verdict], SMTPError | None]]:
    """Send the content and read the `due` replies to its end."""
    try:
        if plan.body is BodyType.BINARY:
            failure = yield from send_chunks(connection, content.raw(), due)
        else:
            pieces = content.stuffed(seven_bit=plan.body is BodyType.SEVEN_BIT)
            failure = yield from send_data(connection, pieces, due)
    except Exception:
        # The caller's file or iterator failed: half a content must not end as if it were whole.
        connection.broken = True
        raise
    if failure is not None:
        return [failure.verdict] * due, failure.error
    finals: list[Verdict] = []
    for _ in range(due):
        try:
            reply = yield from connection.settle()
        except SESSION_OVER as error:
            in_doubt: Verdict = (Status.IN_DOUBT, None)
            return finals + [in_doubt] * (due - len(finals)), error
        finals.append((Status.ACCEPTED if reply.positive else Status.REFUSED, reply))
    refusals = [reply for status, reply in finals if status is Status.REFUSED and reply]
    return finals, ContentRefused("the end of data", refusals[0]) if len(refusals) == due else None
