"""What a server says of its own accord over an idle connection costs the next caller nothing."""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
from typing import Self

import pytest

import smtpx
from smtpx import Envelope, Timeouts
from smtpx.testing import ALL_EXTENSIONS, Close, Extension, Latency, Server, Shutdown, Stall
from tests.faces.conftest import Face

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(60)


class TalkativeServer:
    """Takes all mail, and says over its connections whatever it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self._listener.getsockname()[1]}?tls=none"
        self.connections: list[socket.socket] = []
        self.accepted = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for open_one in (self._listener, *self.connections):
            # A thread that waits in it is not woken up by a close.
            try:
                open_one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            open_one.close()

    def say(self, words: bytes) -> None:
        """Say it over the last connection; it has arrived when this returns."""
        connection = self.connections[-1]
        connection.sendall(words)
        with other_end(connection) as client:
            _ = select.select([client], [], [])

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            connection.sendall(b"220 talkative.test\r\n")
            in_content = False
            try:
                for line in lines:
                    if in_content:
                        if line != b".\r\n":
                            continue
                        self.accepted += 1
                        in_content = False
                    elif line == b"DATA\r\n":
                        in_content = True
                        connection.sendall(b"354 go ahead\r\n")
                        continue
                    connection.sendall(b"250 ok\r\n")
            except OSError:
                pass


def other_end(connection: socket.socket) -> socket.socket:
    """The client's end of a connection, which is in this process."""
    for descriptor in range(3, 1024):
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
        except OSError:
            continue  # Nothing is open there.
        end = socket.socket(fileno=os.dup(descriptor))
        if end.family is connection.family and end.getsockname() == connection.getpeername():
            return end
        end.close()
    raise AssertionError("the client has closed its end")


FAREWELLS = [
    b"421 4.4.2 idle for too long\r\n",
    b"42",
    b"421",
    b"451 4.4.2 Timeout waiting for data from client.\r\n",
    b"451-4.4.2 Timeout waiting\r\n",
    b"500 Idle timeout\r\n",
    b"250 ok\r\n",
    b"\x15\x03\x03\x00\x02\x01\x00",
    b"good night\r\n",
]


@pytest.mark.skipif(os.name != "posix", reason="looks for the client's end of a connection")
@pytest.mark.parametrize("farewell", FAREWELLS)
def test_whatever_is_found_on_an_idle_connection_it_is_replaced(face: Face, farewell: bytes):
    with TalkativeServer() as server, face.client(server.url) as client:
        assert client.send(CONTENT, ENVELOPE).error is None
        server.say(farewell)
        assert client.send(CONTENT, ENVELOPE).error is None
        assert (server.accepted, len(server.connections)) == (2, 2)


def test_it_is_replaced_once(face: Face):
    """What a new connection says of its own accord is an error."""
    by_data = ALL_EXTENSIONS - {Extension.CHUNKING}
    with Server(extensions=by_data) as server, face.client(server.url) as client:
        assert client.send(CONTENT, ENVELOPE).error is None
        server.add_fault(Close("MAIL"))
        server.add_fault(Close("MAIL", session=2))
        with pytest.raises(smtpx.ConnectionLost):
            _ = client.send(CONTENT, ENVELOPE)
        assert len(server.sessions) == 2
        assert client.statistics().busy == 0


@pytest.mark.parametrize("fault", [Close, Shutdown])
def test_what_was_accepted_in_part_is_not_repeated(face: Face, fault: type[Close]):
    """RCPTMAX=1, and a connection that was used before.

    ::

        C: MAIL … RCPT bob … (content)
        S: 250 accepted
        C: MAIL …
        S: (closes)
    """
    both = Envelope("ann@example.org", ["bob@example.net", "eve@example.net"])
    with (
        Server(extensions=ALL_EXTENSIONS - {Extension.CHUNKING}, recipient_limit=1) as server,
        face.client(server.url) as client,
    ):
        assert client.send(CONTENT, ENVELOPE).error is None
        server.clear_messages()
        server.add_fault(fault("MAIL", nth=3, session=1))
        result = client.send(CONTENT, both)
        assert [str(outcome.recipient) for outcome in result.accepted] == ["bob@example.net"]
        assert [message.recipients for message in server.messages] == [("bob@example.net",)]
        assert len(server.sessions) == 1


@pytest.mark.timeout(25)
@pytest.mark.parametrize("callers", [1, 5])
def test_servers_that_do_not_answer_quit_cost_their_time_once(face: Face, callers: int):
    """Their patience has an end long before `Timeouts.quit`; the watchdog's is before that."""
    with Server(faults=[Stall("QUIT"), Latency(0.2)]) as server:
        client = face.client(server.url, timeouts=Timeouts(quit=60))
        assert face.at_once(callers, client, 1, CONTENT, ENVELOPE) == []
        assert client.statistics().idle == callers
        client.close()
        assert client.statistics().open == 0
        assert all("QUIT" in session.commands for session in server.sessions)
