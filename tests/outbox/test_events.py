"""Who reads events behind a cursor misses none: what is committed later has a higher one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from smtpx.outbox import Outbox, State
from smtpx.outbox._putting import tell
from smtpx.outbox._statements import Statements, Tell
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import letter

pytestmark = pytest.mark.timeout(60)


@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("bounces", [None, "postmaster@example.org"], ids=["events", "bounces"])
def test_a_transaction_that_is_committed_late_hides_no_event(
    postgres_server: Any, bounces: str | None
) -> None:
    """The one that tells first is committed last. It holds up those who read, and no other that
    tells."""
    url = postgres_server.database()
    has_told, may_commit = threading.Event(), threading.Event()
    found: list[list[str]] = []
    with (
        Outbox(url) as late,
        Outbox(url, bounces=bounces) as outbox,
        Outbox(url, bounces=bounces) as reader,
    ):
        first, second = outbox.put(letter()), outbox.put(letter())

        def commit_late() -> Statements[None]:
            yield from tell({}, [(first, "b@example.net", "refused", None, "no", 0.0)], 0.0)
            has_told.set()
            assert may_commit.wait(20)

        def read() -> None:
            assert bounces is None or reader._core.report() == 2
            found.append([event.submission for event in reader.events()])

        writing = threading.Thread(target=late._store.transact, args=[commit_late])
        reading = threading.Thread(target=read)
        writing.start()
        assert has_told.wait(20)
        assert outbox.cancel(second) == 1
        reading.start()
        reading.join(0.2)
        assert reading.is_alive()
        may_commit.set()
        writing.join()
        reading.join()
        reports = [each.recipient for each in reader.find() if each.recipient == "a@example.org"]
    assert found == [[first, second]]
    assert len(reports) == (bounces is not None)


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
