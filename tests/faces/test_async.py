"""What only asynchronous faces have: cancellation, tasks, loops, and being like the other ones."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import subprocess
import sys
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
)
from contextlib import aclosing
from typing import Any

import pytest
import trio

import smtpx
from smtpx import AsyncClient, AsyncSession, Envelope, PoolLimits, Timeouts, TLSMode, TLSPolicy
from smtpx._drivers.asyncio_driver import AsyncioDriver
from smtpx._drivers.waiting import KEPT
from smtpx._faces.tally import READ_AHEAD
from smtpx.testing import ALL_EXTENSIONS, AppendToReply, Close, Extension, Server, ServerTLS, Stall
from smtpx.testing._tls import Authority, TLSChannel
from tests.faces.conftest import ASYNCHRONOUS, Runner, runner_of, together, turn

ENVELOPE = Envelope("ann@example.org", ["bob@example.net", "eve@example.net"])
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"

pytestmark = pytest.mark.timeout(60)


# The faces are alike.


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


BLOCKING = {
    "Session": {
        *("attempt", "close", "close_by", "command", "expand", "help", "noop", "open", "open_by"),
        *("reset", "send", "send_by", "take", "verify", "xclient"),
    },
    "Client": {"send", "close"},
}


def shape(method: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """The signature but for its annotations: what is iterable may be so asynchronously."""
    parameters = inspect.signature(method).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]


@pytest.mark.parametrize(
    ("blocking", "asynchronous"), [(smtpx.Session, AsyncSession), (smtpx.Client, AsyncClient)]
)
def test_the_faces_are_alike(blocking: type, asynchronous: type):
    theirs = public(blocking)
    ours = public(asynchronous)
    assert set(theirs) == set(ours)
    for name, method in ours.items():
        if isinstance(method, property):
            assert isinstance(theirs[name], property)
            continue
        assert inspect.iscoroutinefunction(method) is (name in BLOCKING[blocking.__name__])
        assert inspect.isasyncgenfunction(method) is inspect.isgeneratorfunction(theirs[name])
        assert shape(method) == shape(theirs[name])
    assert inspect.signature(asynchronous) == inspect.signature(blocking)


def test_one_shot_is_alike():
    assert shape(smtpx.asend) == shape(smtpx.send)
    assert inspect.iscoroutinefunction(smtpx.asend)


def test_importing_is_light():
    """Neither asyncio nor trio before a loop runs; only the one that does, then."""
    script = (
        "import sys, smtpx\n"
        "assert not {'asyncio', 'trio'} & set(sys.modules)\n"
        "smtpx.AsyncClient('smtp://localhost'); smtpx.AsyncSession('smtp://localhost')\n"
        "assert not {'asyncio', 'trio', 'ssl', 'email'} & set(sys.modules), sys.modules.keys()\n"
        "import asyncio\n"
        "session = smtpx.AsyncSession('smtp://127.0.0.1:1')\n"
        "try: asyncio.run(session.open())\n"
        "except smtpx.ConnectionLost: pass\n"
        "assert 'trio' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_aborted_by_another_task():
    """Who waits for a reply is told that there will be none."""

    async def main(url: str) -> None:
        async with AsyncSession(url) as session:
            waiting = asyncio.create_task(session.noop())
            await asyncio.sleep(0.05)
            session.abort()
            with pytest.raises(smtpx.ConnectionLost):
                _ = await waiting
            assert not session.is_open

    with Server(faults=[Stall("NOOP")]) as server:
        asyncio.run(main(server.url), debug=True)


# Tasks and loops.


def test_tasks_take_turns(runner: Runner):
    with Server() as server:
        client = AsyncClient(server.url, pool=PoolLimits(open=1))
        runner.run(together([lambda: client.send(CONTENT, ENVELOPE)] * 16))
        runner.run(client.close)
        assert len(server.messages) == 16
        assert len(server.sessions) == 1
        assert server.breaches == []


def test_sessions_side_by_side(runner: Runner):
    with Server() as server:
        runner.run(together([lambda: smtpx.asend(CONTENT, server.url, envelope=ENVELOPE)] * 16))
        assert len(server.messages) == 16
        assert len(server.sessions) == 16


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("first", ASYNCHRONOUS)
@pytest.mark.parametrize("second", ASYNCHRONOUS)
def test_a_client_outlives_its_loop(first: str, second: str):
    with Server() as server:
        client = AsyncClient(server.url)
        for left, name in ((True, first), (False, second)):
            runner = runner_of(name)
            assert runner is not None
            calls = [lambda: client.send(CONTENT, ENVELOPE)] * 3
            runner.run(together(calls))
            if not left:
                runner.run(client.close)
            runner.close()
        assert len(server.messages) == 6
        assert client.statistics().open == 0
        _ = server.wait_until_idle()
        _ = gc.collect()


def test_no_task_is_destroyed_and_nothing_is_left_unclosed():
    """In debug mode, over a loop's whole life."""

    async def main(url: str, **options: Any) -> None:
        for _ in range(3):
            async with AsyncSession(url, **options) as session:
                _ = await session.send(CONTENT, ENVELOPE)
        abandoned = AsyncSession(url, **options)
        await abandoned.open()
        abandoned.abort()

    for tls in ServerTLS:
        with Server(tls=tls) as server:
            options: dict[str, Any] = {}
            if tls is not ServerTLS.NONE:
                options["tls"] = TLSPolicy(TLSMode(tls.value), ca_file=server.ca_file)
            asyncio.run(main(server.url, **options), debug=True)
            trio.run(lambda: main(server.url, **options))  # noqa: B023 - it runs here
    _ = gc.collect()


