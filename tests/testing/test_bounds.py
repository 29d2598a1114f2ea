"""A server that strangers reach: its sessions, their silence, and what they leave half sent."""

from __future__ import annotations

import contextlib
import os
import smtplib
import socket
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import smtpx
from smtpx.testing import Server, ServerTLS

ENVELOPE = smtpx.Envelope("ann@example.org", "bob@example.net")
LETTER = b"Subject: x\r\n\r\nhello\r\n"


@contextlib.contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), 20) as client:
        yield client


def heard(client: socket.socket) -> bytes:
    """What the server says until it ends the connection."""
    with contextlib.suppress(ConnectionError):
        return b"".join(iter(lambda: client.recv(65536), b""))
    return b""


def test_one_session_too_many_is_told_to_come_later() -> None:
    with Server(connection_limit=2) as server:
        with smtpx.Session(server.url) as one, smtplib.SMTP("127.0.0.1", server.port) as two:
            with pytest.raises(smtpx.GreetingRefused, match=r"421 4\.3\.2") as caught:
                _ = smtpx.send(LETTER, server.url, ENVELOPE)
            assert caught.value.transient
            assert one.send(LETTER, ENVELOPE).complete
            assert two.noop()[0] == 250
        _ = server.wait_until_idle()
        assert smtpx.send(LETTER, server.url, ENVELOPE).complete
        assert server.breaches == []


def test_one_too_many_under_tls_ends_without_a_handshake() -> None:
    with Server(connection_limit=1, tls=ServerTLS.IMPLICIT) as server, connected(server):
        server.wait_for(lambda: len(server.sessions) == 1)
        with connected(server) as other:
            assert heard(other) == b""


@pytest.mark.parametrize(
    ("options", "said", "told"),
    [
        ({}, b"", b"421 4.4.2 "),
        ({}, b"EHLO localhost\r\nNO", b"421 4.4.2 "),
        ({}, b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nhalf", b"421 4.4.2 "),
        ({"tls": ServerTLS.IMPLICIT}, b"\x16\x03", b""),
    ],
    ids=["nothing", "half a line", "half a mail", "half a handshake"],
)
def test_who_says_nothing_more_is_left(options: dict[str, Any], said: bytes, told: bytes) -> None:
    with Server(idle_timeout=0.2, **options) as server, connected(server) as client:
        client.sendall(said)
        (*_, last) = heard(client).splitlines() or [b""]
        assert last.startswith(told)
        assert bool(last) is bool(told)


def test_a_page_in_a_browser_gives_no_commands() -> None:
    """It can post to any port of its own machine, and the body is its author's."""
    body = b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nx\r\n.\r\n"
    with Server() as server, connected(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost:1025\r\n\r\n" + body)
        assert heard(client).count(b"\r\n") == 2  # the greeting, and that it is no command
        (record,) = server.wait_until_idle()
        assert server.messages == []
    assert not record.quit


def test_who_says_an_octet_now_and_then_is_left() -> None:
    with Server(idle_timeout=0.3) as server, connected(server) as client:
        client.settimeout(0.05)
        said = b""
        for _ in range(100):
            client.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                said += client.recv(65536)
            if b"421 " in said:
                break
        assert b"421 4.4.2 " in said


def test_who_says_something_is_not() -> None:
    with Server(idle_timeout=0.4) as server, smtpx.Session(server.url) as session:
        for _ in range(4):
            with contextlib.suppress(TimeoutError):
                server.wait_for(lambda: False, 0.12)
            assert session.noop().positive


BODY = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 2000


@pytest.mark.parametrize("chunking", [True, False])
def test_what_is_half_sent_is_bounded_over_all_sessions(chunking: bool) -> None:
    """Whoever comes with more is told to come later, and the others go on."""
    left_out = [] if chunking else ["CHUNKING"]
    with Server(unfinished_limit=200_000) as server:
        with smtplib.SMTP("127.0.0.1", server.port) as half:
            _ = half.ehlo("localhost")
            _ = half.mail("ann@example.org")
            _ = half.rcpt("bob@example.net")
            half.send(b"BDAT %d\r\n%b" % (len(BODY), BODY))
            assert half.getreply()[0] == 250
            with smtpx.Session(server.url, ignore_extensions=left_out) as session:
                with pytest.raises(smtpx.ContentRefused, match=r"452 4\.3\.1"):
                    _ = session.send(BODY * 4, ENVELOPE)
                assert session.send(LETTER, ENVELOPE).complete
            half.send(b"BDAT 0 LAST\r\n")
            assert half.getreply()[0] == 250
            # Nothing is half sent any more.
            assert smtpx.send(BODY, server.url, ENVELOPE).complete
        assert [len(message.content) for message in server.messages] == [
            len(LETTER),
            *[len(BODY)] * 2,
        ]
        assert server.breaches == []


def test_so_is_a_chunk_that_others_follow() -> None:
    with Server(unfinished_limit=100_000) as server, smtplib.SMTP("127.0.0.1", server.port) as half:
        _ = half.ehlo("localhost")
        _ = half.mail("ann@example.org")
        _ = half.rcpt("bob@example.net")
        said = []
        for _ in range(3):
            half.send(b"BDAT 50000\r\n" + b"x" * 50_000)
            said.append(half.getreply()[0])
    assert said == [250, 452, 503]


def test_so_are_recipients() -> None:
    with (
        Server(unfinished_limit=20_000) as server,
        smtplib.SMTP("127.0.0.1", server.port) as client,
    ):
        _ = client.ehlo("localhost")
        _ = client.mail("ann@example.org")
        said = [client.rcpt(f"bob{number}@example.net")[0] for number in range(60)]
        assert said[0] == 250
        assert said[-1] == 452
        assert client.data(LETTER)[0] == 250
        assert len(server.messages[0].recipients) == said.count(250)


def test_what_is_kept_of_a_session_is_bounded_in_octets() -> None:
    with Server(keep_sessions=10) as server, smtplib.SMTP("127.0.0.1", server.port) as client:
        for number in range(300):
            _ = client.docmd(f"BOGUS{number} {'x' * 5000}")
        _ = client.quit()
        (record,) = server.wait_until_idle()
    assert sum(map(len, record.commands)) < 200_000
    assert sum(len(said.text) for said in record.dialogue) < 200_000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_process_without_descriptors_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.1)
    resource: Any = import_module("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Server() as server, contextlib.ExitStack() as stack:
        free = [os.dup(0) for _ in range(6)]
        for each in free:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1] + 1, before[1]))
        try:
            clients = [socket.socket() for _ in range(4)]
            for client in clients:
                _ = stack.enter_context(client)
                client.settimeout(20)
                client.connect((server.host, server.port))
            assert clients[0].recv(100).startswith(b"220")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert clients[3].recv(100).startswith(b"220")
