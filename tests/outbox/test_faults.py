"""The database fails at every statement and commit; workers are stopped and go on as zombies."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import ref

import pytest

from smtpx import AsyncOutbox, Client, Envelope
from smtpx.outbox import (
    LedgerCorrupt,
    LedgerTooNew,
    LedgerUnavailable,
    Outbox,
    OutboxError,
    State,
    _claiming,
    _destinations,
    _owning,
    _queue,
)
from smtpx.outbox._destinations import Claim
from smtpx.outbox._statements import Ask
from smtpx.outbox._working import Working, stopped_by_sigterm
from tests.interruptions.points import Points
from tests.outbox.judge import Judge
from tests.outbox.test_kills import check, drained, worker
from tests.outbox.worker import numbered

pytestmark = pytest.mark.timeout(120)

COUNT = 20
ENVELOPE = Envelope("a@example.org", "b@example.net")
_STANDING = ("0", "commit")


class Failing:
    """Fails the ledger's operations at a point, once."""

    def __init__(self, outbox: Outbox, fault: Callable[[], None]) -> None:
        self._store: Any = outbox._store
        self._transact = self._store.transact
        vars(self._store)["transact"] = self._watched
        self._fault = fault
        self.point = ""
        self.nth = 0
        self.seen: dict[str, int] = {}
        self.has_struck = False

    def strike(self, point: str, nth: int) -> None:
        self.point, self.nth, self.seen, self.has_struck = point, nth, {}, False

    def _reach(self, point: str) -> None:
        self.seen[point] = self.seen.get(point, 0) + 1
        if not self.has_struck and point == self.point and self.seen[point] == self.nth:
            self.has_struck = True
            self._fault()

    def _watched(self, operation: Any, *args: Any, **named: Any) -> Any:
        name = operation.__name__

        def run(*args: Any, **named: Any) -> Any:
            steps, answer, number = operation(*args, **named), None, 0
            try:
                while True:
                    statement = steps.send(answer)
                    self._reach(f"{name}:{number}")
                    answer = yield statement
                    number += 1
            except StopIteration as stop:
                self._reach(f"{name}:commit")
                return stop.value

        value = self._transact(run, *args, **named)
        self._reach(f"{name}:committed")
        return value


def full() -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


@pytest.mark.parametrize(
    "hold", [pytest.param(False, marks=pytest.mark.slow), True], ids=["resend", "hold"]
)
def test_a_full_disk_at_every_statement(tmp_path: Path, hold: bool) -> None:
    failed: set[str] = set()
    points: list[str] = [""]
    while points:
        point = points.pop()
        url = f"sqlite:///{tmp_path}/{point.replace(':', '-')}.db"
        with Outbox(url, lease=0.2) as outbox, Judge() as judge:
            failing = Failing(outbox, full)
            list(outbox.put_many(numbered(COUNT), on_doubt="hold" if hold else "resend"))
            failing.strike(point, 1)
            if point == "":
                outbox.run(judge.url, until_empty=True, connections=1)
                points = [p for p in failing.seen if not p.endswith("committed")]
                points = [p for p in points if not p.startswith("beat")]  # by its own clock
                assert {"claim:commit", "mark_and_note:0", "note:commit", "register:0"} <= {*points}
                continue
            try:
                outbox.run(judge.url, until_empty=True, connections=1)
            except LedgerUnavailable:
                failed.add(point)
            assert failing.has_struck
            drained(outbox, judge)
            check(outbox, judge, COUNT, 1, hold=hold, most=1 if hold else 16)
    assert {"claim:commit", "mark_and_note:0", "mark_and_note:commit", "note:commit"} <= failed


def test_a_put_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
        failing = Failing(outbox, full)
        message = b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net")
        outbox.put(*message, key="first")
        points = [point for point in failing.seen if not point.endswith("committed")]
        for point in points:
            failing.strike(point, 1)
            with pytest.raises(LedgerUnavailable, match="make room"):
                outbox.put(*message, key=point)
        failing.strike("", 0)
        assert outbox.counts()[State.WAITING] == 1
        for point in points:
            outbox.put(*message, key=point)
        assert outbox.counts()[State.WAITING] == 1 + len(points)


