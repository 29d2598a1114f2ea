"""One `AsyncClient` in several runs of loops: each has connections of its own."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

import smtpx
from smtpx import AsyncClient, Envelope, PoolLimits
from smtpx.testing import Latency, Server

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")

pytestmark = [
    pytest.mark.timeout(60),
    # asyncio says so of what is left to a loop that has ended, also where it was closed since.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RUNS: dict[str, Callable[[Callable[[], Any]], object]] = {
    "asyncio": lambda call: asyncio.run(call()),
    "trio": lambda call: trio.run(call),
}


@pytest.mark.parametrize("second", RUNS)
@pytest.mark.parametrize("first", RUNS)
def test_runs_in_threads_do_not_disturb_each_other(first: str, second: str):
    """As where views of a web framework run in threads."""
    with Server(faults=[Latency(0.002)]) as server:
        client = AsyncClient(server.url, pool=PoolLimits(open=2))
        errors: list[BaseException] = []

        async def send() -> None:
            for _ in range(20):
                assert (await client.send(CONTENT, ENVELOPE)).accepted

        def run(name: str) -> None:
            try:
                _ = RUNS[name](send)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=[name]) for name in (first, second) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(server.messages) == 80
        assert server.breaches == []
        _ = RUNS[first](client.close)
        _ = server.wait_until_idle()
        _ = gc.collect()


@pytest.mark.parametrize("other", RUNS)
def test_what_a_run_has_left_is_closed_with_the_client(other: str):
    """Also where the run that closes it was there before that one."""
    with Server() as server:
        client = AsyncClient(server.url)

        async def send() -> None:
            assert (await client.send(CONTENT, ENVELOPE)).accepted

        loop = asyncio.new_event_loop()
        loop.run_until_complete(send())
        _ = RUNS[other](send)
        assert client.statistics().open == 2
        loop.run_until_complete(client.close())
        loop.close()
        assert client.statistics().open == 0
        _ = server.wait_until_idle()
        _ = gc.collect()


@pytest.mark.parametrize("second", RUNS)
@pytest.mark.parametrize("first", RUNS)
def test_what_a_run_has_left_is_closed_in_the_next(first: str, second: str):
    with Server() as server:
        client = AsyncClient(server.url)

        async def send() -> None:
            assert (await client.send(CONTENT, ENVELOPE)).accepted
            assert client.statistics().idle == 1

        _ = RUNS[first](send)
        assert client.statistics().idle == 1
        _ = RUNS[second](send)
        _ = RUNS[second](client.close)
        assert len(server.wait_until_idle()) == 2
        _ = gc.collect()


def test_closed_is_closed_in_every_run():
    with Server() as server:
        client = AsyncClient(server.url)
        sent, closed = threading.Event(), threading.Event()
        errors: list[BaseException] = []

        async def send() -> None:
            assert (await client.send(CONTENT, ENVELOPE)).accepted
            sent.set()
            while not closed.is_set():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)
            assert client.statistics().open == 0
            with pytest.raises(smtpx.LocalProtocolError, match="closed"):
                _ = await client.send(CONTENT, ENVELOPE)

        def run() -> None:
            try:
                asyncio.run(send())
            except BaseException as error:
                errors.append(error)

        other = threading.Thread(target=run)
        other.start()
        _ = sent.wait()
        asyncio.run(client.close())
        closed.set()
        other.join()
        assert errors == []
        assert len(server.wait_until_idle()) == 1
