"""Who reads events behind a cursor misses none: what is committed later has a higher one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from smtpx.outbox import Event, Outbox, State, _deciding
from smtpx.outbox._statements import Ask, Statements, Tell
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import letter

pytestmark = pytest.mark.timeout(60)


@pytest.mark.xdist_group("postgres")
def test_a_transaction_that_began_earlier_hides_no_event(postgres_server: Any) -> None:
    """The one that begins later tells first, and is committed last."""
    import psycopg

    url = postgres_server.database()
    has_begun, has_told = threading.Event(), threading.Event()
    found: list[Event] = []
    with (
        Outbox(url) as older,
        Outbox(url) as newer,
        Outbox(url) as reader,
        psycopg.connect(url, autocommit=True) as looking,
    ):
        first, second = reader.put(letter()), reader.put(letter())

        # At times whose counters are not the same: for these, one would wait for the other.
        def begin_early() -> Statements[None]:
            _ = yield Ask("SELECT pg_current_xact_id()")
            has_begun.set()
            assert has_told.wait(20)
            _ = yield from _deciding.cancel(second, None, -1, 0.001)

        early = threading.Thread(target=older._store.transact, args=[begin_early])

        def commit_late() -> Statements[None]:
            _ = yield from _deciding.cancel(first, None, -1, 0.0)
            has_told.set()
            held = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted"
            while early.is_alive() and looking.execute(held).fetchone() == (0,):
                time.sleep(0.01)
            found.extend(reader.events())

        early.start()
        assert has_begun.wait(20)
        newer._store.transact(commit_late)
        early.join()
        found.extend(reader.events(found[-1].cursor if found else 0))
        assert [event.submission for event in found] == [first, second]


def test_what_tells_of_events_waits_for_nothing_afterwards(
    open_outbox: Callable[..., Outbox], judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox()
    transact = outbox._store.transact
    told: dict[str, list[str]] = {}

    def noted(operation: Callable[..., Statements[Any]], *args: Any, **named: Any) -> Any:
        def noting() -> Statements[Any]:
            texts: list[str] = []
            statements = operation(*args, **named)
            try:
                statement = next(statements)
                while True:
                    texts.append(statement.text)
                    statement = statements.send((yield statement))
            except StopIteration as stop:
                if any("INTO smtpx_event" in text for text in texts):
                    told[operation.__name__] = texts
                return stop.value

        return transact(noting)

    def doubt() -> Statements[None]:
        text = "UPDATE smtpx_delivery SET doubted = 1 WHERE message = ? AND place = 0"
        yield Tell(text, [(id,)])

    monkeypatch.setattr(outbox._store, "transact", noted)
    id = outbox.put(letter(to="a@x.test, b@x.test"))
    transact(doubt)
    assert outbox.cancel(id) == 2
    states = {delivery.state for delivery in outbox.status(id).deliveries}
    assert states == {State.IN_DOUBT, State.CANCELLED}
    outbox.put(letter(), expires=timedelta(seconds=0.01))
    time.sleep(0.02)
    outbox.put(letter())
    outbox.run(judge.url, until_empty=True)
    assert {"cancel"} < {*told}
    for texts in told.values():
        assert texts[-2] == "{telling}"
        assert "INTO smtpx_event" in texts[-1]
        assert not any("smtpx_event" in text for text in texts[:-1])
