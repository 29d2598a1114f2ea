"""What `check` finds, and what is mended of it."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.header import Header
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx import Attachment, Envelope, Rule, Severity, check, compose, mend
from smtpx._message.names import ADDRESSES
from smtpx._message.serialising import serialise
from smtpx._wire.extensions import Extensions
from smtpx.checking._content import long_line
from smtpx.checking._mending import Stamps, mended

ENVELOPE = Envelope("a@x.test", "b@y.test")
DATE = "Mon, 07 Jan 2030 12:00:00 +0000"
STAMPS = Stamps(lambda: DATE, lambda domain: f"<new@{domain}>")
HEADER = (
    "From: Ann <a@x.test>\r\nTo: b@y.test\r\nSubject: hi\r\n"
    f"Date: {DATE}\r\nMessage-ID: <1@x.test>\r\n"
)


def content(header: str = "", body: bytes = b"hi\r\n", without: str = "") -> bytes:
    """A message that is well-formed, but for what is added or left out."""
    kept = [
        line for line in HEADER.split("\r\n") if line and not (without and line.startswith(without))
    ]
    lines = [*kept, *header.splitlines()]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def found(
    message: Any, envelope: Envelope | None = ENVELOPE, *keywords: str
) -> dict[Rule, Severity]:
    extensions = None
    if keywords:
        offered = [keyword.partition(" ") for keyword in keywords]
        extensions = Extensions({name: value for name, _, value in offered})
    return {finding.rule: finding.severity for finding in check(message, envelope, extensions)}


def test_a_message_that_is_well_formed() -> None:
    assert check(content(), ENVELOPE) == ()
    assert check(content().replace(b"\r\n", b"\n"), ENVELOPE) == ()
    composed = compose(
        sender="Jürgen <a@x.test>", to=["b@y.test"], bcc="c@y.test", subject="grüße", text="ö",
        html="<img src='cid:a'>", inline={"a": Attachment(b"1", "a.png")}, attachments=[
        Attachment(b"\0", "käse.pdf")], list_unsubscribe="https://x.test/" + "y" * 200,
        one_click=True, references=[f"<{'i' * 90}@x>"] * 9,
    )  # fmt: skip
    assert check(composed) == ()
    assert check(composed, None, Extensions({})) == ()


MULTIPART = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b"
ATTACHED = (
    b"--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\nContent-Type: application/x-y\r\n"
    b'Content-Disposition: attachment; filename="%s"\r\n\r\nhi\r\n--b--\r\n'
)
RESENT = "\r\nResent-From: r@x.test\r\nResent-Date: Mon, 7 Jan 2030 12:00:00 +0000"
TO_ALL = {"from", "to", "sender", "reply-to", "cc"}  # tried one by one
E, W = Severity.ERROR, Severity.WARNING


@pytest.mark.parametrize(
    ("message", "rule", "severity"),
    [
        (content(body=b"a\rb\r\n"), Rule.BARE_LINE_END, E),
        (content(body=b"a\nb\r\n"), Rule.BARE_LINE_END, E),
        (content(body=b"a" * 999), Rule.LINE_TOO_LONG, E),
        (content("X: " + "y" * 996), Rule.LINE_TOO_LONG, E),
        (content(body=b"a\0b\r\n"), Rule.NUL, E),
        (content(body=b"\xc3\xbc\r\n"), Rule.EIGHT_BIT_UNDECLARED, E),
        (content("X: \udcff"), Rule.NOT_UTF8, E),
        (content("X: ü"), Rule.SMTPUTF8_NEEDED, W),
        (content("no field at all"), Rule.HEADER_MALFORMED, E),
        (b"From a Mon Jan  7 12:00:00 2030\r\n" + content(), Rule.HEADER_MALFORMED, E),
        (content(without="From"), Rule.FROM_MISSING, E),
        (content("From: ", without="From"), Rule.FROM_MISSING, E),
        (content("From: a@x.test, c@x.test", without="From"), Rule.SENDER_MISSING, E),
        (content(without="Date"), Rule.DATE_MISSING, E),
        (content("Date: yesterday", without="Date"), Rule.DATE_MALFORMED, E),
        (content(without="Message-ID"), Rule.MESSAGE_ID_MISSING, W),
        (content("Message-ID: 1@x", without="Message-ID"), Rule.MESSAGE_ID_MALFORMED, W),
        (content("References: =?utf-8?q?=3Ca=40b=3E?="), Rule.IDENTIFIER_ENCODED, E),
        (content("subject: again"), Rule.FIELD_REPEATED, E),
        (content("Cc: Doe, Jane <c@y.test>"), Rule.ADDRESS_MALFORMED, E),
        (content("Cc: c@y@z"), Rule.ADDRESS_MALFORMED, E),
        *[
            (content(f"{name}: =?utf-8?q?=3Cz=40y=3E?={RESENT}"), Rule.ADDRESS_MALFORMED, E)
            for name in sorted(ADDRESSES - {*TO_ALL, "bcc", "resent-bcc"})
        ],
        (content("X-Sender: Doe, Jane <c@y.test"), Rule.ADDRESS_MALFORMED, E),
        (content("Errors-To: "), Rule.ADDRESS_MISSING, E),
        (content("X-Rcpt-To: =?utf-8?b?Wm/DqyA8em9lQHgudGVzdD4=?="), Rule.ADDRESS_MALFORMED, W),
        (content("CFBL-Address: =?utf-8?q?z=40x=2Etest?="), Rule.IDENTIFIER_ENCODED, E),
        (content("List-ID: =?utf-8?q?Zo=C3=AB_=3Cl=2Ey=2Etest=3E?="), Rule.IDENTIFIER_ENCODED, E),
        (content("List-Owner: =?utf-8?q?=3Cmailto:l=40y=3E?="), Rule.IDENTIFIER_ENCODED, E),
        (content("List-Help: <https:a>\r\nList-Help: <https:b>"), Rule.FIELD_REPEATED, E),
        (content("List-Unsubscribe: https://x.test/off"), Rule.URI_MALFORMED, W),
        (content("List-Post: a@b.test"), Rule.URI_MALFORMED, W),
        (content("Archived-At: <https://x.test> and more"), Rule.URI_MALFORMED, W),
        (content("List-ID: list.example.org"), Rule.LIST_ID_MALFORMED, W),
        (
            content("Disposition-Notification-To: a@x\r\nDisposition-Notification-To: b@x"),
            Rule.FIELD_REPEATED,
            E,
        ),
        (content("Auto-Submitted: no\r\nAuto-Submitted: no"), Rule.FIELD_REPEATED, E),
        (content("List-ID: <a.b>\r\nlist-id: <c.d>"), Rule.FIELD_REPEATED, E),
        (content("Cc: "), Rule.ADDRESS_MISSING, E),
        (content("To: undisclosed-recipients:;", without="To"), Rule.GROUP_EMPTY, W),
        (content("Bcc: c@y.test"), Rule.BCC_PRESENT, E),
        (content("Resent-From: r@x.test\r\nResent-To: b@y.test"), Rule.RESENT_INCOMPLETE, E),
        (content("Resent-Date: Mon, 7 Jan 2030 12:00:00 +0000"), Rule.RESENT_INCOMPLETE, E),
        (content("List-Unsubscribe-Post: x"), Rule.ONE_CLICK_INCOMPLETE, E),
        (content("Content-Type: text/plain"), Rule.MIME_VERSION_MISSING, W),
        (content(MULTIPART, b"--b\r\n\r\nhi\r\n"), Rule.MIME_MALFORMED, W),
        (content("MIME-Version: 1.0\r\nContent-Transfer-Encoding: x"), Rule.MIME_MALFORMED, W),
        (content("MIME-Version: 1.0\r\nContent-Type: text/html"), Rule.TEXT_MISSING, W),
        (content(MULTIPART, ATTACHED % b"setup.EXE"), Rule.ATTACHMENT_REFUSED, W),
        (content(MULTIPART, ATTACHED % b"a.pdf.js. "), Rule.ATTACHMENT_REFUSED, W),
    ],
)  # fmt: skip
def test_each_mistake_is_found_alone(message: bytes, rule: Rule, severity: Severity) -> None:
    assert found(message) == {rule: severity}


@pytest.mark.parametrize(
    "field",
    [
        "X-Sender: root", "Mail-Copies-To: nobody", "Sender: =?utf-8?q?Zo=C3=AB?= <a@x.test>",
        "List-ID: =?utf-8?q?Zo=C3=AB?= <list.x.test>",
        f"Resent-To: b@y.test\r\nResent-To: c@y.test{RESENT * 2}",
        "Archived-At: <https://x.test/1>\r\nArchived-At: <https://x.test/2>",
        "Disposition-Notification-To: Ann <a@x.test>, b@y.test", "Return-Path: <>",
    ],
)  # fmt: skip
def test_fields_that_are_fine(field: str) -> None:
    assert found(content(field)) == {}


def test_parts_that_are_fine() -> None:
    assert found(content(MULTIPART, ATTACHED % b"js.pdf")) == {}
    assert found(content(MULTIPART, ATTACHED % b"exe")) == {}


@pytest.mark.parametrize(
    ("sender", "aligned"),
    [("a@x.test", True), ("a@bounces.x.test", True), ("a@y.test", False), (None, True)],
)
def test_author_and_sender_are_to_be_of_one_domain(sender: str | None, aligned: bool) -> None:
    expected = {} if aligned else {Rule.NOT_ALIGNED: W}
    assert found(content(), Envelope(sender, "b@y.test")) == expected


def test_what_a_server_takes() -> None:
    eight_bit = content(
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit", "grüß dich\r\n".encode(),
    )  # fmt: skip
    signed = b"DKIM-Signature: v=1\r\n" + eight_bit
    assert found(eight_bit, ENVELOPE, "SIZE") == {}  # It is encoded anew.
    assert found(signed, ENVELOPE, "SIZE") == {Rule.EIGHT_BIT: E}
    assert found(signed, ENVELOPE, "8BITMIME") == {}
    assert found(content("X: ü"), ENVELOPE, "8BITMIME", "SMTPUTF8") == {}
    assert found(content("X: ü"), ENVELOPE, "8BITMIME") == {Rule.SMTPUTF8_NEEDED: E}
    abroad = ENVELOPE.replace(recipients="ü@y.test")
    assert found(content(), abroad, "SIZE") == {Rule.SMTPUTF8_NEEDED: E}
    assert found(content(), abroad) == {Rule.SMTPUTF8_NEEDED: W}
    size = len(content())
    assert found(content(), ENVELOPE, f"SIZE {size}") == {}
    assert found(content(), ENVELOPE, f"SIZE {size - 1}") == {Rule.SIZE_EXCEEDED: E}
    assert found(content().replace(b"\r\n", b"\n"), ENVELOPE, f"SIZE {size - 1}") == {
        Rule.SIZE_EXCEEDED: E
    }


def test_a_message_is_checked_as_it_would_be_sent() -> None:
    message = EmailMessage()
    message["From"] = "a@x.test"
    message["To"] = "b@y.test"
    message["Bcc"] = "c@y.test"
    message["References"] = f"<{'i' * 90}@x>"  # The email package would encode it.
    message["Sender"] = "Zoë <a@bücher.test>"  # … and this domain.
    message.set_content("x" * 2000 + "\r\r\n")
    before = message.as_bytes()
    assert found(message, ENVELOPE) == {Rule.DATE_MISSING: E, Rule.MESSAGE_ID_MISSING: W}
    assert message.as_bytes() == before
    del message["To"], message["Bcc"]
    assert Rule.RECIPIENTS_MISSING in found(message, None)
    message = EmailMessage()
    message._headers.append(("Subject", "a\nb: c"))  # type: ignore[attr-defined] # past the policy
    assert Rule.UNWRITABLE in found(message)


def test_a_finding_says_everything() -> None:
    (finding,) = check(content(body=b"x\r\n" + b"a" * 999), ENVELOPE)
    assert finding.where == "line 8"
    assert finding.section == "RFC 5321 §4.5.3.1.6"
    assert "999 octets" in finding.problem
    assert all(part in str(finding) for part in ("error", "line 8", "5321", finding.remedy))


@pytest.mark.parametrize("other", ["text", 3, None, iter([b""])])
def test_anything_else_cannot_be_checked(other: Any) -> None:
    with pytest.raises(TypeError, match="EmailMessage or bytes"):
        _ = check(other)


LINES = rb"""From: a@x
To:
--b
Date: x
=?x?q?y?=
Content-Type: multipart/mixed; boundary=b
Content-Type: message/rfc822
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename*=x'y'%ff
"""
PIECES = [*LINES.splitlines(keepends=True), b"\r\n", b"\xff", b"\0", b"\r", b":", b" ", b"x" * 999]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))
@example(b"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: x\n\r\n\xff")
@example(b"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\xff")
@example(b"References: =?nonsense?q?a?=\n\n")
@example(b"References: =?utf-8?b?gICA?=\n\n")
@example(b"From: a@x, b@x\nFrom: \xff@x\n\n")
def test_whatever_it_is_there_are_findings_and_no_error(octets: bytes) -> None:
    assert check(octets, ENVELOPE)
    after = mended(octets, check(octets, ENVELOPE), STAMPS)
    assert Rule.BARE_LINE_END not in found(after)


@pytest.mark.timeout(20)
def test_what_is_hostile_takes_no_time() -> None:
    target = content("List-Unsubscribe-Post: x\r\nList-Unsubscribe: " + "<https:" * 100_000)
    uris = {Rule.ONE_CLICK_INCOMPLETE: E, Rule.URI_MALFORMED: W}
    assert found(target) == {**uris, Rule.LINE_TOO_LONG: E}


@pytest.mark.parametrize("depth", [300, 900, 5000])
def test_what_is_nested_too_deep_is_found(depth: int) -> None:
    header = b"Content-Type: message/rfc822\r\n\r\n"
    octets = content("MIME-Version: 1.0\r\nContent-Type: message/rfc822", header * depth)
    octets += b"Subject: \xff\r\n\r\n\xff\r\n"
    findings = check(octets, ENVELOPE, Extensions({}))
    assert mended(octets, findings, STAMPS) == octets
    if depth == 5000:
        assert (Rule.MIME_MALFORMED, E) in [(each.rule, each.severity) for each in findings]
        assert "nested too deep" in str(findings)


@pytest.mark.timeout(60)
def test_what_has_too_many_parts_is_not_parsed() -> None:
    """A million of them would take the email package minutes."""
    parts = b"--b\r\n\r\nx\r\n" * 200_000
    octets = content("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b", parts)
    (finding,) = check(octets, ENVELOPE, Extensions({}))
    assert (finding.rule, finding.severity) == (Rule.MIME_MALFORMED, E)
    assert "more than 10,000 parts" in finding.problem
    assert mend(octets, ENVELOPE) == octets
    # Dashes alone are none.
    assert check(content(body=b"-- a comment\r\n" * 20_000), ENVELOPE) == ()


# --- mending ------------------------------------------------------------------------------------

SIGNED = MULTIPART.replace("mixed", "signed")
SIGNATURE = b"--b\r\n\r\n%s\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
MENDED = [
    content(SIGNED, SIGNATURE % b"hi", without="Date"),
    content(body=b"a\rb\nc\r\n"),
    content(body=b"a" * 9999),
    content("X: " + "y " * 996),
    content("To: c@y.test\r\nReferences: <1@x>\r\nReferences: <2@x>"),
    content(f"Date: {DATE}"),
    content("Message-ID: <2@x.test>"),
    content("Subject: hi"),
    content(body=b"a\0b\r\n"),
    content(body=b"\xc3\xbc\r\n"),
    content("Subject: grüße " * 9, without="Subject"),
    content("From: a@x.test, c@x.test", without="From"),
    content(without="Date"),
    content("Date: yesterday", without="Date"),
    content(without="Message-ID"),
    content("Message-ID: 1@x", without="Message-ID"),
    content("References: =?utf-8?q?=3Ca=40b=3E?="),
    content("Cc: "),
    content("Bcc: c@y.test\r\nResent-Bcc: c@y.test"),
    content("Content-Type: text/plain"),
    content("From: =?utf-8?b?S8O2ciA8YW5uQHgudGVzdD4=?=", without="From"),
    content("Sender: =?utf-8?q?Zo=C3=AB_=3Czoe=40x=2Etest=3E=2C_?=\r\n =?utf-8?q?b=40y=2Etest?="),
    content("Cc: =?utf-8?q?Zo=C3=AB_=3Czoe=40x=2Etest=3E?=, =?utf-8?q?Zo=C3=AB?= <a@b.test>"),
    content("Cc: Zoë <zoe@bücher.test>, b@y.test"),
    content("Errors-To: "),
    content("X-Rcpt-To: =?utf-8?b?Wm/DqyA8em9lQHgudGVzdD4=?="),
    content("List-Unsubscribe: <https://x/1>\r\nList-Unsubscribe: <mailto:a@x.test>"),
    content("List-ID: <a.x.test>\r\nList-ID: <a.x.test>"),
]


@pytest.mark.parametrize("as_message", [False, True])
@pytest.mark.parametrize("octets", MENDED)
def test_what_can_be_mended_is(octets: bytes, as_message: bool) -> None:
    message: Any = octets
    if as_message:
        message = message_from_bytes(octets, policy=policy.default)
    before = serialise(message) if as_message else octets
    after = mended(message, check(message, ENVELOPE), STAMPS)
    assert check(after, ENVELOPE) == ()
    assert isinstance(after, type(message))
    assert (serialise(message) if as_message else octets) == before


@pytest.mark.parametrize("kind", [bytes, bytearray, message_from_bytes])
def test_whoever_keeps_a_message_has_it_mended(kind: Any) -> None:
    message = kind(content("Bcc: c@z.test", without="Date"))
    after: Any = mend(message, ENVELOPE)
    assert check(after, ENVELOPE) == ()
    octets = after if isinstance(after, bytes) else serialise(after)
    assert b"Bcc" not in octets
    assert b"\r\nDate: " in octets
    assert mend(after, ENVELOPE) == after  # nothing is wrong with it any more


@pytest.mark.parametrize("chosen", [policy.compat32, policy.default, policy.SMTP])
@pytest.mark.parametrize("name", ["To", "Cc", "Reply-To", "X-Sender"])
def test_what_is_mended_has_no_field_beyond_ascii(chosen: Any, name: str) -> None:
    """Of which one was well-formed only as the package would have written it."""
    octets = content(f"{name}: Kör <c@x.test>", without="Date")
    message: Any = message_from_bytes(octets, policy=chosen)
    written = serialise(mend(message, ENVELOPE))
    assert written.isascii()
    assert check(written, ENVELOPE) == ()


def test_what_is_signed_stays_as_it_is() -> None:
    signed = content("DKIM-Signature: v=1", without="Date")
    assert mend(signed) == signed


def test_a_message_is_mended_where_the_email_package_goes_wrong() -> None:
    message = EmailMessage()
    message["From"] = "a@x.test"
    message["To"] = "b@y.test"
    message["Subject"] = "grüße"
    target = "https://x.test/" + "y" * 200
    message["List-Unsubscribe"] = f"<{target}>"
    message["In-Reply-To"] = f"<{'i' * 90}@x>"
    message.set_content("hi")
    after = mended(message, check(message), STAMPS)
    assert check(after) == ()
    assert not isinstance(after, bytes)
    assert target.encode() in serialise(after)
    assert (after["Date"], after["Message-ID"], after["Subject"]) == (DATE, "<new@x.test>", "grüße")
    assert "Date" not in message


@pytest.mark.parametrize("name", ["Content-Type", "Content-Disposition"])
@pytest.mark.parametrize("is_attached", [False, True])
def test_parameters_that_were_encoded_as_a_text_are_found(name: str, is_attached: bool) -> None:
    """As the older messages write what is not ASCII: no program finds the name of the file."""
    part = MIMEText("hi")
    del part[name]
    part[name] = 'text/plain; name="käse.txt"'
    whole = MIMEMultipart(_subparts=[MIMEText("ho"), part])
    found_there = check((whole if is_attached else part).as_bytes(), ENVELOPE)
    assert [each.problem for each in found_there if each.rule is Rule.IDENTIFIER_ENCODED] == [
        f"its {name} is encoded as a whole"
    ]


def test_what_is_mended_says_the_same() -> None:
    after = mended(MENDED[4], check(MENDED[4]), STAMPS)
    assert b"To: b@y.test, c@y.test\r\n" in after
    assert b"References: <1@x> <2@x>\r\n" in after
    after = mended(MENDED[2], check(MENDED[2]), STAMPS)
    assert isinstance(after, bytes)
    again = message_from_bytes(after)
    assert again.get_payload(decode=True) == b"a" * 9999 + b"\r\n"
    assert re.search(rb"^From: Ann <a@x.test>\r$", after, re.MULTILINE)


def test_a_field_that_was_encoded_as_a_whole_is_read() -> None:
    """As the older messages write what is not ASCII, and as tutorials have it."""
    text = "Kör, Zoë <ann@x.test>"
    whole = str(Header('"Kör, Zoë" <ann@x.test>', "utf-8").encode())
    octets = content(f"From: {whole}", without="From")
    after = mended(octets, check(octets, ENVELOPE), STAMPS)
    assert isinstance(after, bytes)
    again = message_from_bytes(after, policy=policy.default)["From"].addresses
    assert [(each.display_name, each.addr_spec) for each in again] == [("Kör, Zoë", "ann@x.test")]
    without_stamp = octets.replace(b"Message-ID", b"X-Was")
    after = mended(without_stamp, check(without_stamp, ENVELOPE), STAMPS)
    assert isinstance(after, bytes)
    assert b"Message-ID: <new@x.test>\r\n" in after
    unclear = content(f"From: {Header(text, 'utf-8').encode()}", without="From")
    assert mended(unclear, check(unclear, ENVELOPE), STAMPS) == unclear


@pytest.mark.parametrize(
    "octets",
    [
        content("Subject: other"),
        content("List-ID: <a.x.test>\r\nList-ID: <b.x.test>"),
        content("Resent-To: =?utf-8?q?Zo=C3=AB?="),
        content("Resent-To: b@y.test"),
        content("X-Sender: Doe, Jane <c@y.test"),
        content("From: c@x.test"),
        content(without="From"),
        content("Cc: Doe, Jane <c@y.test>"),
        content("X: " + "y" * 999),
        b"DKIM-Signature: v=1\r\n" + content(without="Date"),
        b"DKIM-Signature: v=1\r\n" + content(SIGNED, SIGNATURE % b"hi", without="Date"),
        content(SIGNED, SIGNATURE % (b"y" * 999)),
    ],
)
def test_what_cannot_be_mended_is_found_again(octets: bytes) -> None:
    before = check(octets, ENVELOPE)
    assert check(mended(octets, before, STAMPS), ENVELOPE) == before


@given(st.lists(st.tuples(st.integers(980, 1010), st.sampled_from(["\r\n", "\n", "\r", ""]))))
def test_a_line_that_is_too_long_is_found_where_it_begins(lines: list[tuple[int, str]]) -> None:
    octets = "".join("x" * length + end for length, end in lines).encode()
    expected = re.search(rb"[^\r\n]{999,}", octets)
    assert long_line(octets) == (None if expected is None else expected.start())


class Counted(bytes):
    """Octets that count how often they are searched."""

    searches = 0

    def rfind(self, *arguments: Any) -> int:
        self.searches += 1
        return super().rfind(*arguments)


def test_looking_for_long_lines_takes_no_longer_the_longer_lines_are() -> None:
    """From each octet on, 2 MB of the longest lines there may be took half a minute."""
    octets = Counted((b"x" * 998 + b"\r\n") * 2_000)
    assert long_line(octets) is None
    assert octets.searches <= 5 * 2_000


# --- octets above 127 in any field --------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("X-A: ü", "X-A: =?utf-8?b?w7w=?="),
        ("Organization: Käse", "Organization: =?utf-8?b?S8Okc2U=?="),
        ("Keywords: ü", "Keywords: =?utf-8?b?w7w=?="),
        ("Content-Description: ü", "Content-Description: =?utf-8?b?w7w=?="),
        ("List-ID: Käse <l.x.test>", "List-ID: =?utf-8?b?S8Okc2U=?= <l.x.test>"),
        ("X-Owner: Zoë <z@x.test>", "X-Owner: =?utf-8?b?Wm/Dqw==?= <z@x.test>"),
        ("X-Contact: nach Köln", "X-Contact: =?utf-8?b?bmFjaCBLw7Zsbg==?="),
        ('Content-Type: a/b; name="ü.txt"', "Content-Type: a/b; name*=utf-8''%C3%BC.txt"),
        ("Received: from ü", "Received: from ü"),
        ("List-ID: ü", "List-ID: ü"),
        ("References: <ü@x.test>", "References: <ü@x.test>"),
    ],
)  # fmt: skip
def test_octets_above_127_of_any_field_are_encoded(field: str, written: str) -> None:
    assert f"\r\n{written}\r\n".encode() in mend(content(field), ENVELOPE)


def of_parts(*fields: str, within: str = "mixed") -> bytes:
    part = "\r\n".join(fields)
    return (
        "From: ann@x.test\r\nTo: bob@y.test\r\nDate: Tue, 1 Dec 2026 10:00:00 +0000\r\n"
        "Message-ID: <1@x.test>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: multipart/{within}; boundary=x\r\n\r\n"
        f"--x\r\n\r\nhello\r\n--x\r\n{part}\r\n\r\nhi\r\n--x--\r\n"
    ).encode()


def test_octets_above_127_in_the_fields_of_a_part_are_found_and_encoded() -> None:
    raw = of_parts(
        'Content-Disposition: attachment; filename="ü.txt"', "Content-Description: Grüße"
    )
    (first, _) = (each for each in check(raw, ENVELOPE) if each.rule is Rule.SMTPUTF8_NEEDED)
    assert first.where == "Content-Disposition of part 2"
    anew = mend(raw, ENVELOPE)
    assert anew.isascii()
    assert not [each for each in check(anew, ENVELOPE) if each.rule is Rule.SMTPUTF8_NEEDED]
    part = message_from_bytes(anew, policy=policy.default).get_payload(1)
    assert part.get_filename() == "ü.txt"  # type: ignore[union-attr]
    assert part["Content-Description"] == "Grüße"  # type: ignore[index]


@pytest.mark.parametrize(
    ("fields", "within"),
    [
        (["Content-Description: ü"], "signed"),
        (["Content-Type: message/rfc822", "", "DKIM-Signature: v=1", "Subject: ü"], "mixed"),
    ],
)
def test_what_is_signed_keeps_the_octets_of_its_fields(fields: list[str], within: str) -> None:
    raw = of_parts(*fields, within=within)
    assert mend(raw, ENVELOPE) == raw


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("Bob <bob@=?utf-8?q?b=C3=BCcher?=.example>", "Bob <bob@xn--bcher-kva.example>"),
        ("bob@=?utf-8?b?YsO8Y2hlci5leGFtcGxl?=", "bob@xn--bcher-kva.example"),
        ("a@=?us-ascii?q?x?=.test, b@y.test", "a@x.test, b@y.test"),
        ("Bob <bob@=?utf-8?q?x=2Etest=3E=2C_evil=40y=2Etest?=>", None),
    ],
)
@pytest.mark.parametrize("name", ["From", "Reply-To", "Errors-To"])
def test_a_domain_that_is_encoded_is_decoded(name: str, address: str, written: str | None) -> None:
    raw = of_parts().replace(b"From: ann@x.test", f"{name}: {address}".encode())
    assert f"\r\n{name}: {written or address}\r\n".encode() in b"\r\n" + mend(raw, ENVELOPE)


@pytest.mark.parametrize("more", [b"", b"Content-Type: multipart/mixed; boundary=B"])
def test_fields_that_no_fold_makes_short_enough_are_mended_once(more: bytes) -> None:
    long = b"y" * 1200
    octets = (
        b'To: c@d.test, "x, y" <e@f.test>--B%b%b\nSubject: =?utf-8?b?w6k=?=Encoding: 8bit%b\0\n\nhi'
        % (long, more, long)
    )
    once = mend(octets)
    assert mend(once) == once
    assert Rule.LINE_TOO_LONG in {each.rule for each in check(once)}
