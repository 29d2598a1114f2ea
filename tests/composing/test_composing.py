"""`compose`: what readers make of it, and what it refuses."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx import (
    Address,
    AddressError,
    Attachment,
    Envelope,
    LocalProtocolError,
    check,
    compose,
)
from smtpx._message.names import ADDRESSES
from smtpx._message.serialising import serialise
from smtpx.composing._references import names_in

fast_mail_parser = pytest.importorskip("fast_mail_parser")

STRICT = policy.default + policy.strict
INVITATION = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:1\n"
    "SUMMARY:Mittag in Köln\nEND:VEVENT\nEND:VCALENDAR\n"
)

characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
line = st.text(characters, max_size=120)
word = st.text(characters, min_size=1, max_size=60).filter(lambda name: name.strip() == name)
body = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=400)
# `email` takes <x> and "x" for x.
file_name = word.filter(lambda name: not re.search(r'[/\\\t]|^<.*>$|^".*"$|^\.\.?$', name))


def message(**options: Any) -> EmailMessage:
    return compose(**({"sender": "ann@x.test", "to": "bob@y.test", "text": "hi"} | options))


def parsed(composed: EmailMessage) -> Any:
    """As a reader has it who forgives nothing."""
    octets = serialise(composed)
    assert octets.isascii()
    # A line is longer than it should only where a word is.
    assert [line for line in octets.split(b"\r\n") if len(line) > 78 and b" " in line[24:]] == []
    again = message_from_bytes(octets, policy=STRICT)
    assert [defect for part in again.walk() for defect in part.defects] == []
    return again


def shape(message: Any) -> Any:
    """Media types, as a tree."""
    kind = message.get_content_type()
    if not message.is_multipart():
        return kind
    return kind, [shape(part) for part in message.get_payload()]


def unix(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


# --- the header ---------------------------------------------------------------------------------


@given(line)
def test_a_subject_in_any_language_arrives(subject: str) -> None:
    again = parsed(message(subject=subject))
    assert again.get("Subject", "") == subject
    other = fast_mail_parser.parse_email(serialise(message(subject=subject)))
    assert other.subject.strip() == subject.strip()


@given(st.lists(word, min_size=1, max_size=4))
def test_display_names_in_any_language_arrive_and_add_no_recipient(names: list[str]) -> None:
    to = [(name, f"user{number}@y.test") for number, name in enumerate(names)]
    composed = message(to=to)
    again = parsed(composed)
    assert [each.addr_spec for each in again["To"].addresses] == [address for _, address in to]
    assert [str(each) for each in Envelope.from_message(composed).recipients] == [a for _, a in to]
    # `email` leaves the space between two encoded words of a name, and folds white space in them.
    shown = ["".join(each.display_name.split()) for each in again["To"].addresses]
    assert shown == ["".join(name.split()) for name, _ in to]
    found = fast_mail_parser.parse_email(serialise(composed)).to
    assert [(each.display_name, each.address) for each in found] == to


@given(st.sampled_from(["X-A", "X-" + "Long-" * 14 + "Name"]), line.filter(str.strip))
def test_any_other_field_arrives(name: str, value: str) -> None:
    octets = serialise(message(headers={name: value}))
    assert message_from_bytes(octets, policy=STRICT)[name] == value


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("bob@y.test", "bob@y.test"),
        ("Bob <bob@y.test>", "Bob <bob@y.test>"),
        ('"Builder, Bob" <bob@y.test>', '"Builder, Bob" <bob@y.test>'),
        ('"Bob \\"B\\" Builder" <bob@y.test>', '"Bob \\"B\\" Builder" <bob@y.test>'),
        (" <bob@y.test> ", "bob@y.test"),
        (("Bob", "bob@y.test"), "Bob <bob@y.test>"),
        (("Bob", Address("bob", "y.test")), "Bob <bob@y.test>"),
        (("J. Doe", "bob@y.test"), '"J. Doe" <bob@y.test>'),
        (("=?utf-8?q?x?=", "bob@y.test"), "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <bob@y.test>"),
        (Address("b o b", "y.test"), '"b o b"@y.test'),
        (HeaderAddress("Bob", "bob", "y.test"), "Bob <bob@y.test>"),
        ("bob@bücher.test", "bob@xn--bcher-kva.test"),
        (["bob@y.test", "Eve <eve@y.test>"], "bob@y.test, Eve <eve@y.test>"),
        ([("bob@y.test", "eve@y.test")], '"bob@y.test" <eve@y.test>'),
        ((("Bob", "bob@y.test"), Address("eve", "y.test")), "Bob <bob@y.test>, eve@y.test"),
        ((Address("bob", "y.test"), Address("eve", "y.test")), "bob@y.test, eve@y.test"),
        ("=?utf-8?q?B=C3=B6b?= <bob@y.test>", "=?utf-8?b?QsO2Yg==?= <bob@y.test>"),
        ({"bob@y.test": None}, "bob@y.test"),
    ],
)
def test_the_forms_of_an_address(given: Any, written: str) -> None:
    fields = dict(message(to=given).raw_items())
    assert fields["To"] == written


@pytest.mark.requirement("RFC 5322 §3.6.3")
def test_everybody_gets_it_and_bcc_is_not_told() -> None:
    composed = message(to="b@y.test", cc=["c@y.test"], bcc="d@y.test", reply_to="r@y.test")
    recipients = [str(each) for each in Envelope.from_message(composed).recipients]
    assert recipients == ["b@y.test", "c@y.test", "d@y.test"]
    again = parsed(composed)
    assert "Bcc" not in again
    assert (again["Cc"], again["Reply-To"]) == ("c@y.test", "r@y.test")


def test_bcc_alone_is_enough() -> None:
    assert "To" not in parsed(message(to=(), bcc="d@y.test"))


@pytest.mark.requirement("RFC 6532")
def test_an_internationalized_address_is_written_as_it_is() -> None:
    composed = message(to="jürgen@y.test")
    envelope = Envelope.from_message(composed)
    assert envelope.needs_smtputf8
    assert "To: jürgen@y.test\r\n".encode() in serialise(composed, smtputf8=True)
    with pytest.raises(LocalProtocolError):
        _ = serialise(composed)


def test_date_and_message_id_are_there_and_tell_nothing() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    one, other = parsed(message()), parsed(message())
    assert before <= one["Date"].datetime <= datetime.now(UTC)
    assert one["Date"].endswith("+0000")
    assert re.fullmatch(r"<[0-9a-f]{32}@x\.test>", one["Message-ID"])
    assert one["Message-ID"] != other["Message-ID"]


@pytest.mark.requirement("RFC 5322 §3.3")
def test_a_zone_with_seconds_is_written_as_another() -> None:
    zone = timezone(timedelta(minutes=19, seconds=32))  # Amsterdam's, until 1937
    assert message(date=datetime(1937, 1, 1, 0, 19, 32, tzinfo=zone))["Date"].datetime == datetime(
        1937, 1, 1, tzinfo=UTC
    )
    assert b"Date: Fri, 01 Jan 1937 00:00:00 +0000\r\n" in serialise(
        message(date=datetime(1937, 1, 1, 0, 19, 32, tzinfo=zone))
    )


def test_date_and_message_id_may_be_given() -> None:
    noon = datetime(2030, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))
    again = parsed(message(date=noon, message_id="<a.b@c>"))
    assert again["Date"] == "Wed, 02 Jan 2030 12:00:00 +0200"
    assert again["Message-ID"] == "<a.b@c>"


@pytest.mark.requirement("RFC 5322 §3.6.4")
def test_an_answer_carries_the_thread() -> None:
    original = message(message_id="<2@x>", references=["<0@x>", "<1@x>"])
    answer = parsed(message(in_reply_to=original))
    assert (answer["In-Reply-To"], answer["References"]) == ("<2@x>", "<0@x> <1@x> <2@x>")
    answer = parsed(message(in_reply_to="<2@x>"))
    folded = message_from_bytes(b"Message-ID:\r\n\t<2@x> \r\n\r\n")["Message-ID"]
    again = parsed(message(in_reply_to=folded, references=[folded]))
    assert again["In-Reply-To"] == again["References"] == "<2@x>"
    assert (answer["In-Reply-To"], answer["References"]) == ("<2@x>", "<2@x>")
    first = message(message_id="<1@x>", in_reply_to="<0@x>")
    del first["References"]
    assert parsed(message(in_reply_to=first))["References"] == "<0@x> <1@x>"
    long = [f"<{number}.{'x' * 50}@x.test>" for number in range(60)]
    assert parsed(message(references=long))["References"].split() == long


@pytest.mark.requirement("RFC 5322 §3.6.4")
@pytest.mark.parametrize("chosen", [policy.default, policy.compat32])
@pytest.mark.parametrize(
    ("stands", "written"),
    [
        ("<[AB==@microsoft.com]>", "<[AB==@microsoft.com]>"),
        ("<no-at-sign>", "<no-at-sign>"),
        ("<a@b@c>", "<a@b@c>"),
        ("<a@>", "<a@>"),
        ("<a.@b..c>", "<a.@b..c>"),
        ("<a@b> (added by postmaster@x.test)", "<a@b>"),
        ("(a comment) <a@b>", "<a@b>"),
        ("<a@b> <c@d>", "<a@b>"),
        ("\n <a@b>", "<a@b>"),
        ("a@b", "<a@b>"),
        ("a(b", None),
        ("<>", None),
        ("<a b@c>", None),
        ("<a@b", None),
        ("<é@b>", None),
        ("<" + "a" * 2000 + "@b>", None),
        ("=?utf-8?q?=3Ca=40b=3E?=", None),
        ("", LocalProtocolError),
    ],
)
def test_an_answer_to_a_message_whose_identifier_is_odd(
    stands: str, written: Any, chosen: Any
) -> None:
    source = f"Message-ID: {stands}\nReferences: <0@x> <odd> x (y) <1@x>\n\nhi\n"
    original = message_from_bytes(source.encode(), policy=chosen)
    if written is LocalProtocolError:
        with pytest.raises(LocalProtocolError, match="without Message-ID"):
            _ = message(in_reply_to=original)
        return
    octets = serialise(message(in_reply_to=original))
    answer = message_from_bytes(octets)
    assert answer["In-Reply-To"] == written
    assert answer["References"].split() == ["<0@x>", "<odd>", "<1@x>", *([written] * bool(written))]
    if written and written == stands:
        assert message(in_reply_to=stands, references=[stands])["References"] == stands


@pytest.mark.requirement("RFC 5322 §3.6.4")
def test_of_several_parents_none_is_an_ancestor() -> None:
    source = b"Message-ID: <2@x>\nIn-Reply-To: <0@x> <1@x>\n\nhi\n"
    answer = parsed(message(in_reply_to=message_from_bytes(source)))
    assert (answer["In-Reply-To"], answer["References"]) == ("<2@x>", "<2@x>")


# --- a pair ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["to", "cc", "bcc", "reply_to"])
@pytest.mark.parametrize("first", ["a@y.test", "Ann <a@y.test>"])
def test_two_addresses_in_a_pair_are_warned_of(argument: str, first: str) -> None:
    """The first of them gets nothing. It may be a name all the same, and so it is no error."""
    with pytest.warns(UserWarning, match=f"{argument}: a pair is a name") as told:
        made = message(**{argument: (first, "b@x.test")})
    (each,) = made[argument.replace("_", "-")].addresses
    assert (each.display_name, each.addr_spec) == (first, "b@x.test")
    assert [warning.filename for warning in told] == [__file__]


@pytest.mark.parametrize(
    "pair",
    [
        ("b@x.test", "b@x.test"),
        ("B@X.test", "b@x.test"),
        ("Bob", "b@x.test"),
        ("Bob at home", "b@x.test"),
        ("@bob", "b@x.test"),
        ("Doe, Jane", "b@x.test"),
        ("{{name}}", "{{address}}"),
    ],
)
def test_a_name_and_an_address_are_a_pair_without_a_word(pair: tuple[str, str]) -> None:
    assert message(to=pair)["To"].addresses[0].display_name == pair[0]


# --- fields that have no argument ----------------------------------------------------------------


LONG_AGO = "Thu, 13 Feb 1997 09:55:06 -0600"


@pytest.mark.parametrize(
    "name", sorted(ADDRESSES - {"from", "reply-to", "to", "cc", "bcc", "resent-bcc"})
)
def test_fields_of_addresses_are_written_as_addresses(name: str) -> None:
    value = "Zoë <zoe@x.test>"
    if not name.endswith("sender"):
        value += ', "Müller, J" <j@bücher.test>, =?utf-8?q?Eve=2C?= <e@x.test>, Größe: bob@x.test;'
    octets = serialise(message(headers={name.title(): value}))
    assert octets.isascii()
    again = message_from_bytes(
        b"To: %b\n\n" % message_from_bytes(octets)[name].encode(), policy=STRICT
    )
    found = [(each.display_name, each.addr_spec) for each in again["To"].addresses]
    everyone = [
        ("Zoë", "zoe@x.test"), ("Müller, J", "j@xn--bcher-kva.test"), ("Eve,", "e@x.test"),
        ("", "bob@x.test"),
    ]  # fmt: skip
    assert found == everyone[: len(found)]
    assert len(found) == (1 if name.endswith("sender") else 4)
    resent = {"Resent-From": "a@x.test", "Resent-To": "b@x.test", "Resent-Date": LONG_AGO}
    others = resent if name.startswith("resent-") else {}
    assert check(message(headers={**others, name.title(): value})) == ()


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("List-ID", "Zoë's list <a.example.org>", "=?utf-8?b?Wm/DqydzIGxpc3Q=?= <a.example.org>"),
        ("List-ID", '"Announce, all" <a.example.org>', '"Announce, all" <a.example.org>'),
        ("List-Id", "<list.example.org>", "<list.example.org>"),
        ("List-Owner", "<mailto:zoe@x.test> (Zoe), <https://x.test/zoe>", None),
        ("List-Post", "NO", None),
        ("Archived-At", "<https://x.test/" + "y" * 200 + ">", None),
        ("Resent-Message-ID", "<" + "y" * 100 + "@x>", None),
        ("Auto-Submitted", "auto-replied; owner-email=\"a@x.test\"", None),
        ("Return-Path", "<bounces@x.test>", None),
        ("Mail-Copies-To", "nobody", None),
        ("X-Sender", "root", None),
        ("Errors-To", "<bounces@x.test>", "bounces@x.test"),
        ("X-Note", "Zoë <zoe@x.test>", "=?utf-8?b?Wm/DqyA8em9lQHgudGVzdD4=?="),
        ("X-Rcpt-To", "Zoë <zoe@x.test>", "=?utf-8?b?Wm/Dqw==?= <zoe@x.test>"),
        ("X-Abuse-Contact", "zoe@bücher.test, b@x.test", "zoe@xn--bcher-kva.test, b@x.test"),
        ("X-Assigned-To", "Zoë, b@x.test", "=?utf-8?b?Wm/DqywgYkB4LnRlc3Q=?="),
        ("X-Assigned-To", "zoë@x.test", "=?utf-8?b?em/Dq0B4LnRlc3Q=?="),
        ("CFBL-Address", "fbl@x.test; report=arf", None),
    ],
)  # fmt: skip
def test_other_fields_are_written_as_programs_read_them(
    name: str, value: str, written: str | None
) -> None:
    octets = serialise(message(headers={name: value}))
    assert message_from_bytes(octets)[name] == (written or value)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("Sender", "Zoë", "no @ and domain|not an address"),
        ("Sender", "Zoë zoe@x.test", "no list of addresses"),
        ("Resent-To", "Doe, Jane <jane@x.test>", "no @ and domain"),
        ("Resent-To", "", "is empty: give an address"),
        ("Errors-To", "ann@x.test; bob@x.test", "no list of addresses"),
        ("Errors-To", "Zoë, K <zoe@x.test>", "'Zoë': it has no @ and domain"),
        ("Disposition-Notification-To", "Größe", "'Größe': it has no @ and domain"),
        ("X-Original-To", "zoe@x.test, 王", "'王': it has no @ and domain"),
        ("Disposition-Notification-To", "=?utf-8?q?a=0Ab?= <a@x.test>", "line end"),
        ("Mail-Followup-To", "a@x..test", "is not a domain"),
        ("List-Owner", "Zoe <zoe@x.test>", "<mailto:…>"),
        ("List-Owner", "<mailto:zoë@x.test>", "give ASCII"),
        ("List-ID", "list.example.org", r"write 'A name <list\.example\.org>'"),
        ("List-ID", "<liste.für.alle>", "no List-ID"),
        ("Resent-Message-ID", "a@b", "with the brackets"),
        ("Importance", "größer", "programs read Importance"),
    ],
)
def test_a_field_that_cannot_be_written_so_is_refused(name: str, value: str, why: str) -> None:
    with pytest.raises((LocalProtocolError, AddressError), match=why) as caught:
        _ = message(headers={name: value})
    assert str(caught.value).startswith(f"headers['{name}']")


@pytest.mark.requirement("RFC 8058 §3.1")
def test_one_click_unsubscription() -> None:
    targets = ["https://x.test/u?id=1;b", "mailto:u@x.test?subject=off"]
    again = parsed(message(list_unsubscribe=targets, one_click=True))
    assert again["List-Unsubscribe"] == f"<{targets[0]}>, <{targets[1]}>"
    assert again["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "List-Unsubscribe-Post" not in message(list_unsubscribe=targets[1])


def test_what_is_long_is_left_whole() -> None:
    address = "b" * 100 + "@" + "example." * 12 + "test"
    identifier, target = f"<{'i' * 100}@x>", "https://x.test/" + "y" * 200
    composed = message(
        to=[address, ("Jürgen", address)], in_reply_to=identifier, list_unsubscribe=target,
        references=["<1@x>", identifier], headers={"X-Token": "z" * 300},
    )  # fmt: skip
    written = serialise(composed)
    for whole in (address, identifier, target, "z" * 300):
        assert whole.encode() in written
    assert [each.addr_spec for each in parsed(composed)["To"].addresses] == [address] * 2
    # … by the `email` package too, when it writes for itself.
    assert identifier.encode() in composed.as_bytes()


# --- the body -----------------------------------------------------------------------------------


@given(body, body)
def test_text_and_html_in_any_language_arrive(text: str, html: str) -> None:
    composed = message(text=text, html=html)
    again = parsed(composed)
    assert shape(again) == ("multipart/alternative", ["text/plain", "text/html"])
    plain, page = again.iter_parts()
    assert (unix(plain.get_content()), unix(page.get_content())) == (unix(text), unix(html))
    other = fast_mail_parser.parse_email(serialise(composed))
    assert [unix(each) for each in other.text_plain] == [unix(text)]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("short lines\n" * 9, "7bit"),
        ("a line that is too long " * 9, "quoted-printable"),
        ("From here on\n", "quoted-printable"),
        ("grüß dich, du alter Freund\n", "quoted-printable"),
        ("нет латинских букв", "base64"),
        ("the end of a page\x0cthe next one", "quoted-printable"),
    ],
)
def test_text_is_as_readable_as_it_can_be(text: str, encoding: str) -> None:
    composed = message(text=text)
    assert composed["Content-Transfer-Encoding"] == encoding
    assert b"\r\nFrom " not in serialise(composed).partition(b"\r\n\r\n")[2]
    assert unix(parsed(composed).get_content()) == unix(text)


@given(st.binary(max_size=300), file_name)
@example(b"", "=?UTF-8?B?ZXZpbC5leGU=?=")
@example(b"", "=?utf-8?q?evil=2Eexe?= and more.pdf")
@example(b"", "%65vil.exe")
@example(b"", "utf-8''%65vil.exe")
def test_attachments_of_any_content_and_name_arrive(data: bytes, name: str) -> None:
    composed = message(attachments=[Attachment(data, name, "application/x-y")])
    (attached,) = parsed(composed).iter_attachments()
    assert (attached.get_content(), attached.get_filename()) == (data, name)
    (other,) = fast_mail_parser.parse_email(serialise(composed)).attachments
    assert (other.content, other.filename) == (data, name)


def test_attachments_come_from_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "käse.pdf"
    _ = path.write_bytes(b"%PDF")
    with path.open("rb") as file:
        composed = message(
            attachments=[path, str(path), Attachment(path, "other.csv"), Attachment(file),
                         Attachment(io.BytesIO(b"x"), "x.tar.gz"), Attachment(b"y", "y")]
        )  # fmt: skip
    found = [
        (part.get_filename(), part.get_content_type())
        for part in parsed(composed).iter_attachments()
    ]
    assert found == [
        ("käse.pdf", "application/pdf"), ("käse.pdf", "application/pdf"), ("other.csv", "text/csv"),
        ("käse.pdf", "application/pdf"), ("x.tar.gz", "application/gzip"),
        ("y", "application/octet-stream"),
    ]  # fmt: skip
    (alone,) = parsed(message(attachments=path)).iter_attachments()
    assert alone.get_content() == b"%PDF"


def test_an_attachment_alone_is_the_message() -> None:
    composed = message(text=None, attachments=Attachment(b"%PDF", "x.pdf"))
    assert shape(parsed(composed)) == "application/pdf"


@pytest.mark.requirement("RFC 2046 §5.2.1")
def test_messages_are_forwarded_whole_and_without_their_bcc(tmp_path: Path) -> None:
    original = message(subject="grüße", bcc="secret@y.test", html="<p>naïve</p>")
    path = tmp_path / "saved.eml"
    _ = path.write_bytes(serialise(original))
    again = parsed(message(attachments=[original, path]))
    _, *forwarded = again.get_payload()
    for part in forwarded:
        assert part.get_content_type() == "message/rfc822"
        assert part["Content-Transfer-Encoding"] in (None, "7bit", "8bit")
        inner = part.get_content()
        assert inner["Subject"] == "grüße"
        assert "Bcc" not in inner
    assert original["Bcc"] == "secret@y.test"


LONG = b"From: a@x.test\nTo: b@x.test\nMIME-Version: 1.0\nContent-Type: text/plain\n%s\n%s\n"


@pytest.mark.parametrize(
    ("field", "body"),
    [
        (b"", b"x" * 3000),
        (b"", b"x\0y"),
        (b"X-Long: " + b"y " * 1500 + b"\n", b"x"),
        (b"Content-Transfer-Encoding: 8bit\n", b"\xc3\xbc" * 1500),
    ],
    ids=["body", "NUL", "field", "8-bit"],
)
@pytest.mark.parametrize("made", ["file", "message", "older message"])
@pytest.mark.requirement("RFC 5321 §4.5.3.1.6")
def test_a_forwarded_message_is_mended_where_no_server_could_take_it(
    field: bytes, body: bytes, made: str
) -> None:
    source = LONG % (field, body)
    attached = {
        "file": lambda: Attachment(source, "a.eml"),
        "message": lambda: message_from_bytes(source, policy=policy.default),
        "older message": lambda: message_from_bytes(source),
    }[made]()
    composed = message(attachments=attached)
    assert [finding.rule for finding in check(composed)] == []
    inner = parsed(composed).get_payload()[-1].get_payload()[0]
    assert inner.get_payload(decode=True).replace(b"\r\n", b"\n").strip() == body
    assert " ".join(inner.get("X-Long", "y").split()).startswith("y")


@pytest.mark.parametrize(
    ("field", "body"),
    [
        (b"DKIM-Signature: v=1\n", b"x" * 3000),
        (b"X-Long: " + b"y" * 3000 + b"\n", b"x"),
    ],
    ids=["signed", "one word"],
)
def test_a_forwarded_message_that_cannot_be_mended_is_refused(field: bytes, body: bytes) -> None:
    source = LONG % (field, body)
    with pytest.raises(LocalProtocolError, match=r"^'a\.eml', a message: line \d+: it has 300\d"):
        _ = message(attachments=Attachment(source, "a.eml"))
    with pytest.raises(LocalProtocolError, match=r"^attachments\[0\], a message: line \d+"):
        _ = message(attachments=[message_from_bytes(source)])
    file = Attachment(source, "a.eml", "application/octet-stream")
    assert check(message(attachments=file)) == ()


def test_an_attached_message_of_too_many_parts_is_refused() -> None:
    source = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"\n--b\n\n" * 20_000
    with pytest.raises(LocalProtocolError, match="parts"):
        _ = message(attachments=Attachment(source, "a.eml"))


@pytest.mark.requirement("RFC 2392")
def test_inline_images_are_found_by_the_html() -> None:
    html = (
        "<img src=\"cid:logo\"><img src='cid:b.2'><p style='background: url(cid:logo)'>cid:x acid:y"
    )
    inline = {"logo": Attachment(b"1", "l.png"), "b.2": Attachment(b"2", "b.gif")}
    again = parsed(message(html=html, inline=inline))
    kinds = ["text/html", "image/png", "image/gif"]
    related = ("multipart/related", kinds)
    assert shape(again) == ("multipart/alternative", ["text/plain", related])
    page, one, two = again.get_payload()[1].get_payload()
    identifiers = [str(part["Content-ID"]).strip("<>") for part in (one, two)]
    assert all(re.fullmatch(r"[^@]+@x\.test", each) for each in identifiers)
    first, second = identifiers
    assert page.get_content().strip() == html.replace("cid:logo", f"cid:{first}").replace(
        "cid:b.2", f"cid:{second}"
    )
    assert one.get_content_disposition() == "inline"


@pytest.mark.requirement("RFC 2392")
@pytest.mark.parametrize(
    "html",
    [
        '<img src="cid:a">', "<img src='CID:a'>", "<img src=cid:a>", "<img src=cid:a/>",
        "<IMG SRC = 'cid:a'>", '<img alt="x > y" src="cid:a">', "<img src='\n cid:a '>",
        '<img srcset="cid:a 1x, cid:b 2x" src="cid:a">', '<img srcset="https://x/y 1x,cid:a 2x">',
        '<td background="cid:a">', '<p style="background: url(cid:a)">', '<a href="cid:a">',
        "<p style=\"background: url('cid:a')\">", '<p style="background: url(&quot;cid:a&quot;)">',
        '<p style="background: URL( &#39;CID:a&#39; )">', '<p style="b: url(&#x22;cid:a&#x22;)">',
        "<style>p { background: url(cid:a) } td { background: url('cid:b') }</style>",
        "<style>p { background: url(cid:a)", "<video poster='cid:a' src='cid:b'>",
        "<!--[if gte mso 9]><v:fill type='tile' src='cid:a'/><![endif]-->",
        "<svg><image xlink:href='cid:a'/></svg>", "<img data-src='cid:a'>", "<object data='cid:a'>",
        "<img src='cid:%61'>", "<!-- x --><img src='cid:a'><!-- cid:x",
        "<p title='<'><img src='cid:a'>",
    ],
)  # fmt: skip
def test_what_refers_to_a_part_is_found(html: str) -> None:
    inline = {
        name: Attachment(name.encode(), f"{name}.png")
        for name in "ab"
        if f"cid:{name}" in html.lower() or name == "a"
    }
    again = parsed(message(html=html, inline=inline))
    page, *images = again.get_payload()[1].get_payload()
    identifiers = [str(part["Content-ID"]).strip("<>") for part in images]
    written = page.get_content()
    for identifier in identifiers:
        assert f"cid:{identifier}" in written
    for name, identifier in zip(inline, identifiers, strict=True):
        html = (
            html.replace("%61", "a")
            .replace("CID:", "cid:")
            .replace(f"cid:{name}", f"cid:{identifier}")
        )
    assert unix(written) == unix(html)


@pytest.mark.parametrize(
    "html",
    [
        "see cid:a in RFC 2392", "(cid:a)", '"cid:a"', "<p>'cid:a'</p>", "<p title='cid:a'>x",
        "<img alt='cid:a'>", "<a href='https://x.test/?cid:a'>", "<a href='acid:a'>",
        "<!-- <img src='cid:a'> -->",
        "<script>x = 'cid:a'</script>", "<title>cid:a</title>", "src='cid:a'", "1 < 2 src='cid:a'",
        "<p style='content: cid:a'>", "<style>/* cid:a */</style>", "<img src='x.png?cid:a'>",
        "<img srcset='https://x/cid:a 1x'>", "<p data-note='cid:a'>", "</p src='cid:a'>",
    ],
)  # fmt: skip
def test_what_refers_to_nothing_is_left_alone(html: str) -> None:
    again = parsed(message(html=html))
    assert again.get_payload()[1].get_content().strip() == html


@pytest.mark.parametrize(
    "html",
    [
        '<img src="cid:&#97;">', '<img src="cid&#58;a">', "<img src='cid&colon;a'>",
        "<img src=&#x63;id:a>", '<img src="CID&#58;&#97;">', '<img srcset="cid&#58;a 1x">',
        '<p style="background:url(&#39;cid:&#x61;&#39;)">', '<p style="background:url(cid&#58;a)">',
        '<style>p{background:image-set("cid:a" 1x)}</style>', "<style>@import 'cid:a';</style>",
        "<style>p{background:image-set(url(x.png) 1x, 'cid:a' 2x)}</style>",
        "<style>p{background:-webkit-image-set(url(cid:a) 1x, url(x) 2x)}</style>",
        "<style>@import url(cid:a);</style>", "<p style=\"background:image-set('cid:a' 1x)\">",
        "<style>/* url(cid:old) */ p{background:url(cid:a)} /* 'cid:b' */</style>",
        "<p style='/* url(cid:old) */ background:url(cid:a)'>",
        '<img alt="&quot;" src="cid&#58;a" title="cid&#58;b">',
    ],
)  # fmt: skip
def test_what_a_reader_takes_for_a_reference_is_one(html: str) -> None:
    composed = message(html=html, inline={"a": Attachment(b"x", "a.png")})
    related: Any = composed.get_body(("related",))
    page, image = related.iter_parts()
    identifier = image["Content-ID"].strip("<>")
    assert f"cid:{identifier}" in unescape(page.get_content())
    assert names_in(page.get_content()) == {identifier.replace("%40", "@")}


@pytest.mark.parametrize(
    "html",
    [
        '<style>p::before{content:"cid:a"}</style>', "<style>/* @import 'cid:a'; */</style>",
        "<style>/* url(cid:a)", "<style>p{background:image-set(/* 'cid:a' */ url(x) 1x)}</style>",
        "<p title='cid&#58;a'>", "<p>cid&#58;a", '<img src="cid&amp;#58;a">',
    ],
)  # fmt: skip
def test_what_a_reader_takes_for_a_text_is_no_reference(html: str) -> None:
    assert names_in(html) == set()


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<a ",
        "<a '",
        '<a "',
        "<!--",
        "<!--[if",
        "<style>",
        "url(",
        "<a b=cid:",
        "cid:a ",
        "<script",
        "<a style='url( ",
        "<img srcset='cid:,",
        "= ",
        "x",
    ],
)
@pytest.mark.parametrize("before", ["cid:", "cid:<a "])
@pytest.mark.timeout(20)
def test_references_are_found_in_no_time(before: str, unit: str) -> None:
    assert len(names_in(before + unit * (2**18 // len(unit)))) <= 1


@pytest.mark.requirement("RFC 6047 §2.4")
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_an_invitation_is_an_alternative_and_a_file(newline: str) -> None:
    calendar = INVITATION.replace("\n", newline)
    again = parsed(message(html="<p>Come", calendar=calendar))
    forms = ("multipart/alternative", ["text/plain", "text/html", "text/calendar"])
    assert shape(again) == ("multipart/mixed", [forms, "application/ics"])
    *_, form = again.get_payload()[0].get_payload()
    assert form["Content-Type"].params == {"method": "REQUEST", "charset": "utf-8"}
    assert unix(form.get_content()) == INVITATION
    (file,) = again.iter_attachments()
    assert file.get_filename() == "invite.ics"
    assert file.get_content().decode() == INVITATION.replace("\n", "\r\n")


@pytest.mark.requirement("RFC 5545 §3.1")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("METHOD:REQUEST", "METHOD:REQ\n UEST"),
        ("METHOD:REQUEST", "ME\n\tTHOD:request"),
        ("METHOD:REQUEST", "METHOD;X=1\n ;Y=2: REQUEST "),
        ("BEGIN:VCAL", "\ufeffBEGIN:VCAL"),
        ("UID:1\n", "UID:1\nMETHOD:CANCEL\n"),
        ("END:VEVENT", "BEGIN:VALARM\nMETHOD:CANCEL\nEND:VALARM\nEND:VEVENT"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_method_of_an_invitation_is_the_calendars_own(
    before: str, after: str, newline: str
) -> None:
    calendar = INVITATION.replace(before, after).replace("\n", newline)
    composed = parsed(message(calendar=calendar))
    forms = [part for part in composed.walk() if part.get_content_type() == "text/calendar"]
    assert [part.get_param("method") for part in forms] == ["REQUEST"]
    assert unix(forms[0].get_content()).startswith("BEGIN:VCALENDAR\n")


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"to": ()}, "give to, cc or bcc"),
        ({"to": None}, "give to, cc or bcc"),
        ({"to": "bob"}, "^to: .*no @ and domain"),
        ({"to": ""}, "to is empty"),
        ({"to": "a@x.test, b@x.test"}, "to=.* has 2 addresses; give several as a list"),
        ({"to": ["a@x.test", "b"]}, r"to\[1\]: .*no @"),
        ({"cc": "Doe, Jane <a@x.test>"}, r"cc=.*\('Display, Name'"),
        ({"cc": "Jane <a@x.test"}, r"cc=.*is no mailbox: the end comes before"),
        ({"cc": "Jane (Ms) <a@x.test>"}, "cc=.* more than a name"),
        ({"cc": "Team: a@x.test;"}, "cc=.* is a group: give its members as a list"),
        ({"to": ["undisclosed-recipients:;"]}, r"to\[0\]=.* is a group: .*leave it out"),
        ({"to": "Team: a@x.test, B <b@x.test>; "}, "to=.* is a group"),
        ({"to": "mailto:a@x.test"}, "to=.* is no mailbox"),
        ({"sender": "a@x.test, b@x.test"}, "sender=.* has 2 addresses; give one, and a name with"),
        ({"headers": {"Sender": "a@x.test, b@x.test"}}, r"headers\['Sender'\]=.* is one mailbox"),
        ({"headers": {"Resent-Sender": "a@x.test, b@x.test"}}, "is one mailbox"),
        ({"bcc": ("Bob\nX: y", "b@x.test")}, "bcc's display name.*line end"),
        ({"bcc": "b@x.test\r\nX: y"}, "bcc=.*line end"),
        ({"reply_to": ("x", "y z")}, "reply_to: not an address"),
        ({"sender": "postmaster"}, "sender needs an address with a domain"),
        ({"subject": "hi\nBcc: x@y"}, "subject=.*line end"),
        ({"subject": "hi\u2028there"}, "subject=.*line end"),
        ({"subject": "x\x07"}, "subject=.*control"),
        ({"text": "\ud800"}, "text has half"),
        ({"html": "x\udcff"}, "html has half"),
        ({"subject": "x\udcff"}, "subject has half of a surrogate pair at 1"),
        ({"to": ("x\udcff", "b@y.test")}, "display name has half of a surrogate pair at 1"),
        ({"headers": {"X-A": "\ud800"}}, "half of a surrogate pair at 0"),
        ({"attachments": Attachment(b"x", "x\udcff")}, "has half of a surrogate pair: give its"),
        ({"text": None}, "give text, html or attachments"),
        ({"date": datetime(2030, 1, 1)}, "date needs .* time zone"),
        ({"message_id": "a@b"}, "message_id=.*<left@right>"),
        ({"message_id": "<a@b>\r\nX: y"}, "message_id=.*line end"),
        ({"in_reply_to": "<a b@c>"}, "in_reply_to=.*Message-ID"),
        ({"in_reply_to": EmailMessage()}, "in_reply_to is a message without"),
        ({"references": ["<a@b>", "c"]}, r"references\[1\]='c'"),
        ({"list_unsubscribe": "ftp://x"}, "list_unsubscribe=.*https or mailto"),
        ({"list_unsubscribe": "https://x/a,b"}, "list_unsubscribe=.*commas"),
        ({"list_unsubscribe": "https://"}, "list_unsubscribe=.*https or mailto"),
        ({"list_unsubscribe": "https:///off"}, "list_unsubscribe=.*https or mailto"),
        ({"list_unsubscribe": "https:x.test"}, "list_unsubscribe=.*https or mailto"),
        ({"date": datetime(1, 1, 1, tzinfo=UTC)}, "date=1-.*1900 or later"),
        ({"references": "<a@b> <c@d>"}, "references=.*several are a list"),
        ({"one_click": True}, "one_click needs exactly one https"),
        ({"one_click": True, "list_unsubscribe": "mailto:a@b"}, "one_click needs"),
        ({"one_click": True, "list_unsubscribe": "http://x/"}, "one_click needs"),
        ({"headers": {"Subject": "x"}}, "headers: Subject is what the argument 'subject'"),
        ({"headers": {"X Y": "x"}}, "headers: 'X Y' is no name"),
        ({"headers": {"X": "a\r\nY: b"}}, r"headers\['X'\]=.*line end"),
        ({"attachments": "/no/such/file"}, "attachments cannot be read: .*No such file"),
        ({"attachments": ["/no/such/file"]}, r"attachments\[0\] cannot be read"),
        ({"attachments": [Attachment(b"x")]}, r"attachments\[0\] has no name"),
        ({"attachments": [Attachment(b"x", "a/b")]}, "no file's name"),
        ({"attachments": [Attachment(b"x", ".")]}, "no file's name"),
        ({"attachments": [Attachment(b"x", "..")]}, "no file's name"),
        ({"attachments": [Attachment(b"x", "  ")]}, r"attachments\[0\] has no name"),
        ({"attachments": [Attachment(b"x", "a\nb")]}, "no file's name"),
        ({"attachments": [Attachment(b"x", "a", "text")]}, "no media type"),
        ({"attachments": [Attachment(b"x", "a", "multipart/mixed")]}, "no media type"),
        ({"attachments": [Attachment(b"x", "a", "a/b\r\nX: y")]}, "no media type"),
        ({"attachments": [Attachment(b"x", "a", "message/delivery-status")]}, "no media type"),
        ({"attachments": [Attachment(b"x", "a", "message/partial")]}, "no media type"),
        ({"attachments": [Attachment(b"x", "a", "Message/Global")]}, "no media type"),
        (
            {"attachments": Attachment(b"Content-Type: message/rfc822\n\n" * 5000, "x.eml")},
            "x.eml's parts are nested too deep",
        ),
        ({"inline": {"a": Attachment(b"x", "a")}}, "inline needs html"),
        ({"html": "x", "inline": {"a": Attachment(b"x", "a")}}, "does not show 'a'"),
        ({"html": "x", "inline": {"a b": Attachment(b"x", "a")}}, "inline: 'a b' is no name"),
        ({"html": "<img src='cid:a'>"}, "html shows 'cid:a'"),
        ({"calendar": "x"}, "calendar is no iCalendar"),
        *(
            ({"calendar": INVITATION.replace(*changed)}, "calendar needs one METHOD")
            for changed in (
                ("METHOD:REQUEST\n", ""),
                ("METHOD:REQUEST\nBEGIN:VEVENT", "BEGIN:VEVENT\nMETHOD:REQUEST"),
                ("METHOD:REQUEST", "METHOD:REQUEST\nMETHOD:CANCEL"),
                ("METHOD:REQUEST", "METHOD:A B"),
            )
        ),
    ],
)  # fmt: skip
def test_a_mistake_names_its_argument_and_the_remedy(options: dict[str, Any], why: str) -> None:
    with pytest.raises((LocalProtocolError, AddressError), match=why):
        _ = message(**options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"to": 3}, "to: give one, a list or None, not int"),
        ({"sender": None}, "sender: give 'bob"),
        ({"date": "2030-01-01"}, "date: give a datetime"),
        ({"headers": "X: y"}, "headers: give a dict"),
        ({"headers": {3: "X"}}, "headers: a name is a str"),
        ({"headers": {"X": 3}}, r"headers\['X'\]: give a str"),
        ({"html": "x", "inline": ["a"]}, "inline: give a dict"),
        ({"to": [3]}, r"to\[0\]: give 'bob@example.net'"),
        ({"to": b"bob@x.test"}, "to: give one, a list or None, not bytes"),
        ({"cc": {"bob@x.test": "Bob"}}, "cc: give one, a list or None, not dict"),
        ({"attachments": {"pyproject.toml": b"x"}}, "attachments: give one, .* not dict"),
        ({"list_unsubscribe": b"https://x.test"}, "list_unsubscribe: give one, .* not bytes"),
        ({"in_reply_to": b"Message-ID: <a@b>"}, "in_reply_to: give a message or .*, not bytes"),
        ({"to": ("a@x.test", "b@x.test", "c@x.test")}, r"to: give .* are a list"),
        ({"cc": ("a@x.test",)}, r"cc: give .*, not \('a@x.test',\); several .* are a list"),
        ({"bcc": [["a@x.test", "b@x.test"]]}, r"bcc\[0\]: give .* are a list"),
        ({"sender": ["a@x.test", "b@x.test"]}, r"sender: give .*, not \['a@x.test', 'b@x.test'\]$"),
        ({"subject": b"x"}, "subject: give a str"),
        ({"text": b"x"}, "text: give a str"),
        ({"attachments": b"x"}, "attachments: bytes have no name"),
        ({"attachments": [3]}, r"attachments\[0\]: give a path, .* or .*, not int"),
        *(
            ({name: io.StringIO("pyproject.toml")}, f"{name}: give one, a list or None")
            for name in ("to", "cc", "bcc", "reply_to", "references", "list_unsubscribe")
        ),
        ({"to": EmailMessage()}, "to: give one, a list or None, not EmailMessage"),
        ({"cc": bytearray(b"bob@x.test")}, "cc: give one, a list or None, not bytearray"),
        ({"attachments": memoryview(b"x")}, "attachments: give one, .* not memoryview"),
        ({"attachments": io.StringIO("pyproject.toml")}, "attachments: open .* in binary mode"),
        ({"attachments": [io.StringIO()]}, r"attachments\[0\]: open .* in binary mode"),
        ({"html": "<img src=cid:a>", "inline": {"a": io.StringIO("x")}}, "'a'.*: open .* binary"),
    ],
)
def test_a_wrong_type_names_its_argument(options: dict[str, Any], why: str) -> None:
    with pytest.raises((TypeError, AddressError), match=why):
        _ = message(**options)


@pytest.mark.parametrize(
    ("data", "name", "media_type", "field"),
    [
        ("Grüße", "a.csv", None, 'text/csv; charset="utf-8"'),
        ("Grüße", "a.txt", "TEXT/plain", 'TEXT/plain; charset="utf-8"'),
        (b"abc", "a.csv", None, "text/csv"),
        (b"Gr\xfc\xdfe", "a.csv", None, "text/csv"),
        (b"Gr\xfc\xdfe", "a.csv", "text/csv; charset=iso-8859-1", "text/csv; charset=iso-8859-1"),
        (b"abc", "a.csv", "text/csv;charset=UTF-8", "text/csv; charset=UTF-8"),
        ("ü", "a.csv", "text/csv; header=present", "text/csv; header=present; charset=utf-8"),
        ("ü", "a.x", 'text/x; a="b c"', 'text/x; a="b c"; charset=utf-8'),
        ("ü", "a.pdf", "application/pdf", "application/pdf"),
    ],
)
def test_an_attached_text_says_its_charset(
    data: str | bytes, name: str, media_type: str | None, field: str
) -> None:
    octets = data if isinstance(data, bytes) else data.encode()
    (part,) = parsed(message(attachments=Attachment(octets, name, media_type))).iter_attachments()
    assert part["Content-Type"].replace('"', "") == field.replace('"', "")
    assert part.get_payload(decode=True) == octets
    if isinstance(data, str) and part.get_content_maintype() == "text":
        assert part.get_content() == data


@pytest.mark.parametrize(
    "media_type",
    [
        *(
            "text/csv;",
            "text/csv; charset",
            "text/csv; charset=",
            'text/csv; a="b\r\nX: y"',
            "text",
        ),
        *("text/csv charset=utf-8", 'text/csv; a="b', "multipart/mixed; boundary=x", "text/a/b"),
    ],
)
def test_parameters_of_a_media_type_are_looked_at(media_type: str) -> None:
    with pytest.raises(LocalProtocolError, match="is no media type of a file"):
        _ = message(attachments=Attachment(b"x", "a.csv", media_type))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, f"<https://x.test/{'a' * 1200}>") for name in ("List-Archive", "Archived-At")),
        *((name, "a" * 1200) for name in ("Feedback-ID", "Thread-Index", "Importance")),
        ("Disposition-Notification-To", f"{'a' * 1200}@x.test"),
    ],
)
def test_what_fits_in_no_line_is_refused(name: str, value: str) -> None:
    with pytest.raises((LocalProtocolError, AddressError), match=r"line of 998|longer than"):
        _ = message(headers={name: value})


def test_what_is_longer_than_a_line_is_folded_between_its_words() -> None:
    identifiers = " ".join(f"<{letter * 890}@x.test>" for letter in "abc")
    written = serialise(message(headers={"Original-Message-ID": identifiers}))
    assert max(map(len, written.split(b"\r\n"))) <= 998


def test_a_key_is_folded_where_programs_read_past_white_space() -> None:
    composed = message(headers={"Autocrypt": f"addr=ann@x.test; keydata={'A' * 3000}"})
    field = parsed(composed)["Autocrypt"]
    assert re.sub(r"\s", "", field) == f"addr=ann@x.test;keydata={'A' * 3000}"


@pytest.mark.parametrize("left", ["a,b", "a(b)", "a;b", "a:b", '"a"', "a\\b", "a[b]"])
def test_a_message_id_of_ours_has_nothing_special_in_it(left: str) -> None:
    for identifier in (f"<{left}@x.test>", f"<a@{left}>"):
        with pytest.raises(LocalProtocolError, match="is no Message-ID"):
            _ = message(message_id=identifier)


@pytest.mark.parametrize("uri", ["https://x", "http://x", "https://x.test", "mailto:a"])
def test_the_shortest_uris_are_such(uri: str) -> None:
    assert message(list_unsubscribe=uri)["List-Unsubscribe"] == f"<{uri}>"


def test_an_open_file_is_one_attachment_and_its_lines_are_no_paths(tmp_path: Path) -> None:
    upload = tmp_path / "upload.txt"
    _ = upload.write_text("pyproject.toml\n")
    with upload.open("rb") as file:
        (part,) = message(attachments=file).iter_attachments()
    assert part.get_filename() == "upload.txt"
    assert part.get_payload(decode=True) == upload.read_bytes()
    with upload.open("rb") as file:
        (part,) = message(attachments=[file]).iter_attachments()
    assert part.get_filename() == "upload.txt"
    with NamedTemporaryFile("w+", dir=tmp_path) as temporary:
        _ = temporary.write("pyproject.toml\n")
        _ = temporary.seek(0)
        with pytest.raises(TypeError, match="attachments: open the file in binary mode"):
            _ = message(attachments=temporary)
        with upload.open() as text, pytest.raises(TypeError, match="in binary mode"):
            _ = message(attachments=text)


@pytest.mark.parametrize(
    ("source", "why"), [(io.StringIO("x"), "source: .*binary mode"), (3, "source: .*not int")]
)
def test_an_attachment_says_itself_that_it_is_none(source: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        _ = Attachment(source, "x")


@pytest.mark.requirement("T5")
@given(
    st.sampled_from(
        ["subject", "to", "display name", "message_id", "header", "file name", "target"]
    ),
    st.text(st.sampled_from('\r\n \t:x@<>\x0b\x0c\x1c\x85\u2028,"'), max_size=8),
)
def test_nothing_breaks_out_of_its_field(place: str, text: str) -> None:
    evil = f"a{text}Evil: x{text}b"
    places: dict[str, Callable[[], EmailMessage]] = {
        "subject": lambda: message(subject=evil),
        "to": lambda: message(to=evil),
        "display name": lambda: message(to=(evil, "b@y.test")),
        "message_id": lambda: message(message_id=f"<{evil}@x>"),
        "header": lambda: message(headers={"X": evil}),
        "file name": lambda: message(attachments=[Attachment(b"", evil)]),
        "target": lambda: message(list_unsubscribe="https://" + evil),
    }
    try:
        composed = places[place]()
    except (LocalProtocolError, AddressError):
        return
    lines = re.split(rb"\r\n|\r|\n", serialise(composed))
    assert not [line for line in lines if line.lower().startswith(b"evil")]
