"""Ledgers for the tests of the outbox: a file, and a database of a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smtpx.outbox import Outbox, Retries
from tests.outbox import postgres
from tests.outbox.judge import Judge

SOON = Retries(first=0.05, most=0.2, greylisted=0.05)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    pytest.importorskip("psycopg")
    if postgres.programs() is None:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    with postgres.running() as server:
        yield server


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))]
)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty ledger."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/mail.db"
    server: postgres.Postgres = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture
def outbox(ledger: str) -> Iterator[Outbox]:
    with Outbox(ledger, retries=SOON, lease=0.3) as opened:
        yield opened


@pytest.fixture
def open_outbox(ledger: str) -> Iterator[Callable[..., Outbox]]:
    """Opens an outbox of the same ledger, with options."""
    opened: list[Outbox] = []

    def open_one(**options) -> Outbox:
        opened.append(Outbox(ledger, **{"retries": SOON, "lease": 0.3, **options}))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def judge() -> Iterator[Judge]:
    with Judge() as server:
        yield server
