"""The sessions of each day, counted in a file until they are reported (RFC 8460 §4)."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import sqlite3
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, timedelta
from os import PathLike
from typing import Any, cast

from smtpx._turns import Turns

from ._patience import Patience
from .tls_reports import (
    AppliedPolicy,
    PolicyReport,
    PolicyType,
    ResultType,
    SessionFailure,
    grouped,
)

__all__ = ["Due", "Tallies"]

_LOG = logging.getLogger("smtpx.delivery")

_TABLES = (
    "CREATE TABLE IF NOT EXISTS tls_reporter (id TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS tls_session (day TEXT NOT NULL, domain TEXT NOT NULL, "
    "policy TEXT NOT NULL, failure TEXT NOT NULL, count INTEGER NOT NULL, "
    "PRIMARY KEY (day, domain, policy, failure))",
    "CREATE TABLE IF NOT EXISTS tls_report (day TEXT NOT NULL, domain TEXT NOT NULL, "
    "due REAL NOT NULL, next REAL NOT NULL, attempts INTEGER NOT NULL, told TEXT NOT NULL, "
    "PRIMARY KEY (day, domain))",
    "CREATE TABLE IF NOT EXISTS tls_sent (day TEXT NOT NULL, place TEXT NOT NULL, "
    "count INTEGER NOT NULL, PRIMARY KEY (day, place))",
    "CREATE INDEX IF NOT EXISTS tls_report_next ON tls_report (next)",
)
# RFC 8460 §4.1: not all at midnight, but within four hours after it.
_SPREAD = 14400
# RFC 8460 §5.5: tried for a day, with a pause that grows.
_TRIED_FOR, _PAUSE = 86400.0, 900.0
# Seconds for which whoever has taken a report has it alone.
_LEASE = 900.0
# Kinds of sessions of a domain and a day that are told apart.
_MOST = 100
_KEPT = timedelta(days=3)
# Reports that are sent in a day, and those of them to one place. Many domains may name the address
# of somebody who has asked for none.
_A_DAY, _TO_ONE = 10_000, 1000
_ALL = ""
# Sessions that are counted in memory while the file is locked.
_UNWRITTEN = 10_000
# Seconds for which what is no mail waits for the file.
_UNHURRIED = 5.0


@dataclass(frozen=True, slots=True)
class Due:
    """A report that has to be sent now, and nobody else sends."""

    day: date
    domain: str
    id: str
    first: float
    attempts: int
    told: tuple[str, ...]
    """Places that have it already."""
    policies: tuple[PolicyReport, ...]


class Tallies(Turns):
    """Counts in a file, for several processes; what is counted survives a crash."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = path
        self._unwritten: deque[tuple[date, AppliedPolicy, SessionFailure | None]] = deque()
        """Counted while another process, or another thread, has the file."""
        self._patience = Patience()
        self._seconds = _UNHURRIED
        super().__init__()

    def count(self, policy: AppliedPolicy, failure: SessionFailure | None, now: float) -> None:
        """Count one session of today.

        No mail waits for that: while others lock the file, it is counted in memory.
        """
        _ = self.lock  # After a fork it begins anew.
        if len(self._unwritten) >= _UNWRITTEN:
            _LOG.warning("a session is not in the TLS report to %s: %s", policy.domain, "too many")
            return
        self._unwritten.append((datetime.fromtimestamp(now, UTC).date(), policy, failure))
        self._write()

    def settle(self) -> None:
        """Have all that was counted be in the file, if it is to be had."""
        self._write()
        if self._unwritten:
            _LOG.warning(
                "%d sessions are in no TLS report: another process has locked %s",
                *(len(self._unwritten), self._path),
            )

    def _write(self) -> None:
        """Write what is counted; where somebody has the file, it is written another time."""
        while self._unwritten and self.lock.acquire(blocking=False):
            try:
                is_written = self._is_written()
            finally:
                self.lock.release()
            if not is_written:
                break

    def _is_written(self) -> bool:
        was_locked = self._patience.is_used_up
        some = list(self._unwritten)
        try:
            with self._patience.tried(), self._opened(self._patience.seconds) as database:
                for day, policy, failure in some:
                    self._count(database, day, policy, failure)
        except sqlite3.Error as error:
            domain = some[0][1].domain
            if not self._patience.is_used_up:
                _LOG.warning("a session is not in the TLS report to %s: %s", domain, error)
            else:
                if not was_locked:
                    _LOG.warning("sessions are counted in memory: %s: %s", self._path, error)
                return False
        for _ in some:
            _ = self._unwritten.popleft()
        return True

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._unwritten.clear()  # After a fork they are the parent's.

    def _count(
        self,
        database: sqlite3.Connection,
        day: date,
        policy: AppliedPolicy,
        failure: SessionFailure | None,
    ) -> None:
        known = database.execute(
            "SELECT COUNT(*) FROM tls_session WHERE day = ? AND domain = ?",
            (day.isoformat(), policy.domain),
        ).fetchone()[0]
        if not known:
            self._begin(database, day, policy.domain)
        kind = _written(policy, failure)
        if known >= _MOST and not _is_there(database, day, policy.domain, kind):
            # What a domain says must not fill our disk.
            policy = AppliedPolicy(policy.type, policy.domain)
            failure = failure and SessionFailure(failure.result)
            kind = _written(policy, failure)
        _ = database.execute(
            "INSERT INTO tls_session VALUES (?, ?, ?, ?, 1) "
            "ON CONFLICT DO UPDATE SET count = count + 1",
            (day.isoformat(), policy.domain, *kind),
        )

    def _begin(self, database: sqlite3.Connection, day: date, domain: str) -> None:
        """Have a report be due of a domain; forget what nobody has sent."""
        reporter = _reporter(database)
        midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC).timestamp()
        drawn = hashlib.sha256(f"{reporter} {day} {domain}".encode()).digest()
        due = midnight + int.from_bytes(drawn[:4]) % _SPREAD
        _ = database.execute(
            "INSERT OR IGNORE INTO tls_report VALUES (?, ?, ?, ?, 0, '[]')",
            (day.isoformat(), domain, due, due),
        )
        for table in ("tls_session", "tls_report", "tls_sent"):
            before = (day - _KEPT).isoformat()
            _ = database.execute(f"DELETE FROM {table} WHERE day < ?", (before,))

    def due(self, now: float) -> Due | None:
        """Take the report that has been due for longest."""
        self._write()
        with self._opened() as database:
            row = database.execute(
                "SELECT day, domain, due, attempts, told FROM tls_report WHERE next <= ? "
                "ORDER BY next LIMIT 1",
                (now,),
            ).fetchone()
            if row is None:
                return None
            day, domain, first, attempts, told = row
            _ = database.execute(
                "UPDATE tls_report SET next = ?, attempts = attempts + 1 "
                "WHERE day = ? AND domain = ?",
                (now + _LEASE, day, domain),
            )
            rows = database.execute(
                "SELECT policy, failure, count FROM tls_session WHERE day = ? AND domain = ? "
                "ORDER BY policy, failure",
                (day, domain),
            ).fetchall()
            drawn = hashlib.sha256(f"{_reporter(database)} {day} {domain}".encode()).hexdigest()
        policies = grouped((_policy(one), _failure(other), count) for one, other, count in rows)
        return Due(
            *(date.fromisoformat(day), domain, f"{day}.{drawn[:16]}", first, attempts),
            *(tuple(json.loads(told)), policies),
        )

    def end(self, due: Due) -> None:
        """Forget what has been reported, or will not be."""
        with self._opened() as database:
            for table in ("tls_session", "tls_report"):
                _ = database.execute(
                    f"DELETE FROM {table} WHERE day = ? AND domain = ?",
                    (due.day.isoformat(), due.domain),
                )

    def postpone(self, due: Due, told: tuple[str, ...], now: float) -> bool:
        """Try it again later; False if it has been tried for long enough."""
        if now > due.first + _TRIED_FOR:
            self.end(due)
            return False
        pause = min(_PAUSE * 2**due.attempts, _TRIED_FOR / 4)
        with self._opened() as database:
            _ = database.execute(
                "UPDATE tls_report SET next = ?, told = ? WHERE day = ? AND domain = ?",
                (now + pause, json.dumps(told), due.day.isoformat(), due.domain),
            )
        return True

    def allow(self, place: str, now: float) -> bool:
        """True if one more report may go there today (UTC); it is counted, for all processes."""
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        with self._opened() as database:
            counted = "SELECT place, count FROM tls_sent WHERE day = ? AND place IN (?, ?)"
            sent: dict[str, int] = dict(database.execute(counted, (day, _ALL, place)).fetchall())
            if sent.get(_ALL, 0) >= _A_DAY or sent.get(place, 0) >= _TO_ONE:
                return False
            _ = database.executemany(
                "INSERT INTO tls_sent VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
                [(day, _ALL), (day, place)],
            )
        return True

    @contextmanager
    def _opened(self, seconds: float = _UNHURRIED) -> Generator[sqlite3.Connection, None, None]:
        """The file, within a transaction; whoever has locked it is waited for so many seconds."""
        with self.lock:
            self._seconds = seconds
            database = self.connection()
            _ = database.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
            _ = database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                if database.in_transaction:
                    database.rollback()
                raise
            _ = database.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=self._seconds, isolation_level=None, check_same_thread=False
        )
        try:
            # What is committed survives a crash of ours without waiting for the disk.
            _ = database.execute("PRAGMA journal_mode = WAL")
            _ = database.execute("PRAGMA synchronous = NORMAL")
            for table in _TABLES:
                _ = database.execute(table)
        except BaseException:
            database.close()
            raise
        return database


