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
        ValueError: no transaction is under way, or the database is of another kind.
        OutboxError: the database says no.
    """
    dialect = store.dialect
    try:
        with closing(_cursor(connection, dialect)) as cursor:
            return run(_within(store, operation(*args, **named)), cursor, dialect)
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
    steps = _within(store, operation(*args, **named))
    rows: list[Row] = []
    try:
        async with connection.cursor() as cursor:
            _have_tuples(cursor, _kind(connection)[0])
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


def _within(store: Store, operation: Statements[T]) -> Statements[T]:
    """An operation that is begun only where the connection is to the ledger's own database."""
    try:
        if not store.is_in((yield from which())):
            path = ", or its search_path leads elsewhere" * (store.dialect.name == "postgresql")
            raise ValueError(
                f"connection: it is to another database than the outbox's, {store!r}{path}"
            )
        return (yield from operation)
    finally:
        operation.close()


def raw_of(connection: Any) -> Any:
    """The database's own connection, from whatever wraps it.

    Raises:
        ValueError: no transaction is under way there.
    """
    if hasattr(connection, "ensure_connection") and hasattr(connection, "in_atomic_block"):
        if not connection.in_atomic_block:
            raise ValueError("connection: no transaction is under way: use transaction.atomic()")
        connection.ensure_connection()
        return connection.connection  # Django's
    alchemy = sys.modules.get("sqlalchemy")
    if alchemy is not None:
        if hasattr(connection, "connection") and hasattr(connection, "get_bind"):
            connection = connection.connection()  # A Session: it begins what it has not begun.
        if isinstance(connection, alchemy.Connection):
            if not connection.in_transaction():
                _ = connection.begin()  # So does each of its own statements.
            return connection.connection.dbapi_connection
    return connection


def _cursor(connection: Any, dialect: Dialect) -> Any:
    """A cursor of the connection, whose rows are tuples, whatever the application wants.

    Raises:
        TypeError, ValueError: it is no connection that we can put in by.
    """
    raw = raw_of(connection)
    asynchronous = getattr(raw, "driver_connection", None)
    if asynchronous is not None:
        # SQLAlchemy has it look like another: whoever calls us waits for it.
        _check(asynchronous, dialect, is_async=True)
        return raw.cursor()
    _check(raw, dialect)
    package, _ = _kind(raw)
    if package == "psycopg2":
        return raw.cursor(cursor_factory=sys.modules["psycopg2"].extensions.cursor)
    cursor = raw.cursor()
    _have_tuples(cursor, package)
    return cursor


def _have_tuples(cursor: Any, package: str) -> None:
    """Have rows that are tuples, whatever the application wants of its own."""
    if "sqlite" in package:
        cursor.row_factory = None
    else:
        from psycopg.rows import tuple_row

        cursor.row_factory = tuple_row


def _check(raw: Any, dialect: Dialect, *, is_async: bool = False) -> None:
    """Make sure that it is a connection to such a database, with a transaction under way."""
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
        # Without a level, each statement would be a transaction of its own.
        is_bare = raw.isolation_level is None and getattr(raw, "autocommit", -1) in (-1, True)
        if is_bare and not raw.in_transaction:
            raise ValueError("connection: no transaction is under way: execute BEGIN first")
    elif raw.autocommit and raw.info.transaction_status == 0:
        raise ValueError(
            "connection: no transaction is under way: use `with connection.transaction():`"
        )


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
