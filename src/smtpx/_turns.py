"""Connections to SQLite: threads take turns on them, and no child inherits them.

SQLite's locks do not survive a fork, and what a process notes of them does. A child would wait in
vain for a transaction of its parent's, or end it (https://sqlite.org/howtocorrupt.html §2.6). So
whoever forks waits for those within a transaction, and closes what is open.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from operator import methodcaller
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Turns"]

# Seconds for which a fork waits for others' transactions.
_PATIENCE = 30.0


class Turns(ABC):
    """One connection, for one thread at a time; it is opened when it is needed."""

    is_in_memory = False
    """A child goes on with a copy."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._lost: sqlite3.Connection | None = None
        """What was within a transaction of the parent's; who closes it would end that."""
        self._begin_anew()
        with _gate:
            _all[next(_numbers)] = self

    @abstractmethod
    def _connect(self) -> sqlite3.Connection:
        """Open it, for any thread; each transaction is begun and ended by a statement."""

    @property
    def lock(self) -> threading.RLock:
        """What is held for a turn."""
        if self._process != os.getpid():
            self._begin_anew()  # After a fork that nobody has told of.
        return self._lock

    def connection(self) -> sqlite3.Connection:
        """What is there for whoever has the `lock`; no transaction is under way.

        Raises:
            sqlite3.Error: it cannot be had.
        """
        if self._lost is not None:
            import sqlite3

            raise sqlite3.OperationalError(
                "this process was forked while its parent wrote here: end it, and begin another"
            )
        if self._connection is None:
            self._connection = self._connect()
        elif self._connection.in_transaction:
            self._connection.rollback()  # We were interrupted twice.
        return self._connection

    def close(self) -> None:
        """Close the connection; another one is opened when it is needed."""
        with self.lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def close_for_fork(self) -> None:
        """Leave nothing open; not in the middle of a transaction, which is the forking thread's."""
        connection = self._connection
        if connection is not None and not (self.is_in_memory or connection.in_transaction):
            self.close()

    def _begin_anew(self) -> None:
        connection = self._connection
        self._lock = threading.RLock()
        self._process = os.getpid()
        if connection is not None and connection.in_transaction:
            self._lost = connection
        if not self.is_in_memory:
            self._connection = None


_numbers = itertools.count()
# In one order for all, so that no two threads that fork wait for each other.
_all: WeakValueDictionary[int, Turns] = WeakValueDictionary()
# Held by whoever forks: what is made meanwhile would not be waited for.
_gate = threading.RLock()
_forking = threading.local()


def _before_fork() -> None:
    held: list[threading.RLock] = []
    _forking.held = held
    end = time.monotonic() + _PATIENCE

    def take(lock: threading.RLock) -> bool:
        if is_taken := lock.acquire(timeout=max(end - time.monotonic(), 0.0)):
            held.append(lock)
        return is_taken

    if take(_gate):
        for reference in _all.valuerefs():
            turns = reference()
            if turns is not None and take(turns.lock):
                turns.close_for_fork()


def _after_in_parent() -> None:
    # No signal handler runs within this one call of C's.
    _ = deque(map(methodcaller("release"), vars(_forking).pop("held", ())), 0)


def _after_in_child() -> None:
    global _gate
    _gate = threading.RLock()
    for reference in _all.valuerefs():
        turns = reference()
        if turns is not None:
            turns._begin_anew()  # pyright: ignore[reportPrivateUsage] - it is ours


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
