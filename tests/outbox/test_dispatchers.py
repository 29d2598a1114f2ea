"""Every dispatcher passes the kit, and so does one that does its worst."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socketserver
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smtpx import Client, Envelope, SMTPError
from smtpx.outbox import LedgerMisconfigured, Outbox, State, _waking
from smtpx.outbox._statements import Ask, Statements
from smtpx.outbox.testing import HostileDispatcher, verify
from smtpx.testing import Server
from tests.outbox import redis

pytestmark = pytest.mark.timeout(120)

MESSAGE = b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hostile_one(open_outbox: Callable[..., Outbox], seed: int) -> None:
    hostile = HostileDispatcher(seed)
    outbox, working = open_outbox(dispatcher=hostile, overdue=0.1), open_outbox()
    with Server() as server:
        hostile.serve(lambda batch: working.deliver(batch, server.url))
        try:
            verify(outbox, server, count=150)
        finally:
            hostile.close()


def test_one_that_is_down_loses_nothing(open_outbox: Callable[..., Outbox]) -> None:
    class Down:
        transactional = False

        def wake(self, batches: Any, *, connection: object = None) -> None:
            raise ConnectionRefusedError("the broker is down")

    outbox = open_outbox(dispatcher=Down(), overdue=0.01)
    id = outbox.put(*MESSAGE)
    time.sleep(0.05)
    assert outbox.reconcile() == [id]
    with Server() as server:
        for batch in outbox.reconcile():
            outbox.deliver(batch, server.url)
    assert outbox.counts()[State.ACCEPTED] == 1
    assert outbox.reconcile() == []


def test_tasks_leave_a_server_alone_that_could_not_be_reached(
    open_outbox: Callable[..., Outbox],
) -> None:
    outbox = open_outbox(overdue=0.01)
    ids = [outbox.put(*MESSAGE) for _ in range(9)]
    dialled: list[None] = []

    class Closing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            dialled.append(None)

    def forgiven() -> Statements[None]:
        yield Ask("UPDATE smtpx_destination SET held_until = 0, failures = 0")

    with socketserver.TCPServer(("127.0.0.1", 0), Closing) as closing:
        serving = threading.Thread(target=closing.serve_forever, args=(0.01,))
        serving.start()
        url = f"smtp://127.0.0.1:{closing.server_address[1]}"
        with pytest.raises(SMTPError):
            outbox.deliver(ids[0], url)
        several = len(dialled)
        assert [outbox.deliver(id, url) for id in ids] == [False] * 9
        assert len(dialled) == several, "who comes later does not even try"
        time.sleep(0.05)
        assert sorted(outbox.reconcile()) == sorted(ids)
        outbox._store.transact(forgiven)
        with pytest.raises(SMTPError):
            outbox.deliver(ids[1], url)
        assert len(dialled) > several
        closing.shutdown()
        serving.join()
    with Server() as server:
        assert all(outbox.deliver(batch, server.url) for batch in ids)
        assert outbox.deliver(ids[0], server.url), "there is nothing left to do"
    assert outbox.counts()[State.ACCEPTED] == 9


def test_the_kit_counts_at_least_one(outbox: Outbox) -> None:
    with Server() as server:
        for count in (0, -1):
            with pytest.raises(ValueError, match="count"):
                verify(outbox, server, count=count)


def test_a_task_that_mails_more_does_not_pass(open_outbox: Callable[..., Outbox]) -> None:
    hostile = HostileDispatcher()
    outbox, working = open_outbox(dispatcher=hostile, overdue=0.1), open_outbox()

    def deliver(batch: str) -> None:
        with Client(server.url) as client:
            client.send(*MESSAGE)
        working.deliver(batch, server.url)

    with Server() as server:
        hostile.serve(deliver)
        try:
            with pytest.raises(AssertionError, match="not in the outbox"):
                verify(outbox, server, count=3)
        finally:
            hostile.close()


def test_a_task_that_fails_ends_no_worker(open_outbox: Callable[..., Outbox]) -> None:
    hostile = HostileDispatcher(workers=2)
    outbox, working = open_outbox(dispatcher=hostile, overdue=0.1), open_outbox()
    failed: list[str] = []

    def deliver(batch: str) -> None:
        if len(failed) < 2:
            failed.append(batch)
            working.deliver(batch, "smtp://127.0.0.1:1")
        working.deliver(batch, server.url)

    with Server() as server:
        hostile.serve(deliver)
        try:
            verify(outbox, server, count=9)
        finally:
            hostile.close()
    assert len(failed) == 2


def test_a_dispatcher_says_whether_it_is_transactional(tmp_path: Path) -> None:
    class Silent:
        def wake(self, batches: Any, *, connection: object = None) -> None: ...

    with pytest.raises(TypeError, match="`transactional`"):
        Outbox(f"sqlite:///{tmp_path}/mail.db", dispatcher=Silent())  # type: ignore[arg-type]


def test_one_that_hangs_holds_up_nobody(
    open_outbox: Callable[..., Outbox],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_waking, "_PATIENCE", 0.3)
    hostile = HostileDispatcher()
    hostile.is_frozen = True
    outbox = open_outbox(dispatcher=hostile, overdue=0.1)
    before = threading.active_count()
    ids = [outbox.put(*MESSAGE), *outbox.put_many([MESSAGE] * 3), outbox.put(*MESSAGE)]
    assert threading.active_count() <= before + 1, "one hangs, and no others after it"
    said = [record.message for record in caplog.records]
    assert "did not wake within 0.3 seconds" in said[0]
    assert [text for text in said if "still hangs" in text] == said[1:] != []
    time.sleep(0.2)
    assert len(outbox.reconcile()) == 3
    hostile.is_frozen = False
    working = open_outbox()
    with Server() as server:
        hostile.serve(lambda batch: working.deliver(batch, server.url))
        try:
            verify(outbox, server, count=30)
        finally:
            hostile.close()
        assert all(outbox.status(id).is_over for id in ids)


def test_what_was_put_in_by_a_connection_is_woken_by_hand(tmp_path: Path) -> None:
    class Noting:
        transactional = False

        def wake(self, batches: Any, *, connection: object = None) -> None:
            woken.extend(batches)

    woken: list[str] = []
    path = tmp_path / "mail.db"
    with Outbox(f"sqlite:///{path}", dispatcher=Noting()) as outbox:
        with sqlite3.connect(path) as own:
            id = outbox.put(*MESSAGE, connection=own)
        own.close()
        assert woken == []
        outbox.wake([id])
        assert woken == [id]
        with pytest.raises(TypeError, match="batches: give an iterable of ids"):
            outbox.wake(id)


def test_threads_that_wake_end_with_the_outbox(tmp_path: Path) -> None:
    class Calm:
        transactional = False

        def wake(self, batches: Any, *, connection: object = None) -> None:
            threads.add(threading.current_thread())

    threads: set[threading.Thread] = set()
    for number in range(3):
        outbox = Outbox(f"sqlite:///{tmp_path}/{number}.db", dispatcher=Calm())
        outbox.put(*MESSAGE)
        outbox.put(*MESSAGE)
        outbox.close()
        assert len(threads) == number + 1, "one thread does for wake-ups one after the other"
        del outbox
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_wakes_too(tmp_path: Path) -> None:
    class Telling:
        transactional = False

        def wake(self, batches: Any, *, connection: object = None) -> None:
            os.write(said, b"x")

    heard, said = os.pipe()
    with Outbox(f"sqlite:///{tmp_path}/mail.db", dispatcher=Telling()) as outbox:
        outbox.put(*MESSAGE)
        child = os.fork()
        if not child:
            outbox.put(*MESSAGE)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    os.close(said)
    assert os.read(heard, 9) == b"xx"
    os.close(heard)


@pytest.mark.xdist_group("postgres")
def test_procrastinate_without_its_tables(
    postgres_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    procrastinate = pytest.importorskip("procrastinate")
    import psycopg

    from smtpx.outbox.dispatchers.procrastinate import ProcrastinateDispatcher

    url = postgres_server.database()
    app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=url))
    with app.open(), Outbox(url, dispatcher=ProcrastinateDispatcher(app)) as outbox:
        outbox.put(*MESSAGE)
        outbox.put(*MESSAGE)
        (said,) = [record.message for record in caplog.records if record.name == "smtpx.outbox"]
        assert "schema --apply" in said
        assert "does not exist" in said, "and why"
        with psycopg.connect(url) as own:
            with pytest.raises(LedgerMisconfigured, match="schema --apply"):
                outbox.put(*MESSAGE, connection=own)
            own.rollback()
        assert outbox.counts()[State.WAITING] == 2


@pytest.mark.xdist_group("postgres")
def test_procrastinate(postgres_server: Any) -> None:
    procrastinate = pytest.importorskip("procrastinate")
    alchemy = pytest.importorskip("sqlalchemy")
    import psycopg

    from smtpx.outbox.dispatchers.procrastinate import ProcrastinateDispatcher

    url = postgres_server.database()
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
    sync_app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=url))
    with sync_app.open():
        sync_app.schema_manager.apply_schema()
        dispatcher = ProcrastinateDispatcher(sync_app)
        with Outbox(url, dispatcher=dispatcher, overdue=5) as outbox, Server() as server:
            ProcrastinateDispatcher(app).serve(outbox, server.url)

            async def work() -> None:
                async with app.open_async():
                    task = asyncio.create_task(
                        app.run_worker_async(queues=["smtpx"], install_signal_handlers=False)
                    )
                    while not has_ended.is_set():
                        await asyncio.sleep(0.05)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

            has_ended = threading.Event()
            worker = threading.Thread(target=lambda: asyncio.run(work()))
            worker.start()
            try:
                verify(outbox, server, count=60)
                with psycopg.connect(url) as own:
                    outbox.put(*MESSAGE, connection=own)
                    own.rollback()
                    jobs = "SELECT COUNT(*) FROM procrastinate_jobs"
                    (before,) = own.execute(jobs).fetchone() or (0,)
                    id = outbox.put(*MESSAGE, connection=own)
                    (after,) = own.execute(jobs).fetchone() or (0,)
                    assert after == before + 1, "the wake-up is part of the transaction"
                    own.commit()
                    engine = alchemy.create_engine(url.replace("sql:", "sql+psycopg:"))
                    with engine.begin() as connection:
                        ids = [id, outbox.put(*MESSAGE, connection=connection)]
                    engine.dispose()
                    (last,) = own.execute(jobs).fetchone() or (0,)
                    assert last == after + 1, "of whatever kind the connection is"
                end = time.monotonic() + 30
                while not all(outbox.status(id).is_over for id in ids) and time.monotonic() < end:
                    time.sleep(0.02)
                assert all(outbox.status(id).is_over for id in ids)
            finally:
                has_ended.set()
                worker.join()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with redis.running(tmp_path) as url:
        yield url


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_celery(broker: str, tmp_path: Path) -> None:
    celery = pytest.importorskip("celery")
    from celery.contrib.testing.worker import start_worker

    from smtpx.outbox.dispatchers import RECONCILE
    from smtpx.outbox.dispatchers.celery import CeleryDispatcher

    app = celery.Celery("tests", broker=broker)
    app.conf.worker_hijack_root_logger = False
    dispatcher = CeleryDispatcher(app)
    outbox = Outbox(f"sqlite:///{tmp_path}/mail.db", dispatcher=dispatcher, overdue=5)
    with outbox, Server() as server:
        dispatcher.serve(outbox, server.url)
        assert app.conf.beat_schedule[RECONCILE]["task"] in app.tasks
        with start_worker(app, perform_ping_check=False, pool="solo", loglevel="ERROR"):
            verify(outbox, server, count=60)
    app.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_celery_whose_broker_is_frozen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    celery = pytest.importorskip("celery")
    from smtpx.outbox.dispatchers.celery import CeleryDispatcher

    with redis.process(tmp_path) as (url, broker), caplog.at_level("WARNING", "smtpx.outbox"):
        app = celery.Celery("tests", broker=url)
        with Outbox(
            f"sqlite:///{tmp_path}/mail.db", dispatcher=CeleryDispatcher(app), overdue=0.01
        ) as outbox:
            outbox.put(*MESSAGE)
            assert not caplog.records
            monkeypatch.setattr(_waking, "_PATIENCE", 0.3)
            broker.send_signal(signal.SIGSTOP)
            os.waitpid(broker.pid, os.WUNTRACED)
            try:
                id = outbox.put(*MESSAGE)
                assert "nobody could be woken" in caplog.text
                time.sleep(0.05)
                assert id in outbox.reconcile()
            finally:
                broker.send_signal(signal.SIGCONT)
        app.close()


@pytest.mark.xdist_group("postgres")
def test_dbos(postgres_server: Any, tmp_path: Path) -> None:
    pytest.importorskip("dbos")
    from dbos import DBOS

    from smtpx.outbox.dispatchers.dbos import DBOSDispatcher

    url = postgres_server.database()
    DBOS(config={"name": "tests", "system_database_url": url})
    dispatcher = DBOSDispatcher(queue="smtpx")
    outbox = Outbox(f"sqlite:///{tmp_path}/mail.db", dispatcher=dispatcher, overdue=5)
    try:
        with outbox, Server() as server:
            dispatcher.serve(outbox, server.url)
            dispatcher.launch(polling=0.1)
            verify(outbox, server, count=60)
    finally:
        DBOS.destroy()
