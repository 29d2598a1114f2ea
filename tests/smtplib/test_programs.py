"""What known programs do with headers, and what arrives when they send through us.

Each builds its messages as the program that it is named for does; none is imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email import message_from_string, policy
from email.header import Header
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formataddr, formatdate, getaddresses, make_msgid, parseaddr
from typing import Any

import pytest

import smtpx
from smtpx import smtplib
from smtpx.testing import Server

People = list[str | tuple[str, str]]

PLAIN: People = ["bob@y.test", "Eve <eve@y.test>"]
NAMES: People = [
    ("Müller, Jürgen", "j@y.test"),
    ("Doe, Jane", "jane@y.test"),
    ("A very long name for people who have a lot of them, and one more", "long@y.test"),
    ("Das Sekretariat für die Angelegenheiten der Straßen, Wege & Plätze", "amt@y.test"),
    ("名前が日本語のとても長い人、そしてもう少し長い名前の人", "nihon@y.test"),
]
HOME: People = [("Bob", "bob@bücher.example"), "eve@münchen.example"]
KINDS = [PLAIN, NAMES, HOME]


def pairs(people: People) -> list[tuple[str, str]]:
    return [each if isinstance(each, tuple) else parseaddr(each) for each in people]


def written(people: People) -> list[str]:
    """In one string each, as a program's configuration has them."""
    return [
        each if isinstance(each, str) else str(Address(each[0], addr_spec=each[1]))
        for each in people
    ]


def known(people: People) -> list[tuple[str, str]]:
    """As they arrive: domains in A-labels (RFC 5890), names without the white space that folds."""
    return [("".join(name.split()), str(smtpx.Address.parse(spec))) for name, spec in pairs(people)]


def red_mail(sender: str, to: People, cc: People) -> EmailMessage:
    """Red Mail gives lists of strings to the `email` package."""
    message = EmailMessage(policy.default.clone(linesep="\r\n"))
    fields: dict[str, Any] = {
        "From": sender,
        "Subject": "Grüße",
        "To": written(to),
        "Cc": written(cc),
    }
    for name, value in {**fields, "Message-ID": make_msgid(), "Date": formatdate()}.items():
        message[name] = value
    message.set_content("hi\n")
    return message


def flask_mail(sender: str, to: People, cc: People) -> MIMEMultipart:
    """Flask-Mail encodes names by `Header`, and changes the policy of an older message."""

    def sanitized(address: str | tuple[str, str]) -> str:
        name, spec = parseaddr(address) if isinstance(address, str) else address
        local_part, domain = spec.split("@", 1)
        domain = domain.encode("idna").decode("ascii")
        return formataddr((Header(name, "utf-8").encode(), f"{local_part}@{domain}"))

    message = MIMEMultipart()
    message.attach(MIMEText("hi\n", "plain", "utf-8"))
    message["Subject"] = Header("Grüße", "utf-8").encode()
    message["From"] = sanitized(sender)
    message["To"] = ", ".join(sanitized(each) for each in to)
    message["Cc"] = ", ".join(sanitized(each) for each in cc)
    message["Date"] = formatdate(time.time(), localtime=True)
    message["Message-ID"] = make_msgid()
    message.policy = policy.SMTP
    return message


def older_django(sender: str, to: People, cc: People) -> MIMEText:
    """Django before 6.0 checks and encodes what is set in a `MIMEText`."""

    class SafeMIMEText(MIMEText):
        def __setitem__(self, name: str, value: Any) -> None:
            if not value.isascii() and name in ("From", "To", "Cc"):
                value = ", ".join(sanitized(each) for each in getaddresses([value]))
            elif not value.isascii() or name == "Subject":
                value = Header(value, "utf-8").encode()
            super().__setitem__(name, value)

    def sanitized(address: tuple[str, str]) -> str:
        name, spec = address
        local_part, domain = spec.rsplit("@", 1)
        domain = domain.encode("idna").decode("ascii")
        return formataddr((Header(name, "utf-8").encode(), f"{local_part}@{domain}"))

    message = SafeMIMEText("hi\n", "plain", "utf-8")
    message["Subject"], message["From"] = "Grüße", sender
    message["To"], message["Cc"] = ", ".join(written(to)), ", ".join(written(cc))
    message["Date"], message["Message-ID"] = formatdate(), make_msgid()
    return message


