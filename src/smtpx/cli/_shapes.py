"""The values of smtpx as JSON has them; ``schema.json`` beside this file is their contract."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias, cast

import smtpx
from smtpx.bounces import DeliveryReport, FeedbackReport, RecipientReport, Report

if TYPE_CHECKING:
    from smtpx.delivery import DeliveryOutcome
    from smtpx.outbox import Delivery

__all__ = [
    "DOUBT",
    "INTERRUPTED",
    "JSON",
    "delivery",
    "error",
    "finding",
    "outcome",
    "report",
    "result",
    "result_of",
    "sentence_of",
]

JSON: TypeAlias = dict[str, object]

INTERRUPTED: JSON = {"kind": "Interrupted", "message": "interrupted"}
"""What went wrong with a run that was ended before it was done."""

DOUBT = "; in doubt: it may have been delivered, do not send it again blindly"


def result(result: smtpx.SendResult) -> JSON:
    """What became of a message."""
    return {
        "server": result.server,
        "queue_id": result.queue_id,
        "reply": reply(result.reply),
        "outcomes": [outcome(each) for each in result.outcomes],
        "error": None if result.error is None else error(result.error),
    }


def outcome(outcome: smtpx.Outcome) -> JSON:
    """What became of it for one recipient, and by whom, where a delivery has found that out."""
    told: JSON = {
        "recipient": str(outcome.recipient),
        "status": outcome.status.value,
        "retryable": outcome.retryable,
        "reply": reply(outcome.reply),
    }
    if hasattr(outcome, "attempts"):
        delivered: DeliveryOutcome = cast("DeliveryOutcome", outcome)
        failure, terms = delivered.failure, delivered.terms
        told |= {
            "host": delivered.host,
            "address": delivered.address,
            "terms": None if terms is None else str(terms),
            "failure": None if failure is None else failure.name,
            "attempts": [str(each) for each in delivered.attempts],
        }
    return told


def reply(reply: smtpx.Reply | None) -> JSON | None:
    """What a server answered."""
    if reply is None:
        return None
    enhanced = reply.enhanced
    return {
        "code": reply.code,
        "enhanced": None if enhanced is None else str(enhanced),
        "text": reply.text,
    }


def error(error: BaseException) -> JSON:
    """What went wrong; `phase` is where, in the words of `smtpx.Timeouts`' fields."""
    said: JSON = {"kind": type(error).__name__, "message": sentence_of(error)}
    if isinstance(error, (smtpx.ConnectionLost, smtpx.TimedOut)):
        said["phase"] = error.phase
    if isinstance(error, smtpx.TLSPolicyError):
        said["reason"] = error.reason.name
    if isinstance(error, smtpx.ReplyError):
        said["command"] = error.command
        said["reply"] = reply(error.reply)
    return said


# What programs are told to do, as people say it who have a URL, an account and flags.
_FOR_PEOPLE = (
    (
        "TLSPolicy(pins=…, pins_suffice=True), or the certificate as TLSPolicy.ca_file",
        "the certificate by ?ca=FILE in the URL",
    ),
    ("as TLSPolicy.ca_file", "by ?ca=FILE in the URL"),
    ("TLSPolicy.ca_file=", "?ca="),
    ("TLSPolicy(server_hostname=…)", "?server_hostname=NAME in the URL"),
    ("TLSPolicy.minimum_version", "?minimum_version in the URL"),
    (" (Credentials(token=…))", ""),
    (" (TLSPolicy.client_certificate)", ""),
    ("the URL (submission://user:password@…), or give credentials=smtpx.Credentials(…)", "the URL"),
    (": set one, or give an Envelope", ": set one"),
    (": set it, or give an Envelope", ": set it"),
    ("; mend it, or give an Envelope", ": mend it"),
)


def sentence_of(error: BaseException) -> str:
    """What an error says, on one line; the file's name where it is about a file."""
    said = _said_by(error)
    for of_programs, of_people in _FOR_PEOPLE:
        said = said.replace(of_programs, of_people)
    return said


def _said_by(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        # Its own text would quote an octet, which may be of a password.
        return "it is not UTF-8: convert it"
    return str(error) or type(error).__name__


def result_of(error: BaseException) -> smtpx.SendResult | None:
    """The result that hangs on an error or an interrupt, if one does."""
    found = getattr(error, "result", None)
    return found if isinstance(found, smtpx.SendResult) else None


def finding(finding: smtpx.Finding) -> JSON:
    """One thing that is wrong with a message."""
    return {
        "rule": finding.rule.name,
        "severity": finding.severity.value,
        "where": finding.where,
        "problem": finding.problem,
        "section": finding.section,
        "remedy": finding.remedy,
    }


def report(report: Report) -> JSON:
    """What came back."""
    match report:
        case DeliveryReport():
            return {
                "kind": "delivery",
                "standard": report.is_standard,
                "envid": report.envid,
                "message_id": None if report.returned is None else report.returned.message_id,
                "reporting_mta": report.reporting_mta,
                "arrival": _moment(report.arrival),
                "recipients": [_recipient(each) for each in report.recipients],
            }
        case FeedbackReport():
            return {
                "kind": "feedback",
                "type": report.feedback_type,
                "envid": report.envid,
                "message_id": None if report.returned is None else report.returned.message_id,
                "sender": report.sender,
                "recipients": list(report.recipients),
                "source_ip": report.source_ip,
                "arrival": _moment(report.arrival),
            }


def delivery(delivery: Delivery) -> JSON:
    """A message in an outbox, on its way to one recipient."""
    return {
        "submission": delivery.submission,
        "recipient": delivery.recipient,
        "state": delivery.state.value,
        "doubted": delivery.doubted,
        "attempts": delivery.attempts,
        "due": _moment(delivery.due),
        "reply": reply(delivery.reply),
        "reason": delivery.reason,
        "message_id": delivery.message_id,
        "host": delivery.host,
    }


def _recipient(report: RecipientReport) -> JSON:
    return {
        "recipient": report.recipient,
        "action": report.action.value,
        "reason": None if report.reason is None else report.reason.value,
        "transient": report.transient,
        "status": None if report.status is None else str(report.status),
        "diagnostic": None if report.diagnostic is None else report.diagnostic.text,
        "remote_mta": report.remote_mta,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
