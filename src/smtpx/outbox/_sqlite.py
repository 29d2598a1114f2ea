"""A ledger in a file, by the standard library: several processes on one machine."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeAlias, TypeVar

from smtpx import _checks
from smtpx._turns import Turns

from ._statements import Dialect, Row, Statements
from ._store import is_current, migrate, run
from .states import LedgerCorrupt, LedgerMisconfigured, LedgerUnavailable, OutboxError

__all__ = ["DIALECT", "SQLiteStore", "said"]

P = ParamSpec("P")
T = TypeVar("T")

_Identity: TypeAlias = tuple[int, int]
_Files: TypeAlias = tuple[_Identity | None, _Identity | None, _Identity | None, int]

DIALECT = Dialect(
    "sqlite",
    "?",
    {
        "octets": "BLOB",
        "seconds": "REAL",
        "number": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "lock": "",
        "wait": "",
        "share": "",
        "keeping": "SELECT 1",
        "forgetting": "SELECT 1",
        "deciding": "SELECT 1",
        "telling": "SELECT 1",
        "told": "SELECT 1",
        "exclusive": "SELECT 1",  # BEGIN IMMEDIATE has locked it.
        "tables": "SELECT name FROM sqlite_master WHERE name LIKE 'smtpx_%'",
        "columns": "SELECT name FROM pragma_table_info(?)",
        # It reads nothing: who reads and then writes has to begin anew if others have written.
        "which": "PRAGMA database_list",
    },
)


class SQLiteStore(Turns):
    """A ledger in an SQLite file; threads take turns on one connection."""

    dialect = DIALECT

    def __init__(self, path: Path, patience: float) -> None:
        """Open or make the file; `patience`: seconds to wait for other processes' transactions.

        Raises:
            LedgerUnavailable, LedgerCorrupt, LedgerTooNew: there is no ledger to be had there.
        """
        _check_place(path)
        self._path = path
        self._log_path = Path(f"{os.path.realpath(path)}-wal")
        # The last is what all who have the log open share: their locks, and where they are in it.
        self._names = str(path), str(self._log_path), f"{os.path.realpath(path)}-shm"
        self._patience = patience
        self._was_open = False
        """There is a file, so that none is made any more: it would be another one."""
        self._files: _Files = (None, None, None, 0)
        """Which files they are that are open: others may get their names."""
        self._removed = ""
        """Of what was removed while it was open, what is to be done; until it is closed."""
        super().__init__()
        try:
            # To look needs no lock: whoever opens it may be within a transaction of his own.
            if not self.look(is_current):
                self.transact(migrate, DIALECT)
        except BaseException:
            self.close()
            raise

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"sqlite:///{self._path}"

    def transact(
        self, operation: Callable[P, Statements[T]], *args: P.args, **named: P.kwargs
    ) -> T:
        """Run an operation in a transaction of its own, alone in all processes."""
        return self._run("BEGIN IMMEDIATE", partial(operation, *args, **named))

    def look(self, operation: Callable[P, Statements[T]], *args: P.args, **named: P.kwargs) -> T:
        """Run an operation that changes nothing, beside those of other processes that do."""
        return self._run("BEGIN", partial(operation, *args, **named))

    def _run(self, begin: str, operation: Callable[[], Statements[T]]) -> T:
        with self.lock:
            try:
                return self._run_alone(begin, operation)
            except sqlite3.Error as error:
                raise said(error, self._path) from error

    def _run_alone(self, begin: str, operation: Callable[[], Statements[T]]) -> T:
        connection = self.connection()
        self._check_files(connection)
        cursor = connection.cursor()
        try:
            _ = cursor.execute(begin)
            value = run(operation(), cursor, DIALECT)
            _ = cursor.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise
        return value

    def _connect(self) -> sqlite3.Connection:
        if self._removed:
            raise LedgerUnavailable(self._removed)
        _check_place(self._path)
        self._check_log()
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode={'rw' if self._was_open else 'rwc'}",
            uri=True,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,  # They take turns.
            cached_statements=512,
        )
        try:
            # It holds for a file that is made anew: on larger pages, most mails waste less.
            _ = connection.execute("PRAGMA page_size = 8192")
            _ = connection.execute("PRAGMA journal_mode = WAL").fetchall()
            _ = connection.execute("PRAGMA synchronous = FULL")
            _ = connection.execute("PRAGMA user_version").fetchall()  # It opens the log.
        except BaseException:
            connection.close()
            raise
        self._files = self._found()
        self._was_open = True
        return connection

    def _disconnect(self) -> None:
        """Close the file.

        The last to close it writes the log into it, and removes that. Whoever does not share it
        with the others any more knows nothing of what they have written, and leaves it alone.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        file, *logs, _ = self._found()
        if file != self._files[0] or logs[0] is None or logs == [*self._files[1:3]]:
            connection.close()
            return
        # That of this one is not the last, nor does it write: it can lock nothing.
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as other:
            _ = other.execute("PRAGMA user_version").fetchall()
            connection.close()

    def _found(self) -> _Files:
        """What has the names now, and how many the file has."""
        (file, links), (log, _), (shared, _) = map(_looked_at, self._names)
        return file, log, shared, links

    def _check_log(self) -> None:
        """Take no file for a new one whose log is there: SQLite would throw that away."""
        is_there = self._path.exists()
        if self._was_open and not is_there:
            raise LedgerUnavailable(f"{self._path}: {_GONE}")
        is_empty = not is_there or not self._path.stat().st_size
        if is_empty and self._log_path.exists() and self._log_path.stat().st_size:
            raise LedgerMisconfigured(
                f"{self._path}: its log {self._log_path.name} is there, and holds mail: "
                "put the file back, or remove the log, too, if that mail is to be lost"
            )

    def _check_files(self, connection: sqlite3.Connection) -> None:
        """Make sure that what is open is what others find under its name.

        If not, it stays open: it is the one that has the mail, and may be put back.
        """
        found = file, log, shared, links = self._found()
        known = self._files
        if found == known:
            return
        if file is None:
            raise LedgerUnavailable(f"{self._path}: {_GONE}")
        if file != known[0]:
            raise LedgerUnavailable(
                f"{self._path}: another file is in its place: put the one back that was open; or "
                f"end all that have it open, remove {self._log_path.name}, and begin them again"
            )
        if (log, shared) == known[1:3]:
            _check_links(self._path, links)
            return
        if log is None and not connection.in_transaction:
            _ = connection.execute("PRAGMA wal_checkpoint").fetchall()
        name = Path(self._names[1 if log != known[1] else 2]).name
        self._removed = (
            f"{self._path}: {name} was removed while it was open: "
            "end all that have the file open, and begin them again"
        )
        if log is not None:
            self._disconnect()
        raise LedgerUnavailable(self._removed)

    def now(self) -> float:
        """The time by the clock of the machine: all who have the file open are on it."""
        return time.time()

    def is_in(self, found: Sequence[Row]) -> bool:
        """True if it is what a connection says by ``{which}`` that it is to."""
        file = next((row[2] for row in found if row[1] == "main"), "")
        if (identity := _identity(self._names[0])) is None:
            raise LedgerUnavailable(f"{self._path}: {_GONE}")
        return file == self._names[0] or (bool(file) and _identity(file) == identity)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self.lock:
            self._disconnect()
            self._removed = ""


