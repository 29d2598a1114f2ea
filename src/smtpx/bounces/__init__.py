"""What comes back: delivery reports (bounces) and feedback reports, read into values.

RFC 3464 and RFC 6533 (delivery status notifications), RFC 5965 (feedback reports), and what mail
systems write for people. Everything in a report was written by a stranger: it is read within
bounds, in linear time, and can be forged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from smtpx import _checks
from smtpx._message.mailboxes import addresses_in
from smtpx._message.messages import AnyMessage, is_message
from smtpx.addresses import Address
from smtpx.bounces._feedback import feedback_report
from smtpx.bounces._fields import Fields
from smtpx.bounces._flufl import found_by_flufl
from smtpx.bounces._free import free_report, with_words
from smtpx.bounces._parts import Part, parts_of
from smtpx.bounces._reasons import reason_of
from smtpx.bounces._reports import (
    Action,
    DeliveryReport,
    Diagnostic,
    FeedbackReport,
    Reason,
    RecipientReport,
    Returned,
)
from smtpx.bounces._senders import without_the_senders
from smtpx.bounces._standard import delivery_report

__all__ = [
    "Action",
    "DeliveryReport",
    "Diagnostic",
    "FeedbackReport",
    "Reason",
    "RecipientReport",
    "Report",
    "Returned",
    "parse",
]

Report: TypeAlias = DeliveryReport | FeedbackReport

Decode: TypeAlias = "Callable[[str], tuple[object, str | Address] | None]"

# Where a delivering system, or the form of an address, says whom a message came to.
_CAME_TO = ("X-Original-To", "Envelope-To", "X-Envelope-To", "Delivered-To", "To")
_LOOKED_AT = 5


def parse(message: bytes | AnyMessage, *, verp: Decode | None = None) -> Report | None:
    """Read a message that came to the address mail was sent from.

    ``None`` is for all that is no report: answers, vacation notices and other automatic ones
    (RFC 3834), disposition notifications (RFC 8098). A report is no proof, and not always bad news:
    `DeliveryReport.failed` has the recipients who will not get the message.

    `verp`, such as `smtpx.verp.decode`, takes the address that the report came to. It returns our
    own sender address and the recipient that it stands for. For any other address it returns
    ``None``, or raises `ValueError`. `verp_recipient` then names whom the message was sent to.

    Give bytes where you have them: in an `EmailMessage` the `email` package has been at work, and
    has to write it once more.

    Raises:
        ValueError: the `email` package cannot write the message.
        TypeError: it is neither bytes nor a message, or `verp` cannot be called.
    """
    if verp is not None and not callable(verp):  # pyright: ignore[reportUnnecessaryComparison] - callers
        raise _checks.complaint("verp", verp, "what can be called, such as smtpx.verp.decode")
    header, parts = parts_of(_octets(message))
    report = _report_in(header, parts)
    if isinstance(report, DeliveryReport):
        report = without_the_senders(report, header)
    if report is None or verp is None:
        return report
    return _tied(report, header, verp)


def _report_in(header: Fields, parts: Sequence[Part]) -> Report | None:
    standard = delivery_report(parts)
    if standard is not None and standard.recipients:
        return with_words(standard, header, parts)
    # A delivery status that names nobody says less than the text beside it.
    return (
        feedback_report(header, parts)
        or free_report(header, parts, otherwise=lambda: found_by_flufl(header, parts))
        or standard
    )


def _octets(message: object) -> bytes:
    if isinstance(message, bytes):
        return message
    if not is_message(message):
        raise _checks.complaint("message", message, "bytes or an EmailMessage")
    from email.policy import compat32

    try:
        return message.as_bytes(policy=compat32.clone(max_line_length=0))
    except Exception as error:  # What is malformed makes the package fail in many ways.
        raise ValueError(
            f"the message cannot be written ({error!r}): give the bytes as they came"
        ) from error


def _tied(report: Report, header: Fields, verp: Decode) -> Report:
    for address in _came_to(header):
        try:
            decoded = verp(address)
        except ValueError:
            continue
        if decoded is None:
            continue
        recipient = str(decoded[1])
        report = replace(report, verp_recipient=recipient)
        if isinstance(report, DeliveryReport) and not report.recipients and not report.is_standard:
            only = RecipientReport(
                action=Action.FAILED,
                final_recipient=recipient,
                reason=reason_of(Action.FAILED, None, None),
            )
            report = replace(report, recipients=(only,))
        break
    return report


def _came_to(header: Fields) -> list[str]:
    found: list[str] = []
    for name in _CAME_TO:
        for body in header.every(name)[:_LOOKED_AT]:
            try:
                found += addresses_in(body)[:_LOOKED_AT]
            except ValueError:
                continue
    return found
