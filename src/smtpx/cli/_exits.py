"""Exit codes: what the caller should do next. Those from 64 on mean what sendmail's mean."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from enum import IntEnum

import smtpx

__all__ = ["Exit", "Stop", "of_error", "of_refusals", "of_reply", "of_result", "worst"]


class Exit(IntEnum):
    """What the command ends with."""

    DONE = 0
    """Every recipient was accepted; nothing wrong was found."""
    FOUND = 1
    """Something wrong was looked for, and found."""
    USAGE = 2
    """The command line says what cannot be done, or not in this way."""
    PARTLY = 3
    """Some recipients were accepted, others not."""
    IN_DOUBT = 4
    """The message may have been delivered: do not send it again blindly."""
    CONTENT_REFUSED = 65
    """The content was refused for good, or what was given is no content."""
    NOBODY_ACCEPTED = 67
    """Every recipient was refused for good."""
    NO_HOST = 68
    """There is no such host."""
    REFUSED = 69
    """The server refused for good, for another reason."""
    MISTAKE = 70
    """The command itself failed: please report it."""
    NOT_CONNECTED = 74
    """There was no connection, or it was lost before the end of data."""
    LATER = 75
    """For now: try again later."""
    PROTOCOL = 76
    """The server broke the protocol."""
    NOT_PERMITTED = 77
    """The login failed, or TLS is not what it must be."""
    CONFIGURATION = 78
    """An account or a setting is wrong, or an extra is not installed."""
    INTERRUPTED = 130
    """Ctrl-C ended it before it was done, or a request to terminate."""


class Stop(Exception):
    """The command cannot go on: one sentence and what to do, with the exit code."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


def of_result(result: smtpx.SendResult) -> Exit:
    """What a message's outcome comes to."""
    if result.in_doubt:
        return Exit.IN_DOUBT
    if result.complete:
        return Exit.DONE
    if result.accepted:
        return Exit.PARTLY
    if result.error is not None and not isinstance(result.error, smtpx.RecipientsRefused):
        return _of_failure(result.error)
    replies = [each.reply for each in result.refused if each.reply is not None]
    return of_refusals(replies, is_for_all=bool(result.not_tried))


def of_refusals(replies: Iterable[smtpx.Reply], *, is_for_all: bool = False) -> Exit:
    """What it comes to that every recipient was refused, or one of those who get it all or not."""
    codes = [of_reply(reply, Exit.NOBODY_ACCEPTED) for reply in replies]
    is_later = (all if is_for_all else any)(code is Exit.LATER for code in codes)
    if is_later:
        return Exit.LATER
    lasting = {*codes} - {Exit.LATER}
    if Exit.NOT_PERMITTED in lasting:
        return Exit.NOT_PERMITTED
    return lasting.pop() if len(lasting) == 1 else Exit.NOBODY_ACCEPTED


def of_reply(reply: smtpx.Reply, meant: Exit) -> Exit:
    """What a refusal comes to: what was `meant` by the command, unless it is about something else.

    A server wants a login, or TLS, before it looks at anything (RFC 4954 §6, RFC 3207 §4). And it
    may take a command for none, or for out of turn, whatever is in it (RFC 5321 §4.2.4).
    """
    if reply.transient:
        return Exit.LATER
    if reply.code in _NOT_PERMITTED:
        return Exit.NOT_PERMITTED
    return Exit.REFUSED if reply.code in _NOT_UNDERSTOOD else meant


def of_error(error: smtpx.SMTPError) -> Exit:
    """What an error comes to; where there were recipients, their outcomes decide."""
    if error.result is not None and (error.result.in_doubt or error.result.accepted):
        return of_result(error.result)
    if isinstance(error, smtpx.RecipientsRefused) and error.result is not None:
        return of_result(error.result)
    return _of_failure(error)


_NOT_PERMITTED = (530, 534, 535, 538)
_NOT_UNDERSTOOD = (500, 502, 503, 504, 555)

# What a delivery comes to for which no server spoke; by name, so that it is not loaded for this.
_OF_DELIVERY = {
    "NO_SUCH_DOMAIN": Exit.NO_HOST,
    "NULL_MX": Exit.NO_HOST,
    "NO_ADDRESS": Exit.NO_HOST,
    "ADDRESS_REFUSED": Exit.NO_HOST,
    "LOOPS": Exit.REFUSED,
    "NO_EXTENSION": Exit.REFUSED,
    "TOO_LARGE": Exit.REFUSED,
    "NO_REQUIRETLS": Exit.NOT_PERMITTED,
    "TLS_POLICY": Exit.NOT_PERMITTED,
    "UNREACHABLE": Exit.NOT_CONNECTED,
    "LOOKUP_FAILED": Exit.LATER,
    "NO_ROUTE": Exit.LATER,
}


