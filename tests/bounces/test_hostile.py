"""A report may come from anybody: it is read within bounds, and never fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage

import flufl.bounce
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx.bounces import DeliveryReport, FeedbackReport, parse
from smtpx.bounces._standard import RECIPIENTS

from . import reports
from .forms import FORMS

MEGABYTE = 1_000_000


def nested(depth: int) -> bytes:
    opened = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(depth)
    )
    return opened + b"Content-Type: message/delivery-status\n\nAction: failed\n"


HOSTILE: dict[str, Callable[[], bytes]] = {
    "multiparts in multiparts": lambda: nested(50_000),
    "the same boundary again and again": lambda: (
        b"Content-Type: multipart/mixed; boundary=b\n\n"
        + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 20_000
    ),
    "many parts": lambda: b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 300_000,
    "a boundary with a long tail": lambda: (
        b"Content-Type: multipart/mixed; boundary=b\n\n" + (b"--b" + b" " * 5000 + b"x\n") * 300
    ),
    "a folded field": lambda: b"Subject: x\n" + b" y\n" * 300_000,
    "many fields": lambda: b"a:\n" * 300_000,
    "a long field": lambda: b"Content-Type: " + b'boundary="' * 100_000,
    "spaces": lambda: b"Content-Type: multipart/mixed;" + b" " * MEGABYTE,
    "empty lines": lambda: nested(1) + (b"\n" + b" " * 1000) * 1000,
    "many recipients": lambda: nested(1) + b"\n\nAction: failed" * 100_000,
    "at signs": lambda: reports.plain(
        "This message was created automatically by mail delivery software.\n  " + "a@" * 500_000
    ),
    "spaces before an address": lambda: reports.plain(
        "Delivery to the following recipient failed permanently:\n" + " " * MEGABYTE + "x"
    ),
    "delivered to": lambda: reports.plain("** Address not found **\n" + "message to a@" * 100_000),
    "hyphens": lambda: reports.plain(
        "This message was created automatically by mail delivery software.\n" + "-" * MEGABYTE
    ),
    "words that nearly match": lambda: reports.report(
        "A: b\n\nAction: failed\nDiagnostic-Code: smtp; " + "user mailbox account " * 50_000
    ),
    "digits": lambda: reports.report(
        "A: b\n\nAction: failed\nDiagnostic-Code: 5." + "1." * 500_000
    ),
    "base64": lambda: (
        b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
        + b"=" * MEGABYTE
    ),
    "parentheses": lambda: reports.report("Final-Recipient: rfc822;" + "(" * MEGABYTE + ")"),
    "the same address again and again": lambda: reports.plain("<a@b.test>: no\n" * 60_000),
    "other addresses": lambda: reports.plain(
        "".join(f"<u{number}@b.test>: no\n" for number in range(50_000))
    ),
    "addresses in a line": lambda: reports.plain(("a@b.test, " * 200 + "\n") * 500),
    "words before a colon": lambda: reports.plain(("recipient: " * 180 + "\n") * 500),
    "marks before nothing": lambda: reports.plain(("*<([' " * 330 + "\n") * 500),
    "rules": lambda: reports.plain(("-" * 1999 + "\n") * 500),
    "failed recipients": lambda: reports.plain(
        "u@b.test no\n" * 80_000, "X-Failed-Recipients: " + "u@b.test, " * 80_000
    ),
    "a status without words for each line of a text": lambda: reports.report(
        "A: b\n\n" + "Final-Recipient: rfc822;u@b.test\nAction: failed\n\n" * 10_000,
        text="u@b.test no\n" * 40_000,
    ),
    "a status in a text": lambda: reports.plain(
        "Final-Recipient: rfc822;u@b.test\nAction: failed\n\n" * 20_000
    ),
    "tags": lambda: reports.plain("<a " * 330_000, "Content-Type: text/html"),
    "the name of a tag": lambda: reports.plain("<" + "a" * MEGABYTE, "Content-Type: text/html"),
    "the number of a character": lambda: reports.plain(
        "&#" + "1" * MEGABYTE, "Content-Type: text/html"
    ),
    "styles": lambda: reports.plain("<style>" * 140_000, "Content-Type: text/html"),
    "a charset that is none of text": lambda: reports.plain(
        "a-" * 500_000, "Content-Type: text/plain; charset=punycode"
    ),
    "words of senders": lambda: reports.report(
        "A: b\n\nAction: failed\nDiagnostic-Code: smtp; " + "sender helo mail from " * 50_000
    ),
    "codes": lambda: reports.report(
        "A: b\n\nAction: failed\nDiagnostic-Code: smtp; " + "exim 5.1.1 550 " * 60_000
    ),
    "an answer that speaks of messages": lambda: (
        b"From: postmaster@example.net\nAuto-Submitted: auto-replied\n\n" + b"message\n" * 30_000
    ),
    "addresses": lambda: reports.plain(
        "Hi. This is the qmail-send program at x", "To: " + "<" * MEGABYTE
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(20)
def test_what_would_keep_a_parser_busy(name: str):
    """The limit of the stack is all but used up: nothing goes deep because the message does."""
    message = HOSTILE[name]()
    _ = flufl.bounce.all_failures  # Imported while there is a stack for it.
    depth = len(inspect_stack())
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 60)
    try:
        report = parse(message, verp=lambda address: None)
    finally:
        sys.setrecursionlimit(limit)
    if isinstance(report, DeliveryReport):
        assert len(report.recipients) <= RECIPIENTS
        _ = repr(report)


def inspect_stack() -> list[object]:
    frame, found = sys._getframe(), []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return found


@given(st.binary(max_size=2000))
@example(b"Content-Type: multipart/mixed; boundary=\n\n--\n")
def test_any_bytes(message: bytes):
    _ = parse(message, verp=lambda address: ("a@b", address))


PIECES = [
    *(b"\n", b"\n\n", b"\r", b" ", b":", b";", b"--b", b"--b--", b"<", b">", b"\x00", b"\xff"),
    *(b"Content-Type: multipart/report; boundary=b\n", b"Content-Type: message/delivery-status\n"),
    *(b"Content-Type: message/rfc822\n", b"Content-Type: message/feedback-report\n"),
    *(b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: quoted-printable\n"),
    *(b"Final-Recipient: utf-8;a\\x{2B}@b.test\n", b"Action: failed\n", b"Status: 5.1.1\n"),
    *(
        b"Hi. This is the qmail-send program at x.\n",
        b"<a@b.test>:\n",
        b"Arrival-Date: Thu, 1 Jan\n",
        b"X-Failed-Recipients:",
    ),
    *(b"Reporting-MTA: dns; x\n", b"   ----- Transcript of session follows -----\n"),
    *(b"550 5.1.1 no such user\n", b" (generated from c@d.test)\n", b"a@b.test, c@d.test\n"),
    *(b"From: MAILER-DAEMON\n", b"--- Original message ---\n", b"Recipient: a@b.test\n"),
    *(b"Original-Rcpt-To: <>\n", b"Incidents: 1\n", b"To: a+b=c@d.test\n"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_pieces_of_reports_in_any_order(message: bytes):
    report = parse(message, verp=lambda address: ("a@b", address))
    assert report is None or isinstance(report, DeliveryReport | FeedbackReport)


WHOLE = reports.ALL | {form: message for form, (message, _) in FORMS.items()}
Damage = tuple[str, list[tuple[int, int, bytes]]]


def with_damage(damage: Damage) -> bytes:
    name, places = damage
    message = WHOLE[name]
    for start, length, instead in places:
        message = message[:start] + instead + message[start + length :]
    return message


damaged = st.tuples(
    st.sampled_from(sorted(WHOLE)),
    st.lists(
        st.tuples(st.integers(0, 4000), st.integers(0, 200), st.binary(max_size=9)), max_size=4
    ),
)


@given(damaged)
def test_reports_that_were_damaged(damage: Damage):
    report = parse(with_damage(damage))
    _ = (repr(report), hash(report))


@given(damaged, st.sampled_from([policy.compat32, policy.default]))
def test_damaged_reports_that_the_email_package_has_parsed(damage: Damage, kind):
    message = message_from_bytes(with_damage(damage), policy=kind)
    try:
        _ = parse(message)
    except ValueError as error:
        assert "give the bytes as they came" in str(error)  # noqa: PT017 # only if it fails


def test_what_the_email_package_cannot_write_is_told():
    message = EmailMessage()
    for _ in range(2 * sys.getrecursionlimit()):
        outer = EmailMessage()
        outer["Content-Type"] = "multipart/mixed; boundary=b"
        outer.set_payload([message])
        message = outer
    with pytest.raises(ValueError, match="give the bytes as they came"):
        _ = parse(message)


@pytest.mark.parametrize("wrong", ["text", None, 7])
def test_what_is_no_message(wrong):
    with pytest.raises(TypeError, match="message: give bytes"):
        _ = parse(wrong)
