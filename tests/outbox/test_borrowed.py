"""Putting in within the application's own transaction: committed with it, rolled back with it."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from smtpx import Envelope
from smtpx.outbox import (
    AsyncOutbox,
    IdempotencyConflict,
    LedgerUnavailable,
    Outbox,
    State,
)
from smtpx.testing import Server

pytestmark = pytest.mark.timeout(60)

MESSAGE = b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net")


def path_of(ledger: str) -> str:
    return ledger.removeprefix("sqlite:///")


def waiting(outbox: Outbox) -> int:
    return outbox.counts()[State.WAITING]


@pytest.fixture
def connect(ledger: str) -> Callable[[], Any]:
    """A connection of the application's own, of the database's own kind."""
    if ledger.startswith("sqlite"):
        return lambda: sqlite3.connect(path_of(ledger))
    import psycopg

    return lambda: psycopg.connect(ledger)


def test_by_the_databases_own_connection(outbox: Outbox, connect: Callable[[], Any]) -> None:
    with closing(connect()) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
        connection.commit()
        connection.execute("INSERT INTO orders VALUES (1)")
        gone = outbox.put(*MESSAGE, connection=connection)
        connection.rollback()
        assert waiting(outbox) == 0
        connection.execute("INSERT INTO orders VALUES (2)")
        id = outbox.put(*MESSAGE, key="k", connection=connection)
        assert outbox.put(*MESSAGE, key="k", connection=connection) == id
        with pytest.raises(IdempotencyConflict):
            outbox.put(b"Subject: y\r\n\r\n", MESSAGE[1], key="k", connection=connection)
        connection.commit()
        assert connection.execute("SELECT id FROM orders").fetchall() == [(2,)]
    assert waiting(outbox) == 1
    assert outbox.status(id).key == "k"
    assert id != gone


def test_a_connection_without_a_transaction_is_refused(
    outbox: Outbox, connect: Callable[[], Any]
) -> None:
    with closing(connect()) as connection:
        if isinstance(connection, sqlite3.Connection):
            connection.isolation_level = None
        else:
            connection.autocommit = True
        with pytest.raises(ValueError, match="no transaction is under way"):
            outbox.put(*MESSAGE, connection=connection)
        connection.execute("BEGIN")
        outbox.put(*MESSAGE, connection=connection)
        connection.execute("COMMIT")
    assert waiting(outbox) == 1


needs_autocommit = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sqlite3 has autocommit= since Python 3.12"
)


@pytest.mark.parametrize(
    ("mode", "is_left"),
    [
        ({"isolation_level": None}, False),
        pytest.param({"autocommit": True}, False, marks=needs_autocommit),
        pytest.param({"autocommit": True, "isolation_level": None}, False, marks=needs_autocommit),
        pytest.param({"autocommit": False}, True, marks=needs_autocommit),
    ],
    ids=["no level", "autocommit", "both", "left by COMMIT"],
)
class TestNoModeOfSqliteHasAMessagePutInByHalves:
    """Else a crash between two statements leaves a message of a key that nobody ever gets."""

    def test_of_a_blocking_connection(
        self, tmp_path: Path, mode: dict[str, Any], is_left: bool
    ) -> None:
        path = tmp_path / "mail.db"
        with (
            Outbox(f"sqlite:///{path}") as outbox,
            closing(sqlite3.connect(path, **mode)) as connection,
        ):
            self._use(outbox, connection, connection.execute, is_left)

    def test_of_sqlalchemy(self, tmp_path: Path, mode: dict[str, Any], is_left: bool) -> None:
        alchemy = pytest.importorskip("sqlalchemy")
        path = tmp_path / "mail.db"
        engine = alchemy.create_engine(f"sqlite:///{path}", connect_args=mode)
        with Outbox(f"sqlite:///{path}") as outbox, engine.connect() as connection:
            self._use(outbox, connection, connection.exec_driver_sql, is_left)
        engine.dispose()

    def _use(
        self, outbox: Outbox, connection: Any, execute: Callable[[str], Any], is_left: bool
    ) -> None:
        if is_left:
            execute("COMMIT")
        with pytest.raises(ValueError, match="no transaction is under way"):
            outbox.put(*MESSAGE, key="k", connection=connection)
        execute("BEGIN")
        outbox.put(*MESSAGE, key="k", connection=connection)
        connection.commit() if is_left else execute("COMMIT")
        assert waiting(outbox) == 1, "what was refused is not there"

    def test_of_an_asynchronous_connection(
        self, tmp_path: Path, mode: dict[str, Any], is_left: bool
    ) -> None:
        aiosqlite = pytest.importorskip("aiosqlite")
        path = tmp_path / "mail.db"

        async def main() -> None:
            async with (
                AsyncOutbox(f"sqlite:///{path}") as outbox,
                aiosqlite.connect(path, **mode) as connection,
            ):
                await self._use_async(outbox, connection, connection.execute, is_left)

        asyncio.run(main())

    def test_of_an_asynchronous_connection_of_sqlalchemy(
        self, tmp_path: Path, mode: dict[str, Any], is_left: bool
    ) -> None:
        _ = pytest.importorskip("greenlet")
        _ = pytest.importorskip("aiosqlite")
        from sqlalchemy.ext.asyncio import create_async_engine

        path = tmp_path / "mail.db"

        async def main() -> None:
            engine = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args=mode)
            async with (
                AsyncOutbox(f"sqlite:///{path}") as outbox,
                engine.connect() as connection,
            ):
                await self._use_async(outbox, connection, connection.exec_driver_sql, is_left)
            await engine.dispose()

        asyncio.run(main())

    async def _use_async(
        self, outbox: AsyncOutbox, connection: Any, execute: Callable[[str], Any], is_left: bool
    ) -> None:
        if is_left:
            await execute("COMMIT")
        with pytest.raises(ValueError, match="no transaction is under way"):
            await outbox.put(*MESSAGE, key="k", connection=connection)
        await execute("BEGIN")
        await outbox.put(*MESSAGE, key="k", connection=connection)
        await (connection.commit() if is_left else execute("COMMIT"))
        assert (await outbox.counts())[State.WAITING] == 1, "what was refused is not there"


@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("autocommit", [False, True])
def test_a_pipeline_is_refused(postgres_server: Any, autocommit: bool) -> None:
    """It says nothing of whether a transaction is under way, before it has been answered."""
    import psycopg

    url = postgres_server.database()

    async def main() -> None:
        async with (
            AsyncOutbox(url) as own,
            await psycopg.AsyncConnection.connect(url, autocommit=autocommit) as connection,
            connection.pipeline(),
        ):
            await connection.execute("SELECT 1")
            with pytest.raises(ValueError, match="pipeline mode"):
                await own.put(*MESSAGE, connection=connection)

    with Outbox(url) as outbox:
        with psycopg.connect(url, autocommit=autocommit) as connection, connection.transaction():
            with connection.pipeline():
                connection.execute("SELECT 1")
                with pytest.raises(ValueError, match="pipeline mode"):
                    outbox.put(*MESSAGE, connection=connection)
            outbox.put(*MESSAGE, connection=connection)
        asyncio.run(main())
        assert waiting(outbox) == 1


@pytest.mark.xdist_group("postgres")
def test_a_transaction_of_psycopg_that_was_left_by_hand(postgres_server: Any) -> None:
    import psycopg

    url = postgres_server.database()
    with Outbox(url) as outbox:
        with psycopg.connect(url) as connection:
            connection.execute("COMMIT")
            outbox.put(*MESSAGE, connection=connection)
            connection.rollback()
            assert waiting(outbox) == 0
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("BEGIN")
            connection.execute("ROLLBACK")
            with pytest.raises(ValueError, match="no transaction is under way"):
                outbox.put(*MESSAGE, connection=connection)
        assert waiting(outbox) == 0


def test_rows_of_any_kind(outbox: Outbox, connect: Callable[[], Any]) -> None:
    """Applications have their rows as dicts; the outbox reads its own all the same."""
    with closing(connect()) as connection:
        if isinstance(connection, sqlite3.Connection):
            connection.row_factory = lambda cursor, row: {
                column[0]: value for column, value in zip(cursor.description, row, strict=True)
            }
        else:
            from psycopg.rows import dict_row

            connection.row_factory = dict_row
        id = outbox.put(*MESSAGE, key="k", connection=connection)
        assert outbox.put(*MESSAGE, key="k", connection=connection) == id
        connection.commit()
        row = connection.execute("SELECT key FROM smtpx_message").fetchone()
        assert row == {"key": "k"}, "its own rows are as they were"


def test_a_transaction_that_cannot_go_on(outbox: Outbox, connect: Callable[[], Any]) -> None:
    """What is to be done about it is said; nothing of the put is left."""
    with closing(connect()) as connection:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("BEGIN")
            connection.execute("SELECT id FROM smtpx_message").fetchall()
            outbox.put(*MESSAGE)
            what = "BEGIN IMMEDIATE"
        else:
            import psycopg

            with pytest.raises(psycopg.Error):
                connection.execute("SELECT 1 / 0")
            what = "roll back first"
        before = waiting(outbox)
        with pytest.raises(LedgerUnavailable, match=what):
            outbox.put(*MESSAGE, connection=connection)
        connection.rollback()
        outbox.put(*MESSAGE, connection=connection)
        connection.commit()
        assert waiting(outbox) == before + 1


def test_a_connection_that_is_closed_is_a_mistake(
    outbox: Outbox, connect: Callable[[], Any], ledger: str
) -> None:
    """Later is no better: `LedgerUnavailable` would have it tried again."""
    connection = connect()
    connection.close()
    with pytest.raises(ValueError, match=r"^connection: .*closed"):
        outbox.put(*MESSAGE, connection=connection)
    alchemy = pytest.importorskip("sqlalchemy")
    engine = alchemy.create_engine(ledger.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        pass
    with pytest.raises(ValueError, match=r"^connection: .*closed"):
        outbox.put(*MESSAGE, connection=connection)
    engine.dispose()


@pytest.mark.xdist_group("postgres")
def test_a_connection_that_broke_is_not_a_mistake(postgres_server: Any) -> None:
    import psycopg

    url = postgres_server.database()
    with Outbox(url) as outbox, closing(psycopg.connect(url)) as connection:
        with psycopg.connect(url, autocommit=True) as another:
            another.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                outbox.put(*MESSAGE, connection=connection)


def test_a_connection_of_another_thread_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with Outbox(f"sqlite:///{path}") as outbox, ThreadPoolExecutor(1) as thread:
        connection = thread.submit(sqlite3.connect, path).result()
        with pytest.raises(ValueError, match=r"^connection: .*same thread"):
            outbox.put(*MESSAGE, connection=connection)
        thread.submit(connection.close).result()


@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("kind", ["RawCursor", "ClientCursor"])
def test_cursors_of_any_kind(postgres_server: Any, kind: str) -> None:
    """An application may write its statements otherwise than the outbox does."""
    import psycopg

    url = postgres_server.database()

    async def main() -> None:
        factory = getattr(psycopg, f"Async{kind}")
        async with (
            AsyncOutbox(url) as own,
            await psycopg.AsyncConnection.connect(url, cursor_factory=factory) as connection,
        ):
            id = await own.put(*MESSAGE, key="k", connection=connection)
            assert await own.put(*MESSAGE, key="k", connection=connection) == id

    with Outbox(url) as outbox:
        factory = getattr(psycopg, kind)
        with psycopg.connect(url, cursor_factory=factory) as connection:
            connection.execute("CREATE TABLE orders (id INTEGER)")
            outbox.put(*MESSAGE, connection=connection)
            connection.execute("INSERT INTO orders VALUES (1)")
        asyncio.run(main())
        assert waiting(outbox) == 2


@pytest.mark.xdist_group("postgres")
def test_two_serializable_transactions(postgres_server: Any) -> None:
    import psycopg

    url = postgres_server.database()
    with (
        Outbox(url) as outbox,
        psycopg.connect(url) as one,
        psycopg.connect(url) as other,
    ):
        for connection in (one, other):
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            connection.execute("SELECT id FROM smtpx_message")
        id = outbox.put(*MESSAGE, key="k", connection=one)
        one.commit()
        with pytest.raises(LedgerUnavailable, match="begin it again"):
            outbox.put(*MESSAGE, key="k", connection=other)
        other.rollback()
        assert outbox.put(*MESSAGE, key="k", connection=other) == id


def test_a_connection_to_another_database(outbox: Outbox, ledger: str, tmp_path: Any) -> None:
    with closing(sqlite3.connect(tmp_path / "another.db")) as another:
        if ledger.startswith("sqlite"):
            another.execute("CREATE TABLE mine (number INTEGER)")
        with pytest.raises(ValueError, match="another database"):
            outbox.put(*MESSAGE, connection=another)
    for wrong in ("x", object(), sqlite3):
        with pytest.raises(TypeError, match="connection: give a connection"):
            outbox.put(*MESSAGE, connection=wrong)


def test_a_connection_to_a_database_of_another_outbox(
    outbox: Outbox, ledger: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Else the mail would wait there, where nobody may ever look."""
    if ledger.startswith("sqlite"):
        url = f"sqlite:///{tmp_path}/another.db"
        connection: Any = sqlite3.connect(path_of(url))
    else:
        import psycopg

        url = request.getfixturevalue("postgres_server").database()
        connection = psycopg.connect(url)
    with Outbox(url) as another, closing(connection):
        for _ in range(2):
            with pytest.raises(ValueError, match="connection: it is to another database than"):
                outbox.put(*MESSAGE, connection=connection)
            connection.rollback()
        id = another.put(*MESSAGE, connection=connection)
        connection.commit()
        assert another.status(id).id == id
        assert (waiting(outbox), waiting(another)) == (0, 1)