def _reporter(database: sqlite3.Connection) -> str:
    """What tells the reports of this file from those of another."""
    row = database.execute("SELECT id FROM tls_reporter").fetchone()
    if row is None:
        row = (secrets.token_hex(16),)
        _ = database.execute("INSERT INTO tls_reporter VALUES (?)", row)
    return str(row[0])


def _is_there(database: sqlite3.Connection, day: date, domain: str, kind: tuple[str, str]) -> bool:
    found = database.execute(
        "SELECT 1 FROM tls_session WHERE day = ? AND domain = ? AND policy = ? AND failure = ?",
        (day.isoformat(), domain, *kind),
    )
    return found.fetchone() is not None


def _written(policy: AppliedPolicy, failure: SessionFailure | None) -> tuple[str, str]:
    told = [policy.type.value, policy.domain, policy.strings, policy.mx_hosts]
    if failure is None:
        return json.dumps(told), ""
    result, *others = astuple(failure)
    return json.dumps(told), json.dumps([result.value, *others])


def _policy(text: str) -> AppliedPolicy:
    kind, domain, strings, hosts = cast("list[Any]", json.loads(text))
    return AppliedPolicy(PolicyType(kind), domain, tuple(strings), tuple(hosts))


def _failure(text: str) -> SessionFailure | None:
    if not text:
        return None
    result, *others = cast("list[Any]", json.loads(text))
    return SessionFailure(ResultType(result), *others)
