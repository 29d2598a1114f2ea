"""What the replies to a mail transaction mean for each recipient. Nothing here asks or waits.

What may be off by one reply is not believed: those concerned are in doubt.
"""

from __future__ import annotations

from typing import TypeAlias

from smtpx._core.connection import Connection
from smtpx._core.plan import Plan
from smtpx._core.steps import CallInterrupted
from smtpx._values import Value
from smtpx._wire.commands import DATA, Phase
from smtpx.envelope import Envelope
from smtpx.errors import (
    ConnectionLost,
    ContentRefused,
    RecipientsRefused,
    RemoteProtocolError,
    SenderRefused,
    SMTPError,
)
from smtpx.replies import Reply
from smtpx.results import SendResult, Status, Verdict, outcomes_of

# What a server answers that does not know BDAT, or takes it for out of turn (RFC 5321 §4.2.4).
_UNKNOWN = (500, 502, 503)

Refused: TypeAlias = dict[int, Reply]
"""The refusals of recipients, by their places."""
Refusal: TypeAlias = SenderRefused | RecipientsRefused | ContentRefused
"""Why nobody gets the content."""


class Performed(Value):
    """What became of a plan: a verdict for each RCPT, the reply to the content, what went wrong."""

    verdicts: list[Verdict]
    reply: Reply | None
    error: SMTPError | None


def result_of(envelope: Envelope, performed: Performed) -> SendResult:
    """Say of its recipients what became of a message."""
    outcomes = outcomes_of(envelope, performed.verdicts)
    result = SendResult(outcomes, performed.reply, performed.error)
    if performed.error is not None:
        performed.error.result = result
    return result


def untried(envelope: Envelope, over: SMTPError) -> SendResult:
    """The result of a message of which nothing was sent."""
    return result_of(envelope, alike(len(envelope.recipients), Status.NOT_TRIED, over))


def interrupted() -> ConnectionLost:
    """Why nothing more is known of what was under way."""
    error = ConnectionLost("the call was interrupted", phase=Phase.OTHER.field)
    error.__cause__ = CallInterrupted()
    return error


def was_interrupted(error: SMTPError) -> bool:
    """True if the session ended by our own doing, with replies still to come."""
    return isinstance(error.__cause__, CallInterrupted)


def unfinished(connection: Connection, envelope: Envelope) -> SendResult:
    """What is known of a message whose transaction was interrupted before it could say."""
    status = Status.IN_DOUBT if connection.content_ended else Status.NOT_TRIED
    error = interrupted()
    error.server = connection.server
    return result_of(envelope, alike(len(envelope.recipients), status, error))


def parted_before_the_content(connection: Connection, result: SendResult) -> bool:
    """True if a 421 came before the content was answered: another session can have the message."""
    over = connection.parting is not None and result.reply is None
    return over and not (result.accepted or result.in_doubt)


def with_finals(
    connection: Connection,
    finals: list[Verdict],
    refused: Refused,
    error: SMTPError | None,
    accepted: int,
) -> Performed:
    """Join what was said to the end of data with what was said to each RCPT before."""
    if all(status is Status.ACCEPTED for status, _ in finals):
        connection.open_transaction = False
    verdicts = finals if connection.lmtp else finals * accepted
    return Performed(_with_refused(verdicts, refused), finals[0][1], error)


def judge(connection: Connection, plan: Plan, said: list[Reply], *, reset: bool) -> Performed:
    """What the replies to a whole transaction mean that was sent without waiting.

    `said` are all of them, the reply to RSET first where that was sent.
    """
    mail, *rcpt, final = said[reset:]
    if is_unanswered(connection, said):
        return broken_off(plan, said[reset:-1], connection.over())
    refused, refusal = refusals_of(plan, mail, rcpt, None, all_or_nothing=False)
    if refusal is not None:
        if final.positive:
            contradiction = f"{refusal}; and yet the server accepted the content: {final}"
            return alike(len(plan.rcpt), Status.IN_DOUBT, RemoteProtocolError(contradiction))
        if reset and not said[0].positive and isinstance(refusal, SenderRefused):
            # It was not looked at: the transaction before it was still open.
            return alike(len(plan.rcpt), Status.NOT_TRIED, reset_refused(connection, said[0]))
        return all_refused(plan, refused, refusal)
    if final.positive:
        accepted: Verdict = (Status.ACCEPTED, final)
        connection.open_transaction = False
        return Performed(
            _with_refused([accepted] * (len(rcpt) - len(refused)), refused), final, None
        )
    count = len(rcpt) - len(refused)
    if unknown := chunks_unknown(connection, final):
        return Performed(_with_refused([(Status.NOT_TRIED, None)] * count, refused), None, unknown)
    verdicts = _with_refused([(Status.REFUSED, final)] * count, refused)
    return Performed(verdicts, final, ContentRefused(None, final))


