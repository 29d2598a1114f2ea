"""What one call is given is looked at first: before a connection, and at the call itself (R18)."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, PoolLimits, Timeouts, inbox
from smtpx.testing import SCRAM_MECHANISMS, Extension, Latency, Server, ServerTLS
from tests.faces.conftest import Face

CONTENT = b"Subject: x\r\n\r\nx\r\n"
ENVELOPE = Envelope("a@x.test", "b@x.test")


def message(**fields: str) -> EmailMessage:
    made = EmailMessage()
    for name, value in ({"From": "a@x.test", "To": "b@x.test"} | fields).items():
        if value:
            made[name] = value
    made.set_content("x\n")
    return made


@pytest.fixture
def url() -> Iterator[str]:
    """Of a port at which somebody would notice that we dial."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield f"smtp://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listening.accept()


async def arriving() -> AsyncIterator[bytes]:
    yield CONTENT


# One message.

WRONG_MESSAGES: dict[str, tuple[Any, str]] = {
    "text": ("Subject: x\n\nx\n", "encode it"),
    "a path": (Path("x.eml"), r"read_bytes\(\)"),
    "a text file": (io.StringIO("x"), "binary mode"),
    "an envelope": (ENVELOPE, "the message comes first"),
    "messages": ([message()], "send_many"),
    "texts": (["x"], "send_many"),
    "a dict": ({"From": "a@x.test"}, "send_many"),
    "nothing": (None, "not NoneType"),
    "a class": (EmailMessage, "not EmailMessage itself"),
}


@pytest.mark.parametrize("wrong", WRONG_MESSAGES)
def test_what_is_no_message_is_refused_before_anything_is_dialled(
    face: Face, url: str, wrong: str
) -> None:
    given, remedy = WRONG_MESSAGES[wrong]
    with face.client(url) as client:
        for send in (client.send, lambda *args: face.send(args[0], url, *args[1:])):
            with pytest.raises(TypeError, match=f"^message: give .*{remedy}"):
                _ = send(given, ENVELOPE)


@pytest.mark.parametrize("make", [list, tuple, iter, lambda pieces: io.BytesIO(b"".join(pieces))])
def test_content_in_pieces_is_a_message(face: Face, make: Callable[[list[bytes]], Any]) -> None:
    with Server() as server:
        assert face.send(make([CONTENT[:7], CONTENT[7:]]), server.url, ENVELOPE).accepted
    assert [received.content for received in server.messages] == [CONTENT]


def test_an_asynchronous_iterable_is_for_an_asynchronous_client(url: str) -> None:
    with smtpx.Client(url) as client, pytest.raises(TypeError, match="AsyncClient"):
        client.send(arriving(), ENVELOPE)  # type: ignore[arg-type] # the point
    with smtpx.Client(url) as client, pytest.raises(TypeError, match="AsyncClient"):
        client.send_many(arriving())  # type: ignore[arg-type] # the point


@pytest.mark.parametrize("envelope", [("a@x.test", "b@x.test"), "b@x.test", ["b@x.test"], {}, 0])
def test_an_envelope_is_an_envelope(face: Face, url: str, envelope: Any) -> None:
    with face.client(url) as client:
        for send in (client.send, lambda *args: face.send(args[0], url, *args[1:])):
            with pytest.raises(TypeError, match=r"^envelope: give a smtpx\.Envelope\(sender, rec"):
                _ = send(CONTENT, envelope)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (message(From=""), "no From"),
        (message(To=""), "no recipient"),
        (message(To="b@x..test"), "is not a domain"),
        (CONTENT, "give an Envelope"),
        (io.BytesIO(CONTENT), "give an Envelope"),
    ],
)
def test_nobody_is_dialled_for_what_nobody_sends_or_gets(
    face: Face, url: str, given: Any, why: str
) -> None:
    with face.client(url) as client:
        for send in (client.send, lambda each: face.send(each, url)):
            with pytest.raises(smtpx.SMTPError, match=why):
                _ = send(given)


def test_a_check_refuses_before_anything_is_dialled(face: Face, url: str) -> None:
    with pytest.raises(smtpx.CheckFailed):
        _ = face.send(message(), url, check=smtpx.Check.REFUSE)


def test_a_call_that_is_wrong_does_not_end_the_session(face: Face) -> None:
    with Server() as server, face.session(server.url) as session:
        calls: list[Callable[[], object]] = [
            lambda: session.send("x", ENVELOPE),
            lambda: session.send(CONTENT, "b@x.test"),
            lambda: session.send(CONTENT, ENVELOPE, all_or_nothing=1),
            lambda: session.command(7),
            lambda: session.verify(None),
            lambda: session.xclient(name=7),
            lambda: session.xclient(nmae="x"),
        ]
        for call in calls:
            with pytest.raises(TypeError):
                _ = call()
        assert session.send(CONTENT, ENVELOPE).accepted
    assert len(server.sessions) == 1


