"""The wall clock jumps by an hour: nothing is lost, comes twice, or stands still."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from smtpx.outbox import Limit, Outbox, Retries, State
from smtpx.outbox import _claiming as claiming
from smtpx.outbox import _destinations as destinations
from smtpx.outbox import _queue as queue
from smtpx.outbox._destinations import Claim
from smtpx.outbox._postgres import PostgresStore
from tests.outbox.judge import Judge
from tests.outbox.test_kills import check, drained, worker
from tests.outbox.worker import numbered

pytestmark = pytest.mark.timeout(120)

HOUR = 3600.0


class Clock:
    """What this process takes for the wall clock; others, and time that passes, are as they are."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._time = time.time

    def time(self) -> float:
        return self._time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the ledger goes by: with PostgreSQL that is the server's."""
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    now = PostgresStore.now
    monkeypatch.setattr(PostgresStore, "now", lambda store: now(store) + clock.ahead)
    return clock


@pytest.fixture(params=[HOUR, -HOUR], ids=["forwards", "back"])
def jump(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
def test_what_was_put_in_before_goes_at_once(
    outbox: Outbox, judge: Judge, clock: Clock, jump: float, hold: bool
) -> None:
    list(outbox.put_many(numbered(5), on_doubt="hold" if hold else "resend"))
    clock.ahead = jump
    outbox.run(judge.url, until_empty=True)
    check(outbox, judge, 5, 1, hold=True, most=0)


@pytest.mark.xdist_group("postgres")
def test_machines_go_by_the_clock_of_postgres(
    postgres_server: Any, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Those that put in and those that send may be wrong as they like."""
    right = Clock()
    wrong = Clock()
    wrong.ahead = jump
    url = postgres_server.database()
    busy = True

    def answer(word: str, of: str) -> bytes | None:
        return b"451 4.3.2 later\r\n" if busy and word == "RCPT" else None

    ((octets, envelope),) = numbered(1)
    later = datetime.now(UTC) + timedelta(minutes=30)
    retries = Retries(first=60, most=60, jitter=0)
    with Outbox(url, retries=retries) as outbox, Judge(answer=answer) as judge:
        waits = outbox.put(octets, envelope, not_before=later)
        monkeypatch.setattr(time, "time", wrong.time)
        deferred = outbox.put(octets, envelope, expires=timedelta(minutes=30))
        with Outbox(url, retries=retries) as worker:
            worker.run(judge.url, until_empty=True)
        monkeypatch.setattr(time, "time", right.time)
        ((one,), (other,)) = (outbox.status(id).deliveries for id in (waits, deferred))
        assert (one.state, one.attempts) == (State.WAITING, 0)
        assert (other.state, other.attempts) == (State.WAITING, 1)
        assert other.due is not None
        assert abs(other.due - datetime.now(UTC) - timedelta(seconds=60)) < timedelta(seconds=30)
        created, expires = outbox.status(deferred).created, outbox.status(deferred).expires
        assert expires - created == timedelta(minutes=30)
        assert abs(datetime.now(UTC) - created) < timedelta(seconds=60)


def test_a_limited_destination_stands_still_for_no_longer(
    open_outbox: Callable[..., Outbox], judge: Judge, clock: Clock, jump: float
) -> None:
    outbox = open_outbox(limits={"example.net": Limit(rate=100)})
    list(outbox.put_many(numbered(5)))
    outbox.run(judge.url, until_empty=True)
    assert outbox.counts()[State.ACCEPTED] >= 1
    clock.ahead = jump
    drained(outbox, judge)
    check(outbox, judge, 5, 1, hold=True, most=0)


def test_what_was_deferred_is_tried_again(
    open_outbox: Callable[..., Outbox], clock: Clock, jump: float
) -> None:
    busy = True
    outbox = open_outbox(retries=Retries(first=60, most=60, jitter=0))

    def answer(word: str, of: str) -> bytes | None:
        return b"451 4.3.2 later\r\n" if busy and word == "RCPT" else None

    with Judge(answer=answer) as judge:
        list(outbox.put_many(numbered(2)))
        outbox.run(judge.url, until_empty=True)
        assert outbox.counts()[State.WAITING] == 2
        busy = False
        clock.ahead = jump
        outbox.run(judge.url, until_empty=True)
        check(outbox, judge, 2, 1, hold=True, most=0)


def test_a_batch_that_nobody_took_up_is_called_out(
    open_outbox: Callable[..., Outbox], clock: Clock, jump: float
) -> None:
    outbox = open_outbox(overdue=60)
    ((octets, envelope),) = numbered(1)
    id = outbox.put(octets, envelope)
    assert outbox.reconcile() == []
    clock.ahead = jump
    assert outbox.reconcile() == [id]


def test_a_destination_is_held_back_for_no_longer(outbox: Outbox) -> None:
    store, now = outbox._store, time.time()
    list(outbox.put_many(numbered(1)))
    store.transact(claiming.register, "owner", 30.0, now)
    store.transact(destinations.hold_back, ["example.net"], now)
    taken = [
        len(store.transact(queue.claim, Claim("owner", 9, moment)).deliveries)
        for moment in (now + 0.5, now - HOUR)
    ]
    assert taken == [0, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
def test_what_a_dead_worker_had_is_sent(
    tmp_path: Path, clock: Clock, jump: float, hold: bool
) -> None:
    url = f"sqlite:///{tmp_path}/mail.db"
    with Judge() as judge:
        with Outbox(url) as outbox:
            list(outbox.put_many(numbered(30), on_doubt="hold" if hold else "resend"))
            with worker(url, judge, point="mark_and_note:committed", nth=2) as process:
                assert process.wait(timeout=60) == -signal.SIGKILL
        clock.ahead = jump
        # As cron has it: it looks once, and returns when nothing is left.
        with Outbox(url) as outbox:
            outbox.run(judge.url, until_empty=True)
            assert not outbox.counts()[State.WAITING]
            check(outbox, judge, 30, 1, hold=hold, most=1 if hold else 16)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_worker_that_lives_is_left_alone(tmp_path: Path, clock: Clock, jump: float) -> None:
    url = f"sqlite:///{tmp_path}/mail.db"
    reached, released = threading.Event(), threading.Event()

    def answer(word: str, of: str) -> bytes | None:
        if word == "END" and of == "<5@example.org>":
            reached.set()
            assert released.wait(60)
        return None

    with Outbox(url) as outbox, Judge(answer=answer) as judge:
        list(outbox.put_many(numbered(20)))
        with worker(url, judge, lease=6, until_empty=True) as process:
            assert reached.wait(60)
            clock.ahead = jump
            # Whoever is patient for a shorter time has to wait for as long as others say.
            with Outbox(url, lease=0.1) as newcomer:
                assert newcomer.reconcile() == []
                time.sleep(0.3)
                assert newcomer.reconcile() == []
                newcomer.run(judge.url, until_empty=True)
            released.set()
            assert process.wait(timeout=60) == 0
        check(outbox, judge, 20, 1, hold=True, most=0)
