"""Forks while threads use files of SQLite's: parent and child both go on, each in its time."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from smtpx import Envelope, Outbox
from smtpx.delivery._tallies import Tallies
from smtpx.delivery.mta_sts import Mode, Policy, SQLitePolicies, StoredPolicy
from smtpx.delivery.tls_reports import AppliedPolicy, PolicyType
from smtpx.inbox._store import Store
from smtpx.outbox import State
from smtpx.outbox._statements import Ask
from smtpx.testing import ReceivedMessage, Via

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

NOON = 1_700_000_000.0
TODAY = date(2023, 11, 14)
POLICY = AppliedPolicy(PolicyType.STS, "a.test")
MESSAGE = ReceivedMessage(
    sender="ann@a.test",
    recipients=("bob@b.test",),
    content=b"x",
    mail_parameters={},
    recipient_parameters=({},),
    tls=False,
    user=None,
    smtputf8=False,
    helo="a.test",
    via=Via.DATA,
    session=1,
    queue_id="1",
)
STORED = StoredPolicy("1", NOON, Policy(Mode.ENFORCE, 86400, ("mx.a.test",)))
# Seconds: SQLite waits for thirty where it takes itself to be locked out.
_IN_TIME = 15


class Kept(ABC):
    """Something that is kept in a file."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "kept.db"
        self.open()

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def add(self) -> None: ...

    @abstractmethod
    def count(self) -> int: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def hold(self, meanwhile: Callable[[], None]) -> None:
        """Have a transaction that writes."""


class KeptTallies(Kept):
    def open(self) -> None:
        self._tallies = Tallies(self.path)

    def add(self) -> None:
        with self._tallies._opened() as database:
            self._tallies._count(database, TODAY, POLICY, None)

    def count(self) -> int:
        with self._tallies._opened() as database:
            return int(database.execute("SELECT sum(count) FROM tls_session").fetchone()[0])

    def hold(self, meanwhile: Callable[[], None]) -> None:
        with self._tallies._opened():
            meanwhile()

    def close(self) -> None:
        self._tallies.close()


class KeptPolicies(Kept):
    def open(self) -> None:
        self._policies = SQLitePolicies(self.path)

    def add(self) -> None:
        # A file that others lock is waited for half a second: here they never leave it alone.
        end = time.monotonic() + _IN_TIME
        for _ in range(1000):
            try:
                self._policies.put(f"{os.getpid()}.{time.monotonic_ns()}.test", STORED)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
            else:
                return

    def count(self) -> int:
        with self._policies._opened() as database:
            return int(database.execute("SELECT count(*) FROM mta_sts").fetchone()[0])

    def hold(self, meanwhile: Callable[[], None]) -> None:
        with self._policies._opened() as database, database:
            _ = database.execute("BEGIN IMMEDIATE")
            meanwhile()

    def close(self) -> None:
        """Nothing stays open."""


class KeptOutbox(Kept):
    def open(self) -> None:
        self._outbox = Outbox(f"sqlite:///{self.path}")

    def add(self) -> None:
        _ = self._outbox.put(b"Subject: x\r\n\r\n", Envelope("ann@a.test", "bob@b.test"))

    def count(self) -> int:
        return self._outbox.counts()[State.WAITING]

    def hold(self, meanwhile: Callable[[], None]) -> None:
        def operation() -> Generator[Any, Any, None]:
            _ = yield Ask("SELECT 1")
            meanwhile()

        self._outbox._store.transact(operation)

    def close(self) -> None:
        self._outbox.close()


class KeptInbox(Kept):
    def open(self) -> None:
        self._store = Store(self.path, keep=10**6, keep_octets=10**6)

    def add(self) -> None:
        _ = self._store.add(MESSAGE)

    def count(self) -> int:
        with self._store._reading() as database:
            return int(database.execute("SELECT count(*) FROM messages").fetchone()[0])

    def hold(self, meanwhile: Callable[[], None]) -> None:
        with self._store._writing():
            meanwhile()

    def close(self) -> None:
        self._store.close()


KINDS = [KeptTallies, KeptPolicies, KeptOutbox, KeptInbox]


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    made: Kept = request.param(tmp_path)
    yield made
    made.close()