# Content that arrives.

LINES = ALL_EXTENSIONS - {Extension.CHUNKING, Extension.BINARYMIME}


@pytest.mark.parametrize("extensions", [ALL_EXTENSIONS, LINES])
@pytest.mark.parametrize("piece", [1, 7, 1000, 300_000])
def test_content_from_an_asynchronous_iterator(
    runner: Runner, extensions: frozenset[Extension], piece: int
):
    content = b".a line\r\n" * (300 if piece < 1000 else 300_000)
    ended = 0

    async def arriving() -> AsyncIterator[bytes]:
        nonlocal ended
        for start in range(0, len(content), piece):
            if start % 7 == 0:
                await turn()
            yield content[start : start + piece]
        ended += 1

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            assert len((await client.send(arriving(), ENVELOPE)).accepted) == 2
        async with AsyncSession(server.url) as session:
            assert len((await session.send(arriving(), ENVELOPE)).accepted) == 2
        assert len((await smtpx.asend(arriving(), server.url, envelope=ENVELOPE)).accepted) == 2

    with Server(extensions=extensions) as server:
        runner.run(main)
        assert [message.content == content for message in server.messages] == [True] * 3
        assert ended == 3


def test_arriving_content_is_read_as_there_is_room(runner: Runner):
    read = 0

    async def arriving() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 100_000
            yield b"x" * 99_998 + b"\r\n"

    async def main() -> None:
        async with AsyncClient(server.url, timeouts=Timeouts.each(0.5)) as client:
            with pytest.raises(smtpx.TimedOut):
                _ = await client.send(arriving(), ENVELOPE)

    faults = [Stall("DATA", reading=False)]
    with Server(extensions=LINES, faults=faults, buffer_size=4096) as server:
        runner.run(main)
        assert read < 10_000_000


@pytest.mark.parametrize("extensions", [ALL_EXTENSIONS, LINES])
def test_arriving_content_that_breaks_off(runner: Runner, extensions: frozenset[Extension]):
    async def arriving() -> AsyncIterator[bytes]:
        yield b"half\r\n"
        raise ZeroDivisionError

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            with pytest.raises(ZeroDivisionError):
                _ = await client.send(arriving(), ENVELOPE)
            assert (await client.send(CONTENT, ENVELOPE)).error is None

    with Server(extensions=extensions) as server:
        runner.run(main)
        assert [message.content for message in server.messages] == [CONTENT]


