"""Messages of the `email` package: their envelope (RFC 5322 §3.6) and their octets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from email import message_from_bytes, policy
from email.header import Header
from email.message import EmailMessage, Message
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from itertools import product
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx._message.messages import AnyMessage, is_message
from smtpx._message.serialising import serialise
from smtpx.envelope import Envelope, Notify
from smtpx.errors import AddressError, LocalProtocolError, SMTPError

POLICIES = {
    "compat32": policy.compat32,
    "default": policy.default,
    "SMTP": policy.SMTP,
    "SMTPUTF8": policy.SMTPUTF8,
    "HTTP": policy.HTTP,
}
every_policy = pytest.mark.parametrize("name", POLICIES)
KINDS: dict[str, Callable[[], AnyMessage]] = {
    "EmailMessage": EmailMessage,
    "Message": Message,
    "MIMEText": lambda: MIMEText("hi\n"),
    "MIMEMultipart": MIMEMultipart,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def parsed(header: str, name: str = "default", body: str = "\nhi\n") -> AnyMessage:
    return message_from_bytes((header + body).encode(), policy=POLICIES[name])


def raw(name: str, *fields: tuple[str, str]) -> AnyMessage:
    """A message whose header values passed no check, as a parser or a subclass can make it."""
    message = Message(POLICIES[name])
    for field in fields:
        message._headers.append(field)  # type: ignore[attr-defined] # past the policy's checks
    message.set_payload("BODY")
    return message


def recipients(message: AnyMessage) -> list[str]:
    return [str(recipient) for recipient in Envelope.from_message(message).recipients]


def fields_and_body(octets: bytes) -> tuple[list[str], bytes]:
    """How a receiver reads it who takes any CR or LF for a line end."""
    lines = re.sub(rb"\r\n|\r|\n", b"\n", octets)
    header, _, body = lines.partition(b"\n\n")
    unfolded = re.sub(rb"\n[ \t]", b" ", header)
    return [line.partition(b":")[0].decode() for line in unfolded.split(b"\n")], body


# --- is_message --------------------------------------------------------------------------------


@every_kind
def test_a_message_of_the_email_package_is_known(kind: str) -> None:
    assert is_message(KINDS[kind]())


@pytest.mark.parametrize("other", [b"x", "x", None, 3, [b"x"], object()])
def test_anything_else_is_no_message(other: object) -> None:
    assert not is_message(other)


def test_the_email_package_is_not_imported_to_find_out() -> None:
    code = (
        "import sys; from smtpx._message.messages import is_message; assert not is_message(b'x'); "
        "assert 'email.message' not in sys.modules, 'imported'"
    )
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


# --- Envelope.from_message -----------------------------------------------------------------------


@every_kind
@pytest.mark.requirement("RFC 5322 §3.6.3")
def test_to_cc_and_bcc_get_it_each_once(kind: str) -> None:
    message = KINDS[kind]()
    message["From"] = "Ann <ann@x.test>"
    message["To"] = "Bob <bob@x.test>, eve@x.test"
    message["Cc"] = "bob@x.test, dan@x.test"
    message["Bcc"] = '"Quo, Ted" <ted@x.test>'
    envelope = Envelope.from_message(message)
    assert str(envelope.sender) == "ann@x.test"
    assert recipients(message) == ["bob@x.test", "eve@x.test", "dan@x.test", "ted@x.test"]


@every_policy
@pytest.mark.requirement("RFC 5321 §2.4")
def test_a_domain_is_the_same_in_capitals_and_a_local_part_is_not(name: str) -> None:
    """Of the spellings, the first is what is sent; so does the outbox."""
    to = "b@e.test, B@E.TEST, b@E.Test, c@b\u00fccher.test, c@XN--BCHER-KVA.test"
    message = parsed(f"From: a@x.test\nTo: {to}\n", name)
    envelope = Envelope.from_message(message, notify={"b@E.TEST": Notify.NEVER}, orcpt=True)
    assert [str(each) for each in envelope.recipients] == [
        "b@e.test", "B@E.TEST", "c@xn--bcher-kva.test",
    ]  # fmt: skip
    assert [each.notify for each in envelope.recipients] == [Notify.NEVER, None, None]


@every_policy
@pytest.mark.requirement("RFC 5322 §3.6.2")
def test_sender_goes_before_from_and_the_first_author_before_the_others(name: str) -> None:
    with_sender = parsed("From: a@x.test, b@x.test\nSender: c@x.test\nTo: d@x.test\n", name)
    without = parsed("From: a@x.test, b@x.test\nTo: d@x.test\n", name)
    assert str(Envelope.from_message(with_sender).sender) == "c@x.test"
    assert str(Envelope.from_message(without).sender) == "a@x.test"


@every_policy
@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("bob@x.test", ["bob@x.test"]),
        ("Team: a@x.test, B <b@x.test>;", ["a@x.test", "b@x.test"]),
        ("Team: a@x.test;, c@x.test", ["a@x.test", "c@x.test"]),
        ("undisclosed-recipients:;, a@x.test", ["a@x.test"]),
        ('"Doe, Jane" <jane@x.test>', ["jane@x.test"]),
        ('"a@evil.test" <bob@x.test>', ["bob@x.test"]),
        ("bob@x.test (eve@evil.test)", ["bob@x.test"]),
        ("=?utf-8?q?Eve=2C_eve=40evil=2Etest=2C?= <bob@x.test>", ["bob@x.test"]),
        ("=?utf-8?q?=22=2C_eve=40evil=2Etest=2C=22?= <bob@x.test>", ["bob@x.test"]),
        ("=?utf-8?q?x=3Eeve=40evil=2Etest=2C?= <bob@x.test>", ["bob@x.test"]),
        ('"b o b"@x.test', ['"b o b"@x.test']),
        ('"a@evil x"@internal.test', ['"a@evil x"@internal.test']),
        ("bob@[192.0.2.1]", ["bob@[192.0.2.1]"]),
    ],
)
def test_the_address_alone_counts(name: str, to: str, expected: list[str]) -> None:
    assert recipients(parsed(f"From: a@x.test\nTo: {to}\n", name)) == expected


@every_kind
@pytest.mark.requirement("RFC 6532")
def test_an_internationalized_address_is_read(kind: str) -> None:
    message = KINDS[kind]()
    message["From"] = "jürgen@x.test"
    message["To"] = "Bücher <bob@bücher.test>"
    assert recipients(message) == ["bob@xn--bcher-kva.test"]
    assert Envelope.from_message(message).needs_smtputf8


@every_policy
def test_a_field_may_come_more_than_once(name: str) -> None:
    message = parsed("From: a@x.test\nTo: b@x.test\nTo: c@x.test\n", name)
    assert recipients(message) == ["b@x.test", "c@x.test"]


@pytest.mark.parametrize("kind", [EmailMessage, Message])
def test_a_field_that_is_none_is_empty(kind: type[Message[Any, Any]]) -> None:
    """``message["Cc"] = cc``, where there is none."""
    message = cast("AnyMessage", kind())
    nothing: Any = None
    message["From"], message["To"], message["Cc"] = "a@x.test", "b@x.test", nothing
    assert recipients(message) == ["b@x.test"]
    assert b"None" not in serialise(message)
    lost = EmailMessage()
    lost["From"], lost["To"] = "a@x.test", ["b@x.test", None]
    with pytest.raises(LocalProtocolError, match="None in it is neither text nor an address"):
        _ = recipients(lost)


def test_a_header_object_is_read_too() -> None:
    message: Message[Header, Header] = Message()
    message["From"] = Header("Jürgen <a@x.test>", "utf-8")
    message["To"] = Header("Bücher <b@x.test>, c@x.test", "utf-8")
    assert recipients(cast("AnyMessage", message)) == ["b@x.test", "c@x.test"]


@every_policy
@pytest.mark.requirement("RFC 5322 §3.6.6")
def test_a_resent_message_takes_its_resent_fields(name: str) -> None:
    message = parsed(
        "Resent-Date: Mon, 7 Jan 2030 12:00:00 +0000\nResent-From: r@x.test\n"
        "Resent-To: s@x.test\nResent-Bcc: t@x.test\nFrom: a@x.test\nTo: b@x.test\n",
        name,
    )
    assert str(Envelope.from_message(message).sender) == "r@x.test"
    assert recipients(message) == ["s@x.test", "t@x.test"]


@every_policy
@pytest.mark.requirement("RFC 5322 §3.6.6")
@pytest.mark.parametrize("to", ["To", "Cc", "Bcc"])
def test_a_resent_message_without_its_date_goes_to_nobody_else(name: str, to: str) -> None:
    resent = f"resent-{to}: s@x.test\nResent-From: r@x.test\n"
    message = parsed(f"{resent}From: a@x.test\nTo: b@x.test\n", name)
    assert str(Envelope.from_message(message).sender) == "r@x.test"
    assert recipients(message) == ["s@x.test"]


def test_a_resent_field_that_is_none_is_not_there() -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Resent-To"] = "a@x.test", "b@x.test", None
    assert recipients(message) == ["b@x.test"]


@every_policy
@pytest.mark.requirement("RFC 5322 §3.6.6")
@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("To: b@x.test\n", "no From with an address"),
        ("From:\nTo: b@x.test\n", "no From with an address"),
        ("From: a@x.test\n", "no recipient"),
        ("From: a@x.test\nTo: undisclosed-recipients:;\n", "no recipient"),
        ("Resent-Date: x\nFrom: a@x.test\nTo: b@x.test\n", "no Resent-From"),
        ("Resent-Date: x\nResent-From: a@x.test\nTo: b@x.test\n", "no recipient in Resent-To"),
        ("Resent-To: s@x.test\nFrom: a@x.test\nTo: b@x.test\n", "no Resent-From"),
        ("Resent-Sender: r@x.test\nFrom: a@x.test\nTo: b@x.test\n", "no recipient in Resent-To"),
        *[
            (
                f"{field}: r@x.test\n{field}: s@x.test\nFrom: a@x.test\nTo: b@x.test\n",
                "more than once",
            )
            for field in ("Resent-Date", "Resent-From", "Resent-To")
        ],
    ],
)
def test_a_header_that_does_not_tell_is_refused_with_what_to_do(
    name: str, header: str, why: str
) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        Envelope.from_message(parsed(header, name))


@pytest.mark.requirement("T2")
@pytest.mark.parametrize("to", ["a@x.test, not an address, b@x.test", "b@x.test, c@x..test"])
def test_no_recipient_is_passed_over_for_being_malformed(to: str) -> None:
    for name in POLICIES:
        with pytest.raises((AddressError, LocalProtocolError)):
            Envelope.from_message(parsed(f"From: a@x.test\nTo: {to}\n", name))


@every_policy
@pytest.mark.requirement("T3")
@pytest.mark.parametrize(
    "to",
    [
        "ann@x.test; bob@x.test",
        "ann@x.test bob@x.test",
        "ann@x.test <bob@x.test>",
        "Ann <ann@x.test> <bob@x.test>",
        "Team: ann@x.test bob@x.test;",
        "Team: ann@x.test; bob@x.test",
        "ann@x.test)bob@x.test",
        "Ann ann@x.test",
        "<ann@x.test",
        "ann@x.test(",
        "Doe, Jane <ann@x.test>",
    ],
)
def test_what_can_only_be_guessed_is_refused_for_nobody_must_be_lost(name: str, to: str) -> None:
    with pytest.raises((LocalProtocolError, AddressError)):
        Envelope.from_message(parsed(f"From: a@x.test\nTo: {to}\n", name))
    with pytest.raises((LocalProtocolError, AddressError)):
        Envelope.from_message(parsed(f"From: {to}\nTo: a@x.test\n", name))


@every_policy
@pytest.mark.parametrize(
    "to",
    [
        "ann@x.test, , ",
        "Team: ann@x.test",
        "J. Doe <ann@x.test>",
        "=?utf-8?q?a?==?utf-8?q?b?= <ann@x.test>",
        "=?utf-8?q?a?=b <ann@x.test>",
        '"=?utf-8?q?a?=" <ann@x.test>',
        "=?utf-8?q?a b?= <ann@x.test>",
        "=?utf-8?b?w7w?= <ann@x.test>",
        "=?nonsense?q?a?= <ann@x.test>",
        "<@route.test:ann@x.test>",
        "ann @ x.test",
    ],
)
def test_what_is_odd_but_clear_is_read(name: str, to: str) -> None:
    assert recipients(parsed(f"From: a@x.test\nTo: {to}\n", name)) == ["ann@x.test"]


@given(st.text('ab@x.,;:"()<>[]\\=? \t', max_size=14), st.sampled_from(["compat32", "default"]))
@example("<", "default")
@example('"', "default")
@example(".:", "default")
@example("?@[,", "default")
@example("a:" * 3000, "compat32")
@example("(" * 3000, "compat32")
@example("(" * 3000, "default")
@pytest.mark.requirement("T8")
def test_whatever_stands_in_to_only_documented_errors_come(to: str, name: str) -> None:
    try:
        envelope = Envelope.from_message(parsed(f"From: a@x.test\nTo: {to}\n", name))
    except (LocalProtocolError, AddressError):
        return
    assert envelope.recipients


# --- serialise ---------------------------------------------------------------------------------


@every_kind
@pytest.mark.requirement("T37")
def test_bcc_is_left_out_and_the_callers_message_left_alone(kind: str) -> None:
    message = KINDS[kind]()
    message["From"] = "a@x.test"
    message["bcc"] = "secret@x.test"
    message["Bcc" if kind != "EmailMessage" else "X-Other"] = "secret@x.test"
    message["Resent-Bcc"] = "secret@x.test"
    message["Subject"] = "hi"
    before = message.as_bytes(), message.items()  # writing it gives a multipart its boundary
    octets = serialise(message)
    assert b"bcc" not in octets.lower()
    assert (message.as_bytes(), message.items()) == before
    assert message["Bcc"] == "secret@x.test"


@every_policy
def test_every_line_ends_with_crlf(name: str) -> None:
    for body in ("\na\nb\r\nc\rd", "\r\n\r\r\n\n", "\n"):
        octets = serialise(parsed("From: a@x.test\nSubject: hi\n", name, body))
        assert b"\n" not in octets.replace(b"\r\n", b"")
        assert b"\r" not in octets.replace(b"\r\n", b"")


@every_policy
@pytest.mark.parametrize("seven_bit", [False, True])
def test_an_ordinary_message_passes_unchanged(name: str, seven_bit: bool) -> None:
    octets = (
        b"Received: from a.test by b.test\r\n\tfor <c@x.test>; Mon, 7 Jan 2030 12:00:00 +0000\r\n"
        b"From: Ann <a@x.test>\r\nTo: b@x.test,\r\n c@x.test\r\nSubject: hi\r\n\r\nbody\r\n.\r\n"
    )
    message = message_from_bytes(octets, policy=POLICIES[name])
    assert serialise(message, seven_bit=seven_bit) == octets


def test_a_message_without_a_header_is_its_body() -> None:
    message = Message()
    message.set_payload("hi\n")
    assert serialise(message) == b"\r\nhi\r\n"


def test_mbox_froms_are_not_mangled() -> None:
    assert b"\r\nFrom here\r\n" in serialise(parsed("To: a@x.test\n", "compat32", "\nFrom here\n"))


@every_policy
@pytest.mark.requirement("RFC 6152")
@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: text/plain; charset=utf-8\n",
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: 8bit\n",
    ],
)
def test_eight_bit_text_is_kept_or_encoded_anew(name: str, header: str) -> None:
    message = parsed("From: a@x.test\n" + header, name, "\ngrüß dich\n")
    before = message.as_bytes()
    assert "grüß dich".encode() in serialise(message)
    octets = serialise(message, seven_bit=True)
    assert octets.isascii()
    again = message_from_bytes(octets, policy=policy.default)
    assert again.get_payload(decode=True).decode().split() == ["grüß", "dich"]  # type: ignore[union-attr] # bytes
    assert message.as_bytes() == before


@pytest.mark.requirement("RFC 6532")
def test_headers_are_utf8_only_where_asked_for() -> None:
    message = EmailMessage()
    message["From"] = "Jürgen <a@x.test>"
    message["Subject"] = "grüß dich"
    message.set_content("hi\n")
    assert serialise(message).isascii()
    assert "Subject: grüß dich\r\n".encode() in serialise(message, smtputf8=True)
    again = message_from_bytes(serialise(message), policy=policy.default)
    assert again["Subject"] == "grüß dich"


def test_a_message_whose_own_policy_is_smtputf8_is_written_as_asked_for() -> None:
    message = EmailMessage(policy.SMTPUTF8)
    message["Subject"] = "grüß dich"
    message.set_content("hi\n")
    assert serialise(message).isascii()


def test_attachments_survive() -> None:
    message = MIMEMultipart()
    message["From"] = "a@x.test"
    message.attach(MIMEText("grüß dich", "plain", "utf-8"))
    message.attach(MIMEApplication(bytes(range(256)), Name="käse.bin"))
    again = message_from_bytes(serialise(message))
    _, text, data = again.walk()
    assert text.get_payload(decode=True) == "grüß dich".encode()
    assert data.get_payload(decode=True) == bytes(range(256))


def test_a_signed_part_is_not_refolded() -> None:
    part = "Content-Type: text/plain;   charset=us-ascii\nX-Long: " + "word " * 40 + "end\n\nhi\n"
    octets = (
        "From: a@x.test\nMIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b;"
        f" micalg=x; protocol=y\n\n--b\n{part}\n--b\nContent-Type: y\n\nsig\n--b--\n"
    ).encode()
    for name in POLICIES:
        written = serialise(message_from_bytes(octets, policy=POLICIES[name]))
        assert part.replace("\n", "\r\n").encode() in written


def test_a_message_that_cannot_be_written_is_refused() -> None:
    message = parsed("Content-Type: text/plain; charset=nonsense\n", "default", "\n\xe9\n")
    with pytest.raises(LocalProtocolError, match="cannot be written"):
        serialise(message, seven_bit=True)


@pytest.mark.parametrize("value", [1, datetime(2026, 1, 1), ["a@x.test"], b"high"])
def test_a_field_that_is_no_text_is_named(value: Any) -> None:
    message = MIMEText("hi")
    message["X-Priority"] = value
    with pytest.raises(LocalProtocolError, match=r"the message's X-Priority is .*, and not text"):
        serialise(message)


# --- header injection --------------------------------------------------------------------------

INJECTIONS = [
    "x\r\nEvil: y",
    "x\nEvil: y",
    "x\rEvil: y",
    "x\r\n\r\nevil body",
    "x\n\nevil body",
    "x\n\r\nevil body",
    "x\n\r\n evil body",
    "x\r\r evil body",
    "x\r\nevil without a colon",
    "x\n",
    "\nEvil: y",
    "x\x0b\x0bevil body",
    "x\x0cEvil: y",
    "x\x0c\x0cevil body",
    "x\x1c\x1devil body",
    "x\x85\x85evil body",
    "x\u2028\u2029evil body",
    "é\x85\x85evil body",
    "=?utf-8?q?a=0D=0AEvil=3A_y?=",
    "=?utf-8?q?a=0D=0A=0D=0Aevil_body?=",
    "=?utf-8?q?a=0A=0Aevil_body?=" + " long" * 30,
]


@pytest.mark.requirement("T5")
@every_policy
@pytest.mark.parametrize("value", INJECTIONS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_value_stays_in_its_field_or_is_refused(name: str, value: str, place: int) -> None:
    names = ["From", "Subject", "X-Other"]
    values = ["a@x.test"] * 3
    values[place] = value
    for seven_bit, smtputf8 in product([False, True], repeat=2):
        message = raw(name, *zip(names, values, strict=True))
        try:
            octets = serialise(message, seven_bit=seven_bit, smtputf8=smtputf8)
        except LocalProtocolError:
            continue
        assert fields_and_body(octets) == (names, b"BODY"), (seven_bit, smtputf8)


@pytest.mark.requirement("T5")
@every_policy
@pytest.mark.parametrize("value", ["x\x0c\x0cevil body", "x\x0bEvil: y", "x\x1c\x1cevil", "x\x85y"])
def test_a_received_message_cannot_grow_fields_on_its_way_through(name: str, value: str) -> None:
    octets = f"From: a@x.test\nSubject: {value}\n\nBODY".encode()
    try:
        written = serialise(message_from_bytes(octets, policy=POLICIES[name]))
    except LocalProtocolError:
        return
    assert fields_and_body(written) == (["From", "Subject"], b"BODY")


@pytest.mark.requirement("T5")
@pytest.mark.parametrize("name", ["X\r\nEvil", "X: y\r\nEvil", "X Y", "", "X\0", "Xé", "X\n"])
def test_a_field_name_is_printable_ascii_without_a_colon(name: str) -> None:
    for kind in POLICIES:
        with pytest.raises(LocalProtocolError):
            serialise(raw(kind, (name, "x")))


@pytest.mark.requirement("T5")
@pytest.mark.parametrize("filename", ["a\r\nEvil: y", "a\r\n\r\nevil", 'a"\nEvil: y'])
def test_the_header_of_a_part_is_held_to_the_same(filename: str) -> None:
    message = MIMEMultipart()
    message["From"] = "a@x.test"
    part = MIMEText("hi")
    part.add_header("Content-Disposition", "attachment", filename=filename)
    message.attach(part)
    try:
        octets = serialise(message)
    except LocalProtocolError:
        return
    _, inner = message_from_bytes(octets).walk()
    assert "Evil" not in inner
    assert inner.get_payload() == "hi"


@pytest.mark.requirement("T5")
@given(
    st.lists(
        st.sampled_from([*"\r\n \tx:é\x0b\x0c\x1c\x1e\x85\u2028", "Evil: z", "=?utf-8?q?=0Ay?="]),
        max_size=10,
    ).map("".join),
    st.sampled_from(sorted(POLICIES)),
    st.integers(0, 2),
    st.booleans(),
)
def test_no_mix_of_line_ends_breaks_out(value: str, name: str, place: int, flag: bool) -> None:
    names = ["From", "Subject", "X-Other"]
    values = ["a@x.test"] * 3
    values[place] = value
    try:
        octets = serialise(raw(name, *zip(names, values, strict=True)), smtputf8=flag)
    except SMTPError:
        return
    assert fields_and_body(octets) == (names, b"BODY")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200))
def test_any_subject_without_line_ends_gets_through(subject: str) -> None:
    for message in (EmailMessage(), MIMEText("hi")):
        message["Subject"] = subject
        if isinstance(message, EmailMessage):
            message.set_content("hi\n")
        for smtputf8 in (False, True):
            names, body = fields_and_body(serialise(message, smtputf8=smtputf8))
            assert names == message.keys()
            assert body.strip() == b"hi"
