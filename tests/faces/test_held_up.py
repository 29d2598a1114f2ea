"""`send_many`: a message that is held up holds up no other; and an iterable that has none yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio

import smtpx
from smtpx import NOTHING_YET, AsyncClient, Client, Envelope, PoolLimits
from smtpx.testing import Server
from tests.slow_server import SlowServer

pytestmark = pytest.mark.timeout(60)

Message = tuple[bytes, Envelope]


def to(name: str) -> Message:
    return b"Subject: %b\r\n\r\nhi\r\n" % name.encode(), Envelope("a@x.test", f"{name}@y.test")


async def awaited(source: Iterator[Any]) -> AsyncIterator[Any]:
    for item in source:
        await asyncio.sleep(0)
        yield item


async def awaited_by_trio(source: Iterator[Any]) -> AsyncIterator[Any]:
    for item in source:
        await trio.sleep(0)
        yield item


def blocking(url: str, source: Iterator[Any], hear: Callable[[Any], None]) -> None:
    with Client(url, timeout=20, pool=PoolLimits(open=2)) as client:
        for result in client.send_many(source, connections=2):
            hear(result)


async def asynchronous(url: str, source: Any, hear: Callable[[Any], None]) -> None:
    async with AsyncClient(url, timeout=20, pool=PoolLimits(open=2)) as client:
        async for result in client.send_many(source, connections=2):
            hear(result)


FACES: dict[str, Callable[[str, Iterator[Any], Callable[[Any], None]], None]] = {
    "blocking": blocking,
    "asyncio": lambda *given: asyncio.run(asynchronous(*given)),
    "trio": lambda *given: trio.run(asynchronous, *given),
    "asyncio, awaited": lambda url, source, hear: asyncio.run(
        asynchronous(url, awaited(source), hear)
    ),
    "trio, awaited": lambda url, source, hear: trio.run(
        asynchronous, url, awaited_by_trio(source), hear
    ),
}


def bit_by_bit(server: SlowServer) -> Iterator[Any]:
    yield to("slow")
    while not server.begun.is_set():
        yield NOTHING_YET
    for name in ("ann", "bob"):
        yield to(name)
        yield NOTHING_YET


def taking_its_time(server: SlowServer) -> Iterator[Any]:
    yield to("slow")
    while not server.begun.is_set():
        yield NOTHING_YET
    for name in ("ann", "bob"):
        time.sleep(0.05)
        yield to(name)


@pytest.mark.parametrize("source", [bit_by_bit, taking_its_time])
@pytest.mark.parametrize("face", FACES)
def test_what_is_held_up_holds_up_no_other(
    face: str, source: Callable[[SlowServer], Iterator[Any]]
) -> None:
    told: list[str] = []

    with SlowServer() as server:

        def hear(result: Any) -> None:
            (outcome,) = result.accepted
            told.append(outcome.recipient.local_part)
            if len(told) == 2:
                server.released.set()

        FACES[face](server.url, source(server), hear)
    assert told == ["ann", "bob", "slow"]


@pytest.mark.parametrize("face", FACES)
def test_an_iterable_that_has_nothing_yet_is_asked_again(face: str) -> None:
    told: list[str] = []

    def source() -> Iterator[Any]:
        for name in ("ann", "bob"):
            yield NOTHING_YET
            yield NOTHING_YET
            yield to(name)
        yield NOTHING_YET

    with Server() as server:
        FACES[face](
            server.url,
            source(),
            lambda result: told.append(result.accepted[0].recipient.local_part),
        )
        assert len(server.messages) == 2
    assert told == ["ann", "bob"]


@pytest.mark.parametrize("name", ["slow", "ann"])
@pytest.mark.parametrize("face", FACES)
def test_while_it_has_nothing_nobody_spins(face: str, name: str) -> None:
    """Whether something is on its way or not."""
    asked = 0

    with SlowServer() as server:

        def source() -> Iterator[Any]:
            nonlocal asked
            yield to(name)
            end = time.monotonic() + 1
            while time.monotonic() < end:
                asked += 1
                yield NOTHING_YET
            server.released.set()

        FACES[face](server.url, source(), lambda _: None)
    assert asked < 20


@pytest.mark.parametrize("face", FACES)
def test_none_is_no_message_and_does_not_pass_for_nothing_yet(face: str) -> None:
    told: list[smtpx.SendResult] = []
    with Server() as server:
        FACES[face](server.url, iter([None, to("ann")]), told.append)
    assert [bool(result.accepted) for result in told] == [False, True]
    assert isinstance(told[0].error, smtpx.LocalProtocolError)


def test_it_says_what_it_is() -> None:
    assert repr(NOTHING_YET) == "smtpx.NOTHING_YET"
