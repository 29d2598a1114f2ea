"""Why not: what real servers say, and what it comes down to."""

from __future__ import annotations

import pytest

from smtpx.bounces import DeliveryReport, Reason, parse

from . import reports

SAID = [
    ("550 5.1.1 User unknown", Reason.BAD_MAILBOX),
    ("550 No such user here", Reason.BAD_MAILBOX),
    ("550 Requested action not taken: mailbox unavailable", Reason.BAD_MAILBOX),
    ("550 5.4.1 Recipient address rejected: Access denied. [x.prod.example]", Reason.BAD_MAILBOX),
    ("554 delivery error: This user doesn't have an account (bob@example.net)", Reason.BAD_MAILBOX),
    ("553 sorry, that is not here", Reason.BAD_MAILBOX),
    ("550 5.1.2 Host unknown", Reason.BAD_DOMAIN),
    ("556 5.1.10 Recipient address has null MX", Reason.BAD_DOMAIN),
    ("556 no", Reason.BAD_DOMAIN),
    ("550 5.4.4 Host or domain name not found", Reason.BAD_DOMAIN),
    ("451 4.4.4 Host or domain name not found, try again", Reason.NETWORK),
    ("550 5.2.1 The email account that you tried to reach is disabled", Reason.INACTIVE),
    ("550 This mailbox is disabled (554.30)", Reason.INACTIVE),
    ("452 4.2.2 The recipient's inbox is out of storage space", Reason.MAILBOX_FULL),
    ("552 Mailbox full", Reason.MAILBOX_FULL),
    ("552 5.3.4 Message size exceeds fixed limit", Reason.TOO_LARGE),
    ("552 message is too large", Reason.TOO_LARGE),
    ("550 5.7.1 Message identified as spam", Reason.CONTENT),
    ("552 5.7.0 This message was blocked because its content presents an issue", Reason.CONTENT),
    ("550 5.7.26 This mail is unauthenticated", Reason.AUTHENTICATION),
    ("550 5.7.1 Rejected due to the DMARC policy of example.org", Reason.AUTHENTICATION),
    ("550 5.7.23 SPF validation failed", Reason.AUTHENTICATION),
    ("554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen", Reason.POLICY),
    ("554 5.7.1 blocked using zen.spamhaus.org", Reason.REPUTATION),
    ("550 5.7.606 Access denied, banned sending IP [192.0.2.7]", Reason.REPUTATION),
    ("550 5.7.25 The IP address has no PTR record", Reason.REPUTATION),
    ("421 4.7.28 Our system has detected an unusual rate of mail", Reason.RATE),
    ("450 4.2.0 <bob@example.net>: Recipient address rejected: Greylisted", Reason.RATE),
    ("421 Too many connections from 192.0.2.7", Reason.RATE),
    ("550 5.7.1 Relaying denied", Reason.POLICY),
    ("550 5.7.1 we do not want it", Reason.POLICY),
    ("550 Administrative prohibition", Reason.POLICY),
    ("421 4.4.2 mx.example.net Error: timeout exceeded", Reason.NETWORK),
    ("connect to mx.example.net[192.0.2.25]:25: Connection refused", Reason.NETWORK),
    ("451 4.3.0 Temporary system problem", Reason.SYSTEM),
    ("554 5.4.6 Routing loop detected", Reason.SYSTEM),
    ("554 5.4.0 Error: too many hops", Reason.SYSTEM),
    ("451 later", Reason.SYSTEM),
    ("554 Transaction failed", Reason.OTHER),
    ("550", Reason.OTHER),
    ("", Reason.OTHER),
]


def reason_of(said: str, status: str) -> Reason | None:
    report = parse(
        reports.report(
            "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;bob@example.net\nAction: failed\n"
            f"Status: {status}\nDiagnostic-Code: smtp; {said}\n"
        )
    )
    assert isinstance(report, DeliveryReport)
    return report.recipients[0].reason


@pytest.mark.parametrize(("said", "reason"), SAID)
def test_by_what_was_said(said: str, reason: Reason):
    assert reason_of(said, "5.0.0") is reason


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        ("5.1.1", "550 blocked by policy", Reason.BAD_MAILBOX),
        ("5.2.2", "550 spam", Reason.MAILBOX_FULL),
        ("5.0.0", "550 5.1.1 blocked", Reason.BAD_MAILBOX),
        ("4.4.7", "timed out", Reason.NETWORK),
        ("5.4.7", "", Reason.NETWORK),
        ("5.3.0", "", Reason.SYSTEM),
        ("5.7.0", "", Reason.POLICY),
        ("5.5.0", "550 no such user", Reason.BAD_MAILBOX),
        ("", "550 5.6.0 bad", Reason.CONTENT),
    ],
)
@pytest.mark.requirement("RFC 3463 §3")
def test_the_enhanced_status_code_goes_first(status: str, said: str, reason: Reason):
    assert reason_of(said, status) is reason


@pytest.mark.parametrize(
    ("said", "code", "enhanced"),
    [
        ("550 5.1.1 no", 550, "5.1.1"),
        ("550-5.1.1 no", 550, "5.1.1"),
        ("host mx[192.0.2.4] said: 452 full", 452, None),
        ("host mx [192.0.2.4]: 550 no", 550, None),
        ("host mx[5.1.1.9] refused to talk", None, None),
        ("no (#5.1.2)", None, "5.1.2"),
        ("call 555 1234", None, None),
        ("version 5.1.1.2", None, None),
        ("bob-550@example.net", None, None),
    ],
)
def test_codes_in_a_text(said: str, code: int | None, enhanced: str | None):
    from smtpx.bounces import Diagnostic

    diagnostic = Diagnostic("", said)
    assert diagnostic.reply_code == code
    assert (None if diagnostic.enhanced is None else str(diagnostic.enhanced)) == enhanced
