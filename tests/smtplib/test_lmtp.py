"""LMTP: a reply for each recipient after the end of data (RFC 2033 §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smtpx import smtplib
from smtpx.testing import Extension, Server
from tests.smtplib.scripted import CLOSE, serving

EVERYONE = ["ann@example.net", "bob@example.net", "cid@example.net"]


class Overriding(smtplib.LMTP):
    """Goes step by step through its own methods."""

    def getreply(self) -> tuple[int, bytes]:
        return super().getreply()


KINDS = [smtplib.LMTP, Overriding]
EXTENSIONS = [frozenset({Extension.PIPELINING}), frozenset[Extension]()]


@pytest.fixture(params=EXTENSIONS, ids=["pipelining", "lock-step"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(
        lmtp=True,
        extensions=request.param,
        refuse_recipients={"bob@example.net": "550 no such user"},
        lmtp_replies={"cid@example.net": "452 mailbox full"},
    ) as server:
        yield server


def client_of(server: Any, kind: type[smtplib.LMTP] = smtplib.LMTP) -> smtplib.LMTP:
    return kind("127.0.0.1", server.port, "client.example.org", timeout=10)


@pytest.mark.requirement("T36")
@pytest.mark.parametrize("kind", KINDS)
def test_who_is_refused_before_and_after_the_content(
    server: Server, kind: type[smtplib.LMTP]
) -> None:
    with client_of(server, kind) as client:
        for _ in range(2):
            refused = client.sendmail("a@example.org", EVERYONE, "hi")
            assert {address: code for address, (code, _) in refused.items()} == {
                "bob@example.net": 550,
                "cid@example.net": 452,
            }
            assert client.noop()[0] == 250
    assert server.sessions[0].commands[0] == "lhlo client.example.org"
    assert not server.breaches


@pytest.mark.parametrize("kind", KINDS)
def test_all_refused_after_the_content(server: Server, kind: type[smtplib.LMTP]) -> None:
    with client_of(server, kind) as client:
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail("a@example.org", ["cid@example.net"], "hi")
        assert caught.value.smtp_code == 452
        assert client.noop()[0] == 250


@pytest.mark.parametrize("kind", KINDS)
def test_by_single_commands(server: Server, kind: type[smtplib.LMTP]) -> None:
    with client_of(server, kind) as client:
        client.ehlo()
        client.mail("a@example.org")
        for address in EVERYONE:
            client.rcpt(address)
        assert client.data("hi")[0] == 452
        assert [code for code, _ in client.data_replies] == [250, 452]
        assert client.noop()[0] == 250


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extensions", [["PIPELINING"], []])
@pytest.mark.parametrize(
    ("end", "refused"),
    [
        (b"250 a\r\n250 b\r\n250 c\r\n", {}),
        (b"250 a\r\n550 b\r\n250 c\r\n", {"bob@example.net": (550, b"b")}),
        (b"250 a\r\n421 bye\r\n", None),  # It answers bob; nobody knows of cid.
        (b"250 a\r\n", None),
        (b"250 a\r\n550 b\r\n2", None),
        (b"250 a\r\n999 b\r\n250 c\r\n", None),
    ],
)
def test_replies(
    kind: type[smtplib.LMTP], extensions: list[str], end: bytes, refused: object
) -> None:
    with serving({"END": end + CLOSE}, extensions=extensions) as server:
        client = client_of(server, kind)
        if refused is None:
            with pytest.raises(smtplib.SMTPServerDisconnected, match="in doubt"):
                client.sendmail("a@example.org", EVERYONE, "hi")
            assert client.sock is None
        else:
            assert client.sendmail("a@example.org", EVERYONE, "hi") == refused
        client.close()


def test_duplicates_have_a_reply_each() -> None:
    end = b"250 a\r\n550 b\r\n"
    with serving({"END": end}, extensions=["PIPELINING"]) as server, client_of(server) as client:
        refused = client.sendmail("a@example.org", ["bob@example.net"] * 2, "hi")
        assert refused == {"bob@example.net": (550, b"b")}
        assert client.noop() == (250, b"ok")


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    with Server(lmtp=True, path=path) as server:
        with smtplib.LMTP(str(path), local_hostname="x", timeout=5) as client:
            assert client.sock is not None
            assert client.sock.gettimeout() == 5
            assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
        assert len(server.messages) == 1


def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    client = smtplib.LMTP(local_hostname="x")
    with pytest.raises(FileNotFoundError):
        client.connect(str(tmp_path / "nobody"))
    assert client.sock is None


def test_a_system_without_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(smtplib.socket, "AF_UNIX", raising=False)
    with pytest.raises(OSError, match="no unix sockets"):
        smtplib.LMTP("/run/lmtp")
