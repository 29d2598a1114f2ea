"""One contender's run: MODE HOST PORT N SIZE RECIPIENTS CONNECTIONS; prints one line of JSON.

N messages of SIZE (2k, 50k, 10m, …) go to so many recipients over so many connections. Each
connection sends one message before the clock starts; the report counts those as `extra`. Other
SMTP clients that speak this protocol can be measured beside (`--peer`), and this file needs
nothing of its neighbours, so that it can join other measurements.

MODE is one of
  call, client          `Session.send`, `Client.send`: one message a call
  stream                `Client.send_many`; BENCH_WINDOW is its window (64)
  own                   the same, with an envelope for each message
  acall, aclient, astream   the same on asyncio; tcall, tclient, tstream: on trio
  smtplib, std          `smtpx.smtplib`, and the standard library's
  aiosmtplib
  file, std_file        one message from a file: `Session.send`, and the standard library's
each also with `_tls` appended: TLS from the first octet.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

SENDER = "sender@example.com"
UNITS = {"k": 1 << 10, "m": 1 << 20}
LINE = b"The quick brown fox jumps over the lazy dog, and the dog does not mind.\r\n"
BLOCK = LINE * 1000


def octets(size: str) -> int:
    return int(size[:-1]) * UNITS[size[-1]]


def pieces(size: int, serial: int = 0) -> Iterator[bytes]:
    """A message of `size` octets, told from the others by its Message-ID."""
    head = (
        b"From: Sender <sender@example.com>\r\nTo: Rcpt <rcpt0@example.net>\r\n"
        b"Subject: benchmark message\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
        b"Message-ID: <%010d@example.com>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        % (123456789 + serial)
    )
    yield head
    room = size - len(head) - 2
    for _ in range(room // len(BLOCK)):
        yield BLOCK
    yield BLOCK[: room % len(BLOCK)] + b"\r\n"


def messages(n: int, size: int) -> Sequence[bytes]:
    """The messages that a run goes through in turn: as many as there are, within reason."""
    different = max(1, min(n, 1000, (32 << 20) // size))
    return [b"".join(pieces(size, serial)) for serial in range(different)]


def recipients(count: int) -> list[str]:
    return [f"rcpt{i}@example.net" for i in range(count)]


@dataclass(frozen=True)
class Server:
    """Where a run goes, and how."""

    host: str
    port: int
    tls: bool
    names: list[str]
    connections: int
    window: int

    @property
    def url(self) -> str:
        return f"{'smtps' if self.tls else 'smtp'}://{self.host}:{self.port}"

    @property
    def envelope(self) -> Any:
        import smtpx

        return smtpx.Envelope(SENDER, self.names)

    @property
    def policy(self) -> Any:
        import smtpx

        if self.tls:
            return smtpx.TLSPolicy(smtpx.TLSMode.IMPLICIT, context=unverified())
        return smtpx.TLSPolicy(smtpx.TLSMode.NONE)


def unverified() -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# What sends messages over connections it has opened.
Send = Callable[[Iterable[bytes]], None]
AsyncSend = Callable[[Iterable[bytes]], Awaitable[None]]


def session(server: Server) -> Send:
    import smtpx

    envelope = server.envelope
    opened = smtpx.Session(server.url, tls=server.policy)
    opened.open()

    def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            _ = opened.send(content, envelope)

    return send


def pooled(face: Any, server: Server) -> Any:
    """A `Client` or `AsyncClient` that keeps its connections as the others do."""
    import smtpx

    limits = smtpx.PoolLimits(
        open=server.connections, idle=server.connections, age=None, messages=None
    )
    return face(server.url, pool=limits, tls=server.policy)


def many(shared: Any, server: Server, contents: Iterable[bytes]) -> Any:
    envelope = server.envelope
    messages = ((content, envelope) for content in contents)
    return shared.send_many(messages, connections=server.connections, window=server.window)


def client(server: Server) -> Send:
    import smtpx

    envelope = server.envelope
    shared = pooled(smtpx.Client, server)

    def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            _ = shared.send(content, envelope)

    return send


def stream(server: Server) -> Send:
    import smtpx

    shared = pooled(smtpx.Client, server)

    def send(contents: Iterable[bytes]) -> None:
        for result in many(shared, server, contents):
            assert result.error is None, result.error

    return send


def own(server: Server) -> Send:
    import smtpx

    shared, envelope_of = pooled(smtpx.Client, server), smtpx.Envelope

    def send(contents: Iterable[bytes]) -> None:
        messages = ((content, envelope_of(SENDER, server.names)) for content in contents)
        results = shared.send_many(messages, connections=server.connections, window=server.window)
        for result in results:
            assert result.error is None, result.error

    return send


def drop_in(server: Server) -> Send:
    from smtpx import smtplib

    return sendmail(smtplib, server)


def standard(server: Server) -> Send:
    import smtplib

    return sendmail(smtplib, server)


def sendmail(module: Any, server: Server) -> Send:
    if server.tls:
        smtp = module.SMTP_SSL(server.host, server.port, context=unverified())
    else:
        smtp = module.SMTP(server.host, server.port)
    smtp.ehlo()

    def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            refused = smtp.sendmail(SENDER, server.names, content)
            assert not refused, refused

    return send


async def async_session(server: Server) -> AsyncSend:
    import smtpx

    envelope = server.envelope
    opened = smtpx.AsyncSession(server.url, tls=server.policy)
    await opened.open()

    async def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            _ = await opened.send(content, envelope)

    return send


async def async_client(server: Server) -> AsyncSend:
    import smtpx

    envelope = server.envelope
    shared = pooled(smtpx.AsyncClient, server)

    async def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            _ = await shared.send(content, envelope)

    return send


async def async_stream(server: Server) -> AsyncSend:
    import smtpx

    shared = pooled(smtpx.AsyncClient, server)

    async def send(contents: Iterable[bytes]) -> None:
        async for result in many(shared, server, contents):
            assert result.error is None, result.error

    return send


async def aiosmtplib(server: Server) -> AsyncSend:
    import aiosmtplib

    smtp = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        use_tls=server.tls,
        start_tls=False,
        tls_context=unverified() if server.tls else None,
    )
    _ = await smtp.connect()
    _ = await smtp.ehlo()

    async def send(contents: Iterable[bytes]) -> None:
        for content in contents:
            refused, _ = await smtp.sendmail(SENDER, server.names, content)
            assert not refused, refused

    return send


BLOCKING: dict[str, Callable[[Server], Send]] = {
    "call": session,
    "client": client,
    "stream": stream,
    "own": own,
    "smtplib": drop_in,
    "std": standard,
}
ASYNC: dict[str, Callable[[Server], Awaitable[AsyncSend]]] = {
    "acall": async_session,
    "aclient": async_client,
    "astream": async_stream,
    "aiosmtplib": aiosmtplib,
}
# Those that open and share out connections by themselves: which are tasks' or threads' to share,
# and which send all there is at once.
SHARED = (client, async_client)
STREAMS = (stream, own, async_stream)
ON_TRIO = {"tcall": "acall", "tclient": "aclient", "tstream": "astream"}


FROM_FILE = ("file", "pieces", "std_file")


class Clock:
    """Wall time, CPU and what the peak of memory grew by, from its making to `report`."""

    def __init__(self) -> None:
        self.peak = peak_rss()
        self.cpu = time.process_time()
        self.wall = time.perf_counter()

    def report(self, count: int, extra: int) -> None:
        wall = time.perf_counter() - self.wall
        cpu = time.process_time() - self.cpu
        peak = peak_rss()
        report = {"msgs": count, "wall": wall, "cpu": cpu, "extra": extra}
        print(json.dumps({**report, "rss_kb": peak, "grown_kb": peak - self.peak}))


def peak_rss() -> int:
    """Own peak of resident memory in KB; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage has the parent's peak in it.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    return 0


