"""Two workers under each engine, and eight that are killed: the server's own log is the judge."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from smtpx import Envelope
from smtpx.outbox import Outbox, State
from tests.outbox import postgres, redis
from tests.outbox.judge import Judge
from tests.outbox.worker import LEASE

pytestmark = pytest.mark.timeout(300)

COUNT, KILLS, WORKERS = 600, 8, 2


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URLs of the ledger and of what the engine keeps its wake-ups in."""
    if request.param == "celery":
        with redis.running(tmp_path) as broker:
            yield f"sqlite:///{tmp_path}/mail.db", broker
        return
    if postgres.programs() is None:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    with postgres.running() as server:
        if request.param == "dbos":
            yield f"sqlite:///{tmp_path}/mail.db", server.database()
        else:
            database = server.database()
            prepare(database)
            yield database, database


def prepare(database: str) -> None:
    from procrastinate import App, SyncPsycopgConnector

    with App(connector=SyncPsycopgConnector(conninfo=database)).open() as app:
        app.schema_manager.apply_schema()


@contextmanager
def working(engine: str, *places: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.integrations.outbox.engine", engine, *places]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


def until(ready: Any, workers: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end, "nothing happens"
        assert [worker.poll() for worker in workers] == [None] * len(workers)
        time.sleep(0.01)


def letters(policy: str) -> Iterator[Any]:
    for n in range(COUNT // 2):
        octets = b"Message-ID: <%d.%b@example.org>\r\n\r\nx\r\n" % (n, policy.encode())
        yield octets, Envelope("a@example.org", "r0@example.net")


@pytest.mark.parametrize(
    ("engine", "places"),
    [(engine, engine) for engine in ("celery", "procrastinate", "dbos")],
    indirect=["places"],
)
def test_killed_under_an_engine(engine: str, places: tuple[str, str]) -> None:
    _ = pytest.importorskip(engine)
    ledger, broker = places
    with Outbox(ledger, lease=LEASE) as outbox, Judge(delay=0.005) as judge:
        held = set(outbox.put_many(letters("hold"), on_doubt="hold"))
        _ = list(outbox.put_many(letters("resend")))
        for _ in range(KILLS // WORKERS):
            with ExitStack() as stack:
                workers = [
                    stack.enter_context(working(engine, ledger, broker, judge.url))
                    for _ in range(WORKERS)
                ]
                before = len(judge.taken)
                until(lambda before=before: len(judge.taken) >= before + 20, workers)
        with ExitStack() as stack:
            workers = [
                stack.enter_context(working(engine, ledger, broker, judge.url))
                for _ in range(WORKERS)
            ]
            until(lambda: is_over(outbox), workers)
        taken = {id: times for (id, _), times in judge.count().items()}
        for delivery in outbox.find():
            times = taken.get(delivery.message_id, 0)
            if delivery.submission in held:
                assert times <= 1, "held, and sent twice"
                assert delivery.state is State.IN_DOUBT or times == 1, "lost"
            else:
                assert delivery.state is State.ACCEPTED
                assert times >= 1, "lost"
        assert outbox.counts()[State.IN_DOUBT] <= KILLS * len(BATCHES)
        doubles = sum(taken.values()) - len(taken)
        assert doubles <= KILLS * len(BATCHES) * 16


# What one worker may be at at once, if its engine has no other limit.
BATCHES = range(COUNT // 100)


def is_over(outbox: Outbox) -> bool:
    counts = outbox.counts()
    return not counts[State.WAITING] and not counts[State.SENDING]
