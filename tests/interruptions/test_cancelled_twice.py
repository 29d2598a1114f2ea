"""Cancelled twice, or struck by SIGINT twice, under asyncio and trio: all is told, nothing lost.

The second one comes while what the first one began is cleared away.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable
from pathlib import Path
from types import FrameType, coroutine
from typing import Any

import pytest
import trio

import smtpx
from smtpx import AsyncClient, AsyncSession, PoolLimits, SendResult, Status
from tests.interruptions.noting import Noting, Ways
from tests.interruptions.points import Points
from tests.interruptions.subjects import open_files
from tests.interruptions.test_twice import AFTER, DATA, ENVELOPE, EVE, MESSAGES, content

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc"),
]


class Face:
    """One way of sending, which keeps what it is told of each message."""

    messages = 1

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = AsyncClient(url, pool=PoolLimits(open=2, wait=5))
        self.told: list[SendResult] = []
        self.is_at_work = False

    async def send(self) -> None:
        """What is cancelled."""
        raise NotImplementedError

    async def call(self) -> None:
        """Send, and take what hangs on whatever ends that."""
        self.is_at_work = True
        try:
            await self.send()
        except BaseException as error:
            self.is_at_work = False
            result = vars(error).get("result")
            self.told += [] if result is None else [result]
            self.told += vars(error).get("results", [])
            raise
        finally:
            self.is_at_work = False

    def counts(self, frame: FrameType) -> bool:
        """True in what is ours, while it is at work, but for what asyncio's own steps call.

        A task that is struck in these, or in its loop, is never resumed by asyncio.
        """
        file = frame.f_code.co_filename
        return self.is_at_work and file.startswith(_OURS) and not file.endswith("asyncio_wait.py")

    async def close(self) -> None:
        """Make another call, and close what is left."""
        assert (await self.client.send(AFTER, ENVELOPE)).accepted
        await self.client.close()

    def lost(self) -> Iterable[str]:
        statistics = self.client.statistics()
        if statistics.opening or statistics.busy or statistics.waiting:
            yield f"a place is lost: {statistics}"

    def untrue(self, taken: list[tuple[bytes, str]]) -> Iterable[str]:
        had = Counter(taken)
        states: Counter[tuple[bytes, str]] = Counter()
        for result in self.told:
            assert isinstance(result.message, bytes | None)
            for outcome in result.outcomes:
                key = result.message or content(0), str(outcome.recipient)
                states[key] += 1
                if (outcome.status is Status.ACCEPTED and not had[key]) or (
                    outcome.status in (Status.REFUSED, Status.NOT_TRIED) and had[key]
                ):
                    yield f"{outcome}, taken {had[key]} times"
        yield from [f"{key} is told of {times} times" for key, times in states.items() if times > 1]
        untold = [key for key in had if key[0] != AFTER and not states[key]]
        yield from [f"{key} is told of nowhere" for key in untold]
        yield from [f"{key} was taken {times} times" for key, times in had.items() if times > 1]


class Send(Face):
    """`AsyncClient.send`."""

    async def send(self) -> None:
        self.told.append(await self.client.send(content(0), ENVELOPE))


class SendMany(Face):
    """`AsyncClient.send_many` over two connections."""

    messages = 2

    async def send(self) -> None:
        given = [(content(number), ENVELOPE) for number in range(MESSAGES)]
        async for result in self.client.send_many(given, connections=2, window=2):
            self.told.append(result)


class SessionSend(Face):
    """`AsyncSession.send`, from dialling to QUIT."""

    async def send(self) -> None:
        async with AsyncSession(self.url) as session:
            self.told.append(await session.send(content(0), ENVELOPE))


class OneShot(Face):
    """`smtpx.asend`."""

    async def send(self) -> None:
        self.told.append(await smtpx.asend(content(0), self.url, ENVELOPE))


_OURS = str(Path(smtpx.__file__).parent)
FACES = [Send, SendMany, SessionSend, OneShot]
WAYS = {
    "plain": Ways(),
    "LMTP, refused": Ways(DATA, lmtp=True, refused=EVE),
    "divided": Ways(rcpt_max=1),
    "closed": Ways(DATA, session_max=1, closes_mutely=True),
}
SHORT: set[tuple[str, type[Face]]] = {
    ("divided", Send),
    ("plain", SendMany),
    ("LMTP, refused", SendMany),
    ("plain", SessionSend),
    ("closed", OneShot),
}


@coroutine
def struck(
    awaited: Coroutine[Any, Any, Any], at: set[int], strike: Callable[[], object], seen: list[None]
) -> Generator[Any, Any, Any]:
    """Await, and `strike` where it is suspended for the so-manieth times."""
    send: Callable[[Any], Any] = awaited.send
    argument: Any = None
    while True:
        try:
            waited_for = send(argument)
        except StopIteration as stop:
            return stop.value
        seen.append(None)
        if len(seen) in at:
            _ = strike()
        try:
            argument = yield waited_for
            send = awaited.send
        except BaseException as error:
            argument, send = error, awaited.throw


async def in_asyncio(face: Face, at: set[int], seen: list[None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    try:
        await struck(face.call(), at, task.cancel, seen)
    except asyncio.CancelledError:
        while task.cancelling():
            _ = task.uncancel()
    except smtpx.SMTPError:
        pass
    while task.cancelling():
        _ = task.uncancel()
    await asyncio.sleep(0)


async def in_trio(face: Face, at: set[int], seen: list[None]) -> None:
    with trio.CancelScope() as outer, trio.CancelScope() as inner:
        scopes = iter([inner.cancel, outer.cancel])
        try:
            await struck(face.call(), at, lambda: next(scopes)(), seen)
        except smtpx.SMTPError:
            pass


WORLDS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "asyncio": (lambda call, *args: asyncio.run(call(*args)), in_asyncio),
    "trio": (trio.run, in_trio),
}


def cases(*agains: int) -> list[Any]:
    """All; those in `SHORT` are passed each time, and `make interruptions` passes the others."""
    return [
        pytest.param(
            *(way, kind, again),
            marks=[] if again == agains[0] and (way, kind) in SHORT else pytest.mark.slow,
        )
        for way in WAYS
        for kind in FACES
        for again in agains
    ]


@pytest.mark.parametrize(("way", "kind", "again"), cases(1, 2, 3))
@pytest.mark.parametrize("world", WORLDS)
def test_cancelled_twice(world: str, way: str, kind: type[Face], again: int) -> None:
    run, within = WORLDS[world]
    wrong: list[str] = []
    at, seen = 0, [None]

    async def main() -> None:
        await within(face, {at, at + again}, seen)
        wrong.extend(f"at {at}: {fault}" for fault in face.lost())
        await face.close()

    with Noting(WAYS[way]) as server:
        while len(seen) >= at:
            at += 1
            seen = []
            server.taken.clear()
            face = kind(server.url)
            files = open_files()
            run(main)
            _ = gc.collect()
            server.wait_for_the_end()
            wrong += [f"at {at}: {fault}" for fault in face.untrue(server.taken)]
            if open_files() > files:
                wrong.append(f"at {at}: an open file")
    assert wrong == []
    assert at > 2


@pytest.mark.parametrize(("way", "kind", "again"), cases(7, 1, 31))
@pytest.mark.parametrize("world", WORLDS)
def test_struck_twice(world: str, way: str, kind: type[Face], again: int) -> None:
    """By SIGINT, for which asyncio and trio have handlers of their own."""
    run, _ = WORLDS[world]
    wrong: list[str] = []
    at, happened = 1, True
    with Noting(WAYS[way]) as server:
        run(kind(server.url).call)  # What is imported late is imported now.
        while happened:
            server.taken.clear()
            face = kind(server.url)
            files = open_files()
            points = Points(at, None, face.counts, again)
            try:
                points.run(lambda: run(face.call))  # noqa: B023 - called at once
            except (KeyboardInterrupt, smtpx.SMTPError):
                pass
            happened = points.happened
            _ = gc.collect()
            run(face.close)
            wrong += [f"at {at}: {fault}" for fault in face.lost()]
            server.wait_for_the_end()
            wrong += [f"at {at}: {fault}" for fault in face.untrue(server.taken)]
            if open_files() > files:
                wrong.append(f"at {at}: an open file")
            at += 211 * kind.messages - again
    assert wrong == []
    assert at > 200
