"""Where a ledger is kept, as the outbox sees it: something that runs operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

from ._schema import MIGRATIONS, VERSION, Column
from ._statements import Ask, Dialect, Row, Statements, Tell
from .states import LedgerCorrupt, LedgerTooNew

__all__ = ["Cursor", "Store", "is_current", "migrate", "run", "which"]

P = ParamSpec("P")
T = TypeVar("T")


class Cursor(Protocol):
    """What a connection runs statements by (PEP 249)."""

    @property
    def description(self) -> object:
        """``None`` if the last statement has no rows."""
        ...

    def execute(self, text: str, values: Any, /) -> object:
        """Run a statement."""
        ...

    def executemany(self, text: str, rows: Any, /) -> object:
        """Run a statement once for each row of values."""
        ...

    def fetchall(self) -> list[Row]:
        """The rows of the last statement."""
        ...


class Store(Protocol):
    """A database that holds a ledger."""

    dialect: Dialect

    def transact(
        self, operation: Callable[P, Statements[T]], *args: P.args, **named: P.kwargs
    ) -> T:
        """Run an operation in a transaction of its own; run it again where that is of use.

        Raises:
            LedgerUnavailable, LedgerCorrupt: the database says no.
            OutboxError: what the operation raises; nothing of it has happened.
        """
        ...

    def look(self, operation: Callable[P, Statements[T]], *args: P.args, **named: P.kwargs) -> T:
        """Run an operation that changes nothing; it waits for nobody who does.

        Raises:
            LedgerUnavailable, LedgerCorrupt, OutboxError: as `transact`.
        """
        ...

    def now(self) -> float:
        """The time by the one clock that all go by: seconds since the epoch."""
        ...

    def is_in(self, found: Sequence[Row]) -> bool:
        """True if it is what a connection says by ``{which}`` that it is to.

        Raises:
            LedgerUnavailable: the database cannot be used.
        """
        ...

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        ...


def run(operation: Statements[T], cursor: Cursor, dialect: Dialect) -> T:
    """Answer the statements of an operation; the transaction is somebody else's."""
    rows: list[Row] = []
    try:
        statement = next(operation)
        while True:
            text = dialect.written(statement.text)
            if isinstance(statement, Tell):
                if len(statement.rows) == 1:
                    _ = cursor.execute(text, statement.rows[0])
                elif statement.rows:
                    _ = cursor.executemany(text, statement.rows)
                rows = []
            else:
                _ = cursor.execute(text, statement.values)
                rows = [] if cursor.description is None else cursor.fetchall()
            statement = operation.send(rows)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        operation.close()


def which() -> Statements[Sequence[Row]]:
    """What a connection is to, as `Store.is_in` knows it."""
    return [tuple(row) for row in (yield Ask("{which}"))]


def is_current() -> Statements[bool]:
    """True if the tables are there, of the present version."""
    found = yield Ask("{tables}")
    if not any(row[0] == "smtpx_version" for row in found):
        return False
    rows = yield Ask("SELECT version FROM smtpx_version")
    return bool(rows) and rows[0][0] == VERSION


def migrate(dialect: Dialect) -> Statements[None]:
    """Make the tables, or make those of an earlier version the present ones.

    Raises:
        LedgerTooNew: they are a later version's.
        LedgerCorrupt: they are not a ledger's.
    """
    _ = yield Ask("{exclusive}")
    found = yield Ask("{tables}")
    names = {row[0] for row in found}
    if "smtpx_version" not in names:
        if clash := names & {"smtpx_message", "smtpx_delivery"}:
            raise LedgerCorrupt(
                f"the database has a table {min(clash)} that is no outbox's: give another database"
            )
        _ = yield Ask("CREATE TABLE smtpx_version (version INTEGER NOT NULL)")
        _ = yield Tell("INSERT INTO smtpx_version (version) VALUES (?)", [(0,)])
    rows = yield Ask("SELECT version FROM smtpx_version")
    version = rows[0][0] if rows else 0
    if version > VERSION:
        raise LedgerTooNew(
            f"the outbox's tables are of version {version}, and this smtpx knows {VERSION}: "
            "install the smtpx that made them, or a later one"
        )
    for migration in MIGRATIONS[version:]:
        for step in migration:
            if isinstance(step, str):
                _ = yield Ask(step)
                continue
            is_there = (step.name,) in (yield Ask("{columns}", [step.table]))
            if isinstance(step, Column):
                if not is_there:
                    _ = yield Ask(f"ALTER TABLE {step.table} ADD COLUMN {step.name} {step.kind}")
            elif is_there:
                _ = yield Ask(f"ALTER TABLE {step.table} DROP COLUMN {step.name}")
    if version < VERSION:
        _ = yield Tell("UPDATE smtpx_version SET version = ?", [(VERSION,)])
