"""`send_message`: what the header says, and what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.generator import BytesGenerator
from email.message import EmailMessage
from email.mime.text import MIMEText
from io import BytesIO
from typing import Any
from unittest.mock import Mock

import pytest

from smtpx import smtplib
from smtpx.testing import USUAL_EXTENSIONS, Extension, Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def ascii_only() -> Iterator[Server]:
    with Server(extensions=USUAL_EXTENSIONS - {Extension.SMTPUTF8}) as server:
        yield server


def client_of(server: Server) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", server.port, "client.example.org", timeout=10)


def letter(**fields: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"From": "ann@example.org", "To": "bob@example.net", **fields}.items():
        message[name.replace("_", "-")] = value
    message.set_content("hello\n.\n")
    return message


def test_sender_and_recipients_are_those_of_the_header(server: Server) -> None:
    message = letter(Cc="Cid <cid@example.net>", Bcc="dan@example.net, eve@example.net")
    with client_of(server) as client:
        assert client.send_message(message) == {}
    (received,) = server.messages
    assert received.sender == "ann@example.org"
    assert received.recipients == tuple(
        f"{name}@example.net" for name in ("bob", "dan", "eve", "cid")
    )
    assert b"Bcc" not in received.content
    assert message["Bcc"] == "dan@example.net, eve@example.net"
    assert message_from_bytes(received.content).get_payload() == "hello\r\n.\r\n"


def test_recipients_may_come_from_an_iterator(server: Server) -> None:
    everyone = ["bob@example.net", "eve@example.net"]
    with client_of(server) as client:
        one_by_one: Any = iter(everyone)
        assert client.send_message(letter(), to_addrs=one_by_one) == {}
    assert server.messages[0].recipients == tuple(everyone)


@pytest.mark.parametrize("wrong", [b"bob@example.net", [None], [5]])
def test_a_recipient_that_is_no_text_is_named(server: Server, wrong: Any) -> None:
    with client_of(server) as client, pytest.raises(ValueError, match="the recipient is"):
        client.send_message(letter(), to_addrs=wrong)


def test_sender_goes_before_from(server: Server) -> None:
    with client_of(server) as client:
        client.send_message(letter(Sender="sue@example.org"))
    assert server.messages[0].sender == "sue@example.org"


def test_several_fields_of_one_name(server: Server) -> None:
    message = MIMEText("hi")
    message["From"] = "ann@example.org"
    message["To"] = "bob@example.net"
    message["To"] = "cid@example.net"
    with client_of(server) as client:
        client.send_message(message)
    assert server.messages[0].recipients == ("bob@example.net", "cid@example.net")


def test_a_message_that_was_resent(server: Server) -> None:
    message = letter(
        Resent_Date="Thu, 1 Jan 1970 17:42:00 +0000",
        Resent_From="rob@example.org",
        Resent_To="sid@example.net",
        Resent_Bcc="tim@example.net",
    )
    with client_of(server) as client:
        client.send_message(message)
    (received,) = server.messages
    assert (received.sender, received.recipients) == (
        "rob@example.org",
        ("sid@example.net", "tim@example.net"),
    )
    assert b"Resent-Bcc" not in received.content


def test_a_message_that_was_resent_twice(server: Server) -> None:
    message = MIMEText("hi")
    for day in ("1", "2"):
        message["Resent-Date"] = f"Thu, {day} Jan 1970 17:42:00 +0000"
    with client_of(server) as client, pytest.raises(ValueError, match="more than one 'Resent-'"):
        client.send_message(message)


@pytest.mark.parametrize("fields", [{}, {"From": "nobody:;"}, {"From": ""}])
def test_no_sender(server: Server, fields: dict[str, str]) -> None:
    message = MIMEText("hi")
    message["To"] = "bob@example.net"
    for name, value in fields.items():
        message[name] = value
    with client_of(server) as client:
        with pytest.raises(ValueError, match="no From with an address"):
            client.send_message(message)
        assert client.send_message(message, from_addr="") == {}
    assert [message.sender for message in server.messages] == [""]


def test_no_recipients(server: Server) -> None:
    message = letter()
    del message["To"]
    with client_of(server) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            client.send_message(message)
        assert caught.value.recipients == {}


def test_a_group_without_members(server: Server) -> None:
    message = letter(Bcc="bob@example.net")
    message.replace_header("To", "undisclosed-recipients:;")
    with client_of(server) as client:
        client.send_message(message)
    assert server.messages[0].recipients == ("bob@example.net",)


def test_what_sendmail_is_given() -> None:
    client: Any = smtplib.SMTP()
    client.ehlo = Mock(return_value=(200, b"ok"))
    client.sendmail, client.has_extn = Mock(), Mock(return_value=True)
    client.send_message(letter(), None, None, ["X=1"], ["Y=2"])
    client.send_message(letter(), "jő@example.org", "sá@example.net", ["X=1"])
    first, second = client.sendmail.call_args_list
    assert first.args[:2] == ("ann@example.org", ["bob@example.net"])
    assert first.args[3:] == (["X=1"], ["Y=2"])
    assert second.args[:2] == ("jő@example.org", "sá@example.net")
    assert second.args[3] == ("X=1", "SMTPUTF8", "BODY=8BITMIME")
    assert not first.kwargs


@pytest.mark.requirement("T37")
def test_non_ascii_local_parts_need_smtputf8(server: Server, ascii_only: Server) -> None:
    message = letter(Subject="¡hola!")
    message.replace_header("To", "Jürg <jürg@example.net>")
    with client_of(server) as client:
        client.send_message(message)
    assert server.messages[0].recipients == ("jürg@example.net",)
    assert "Subject: ¡hola!".encode() in server.messages[0].content
    with client_of(ascii_only) as client, pytest.raises(smtplib.SMTPNotSupportedError):
        client.send_message(message)


def test_a_non_ascii_domain_does_not(ascii_only: Server) -> None:
    with client_of(ascii_only) as client:
        client.send_message(letter(), to_addrs=["bob@bücher.example"])
    assert ascii_only.messages[0].recipients == ("bob@xn--bcher-kva.example",)


def test_a_message_of_the_old_kind_with_a_non_ascii_address(server: Server) -> None:
    message = MIMEText("hi")
    message["From"] = "ann@example.org"
    with client_of(server) as client:
        client.send_message(message, to_addrs="jürg@example.net")
    assert server.messages[0].recipients == ("jürg@example.net",)


@pytest.mark.parametrize("chosen", [policy.default, policy.compat32])
def test_a_display_name_of_another_charset_hides_no_address(server: Server, chosen: Any) -> None:
    source = "From: Jürg <ann@example.org>\r\nTo: Zoë <bob@example.net>, c@d.test\r\n\r\nhi\r\n"
    message = message_from_bytes(source.encode("latin-1"), policy=chosen)
    written = BytesIO()  # From CPython 3.13 on it encodes such a name.
    BytesGenerator(written).flatten(message, linesep="\r\n")
    with client_of(server) as client:
        client.send_message(message)
    arrived = server.messages[0]
    assert (arrived.sender, arrived.recipients) == (
        "ann@example.org",
        ("bob@example.net", "c@d.test"),
    )
    assert arrived.content == written.getvalue()


def test_an_address_of_another_charset_is_none(server: Server) -> None:
    source = "From: ann@example.org\r\nTo: jürg@example.net\r\n\r\nhi\r\n".encode("latin-1")
    with (
        client_of(server) as client,
        pytest.raises(ValueError, match="is not an address"),
    ):
        client.send_message(message_from_bytes(source))
    assert not server.messages


@pytest.mark.parametrize("chosen", [policy.default, policy.SMTP, policy.compat32, policy.strict])
def test_a_message_arrives_as_it_is(server: Server, chosen: Any) -> None:
    source = (
        b"From: ann@example.org\r\nTo: bob@example.net\r\nSubject: long "
        + b"word " * 40
        + b"\r\nX-Folded: a\r\n\tb\r\nX-Empty:\r\n\r\nbody \xe4\r\nFrom here\r\n"
    )
    with client_of(server) as client:
        client.send_message(message_from_bytes(source, policy=chosen))
    arrived = message_from_bytes(server.messages[0].content, policy=policy.default)
    sent = message_from_bytes(source, policy=policy.default)
    assert {n: " ".join(v.split()) for n, v in arrived.items()} == {
        n: " ".join(v.split()) for n, v in sent.items()
    }
    assert b"body \xe4\r\n" in server.messages[0].content