@pytest.mark.xdist_group("postgres")
def test_a_connection_that_looks_into_another_schema(postgres_server: Any) -> None:
    """As where each tenant has one, and a connection goes from one to the next."""
    import psycopg

    url = postgres_server.database()
    with psycopg.connect(url, autocommit=True) as own:
        own.execute("CREATE SCHEMA tenant")
    with (
        Outbox(url) as outbox,
        Outbox(f"{url}?options=-csearch_path%3Dtenant") as another,
        psycopg.connect(url) as own,
    ):
        for _ in range(8):  # What is asked for often is prepared by psycopg.
            outbox.put(*MESSAGE, connection=own)
        own.execute("SET search_path = tenant")
        with pytest.raises(ValueError, match="another database"):
            outbox.put(*MESSAGE, connection=own)
        another.put(*MESSAGE, connection=own)
        own.execute("CREATE TABLE mine (number INTEGER)")
        own.execute("SET search_path = nowhere")
        for _ in range(8):
            with pytest.raises(ValueError, match="or its search_path leads elsewhere"):
                outbox.put(*MESSAGE, connection=own)
        own.commit()  # What it did before is not undone by that.
        own.execute("SELECT number FROM tenant.mine")
        assert (waiting(outbox), waiting(another)) == (8, 1)


