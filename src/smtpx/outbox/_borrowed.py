"""Putting in by the application's own connection, within its own transaction."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache, partial
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from ._statements import Ask, Dialect, Row, Statements, Tell
from ._store import Store, run, which
from .states import OutboxError

__all__ = ["raw_of", "run_on", "run_on_async"]

P = ParamSpec("P")
T = TypeVar("T")

_KINDS = (
    "a connection of sqlite3, psycopg, SQLAlchemy or Django to the database that the outbox is in"
)
_ASYNC = "psycopg, aiosqlite or SQLAlchemy"
_PACKAGES = ("sqlite3", "aiosqlite", "psycopg", "psycopg2")


def run_on(
    connection: Any,
    store: Store,
    operation: Callable[P, Statements[T]],
    *args: P.args,
    **named: P.kwargs,
) -> T:
    """Run an operation on a connection of the application, which commits it, or does not.

    Raises:
        TypeError: it is no connection that is known.
        ValueError: no transaction is under way, the database is of another kind, or the connection
            is closed, or another thread's.
        OutboxError: the database says no.
    """
    dialect = store.dialect
    try:
        raw = raw_of(connection)
        # SQLAlchemy has an asynchronous one look like another: whoever calls us waits for it.
        own = getattr(raw, "driver_connection", None)
        _check(own or raw, dialect, is_async=own is not None)
        with closing(_cursor(raw)) as cursor:
            return run(_within(store, operation(*args, **named), own or raw), cursor, dialect)
    except (OutboxError, TypeError, ValueError):
        raise
    except Exception as error:
        raise _said(error, dialect) from error


async def run_on_async(
    connection: Any,
    store: Store,
    operation: Callable[P, Statements[T]],
    *args: P.args,
    **named: P.kwargs,
) -> T:
    """As `run_on`, on an asynchronous connection of psycopg, aiosqlite or SQLAlchemy."""
    alchemy = sys.modules.get("sqlalchemy.ext.asyncio")
    if alchemy is not None and isinstance(
        connection, (alchemy.AsyncConnection, alchemy.AsyncSession)
    ):
        return cast(
            "T", await connection.run_sync(run_on, store, partial(operation, *args, **named))
        )
    _check(connection, store.dialect, is_async=True)
    steps = _within(store, operation(*args, **named), connection)
    rows: list[Row] = []
    try:
        async with _cursor(connection) as cursor:
            if store.dialect.name == "sqlite":
                cursor.row_factory = None
            statement: Ask | Tell = next(steps)
            while True:
                text = store.dialect.written(statement.text)
                if isinstance(statement, Tell):
                    if statement.rows:
                        await cursor.executemany(text, statement.rows)
                    rows = []
                else:
                    await cursor.execute(text, statement.values)
                    rows = [] if cursor.description is None else await cursor.fetchall()
                statement = steps.send(rows)
    except StopIteration as stop:
        value: T = stop.value
        return value
    except (OutboxError, ValueError):
        raise
    except Exception as error:
        raise _said(error, store.dialect) from error
    finally:
        steps.close()


def _within(store: Store, operation: Statements[T], raw: Any) -> Statements[T]:
    """An operation that is begun only within a transaction, and in the ledger's own database."""
    try:
        if not store.is_in((yield from which())):
            path = ", or its search_path leads elsewhere" * (store.dialect.name == "postgresql")
            raise ValueError(
                f"connection: it is to another database than the outbox's, {store!r}{path}"
            )
        if not _is_under_way(raw):
            _ = yield Ask(_NOTHING)
            if not _is_under_way(raw):
                is_sqlite = store.dialect.name == "sqlite"
                how = "execute BEGIN first" if is_sqlite else "use `with connection.transaction():`"
                raise ValueError(f"connection: no transaction is under way: {how}")
        return (yield from operation)
    finally:
        operation.close()


# It writes nothing. A driver that begins transactions by itself does so here at the latest, and of
# the modes that others are in nothing need be known.
_NOTHING = "INSERT INTO smtpx_message (id) SELECT id FROM smtpx_message WHERE 1 = 0"


