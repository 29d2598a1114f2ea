"""A server that names the sender's address has said nothing of the recipient."""

from __future__ import annotations

import pytest

from smtpx.bounces import DeliveryReport, Reason, parse


def reason(said: str, *, to: str = "ann@example.org", recipient: str = "bob@example.net") -> Reason:
    report = parse(
        f"From: MAILER-DAEMON@mx.example.org\nTo: {to}\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: failed\nStatus: 5.0.0\n"
        f"Diagnostic-Code: smtp; {said}\n\n--b\nContent-Type: text/rfc822-headers\n\n"
        "Return-Path: <bounces@example.org>\nFrom: Ann <ann@example.org>\n\n--b--\n".encode()
    )
    assert isinstance(report, DeliveryReport)
    assert report.recipients[0].reason is not None
    return report.recipients[0].reason


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 <ann@example.org>: User unknown",
        "550 5.1.1 <Bounces@Example.org>: no such user",
        "550 5.2.1 ann@example.org: account disabled",
        "552 5.2.2 ann@example.org is over quota",
        "550 5.7.1 domain example.org does not exist",
        "550 No MX for Example.org",
        "550 5.1.2 example.org: host unknown",
    ],
)
def test_an_address_or_the_domain_of_the_sender_is_none_of_the_recipient(said: str):
    assert reason(said) is Reason.POLICY


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 <bob@example.net>: User unknown",
        "550 5.1.1 <carol@example.net>: User unknown",  # whom it was forwarded to
        "550 5.1.1 User unknown",
        "550 5.1.1 <bob@example.net>: User unknown (from <ann@example.org>)",
        "550 5.1.1 no such user at example.net (for example.org)",
        "550 5.1.1 mail.example.org: no such user",
    ],
)
def test_any_other_is_of_the_recipient(said: str):
    assert reason(said) is Reason.BAD_MAILBOX


def test_whoever_writes_to_an_address_of_their_own_is_the_recipient():
    said = "550 5.1.1 <ann@example.org>: User unknown"
    assert reason(said, recipient="ann@example.org") is Reason.BAD_MAILBOX


def test_whoever_writes_within_a_domain_has_recipients_there():
    said = "550 5.1.2 example.org: host unknown"
    assert reason(said, recipient="bob@example.org") is Reason.BAD_DOMAIN


def test_another_reason_stays():
    assert reason("550 5.7.1 ann@example.org is listed in Spamhaus") is Reason.REPUTATION
