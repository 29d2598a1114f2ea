"""No line end and no other control character gets into a command, whatever the way in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.errors import MessageError
from email.message import EmailMessage, Message
from typing import Any

import pytest

from smtpx import smtplib
from tests.smtplib.scripted import ScriptedServer

INJECTIONS = ["\r\n", "\n", "\r", "\0", "\x7f", "\x1b", "\x08"]

Way = Callable[[smtplib.SMTP, str], object]

WAYS: dict[str, Way] = {
    "putcmd": lambda client, text: client.putcmd(f"noop{text}"),
    "putcmd args": lambda client, text: client.putcmd("noop", text),
    "docmd": lambda client, text: client.docmd("noop", f"a{text}b"),
    "helo": lambda client, text: client.helo(f"me{text}rset"),
    "ehlo": lambda client, text: client.ehlo(f"me{text}rset"),
    "help": lambda client, text: client.help(f"me{text}rset"),
    "verify": lambda client, text: client.verify(f"me{text}rset"),
    "vrfy": lambda client, text: client.vrfy(f"me{text}rset"),
    "expn": lambda client, text: client.expn(f"me{text}rset"),
    "mail": lambda client, text: client.mail(f"a@b{text}rset"),
    "mail name": lambda client, text: client.mail(f"Name{text}x <a@b>"),
    "mail quoted": lambda client, text: client.mail(f'"a{text}x"@b'),
    "mail options": lambda client, text: client.mail("a@b", [f"size=1{text}rset"]),
    "rcpt": lambda client, text: client.rcpt(f"a@b{text}rset"),
    "rcpt options": lambda client, text: client.rcpt("a@b", [f"NOTIFY=NEVER{text}rset"]),
    "sendmail sender": lambda client, text: client.sendmail(f"a@b{text}x", "c@d", ""),
    "sendmail recipient": lambda client, text: client.sendmail("a@b", f"c@d{text}x", ""),
    "sendmail recipients": lambda client, text: client.sendmail("a@b", ["e@f", f"c@d{text}x"], ""),
    "sendmail options": lambda client, text: client.sendmail("a@b", "c@d", "", [f"X=1{text}x"]),
    "sendmail rcpt_options": lambda client, text: client.sendmail(
        "a@b", "c@d", "", rcpt_options=[f"X=1{text}x"]
    ),
    "send_message sender": lambda client, text: client.send_message(letter(), f"a@b{text}x"),
    "send_message recipient": lambda client, text: client.send_message(
        letter(), to_addrs=[f"a@b{text}x"]
    ),
    "auth": lambda client, text: client.auth(f"PLAIN{text}x", lambda _=None: "secret"),
}


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "ann@example.org"
    message["To"] = "bob@example.net"
    return message


@pytest.fixture(scope="module", params=[["PIPELINING", "SIZE", "DSN"], ["SIZE", "DSN"]])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(extensions=request.param) as server:
        yield server


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("text", INJECTIONS, ids=repr)
@pytest.mark.parametrize("way", WAYS)
def test_every_entry_point_refuses(server: ScriptedServer, way: str, text: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, "me.example", timeout=10) as client:
        client.ehlo()
        server.writes.clear()
        with pytest.raises(ValueError, match=r"control character|prohibited|not an address"):
            WAYS[way](client, text)
        assert server.writes == []
        assert client.noop()[0] == 250


@pytest.mark.parametrize("text", INJECTIONS, ids=repr)
def test_the_local_hostname(server: ScriptedServer, text: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, f"hi{text}X", timeout=10) as client:
        server.writes.clear()
        with pytest.raises(ValueError, match="prohibited"):
            client.sendmail("a@b", "c@d", "")
        assert server.writes == []


def test_the_text_is_the_old_one(server: ScriptedServer) -> None:
    with (
        smtplib.SMTP("127.0.0.1", server.port, "me.example", timeout=10) as client,
        pytest.raises(ValueError, match=r"prohibited newline characters: ehlo hi\\r\\nX"),
    ):
        client.ehlo("hi\r\nX")


@pytest.mark.requirement("T4")
@pytest.mark.parametrize("text", ["ĊĊ", "嘊", "é", "\udc80"])
def test_nothing_is_squeezed_into_one_octet(server: ScriptedServer, text: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, "me.example", timeout=10) as client:
        server.writes.clear()
        for way in (client.help, client.verify, client.helo, client.putcmd):
            with pytest.raises(UnicodeEncodeError):
                way(text)
        with pytest.raises(ValueError):  # noqa: PT011 - UnicodeEncodeError or AddressError
            client.mail(f"{text}@example.org")
        assert server.writes == []


@pytest.mark.requirement("T5")
@pytest.mark.parametrize(
    "value",
    ["a\nBcc: eve@example.com", "a\r\n\r\nbody", "a\rX: 1", "a\n\nbody"],
)
def test_a_header_value_cannot_smuggle(server: ScriptedServer, value: str) -> None:
    old: Message[Any, Any] = Message()
    old["From"], old["To"] = "ann@example.org", "bob@example.net"
    old._headers.append(("Subject", value))  # type: ignore[attr-defined] # past every check
    with smtplib.SMTP("127.0.0.1", server.port, "me.example", timeout=10) as client:
        client.ehlo()
        server.writes.clear()
        with pytest.raises((ValueError, MessageError)):
            client.send_message(old)
        assert server.writes == []