def _of_several(result: smtpx.SendResult) -> Exit | None:
    """What several domains come to that have failed in different ways."""
    failures = {getattr(outcome, "failure", None) for outcome in result.outcomes}
    if len(failures) < 2:
        return None
    is_later = any(outcome.retryable for outcome in result.outcomes)
    return Exit.LATER if is_later else Exit.NOBODY_ACCEPTED


def _of_failure(error: smtpx.SMTPError) -> Exit:
    failure = vars(error).get("failure")
    if failure is not None:
        several = None if error.result is None else _of_several(error.result)
        return several or _OF_DELIVERY[failure.name]
    match error:
        case smtpx.ReplyError(transient=True):
            return Exit.LATER
        case smtpx.AuthenticationRefused() | smtpx.TLSRefused() | smtpx.TLSPolicyError():
            return Exit.NOT_PERMITTED
        case smtpx.ReplyError():
            return of_reply(error.reply, _meant_by(error))
        case smtpx.CheckFailed():
            return Exit.CONTENT_REFUSED
        case smtpx.RemoteProtocolError():
            return Exit.PROTOCOL
        case smtpx.ExtensionMissing(keyword="AUTH" | "STARTTLS" | "REQUIRETLS"):
            return Exit.NOT_PERMITTED
        case smtpx.LimitExceeded(keyword="SIZE" | "8BITMIME"):
            return Exit.CONTENT_REFUSED
        case smtpx.ExtensionMissing() | smtpx.LimitExceeded():
            return Exit.REFUSED
        case smtpx.SessionFull():
            return Exit.LATER
        case smtpx.ConnectionLost(reply=smtpx.Reply()):
            return Exit.LATER  # A 421 ended the session.
        case smtpx.ConnectionLost() | smtpx.TimedOut():
            return _of_loss(error)
        case smtpx.ExtraMissing():
            return Exit.CONFIGURATION
        case _:
            return Exit.USAGE


def _meant_by(error: smtpx.ReplyError) -> Exit:
    """What it means that this was refused for good, as far as the command says."""
    match error:
        case smtpx.SenderRefused() | smtpx.ContentRefused() if _is_too_large(error.reply):
            return Exit.CONTENT_REFUSED
        case smtpx.ContentRefused(command="DATA"):
            return Exit.REFUSED  # Nobody has seen the content.
        case smtpx.ContentRefused():
            return Exit.CONTENT_REFUSED
        case smtpx.RecipientsRefused():
            return Exit.NOBODY_ACCEPTED
        case _:
            return Exit.REFUSED


def _is_too_large(reply: smtpx.Reply) -> bool:
    """True where a message is refused for its size (RFC 1870 §6)."""
    return reply.code == 552 or str(reply.enhanced) == "5.3.4"


def _of_loss(error: BaseException) -> Exit:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return Exit.LATER if cause.errno == socket.EAI_AGAIN else Exit.NO_HOST
        cause = cause.__cause__ or cause.__context__
    return Exit.NOT_CONNECTED


# What a run over many messages tells before the rest: doubt first, then what may be tried again.
_WORST_FIRST = (
    *(Exit.INTERRUPTED, Exit.IN_DOUBT, Exit.PARTLY, Exit.LATER, Exit.NOT_CONNECTED),
    *(Exit.NOBODY_ACCEPTED, Exit.CONTENT_REFUSED, Exit.REFUSED, Exit.NO_HOST),
    *(Exit.NOT_PERMITTED, Exit.PROTOCOL, Exit.CONFIGURATION, Exit.USAGE, Exit.FOUND),
)


def worst(codes: Iterable[Exit]) -> Exit:
    """The code of many messages: partly too, where some went out and others did not."""
    seen = set(codes)
    decided = next((code for code in _WORST_FIRST if code in seen), Exit.DONE)
    if Exit.DONE in seen and decided not in (Exit.DONE, Exit.INTERRUPTED, Exit.IN_DOUBT):
        return Exit.PARTLY
    return decided
