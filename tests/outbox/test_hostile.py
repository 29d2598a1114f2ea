"""What nobody should give, and what befalls files: an error that says so, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

from smtpx import Envelope
from smtpx.outbox import (
    LedgerCorrupt,
    LedgerMisconfigured,
    LedgerTooNew,
    LedgerUnavailable,
    Outbox,
    Retries,
    State,
)
from tests.outbox.judge import Judge
from tests.outbox.postgres import Postgres
from tests.outbox.test_kills import drained
from tests.outbox.worker import numbered

pytestmark = pytest.mark.timeout(60)

LETTER: Any = (b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net"))
CALLS: dict[str, Callable[[Outbox, str], object]] = {
    "key": lambda outbox, text: outbox.put(*LETTER, key=text),
    "campaign": lambda outbox, text: outbox.put(*LETTER, campaign=text),
    "id": lambda outbox, text: outbox.status(text),
    "batch": lambda outbox, text: outbox.deliver(text, "smtp://localhost"),
    "name": lambda outbox, text: outbox.report(print, name=text),
}


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["NUL", "half a pair"])
@pytest.mark.parametrize("name", CALLS)
def test_text_that_no_database_takes(outbox: Outbox, name: str, text: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: give text without NUL"):
        CALLS[name](outbox, text)


def test_a_name_that_is_too_long(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match=r"^key: give 1 to 255 characters, not 256; a hash of"):
        outbox.put(*LETTER, key="x" * 256)
    with pytest.raises(ValueError, match=r"^after=\d+"):
        outbox.events(2**63)


def test_times_that_no_calendar_has(outbox: Outbox) -> None:
    late = datetime(9999, 12, 31, tzinfo=UTC)
    id = outbox.put(*LETTER, not_before=late, expires=timedelta.max)
    assert outbox.status(id).expires.year == 9999
    assert [delivery.due for delivery in outbox.find()] == [late]


@pytest.mark.skipif(os.name == "nt", reason="an open file is not removed there")
def test_a_file_that_is_replaced_while_it_is_open(tmp_path: Path, judge: Judge) -> None:
    path, backup = tmp_path / "mail.db", tmp_path / "backup.db"
    with Outbox(f"sqlite:///{path}") as outbox:
        list(outbox.put_many(numbered(1)))
        outbox.close()
        shutil.copy(path, backup)
        outbox.put(*LETTER)
        for each in tmp_path.glob("mail.db*"):
            each.unlink()
        with pytest.raises(LedgerUnavailable, match="moved or deleted while it was open"):
            outbox.put(*LETTER)
        backup.rename(path)
        with pytest.raises(LedgerUnavailable, match="another file is in its place"):
            outbox.put(*LETTER)
        outbox.close()
        outbox.put(*LETTER)
        drained(outbox, judge)
        assert outbox.counts()[State.ACCEPTED] == 2, "that of the backup, and what came after"


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with Outbox(f"sqlite:///{path}") as outbox:
        list(outbox.put_many(numbered(200)))
        outbox.close()
        octets = bytearray(path.read_bytes())
        octets[8192:] = bytes(len(octets) - 8192)
        path.write_bytes(octets)
        with pytest.raises(LedgerCorrupt, match="restore it, or give another"):
            outbox.put(*LETTER)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "it is a directory"),
        ("/missing/mail.db", "there is no such directory"),
        ("/file/mail.db", "there is no such directory"),
        ("/loop", "links"),
        ("/queue", "it is no file"),
        (f"/{'x' * 300}", "too long"),
        ("/%00", "null"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows says other words")
def test_a_place_where_no_ledger_can_be(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "queue")
    with pytest.raises(LedgerMisconfigured, match=said):
        Outbox(f"sqlite:///{tmp_path}{place}")


@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("postgres@", "nobody@", 'role "nobody" does not exist'),
        ("/outbox", "/no-such-outbox", "does not exist"),
    ],
)
def test_whom_postgres_does_not_let_in(
    before: str, after: str, said: str, postgres_server: Postgres
) -> None:
    url = postgres_server.database().replace(before, after)
    with pytest.raises(LedgerMisconfigured, match=said):
        Outbox(url, patience=2)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hunter2@[",
        "postgresql://ann:hunter%zz2@localhost/x",
        "postgresql://ann:hunter/2@localhost/x",
        "host=localhost user=ann password=hunter2",
    ],
)
def test_a_url_that_is_none_shows_no_password(url: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ValueError, match=r"^url: ") as caught:
        Outbox(url, patience=2)
    assert "hunter" not in "".join(format_exception(caught.value))


def test_a_spool_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with Outbox(f"sqlite:///{tmp_path}/mail.db", spool=tmp_path / "spool") as outbox:
        with pytest.raises(LedgerUnavailable, match="a large message cannot be kept in"):
            outbox.put(b"Subject: x\r\n\r\n" + b"x" * 400_000, LETTER[1])
        assert outbox.counts()[State.WAITING] == 0


@pytest.mark.xdist_group("postgres")
def test_a_postgres_that_does_not_let_us(postgres_server: Any) -> None:
    import psycopg

    url, name = postgres_server.database(), "outbox that is locked"
    with Outbox(url, patience=0.2) as outbox, psycopg.connect(url, autocommit=True) as own:
        own.execute("BEGIN")
        own.execute("LOCK TABLE smtpx_message")
        with pytest.raises(LedgerUnavailable, match="another transaction holds a lock"):
            outbox.put(*LETTER, key=name)
        own.execute("ROLLBACK")
        outbox.put(*LETTER, key=name)
        own.execute("CREATE ROLE guest LOGIN")
        with pytest.raises(LedgerUnavailable, match="this user has to be able to write there"):
            Outbox(url.replace("postgres@", "guest@"))
        database = url.rpartition("/")[2]
        own.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        with Outbox(url) as reading:
            assert reading.counts()[State.WAITING] == 1
            with pytest.raises(
                LedgerUnavailable, match="this server has to be one that is written to"
            ):
                reading.put(*LETTER)
        with pytest.raises(LedgerUnavailable, match='"nothing" does not exist'):
            Outbox(postgres_server.url("nothing"), patience=0.2)
        own.execute("UPDATE smtpx_version SET version = 99")
        own.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = off")
        with pytest.raises(LedgerTooNew, match="of version 99"):
            Outbox(url)


@pytest.mark.xdist_group("postgres")
def test_tables_of_somebody_else_in_postgres(postgres_server: Any) -> None:
    import psycopg

    url = postgres_server.database()
    with psycopg.connect(url, autocommit=True) as own:
        own.execute("CREATE TABLE smtpx_message (mine TEXT)")
    with pytest.raises(LedgerCorrupt, match="no outbox's"):
        Outbox(url)


@pytest.mark.parametrize(
    ("harm", "becomes"),
    [
        (
            "UPDATE smtpx_delivery SET wishes = '" + "[" * 100_000 + "' WHERE place = 0",
            State.WAITING,
        ),
        ("DELETE FROM smtpx_message WHERE key = 'bad'", State.REFUSED),
    ],
    ids=["nested without end", "gone"],
)
def test_what_cannot_even_be_looked_at_stops_nobody_else(
    open_outbox: Callable[..., Outbox], ledger: str, judge: Judge, harm: str, becomes: State
) -> None:
    """By hand, or by a fault of ours: nothing is lost that may be mended yet."""
    outbox = open_outbox(retries=Retries(first=3600))
    outbox.put(*LETTER, key="bad")
    harmed(ledger, harm)
    good = outbox.put(*LETTER)
    outbox.run(judge.url, until_empty=True)
    assert outbox.status(good).deliveries[0].state is State.ACCEPTED
    assert outbox.counts() == {**dict.fromkeys(State, 0), State.ACCEPTED: 1, becomes: 1}


def harmed(ledger: str, text: str) -> None:
    if ledger.startswith("sqlite"):
        connection: Any = sqlite3.connect(ledger.removeprefix("sqlite:///"))
    else:
        import psycopg

        connection = psycopg.connect(ledger)
    connection.execute(text)
    connection.commit()
    connection.close()