def parts(n: int, count: int, contents: Sequence[bytes]) -> list[Iterator[bytes]]:
    """The n messages, dealt out to so many senders."""
    return [islice(cycle(contents), part, n, count) for part in range(count)]


def places(open_one: Any, server: Server) -> tuple[int, int]:
    """How many senders are opened, and how often each is at work at once."""
    if open_one in STREAMS:
        return 1, 1
    return (1, server.connections) if open_one in SHARED else (server.connections, 1)


def run_blocking(open_one: Callable[[Server], Send], server: Server, n: int, size: int) -> None:
    contents = messages(n, size)
    opened, at_once = places(open_one, server)
    senders = [open_one(server) for _ in range(opened)]
    for send in senders:
        send(contents[:1])
    senders *= at_once
    threads = [
        threading.Thread(target=send, args=(part,))
        for send, part in zip(senders, parts(n, len(senders), contents), strict=True)
    ]
    clock = Clock()
    if len(threads) == 1:
        threads[0].run()
    else:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    clock.report(n, extra=opened)


async def run_async(
    open_one: Callable[[Server], Awaitable[AsyncSend]],
    server: Server,
    n: int,
    size: int,
    at_the_same_time: Callable[[list[Awaitable[None]]], Awaitable[None]],
) -> None:
    contents = messages(n, size)
    opened, at_once = places(open_one, server)
    senders = [await open_one(server) for _ in range(opened)]
    for send in senders:
        await send(contents[:1])
    senders *= at_once
    work = [
        send(part) for send, part in zip(senders, parts(n, len(senders), contents), strict=True)
    ]
    clock = Clock()
    await at_the_same_time(work)
    clock.report(n, extra=opened)