def newer_django(sender: str, to: People, cc: People) -> EmailMessage:
    """Django from 6.0 on sets strings, and then lists of addresses with their domains encoded."""
    message = EmailMessage(policy.SMTP)
    message.set_content("hi\n")
    message["Subject"], message["From"] = "Grüße", sender
    message["To"], message["Cc"] = ", ".join(written(to)), ", ".join(written(cc))
    message["Date"], message["Message-ID"] = formatdate(), make_msgid()
    for name, value in message.items():
        if isinstance(value, AddressHeader):
            addresses = [
                Address(each.display_name, each.username, each.domain.encode("idna").decode())
                for each in value.addresses
            ]
            message.replace_header(name, addresses)
    return message


def tutorial(sender: str, to: People, cc: People) -> MIMEText:
    """What many a tutorial shows: `MIMEText` with fields as they are typed."""
    message = MIMEText("hi\n", "plain", "utf-8")
    message["Subject"], message["From"] = "Grüße", sender
    message["To"], message["Cc"] = ", ".join(written(to)), ", ".join(written(cc))
    return message


def encoding_tutorial(sender: str, to: People, cc: People) -> MIMEText:
    """What the others show: each field a `Header`, its addresses encoded too."""
    message = MIMEText("hi\n", "plain", "utf-8")
    for name, value in [
        ("From", sender),
        ("To", ", ".join(written(to))),
        ("Cc", ", ".join(written(cc))),
    ]:
        message[name] = Header(value, "utf-8")  # type: ignore[assignment] # typeshed knows no Header
    message["Subject"] = Header("Grüße", "utf-8")  # type: ignore[assignment] # the same
    return message


PROGRAMS: list[Callable[[str, People, People], Message[Any, Any]]] = [
    red_mail, flask_mail, older_django, newer_django, tutorial, encoding_tutorial,
]  # fmt: skip


def by_smtplib(server: Server, message: Message[Any, Any]) -> None:
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        assert client.send_message(message) == {}


def by_client(server: Server, message: Message[Any, Any]) -> None:
    assert len(smtpx.send(message, server.url).accepted) > 1


def by_checking_client(server: Server, message: Message[Any, Any]) -> None:
    with smtpx.Client(server.url, check=smtpx.Check.FIX) as client:
        assert client.send(message).accepted


@pytest.mark.parametrize("way", [by_smtplib, by_client, by_checking_client])
@pytest.mark.parametrize("people", KINDS, ids=["plain", "names", "domains"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_program_builds_arrives_as_it_was_meant(
    program: Callable[[str, People, People], Message[Any, Any]], people: People, way: Any
) -> None:
    cc: People = ["carol@z.test"]
    message = program("Zoë Ånd <zoe@x.test>", people, cc)
    before = [(name, str(value)) for name, value in message.raw_items()]
    with Server() as server:
        way(server, message)
        (received,) = server.messages
    assert [(name, str(value)) for name, value in message.raw_items()] == before
    assert received.sender == "zoe@x.test"
    assert list(received.recipients) == [address for _, address in known([*people, *cc])]
    again = message_from_string(received.content.decode(), policy=policy.default + policy.strict)
    for field, expected in (("From", ["Zoë Ånd <zoe@x.test>"]), ("To", people), ("Cc", cc)):
        found = again[field].addresses
        shown = [("".join(each.display_name.split()), each.addr_spec) for each in found]
        assert shown == known(expected)  # type: ignore[arg-type] # a list of strings is one of both
    assert again["Subject"] == "Grüße"
    # The old module asks for SMTPUTF8 where a domain is not ASCII, and then writes the header so.
    assert received.content.isascii() or (way is by_smtplib and received.smtputf8)


def test_addresses_as_flask_mail_hands_them_to_sendmail() -> None:
    """With their names, which `Header` has encoded and folded."""
    sender = formataddr(
        (
            Header("Das Amt für Straßen, Wege und Plätze der Stadt " * 2, "utf-8").encode(),
            "a@x.test",
        )
    )
    assert "\n" in sender
    with Server() as server, smtplib.SMTP("127.0.0.1", server.port) as client:
        assert (
            client.sendmail(sender, [sender.replace("a@x", "b@y"), "Bob <bob@y.test>"], b"hi") == {}
        )
    (received,) = server.messages
    assert (received.sender, received.recipients) == ("a@x.test", ("b@y.test", "bob@y.test"))


@pytest.mark.parametrize(
    "evil", ["a@x.test\n b@y.test", "A <a@x\n .test>", "A\n<a@x.test>", "A <a@x.test>\n x"]
)
def test_a_fold_is_none_elsewhere(evil: str) -> None:
    with Server() as server, smtplib.SMTP("127.0.0.1", server.port) as client:
        with pytest.raises(ValueError, match="not an address"):
            client.sendmail(evil, ["b@y.test"], b"hi")
        with pytest.raises(ValueError, match="not an address"):
            client.sendmail("b@y.test", [evil], b"hi")
        assert server.messages == []
