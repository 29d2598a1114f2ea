"""What only `flufl.bounce` knows, where it is installed."""

from __future__ import annotations

import logging
import sys
from email import message_from_bytes

import flufl.bounce
import pytest

from smtpx.bounces import Action, DeliveryReport, Reason, parse

from . import reports


def from_somebody(text: str, subject: str = "Non-Delivery: your message") -> bytes:
    return f"From: robot@example.net\nSubject: {subject}\n\n{text}".encode()


UNKNOWN = from_somebody(
    "We are sorry.\n\nThe email below could not be delivered to the following user:\n\n"
    '"Bob" <bob@example.net>\n\n550 5.2.2 mailbox is full\n\nOld message:\n\nhello\n'
)


def test_a_form_that_only_it_knows():
    report = parse(UNKNOWN)
    assert isinstance(report, DeliveryReport)
    assert not report.is_standard
    (recipient,) = report.recipients
    assert recipient.recipient == "bob@example.net"
    assert recipient.action is Action.FAILED
    assert recipient.reason is Reason.MAILBOX_FULL


def test_a_delay():
    report = parse(
        from_somebody(
            "Your message to:\n\n  bob@example.net\n\nwaits.\n"
            "This is just a warning, you do not need to take any action.\n",
            subject="Delivery status",
        )
    )
    assert isinstance(report, DeliveryReport)
    assert [(r.recipient, r.action) for r in report.recipients] == [
        ("bob@example.net", Action.DELAYED)
    ]


def test_parts():
    report = parse(
        b"From: robot@example.net\nReturn-Path: <>\nContent-Type: multipart/mixed; boundary=x\n\n"
        b"--x\n\nHere is your list of failed recipients: <bob@example.net>\n"
        b"Here is your returned mail\n--x\nContent-Type: message/rfc822\n\n"
        b"Subject: news\n\n<carol@example.com>\n--x--\n"
    )
    assert isinstance(report, DeliveryReport)
    assert [r.recipient for r in report.recipients] == ["bob@example.net"]


def test_an_answer_that_quotes_a_report():
    assert parse(UNKNOWN.replace(b"Non-Delivery", b"Re")) is None


def test_without_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "flufl.bounce", None)
    assert parse(UNKNOWN) is None
    assert isinstance(parse(reports.EXIM), DeliveryReport)


@pytest.mark.parametrize("sender", ["", "From: \n", "From: ;:,\n", "From: <<>\n"])
def test_what_it_stumbles_over(sender: str):
    message = f"{sender}Subject: failed\nReturn-Path: <>\nContent-Type: {{}}\n\nhello\n"
    for kind in ("", "multipart/mixed", "multipart/report; boundary=x", "a/b/c"):
        _ = parse(message.format(kind).encode())


@pytest.mark.parametrize("sender", ["", "From:\n", "From: MAILER-DAEMON@\n", "From: <>\n"])
def test_it_logs_nothing_of_ours(sender: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        _ = parse(f"{sender}Return-Path: <>\nSubject: failure notice\n\nhello\n".encode())
    assert caplog.records == []


def test_it_logs_what_others_ask_of_it(caplog: pytest.LogCaptureFixture):
    _ = parse(UNKNOWN)
    with caplog.at_level(logging.INFO):
        _ = flufl.bounce.all_failures(message_from_bytes(UNKNOWN))
    assert caplog.records


@pytest.mark.timeout(20)
def test_it_is_given_no_more_than_it_can_take():
    """Its patterns take more than linear time for a line."""
    report = parse(from_somebody("Failed addresses follow:\n" + "x" * 1_000_000, "failed"))
    assert report is None or not report.recipients
