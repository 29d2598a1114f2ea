"""Feedback reports: complaints and the like (RFC 5965, 6591), and those of Outlook.com."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smtpx.bounces._fields import Fields
from smtpx.bounces._parts import Part
from smtpx.bounces._reports import FeedbackReport
from smtpx.bounces._standard import date_of, recipient_of, returned_in, value_of

# Microsoft's Junk Mail Reporting Program has no fields of RFC 5965.
_COMPLAINT = re.compile(r"complaint about message from (\S+)", re.IGNORECASE)
_COMPLAINANT = "X-HmXmrOriginalRecipient"


def feedback_report(header: Fields, parts: Sequence[Part]) -> FeedbackReport | None:
    """What the parts report, if there is a feedback report among them."""
    part = next((part for part in parts if part.type == "message/feedback-report"), None)
    if part is None:
        return _of_outlook(header, parts)
    fields = Fields.of(part.octets.lstrip(b"\n"))
    incidents = fields.first("Incidents") or ""
    recipients = map(recipient_of, fields.every("Original-Rcpt-To"))
    return FeedbackReport(
        feedback_type=(fields.first("Feedback-Type") or "other").lower(),
        recipients=tuple(recipient for recipient in recipients if recipient),
        sender=recipient_of(fields.first("Original-Mail-From")),
        envid=fields.first("Original-Envelope-Id"),
        returned=returned_in(parts),
        source_ip=fields.first("Source-IP"),
        reporting_mta=value_of(fields.first("Reporting-MTA")),
        user_agent=fields.first("User-Agent"),
        arrival=date_of(fields.first("Arrival-Date") or fields.first("Received-Date")),
        incidents=int(incidents) if incidents.isdecimal() and len(incidents) < 10 else 1,
        reported_domains=tuple(fields.every("Reported-Domain")),
        authentication_results=tuple(fields.every("Authentication-Results")),
    )


def _of_outlook(header: Fields, parts: Sequence[Part]) -> FeedbackReport | None:
    complaint = _COMPLAINT.match(header.first("Subject") or "")
    returned = returned_in(parts)
    recipient = None if returned is None else recipient_of(returned.first(_COMPLAINANT))
    if complaint is None or recipient is None:
        return None
    return FeedbackReport(
        feedback_type="abuse",
        recipients=(recipient,),
        returned=returned,
        source_ip=complaint[1],
        arrival=date_of(header.first("Date")),
    )
