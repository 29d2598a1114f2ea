"""Putting in by the application's own connection, within its own transaction."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ._statements import Ask, Dialect, Row, Statements, Tell
from ._store import Store, run
from .states import OutboxError

__all__ = ["run_on", "run_on_async"]

P = ParamSpec("P")
T = TypeVar("T")

_KINDS = (
    "a connection of sqlite3, psycopg, SQLAlchemy or Django to the database that the outbox is in"
)


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
    raw = _raw(connection)
    dialect = store.dialect
    _check(raw, dialect)
    cursor = raw.cursor()
    try:
        return run(operation(*args, **named), cursor, dialect)
    except OutboxError:
        raise
    except Exception as error:
        raise _said(error, dialect) from error
    finally:
        cursor.close()


async def run_on_async(
    connection: Any,
    store: Store,
    operation: Callable[P, Statements[T]],
    *args: P.args,
    **named: P.kwargs,
) -> T:
    """As `run_on`, on an asynchronous connection of psycopg."""
    psycopg = sys.modules.get("psycopg")
    if psycopg is None or not isinstance(connection, psycopg.AsyncConnection):
        raise TypeError(
            f"connection: give {_KINDS}, or a psycopg.AsyncConnection, not {_name(connection)}"
        )
    _check(connection, store.dialect)
    steps = operation(*args, **named)
    rows: list[Row] = []
    try:
        async with connection.cursor() as cursor:
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
    except psycopg.Error as error:
        raise _said(error, store.dialect) from error
    finally:
        steps.close()


def _raw(connection: Any) -> Any:
    """The database's own connection, from whatever wraps it."""
    if isinstance(connection, sqlite3.Connection):
        return connection
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(connection, psycopg.Connection):
        return connection
    if hasattr(connection, "ensure_connection") and hasattr(connection, "in_atomic_block"):
        if not connection.in_atomic_block:
            raise ValueError("connection: no transaction is under way: use transaction.atomic()")
        connection.ensure_connection()
        return connection.connection
    alchemy = sys.modules.get("sqlalchemy")
    if alchemy is not None:
        if hasattr(connection, "connection") and hasattr(connection, "get_bind"):
            connection = connection.connection()  # A Session: it begins what it has not begun.
        if isinstance(connection, alchemy.Connection):
            if not connection.in_transaction():
                raise ValueError("connection: no transaction is under way: use engine.begin()")
            return connection.connection.dbapi_connection
    raise TypeError(f"connection: give {_KINDS}, not {_name(connection)}")


def _check(raw: Any, dialect: Dialect) -> None:
    is_sqlite = isinstance(raw, sqlite3.Connection)
    if is_sqlite != (dialect.name == "sqlite"):
        raise ValueError(
            f"connection: it is to another database than the outbox's, which is {dialect.name}"
        )
    if is_sqlite:
        # Without a level, each statement would be a transaction of its own.
        is_bare = raw.isolation_level is None and getattr(raw, "autocommit", -1) in (-1, True)
        if is_bare and not raw.in_transaction:
            raise ValueError("connection: no transaction is under way: execute BEGIN first")
    elif getattr(raw, "autocommit", False) and raw.info.transaction_status == 0:
        raise ValueError(
            "connection: no transaction is under way: use `with connection.transaction():`"
        )


def _said(error: Exception, dialect: Dialect) -> Exception:
    if isinstance(error, sqlite3.Error):
        from ._sqlite import said

        return said(error, "the connection")
    if dialect.name == "postgresql":
        import psycopg

        from ._postgres import said as said_by_postgres

        if isinstance(error, psycopg.Error):
            return said_by_postgres(error, "the connection")
    return error


def _name(value: object) -> str:
    return type(value).__name__
