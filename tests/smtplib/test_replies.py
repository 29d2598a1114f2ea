"""Replies that are malformed, endless, slow or cut off."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from typing import Any

import pytest

from smtpx import smtplib
from tests.smtplib.scripted import CLOSE, SILENCE, drip, serving


def client_of(server: Any, **options: Any) -> smtplib.SMTP:
    options.setdefault("timeout", 10)
    return smtplib.SMTP("127.0.0.1", server.port, "client.example.org", **options)


@pytest.mark.requirement("T31")
@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"+22 ok\r\n", (-1, b"+22 ok")),
        (b"2_0 ok\r\n", (-1, b"2_0 ok")),
        (b"HTTP/1.1 400 Bad Request\r\n", (-1, b"HTTP/1.1 400 Bad Request")),
        (b"\r\n", (-1, b"")),
        (b"299 hm\r\n", (-1, b"299 hm")),
        (b"2500 ok\r\n", (-1, b"2500 ok")),
        (b"650 odd\r\n", (650, b"odd")),
        (b"100 wait\r\n", (100, b"wait")),
        (b"250-a\r\n550 b\r\n", (-1, b"550 b")),
        (b"550-a\r\n250 b\r\n", (-1, b"250 b")),
    ],
)
def test_what_is_no_reply_closes_and_is_never_acceptance(
    octets: bytes, reply: tuple[int, bytes]
) -> None:
    with serving({"NOOP": octets}) as server:
        client = client_of(server)
        assert client.noop() == reply
        assert client.sock is None


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"250\r\n", (250, b"")),
        (b"250 \r\n", (250, b"")),
        (b"250-\r\n250\r\n", (250, b"\n")),
        (b"250 a \t\r\n", (250, b"a")),
        (b"250-a\n250 b\n", (250, b"a\nb")),
        (b"250 a\rb\r\n", (250, b"a\rb")),
        (b"250 \xff\r\n", (250, b"\xff")),
        (b"571 no\r\n", (571, b"no")),
        (b"499 no\r\n", (499, b"no")),
    ],
)
def test_replies_as_smtplib_gives_them(octets: bytes, reply: tuple[int, bytes]) -> None:
    with serving({"NOOP": octets}) as server, client_of(server) as client:
        assert client.noop() == reply
        assert client.sock is not None


@pytest.mark.requirement("T29")
@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"250 " + b"x" * 8200 + b"\r\n", "Line too long."),
        (b"x" * 100_000, "Line too long."),
        (b"250-x\r\n" * 1100 + b"250 x\r\n", "Reply too large."),
        ((b"250-" + b"x" * 5000 + b"\r\n") * 20, "Reply too large."),
    ],
)
def test_what_does_not_end(octets: bytes, text: str) -> None:
    with serving({"NOOP": octets}) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            client.noop()
        assert caught.value.args == (500, text)
        assert client.sock is None


@pytest.mark.requirement("T29")
def test_memory_stays_small_whatever_comes() -> None:
    def endless(connection: socket.socket, octets: bytes) -> None:
        connection.sendall(octets)
        if octets.startswith(b"250-endless"):
            for _ in range(2000):
                connection.sendall(octets * 500)

    with serving({"NOOP": b"250-endless\r\n"}, write=endless) as server:
        client = client_of(server)
        tracemalloc.start()
        try:
            with pytest.raises(smtplib.SMTPResponseException) as caught:
                client.noop()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert caught.value.args == (500, "Reply too large.")
        assert client.sock is None
        assert peak < 8_000_000


@pytest.mark.requirement("T19")
@pytest.mark.parametrize("cut", [b"", b"2", b"250 queu", b"250-a\r\n", b"250-a\r\n250"])
def test_a_reply_that_is_cut_off(cut: bytes) -> None:
    with serving({"NOOP": cut + CLOSE}) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="unexpectedly closed"):
            client.noop()
        assert client.sock is None


@pytest.mark.parametrize("verb", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END", "QUIT"])
@pytest.mark.parametrize("extensions", [["PIPELINING"], []])
def test_silence_ends_with_the_timeout(verb: str, extensions: list[str]) -> None:
    with (
        serving({verb: SILENCE}, extensions=extensions) as server,
        pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"),
    ):
        client = client_of(server, timeout=0.2)
        client.sendmail("a@example.org", "b@example.net", "hi")
        client.quit()


@pytest.mark.requirement("T30a")
@pytest.mark.parametrize("verb", ["NOOP", "MAIL", "END"])
@pytest.mark.parametrize("extensions", [["PIPELINING"], []])
def test_a_drip_fed_reply_has_one_deadline(verb: str, extensions: list[str]) -> None:
    done = threading.Event()

    def write(connection: socket.socket, octets: bytes) -> None:
        if octets.startswith(b"250 drip"):
            drip(connection, octets, done, 0.02)
        else:
            connection.sendall(octets)

    reply = b"250 drip" + b"." * 200 + b"\r\n"
    with serving({verb: reply}, extensions=extensions, write=write) as server:
        client = client_of(server)
        client.ehlo()
        assert client.sock is not None
        # Each octet comes well within it, the whole reply would take ten times as long.
        client.sock.settimeout(0.4)
        try:
            with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
                client.noop()
                client.sendmail("a@example.org", "b@example.net", "hi")
        finally:
            done.set()
        assert client.sock is None


def test_the_timeout_of_the_socket_is_as_it_was() -> None:
    def write(connection: socket.socket, octets: bytes) -> None:
        for start in range(0, len(octets), 3):
            connection.sendall(octets[start : start + 3])
            time.sleep(0.001)

    with serving(write=write) as server, client_of(server, timeout=7) as client:
        client.ehlo()
        assert client.sock is not None
        assert client.sock.gettimeout() == 7
        client.sendmail("a@example.org", "b@example.net", "hi")
        assert client.sock.gettimeout() == 7
        client.sock.settimeout(None)
        client.sendmail("a@example.org", "b@example.net", "hi")
        assert client.sock.gettimeout() is None


def test_who_reads_the_file_himself_has_the_timeout_for_each_read() -> None:
    with serving() as server, client_of(server) as client:
        assert client.sock is not None
        client.sock.settimeout(1)
        client.noop()
        time.sleep(1.1)
        client.send(b"NOOP\r\n")
        assert client.file.readline() == b"250 ok\r\n"


def test_an_interrupt_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"MAIL": SILENCE}) as server:
        client = client_of(server)
        client.ehlo()

        def interrupted() -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(client.file, "first", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.sendmail("a@example.org", "b@example.net", "hi")
        assert client.sock is None