def _is_under_way(raw: Any) -> bool:
    if "sqlite" in _kind(raw)[0]:
        return bool(raw.in_transaction)
    return bool(raw.info.transaction_status != 0)


def raw_of(connection: Any) -> Any:
    """The database's own connection, from whatever wraps it.

    Raises:
        ValueError: no transaction is under way there, or it is closed.
    """
    if hasattr(connection, "ensure_connection") and hasattr(connection, "in_atomic_block"):
        if not connection.in_atomic_block:
            raise ValueError("connection: no transaction is under way: use transaction.atomic()")
        connection.ensure_connection()
        return connection.connection  # Django's
    alchemy = sys.modules.get("sqlalchemy")
    if alchemy is not None:
        if not isinstance(connection, alchemy.Connection) and hasattr(connection, "get_bind"):
            connection = connection.connection()  # A Session: it begins what it has not begun.
        if isinstance(connection, alchemy.Connection):
            if connection.closed:
                raise ValueError("connection: it is closed")
            if not connection.in_transaction():
                _ = connection.begin()  # So does each of its own statements.
            return connection.connection.dbapi_connection
    return connection


def _cursor(raw: Any) -> Any:
    """A cursor that reads our statements, and has tuples, whatever the application wants."""
    package, awaits = _kind(raw)
    if package == "psycopg2":
        return raw.cursor(cursor_factory=sys.modules["psycopg2"].extensions.cursor)
    if package == "psycopg":
        import psycopg
        from psycopg.rows import tuple_row

        kind: Any = psycopg.AsyncCursor if awaits else psycopg.Cursor
        return kind(raw, row_factory=tuple_row)
    cursor = raw.cursor()
    if package == "sqlite3":
        cursor.row_factory = None
    return cursor


def _check(raw: Any, dialect: Dialect, *, is_async: bool = False) -> None:
    """Make sure that it is a connection to such a database, as we can use it.

    Raises:
        TypeError, ValueError: it is none.
    """
    package, awaits = _kind(raw)
    if not package or awaits is not is_async:
        whose = type(raw).__module__.partition(".")[0]
        kinds = f"an asynchronous connection of {_ASYNC}" if is_async else _KINDS
        raise TypeError(f"connection: give {kinds}, not {_name(raw)} of {whose}")
    is_sqlite = "sqlite" in package
    if is_sqlite != (dialect.name == "sqlite"):
        raise ValueError(
            f"connection: it is to another database than the outbox's, which is {dialect.name}"
        )
    if is_sqlite:
        if raw.text_factory is not str:
            raise ValueError("connection: its text_factory has to be str")
    elif raw.closed == 1 and not getattr(raw, "broken", False):  # psycopg2 says 2 of a broken one.
        raise ValueError("connection: it is closed")
    elif package == "psycopg" and raw.pgconn.pipeline_status:
        raise ValueError("connection: it is in pipeline mode: put in before that, or after it")


def _kind(raw: object) -> tuple[str, bool]:
    """Of which package a connection is, or what it is derived from, and whether it is awaited;
    the package is empty if we know none.
    """
    kind: Any = type(raw)
    return _kind_of(kind)


@lru_cache(maxsize=64)
def _kind_of(connection: Any) -> tuple[str, bool]:
    if not hasattr(connection, "commit"):
        return "", False
    names = [base.__module__.partition(".")[0] for base in connection.__mro__]
    package = next((name for name in names if name in _PACKAGES), "")
    return package, iscoroutinefunction(connection.commit)


def _said(error: Exception, dialect: Dialect) -> Exception:
    if isinstance(error, sqlite3.ProgrammingError):
        return ValueError(f"connection: {error}")  # It is closed, or another thread's.
    if isinstance(error, sqlite3.Error):
        from ._sqlite import said

        return said(error, "the connection")
    if dialect.name == "postgresql":
        import psycopg

        from ._postgres import said as said_by_postgres

        if isinstance(error, psycopg.Error) or type(error).__module__.startswith("psycopg2"):
            return said_by_postgres(error, "the connection")
    return error


def _name(value: object) -> str:
    return type(value).__name__