_GONE = (
    "the file was moved or deleted while it was open: put it back, or, if it is gone for good, "
    "end this program and begin it again"
)


def _check_place(path: Path) -> None:
    """Take a file, or where one can be made.

    Raises:
        LedgerMisconfigured: it is neither.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.is_dir():
            text = f"{path}: there is no such directory {path.parent}: make it"
            raise LedgerMisconfigured(text) from None
    except (OSError, ValueError) as error:  # A NUL in it is a ValueError.
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise LedgerMisconfigured(f"{path}: {said}: give another file") from error
    else:
        if stat.S_ISDIR(found.st_mode):
            raise LedgerMisconfigured(f"{path}: it is a directory: give a file in it")
        if not stat.S_ISREG(found.st_mode):
            raise LedgerMisconfigured(f"{path}: it is no file: give one")
        _check_links(path, found.st_nlink)


def _check_links(path: Path, links: int) -> None:
    """Take a file of one name: by each of its names SQLite would have another log.

    Raises:
        LedgerMisconfigured: it has several.
    """
    if links > 1:
        raise LedgerMisconfigured(
            f"{path}: the file has {links} names (hard links), and each would have a log of its "
            "own: remove all but the one that it was opened by first; a symbolic link may stay"
        )


def _identity(path: str) -> _Identity | None:
    return _looked_at(path)[0]


def _looked_at(path: str) -> tuple[_Identity | None, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - for each transaction: a Path takes thrice as long
    except OSError:
        return None, 0
    return (found.st_dev, found.st_ino), found.st_nlink


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def said(error: sqlite3.Error, path: object) -> OutboxError:
    """What an error of the database means for the outbox."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    text = f"{path}: {error}"
    if extended == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return LedgerUnavailable(
            f"{text}: others have written since the transaction began: roll it back, and begin it "
            "by BEGIN IMMEDIATE"
        )
    if code in _BUSY:
        return LedgerUnavailable(
            f"{text}: another process holds a transaction for too long, or was stopped in one; "
            "within one of your own, give connection="
        )
    if code == sqlite3.SQLITE_FULL:
        return LedgerUnavailable(f"{text}: make room on the disk; what is in the outbox is safe")
    if code == sqlite3.SQLITE_IOERR:
        return LedgerUnavailable(
            f"{text}: look at the disk, its quota and the limits of this process; "
            "what is in the outbox is safe"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return LedgerMisconfigured(
            f"{text}: the file and its directory have to be writable for this user"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return LedgerCorrupt(
            f"{text}: this is no SQLite file, or a damaged one: restore it, or give another"
        )
    if "no such table" in str(error) or "no such column" in str(error):
        return LedgerCorrupt(f"{text}: this database has no outbox: give the outbox its URL")
    return LedgerUnavailable(text)