def test_arriving_content_and_an_idle_connection_that_is_gone(runner: Runner):
    """What was read ahead for the first is not lost to the second."""

    async def arriving() -> AsyncIterator[bytes]:
        yield b"one\r\n"
        yield b"two\r\n"

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            _ = await client.send(CONTENT, ENVELOPE)
            server.add_fault(Close("MAIL", session=1))
            assert (await client.send(arriving(), ENVELOPE)).error is None

    with Server() as server:
        runner.run(main)
        assert server.messages[1].content == b"one\r\ntwo\r\n"


# send_many.


async def numbered(count: int) -> AsyncIterator[tuple[bytes, Envelope]]:
    for i in range(count):
        yield b"%d\r\n" % i, Envelope(f"s{i}@x.test", "bob@example.net")


def test_send_many_from_an_asynchronous_iterator(runner: Runner):
    async def main() -> list[smtpx.SendResult]:
        async with AsyncClient(server.url) as client:
            return [result async for result in client.send_many(numbered(20))]

    with Server(refuse_senders={"s7@x.test": "550 5.7.1 no"}) as server:
        results = runner.run(main)
        assert [result.message for result in results] == [b"%d\r\n" % i for i in range(20)]
        assert [i for i, result in enumerate(results) if not result.accepted] == [7]
        assert len(server.messages) == 19


def test_send_many_and_what_cannot_be_sent(runner: Runner):
    async def main() -> list[smtpx.SendResult]:
        async with AsyncClient(server.url) as client:
            items: list[Any] = [b"no envelope", (7, ENVELOPE), (CONTENT, ENVELOPE)]
            return [result async for result in client.send_many(items)]

    with Server() as server:
        results = runner.run(main)
        assert [bool(result.accepted) for result in results] == [False, False, True]
        assert [type(result.error) for result in results[:2]] == [smtpx.LocalProtocolError] * 2


def test_a_source_that_waits_for_what_became_of_the_one_before(runner: Runner):
    """Results are told while the next message is still awaited, and no connection is held."""

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            told: list[smtpx.SendResult] = []

            async def arriving() -> AsyncIterator[tuple[bytes, Envelope]]:
                for i in range(10):
                    while len(told) < i:
                        await turn()
                    yield b"%d\r\n" % i, ENVELOPE
                while client.statistics().busy:
                    await turn()

            async for result in client.send_many(arriving(), connections=2):
                told.append(result)
            assert [result.message for result in told] == [b"%d\r\n" % i for i in range(10)]

    with Server() as server:
        runner.run(main)
        assert len(server.messages) == 10
        assert len(server.sessions) == 1


def test_an_asynchronous_source_that_fails(runner: Runner):
    async def failing() -> AsyncIterator[tuple[bytes, Envelope]]:
        async for item in numbered(3):
            yield item
        raise ZeroDivisionError

    results: list[smtpx.SendResult] = []

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            async for result in client.send_many(failing()):
                results.append(result)

    with Server() as server:
        with pytest.raises(ZeroDivisionError):
            runner.run(main)
        assert [len(result.accepted) for result in results] == [1] * 3
        assert len(server.messages) == 3


@pytest.mark.parametrize("connections", [1, 3])
def test_a_slow_reader_holds_the_connections_up(runner: Runner, connections: int):
    read = 0

    async def arriving() -> AsyncIterator[tuple[bytes, Envelope]]:
        nonlocal read
        while True:
            read += 1
            yield CONTENT, ENVELOPE

    async def main() -> None:
        async with (
            AsyncClient(server.url) as client,
            aclosing(client.send_many(arriving(), connections=connections, window=4)) as results,
        ):
            _ = await anext(results)
            # It reads no more, however long the connections could go on.
            before, settled = -1, 0
            while settled < 50:
                settled = settled + 1 if before == read else 0
                before = read
                await asleep(0.002)
            assert client.statistics().busy == 0
            # As many results as windows hold, what was on its way, and what was read ahead.
            assert read <= 2 * connections * 4 + connections * 4 + 2 * READ_AHEAD

    with Server() as server:
        runner.run(main)


