"""A ledger in PostgreSQL, by psycopg: as many machines as you like."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from smtpx import _checks
from smtpx.errors import ExtraMissing

from ._statements import Dialect, Row, Statements
from ._store import is_current, migrate, run, which
from .states import LedgerCorrupt, LedgerMisconfigured, LedgerUnavailable, OutboxError

if TYPE_CHECKING:
    import psycopg

__all__ = ["DIALECT", "PostgresStore", "said"]

P = ParamSpec("P")
T = TypeVar("T")

DIALECT = Dialect(
    "postgresql",
    "%s",
    {
        "octets": "BYTEA",
        "seconds": "DOUBLE PRECISION",
        "number": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "lock": "FOR UPDATE SKIP LOCKED",
        "wait": "FOR UPDATE",
        "share": "FOR SHARE",
        "keeping": "SELECT pg_advisory_xact_lock_shared(5321220334)",
        "forgetting": "SELECT pg_advisory_xact_lock(5321220334)",
        "deciding": "SELECT pg_advisory_xact_lock(5321220335)",
        "telling": "SELECT pg_advisory_xact_lock_shared(5321220336)",
        "told": "SELECT pg_advisory_xact_lock(5321220336)",
        "exclusive": "SELECT pg_advisory_xact_lock(5321220333)",
        "tables": (
            "SELECT tablename FROM pg_tables "
            "WHERE schemaname = current_schema() AND starts_with(tablename, 'smtpx_')"
        ),
        "columns": (
            "SELECT attname FROM pg_attribute WHERE attrelid = ?::regclass AND NOT attisdropped"
        ),
        # The server, the database, and the table that its search_path leads to.
        "which": (
            "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, "
            "current_database()::text, to_regclass('smtpx_message')::oid::bigint"
        ),
    },
)
# Seconds before another try, where the server is gone, or two transactions were in each other's
# way.
_PAUSE = 0.05
# Seconds for which a transaction is idle, at the least, before the server ends the session.
_IDLE = 1.0
# Asked before the commit: by what it is known later whether it took place, and what time it is.
_LAST = (
    "SELECT pg_current_xact_id_if_assigned()::text, extract(epoch FROM clock_timestamp())::float8"
)
# What a server says to one whom it does not let in; libpq tells no SQLSTATE of that.
_REFUSED = re.compile(
    r"FATAL:.*(authentication failed|(database|role) \".*\" does not exist|no pg_hba\.conf entry|"
    r"not permitted to log in|permission denied for database)|no password supplied|"
    r"invalid port number|does not support SSL"
)


class PostgresStore:
    """A ledger in a PostgreSQL database; threads take turns on one connection."""

    dialect = DIALECT

    def __init__(self, url: str, patience: float, lease: float) -> None:
        """Connect; `patience`: seconds to wait for locks, and for a server that was restarted.

        What is stopped within a transaction is undone by the server before the `lease` is over.

        Raises:
            ExtraMissing: psycopg is not installed.
            ValueError: it is no such URL.
            LedgerUnavailable, LedgerTooNew: there is no ledger to be had there.
        """
        try:
            import psycopg
        except ImportError as error:
            raise ExtraMissing("postgres", "psycopg", "a ledger in PostgreSQL") from error
        self._psycopg = psycopg
        self._url = url
        self._name = _name_of(url)
        self._patience = patience
        self._idle = max(_IDLE, min(patience, lease) / 2)
        self._which: Sequence[Row] = ()
        self._ahead = 0.0
        """By how much the server's clock is ahead of the monotonic one here, as it last said."""
        self._begin_anew()
        try:
            self._connect()
        except psycopg.Error as error:
            raise said(error, self._name) from error
        try:
            # To look needs no lock: whoever opens it may be within a transaction of his own.
            if not self.look(is_current):
                self.transact(migrate, DIALECT)
        except BaseException:
            self.close()
            raise

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None
        self._process = os.getpid()

    @_checks.even_half_made
    def __repr__(self) -> str:
        return self._name

    def transact(
        self, operation: Callable[P, Statements[T]], *args: P.args, **named: P.kwargs
    ) -> T:
        """Run an operation in a transaction of its own.

        It is run again after a deadlock, and after the connection was lost, as that of a process
        that was stopped for long. Whether a commit took place whose answer was lost, the server is
        asked.
        """
        if self._process != os.getpid():
            self._begin_anew()  # A connection is not carried over a fork.
        psycopg, errors = self._psycopg, self._psycopg.errors
        until: float | None = None
        with self._lock, _complaints(self._name):
            while True:
                committing: str | None = None
                values: list[T] = []
                try:
                    connection = self._connection or self._connect()
                    cursor: Any = connection.cursor()  # its texts are typed as literals
                    # The operations rely on it that each statement sees what was committed.
                    _ = cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                    values.append(run(operation(*args, **named), cursor, DIALECT))
                    committing, now = cursor.execute(_LAST).fetchone()
                    self._ahead = now - time.monotonic()
                    _ = cursor.execute("COMMIT")
                    return values[0]
                except (errors.SerializationFailure, errors.DeadlockDetected):
                    self._roll_back()
                    until = self._end_of_patience(until)
                    if time.monotonic() > until:
                        raise
                except (psycopg.OperationalError, errors.IdleInTransactionSessionTimeout):
                    is_lost = self._connection is None or self._connection.closed
                    self._roll_back()
                    until = self._end_of_patience(until)
                    if not is_lost or time.monotonic() > until:
                        raise
                    if committing and self._was_committed(committing, until):
                        return values[0]
                except BaseException:
                    self._roll_back()
                    raise
                time.sleep(_PAUSE)

    def _end_of_patience(self, known: float | None) -> float:
        """Until when it is tried again, from the first failure on: before, we may have slept."""
        return time.monotonic() + self._patience if known is None else known

    def look(self, operation: Callable[P, Statements[T]], *args: P.args, **named: P.kwargs) -> T:
        """Run an operation that changes nothing: nobody waits for it, nor it for anybody."""
        return self.transact(operation, *args, **named)

    def now(self) -> float:
        """The time by the server's clock: those of the machines that work may be wrong."""
        return self._ahead + time.monotonic()

    def is_in(self, found: Sequence[Row]) -> bool:
        """True if it is what a connection says by ``{which}`` that it is to."""
        if found != self._which:
            self._which = self.look(which)  # The server may have been restarted since.
        return found == self._which

    def _was_committed(self, transaction: str, until: float) -> bool:
        while True:
            try:
                connection = self._connection or self._connect()
                row = connection.execute(
                    "SELECT pg_xact_status(%s::xid8)", [transaction]
                ).fetchone()
            except self._psycopg.OperationalError:
                self._roll_back()
                if time.monotonic() > until:
                    raise
            else:
                if row is not None and row[0] != "in progress":
                    return bool(row[0] == "committed")
            time.sleep(_PAUSE)

    def _roll_back(self) -> None:
        """End the transaction; a connection that cannot do that is closed."""
        connection = self._connection
        if connection is None:
            return
        try:
            if not connection.closed:
                _ = connection.execute("ROLLBACK")
        except self._psycopg.Error:
            connection.close()
        if connection.closed:
            self._connection = None

    def _connect(self) -> psycopg.Connection[Any]:
        connection = self._psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=max(2, int(self._patience)),
            application_name="smtpx outbox",
        )
        _ = connection.execute(
            "SELECT set_config('lock_timeout', %s, false), "
            "set_config('idle_in_transaction_session_timeout', %s, false)",
            [str(int(seconds * 1000)) for seconds in (self._patience, self._idle)],
        )
        self._connection = connection
        return connection

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                connection.close()