@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize(
    "hold", [pytest.param(False, marks=pytest.mark.slow), True], ids=["resend", "hold"]
)
def test_a_lost_connection_at_every_statement_and_commit(postgres_server: Any, hold: bool) -> None:
    """The server is asked whether a commit took place; what did not is done again."""
    import psycopg

    points: list[str] = [""]
    while points:
        point = points.pop()
        url = postgres_server.database()
        with Outbox(url, lease=5) as outbox, Judge() as judge:
            store: Any = outbox._store

            def terminate(store: Any = store, url: str = url) -> None:
                with psycopg.connect(url, autocommit=True) as another:
                    another.execute(
                        "SELECT pg_terminate_backend(%s)", [store._connection.info.backend_pid]
                    )

            failing = Failing(outbox, terminate)
            list(outbox.put_many(numbered(COUNT), on_doubt="hold" if hold else "resend"))
            failing.strike(point, 1)
            outbox.run(judge.url, until_empty=True, connections=1)
            if point == "":
                # Of the statements of an operation, one stands for all.
                kinds = [p.partition(":") for p in failing.seen if not p.startswith("beat")]
                points = [f"{name}:{which}" for name, _, which in kinds if which in _STANDING]
                points = points if hold is False else points[::3]
                continue
            assert failing.has_struck, point
            assert outbox.counts()[State.ACCEPTED] == COUNT, point
            assert sum(judge.count().values()) == COUNT, point


