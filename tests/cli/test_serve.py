"""``smtpx serve`` as a process: what it prints, where it listens, how it ends (U24, U26)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.testing import ReceivedMessage, Via

from .command import Done, environment, validator
from .command import smtpx as as_process
from .conftest import Run

ENVELOPE = smtpx.Envelope("ann@example.org", "bob@example.net")
LETTER = b"From: ann@example.org\r\nSubject: caught\r\n\r\nhi\r\n"


@contextmanager
def serving(home: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server at free ports: the process, where it takes mail, where its inbox is."""
    ports = ("--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0")
    process = subprocess.Popen(
        [sys.executable, "-m", "smtpx", "serve", *ports, *words],
        cwd=home,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        smtp = process.stderr.readline().split()[1].rstrip(",")
        inbox = "" if "--no-inbox" in words else process.stderr.readline().split()[1]
        yield process, smtp, inbox
    finally:
        if process.poll() is None:
            process.kill()
        _ = process.communicate(timeout=60)


def asked(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        octets: bytes = answer.read()
        return octets


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    return process.returncode, said


POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for one process")


@POSIX
def test_u24_it_ends_in_good_order_while_a_tab_is_open(home: Path) -> None:
    with serving(home, "--fault", "RCPT late@*: 451 4.3.0 later") as (process, smtp, inbox):
        assert smtpx.send(LETTER, smtp, ENVELOPE).complete
        found = json.loads(asked(f"{inbox}api/messages/wait?timeout=20&query=caught"))
        assert found["messages"][0]["sender"] == "ann@example.org"
        assert json.loads(asked(f"{inbox}api/faults"))["faults"]
        stream = urllib.request.urlopen(f"{inbox}api/events", timeout=30)
        assert stream.readline().startswith(b"retry:")
        code, said = ended(process)
        stream.close()
    assert code == 0
    assert "Traceback" not in said


@POSIX
def test_it_ends_at_once_while_mail_is_on_its_way(home: Path) -> None:
    with serving(home) as (process, smtp, _), smtpx.Session(smtp) as session:
        _ = session.command("MAIL FROM:<ann@example.org>")
        code, said = ended(process)
    assert (code, "Traceback" in said) == (0, False)


@POSIX
def test_lines_without_an_inbox(home: Path) -> None:
    with serving(home, "--no-inbox", "--jsonl", "--auth", "any") as (process, smtp, _):
        credentials = smtpx.Credentials("whoever", "whatever-it-is")
        assert smtpx.send(LETTER, smtp, ENVELOPE, credentials=credentials).complete
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert ended(process)[0] == 0
    validator().validate(line)
    assert (line["recipients"], line["user"]) == (["bob@example.net"], "whoever")


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_u3_one_document_at_the_end(name: str, home: Path) -> None:
    with serving(home, "--json") as (process, smtp, inbox):
        assert smtpx.send(LETTER, smtp, ENVELOPE).complete
        process.send_signal(getattr(signal, name))
        out, _ = process.communicate(timeout=30)
    document = Done(process.returncode, out, "").json
    assert (document["smtp"], document["inbox"], document["taken"]) == (smtp, inbox, 1)


@POSIX
def test_whom_to_trust_is_told(home: Path) -> None:
    with serving(home, "--no-inbox", "--tls", "starttls") as (process, smtp, _):
        assert process.stderr is not None
        ca_file = process.stderr.readline().split()[1]
        assert smtpx.send(LETTER, f"{smtp}?tls=starttls&ca={ca_file}", ENVELOPE).complete


@POSIX
def test_whom_to_trust_stays_the_same(home: Path) -> None:
    told: list[tuple[str, bytes]] = []
    for _ in range(2):
        with serving(home, "--no-inbox", "--tls", "implicit") as (process, _smtp, _inbox):
            assert process.stderr is not None
            ca_file = process.stderr.readline().split()[1]
            told.append((ca_file, Path(ca_file).read_bytes()))
    assert told[0] == told[1]
    assert told[0][0] == str(home / ".local" / "state" / "smtpx" / "ca.pem")


@POSIX
def test_where_it_cannot_be_kept_that_is_told(home: Path) -> None:
    _ = (home / ".local").write_bytes(b"")
    with serving(home, "--no-inbox", "--tls", "starttls") as (process, first, _):
        assert first == "warning:"
        assert process.stderr is not None
        assert process.stderr.readline().startswith("SMTP")


@POSIX
def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    folder = home / ".local" / "state" / "smtpx"
    folder.mkdir(parents=True)
    (folder / "authority.pem").touch(0o644)
    done = as_process(
        "serve", "--smtp", "127.0.0.1:0", "--no-inbox", "--tls", "implicit", home=home
    )
    assert done.code == 78
    assert "chmod 600" in done.err


def test_what_is_in_use_is_told(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        for words in (["--smtp", place, "--no-inbox"], ["--http", place, "--smtp", "127.0.0.1:0"]):
            done = as_process("serve", *words, home=home)
            assert done.code == 78
            assert place in done.err
            assert "another port" in done.err
            assert "Traceback" not in done.err


BAD = {
    "no port": (["--smtp", "localhost"], "write HOST:PORT"),
    "u26 an address for everybody": (["--http", "0.0.0.0:8025"], "--token-file, or --i-know"),
    "u26 all of IPv6": (["--http", "[::]:8025"], "--token-file, or --i-know"),
    "a fault": (["--fault", "RCPT"], "is no fault"),
    "release to anybody": (["--release-to", "smtp://localhost"], "--release-allow"),
    "allowed nowhere": (["--release-allow", "*"], "--release-to"),
    "a size": (["--size", "huge"], "no size"),
    "nothing kept": (["--keep", "0"], "no number from 1 on"),
    "a login": (["--auth", "ann"], "USER:FILE"),
    "half an address": (["--http", "[::1"], "--http '[::1': write HOST:PORT"),
    "a URL to release to": (
        ["--release-to", "smtp://[", "--release-allow", "*"],
        "smtpx: the URL is not scheme://host",
    ),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(words: list[str], said: str, run: Run) -> None:
    done = run("serve", "--smtp", "127.0.0.1:0", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="only POSIX says who may read a file")
@pytest.mark.parametrize("words", [["--token-file", "secret"], ["--auth", "ann:secret"]])
def test_a_secret_that_others_can_read_is_none(words: list[str], run: Run, home: Path) -> None:
    """A token is for where others use this machine."""
    _ = (home / "secret").write_text("a-token-nobody-can-guess")
    (home / "secret").chmod(0o644)
    done = run("serve", "--smtp", "127.0.0.1:0", "--no-inbox", *words)
    assert (done.code, "chmod 600 secret" in done.err) == (78, True)


def test_a_token_that_can_be_guessed(run: Run, home: Path) -> None:
    _ = (home / "token").write_text("1234")
    (home / "token").chmod(0o600)
    done = run("serve", "--token-file", "token")
    assert done.code == 78


@pytest.mark.parametrize("name", ["mail.db", ".", "nowhere/mail.db", "other.db", "new.db"])
def test_a_store_that_is_none(name: str, run: Run, home: Path) -> None:
    _ = (home / "mail.db").write_bytes(b"no database" * 1000)
    for other, script in (("other.db", "CREATE TABLE x (y)"), ("new.db", NEWER)):
        with closing(sqlite3.connect(home / other)) as connection:
            _ = connection.executescript(script)
    done = run("serve", "--smtp", "127.0.0.1:0", "--store", name)
    assert done.code == 78
    assert done.err.startswith(f"smtpx: --store {name}: ")
    assert done.err.endswith(": give another file\n")
    assert len(done.err.splitlines()) == 1


NEWER = "CREATE TABLE messages (id); CREATE TABLE texts (w); PRAGMA user_version=99"


# What would take all there is.


@POSIX
def test_one_client_of_smtp_too_many_is_told_to_come_later(home: Path) -> None:
    with serving(home, "--no-inbox") as (process, smtp, _), ExitStack() as stack:
        place = (smtpx.Endpoint.parse(smtp).host, smtpx.Endpoint.parse(smtp).port)
        clients = [stack.enter_context(socket.create_connection(place, 20)) for _ in range(256)]
        assert clients[-1].recv(100).startswith(b"220")
        with pytest.raises(smtpx.GreetingRefused, match="421"):
            _ = smtpx.send(LETTER, smtp, ENVELOPE)
        clients[0].close()
        clients[1].sendall(b"NOOP\r\n")
        with clients[1].makefile("rb") as said:
            assert (said.readline()[:3], said.readline()[:3]) == (b"220", b"250")
        assert ended(process) == (0, "")


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str]]]:
    """An application that answers, streams without end, or has a mistake, within small bounds."""
    _web = pytest.importorskip("smtpx.cli._web", reason="the inbox's extra is not there")
    monkeypatch.setattr(_web, "_MOST_CONNECTIONS", 4)
    monkeypatch.setattr(_web, "_REQUEST", 0.5)
    monkeypatch.setattr(_web, "_STALL", 0.5)
    told: list[str] = []
    ends: list[Callable[[], object]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def main() -> None:
            ended = asyncio.Event()
            loop = asyncio.get_running_loop()
            ends.append(lambda: loop.call_soon_threadsafe(ended.set))
            await _web.serve(application, listener, ended=ended, before_end=int, tell=told.append)

        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        yield listener.getsockname()[1], told
        ends[0]()
        thread.join()


WRITTEN = threading.Event()


async def application(scope: Any, _: Any, send: Any) -> None:
    if scope["path"] == "/mistake":
        raise KeyError("oh")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(4 if scope["path"] == "/slow" else 0):
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.4)
    for _ in range(100 if scope["path"] == "/large" else 0):
        await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
    WRITTEN.set()
    await send({"type": "http.response.body", "body": b"done"})


def said_by(port: int, octets: bytes) -> bytes:
    """What the server says until it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), 20) as client, suppress(ConnectionError):
        client.sendall(octets)
        return b"".join(iter(lambda: client.recv(65536), b""))
    return b""


GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
        GET % b"/",
    ],
)
def test_who_says_nothing_more_is_left(octets: bytes, web: tuple[int, list[str]]) -> None:
    said = said_by(web[0], octets)
    assert said.startswith(b"HTTP/1.1 200 OK") == (b"\r\n\r\n" in octets)


def test_who_says_an_octet_now_and_then_is_left(web: tuple[int, list[str]]) -> None:
    with socket.create_connection(("127.0.0.1", web[0]), 20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises(ConnectionError):
            for _ in range(200):
                client.sendall(b"x")
                time.sleep(0.1)


def test_what_is_asked_for_may_take_its_time(web: tuple[int, list[str]]) -> None:
    with socket.create_connection(("127.0.0.1", web[0]), 20) as client:
        client.sendall(GET % b"/slow")
        said = b""
        while not said.endswith(b"done\r\n0\r\n\r\n"):
            piece = client.recv(65536)
            assert piece
            said += piece
        client.sendall(GET % b"/")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_who_does_not_read_is_left(web: tuple[int, list[str]]) -> None:
    with socket.create_connection(("127.0.0.1", web[0]), 20) as client:
        WRITTEN.clear()
        client.sendall(GET % b"/large")
        # No system keeps 100 MB: what is left of it is written to nobody.
        assert WRITTEN.wait(20)
        with suppress(ConnectionError):
            assert len(b"".join(iter(lambda: client.recv(1 << 20), b""))) < 100 << 20


def test_one_connection_too_many_ends_at_once(web: tuple[int, list[str]]) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", web[0]), 20))
            client.sendall(GET % b"/slow")
            assert client.recv(65536)
        assert said_by(web[0], GET % b"/") == b""
    assert said_by(web[0], GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") % b"/")


def test_a_mistake_is_told_in_one_sentence(web: tuple[int, list[str]]) -> None:
    assert said_by(web[0], GET % b"/mistake").startswith(b"HTTP/1.1 500")
    assert web[1] == ["a mistake in smtpx (KeyError: 'oh'): --debug shows where"]


@POSIX
def test_a_process_without_descriptors_says_so_once(
    web: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resource: Any = import_module("resource")
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert said_by(web[0], GET % b"/")  # It has begun.
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (clients[-1].fileno() + 1, before[1]))
        try:
            for client in clients:
                client.settimeout(20)
                client.connect(("127.0.0.1", web[0]))
            for _ in range(100):
                if web[1]:
                    break
                time.sleep(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        clients[2].sendall(GET % b"/")
        assert clients[2].recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert [said.partition(" (")[0] for said in web[1]] == ["browsers have to wait"]
    assert caplog.records == []


@POSIX
def test_a_request_that_breaks_off_is_no_mistake(home: Path) -> None:
    with serving(home) as (process, _, inbox):
        place = urllib.parse.urlsplit(inbox)
        with socket.create_connection(("127.0.0.1", place.port), 20) as client:
            request = f"PUT /api/faults HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 9\r\n"
            client.sendall(f"{request}Content-Type: application/json\r\n\r\n{{".encode())
        assert asked(f"{inbox}livez") == b"ok\n"
        code, said = ended(process)
    assert (code, said) == (0, "")


def test_what_is_not_kept_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    serve: Any = import_module("smtpx.cli.serve")
    console = import_module("smtpx.cli._console").Console(quiet=True)

    class Full:
        def take(self, _: object) -> str:
            return "452 4.3.1 It cannot be kept: database or disk is full"

    message = ReceivedMessage(
        sender="ann@example.org",
        recipients=("bob@example.net",),
        content=LETTER,
        mail_parameters={},
        recipient_parameters=({},),
        tls=False,
        user=None,
        smtputf8=False,
        helo="x",
        via=Via.DATA,
        session=1,
        queue_id="1",
    )
    assert serve._Catch(Full(), None, console)(message).startswith("452")
    told = capsys.readouterr().err
    assert told == (
        "smtpx: a message of <ann@example.org> is refused: "
        "452 4.3.1 It cannot be kept: database or disk is full\n"
    )


def test_what_does_without_the_extra_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    done = run("serve")
    assert done.code != 0
    assert "--no-inbox does without" in done.err
    assert "install smtpx[inbox]" in done.err