@pytest.mark.xdist_group("postgres")
def test_a_server_that_was_restarted_is_the_same(postgres_server: Any) -> None:
    import psycopg

    url = postgres_server.database()
    with Outbox(url) as outbox:
        with psycopg.connect(url) as own:
            outbox.put(*MESSAGE, connection=own)
        postgres_server.stop()
        postgres_server.start()
        with psycopg.connect(url) as own:
            outbox.put(*MESSAGE, connection=own)
        assert waiting(outbox) == 2


def test_a_transaction_that_has_begun_waits_for_its_turn(tmp_path: Path) -> None:
    """Who reads first and writes then has to begin again, where others write."""
    path = tmp_path / "mail.db"
    with Outbox(f"sqlite:///{path}") as outbox, closing(sqlite3.connect(path)) as own:
        with closing(sqlite3.connect(path, check_same_thread=False)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            own.execute("BEGIN")
            timer = threading.Timer(0.2, holder.rollback)
            timer.start()
            outbox.put(*MESSAGE, connection=own)
            own.commit()
            timer.join()
        assert waiting(outbox) == 1


def test_a_large_content_is_gone_with_the_transaction(
    outbox: Outbox, connect: Callable[[], Any], ledger: str
) -> None:
    """A file in the spool would be left behind: nothing rolls that back."""
    large = b"Subject: x\r\n\r\n" + b"large " * 100_000
    spool = Path(f"{path_of(ledger)}-spool")
    with closing(connect()) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
        connection.commit()
        connection.execute("INSERT INTO orders VALUES (1)")
        outbox.put(large, MESSAGE[1], connection=connection)
        connection.rollback()
        assert not spool.exists() or not list(spool.iterdir())
        connection.execute("INSERT INTO orders VALUES (2)")
        outbox.put(large, MESSAGE[1], connection=connection)
        connection.commit()
    with Server() as server:
        outbox.run(server.url, until_empty=True)
        assert server.messages[0].content.endswith(b"large large \r\n")
        assert len(server.messages[0].content) > len(large)


def test_by_sqlalchemy(outbox: Outbox, ledger: str) -> None:
    alchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import Session

    engine = alchemy.create_engine(ledger.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        outbox.put(*MESSAGE, connection=connection)
        connection.rollback()
        outbox.put(*MESSAGE, connection=connection)
    assert waiting(outbox) == 0, "it was not committed"
    with engine.connect() as connection:
        outbox.put(*MESSAGE, key="as you go", connection=connection)
        connection.commit()
        outbox.cancel(outbox.put(*MESSAGE, key="as you go"))
    plain = engine.execution_options(isolation_level="AUTOCOMMIT")
    with plain.connect() as connection, pytest.raises(ValueError, match="no transaction is under"):
        outbox.put(*MESSAGE, connection=connection)
    with engine.begin() as connection:
        outbox.put(*MESSAGE, connection=connection)
        connection.rollback()
    assert waiting(outbox) == 0
    with engine.begin() as connection:
        outbox.put(*MESSAGE, connection=connection)
    with Session(engine) as session:
        outbox.put(*MESSAGE, connection=session)
        assert waiting(outbox) == 1
        session.rollback()
        outbox.put(*MESSAGE, connection=session)
        session.commit()
    engine.dispose()
    assert waiting(outbox) == 2


def test_by_django(outbox: Outbox, ledger: str) -> None:
    _ = pytest.importorskip("django")
    from django.db import transaction as theirs
    from django.db.utils import ConnectionHandler

    from tests.integrations.django.setting_up import set_up

    set_up()
    transaction: Any = theirs
    if ledger.startswith("sqlite"):
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": path_of(ledger)}
    else:
        address, _, name = ledger.removeprefix("postgresql://postgres@").partition("/")
        host, _, port = address.partition(":")
        database = {"ENGINE": "django.db.backends.postgresql", "NAME": name, "HOST": host}
        database |= {"PORT": port, "USER": "postgres"}
    handler = ConnectionHandler({"default": database})
    connection: Any = handler["default"]
    atomic: Any = transaction.Atomic("default", True, False)
    original, transaction.get_connection = transaction.get_connection, lambda using: connection
    try:
        with pytest.raises(ValueError, match=r"transaction\.atomic"):
            outbox.put(*MESSAGE, connection=connection)
        with pytest.raises(ZeroDivisionError), atomic:
            outbox.put(*MESSAGE, connection=connection)
            _ = 1 / 0
        assert waiting(outbox) == 0
        with atomic:
            outbox.put(*MESSAGE, connection=connection)
            with pytest.raises(ZeroDivisionError), atomic:  # a savepoint
                outbox.put(*MESSAGE, connection=connection)
                _ = 1 / 0
        assert waiting(outbox) == 1
    finally:
        transaction.get_connection = original
        connection.close()


@pytest.mark.xdist_group("postgres")
def test_by_an_asynchronous_connection(postgres_server: Any) -> None:
    import psycopg

    url = postgres_server.database()

    async def main() -> None:
        async with AsyncOutbox(url) as outbox, await psycopg.AsyncConnection.connect(url) as own:
            await outbox.put(*MESSAGE, connection=own)
            await own.rollback()
            id = await outbox.put(*MESSAGE, key="k", connection=own)
            assert await outbox.put(*MESSAGE, key="k", connection=own) == id
            await own.commit()
            assert (await outbox.counts())[State.WAITING] == 1

            with Outbox(url) as blocking, pytest.raises(TypeError, match="not AsyncConnection of"):
                blocking.put(*MESSAGE, connection=own)
            with pytest.raises(TypeError, match="asynchronous connection"):
                await outbox.put(*MESSAGE, connection=own.cursor())

    asyncio.run(main())


def test_by_an_asynchronous_connection_of_sqlalchemy(outbox: Outbox, ledger: str) -> None:
    _ = pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    if ledger.startswith("sqlite"):
        _ = pytest.importorskip("aiosqlite")
    url = ledger.replace("sqlite:", "sqlite+aiosqlite:").replace("sql:", "sql+psycopg:")

    async def main() -> None:
        engine = create_async_engine(url)
        async with AsyncOutbox(ledger) as own:
            async with engine.connect() as connection:
                await own.put(*MESSAGE, connection=connection)
                await connection.rollback()
                await own.put(*MESSAGE, key="as you go", connection=connection)
                await connection.commit()
            await own.cancel(await own.put(*MESSAGE, key="as you go"))
            async with engine.begin() as connection:
                await own.put(*MESSAGE, key="k", connection=connection)
                await connection.rollback()
            assert waiting(outbox) == 0
            async with engine.begin() as connection:
                id = await own.put(*MESSAGE, key="k", connection=connection)
                assert await own.put(*MESSAGE, key="k", connection=connection) == id
            async with AsyncSession(engine) as session:
                await own.put(*MESSAGE, connection=session)
                await session.rollback()
                await own.put(*MESSAGE, connection=session)
                await session.commit()
        await engine.dispose()

    asyncio.run(main())
    assert waiting(outbox) == 2
