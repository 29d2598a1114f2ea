"""No Bcc is sent, however its line is written: each way to send agrees where a header ends."""

import email
import io
import smtplib
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

import smtpx
from smtpx import (
    Attachment,
    Check,
    CheckFailed,
    Client,
    Envelope,
    LocalProtocolError,
    Rule,
    Template,
)
from smtpx._headers import BCC, header_section, with_plain_names, without
from smtpx.outbox import Outbox
from smtpx.smtplib import SMTP
from smtpx.testing import Server

SECRET = "secret@x.test"
ENVELOPE = Envelope("a@b.test", ["c@d.test"])
STAMPS = "Date: Mon, 7 Jan 2030 12:00:00 +0000\r\nMessage-ID: <1@b.test>\r\n"
BEGIN = f"From: a@b.test\r\nTo: c@d.test\r\n{STAMPS}"
OBSOLETE = [f"Bcc : {SECRET}", f"bCC\t: {SECRET}", f"RESENT-BCC  : {SECRET}"]
CUT_OFF = [
    f"this is no field\r\nBcc: {SECRET}",
    f"this is no field\r\nTo: e@f.test\r\nBcc : e@f.test,\r\n {SECRET}",
    f"no field\r\nResent-Bcc: {SECRET}\r\nContent-Type: text/html",
    f"Content-Type: multipart/mixed; boundary=b\r\nno field\r\nBcc: {SECRET}",
    f"Content-Type: message/rfc822\r\nno field\r\nBcc: {SECRET}",
    f"Content-Type: text/plain; charset=utf-8\r\nk\xe4se\r\nBcc: {SECRET}",
]


def written(lines: str) -> bytes:
    return f"{BEGIN}{lines}\r\nSubject: hi\r\n\r\nhello\r\n".encode()


