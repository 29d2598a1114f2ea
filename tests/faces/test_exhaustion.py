"""A process that has nothing left: no descriptor, no thread."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

import smtpx
from smtpx import Endpoint, Envelope, Timeouts, TLSMode
from smtpx._drivers import dialling
from smtpx._faces import opening
from smtpx.testing import Server, ServerTLS
from tests.faces.conftest import Face

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
PATIENT = Timeouts.each(10)


@contextmanager
def no_descriptor_left(face: Face) -> Iterator[None]:
    if sys.platform == "win32":
        pytest.skip("there is no such limit")
    if face.name == "uvloop":
        pytest.skip("its loop takes some whenever it is run")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        for moment in (0.05, 0):  # A server in here may give one back that it is just closing.
            while True:
                try:
                    taken.append(os.dup(0))
                except OSError:
                    break
            time.sleep(moment)
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "unix"])
def test_no_descriptor_left_to_connect_by(face: Face, host: str, tmp_path: Path) -> None:
    with Server(path=tmp_path / "s" if host == "unix" else None) as server:
        endpoint: Any = f"smtp://{host}:{server.port}"
        if host == "unix":
            endpoint = Endpoint("", 0, TLSMode.NONE, path=str(server.path))
        with face.session(endpoint, timeouts=PATIENT):
            pass  # What is loaded to connect by is there.
        _ = server.wait_until_idle()  # It gives no descriptor back any more.
        session = face.session(endpoint, timeouts=PATIENT)
        with no_descriptor_left(face), pytest.raises(smtpx.ConnectionLost) as caught:
            session.open()
        assert caught.value.phase == "connect"
        assert "descriptor left" in str(caught.value)


def test_a_connection_that_is_there_needs_no_descriptor(face: Face) -> None:
    with Server() as server, face.client(server.url, timeouts=PATIENT) as client:
        assert client.send(CONTENT, ENVELOPE).error is None
        _ = list(client.send_many([(CONTENT, ENVELOPE)]))  # What it imports, it finds no more.
        with no_descriptor_left(face):
            assert client.send(CONTENT, ENVELOPE).error is None
            (result,) = client.send_many([(CONTENT, ENVELOPE)])
        assert result.error is None
        assert len(server.sessions) == 1


# What is called has loaded nothing yet, and can load nothing.
LOADING = {
    "open": "call = session.open",
    "asyncio": "loop = asyncio.new_event_loop(); asession = smtpx.AsyncSession(url, tls=tls)\n"
    "call = lambda: loop.run_until_complete(asession.open())",
    "send_many": "client = smtpx.Client(url, tls=tls)\n"
    "call = lambda: list(client.send_many([(b'', envelope)]))",
    "send": "session.open(); call = lambda: session.send(message)",
    "send to an envelope": "session.open(); call = lambda: session.send(message, envelope)",
}
CHILD = """
import asyncio, os, resource, sys
from email.message import EmailMessage
import smtpx

url, ca_file = sys.argv[1:]
tls = smtpx.TLSPolicy(smtpx.TLSMode.IMPLICIT, ca_file=ca_file)
session = smtpx.Session(url, tls=tls)
envelope = smtpx.Envelope("ann@example.org", "bob@example.net")
message = EmailMessage()
message["From"], message["To"] = "Zo\u00eb <ann@example.org>", "bob@example.net"
kind = smtpx.SMTPError
{call}
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
try:
    while True:
        os.dup(0)
except OSError:
    pass
try:
    call()
except kind as error:
    os.write(1, str(error).encode())
except OSError as error:
    os.write(1, b"bare: " + str(error).encode())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize("call", LOADING)
def test_what_can_not_be_loaded_is_an_error_of_ours(call: str) -> None:
    with Server(tls=ServerTLS.IMPLICIT) as server:
        script = CHILD.replace("{call}", LOADING[call])
        child = [sys.executable, "-c", script, server.url, str(server.ca_file)]
        told = subprocess.run(child, capture_output=True, text=True, timeout=60, check=True)
    assert "no file descriptor left to load" in told.stdout


def no_thread(*_: Any) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_a_name_is_looked_up_without_a_thread_where_none_can_be_started(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def found(host: Any, *args: Any, **options: Any) -> Any:
        if host == "mx.test" and options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return resolve("127.0.0.1" if host == "mx.test" else host, *args, **options)

    with Server() as server:
        monkeypatch.setattr(socket, "getaddrinfo", found)
        monkeypatch.setattr(dialling, "start_thread", no_thread)
        session = face.session(f"smtp://mx.test:{server.port}?tls=none", timeouts=PATIENT)
        session.open()
        monkeypatch.undo()
        session.close()


def test_a_message_is_sent_without_a_thread_where_none_can_be_started(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server:
        monkeypatch.setattr(opening, "_asked", [])
        monkeypatch.setattr(opening, "start_new_thread", no_thread)
        session = face.session(server.url, timeouts=PATIENT)
        session.open()
        assert session.send(CONTENT, ENVELOPE).complete
        session.close()
        assert opening._asked == [logging.getLogger("smtpx.wire")]
