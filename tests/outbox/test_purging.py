"""What is purged while the same content comes in again: it is kept for those who need it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from smtpx import Envelope
from smtpx.outbox import NotInOutbox, Outbox, State, _asking
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import rows, template

pytestmark = pytest.mark.timeout(120)

BRIEF = timedelta(microseconds=1)


def large(size: int) -> Any:
    return b"Subject: x\r\n\r\n" + b"x" * 60 * (size // 60), Envelope(
        "a@example.org", "b@example.net"
    )


@pytest.mark.parametrize("size", [20_000, 400_000], ids=["shared", "spooled"])
def test_a_purge_just_before_the_same_content_is_put_in(
    open_outbox: Callable[..., Outbox], tmp_path: Path, judge: Judge, size: int
) -> None:
    outbox, another = (open_outbox(spool=tmp_path / "spool") for _ in range(2))
    outbox.put(*large(size))
    outbox.run(judge.url, until_empty=True)
    store: Any = outbox._store
    transact = store.transact

    def purged_before(operation: Any, *arguments: Any) -> Any:
        store.transact = transact
        time.sleep(0.001)  # What is over has to be older than no time at all.
        assert another.purge(older_than=BRIEF) == 1
        return transact(operation, *arguments)

    store.transact = purged_before
    id = outbox.put(*large(size))
    outbox.run(judge.url, until_empty=True)
    assert [d.state for d in outbox.status(id).deliveries] == [State.ACCEPTED]
    assert len(judge.taken) == 2


@pytest.mark.xdist_group("postgres")
def test_a_purge_waits_for_whoever_puts_the_same_content_in(
    postgres_server: Any, judge: Judge
) -> None:
    import psycopg

    url = postgres_server.database()
    with Outbox(url) as outbox, psycopg.connect(url) as own:
        outbox.put(*large(20_000))
        outbox.run(judge.url, until_empty=True)
        id = outbox.put(*large(20_000), connection=own)
        purging = threading.Thread(target=lambda: outbox.purge(older_than=BRIEF))
        purging.start()
        with psycopg.connect(url, autocommit=True) as looking:
            held = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted"
            while purging.is_alive() and looking.execute(held).fetchone() == (0,):
                time.sleep(0.01)
        own.commit()
        purging.join()
        outbox.run(judge.url, until_empty=True)
        assert [d.state for d in outbox.status(id).deliveries] == [State.ACCEPTED]


def test_what_still_waits_does_not_hide_what_is_over(outbox: Outbox, judge: Judge) -> None:
    """A campaign may have more recipients that are over than a transaction looks at."""
    everyone = [f"r{n}@example.net" for n in range(1100)]
    several = [
        (b"Subject: x\r\n\r\n", Envelope("a@example.org", everyone)),
        *[(b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net"))] * 3,
    ]
    living, *ids = outbox.put_many(several)
    outbox.cancel(living)
    outbox.retry(living, recipient=everyone[0])
    for id in ids:
        outbox.cancel(id)
    time.sleep(0.001)
    assert outbox.purge(older_than=BRIEF) == 3
    assert len(outbox.status(living).deliveries) == 1100
    assert outbox.cancel(living) == 1
    time.sleep(0.001)
    assert outbox.purge(older_than=BRIEF) == 1
    assert not list(outbox.find())


def test_a_template_without_rows_is_purged_like_any_other(outbox: Outbox, judge: Judge) -> None:
    """There were none; or the call broke off before the first of them."""

    def broken() -> Any:
        raise RuntimeError("the application's own query failed")
        yield {}

    empty = outbox.put_merge(template(), iter([]), campaign="nobody")
    assert outbox.status(empty).is_over
    with pytest.raises(RuntimeError):
        outbox.put_merge(template(), broken(), campaign="broken")
    kept = outbox.put_merge(template(), rows(1), campaign="somebody")
    assert outbox.purge(older_than=timedelta(hours=1)) == 0
    time.sleep(0.01)
    assert outbox.purge(older_than=timedelta(milliseconds=1)) == 2
    with pytest.raises(NotInOutbox):
        outbox.status(empty)
    outbox.run(judge.url, until_empty=True)
    assert outbox.status(kept).deliveries[0].state is State.ACCEPTED
    assert outbox.put_merge(template(), rows(1), campaign="nobody") != empty


def test_a_template_that_is_purged_while_its_rows_come_is_told(outbox: Outbox) -> None:
    def slow() -> Any:
        time.sleep(0.01)
        outbox.purge(older_than=timedelta(milliseconds=1))
        yield from rows(1)

    with pytest.raises(NotInOutbox, match="purged meanwhile"):
        outbox.put_merge(template(), slow(), campaign="spring")
    assert outbox.counts()[State.WAITING] == 0


@pytest.mark.parametrize("is_over", [True, False])
def test_a_large_campaign_is_forgotten_in_small_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    """Workers wait for no transaction of a million deliveries; and none is looked at twice."""
    monkeypatch.setattr(_asking, "_PART", 20)
    monkeypatch.setattr(_asking, "_FORGOTTEN", 50)
    costs: list[tuple[int, int]] = []
    for many in (200, 800):
        with Outbox(f"sqlite:///{tmp_path}/{many}.db") as outbox:
            store: Any = outbox._store
            id = outbox.put_merge(template(), rows(many), campaign="spring")
            outbox.cancel(id)
            if not is_over:
                outbox.retry(id, recipient=[*outbox.find()][-1].recipient)
            counted: list[int] = []
            transact = store.transact

            def watched(*arguments: Any) -> Any:
                steps: list[None] = []
                store._connection.set_progress_handler(lambda: steps.append(None), 10)  # noqa: B023
                try:
                    return transact(*arguments)  # noqa: B023
                finally:
                    counted.append(len(steps))  # noqa: B023
                    store._connection.set_progress_handler(None, 0)  # noqa: B023

            store.transact = watched
            assert outbox.purge(older_than=BRIEF) == is_over
            costs.append((sorted(counted)[-2], sum(counted)))
            left = 0 if is_over else many
            assert sum(outbox.counts("spring").values()) == left
            assert sum(1 for _ in outbox.find()) == left
            assert not list(outbox.events())
    (few, all_of_few), (lot, all_of_many) = costs
    assert lot < 1.5 * few, "but for the one that looks through it"
    assert all_of_many < 6 * all_of_few
