"""The asynchronous face: the same outbox, awaited, on asyncio, uvloop and trio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import Envelope
from smtpx.outbox import AsyncOutbox, NotInOutbox, Retries, State
from smtpx.outbox._threads import is_trio, sleep
from tests.faces.conftest import ASYNCHRONOUS, Runner, runner_of
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import letter, rows, template

pytestmark = pytest.mark.timeout(60)

ENVELOPE = Envelope("a@example.org", "b@example.net")
SOON = Retries(first=0.05, most=0.2, greylisted=0.05)


@pytest.fixture(params=ASYNCHRONOUS)
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    runner = runner_of(request.param)
    assert runner is not None
    yield runner
    runner.close()


def test_all_of_it(runner: Runner, ledger: str, judge: Judge) -> None:
    async def main() -> None:
        async with AsyncOutbox(ledger, retries=SOON) as outbox:
            id = await outbox.put(letter(), key="k")
            assert await outbox.put(letter(), key="k") == id
            merged = await outbox.put_merge(template(), rows(10), campaign="spring")

            async def arriving() -> AsyncIterator[Any]:
                for n in range(3):
                    yield b"Subject: %d\r\n\r\n" % n, ENVELOPE

            several = [each async for each in outbox.put_many(arriving())]
            several += [each async for each in outbox.put_many([(letter("x"), None)])]
            assert len({*several}) == 4
            cancelled = await outbox.put(letter("y"))
            assert await outbox.cancel(cancelled, recipient="b@example.net") == 1
            assert await outbox.deliver(id, judge.url)
            assert (await outbox.status(id)).deliveries[0].state is State.ACCEPTED
            await outbox.run(judge.url, until_empty=True)
            counts = await outbox.counts()
            assert (counts[State.ACCEPTED], counts[State.CANCELLED]) == (15, 1)
            assert (await outbox.counts("spring"))[State.ACCEPTED] == 10
            assert len((await outbox.status(merged)).deliveries) == 10
            found = [each async for each in outbox.find(state=State.CANCELLED)]
            assert [each.submission for each in found] == [cancelled]
            assert len([event async for event in outbox.events()]) == 16
            told: list[Any] = []
            assert await outbox.report(told.append) == 16
            with pytest.raises(NotInOutbox):
                await outbox.retry(cancelled, recipient="nobody@example.net")
            assert await outbox.retry(cancelled, recipient="b@example.net") == 1
            assert await outbox.reconcile() == []
            with pytest.raises(NotInOutbox):
                await outbox.resolve(id, "b@example.net", "accepted")
            await outbox.run(judge.url, until_empty=True)
            await sleep(0.01)
            assert await outbox.purge(older_than=timedelta(milliseconds=1)) == 7

    runner.run(main)
    assert max(judge.count().values()) == 1
    assert sum(judge.count().values()) == 16


def test_a_client_of_the_callers_own(runner: Runner, tmp_path: Path, judge: Judge) -> None:
    async def main() -> None:
        ledger = f"sqlite:///{tmp_path}/mail.db"
        async with AsyncOutbox(ledger) as outbox, smtpx.AsyncClient(judge.url) as client:
            _ = [
                each async for each in outbox.put_many([(letter(str(n)), None) for n in range(50)])
            ]
            await outbox.run(client, until_empty=True, connections=2)
            assert (await outbox.counts())[State.ACCEPTED] == 50

    runner.run(main)


def test_stop_brings_what_is_on_its_way_to_its_end(runner: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        ledger = f"sqlite:///{tmp_path}/mail.db"
        async with AsyncOutbox(ledger) as outbox:
            many = [(letter(str(n)), None) for n in range(300)]
            _ = [each async for each in outbox.put_many(many, on_doubt="hold")]
            timer = _Later(outbox.stop, lambda: bool(judge.taken))
            await outbox.run(judge.url)
            timer.join()
            counts = await outbox.counts()
            assert counts[State.ACCEPTED] == len(judge.taken)
            assert counts[State.ACCEPTED] + counts[State.WAITING] == 300
            assert counts[State.WAITING] > 0

    with Judge(delay=0.01) as judge:
        runner.run(main)


def test_to_stop_a_task_that_has_not_begun(runner: Runner, tmp_path: Path, judge: Judge) -> None:
    async def main() -> None:
        async with AsyncOutbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
            await outbox.put(letter())
            begun = outbox.run(judge.url)
            outbox.stop()
            await begun
            assert judge.taken == []
            await outbox.run(judge.url, until_empty=True)
            assert len(judge.taken) == 1

    runner.run(main)


class _Later:
    """Calls, from another thread, once something is so."""

    def __init__(self, call: Any, is_so: Any) -> None:
        import threading

        def wait() -> None:
            while not is_so():
                time.sleep(0.01)
            call()

        self._thread = threading.Thread(target=wait)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
def test_what_is_cancelled_loses_nothing(runner: Runner, tmp_path: Path, hold: bool) -> None:
    async def cancelled_soon(outbox: AsyncOutbox, url: str, seconds: float) -> None:
        if is_trio():
            import trio

            with trio.move_on_after(seconds):
                await outbox.run(url)
        else:
            import asyncio

            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await outbox.run(url)

    async def main() -> None:
        async with AsyncOutbox(f"sqlite:///{tmp_path}/mail.db", retries=SOON) as outbox:
            many = [(letter(str(n)), None) for n in range(200)]
            on_doubt: Any = "hold" if hold else "resend"
            _ = [each async for each in outbox.put_many(many, on_doubt=on_doubt)]
            for n in range(5):
                await cancelled_soon(outbox, judge.url, 0.02 + 0.02 * n)
            end = time.monotonic() + 30
            while time.monotonic() < end:
                await outbox.run(judge.url, until_empty=True)
                counts = await outbox.counts()
                if not counts[State.WAITING] and not counts[State.SENDING]:
                    break
                await sleep(0.05)
            doubles = sum(times - 1 for times in judge.count().values())
            assert counts[State.ACCEPTED] + counts[State.IN_DOUBT] == 200
            assert doubles <= (0 if hold else 5 * 4 * 16)
            assert counts[State.IN_DOUBT] <= (5 * 4 if hold else 0)
            accepted = {d.message_id async for d in outbox.find(state=State.ACCEPTED)}
            assert accepted <= {message_id for message_id, _ in judge.taken}

    with Judge(delay=0.002) as judge:
        runner.run(main)