def _name_of(url: str) -> str:
    """What may be shown of a URL: a password may stand anywhere in it.

    Raises:
        ValueError: it is none; what libpq says of it would quote it.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        said = conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError(_NO_URL) from None
    port, name = str(said.get("port", "")), str(said.get("dbname", ""))
    if not re.fullmatch("[0-9,]*", port) or "@" in name:
        raise ValueError(_NO_URL)
    return f"postgresql://{said.get('host', '')}{port and f':{port}'}/{name}"


_NO_URL = (
    "url: libpq cannot read it: give 'postgresql://user:password@host/database', and "
    "percent-encode % : @ / ? # in a password"
)


@contextmanager
def _complaints(name: str) -> Generator[None, None, None]:
    import psycopg

    _ours.depth = getattr(_ours, "depth", 0) + 1
    try:
        yield
    except psycopg.Error as error:
        raise said(error, name) from error
    finally:
        _ours.depth -= 1


_ours = threading.local()


def _is_news(record: logging.LogRecord) -> bool:
    """Nothing that psycopg warns of in our own transactions: they are run again, or raise."""
    return not getattr(_ours, "depth", 0)


# Once: a signal in `getLogger` may leave a lock of logging's taken, up to Python 3.12.
logging.getLogger("psycopg").addFilter(_is_news)


def said(error: Any, name: object) -> OutboxError:
    """What an error of the database means for the outbox."""
    import psycopg
    from psycopg import errors

    text = f"{name}: {str(error).strip()}"
    if isinstance(error, (errors.UndefinedTable, errors.UndefinedColumn)):
        return LedgerCorrupt(f"{text}: this database has no outbox: give the outbox its URL")
    if isinstance(error, errors.DiskFull):
        return LedgerUnavailable(f"{text}: make room on the disk; what is in the outbox is safe")
    if isinstance(error, errors.InsufficientPrivilege):
        return LedgerMisconfigured(f"{text}: this user has to be able to write there")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return LedgerUnavailable(f"{text}: this server has to be one that is written to")
    if isinstance(error, errors.LockNotAvailable):
        return LedgerUnavailable(f"{text}: another transaction holds a lock for too long")
    if isinstance(error, (errors.SerializationFailure, errors.DeadlockDetected)):
        return LedgerUnavailable(f"{text}: roll the transaction back, and begin it again")
    if isinstance(error, errors.IdleInTransactionSessionTimeout):
        return LedgerUnavailable(f"{text}: it was undone; begin the transaction again")
    if isinstance(error, errors.InFailedSqlTransaction):
        return LedgerUnavailable(f"{text}: something before has failed: roll back first")
    if isinstance(error, psycopg.OperationalError) and _REFUSED.search(text):
        return LedgerMisconfigured(f"{text}: look at the URL, and at who may log in")
    if isinstance(error, psycopg.OperationalError):
        return LedgerUnavailable(f"{text}: is the server up, and is the URL right?")
    return LedgerUnavailable(text)
