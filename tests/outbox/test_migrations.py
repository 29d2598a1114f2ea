"""A ledger that an earlier version has made, with mail that waits in it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from smtpx import Template, compose
from smtpx.outbox import Outbox, State, _schema, _store
from smtpx.outbox._statements import Ask, Statements, Tell
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import letter

pytestmark = pytest.mark.timeout(60)

LETTER = compose(sender="a@example.org", to="{{address}}", subject="Hello", text="Hello\n")
ROWS = [{"address": f"r{n}@example.net"} for n in range(3)]


def first_mail(template_key: str | None) -> Statements[None]:
    """What the first version wrote for one message, and for a campaign without rows."""
    _ = yield Tell(
        """INSERT INTO smtpx_message (id, key, fingerprint, campaign, sender, stamps, message_id,
        octets, template, hold, created, expires, puts) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)""",
        [
            (
                *("old", "order-42", b"", "", "a@example.org", b"", "<old@example.org>"),
                *(b"Message-ID: <old@example.org>\r\n\r\nold\r\n", 0, 0, 0.0, time.time() + 99, 0),
            ),
            ("begun", template_key, b"", "old", "", b"", "", b"", 1, 0, 0.0, 0.0, 0),
        ],
    )
    _ = yield Tell(
        """INSERT INTO smtpx_delivery (message, place, recipient, domain, campaign, batch, state,
        claimed, hold, deferred, priority, due, expires, attempts, reason, host, changed)
        VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)""",
        [
            (
                *("old", 0, "b@example.net", "example.net", "", "old", "waiting"),
                *(0, 0, 0, 0, 0.0, time.time() + 99, 0, "", "", 0.0),
            )
        ],
    )
    _ = yield Tell("INSERT INTO smtpx_count VALUES (?,?,?,?)", [("", 0, "waiting", 1)])


def as_of(version: int) -> Statements[None]:
    _ = yield Tell("UPDATE smtpx_version SET version = ?", [(version,)])


@pytest.mark.parametrize(("made", "called"), [*((n, n) for n in range(1, _schema.VERSION)), (2, 1)])
def test_mail_of_an_earlier_version_is_sent(
    ledger: str, monkeypatch: pytest.MonkeyPatch, made: int, called: int
) -> None:
    """For some days the first version's tables were made as those of the second."""
    with monkeypatch.context() as before:
        before.setattr(_store, "MIGRATIONS", _schema.MIGRATIONS[:made])
        before.setattr(_store, "VERSION", made)
        with Outbox(ledger) as outbox:
            outbox._store.transact(first_mail, "campaign:old" if called == 1 else None)
            outbox._store.transact(as_of, called)
    with Outbox(ledger) as outbox, Judge() as judge:
        new = outbox.put(letter(to="c@example.net"), key="campaign:old")
        outbox.put_merge(Template(LETTER), ROWS, campaign="spring")
        outbox.put_merge(Template(LETTER), ROWS, campaign="spring")
        outbox.run(judge.url, until_empty=True)
        taken = {recipient for _, recipient in judge.taken}
        assert taken == {"b@example.net", "c@example.net", *(row["address"] for row in ROWS)}
        assert outbox.status("old").key == "order-42"
        assert outbox.status(new).is_over
        assert outbox.counts()[State.ACCEPTED] == len(taken) == len(judge.taken)


@pytest.mark.xdist_group("postgres")
def test_events_of_a_restored_database_are_told(postgres_server: Any) -> None:
    """Version 5 had the transaction of each: in another server that is yet to come."""

    def of_another_server() -> Statements[None]:
        yield Ask("ALTER TABLE smtpx_event ADD COLUMN xid XID8 NOT NULL DEFAULT '999999999999'")
        yield from as_of(5)

    url = postgres_server.database()
    with Outbox(url) as outbox:
        id = outbox.put(letter())
        _ = outbox.cancel(id)
        outbox._store.transact(of_another_server)
    with Outbox(url) as outbox:
        assert [event.submission for event in outbox.events()] == [id]
        columns = outbox._store.transact(columns_of, "smtpx_event")
        assert ("xid",) not in columns
        assert ("cursor",) in columns


def columns_of(table: str) -> Statements[Any]:
    return (yield Ask("{columns}", [table]))