@pytest.mark.xdist_group("postgres")
def test_a_commit_whose_answer_is_lost_took_place_once(postgres_server: Any) -> None:
    with Outbox(postgres_server.database()) as outbox:
        store: Any = outbox._store
        real = store._connection

        class Cursor:
            """Commits, and then finds the connection gone."""

            def __init__(self) -> None:
                self._cursor = real.cursor()

            def __getattr__(self, name: str) -> Any:
                return getattr(self._cursor, name)

            def execute(self, text: str, *values: Any) -> Any:
                done = self._cursor.execute(text, *values)
                if text == "COMMIT":
                    real.close()
                    raise self._cursor.connection.OperationalError("server closed the connection")
                return done

        class Connection:
            cursor = staticmethod(Cursor)

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            @property
            def closed(self) -> bool:
                return bool(real.closed)

        store._connection = Connection()
        outbox.put(b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net"))
        assert outbox.counts()[State.WAITING] == 1
        assert sum(1 for _ in outbox.find()) == 1


@pytest.mark.xdist_group("postgres")
def test_a_lost_connection_is_mended_in_silence(
    postgres_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """psycopg warns of what it cannot end; but nothing is wrong, and there is nothing to do."""
    import psycopg

    url = postgres_server.database()
    with Outbox(url) as outbox:
        store: Any = outbox._store

        def terminate() -> None:
            with psycopg.connect(url, autocommit=True) as another:
                pid = store._connection.info.backend_pid
                another.execute("SELECT pg_terminate_backend(%s, 9000)", [pid])

        failing = Failing(outbox, terminate)
        for number in range(3):
            failing.strike(f"_put_in:{number}", 1)
            list(outbox.put_many(numbered(COUNT)))
            assert failing.has_struck
        assert outbox.counts()[State.WAITING] == 3 * COUNT
        assert [record.message for record in caplog.records if record.name == "psycopg"] == []
        logging.getLogger("psycopg").warning("of the application's own")
        assert len(caplog.records) == 1


@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("stops_at_commit", [False, True])
def test_a_process_that_is_stopped_within_a_transaction_holds_up_nobody(
    postgres_server: Any, stops_at_commit: bool
) -> None:
    """The server undoes what it has begun. It wakes later than its patience, and begins anew."""
    url = postgres_server.database()
    counting = "INSERT INTO smtpx_count VALUES ('', 99, 'waiting', 1) ON CONFLICT DO NOTHING"
    with (
        Outbox(url, lease=0.5, patience=0.5) as stopped,
        Outbox(url, lease=0.5) as other,
    ):
        runs: list[str] = []

        def go_on() -> Any:
            yield Ask(counting)
            return "gone on"

        def stop_once() -> None:
            if len(runs) == 1:
                runs.append(other._store.transact(go_on))

        def operation() -> Any:
            runs.append("begun")
            yield Ask(counting)
            if not stops_at_commit:
                stop_once()
            yield Ask("DELETE FROM smtpx_count")
            if stops_at_commit:
                stop_once()
            return "done"

        assert stopped._store.transact(operation) == "done"
        assert runs == ["begun", "gone on", "begun"]
        assert other.counts()[State.WAITING] == 0


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
def test_a_restarted_server_is_waited_for(postgres_server: Any) -> None:
    with Outbox(postgres_server.database(), patience=100) as outbox, Judge() as judge:
        list(outbox.put_many(numbered(COUNT)))
        postgres_server.stop("immediate")
        starting = threading.Thread(target=postgres_server.start)
        starting.start()
        try:
            outbox.run(judge.url, until_empty=True)
        finally:
            starting.join()
        assert outbox.counts()[State.ACCEPTED] == COUNT


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
@pytest.mark.parametrize(
    "hold", [pytest.param(False, marks=pytest.mark.slow), True], ids=["resend", "hold"]
)
def test_a_zombie_does_no_harm(tmp_path: Path, hold: bool) -> None:
    url = f"sqlite:///{tmp_path}/mail.db"
    stopped = threading.Event()

    def answer(word: str, of: str) -> bytes | None:
        if word == "END" and of == "<5@example.org>" and not stopped.is_set():
            stopped.set()
            time.sleep(0.1)
        return None

    with Outbox(url) as outbox, Judge(delay=0.005, answer=answer) as judge:
        list(outbox.put_many(numbered(COUNT), on_doubt="hold" if hold else "resend"))
        with worker(url, judge, until_empty=True) as process:
            assert stopped.wait(30)
            os.kill(process.pid, signal.SIGSTOP)
            # Not in a transaction, which would hold up everybody until it goes on.
            while _is_locked(tmp_path / "mail.db"):
                os.kill(process.pid, signal.SIGCONT)
                time.sleep(0.01)
                os.kill(process.pid, signal.SIGSTOP)
            drained(outbox, judge)
            os.kill(process.pid, signal.SIGCONT)
            process.wait(timeout=60)
        outbox.run(judge.url, until_empty=True)
        check(outbox, judge, COUNT, 1, hold=hold, most=1 if hold else 16)
        if hold:
            assert outbox.counts()[State.IN_DOUBT] == 0, "what it learnt late settles the doubt"


def _is_locked(path: Path) -> bool:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    else:
        connection.execute("ROLLBACK")
        return False
    finally:
        connection.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_finishes_what_is_on_its_way(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mail.db"
    with Outbox(url) as outbox, Judge(delay=0.01) as judge:
        list(outbox.put_many(numbered(200), on_doubt="hold"))
        with worker(url, judge) as process:
            while not judge.taken:
                time.sleep(0.01)
            process.terminate()
            assert process.wait(timeout=60) == 0
        counts = outbox.counts()
        assert counts[State.IN_DOUBT] == counts[State.SENDING] == 0
        assert counts[State.ACCEPTED] == len(judge.taken) > 0
        assert counts[State.WAITING] > 0
        # All of it can be had at once.
        assert not outbox._core.watcher.reap()
        outbox.run(judge.url, until_empty=True)
        assert outbox.counts()[State.ACCEPTED] == 200


def test_what_is_claimed_and_not_begun_is_not_sent_any_more(tmp_path: Path) -> None:
    def stop(word: str, of: str) -> bytes | None:
        if word == "END":
            outbox.stop()
        return None

    with Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox, Judge(answer=stop) as judge:
        list(outbox.put_many(numbered(100), on_doubt="hold"))
        outbox.run(judge.url, connections=1)
        assert 1 <= len(judge.taken) <= 40, "a few are read ahead"
        counts = outbox.counts()
        assert (counts[State.ACCEPTED], counts[State.WAITING]) == (
            len(judge.taken),
            100 - len(judge.taken),
        )


@pytest.fixture
def sigterm() -> Iterator[list[int]]:
    """The handler that a program has for SIGTERM: it notes that it was called."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_is_the_program_s_too(tmp_path: Path, sigterm: list[int]) -> None:
    """Two workers in one program, of which one ends before; the program's server ends as well."""

    async def main() -> None:
        async with (
            AsyncOutbox(f"sqlite:///{tmp_path}/1.db") as first,
            AsyncOutbox(f"sqlite:///{tmp_path}/2.db") as second,
        ):
            shorter = asyncio.create_task(first.run(judge.url))
            longer = asyncio.create_task(second.run(judge.url))
            await second.put(b"Message-ID: <1@example.org>\r\n\r\n", ENVELOPE)
            while not judge.taken:
                await asyncio.sleep(0.01)
            first.stop()
            await shorter
            os.kill(os.getpid(), signal.SIGTERM)
            await longer

    with Judge() as judge:
        asyncio.run(main())
    assert sigterm == [signal.SIGTERM]
    signal.raise_signal(signal.SIGTERM)
    assert sigterm == [signal.SIGTERM] * 2


def test_a_worker_that_nobody_holds_is_dead(tmp_path: Path) -> None:
    """Whatever its holder was interrupted in: it shows no life, so that others take what it had."""
    with Outbox(f"sqlite:///{tmp_path}/mail.db", lease=0.06) as outbox:
        before, living = threading.active_count(), list(_owning._living.values())
        worker = working(outbox)
        worker.begin()
        assert len(_owning._living) == len(living) + 1
        del worker
        _ = gc.collect()
        assert len(_owning._living) == len(living)
        end = time.monotonic() + 10
        while threading.active_count() > before and time.monotonic() < end:
            time.sleep(0.01)
        assert threading.active_count() <= before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_worker_that_is_gone_holds_up_no_sigterm(tmp_path: Path, sigterm: list[int]) -> None:
    """Wherever it was interrupted."""

    def run() -> None:
        worker = working(outbox)
        gone.append(ref(worker))
        with stopped_by_sigterm(worker):
            pass

    def interrupt() -> None:
        raise KeyboardInterrupt

    def is_there(frame: Any) -> bool:
        return code in (frame.f_code, frame.f_back.f_code)

    stopped: Any = stopped_by_sigterm
    code, gone = stopped.__wrapped__.__code__, list[ref[Working]]()
    program_s = signal.getsignal(signal.SIGTERM)
    with Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
        at, happened = 0, True
        while happened:
            at += 1
            points = Points(at, interrupt, is_there)
            with contextlib.suppress(KeyboardInterrupt):
                points.run(run)
            happened = points.happened
            _ = gc.collect()
            assert gone[-1]() is None
            signal.raise_signal(signal.SIGTERM)
            assert len(sigterm) == at
            signal.signal(signal.SIGTERM, program_s)
    assert at > 5


def working(outbox: Outbox) -> Working:
    return Working(outbox._core, "smtp://127.0.0.1:9", Client, 1, None)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize(
    "hold", [pytest.param(False, marks=pytest.mark.slow), True], ids=["resend", "hold"]
)
def test_an_interrupted_worker_notes_what_it_knows(tmp_path: Path, hold: bool) -> None:
    url = f"sqlite:///{tmp_path}/mail.db"
    with Outbox(url) as outbox, Judge(delay=0.005) as judge:
        list(outbox.put_many(numbered(100), on_doubt="hold" if hold else "resend"))
        with worker(url, judge, connections=2) as process:
            # Of two connections: then the worker has read the replies of some.
            while len(judge.taken) < 5:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) != 0
        counts = outbox.counts()
        assert counts[State.SENDING] == 0, "nobody has to find out that it died"
        assert 0 < counts[State.ACCEPTED] <= len(judge.taken)
        drained(outbox, judge)
        check(outbox, judge, 100, 1, hold=hold, most=2 if hold else 32)


def test_an_interruption_right_behind_a_statement_leaves_no_transaction(tmp_path: Path) -> None:
    """It would keep every other process out, and the next call too."""
    with Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
        left = 0

        def strike(frame: FrameType, event: str, what: Any) -> None:
            nonlocal left
            if event == "c_return" and getattr(what, "__name__", "") == "execute":
                left -= 1
                if left < 0:
                    sys.setprofile(None)
                    raise KeyboardInterrupt

        for statement in range(20):
            left = statement
            sys.setprofile(strike)
            try:
                _ = [*outbox.put_many(numbered(1))]
            except KeyboardInterrupt:
                pass
            else:
                break
            finally:
                sys.setprofile(None)
            with sqlite3.connect(tmp_path / "mail.db", timeout=0) as other:
                other.execute("BEGIN IMMEDIATE")
            other.close()
            _ = outbox.counts()
        assert statement > 2


def test_a_held_doubt_stays_until_it_is_resolved(tmp_path: Path) -> None:
    def hang_up(word: str, of: str) -> bytes | None:
        if word == "END":
            raise OSError
        return None

    with Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
        with Judge(answer=hang_up) as judge:
            ids = list(outbox.put_many(numbered(2), on_doubt="hold"))
            outbox.run(judge.url, until_empty=True, connections=1)
        assert outbox.counts()[State.IN_DOUBT] == 2
        assert [e.state for e in outbox.events()] == [State.IN_DOUBT] * 2
        with Judge() as judge:
            outbox.run(judge.url, until_empty=True)
            assert not judge.taken
            with pytest.raises(OutboxError, match=r"in doubt for x@example\.net"):
                outbox.resolve(ids[0], "x@example.net", "accepted")
            outbox.resolve(ids[0], "r0@example.net", "accepted")
            outbox.resolve(ids[1], "r0@example.net", "resend")
            outbox.run(judge.url, until_empty=True)
            assert judge.taken == [("<1@example.org>", "r0@example.net")]
        assert outbox.counts()[State.ACCEPTED] == 2


@pytest.mark.parametrize("end", ["refused", "cancelled"])
def test_what_is_sent_again_by_a_person_may_have_arrived_before(tmp_path: Path, end: str) -> None:
    def hang_up_late(word: str, of: str) -> bytes | None:
        if word == "END":
            judge.taken.append(("it is there", of))
            raise OSError
        return None

    def refuse(word: str, of: str) -> bytes | None:
        return b"550 5.1.1 no\r\n" if word == "RCPT" else None

    with Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
        with Judge(answer=hang_up_late) as judge:
            (id,) = outbox.put_many(numbered(1), on_doubt="hold")
            outbox.run(judge.url, until_empty=True, connections=1)
        outbox.resolve(id, "r0@example.net", "resend")
        (delivery,) = outbox.status(id).deliveries
        assert (delivery.state, delivery.doubted) == (State.WAITING, True)
        if end == "cancelled":
            assert outbox.cancel(id) == 1
        else:
            with Judge(answer=refuse) as judge:
                outbox.run(judge.url, until_empty=True)
        (delivery,) = outbox.status(id).deliveries
        assert delivery.state is State.IN_DOUBT


# What is no ledger, or cannot be written


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    path.write_bytes(b"no database, but long enough to be looked at " * 100)
    with pytest.raises(LedgerCorrupt, match="no SQLite file"):
        Outbox(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"no database")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="there is no such directory"):
        Outbox(f"sqlite:///{tmp_path}/missing/mail.db")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_directory_that_takes_no_files() -> None:
    with pytest.raises(LedgerUnavailable, match="have to be writable"):
        Outbox("sqlite:////proc/self/mail.db")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with Outbox(f"sqlite:///{path}") as outbox:
        store: Any = outbox._store
        outbox.close()
        # Root may write to any file; so the file is opened as if we might not.
        uri = f"{path.as_uri()}?mode=ro"
        store._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        store._connection.execute("PRAGMA user_version").fetchall()
        store._files = store._found()
        with pytest.raises(LedgerUnavailable, match="have to be writable"):
            outbox.put(b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net"))


def test_tables_of_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    Outbox(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE smtpx_version SET version = 99")
    connection.close()
    with pytest.raises(LedgerTooNew, match="of version 99"):
        Outbox(f"sqlite:///{path}")


def test_tables_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE smtpx_message (mine TEXT)")
    connection.close()
    with pytest.raises(LedgerCorrupt, match="no outbox's"):
        Outbox(f"sqlite:///{path}")


def test_another_process_that_holds_the_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    message = b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net")
    with Outbox(f"sqlite:///{path}", patience=0.2) as outbox:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="holds a transaction for too long"):
            outbox.put(*message)
        holder.execute("ROLLBACK")
        holder.close()
        outbox.put(*message)
        assert outbox.counts()[State.WAITING] == 1


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
def test_a_worker_that_waits_for_the_file_for_too_long(tmp_path: Path, hold: bool) -> None:
    path = tmp_path / "mail.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    locked = threading.Event()

    def lock(word: str, of: str) -> bytes | None:
        if of == "<20@example.org>" and not locked.is_set():
            locked.set()
            holder.execute("BEGIN IMMEDIATE")
        return None

    with (
        Outbox(f"sqlite:///{path}", patience=0.2, lease=0.4) as outbox,
        Judge(answer=lock) as judge,
    ):
        list(outbox.put_many(numbered(60), on_doubt="hold" if hold else "resend"))
        with pytest.raises(LedgerUnavailable, match="holds a transaction for too long"):
            outbox.run(judge.url, until_empty=True, connections=1)
        assert 20 <= len(judge.taken) < 60
        holder.close()
        drained(outbox, judge)
        check(outbox, judge, 60, 1, hold=hold, most=1 if hold else 16)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of forks where threads run.
def test_a_fork_while_another_thread_has_a_transaction(tmp_path: Path) -> None:
    under_way = threading.Event()

    def operation() -> Generator[Any, Any, None]:
        yield Ask("SELECT 1")
        under_way.set()
        time.sleep(0.2)

    with Outbox(f"sqlite:///{tmp_path}/mail.db", patience=20) as outbox:
        thread = threading.Thread(target=lambda: outbox._store.transact(operation))
        thread.start()
        assert under_way.wait(20)
        child = os.fork()
        if not child:
            try:
                outbox._store._patience = 10  # type: ignore[attr-defined]
                outbox.put(b"Subject: x\r\n\r\n", ENVELOPE)
                os._exit(0)
            finally:
                os._exit(1)
        outbox.put(b"Subject: x\r\n\r\n", ENVELOPE)
        assert os.waitpid(child, 0)[1] == 0
        thread.join()
        assert outbox.counts()[State.WAITING] == 2


def test_an_outbox_is_opened_beside_a_transaction_that_writes(tmp_path: Path) -> None:
    """Whoever opens it may be within one: a request of Django's, whose first mail this is."""
    path = tmp_path / "mail.db"
    Outbox(f"sqlite:///{path}").close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with Outbox(f"sqlite:///{path}", patience=0.2) as outbox:
        assert outbox.counts()[State.WAITING] == 0
    holder.execute("ROLLBACK")
    holder.close()


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite://mail.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///mail.db?x=1"),
        *("mysql://localhost/x", "mail.db", ""),
    ],
)
def test_a_url_of_no_ledger(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url: give 'sqlite"):
        Outbox(url)


@pytest.mark.xdist_group("postgres")
def test_a_postgres_that_is_not_there() -> None:
    pytest.importorskip("psycopg")
    for url in (
        "postgresql://ann:secret-word@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/x?password=secret-word",
    ):
        with pytest.raises(LedgerUnavailable, match="is the server up") as caught:
            Outbox(url, patience=2)
        assert "secret-word" not in str(caught.value)
        assert "127.0.0.1:1/x" in str(caught.value)


def test_what_nobody_knows_who_had_it_is_sent(outbox: Outbox, judge: Judge) -> None:
    """Somebody has emptied tables that looked like a cache, or has restored the others alone."""
    store = outbox._store
    sent, waiting, aside = (outbox.put(octets, ENVELOPE) for octets, _ in numbered(3))
    now = time.time() + 1
    store.transact(_claiming.register, "gone", 30.0, now)
    taken = store.transact(_queue.claim, Claim("gone", 2, now)).deliveries
    assert [one.message for one in taken] == [sent, waiting]
    store.transact(_claiming.mark, "gone", [[taken[0].ticket]], now)
    store.transact(_destinations.hold_back, ["example.net"], now)
    store.transact(_claiming.register, "other", 30.0, now)
    assert not store.transact(_queue.claim, Claim("other", 2, now)).deliveries

    def emptied() -> Generator[Ask, Any, None]:
        yield Ask("DELETE FROM smtpx_worker")
        yield Ask("DELETE FROM smtpx_destination")

    store.transact(emptied)
    drained(outbox, judge)
    assert {outbox.status(id).is_over for id in (sent, waiting, aside)} == {True}
    assert len(judge.taken) == 3


@pytest.mark.xdist_group("postgres")
def test_each_statement_sees_what_was_committed_whatever_the_database_says(
    postgres_server: Any,
) -> None:
    """By the snapshot of REPEATABLE READ, a reaper would miss what a dead worker claimed last."""
    import psycopg

    url = postgres_server.database()
    with psycopg.connect(url, autocommit=True) as another:
        name = another.info.dbname
        another.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")

    def isolation() -> Generator[Ask, Any, str]:
        rows = yield Ask("SHOW transaction_isolation")
        return str(rows[0][0])

    with Outbox(url) as outbox:
        assert outbox._store.transact(isolation) == "read committed"
