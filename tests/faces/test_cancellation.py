"""Cancelled at every point: nothing is left open, and nothing that the server has is denied."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import coroutine
from typing import Any

import pytest
import trio

import smtpx
from smtpx import AsyncClient, AsyncSession, Envelope, PoolLimits, TLSMode, TLSPolicy
from smtpx.testing import ALL_EXTENSIONS, Extension, Latency, Server, ServerTLS, Stall
from tests.faces.conftest import Runner, TrioRunner, together, turn
from tests.faces.proxy_servers import SERVERS, ProxyServer

ENVELOPE = Envelope("ann@example.org", ["bob@example.net", "eve@example.net"])
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"

pytestmark = pytest.mark.timeout(120)


@coroutine
def interrupted(
    awaitable: Coroutine[Any, Any, Any], at: int, interrupt: Callable[[], object]
) -> Generator[Any, Any, tuple[Any, int]]:
    """Await, and call `interrupt` where it is suspended for the `at`-th time."""
    suspensions = 0
    send: Callable[[Any], Any] = awaitable.send
    argument: Any = None
    while True:
        try:
            waited_for = send(argument)
        except StopIteration as stop:
            return stop.value, suspensions
        suspensions += 1
        if suspensions == at:
            _ = interrupt()
        try:
            argument = yield waited_for
            send = awaitable.send
        except BaseException as error:
            argument, send = error, awaitable.throw


@contextmanager
def cancellable(
    late: bool,
) -> Generator[tuple[Callable[[], object], list[BaseException]], None, None]:
    """A block of the running task, what cancels it, and what came of that."""
    caught: list[BaseException] = []
    if trio.lowlevel.in_trio_task():
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            try:
                yield (lambda: token.run_sync_soon(scope.cancel)) if late else scope.cancel, caught
            except trio.Cancelled as error:
                caught.append(error)
                raise
        return
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    assert task is not None
    # Late: what is waited for may have come in the same turn of the loop.
    cancel = task.cancel
    try:
        yield (lambda: loop.call_soon(lambda: loop.call_soon(cancel))) if late else cancel, caught
    except asyncio.CancelledError as error:
        _ = task.uncancel()
        caught.append(error)


async def in_asyncio(call: Coroutine[Any, Any, Any], at: int, late: bool) -> Any:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    # Late: what is waited for may have come in the same turn of the loop.

    def interrupt() -> None:
        if late:
            _ = loop.call_soon(lambda: loop.call_soon(task.cancel))
        else:
            _ = task.cancel()

    try:
        return await interrupted(call, at, interrupt)
    except asyncio.CancelledError as error:
        _ = task.uncancel()
        return error


async def in_trio(call: Coroutine[Any, Any, Any], at: int, late: bool) -> Any:
    caught: list[BaseException] = []
    with trio.CancelScope() as scope:
        token = trio.lowlevel.current_trio_token()

        def interrupt() -> None:
            if late:
                token.run_sync_soon(scope.cancel)
            else:
                scope.cancel()

        try:
            return await interrupted(call, at, interrupt)
        except trio.Cancelled as error:
            caught.append(error)
            raise
    return caught[0]


def descriptors() -> list[int]:
    with os.scandir("/proc/self/fd") as found:
        return [int(entry.name) for entry in found]


def left_open(before: list[int], runner: Runner) -> list[str]:
    """What is open beyond as many descriptors as before.

    The server's may take a moment, and those of a loop some of its turns.
    """
    until = time.monotonic() + 5
    while len(descriptors()) > len(before) and time.monotonic() < until:
        _ = gc.collect()
        runner.run(turn)
        time.sleep(0.001)
    now = descriptors()
    if len(now) <= len(before):
        return []
    return [described(descriptor) for descriptor in now if descriptor not in before]


def described(descriptor: int) -> str:
    try:
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        if target.startswith("socket:"):
            with socket.socket(fileno=os.dup(descriptor)) as end:
                return f"{descriptor}: {end!r}"
    except OSError as error:
        return f"{descriptor}: {error}"
    return f"{descriptor}: {target}"


@pytest.mark.requirement("T42")
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("tls", ServerTLS)
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_cancelled_at_every_await(runner: Runner, tls: ServerTLS, late: bool, size: int):
    """Nothing is left open, and nothing that the server has is told to be not sent."""
    content = b"x" * size + b"\r\n"
    users = {"ann": "secret"}
    with Server(tls=tls, users=users, buffer_size=65536 if size > 1 else None) as server:
        policy = None
        if tls is not ServerTLS.NONE:
            policy = TLSPolicy(TLSMode(tls.value), ca_file=server.ca_file)
        credentials = smtpx.Credentials("ann", slow_password)
        options: dict[str, Any] = {"tls": policy, "credentials": credentials}

        async def again() -> smtpx.SendResult:
            async with AsyncClient(server.url, **options) as client:
                return await client.send(CONTENT, ENVELOPE)

        assert len(runner.run(again).accepted) == 2
        _ = server.wait_until_idle()
        before = descriptors()
        beliefs: set[str] = set()

        def cancel(at: int) -> bool:
            """Cancel a call at its so-manieth await; False if it has fewer."""
            server.clear_messages()
            client = AsyncClient(server.url, **options)
            outcome = runner.run(lambda: call_in(runner)(client.send(content, ENVELOPE), at, late))
            if isinstance(outcome, tuple):
                assert len(outcome[0].accepted) == 2
                runner.run(client.close)
                return False
            assert client.statistics().open == 0
            # The loop's next turns close what was aborted; the server then hears of it.
            runner.run(turn)
            _ = server.wait_until_idle()
            assert left_open(before, runner) == []
            result: smtpx.SendResult | None = getattr(outcome, "result", None)
            if result is None or result.not_tried:
                assert server.messages == []
                beliefs.add("not sent")
            else:
                assert result.in_doubt
                assert "bob@example.net, eve@example.net" in outcome.__notes__[0]
                beliefs.add("in doubt")
            server.clear_messages()
            assert len(runner.run(lambda: client.send(CONTENT, ENVELOPE)).accepted) == 2
            assert len(server.messages) == 1
            runner.run(client.close)
            _ = server.wait_until_idle()
            return True

        # How many awaits there are depends on how the replies are cut: the last may be missed.
        for _ in range(5):
            at = 1
            while cancel(at):
                at += 1
            if late or len(beliefs) == 2:
                break
        assert beliefs == {"not sent", "in doubt"} or (late and beliefs == {"not sent"})


TWO_DOMAINS = Envelope("ann@example.org", ["bob@one.test", "eve@two.test"])


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("way", ["retired", "one shot", "two sessions"])
def test_what_became_of_a_message_is_told_whenever_it_is_cancelled(
    runner: Runner, way: str, late: bool
):
    """Also while QUIT is answered, and in the session of the second half of the recipients."""
    domains = 1 if way == "two sessions" else None
    limits = PoolLimits(open=1, idle=0)
    with Server(extensions=ALL_EXTENSIONS, domain_limit=domains) as server:

        def cancel(at: int) -> bool:
            server.clear_messages()
            client = AsyncClient(server.url, pool=limits)
            if way == "one shot":
                call = smtpx.asend(CONTENT, server.url, envelope=TWO_DOMAINS)
            else:
                call = client.send(CONTENT, TWO_DOMAINS)
            outcome = runner.run(lambda: call_in(runner)(call, at, late))
            runner.run(turn)
            runner.run(client.close)
            _ = server.wait_until_idle()
            taken = {name for message in server.messages for name in message.recipients}
            result = outcome[0] if isinstance(outcome, tuple) else getattr(outcome, "result", None)
            if result is None:
                assert not taken
            else:
                accepted = {str(told.recipient) for told in result.accepted}
                doubtful = {str(told.recipient) for told in result.in_doubt}
                assert accepted <= taken <= accepted | doubtful
                told.add("all" if len(accepted) == 2 else "some" if accepted else "none")
            return not isinstance(outcome, tuple)

        told: set[str] = set()
        at = 1
        while cancel(at):
            at += 1
        assert at > 2
        assert "all" in told
        assert way != "two sessions" or "some" in told


async def slow_password() -> str:
    await turn()
    return "secret"


@pytest.mark.requirement("T42")
@pytest.mark.parametrize("scheme", SERVERS)
def test_cancelled_on_the_way_through_a_proxy(runner: Runner, scheme: str):
    """The bound is one connection: a slot that were not freed would be missed."""
    with (
        Server(users={"ann": "secret"}) as server,
        ProxyServer(SERVERS[scheme], names={"mx.test": server.port}) as proxy,
    ):
        options: dict[str, Any] = {
            "proxy": f"{scheme}://127.0.0.1:{proxy.port}",
            "credentials": smtpx.Credentials("ann", slow_password),
            "pool": PoolLimits(open=1, wait=10),
        }

        async def main(at: int) -> bool:
            async with AsyncClient("smtp://mx.test?tls=none", **options) as client:
                call = client.send(CONTENT, ENVELOPE)
                outcome = await call_in(runner)(call, at, False)
                if isinstance(outcome, tuple):
                    return False
                statistics = client.statistics()
                assert (statistics.busy, statistics.opening, statistics.open) == (0, 0, 0)
                assert (await client.send(CONTENT, ENVELOPE)).error is None
                return True

        at = 1
        while runner.run(lambda: main(at)):  # noqa: B023 - it runs here
            at += 1
        assert at > 3
        assert server.breaches == []


def test_who_is_cancelled_elsewhere_does_not_say_goodbye(runner: Runner):
    with Server(faults=[Stall("QUIT")]) as server:

        async def main() -> None:
            async with AsyncSession(server.url) as session:
                _ = await session.noop()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            runner.run(main)
        runner.run(turn)
        _ = server.wait_until_idle()
        assert "QUIT" not in server.sessions[0].commands


def call_in(runner: Runner) -> Callable[[Coroutine[Any, Any, Any], int, bool], Any]:
    return in_trio if isinstance(runner, TrioRunner) else in_asyncio


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_who_waits_gets_the_turn_of_who_is_cancelled(runner: Runner, used: bool, late: bool):
    """The bound is one connection: a slot that were not freed would be missed."""

    async def main(url: str, at: int) -> bool:
        async with AsyncClient(url, pool=PoolLimits(open=1, wait=10)) as client:
            if used:
                _ = await client.send(CONTENT, ENVELOPE)
            outcomes: list[Any] = []

            async def cancelled() -> None:
                call = client.send(CONTENT, ENVELOPE)
                outcomes.append(await call_in(runner)(call, at, late))

            async def waiting() -> None:
                assert (await client.send(CONTENT, ENVELOPE)).error is None

            await together([cancelled, waiting, waiting])()
            statistics = client.statistics()
            assert (statistics.busy, statistics.opening, statistics.waiting) == (0, 0, 0)
            assert statistics.open <= 1
            return not isinstance(outcomes[0], tuple)

    # A message on an open connection is awaited once: no reply comes before who cancels late.
    with Server(faults=[Latency(0.02)]) as server:
        at = 1
        while runner.run(lambda: main(server.url, at)):  # noqa: B023 - it runs here
            assert len(server.messages) in (2 + used, 3 + used)
            server.clear_messages()
            at += 1
        assert at > 1
        assert server.breaches == []


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_cancelled_while_it_waits(runner: Runner, late: bool):
    """Who gives up waiting holds nobody up, even if its turn had just come."""

    async def main(url: str, at: int) -> bool:
        async with AsyncClient(url, pool=PoolLimits(open=1, wait=10)) as client:
            outcomes: list[Any] = []

            async def holding() -> None:
                assert (await client.send(CONTENT, ENVELOPE)).error is None

            async def cancelled() -> None:
                call = client.send(CONTENT, ENVELOPE)
                outcomes.append(await call_in(runner)(call, at, late))

            await together([holding, cancelled, holding])()
            statistics = client.statistics()
            assert (statistics.busy, statistics.opening, statistics.waiting) == (0, 0, 0)
            return not isinstance(outcomes[0], tuple)

    with Server() as server:
        at = 1
        while runner.run(lambda: main(server.url, at)):  # noqa: B023 - it runs here
            at += 1
        assert at > 1
        assert server.breaches == []


WAYS = {
    "BDAT": ALL_EXTENSIONS,
    "DATA": ALL_EXTENSIONS - {Extension.CHUNKING, Extension.BINARYMIME},
    "lock-step": ALL_EXTENSIONS - {Extension.PIPELINING},
}


@pytest.mark.requirement("T42")
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", ["blocking", "asynchronous"])
@pytest.mark.parametrize("late", [False, True])
def test_send_many_cancelled_at_every_line(runner: Runner, way: str, source: str, late: bool):
    """The caller is cancelled whenever a line is said, on any of its connections."""
    count = 10
    items = [(b"%d\r\n" % i, Envelope(f"s{i}@x.test", "bob@example.net")) for i in range(count)]

    async def arriving() -> AsyncIterator[tuple[bytes, Envelope]]:
        for item in items:
            yield item

    with Server(extensions=WAYS[way]) as server:

        def cancel(at: int) -> bool:
            """Cancel at the so-manieth line; False if there are fewer."""
            server.clear_messages()
            lines = 0
            interrupt: Callable[[], object] | None = None

            def observe(event: smtpx.Event) -> None:
                nonlocal lines
                lines += 1
                if lines == at and interrupt is not None:
                    _ = interrupt()

            client = AsyncClient(server.url, observer=observe)
            told: list[smtpx.SendResult] = []

            async def consume() -> None:
                messages = items if source == "blocking" else arriving()
                sending = client.send_many(messages, connections=2, window=3)
                async with aclosing(sending) as results:
                    async for result in results:
                        told.append(result)

            async def main() -> BaseException | None:
                nonlocal interrupt
                with cancellable(late) as (interrupt, caught):
                    await consume()
                interrupt = None
                return caught[0] if caught else None

            outcome = runner.run(main)
            statistics = client.statistics()
            assert (statistics.busy, statistics.opening, statistics.waiting) == (0, 0, 0)
            runner.run(client.close)
            _ = server.wait_until_idle()
            told.extend(getattr(outcome, "results", []))
            assert all(times == 1 for times in Counter(r.message for r in told).values())
            taken = {message.content for message in server.messages}
            assert len(taken) == len(server.messages)
            accepted = {result.message for result in told if result.accepted}
            doubtful = {result.message for result in told if result.in_doubt}
            assert accepted <= taken <= accepted | doubtful
            assert outcome is not None or len(accepted) == count
            return lines >= at

        assert not cancel(10_000)
        before = descriptors()
        at = 1
        while cancel(at):
            at += 1
        assert at > count
        assert left_open(before, runner) == []


@pytest.mark.parametrize("end", ["break", "aclose"])
def test_who_reads_no_further_leaves_nothing(runner: Runner, end: str):
    ended = 0

    async def arriving() -> AsyncIterator[tuple[bytes, Envelope]]:
        nonlocal ended
        try:
            while True:
                yield CONTENT, ENVELOPE
        finally:
            ended += 1

    async def main(url: str) -> None:
        async with AsyncClient(url) as client:
            results = client.send_many(arriving(), connections=3, window=4)
            async for result in results:
                assert result.error is None
                if end == "break":
                    break
                await results.aclose()
            await results.aclose()
            assert client.statistics().busy == 0

    with Server() as server:
        runner.run(lambda: main(server.url))
        _ = server.wait_until_idle()
        before = descriptors()
        runner.run(lambda: main(server.url))
        assert ended == 2
        _ = server.wait_until_idle()
        assert left_open(before, runner) == []
