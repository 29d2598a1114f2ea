"""Reports written for people; and what is no report at all."""

from __future__ import annotations

import base64
import quopri

import pytest

from smtpx.bounces import Action, DeliveryReport, FeedbackReport, Reason, parse

from . import reports

BOB = "bob@example.net"
FAILED, DELAYED = Action.FAILED, Action.DELAYED

SAID = {
    "EXIM": [
        (BOB, FAILED, "5.1.1", Reason.BAD_MAILBOX),
        ("carol@example.com", FAILED, None, Reason.BAD_DOMAIN),
    ],
    "EXIM_DELAY": [(BOB, DELAYED, None, Reason.NETWORK)],
    "QMAIL": [
        (BOB, FAILED, None, Reason.BAD_MAILBOX),
        ("carol@nowhere.example", FAILED, "5.1.2", Reason.BAD_DOMAIN),
        ("dora@example.com", FAILED, "4.4.1", Reason.NETWORK),
    ],
    "POSTFIX_PLAIN": [
        (BOB, FAILED, "5.1.1", Reason.BAD_MAILBOX),
        ("carol@example.com", FAILED, None, Reason.NETWORK),
    ],
    "GMAIL_OLD": [(BOB, FAILED, "5.7.1", Reason.REPUTATION)],
    "GMAIL_NEW": [(BOB, FAILED, "5.1.1", Reason.BAD_MAILBOX)],
    "GMAIL_DELAY": [(BOB, DELAYED, None, Reason.NETWORK)],
    "EXCHANGE": [
        (BOB, FAILED, "5.1.1", Reason.BAD_MAILBOX),
        ("carol@example.com", FAILED, "5.3.4", Reason.TOO_LARGE),
    ],
    "EXCHANGE_OLD": [(BOB, FAILED, "5.1.1", Reason.BAD_MAILBOX)],
}


@pytest.mark.parametrize("name", SAID)
def test_who_did_not_get_it_and_why(name: str):
    report = parse(reports.ALL[name])
    assert isinstance(report, DeliveryReport)
    assert not report.is_standard
    assert [
        (r.final_recipient, r.action, None if r.status is None else str(r.status), r.reason)
        for r in report.recipients
    ] == SAID[name]


@pytest.mark.parametrize("name", ["EXIM", "QMAIL", "GMAIL_OLD", "EXCHANGE"])
def test_the_message_that_came_back(name: str):
    report = parse(reports.ALL[name])
    assert isinstance(report, DeliveryReport)
    assert report.returned is not None
    assert report.returned.message_id == "<1234@example.org>"
    assert report.returned.first("X-Campaign") == "winter"


@pytest.mark.parametrize(
    ("name", "nth", "code"), [("EXIM", 0, 550), ("QMAIL", 0, 550), ("EXCHANGE", 1, 552)]
)
def test_the_reply_in_the_text(name: str, nth: int, code: int):
    report = parse(reports.ALL[name])
    assert isinstance(report, DeliveryReport)
    diagnostic = report.recipients[nth].diagnostic
    assert diagnostic is not None
    assert diagnostic.reply_code == code


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64"])
def test_a_text_that_is_encoded(encoding: str):
    header, _, text = reports.EXCHANGE.partition(b"\n\n")
    encode = {"quoted-printable": quopri.encodestring, "base64": base64.encodebytes}[encoding]
    field = f"\nContent-Transfer-Encoding: {encoding}\n\n".encode()
    assert parse(header + field + encode(text)) == parse(reports.EXCHANGE)


def test_an_alias_that_was_expanded():
    report = parse(reports.POSTFIX_PLAIN)
    assert isinstance(report, DeliveryReport)
    assert report.recipients[1].original_recipient == "staff@example.org"


def test_the_header_that_exim_and_gmail_add():
    report = parse(reports.plain("Das ging nicht.\n", "X-Failed-Recipients: a@b.test, c@d.test"))
    assert isinstance(report, DeliveryReport)
    assert [r.recipient for r in report.recipients] == ["a@b.test", "c@d.test"]
    assert {r.reason for r in report.recipients} == {Reason.OTHER}


@pytest.mark.parametrize(
    "message",
    [
        reports.VACATION,
        reports.READ,
        reports.FORWARDED,
        b"From: bob@example.net\nSubject: Undelivered\n\n> " + reports.POSTFIX_TEXT.encode(),
        b"",
        b"\n",
        b"From: bob@example.net\n\nhello\n",
        b"From: bob@example.net\n\nHi. This is the plan:\n\n<bob@example.net>: to do\n",
        b"From: bob@example.net\n\n** Breaking news **\n\nmessage to bob@example.net\n",
    ],
)
@pytest.mark.requirement("RFC 3834")
def test_what_is_no_report(message: bytes):
    assert parse(message) is None


@pytest.mark.requirement("RFC 5965 §3")
def test_a_complaint():
    report = parse(reports.ARF, verp=lambda address: None)
    assert isinstance(report, FeedbackReport)
    assert report.feedback_type == "abuse"
    assert report.recipients == ("bob@example.com", "carol@example.com")
    assert report.sender == "news+bob=example.com@example.org"
    assert report.envid == "campaign+7"
    assert report.source_ip == "192.0.2.7"
    assert report.reporting_mta == "mail.example.com"
    assert report.user_agent == "SomeGenerator/1.0"
    assert report.arrival is not None
    assert report.arrival.isoformat() == "2026-11-26T14:00:00-04:00"
    assert report.incidents == 3
    assert report.reported_domains == ("example.org",)
    assert report.authentication_results == (
        "mail.example.com; spf=pass smtp.mail=news@example.org",
    )
    assert report.returned is not None
    assert report.returned.message_id == "<1234@example.org>"


@pytest.mark.parametrize("incidents", ["many", "", "9" * 5000, "-3", "²"])
def test_incidents_that_cannot_be_counted(incidents: str):
    message = reports.ARF.replace(b"Incidents: 3", f"Incidents: {incidents}".encode())
    report = parse(message)
    assert isinstance(report, FeedbackReport)
    assert report.incidents == 1
