"""Delivery status notifications: RFC 3464, and RFC 6533's global form."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from email import message_from_bytes, policy
from unicodedata import category

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx import verp
from smtpx.bounces import Action, DeliveryReport, Reason, parse

from . import reports


def delivery(message: bytes) -> DeliveryReport:
    report = parse(message)
    assert isinstance(report, DeliveryReport)
    return report


@pytest.mark.requirement("RFC 3464 §2")
def test_all_that_a_report_says():
    report = delivery(reports.POSTFIX)
    assert report.is_standard
    assert report.envid == "campaign+7"
    assert report.reporting_mta == "mail.example.org"
    assert report.received_from == "client.example.org"
    assert report.arrival == datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
    assert report.returned is not None
    assert report.returned.message_id == "<1234@example.org>"
    assert report.returned.first("x-campaign") == "winter"
    assert report.returned.first("X-Other") is None
    failed, delayed = report.recipients
    assert report.failed == (failed,)

    assert failed.action is Action.FAILED
    assert failed.final_recipient == "bob@example.net"
    assert failed.original_recipient == failed.recipient == "bob+news@example.org"
    assert str(failed.status) == "5.1.1"
    assert failed.diagnostic is not None
    assert failed.diagnostic.type == "smtp"
    assert failed.diagnostic.text == (
        "550 5.1.1 <bob@example.net>: Recipient address rejected: "
        "User unknown in virtual mailbox table"
    )
    assert failed.diagnostic.reply_code == 550
    assert str(failed.diagnostic.enhanced) == "5.1.1"
    assert failed.remote_mta == "mx.example.net"
    assert failed.last_attempt == datetime(2026, 11, 26, 9, 30, 1, tzinfo=UTC)
    assert failed.reason is Reason.BAD_MAILBOX
    assert not failed.transient

    assert delayed.action is Action.DELAYED
    assert delayed.retried_until == datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
    assert delayed.diagnostic is not None
    assert delayed.diagnostic.type == "x-postfix"
    assert delayed.diagnostic.reply_code is None
    assert delayed.reason is Reason.NETWORK
    assert delayed.transient


def test_success_is_reported_too():
    report = delivery(reports.SUCCESS)
    assert report.failed == ()
    assert [(r.action, r.reason) for r in report.recipients] == [
        (Action.RELAYED, None),
        (Action.DELIVERED, None),
        (Action.EXPANDED, None),
    ]


@pytest.mark.requirement("RFC 6533 §3")
def test_the_global_form():
    report = delivery(reports.GLOBAL)
    (recipient,) = report.recipients
    assert recipient.final_recipient == "jörg@bücher.example"
    assert recipient.original_recipient == "jörg+\N{E-MAIL SYMBOL}@bücher.example"
    assert recipient.reason is Reason.MAILBOX_FULL
    assert report.returned is not None
    assert report.returned.message_id == "<ü1234@example.org>"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("utf-8; a\\x{2B}b@x.test", "a+b@x.test"),
        ("utf-8; a\\x{110000}b@x.test", "a\\x{110000}b@x.test"),
        ("utf-8; a\\x{D800}b@x.test", "a\\x{D800}b@x.test"),
        ("utf-8; a\\x{0A}b@x.test", "a b@x.test"),
        ("utf-8; a\\x{202E}b@x.test", "a\N{REPLACEMENT CHARACTER}b@x.test"),
        ("rfc822; a\\x{2B}b@x.test", "a\\x{2B}b@x.test"),
        ("RFC822; <bob@example.net> (Bob)", "bob@example.net"),
        ("bob@example.net", "bob@example.net"),
        ("x400; /S=bob/", "x400;/S=bob/"),
        ("rfc822;", None),
        ("rfc822; rfc822;bob@example.net", "bob@example.net"),
        ("rfc/822;bob@example.net", "bob@example.net"),
        ("RFC-822; bob@example.net", "bob@example.net"),
        ("rfc822; bob@example.net>", "bob@example.net"),
        ("rfc822; <bob@example.net", "bob@example.net"),
        ("rfc822; Bob <bob@example.net>", "bob@example.net"),
        ('rfc822; "<b>"@example.net', '"<b>"@example.net'),
        ("rfc822; <>", None),
    ],
)
def test_addresses_by_their_type(written: str, read: str | None):
    status = f"Reporting-MTA: dns; x\n\nFinal-Recipient: {written}\nAction: failed\nStatus: 5.0.0\n"
    (recipient,) = delivery(reports.report(status)).recipients
    assert recipient.final_recipient == read


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (reports.EXCHANGE_ONLINE, Reason.BAD_MAILBOX),
        (reports.GMAIL, Reason.BAD_MAILBOX),
        (reports.EXIM_STANDARD, Reason.MAILBOX_FULL),
    ],
)
def test_as_large_systems_write_them(message: bytes, reason: Reason):
    (recipient,) = delivery(message).recipients
    assert recipient.final_recipient == "bob@example.net"
    assert recipient.reason is reason
    assert recipient.diagnostic is not None
    assert recipient.diagnostic.reply_code in (550, 552)


@pytest.mark.parametrize(
    ("status", "action"),
    [("5.1.1", Action.FAILED), ("4.4.1", Action.DELAYED), ("2.0.0", Action.DELIVERED)],
)
@pytest.mark.parametrize("stated", ["", "Action: dunno\n"])
def test_without_an_action_the_status_says_it(status: str, action: Action, stated: str):
    written = (
        f"Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;a@b.test\n{stated}Status: {status}\n"
    )
    assert delivery(reports.report(written)).recipients[0].action is action


def test_all_fields_in_one_group():
    written = "Reporting-MTA: dns; x\nFinal-Recipient: rfc822;a@b.test\nStatus: 5.0.0\n"
    report = delivery(reports.report(written))
    assert report.reporting_mta == "x"
    assert [r.final_recipient for r in report.recipients] == ["a@b.test"]


def test_an_action_among_the_fields_of_the_message_is_no_recipient():
    written = (
        "Reporting-MTA: dns; x\nAction: failed\n\nFinal-Recipient: rfc822;a@b.test\nStatus: 5.0.0\n"
    )
    report = delivery(reports.report(written))
    assert [r.final_recipient for r in report.recipients] == ["a@b.test"]
    nameless = delivery(reports.report("Reporting-MTA: dns; x\n\nAction: failed\n"))
    assert [r.final_recipient for r in nameless.recipients] == [None]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<mx.example.net #5.1.1 smtp;550 5.1.1 no such user>", "550 5.1.1 no such user"),
        (
            "<mx #5.1.1 smtp;550 <bob@example.net>: no such user>",
            "550 <bob@example.net>: no such user",
        ),
        ("< #5.1.1 smtp; 550 no such user>", "550 no such user"),
        ("<mx.example.net #5.1.1 smtp;550-5.1.1 cut off", "550-5.1.1 cut off"),
        ("<mx #<mx.example.net #5.1.1 smtp;550 no such user> #SMTP#>", "550 no such user"),
        ("< #5.1.1>", None),
        ("none", None),
    ],
)
def test_what_exchange_writes_in_place_of_a_diagnostic(written: str, read: str | None):
    status = "A: b\n\nFinal-Recipient: rfc822;a@b.test\nAction: failed\nStatus: 5.1.1\n"
    message = reports.report(f"{status}X-Supplementary-Info: {written}\n", text="\n")
    diagnostic = delivery(message).recipients[0].diagnostic
    assert (None if diagnostic is None else diagnostic.text) == read
    assert diagnostic is None or diagnostic.type == "smtp"


@pytest.mark.parametrize(
    "text",
    [
        "<bob@example.net>: host mx said: 550 5.1.1 no such user (in reply\n"
        "    to MAIL FROM command)\n",
        "  bob@example.net\n    SMTP error from remote mail server after MAIL FROM:<a@b.test>:\n"
        "    host mx: 550 5.1.1 no such user\n",
        "<bob@example.net>\n    (reason: 550 5.1.1 no such user)\n\n"
        "   ----- Transcript of session follows -----\n"
        ">>> MAIL From:<news@example.org>\n<<< 550 5.1.1 no such user\n",
        "<bob@example.net>: host mx said: 550 5.1.1 no such user (in reply to EHLO command)\n",
    ],
)
def test_only_the_text_says_that_it_was_said_of_the_sender(text: str):
    status = (
        "A: b\n\nFinal-Recipient: rfc822;bob@example.net\nAction: failed\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\n"
    )
    (recipient,) = delivery(reports.report(status, text=text)).recipients
    assert recipient.reason is Reason.POLICY
    of_another = f"<carol@example.com>: no\n\n{text}"
    assert delivery(reports.report(status, text=of_another)).recipients[0].reason is Reason.POLICY
    to_rcpt = text.replace("MAIL FROM", "RCPT TO").replace("MAIL From", "RCPT To")
    to_rcpt = to_rcpt.replace("EHLO", "RCPT TO")
    (recipient,) = delivery(reports.report(status, text=to_rcpt)).recipients
    assert recipient.reason is Reason.BAD_MAILBOX


def test_what_the_text_says_beside_a_diagnostic_that_does_not_tell():
    status = (
        "A: b\n\nFinal-Recipient: rfc822;bob@example.net\nAction: failed\nStatus: 5.0.0\n"
        "Diagnostic-Code: smtp; 554 Transaction failed\n"
    )
    of_bob = "<bob@example.net>: the mailbox is full\n"
    of_nobody = "Perhaps it is spam, or the user is unknown: ask the administrator.\n"
    for text, reason in [(of_bob, Reason.MAILBOX_FULL), (of_nobody, Reason.OTHER)]:
        (recipient,) = delivery(reports.report(status, text=text)).recipients
        assert recipient.reason is reason
        assert recipient.diagnostic is not None
        assert recipient.diagnostic.text == "554 Transaction failed"


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Nov 2026", "x" * 5000, "-0000"])
def test_a_date_that_cannot_be_read(date: str):
    written = f"Reporting-MTA: dns; x\nArrival-Date: {date}\n\nFinal-Recipient: rfc822;a@b.test\n"
    assert delivery(reports.report(written)).arrival is None


def test_a_status_that_is_encoded():
    import base64

    plain = b"Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822;a@b.test\r\nStatus: 5.1.1\r\n"
    encoded = base64.encodebytes(plain).decode()
    message = reports.report(
        encoded, status_type="message/delivery-status\nContent-Transfer-Encoding: base64"
    )
    (recipient,) = delivery(message).recipients
    assert recipient.final_recipient == "a@b.test"


def test_a_list_that_wraps_the_report():
    head, _, body = reports.POSTFIX.partition(b"\r\n\r\n")
    inner = next(f for f in head.split(b"\r\nMIME-Version: 1.0\r\n") if f.startswith(b"Content"))
    wrapped = (
        b"Content-Type: multipart/mixed; boundary=w\r\n\r\n--w\r\n\r\nhi\r\n"
        b"--w\r\n" + inner + b"\r\n\r\n" + body + b"\r\n--w--\r\n"
    )
    assert delivery(wrapped).recipients == delivery(reports.POSTFIX).recipients


@pytest.mark.parametrize("name", reports.ALL)
@pytest.mark.parametrize("kind", [policy.compat32, policy.default])
def test_a_message_of_the_email_package_says_the_same(name: str, kind):
    message = reports.ALL[name]
    assert parse(message_from_bytes(message, policy=kind)) == parse(message)


@pytest.mark.parametrize("name", reports.ALL)
def test_line_ends_make_no_difference(name: str):
    message = reports.ALL[name].replace(b"\r\n", b"\n")
    assert parse(message) == parse(message.replace(b"\n", b"\r\n"))


def test_a_report_is_a_value():
    report = delivery(reports.POSTFIX)
    assert report == delivery(reports.POSTFIX)
    assert hash(report) == hash(delivery(reports.POSTFIX))
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.envid = ""  # type: ignore[misc]


@given(st.text(max_size=200))
@example("\N{RIGHT-TO-LEFT OVERRIDE}\x1b[2J\N{LINE SEPARATOR}")
def test_what_it_says_is_safe_to_show(text: str):
    status = (
        f"Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;a@b.test\nDiagnostic-Code: smtp; {text}"
    )
    report = delivery(reports.report(status))
    for recipient in report.recipients:
        if recipient.diagnostic is not None:
            assert not {"Cc", "Zl", "Zp"} & {category(c) for c in recipient.diagnostic.text}
            assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in recipient.diagnostic.text


class TestVERP:
    def decode(self, address: str) -> tuple[str, str] | None:
        local, _, domain = address.partition("@")
        base, plus, rest = local.partition("+")
        if not plus or "=" not in rest:
            return None
        return f"{base}@{domain}", rest.replace("=", "@")

    def test_the_address_that_it_came_to_names_the_recipient(self):
        message = reports.report(
            "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;bob@elsewhere.test\nStatus: 5.1.1\n",
            to="news+bob=example.net@example.org",
        )
        report = parse(message, verp=self.decode)
        assert isinstance(report, DeliveryReport)
        assert report.verp_recipient == "bob@example.net"
        assert report.recipients[0].final_recipient == "bob@elsewhere.test"

    def test_as_smtpx_encodes_it(self):
        sender = verp.encode("news@example.org", "bob@example.net")
        report = parse(reports.report("A: b\n\nStatus: 5.1.1\n", to=str(sender)), verp=verp.decode)
        assert isinstance(report, DeliveryReport)
        assert report.verp_recipient == "bob@example.net"
        message = reports.plain(reports.POSTFIX_TEXT, "X-Original-To: no address")
        report = parse(message, verp=verp.decode)
        assert isinstance(report, DeliveryReport)
        assert report.verp_recipient is None

    def test_where_the_text_names_nobody(self):
        message = reports.plain(
            "Hi. This is the qmail-send program at example.net.\n",
            "Delivered-To: n+b=x.test@example.org",
        )
        assert delivery(message).recipients == ()
        report = parse(message, verp=self.decode)
        assert isinstance(report, DeliveryReport)
        assert [r.recipient for r in report.recipients] == ["b@x.test"]

    def test_an_address_that_is_none(self):
        report = parse(reports.POSTFIX, verp=self.decode)
        assert isinstance(report, DeliveryReport)
        assert report.verp_recipient is None