def is_unanswered(connection: Connection, said: list[Reply]) -> bool:
    """True if nothing was said to the content, since the server had said 421 to what was before.

    That stands for all replies that are missing then, but it is no answer to a content.
    """
    parting = connection.parting
    return said[-1] is parting and any(reply is parting for reply in said[:-1])


def reset_refused(connection: Connection, reply: Reply) -> SMTPError:
    """Why a session whose RSET was refused is used up: its transaction may still be open."""
    if reply == connection.parting:
        return connection.over()
    connection.learnt.refuses_reset = True
    return RemoteProtocolError(f"RSET must always succeed, but the server said {reply}")


def no_to_reset(heard: list[Reply]) -> bool:
    """True if the first reply refuses RSET, and so may be the one to the content before it."""
    return bool(heard) and not heard[0].positive and heard[0].code != 421


def chunks_unknown(connection: Connection, reply: Reply) -> SMTPError | None:
    """Why nothing of a content was taken, where the server does not know the BDAT it announced."""
    if reply.code not in _UNKNOWN or connection.learnt.takes_chunks:
        return None
    connection.broken = True  # The content may be taken for commands.
    connection.learnt.knows_no_chunks()
    return RemoteProtocolError(
        f"the server announced CHUNKING and answered BDAT by {reply}: another session can do "
        "without it, by ignore_extensions={'CHUNKING'}"
    )


def was_read_as_commands(connection: Connection, final: Reply, reset: Reply | None = None) -> bool:
    """True if a chunk was refused, and so was everything that may have been in it.

    Nobody can have been accepted then, whichever reply answers the chunk. Some servers do not skip
    the chunk of a refused BDAT, and answer what is in it line by line. Where a RSET went behind
    it, the last of all replies is the one to that, and `reset` is what seemed to be.
    """
    replies = [final, *([] if reset is None else [reset]), *(connection.surplus or ())]
    if not connection.surplus:
        return False
    if reset is not None:
        _ = replies.pop()
    if not all(reply.transient or reply.permanent for reply in replies):
        return False
    if final.code in _UNKNOWN:
        connection.learnt.knows_no_chunks()
    return True


def broken_off(
    plan: Plan, heard: list[Reply], error: SMTPError, otherwise: Status = Status.IN_DOUBT
) -> Performed:
    """What it means that the session ended before all was answered: `otherwise`, for the rest.

    `heard` are the replies to MAIL and to each RCPT, as far as they came. If the content is out,
    one too many among them would show by what comes later: whoever stops listening cannot know.
    """
    refused: Refused = {}
    if heard and not (otherwise is Status.IN_DOUBT and was_interrupted(error)):
        mail, *rcpt = heard
        if not mail.positive and any(reply.positive for reply in rcpt):
            return alike(len(plan.rcpt), otherwise, error)  # One of them is another's.
        refused, refusal = refusals_of(plan, mail, rcpt, None, all_or_nothing=False)
        if refusal is not None:
            return all_refused(plan, refused, refusal)
    verdicts = _with_refused([(otherwise, None)] * (len(plan.rcpt) - len(refused)), refused)
    return Performed(verdicts, None, error)


def not_given(plan: Plan, heard: list[Reply], over: SMTPError) -> Performed:
    """What it means that the session ended before the content was asked for."""
    if isinstance(over, RemoteProtocolError):
        heard = []  # Any of them may be another's.
    return broken_off(plan, heard[: len(plan.rcpt) + 1], over, Status.NOT_TRIED)


def alike(recipients: int, status: Status, error: SMTPError) -> Performed:
    """What it means where all that is known holds for everyone."""
    return Performed([(status, None)] * recipients, None, error)


def refusals_of(
    plan: Plan, mail: Reply, rcpt: list[Reply], data: Reply | None, all_or_nothing: bool
) -> tuple[Refused, Refusal | None]:
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


def all_refused(plan: Plan, refused: Refused, refusal: Refusal) -> Performed:
    # MAIL and DATA are refused for everyone, RCPT for one.
    for_all = None if isinstance(refusal, RecipientsRefused) else refusal.reply
    verdicts = [_verdict(refused.get(i) or for_all) for i in range(len(plan.rcpt))]
    return Performed(verdicts, None, refusal)


def _with_refused(verdicts: list[Verdict], refused: Refused) -> list[Verdict]:
    for i, reply in refused.items():  # in the order of the recipients
        verdicts.insert(i, _verdict(reply))
    return verdicts


def _verdict(refusal: Reply | None) -> Verdict:
    return (Status.NOT_TRIED, None) if refusal is None else (Status.REFUSED, refusal)