# Several messages.


@pytest.mark.parametrize(
    ("argument", "value", "error", "allowed"),
    [
        ("connections", 0, ValueError, "connections=0: give 1 or more"),
        ("connections", -1, ValueError, "connections=-1: give 1 or more"),
        ("connections", True, TypeError, "connections: give an int, not bool"),
        ("connections", 2.0, TypeError, "connections: give an int, not float"),
        ("connections", "2", TypeError, "connections: give an int, not str"),
        ("connections", None, TypeError, "connections: give an int, not NoneType"),
        ("connections", 6, ValueError, r"opens 5 at most: .*smtpx\.PoolLimits\(open=6\)"),
        ("window", 0, ValueError, "window=0: give 1 or more"),
        ("window", True, TypeError, "window: give an int, not bool"),
        ("window", 64.0, TypeError, "window: give an int, not float"),
        ("on_doubt", "x", ValueError, "on_doubt='x': give 'report' or 'resend'"),
        ("on_doubt", True, TypeError, "on_doubt: give 'report' or 'resend', not bool"),
        ("on_doubt", None, TypeError, "on_doubt: give 'report' or 'resend', not NoneType"),
    ],
)
def test_send_many_complains_when_it_is_called(
    face: Face, url: str, argument: str, value: Any, error: type[Exception], allowed: str
) -> None:
    with face.client(url) as client, pytest.raises(error, match=f"^{allowed}|{allowed}$"):
        _ = client.send_many([message()], **{argument: value})


def test_no_more_connections_than_the_pool_has(face: Face, url: str) -> None:
    with face.client(url, pool=PoolLimits(open=2)) as client:
        with pytest.raises(ValueError, match="opens 2 at most"):
            _ = client.send_many([], connections=3)
        assert list(client.send_many([], connections=2)) == []


@pytest.mark.parametrize(
    "messages",
    [
        message(),
        CONTENT,
        "x",
        ENVELOPE,
        (message(), ENVELOPE),
        io.BytesIO(CONTENT),
        {"x": message()},
        None,
        7,
    ],
    ids=lambda given: type(given).__name__,
)
def test_one_message_is_no_list_of_messages(face: Face, url: str, messages: Any) -> None:
    with face.client(url) as client, pytest.raises(TypeError, match=r"^messages: give a list"):
        _ = client.send_many(messages)


@pytest.mark.parametrize("chunking", [True, False])
def test_an_item_that_is_wrong_is_a_result_and_stops_no_other(face: Face, chunking: bool) -> None:
    extensions = {Extension.PIPELINING} | ({Extension.CHUNKING} if chunking else set())
    items = [
        message(),
        "x",
        (CONTENT, "b@x.test"),
        (Path("x"), ENVELOPE),
        message(),
        [message(), ENVELOPE],
    ]
    with Server(extensions=extensions) as server, face.client(server.url) as client:
        told = {id(result.message): result for result in client.send_many(items)}
    results = [told[id(item[0] if isinstance(item, tuple) else item)] for item in items]
    assert [bool(result.accepted) for result in results] == [True, False, False, False, True, False]
    assert "envelope: give a smtpx.Envelope" in str(results[2].error)
    assert "a message and its envelope are a tuple" in str(results[5].error)
    assert len(server.messages) == 2


def test_a_tuple_is_a_message_and_its_envelope(face: Face) -> None:
    items = [message(), (message(), ENVELOPE, 7)]
    with Server() as server, face.client(server.url) as client:
        results = client.send_many(items)
        assert next(results).accepted
        with pytest.raises(TypeError, match="messages: give tuples of message and envelope"):
            _ = next(results)


# Settings.


@pytest.mark.parametrize("given", [None, 25, b"smtp://x", ENVELOPE, message()])
def test_an_endpoint_is_a_url(face: Face, given: Any) -> None:
    for make in (face.client, face.session, lambda url: face.send(message(), url)):
        with pytest.raises(TypeError, match=r"^endpoint: give a URL such as 'smtp://localhost'"):
            _ = make(given)


def test_a_variable_that_is_not_set_is_guessed(face: Face) -> None:
    with pytest.raises(TypeError, match="not NoneType: is the variable set"):
        _ = face.client(None)