async def asleep(seconds: float) -> None:
    if trio.lowlevel.in_trio_task():
        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


# The asyncio driver's own.


def test_one_alarm_serves_many_waits():
    """A timer for each reply would be the dearest part of it."""

    async def main(url: str) -> None:
        loop = asyncio.get_running_loop()
        alarms = 0
        call_later = loop.call_later

        def counted(*args: Any, **options: Any) -> asyncio.TimerHandle:
            nonlocal alarms
            alarms += 1
            return call_later(*args, **options)

        async with AsyncSession(url) as session:
            loop.call_later = counted  # type: ignore[method-assign,assignment] # counts
            for _ in range(50):
                _ = await session.send(CONTENT, ENVELOPE)
        assert alarms <= 3

    with Server() as server:
        asyncio.run(main(server.url))


def test_a_reply_costs_two_turns_of_the_loop():
    async def main(url: str) -> int:
        loop = asyncio.get_running_loop()
        turns = 0
        run_once = loop._run_once  # type: ignore[attr-defined] # counts

        def counted() -> None:
            nonlocal turns
            turns += 1
            run_once()

        async with AsyncSession(url) as session:
            _ = await session.send(CONTENT, ENVELOPE)
            loop._run_once = counted  # type: ignore[attr-defined] # counts
            for _ in range(50):
                _ = await session.send(CONTENT, ENVELOPE)
            return turns

    with Server() as server:
        # Two replies are waited for, the group's and the content's; some come in two parts.
        assert asyncio.run(main(server.url)) <= 50 * 4 + 20


def in_records(listener: socket.socket, authority: Authority) -> None:
    """Answer one client, each line in a record of its own, and all of them in one segment."""
    replies = {
        b"EHLO": [b"250-mail.test\r\n", b"250-SIZE 7\r\n", b"250 8BITMIME\r\n"],
        b"NOOP": [b"250-o\r\n", b"250 k\r\n"],
        b"QUIT": [b"221 bye\r\n"],
    }
    connection, _ = listener.accept()
    channel = TLSChannel(authority.server_context)
    with connection:
        while octets := connection.recv(65536):
            had_greeted = channel.established
            heard = channel.receive(octets)
            lines = replies[heard[:4]] if heard else []
            if channel.established and not had_greeted:
                lines = [b"220-mail\r\n", b"220 test\r\n"]
            connection.sendall(b"".join([channel.encrypt(b""), *map(channel.encrypt, lines)]))


def test_several_records_read_at_once(runner: Runner):
    """asyncio fills a slice of our buffer for each record after the first (CPython 156275)."""

    async def main(port: int) -> None:
        policy = TLSPolicy(TLSMode.IMPLICIT, context=authority.client_context())
        url = f"smtps://127.0.0.1:{port}"
        async with AsyncSession(url, tls=policy, timeouts=Timeouts.each(5)) as session:
            assert session.greeting is not None
            assert session.greeting.lines == ("mail", "test")
            assert session.extensions.size == 7
            assert session.extensions.eight_bit_mime
            for _ in range(3):
                assert (await session.noop()).lines == ("o", "k")

    authority = Authority(["127.0.0.1"], expired=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=in_records, args=(listener, authority), daemon=True)
        server.start()
        runner.run(lambda: main(listener.getsockname()[1]))
        server.join(5)
    authority.close()


def test_a_peer_that_never_stops_talking_is_held_up():
    async def main(url: str) -> None:
        session = AsyncSession(url, timeouts=Timeouts.each(5))
        await session.open()
        await asyncio.sleep(0.3)
        driver = session._driver
        assert isinstance(driver, AsyncioDriver)
        assert 0 < len(driver._arrived) < KEPT / 16
        with pytest.raises(smtpx.RemoteProtocolError):
            _ = await session.noop()
        await session.close()

    with Server(faults=[AppendToReply("EHLO", b"x" * 10_000_000)]) as server:
        asyncio.run(main(server.url))


def test_a_client_that_did_nothing_has_figures():
    client = AsyncClient("smtp://localhost")
    assert client.statistics().opened == 0