def read(lines: str) -> EmailMessage:
    message = email.message_from_bytes(written(lines), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize("eol", [b"\r\n", b"\n", b"\r"])
@pytest.mark.parametrize("lines", OBSOLETE)
def test_obsolete_fields_are_read_and_mended_as_fields(lines: str, eol: bytes) -> None:
    octets = written(lines).replace(b"\r\n", eol)
    assert {Rule.HEADER_MALFORMED, Rule.BCC_PRESENT} <= {each.rule for each in smtpx.check(octets)}
    mended = smtpx.mend(octets)
    assert SECRET.encode() not in mended
    assert mended.index(b"Subject: hi\r\n") < mended.index(b"\r\n\r\n")
    assert smtpx.mend(mended) == mended
    assert SECRET.encode() not in without(BCC, octets)


def test_an_obsolete_field_alone_is_mended() -> None:
    octets = written("X").replace(b"X\r\nSubject:", b"Subject \t:")
    assert smtpx.mend(octets) == written("X").replace(b"X\r\n", b"")
    assert [each.rule for each in smtpx.check(octets)] == [Rule.HEADER_MALFORMED]


def test_an_obsolete_from_is_no_line_of_a_mailbox_file() -> None:
    octets = written("X: y").replace(b"From:", b"From :")
    assert b"From: a@b.test\r\n" in smtpx.mend(octets)


@pytest.mark.parametrize("lines", OBSOLETE)
def test_a_signed_message_keeps_its_obsolete_fields(lines: str) -> None:
    octets = written(f"DKIM-Signature: v=1\r\n{lines}")
    assert smtpx.mend(octets) == octets
    with Server() as server, Client(server.url, check=Check.FIX) as client:
        with pytest.raises(CheckFailed, match="Bcc"):
            _ = client.send(octets, ENVELOPE)
        assert not server.messages


@pytest.mark.parametrize("lines", CUT_OFF)
def test_fields_behind_a_line_that_is_none_are_not_made_text(lines: str) -> None:
    octets = written(lines)
    assert smtpx.mend(octets) == octets
    for message in (octets, read(lines)):
        found = [each for each in smtpx.check(message, ENVELOPE) if each.rule is Rule.BCC_PRESENT]
        assert [each.severity.value for each in found] == ["error"]


def test_text_behind_a_line_that_is_no_field_is_still_text() -> None:
    octets = f"{BEGIN}Dear all,\r\nit is 5 o'clock.\r\n\r\nBye\r\n".encode()
    assert smtpx.mend(octets) == f"{BEGIN}\r\nDear all,\r\nit is 5 o'clock.\r\n\r\nBye\r\n".encode()


def by_pass(server: Server, lines: str) -> None:
    with Client(server.url) as client:
        _ = client.send(read(lines), ENVELOPE)


def by_pass_and_header(server: Server, lines: str) -> None:
    with Client(server.url) as client:
        _ = client.send(read(lines))


def by_fix_of_a_message(server: Server, lines: str) -> None:
    with Client(server.url, check=Check.FIX) as client:
        _ = client.send(read(lines), ENVELOPE)


def by_fix_of_octets(server: Server, lines: str) -> None:
    with Client(server.url, check=Check.FIX) as client:
        _ = client.send(written(lines), ENVELOPE)


def by_refusal_of_octets(server: Server, lines: str) -> None:
    with Client(server.url, check=Check.REFUSE) as client:
        _ = client.send(written(lines), ENVELOPE)


def by_smtplib(server: Server, lines: str) -> None:
    with SMTP(server.host, server.port) as client:
        _ = client.send_message(read(lines), to_addrs=["c@d.test"])


def by_smtplib_and_header(server: Server, lines: str) -> None:
    with SMTP(server.host, server.port) as client:
        _ = client.send_message(read(lines))


def by_template(server: Server, lines: str) -> None:
    with Client(server.url) as client:
        _ = client.send(*Template(read(lines)).render({}))


def by_template_of_octets(server: Server, lines: str) -> None:
    with Client(server.url) as client:
        _ = client.send(*Template.parse(written(lines)).render({}))


def by_attachment(server: Server, lines: str) -> None:
    attached = Attachment(written(lines), "a.eml", "message/rfc822")
    message = smtpx.compose(sender="a@b.test", to="c@d.test", text="hi", attachments=[attached])
    with Client(server.url) as client:
        _ = client.send(message)


WAYS = [
    *(by_pass, by_pass_and_header, by_fix_of_a_message, by_fix_of_octets, by_refusal_of_octets),
    *(by_smtplib, by_smtplib_and_header, by_template, by_template_of_octets, by_attachment),
]


@pytest.mark.parametrize("lines", [*OBSOLETE, *CUT_OFF])
@pytest.mark.parametrize("way", WAYS)
def test_no_bcc_is_sent(way: Callable[[Server, str], None], lines: str) -> None:
    with Server() as server:
        try:
            way(server, lines)
        except (smtpx.SMTPError, ValueError, smtplib.SMTPException) as error:
            assert "Bcc" in str(error)  # noqa: PT017 - it may also be sent without
        assert not any(SECRET.encode() in message.content for message in server.messages)


@pytest.mark.parametrize("lines", [*OBSOLETE, *CUT_OFF, f"X: y\rBcc: {SECRET}"])
@pytest.mark.parametrize("begin", ["", "no field\r\n", "From a Mon Jan  7 12:00:00 2030\r\n"])
def test_no_bcc_is_kept_in_an_outbox(tmp_path: Path, begin: str, lines: str) -> None:
    octets = begin.encode() + written(lines)
    with Server() as server, Outbox(f"sqlite:///{tmp_path}/outbox.db") as outbox:
        kinds = (octets, bytearray(octets), io.BytesIO(octets), iter([octets]))
        ids = [outbox.put(message, ENVELOPE) for message in kinds]
        with pytest.raises(LocalProtocolError, match="Bcc"):
            _ = outbox.put(read(f"no field\r\nBcc: {SECRET}"), ENVELOPE)
        assert all(outbox.deliver(id, server.url) for id in ids)
        assert len(server.messages) == 4
        assert not any(SECRET.encode() in message.content for message in server.messages)


def test_a_message_with_recipients_behind_its_header_has_none() -> None:
    for name in ("To", "Cc", "Bcc", "Resent-To"):
        message = read(f"no field\r\n{name}: {SECRET}")
        with pytest.raises(LocalProtocolError, match="write each field as name"):
            _ = Envelope.from_message(message)


def test_a_name_with_white_space_that_a_program_set_is_not_written() -> None:
    message = read("X: y")
    message._headers.append(("Bcc ", SECRET))  # type: ignore[attr-defined] # past the policy
    with pytest.raises(LocalProtocolError, match="is not one field"):
        _ = smtpx.flatten(message)


@pytest.mark.parametrize(
    ("octets", "header"),
    [
        (b"A: b\r\n\r\nhi", b"A: b\r\n"),
        (b"A: b\n\nhi", b"A: b\n"),
        (b"A: b\r\rhi", b"A: b\r"),
        (b"A: b\n\r\nhi\r\n\r\n", b"A: b\n"),
        (b"A: b\r\nB: c", b"A: b\r\nB: c"),
        (b"\r\nA: b\r\n\r\n", b""),
        (b"\nA: b\n\n", b""),
        (b"", b""),
    ],
)
def test_a_header_ends_at_the_first_empty_line(octets: bytes, header: bytes) -> None:
    assert header_section(octets) == header


def test_names_are_plain_in_the_header_alone() -> None:
    octets = b"A : b\r\n C : d\r\nE\t : f\r\nno field : g\r\n\r\nH : i\r\n"
    plain = b"A: b\r\n C : d\r\nE: f\r\nno field : g\r\n\r\nH : i\r\n"
    assert with_plain_names(octets) == plain
