"""`python -m bench.floor`: what waiting for a reply costs, blocking and in an event loop.

Both do the least that an SMTP client can do: write a message that is ready, commands and all, and
read until its three replies are there. What asyncio takes beyond the blocking socket, no client on
it can save; `AsyncSession.send` is held against `Session.send` by that.
"""

from __future__ import annotations

import asyncio
import select
import socket
import statistics
import time
from collections.abc import Callable

from bench import client, processes

ROUNDS, MESSAGES = 7, 2000
CONTENT = b"".join(client.pieces(2048))
RECIPIENT = client.recipients(1)[0]
MESSAGE = (
    f"MAIL FROM:<{client.SENDER}> SIZE={len(CONTENT)}\r\nRCPT TO:<{RECIPIENT}>\r\n"
    f"BDAT {len(CONTENT)} LAST\r\n"
).encode() + CONTENT
REPLIES = 3


def greeted(port: int) -> socket.socket:
    """A connection past EHLO."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    replies = connection.makefile("rb")
    _ = replies.readline()
    connection.sendall(b"EHLO bench.test\r\n")
    while replies.readline()[3:4] == b"-":
        pass
    connection.setblocking(False)
    return connection


def blocking(port: int) -> float:
    """CPU seconds a message: look, write, wait, read."""
    with greeted(port) as connection:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        begun = time.process_time()
        for _ in range(MESSAGES):
            assert not poll.poll(0)
            _ = connection.send(MESSAGE)
            lines = 0
            while lines < REPLIES:
                _ = poll.poll(10_000)
                lines += connection.recv(65536).count(b"\n")
        return (time.process_time() - begun) / MESSAGES


class Protocol(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(16384))
        self.lines = 0
        self.answered: asyncio.Future[None] | None = None

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.lines += bytes(self.view[:nbytes]).count(b"\n")
        if self.lines == REPLIES and self.answered is not None:
            self.lines = 0
            self.answered.set_result(None)


async def in_a_loop(connection: socket.socket) -> float:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Protocol, sock=connection)
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    begun = time.process_time()
    for _ in range(MESSAGES):
        assert not poll.poll(0)
        protocol.answered = loop.create_future()
        transport.write(MESSAGE)
        await protocol.answered
    cpu = (time.process_time() - begun) / MESSAGES
    transport.abort()
    return cpu


def asynchronous(port: int) -> float:
    return asyncio.run(in_a_loop(greeted(port)))


def main() -> None:
    _ = processes.share_one_core()
    ways: dict[str, Callable[[int], float]] = {"a socket": blocking, "asyncio": asynchronous}
    with processes.sink() as sink:
        figures = {name: [way(sink.port) for _ in range(ROUNDS)] for name, way in ways.items()}
    for name, rounds in figures.items():
        print(f"{name:10}{statistics.median(rounds) * 1e6:8.1f} µs of CPU a message")


if __name__ == "__main__":
    main()