async def gathered(work: list[Awaitable[None]]) -> None:
    import asyncio

    _ = await asyncio.gather(*work)


async def nursed(work: list[Awaitable[None]]) -> None:
    import trio

    async def done(one: Awaitable[None]) -> None:
        await one

    async with trio.open_nursery() as nursery:
        for one in work:
            nursery.start_soon(done, one)


def run_from_file(mode: str, server: Server, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "message.eml"
        with path.open("wb") as file:
            file.writelines(pieces(size))
        send_file = opened_for_files(mode, server)
        clock = Clock()
        send_file(path)
        clock.report(1, extra=0)


def opened_for_files(mode: str, server: Server) -> Callable[[Path], None]:
    if mode == "std_file":
        send = standard(server)
        return lambda path: send([path.read_bytes()])

    import smtpx

    session = smtpx.Session(server.url, tls=server.policy)
    session.open()

    def send_file(path: Path) -> None:
        with path.open("rb") as file:
            source = file if mode == "file" else iter(lambda: file.read(8192), b"")
            _ = session.send(source, server.envelope)

    return send_file


def main(
    blocking: Mapping[str, Callable[[Server], Send]] = BLOCKING,
    in_loop: Mapping[str, Callable[[Server], Awaitable[AsyncSend]]] = ASYNC,
) -> None:
    mode, host, port, n, size, names, connections = sys.argv[1:8]
    plain = mode.removesuffix("_tls")
    server = Server(
        host,
        int(port),
        plain != mode,
        recipients(int(names)),
        int(connections),
        int(os.environ.get("BENCH_WINDOW", "64")),
    )
    if plain in blocking:
        run_blocking(blocking[plain], server, int(n), octets(size))
    elif plain in in_loop:
        import asyncio

        asyncio.run(run_async(in_loop[plain], server, int(n), octets(size), gathered))
    elif plain in ON_TRIO:
        import trio

        trio.run(run_async, ASYNC[ON_TRIO[plain]], server, int(n), octets(size), nursed)
    elif plain in FROM_FILE:
        run_from_file(plain, server, octets(size))
    else:
        sys.exit(f"no mode {mode!r}")


if __name__ == "__main__":
    main()