def forked(call: Callable[[], None]) -> int:
    """Call in a child, which has so long for it."""
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_IN_TIME)
    code = 1
    try:
        call()
        code = 0
    except BaseException as error:
        print(f"in the child: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def ended_well(child: int) -> bool:
    return os.waitpid(child, 0)[1] == 0


@contextmanager
def held(kept: Kept, seconds: float | None) -> Generator[None]:
    """Another thread is within a transaction, for so long, or to the end of the context."""
    begun, over = threading.Event(), threading.Event()

    def meanwhile() -> None:
        begun.set()
        _ = over.wait(seconds)

    thread = threading.Thread(target=kept.hold, args=[meanwhile])
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        over.set()
        thread.join()


@forks
def test_while_another_thread_has_a_transaction(kept: Kept) -> None:
    kept.add()
    with held(kept, 0.2):
        child = forked(kept.add)
        kept.add()
    assert ended_well(child)
    assert kept.count() == 3


@forks
def test_many_forks_from_two_threads_while_two_others_write(kept: Kept) -> None:
    """Each waits for those within a transaction; none of them waits for another for ever."""
    ended: list[bool] = []
    over = threading.Event()
    added = [0, 0]

    def write(number: int) -> None:
        while not over.is_set():
            kept.add()
            added[number] += 1
            time.sleep(0.001)

    def fork() -> None:
        for _ in range(10):
            ended.append(ended_well(forked(kept.add)))

    writers = [threading.Thread(target=write, args=[number]) for number in range(2)]
    forkers = [threading.Thread(target=fork) for _ in range(2)]
    for thread in writers + forkers:
        thread.start()
    for thread in forkers:
        thread.join()
    over.set()
    for thread in writers:
        thread.join()
    assert ended == [True] * 20
    assert kept.count() == 20 + sum(added)


@forks
def test_a_fork_does_not_wait_for_ever(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is told at once that this file is not for it, whatever the parent does."""
    monkeypatch.setattr("smtpx._turns._PATIENCE", 0.2)

    def refused() -> None:
        with pytest.raises(Exception, match="forked"):
            kept.add()
        if not isinstance(kept, KeptInbox):  # It reads by another connection.
            with pytest.raises(Exception, match="forked"):
                _ = kept.count()

    kept.add()
    with held(kept, None):
        child = forked(_nothing if isinstance(kept, KeptPolicies) else refused)
        assert ended_well(child)
    kept.add()
    assert kept.count() == 2


def _nothing() -> None:
    """Policies are kept by a connection for each: none knows of the one that was inherited."""


@forks
def test_a_child_of_a_child(kept: Kept) -> None:
    kept.add()

    def fork_again() -> None:
        kept.add()
        assert ended_well(forked(kept.add))

    assert ended_well(forked(fork_again))
    assert kept.count() == 3


@forks
def test_a_file_that_is_first_used_while_a_fork_is_under_way(tmp_path: Path) -> None:
    """It waits for the end of the fork, as those do that were used before."""
    from smtpx import _turns

    begun = threading.Event()

    def first_use() -> None:
        kept = KeptTallies(tmp_path)
        kept.add()
        begun.set()
        kept.close()

    thread = threading.Thread(target=first_use)
    _turns._before_fork()
    thread.start()
    try:
        assert not begun.wait(0.2)
    finally:
        _turns._after_in_parent()
    thread.join()
    assert begun.is_set()


@forks
def test_an_inbox_in_memory_is_copied() -> None:
    store = Store(None, keep=10, keep_octets=10**6)

    def look() -> None:
        assert store.content(1) == b"x"
        assert store.add(MESSAGE) == 2
        assert store.count("") == 2

    _ = store.add(MESSAGE)
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        with store._writing():
            begun.set()
            _ = over.wait(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(30)
    assert ended_well(forked(look))
    thread.join()
    assert store.count("") == 1
    store.close()


def test_a_transaction_that_was_left_is_ended(tmp_path: Path) -> None:
    """A second Ctrl-C may fall where the first one had it rolled back."""
    tallies = Tallies(tmp_path / "kept.db")
    with tallies.lock:
        _ = tallies.connection().execute("BEGIN IMMEDIATE")
    tallies.count(POLICY, None, NOON)
    assert not tallies._unwritten
    tallies.close()


def test_where_nothing_forks(tmp_path: Path) -> None:
    """As on Windows."""
    program = (
        "import os\n"
        "for name in ('fork', 'register_at_fork'):\n"
        "    vars(os).pop(name, None)\n"
        "from tests.test_turns import KINDS\n"
        "from pathlib import Path\n"
        f"for number, kind in enumerate(KINDS):\n"
        f"    directory = Path({str(tmp_path)!r}, str(number))\n"
        "    directory.mkdir()\n"
        "    kept = kind(directory)\n"
        "    kept.add()\n"
        "    print(kept.count())\n"
        "    kept.close()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ran.stdout.split(), ran.stderr) == (["1"] * len(KINDS), "")
