"""The limit: what each contest comes down to, in Python, and nothing else.

`python -m bench.limit MODE HOST PORT N SIZE RECIPIENTS CONNECTIONS`, called as bench/client.py is.
It writes, reads and checks what any client has to that says what became of a message: the line ends
and the lines of each content, every code of every reply, and that none comes unasked, before or
after. What is not as it should be ends it: who has to go on, and say why, takes longer.

MODE is one of
  call      one round trip a message, as `Session.send`
  acall     the same in asyncio's loop
  smtplib   two round trips, as `smtpx.smtplib`
  stream    a window of messages by BDAT, all with one envelope, as `Client.send_many`
  own       the same, with an envelope for each
"""

from __future__ import annotations

import asyncio
import io
import re
import select
import socket
from collections.abc import Callable, Iterable
from itertools import islice

from bench import client
from bench.client import SENDER, AsyncSend, Send, Server

SLICE = 1 << 16
FIRST_COMMAND = re.compile(rb"[BDbd][ADad][ATat][ATat][ \t\r]")
LATER_COMMAND = re.compile(rb"\n" + FIRST_COMMAND.pattern)
POSITIVE = rb"2[0-5][0-9](?: [^\n]*)?\n"
POSITIVES = re.compile(rb"(?:%b)*" % POSITIVE)


def check(content: bytes) -> None:
    """It can go as it is: each line ends in CRLF, and no octet is above 127."""
    seen = io.IncrementalNewlineDecoder(None, translate=False)
    view = memoryview(content)
    for start in range(0, len(content), SLICE):
        seen.decode(str(view[start : start + SLICE], "ascii"))
    seen.decode("", final=True)
    assert seen.newlines == "\r\n"
    assert content.endswith(b"\r\n")


def check_chunk(content: bytes) -> None:
    """It can go before the recipients are answered: it is no message by itself."""
    check(content)
    assert not LATER_COMMAND.search(content)
    assert not FIRST_COMMAND.match(content)


def recipients_of(names: Iterable[str]) -> str:
    text = ">\r\nRCPT TO:<".join(names)
    return f"RCPT TO:<{text}>\r\n"


def group(recipients: str, size: int, then: str) -> bytes:
    assert recipients.replace("\r\n", "").isprintable()
    return f"MAIL FROM:<{SENDER}> SIZE={size}\r\n{recipients}{then}\r\n".encode()


def chunk_after(recipients: str, content: bytes) -> bytes:
    size = len(content)
    return group(recipients, size, f"BDAT {size} LAST")


def positives(count: int) -> re.Pattern[bytes]:
    return re.compile(rb"(?:%b){%d}" % (POSITIVE, count))


def greeted(server: Server) -> socket.socket:
    """A connection past EHLO."""
    connection = socket.create_connection((server.host, server.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    replies = connection.makefile("rb")
    _ = replies.readline()
    connection.sendall(b"EHLO bench.test\r\n")
    while replies.readline()[3:4] == b"-":
        pass
    connection.setblocking(False)
    return connection


class Exchange:
    """Writes to a socket, and reads the replies to it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.poll = select.poll()
        self.poll.register(connection, select.POLLIN)
        self.unread = b""

    def write(self, octets: bytes) -> None:
        unsent = memoryview(octets)
        while unsent:
            try:
                unsent = unsent[self.connection.send(unsent) :]
            except BlockingIOError:
                _ = select.select([], [self.connection], [], 60)

    def read(self, count: int, expected: re.Pattern[bytes]) -> None:
        """Read so many lines, that are as expected."""
        octets = b""
        while octets.count(b"\n") < count:
            assert self.poll.poll(60_000)
            octets += self.connection.recv(SLICE)
        assert expected.fullmatch(octets)

    def read_on(self, due: int, leaving: int) -> int:
        """Positive replies, until so many are still due; how many are."""
        while due > leaving:
            assert self.poll.poll(60_000)
            octets = self.unread + self.connection.recv(SLICE)
            end = octets.rfind(b"\n") + 1
            assert POSITIVES.fullmatch(octets, 0, end)
            due -= octets.count(b"\n")
            self.unread = octets[end:]
        return due

    def look(self) -> None:
        """Nothing has come that nobody asked for."""
        assert not self.unread
        assert not self.poll.poll(0)


def call(server: Server) -> Send:
    exchange, recipients = Exchange(greeted(server)), recipients_of(server.names)
    count = len(server.names) + 2
    expected = positives(count)

    def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            is_small = len(content) <= SLICE
            (check_chunk if is_small else check)(content)
            commands = chunk_after(recipients, content)
            exchange.look()
            if is_small:
                exchange.write(commands + content)
            else:
                exchange.write(commands)
                exchange.write(content)
            exchange.read(count, expected)
            exchange.look()

    return send


def two_trips(server: Server) -> Send:
    exchange, recipients = Exchange(greeted(server)), recipients_of(server.names)
    count = len(server.names) + 2
    go_ahead = re.compile(rb"(?:%b){%d}3[^\n]*\n" % (POSITIVE, count - 1))
    accepted = positives(1)

    def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            check(content)
            stuffed = content.replace(b"\n.", b"\n..")
            exchange.look()
            exchange.write(group(recipients, len(content), "DATA"))
            exchange.read(count, go_ahead)
            exchange.look()
            exchange.write(stuffed + b".\r\n")
            exchange.read(1, accepted)
            exchange.look()

    return send


def streamed(server: Server, recipients: Callable[[], str]) -> Send:
    exchange = Exchange(greeted(server))
    replies = len(server.names) + 3

    def send(contents: Iterable[bytes]) -> None:
        left, due = iter(contents), 0
        exchange.look()
        while some := list(islice(left, server.window // 2)):
            parts: list[bytes] = []
            for content in some:
                check_chunk(content)
                parts += (b"RSET\r\n", chunk_after(recipients(), content), content)
            exchange.write(b"".join(parts))
            due = exchange.read_on(due + replies * len(some), leaving=replies * len(some))
        _ = exchange.read_on(due, leaving=0)
        exchange.look()

    return send


def stream(server: Server) -> Send:
    recipients = recipients_of(server.names)
    return streamed(server, lambda: recipients)


def own(server: Server) -> Send:
    return streamed(server, lambda: recipients_of(server.names))


class Protocol(asyncio.BufferedProtocol):
    def __init__(self, count: int) -> None:
        self.view = memoryview(bytearray(SLICE))
        self.octets = b""
        self.count = count
        self.answered: asyncio.Future[None] | None = None

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.octets += self.view[:nbytes]
        if self.octets.count(b"\n") >= self.count and self.answered is not None:
            self.answered.set_result(None)


async def async_call(server: Server) -> AsyncSend:
    recipients, count = recipients_of(server.names), len(server.names) + 2
    expected = positives(count)
    connection = greeted(server)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(lambda: Protocol(count), sock=connection)
    poll = select.poll()
    poll.register(connection, select.POLLIN)

    async def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            check_chunk(content)
            assert not poll.poll(0)
            protocol.octets, protocol.answered = b"", loop.create_future()
            transport.write(chunk_after(recipients, content) + content)
            await protocol.answered
            assert expected.fullmatch(protocol.octets)
            assert not poll.poll(0)

    return send


BLOCKING = {"call": call, "smtplib": two_trips, "stream": stream, "own": own}
ASYNC = {"acall": async_call}

if __name__ == "__main__":
    client.main(BLOCKING, ASYNC)