def test_swapped_arguments(face: Face) -> None:
    with pytest.raises(TypeError, match=r"^endpoint: give a URL .*, not EmailMessage"):
        _ = face.send("smtp://127.0.0.1", message())


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("time_out", "timeout"),
        ("timeous", "timeouts"),
        ("credential", "credentials"),
        ("username", "credentials"),
        ("password", "credentials"),
        ("pasword", "credentials"),
        ("use_tls", "tls"),
        ("local_hostname", "client_name"),
        ("source_adress", "source_address"),
        ("ssl", "tls"),
        ("verify", "tls"),
        ("keyfile", "tls"),
        ("debuglevel", "observer"),
        ("dkim", "signer"),
        ("ehlo", "client_name"),
    ],
)
def test_an_unknown_option_is_guessed(face: Face, option: str, meant: str) -> None:
    for make in (face.client, face.session):
        with pytest.raises(TypeError, match=rf"{option} \(did you mean {meant}\?\); known are tls"):
            _ = make("smtp://127.0.0.1", **{option: 1})


def test_an_option_that_nothing_is_like_is_only_named(face: Face) -> None:
    with pytest.raises(TypeError, match=r"^unknown option: zzz; known are"):
        _ = face.client("smtp://127.0.0.1", zzz=1)
    with pytest.raises(TypeError, match=r"^pool: a Client has one"):
        _ = face.session("smtp://127.0.0.1", pool=PoolLimits())


def test_timeout_is_the_time_for_a_whole_call(face: Face) -> None:
    with Server(faults=[Latency(0.4)]) as server:
        for send in (
            lambda: face.send(message(), server.url, timeout=0.2),
            lambda: face.client(server.url, timeout=0.2).send(message()),
            lambda: face.session(server.url, timeout=0.2).open(),
        ):
            with pytest.raises(smtpx.TimedOut):
                _ = send()


def test_timeout_in_place_of_timeouts(face: Face) -> None:
    with Server() as server:
        assert face.send(message(), server.url, timeout=30).accepted
        assert face.send(message(), server.url, timeout=None, timeouts=Timeouts()).accepted
    with pytest.raises(smtpx.LocalProtocolError, match="timeout= and timeouts= both"):
        _ = face.client("smtp://127.0.0.1", timeout=30, timeouts=Timeouts())


# A package that is not installed.


KEY = smtpx.DKIMKey(
    "x.test",
    "s",
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n",
)


OPENTELEMETRY = "smtpx.integrations.opentelemetry"


@pytest.mark.parametrize(
    ("package", "extra", "use"),
    [
        ("python_socks", "proxy", lambda: smtpx.Client("smtp://x.test", proxy="socks5://x.test")),
        ("keyring", "keyring", lambda: smtpx.Credentials.from_keyring("x", "ann")),
        ("dkim", "dkim", lambda: smtpx.DKIMSigner(KEY)),
        ("scramp", "scram", lambda: smtpx.sasl.ScramSHA256(smtpx.Credentials("ann", "x"))),
        ("spnego", "spnego", lambda: smtpx.sasl.NTLM(smtpx.Credentials("ann", "x"))),
        ("trustme", "testing", lambda: Server(tls=ServerTLS.STARTTLS).start()),
        ("opentelemetry.metrics", "opentelemetry", lambda: __import__(OPENTELEMETRY)),
        ("starlette.applications", "inbox", lambda: inbox.app),
        ("dns.message", "delivery", lambda: smtpx.Delivery(client_name="me.test")),
        ("psycopg", "postgres", lambda: smtpx.Outbox("postgresql://x.test/mail")),
    ],
)
def test_a_missing_extra_is_one_error(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str, use: Callable[[], object]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for ours in (OPENTELEMETRY, "smtpx.inbox._pages"):
        monkeypatch.delitem(sys.modules, ours, raising=False)
    with pytest.raises(smtpx.ExtraMissing, match=rf"needs .*: install smtpx\[{extra}\]$") as caught:
        _ = use()
    assert caught.value.extra == extra
    assert isinstance(caught.value, ImportError)


def test_a_mechanism_whose_package_is_missing_is_told_so(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scramp", None)
    credentials = smtpx.Credentials("ann", "hunter-2")
    with Server(users={"ann": "hunter-2"}, mechanisms=SCRAM_MECHANISMS) as server:
        session = face.session(server.url, credentials=credentials, mechanisms=["SCRAM-SHA-256"])
        with pytest.raises(smtpx.ExtraMissing, match=r"SCRAM-SHA-256 needs scramp: install smtpx"):
            session.open()
