"""A TLS report as a file and as a mail (RFC 8460 §5)."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING

from .reports import TLSReports
from .tls_reports import AppliedPolicy, Report

if TYPE_CHECKING:
    from ._tallies import Due

__all__ = ["mail_of", "report_of", "zipped"]

# Octets of a file, which somebody may get who has asked for none.
_LARGEST = 100_000


def report_of(due: Due, reports: TLSReports) -> Report:
    """What is told of the day."""
    begin = datetime.combine(due.day, time(), UTC)
    return Report(
        *(reports.organization, str(reports.contact), due.id, begin),
        *(begin + timedelta(days=1) - timedelta(seconds=1), due.policies),
    )


def zipped(report: Report) -> bytes:
    """The report, compressed; the same each time. A huge one without what others have said."""
    whole = _compressed(report)
    return whole if len(whole) <= _LARGEST else _compressed(_without_texts(report))


def _compressed(report: Report) -> bytes:
    return gzip.compress(report.to_json(), mtime=0)


def _without_texts(report: Report) -> Report:
    return replace(
        report,
        policies=tuple(
            replace(
                each,
                policy=AppliedPolicy(each.policy.type, each.policy.domain),
                failures=tuple((replace(one, reason=""), count) for one, count in each.failures),
            )
            for each in report.policies
        ),
    )


def mail_of(
    report: Report, domain: str, recipient: str, submitter: str, now: datetime
) -> EmailMessage:
    """The mail that carries a report; it says that no policy shall stop it (RFC 8689 §5)."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = report.contact
    mail["To"] = recipient
    named = f"Submitter: {submitter} Report-ID: <{report.id}@{submitter}>"
    mail["Subject"] = f"Report Domain: {domain} {named}"
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = make_msgid(domain=submitter)
    mail["Auto-Submitted"] = "auto-generated"
    mail["TLS-Report-Domain"] = domain
    mail["TLS-Report-Submitter"] = submitter
    mail["TLS-Required"] = "No"
    mail["MIME-Version"] = "1.0"
    mail["Content-Type"] = 'multipart/report; report-type="tlsrpt"'
    text = EmailMessage(policy=SMTP)
    day = report.begin.date()
    text.set_content(f"This is a TLS report of {submitter} about mail to {domain} on {day}.\n")
    mail.attach(text)
    file = EmailMessage(policy=SMTP)
    begin, end = (int(each.timestamp()) for each in (report.begin, report.end))
    file.set_content(
        zipped(report),
        *("application", "tlsrpt+gzip"),
        filename=f"{submitter}!{domain}!{begin}!{end}!{report.id}.json.gz",
    )
    mail.attach(file)
    return mail
