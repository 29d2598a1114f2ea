"""A fast SMTP sink for benchmarks, in a process of its own: takes everything, keeps digests.

`python -m bench.sink` prints its port and serves until its standard input ends. Besides SMTP it
knows ``XSTAT``: the messages taken, the octets of content, the reads, and a digest of all
envelopes and contents in whatever order they came.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys

EHLO = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250-CHUNKING\r\n250 DSN\r\n"


class Tally:
    """What all connections took together."""

    messages = 0
    octets = 0
    reads = 0
    digest = 0

    def add(self, envelope: bytes, content: hashlib._Hash, size: int) -> None:
        self.messages += 1
        self.octets += size
        whole = hashlib.sha256(envelope + content.digest()).digest()
        self.digest = (self.digest + int.from_bytes(whole[:8])) % 2**64

    def report(self) -> bytes:
        return json.dumps(vars(self)).encode()


class Sink(asyncio.Protocol):
    """One connection. Content is hashed as it was before dot-stuffing."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.buffer = b""
        self.in_data = False
        self.chunk_left = 0
        self.last_chunk = False
        self.begin()

    def begin(self) -> None:
        self.envelope = b""
        self.content = hashlib.sha256()
        self.size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self.tally.reads += 1
        self.buffer = self.buffer + data if self.buffer else data
        replies: list[bytes] = []
        while self.buffer:
            if self.in_data:
                done = self.take_data(replies)
            elif self.chunk_left:
                done = self.take_chunk(replies)
            else:
                done = self.take_command(replies)
            if not done:
                break
        if replies:
            self.transport.write(b"".join(replies))

    def take_data(self, replies: list[bytes]) -> bool:
        buffer = self.buffer
        # The line end before the dot is content; an empty content has none.
        if not self.size and buffer.startswith(b".\r\n"):
            end, after = 0, 3
        else:
            found = buffer.find(b"\r\n.\r\n")
            end, after = (-1, 0) if found < 0 else (found + 2, found + 5)
        if end < 0:
            # A CRLF and what may follow it stay, until it is clear what they are.
            keep = buffer.rfind(b"\r\n", 0, len(buffer))
            cut = keep if keep >= len(buffer) - 5 else len(buffer)
            self.add(buffer[:cut])
            self.buffer = buffer[cut:]
            return False
        self.add(buffer[:end])
        self.buffer = buffer[after:]
        self.in_data = False
        self.finish(replies)
        return True

    def add(self, stuffed: bytes) -> None:
        plain = stuffed.replace(b"\r\n..", b"\r\n.")
        if not self.size and plain.startswith(b"."):
            plain = plain[1:]
        self.content.update(plain)
        self.size += len(plain)

    def take_chunk(self, replies: list[bytes]) -> bool:
        taken = self.buffer[: self.chunk_left]
        self.buffer = self.buffer[len(taken) :]
        self.content.update(taken)
        self.size += len(taken)
        self.chunk_left -= len(taken)
        if self.chunk_left == 0:
            self.end_chunk(replies)
        return True

    def end_chunk(self, replies: list[bytes]) -> None:
        if self.last_chunk:
            self.finish(replies)
        else:
            replies.append(b"250 more\r\n")

    def take_command(self, replies: list[bytes]) -> bool:
        line, end, rest = self.buffer.partition(b"\r\n")
        if not end:
            return False
        self.buffer = rest
        verb = line[:4].upper()
        if verb in (b"MAIL", b"RCPT"):
            self.envelope += line[: line.find(b">") + 1].lower()
            replies.append(b"250 ok\r\n")
        elif verb == b"DATA":
            self.in_data = True
            replies.append(b"354 go\r\n")
        elif verb == b"BDAT":
            _, size, *last = line.split()
            self.chunk_left, self.last_chunk = int(size), bool(last)
            if not self.chunk_left:
                self.end_chunk(replies)
        elif verb == b"EHLO":
            replies.append(EHLO)
        elif verb == b"XSTA":
            replies.append(b"250 " + self.tally.report() + b"\r\n")
        elif verb == b"QUIT":
            self.transport.write(b"".join([*replies, b"221 bye\r\n"]))
            replies.clear()
            self.transport.close()
        else:
            replies.append(b"250 ok\r\n")
            self.begin()
        return True

    def finish(self, replies: list[bytes]) -> None:
        self.tally.add(self.envelope, self.content, self.size)
        self.begin()
        replies.append(b"250 taken\r\n")


async def main() -> None:
    tally = Tally()
    vars(tally).update(messages=0, octets=0, reads=0, digest=0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sink(tally), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
