"""A fast SMTP sink that fails now and then, in a process of its own.

``python -m tests.scale.sink FILE SHARE`` prints its port and serves until its standard input ends.
It writes a line to FILE for each message it keeps: the digest of its content, sender, recipients.
Of `SHARE` of the messages each fourth is lost before it is kept, lost after it, answered late, or
answered by 421, after which it closes as a server does.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import TextIO

from tests.scale.account import digest

EHLO = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250 CHUNKING\r\n"
LATE = 0.005


class Sink(asyncio.Protocol):
    """One connection. Every recipient is welcome; a transaction is as strict as it has to be."""

    def __init__(self, kept: TextIO, share: float, chance: random.Random) -> None:
        self.kept = kept
        self.share = share
        self.chance = chance
        self.buffer = b""
        self.in_data = False
        self.late = False
        self.ending = False
        self.begin()

    def begin(self) -> None:
        self.sender: bytes | None = None
        self.recipients: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not (self.late or self.ending):
            self.go_on()

    def go_on(self) -> None:
        replies: list[bytes] = []
        self.late = False
        while not (self.late or self.ending):
            reply = self.take_data() if self.in_data else self.take_command()
            if reply is None:
                break
            replies.append(reply)
        if replies:
            self.transport.write(b"".join(replies))
        if self.ending:
            self.transport.close()
        elif self.late:
            _ = asyncio.get_running_loop().call_later(LATE, self.go_on)

    def take_data(self) -> bytes | None:
        if self.buffer.startswith(b".\r\n"):
            stuffed, rest = b"", self.buffer[3:]
        else:
            stuffed, end, rest = self.buffer.partition(b"\r\n.\r\n")
            if not end:
                return None
            stuffed += b"\r\n"
        self.buffer = rest
        self.in_data = False
        content = (b"\r\n" + stuffed).replace(b"\r\n.", b"\r\n")[2:]
        return self.finish(content)

    def take_command(self) -> bytes | None:
        line, end, rest = self.buffer.partition(b"\r\n")
        if not end:
            return None
        verb = line[:4]
        if verb == b"BDAT":
            _, octets, *last = line.split()
            size = int(octets)
            if len(rest) < size or not last:
                assert last, "contents are written whole here"
                return None
            self.buffer = rest[size:]
            return self.finish(rest[:size])
        self.buffer = rest
        if verb == b"MAIL":
            if self.sender is not None:
                return b"503 5.5.1 nested MAIL\r\n"
            self.sender = line[11 : line.index(b">")]
        elif verb == b"RCPT":
            self.recipients.append(line[9 : line.index(b">")])
        elif verb == b"RSET":
            self.begin()
        elif verb == b"EHLO":
            return EHLO
        elif verb == b"DATA":
            self.in_data = True
            return b"354 go ahead\r\n"
        elif verb == b"QUIT":
            self.ending = True
            return b"221 bye\r\n"
        return b"250 ok\r\n"

    def finish(self, content: bytes) -> bytes:
        """What becomes of a message."""
        fate = self.chance.random() / self.share if self.share else 1
        self.ending = fate < 0.75
        if fate < 0.25:
            return b""
        if fate < 0.5:
            return b"421 4.3.2 shutting down\r\n"
        assert self.sender is not None
        names = b" ".join([self.sender, *self.recipients]).decode()
        _ = self.kept.write(f"{digest(content).hex()} {names}\n")
        self.begin()
        if self.ending:
            return b""
        self.late = fate < 1
        return b"250 2.0.0 taken\r\n"


async def main(file: Path, share: float) -> None:
    chance = random.Random(1)
    with file.open("w") as kept:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Sink(kept, share, chance), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        _ = await loop.run_in_executor(None, sys.stdin.read)
        server.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
