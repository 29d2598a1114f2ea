"""What stands in the way of a claim: destinations that are held back, or get no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from smtpx import Client
from smtpx.outbox import Limit, Outbox, State
from smtpx.outbox import _asking as asking
from smtpx.outbox import _claiming as claiming
from smtpx.outbox import _destinations as destinations
from smtpx.outbox import _queue as queue
from smtpx.outbox._claiming import Noted
from smtpx.outbox._destinations import Claim
from smtpx.outbox._putting import AT_ONCE
from smtpx.outbox._statements import Statements, Tell
from smtpx.outbox._store import run
from smtpx.outbox._working import Working
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import letter

pytestmark = pytest.mark.timeout(60)

OWNER = "owner"
HOUR = 3600.0


class Direct(Client):
    """Each domain is its own next hop, though one server takes all."""

    hop = None


def copies(id: str, count: int, domains: int) -> Statements[None]:
    """Put in more deliveries of a message, for so many domains that are down."""
    rows = [
        (id, n + 1, f"x@{n % domains}.down.test", f"{n % domains}.down.test", 2e9, AT_ONCE)
        for n in range(count)
    ]
    _ = yield Tell(
        """INSERT INTO smtpx_delivery (message, place, recipient, domain, expires, changed,
        due, campaign, batch, state, claimed, hold, deferred, priority, attempts, reason, host)
        VALUES (?,?,?,?,?,?,0,'','batch','waiting',0,0,0,0,0,'','')""",
        rows,
    )
    _ = yield Tell("INSERT INTO smtpx_count VALUES ('', 99, 'waiting', ?)", [(count,)])


def held(outbox: Outbox, count: int, domains: int, now: float) -> str:
    """Put mail in for destinations that cannot be reached, before all else; return its id."""
    transact = outbox._store.transact
    transact(claiming.register, OWNER, 30.0, now)
    id = outbox.put(letter(to="x@0.down.test"), not_before=None)
    transact(copies, id, count - 1, domains)
    transact(destinations.hold_back, [f"{n}.down.test" for n in range(domains)], now)
    return id


def for_long(until: float) -> Statements[None]:
    _ = yield Tell("UPDATE smtpx_destination SET held_until = ?", [(until,)])


def steps(outbox: Outbox, act: Callable[[], Any]) -> tuple[Any, int]:
    """What it returns, and how many steps of SQLite's machine it takes, in tens."""
    store: Any = outbox._store
    counted: list[None] = []
    store._connection.set_progress_handler(lambda: counted.append(None), 10)
    try:
        return act(), len(counted)
    finally:
        store._connection.set_progress_handler(None, 0)


@pytest.mark.parametrize("domains", [1, 300])
@pytest.mark.parametrize("limits", [{}, {"*": Limit(rate=0.001)}], ids=["held", "limited"])
def test_a_claim_costs_the_same_however_much_is_in_its_way(
    tmp_path: Path, domains: int, limits: dict[str, Limit]
) -> None:
    costs: list[tuple[int, int]] = []
    for many in (600, 3000):
        with Outbox(f"sqlite:///{tmp_path}/{many}.db") as outbox:
            now = time.time() + 1
            _ = held(outbox, many, domains, now - HOUR if limits else now)
            outbox.put(letter(to="x@up.test"))
            wanted = Claim(OWNER, 16, now, limits=limits)
            found: list[str] = []
            worst = claims = 0
            while "x@up.test" not in found:
                taken, cost = steps(
                    outbox,
                    lambda: outbox._store.transact(queue.claim, wanted),  # noqa: B023
                )
                assert taken.deliveries or not taken.is_all
                found += [one.recipient for one in taken.deliveries]
                worst, claims = max(worst, cost), claims + 1
            assert claims <= 4 + many // 50 + domains // 16
            outbox.put(letter(to="x@up-too.test"))
            _, later = steps(outbox, lambda: outbox._store.transact(queue.claim, wanted))  # noqa: B023
            costs.append((worst, later))
    (worst_of_few, later_of_few), (worst, later) = costs
    assert worst < 1.5 * worst_of_few
    assert later < 1.5 * later_of_few


def test_what_was_set_aside_comes_back_in_its_order(outbox: Outbox) -> None:
    now = time.time() + 1
    transact = outbox._store.transact
    _ = held(outbox, 20, 2, now)
    urgent = outbox.put(letter("urgent", to="x@1.down.test"), priority=5)
    cancelled = outbox.put(letter("cancelled", to="x@1.down.test"))
    again = outbox.put(letter("again", to="x@1.down.test"))
    outbox.put(letter("other", to="x@up.test"))

    def claim(moment: float, most: int = 4) -> list[str]:
        wanted = Claim(OWNER, most, moment)
        return [one.message for one in transact(queue.claim, wanted).deliveries]

    assert len(claim(now, 40)) == 1
    assert claim(now + 0.5) == []
    assert outbox.cancel(cancelled) == 1
    assert outbox.retry(again) == 1
    assert claim(now + 0.5) == []
    assert outbox._store.look(queue.wait_until, Claim(OWNER, 1, now)) == pytest.approx(now + 1)
    found = claim(now + 2)
    assert found[0] == urgent
    while more := claim(now + 2):
        found += more
    assert len(found) == 20 + 2
    assert {again, urgent} < {*found}
    assert cancelled not in found
    assert outbox._store.look(queue.wait_until, Claim(OWNER, 1, now + 2)) is None


def test_new_mail_overtakes_what_a_worker_cannot_send(outbox: Outbox, judge: Judge) -> None:
    _ = held(outbox, 1200, 2, time.time())
    outbox._store.transact(for_long, time.time() + 200)
    outbox.put(letter(to="x@up.test"))
    with Direct(judge.url) as client:
        outbox.run(client, until_empty=True)
    assert [recipient for _, recipient in judge.taken] == ["x@up.test"]


def test_so_many_are_taken_at_once_whether_new_or_not(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox(limits={"up.test": Limit(at_once=3)})
    for n in range(8):
        outbox.put(letter(str(n), to="x@up.test"))

    def half() -> Statements[None]:
        _ = yield Tell("UPDATE smtpx_delivery SET deferred = 1 WHERE number <= ?", [(4,)])

    transact, now = outbox._store.transact, time.time() + 1
    transact(half)
    transact(claiming.register, OWNER, 30.0, now)
    wanted = Claim(OWNER, 8, now, limits=outbox._core.policy.limits)
    assert len(transact(queue.claim, wanted).deliveries) == 3


def test_a_batch_is_called_out_when_its_destination_is_free_again(outbox: Outbox) -> None:
    now = time.time() + 1
    id = held(outbox, 1, 1, now)
    transact, look = outbox._store.transact, outbox._store.look

    def claimed(moment: float) -> int:
        return len(transact(queue.claim, Claim(OWNER, 9, moment, batch=id)).deliveries)

    assert claimed(now) == 0
    assert look(queue.overdue, now + 0.5, 0.1, 9) == []
    assert look(queue.overdue, now + 2, 0.1, 9) == [id]
    assert claimed(now + 2) == 1
    assert outbox.cancel(id) == 1
    assert outbox.counts()[State.CANCELLED] == 1


@pytest.mark.xdist_group("postgres")
def test_no_statement_of_a_worker_reads_all_that_waits(postgres_server: Any) -> None:
    """Also where PostgreSQL has no statistics: a campaign that has just been put in."""
    plans: dict[str, str] = {}
    with Outbox(postgres_server.database()) as outbox:
        store: Any = outbox._store
        now = time.time() + 1
        id = held(outbox, 3000, 2, now)
        outbox.put(letter(to="x@up.test"), priority=1)

        class Explaining:
            """Tells how each statement is carried out, before it is."""

            def __init__(self, cursor: Any) -> None:
                self._cursor = cursor

            def __getattr__(self, name: str) -> Any:
                return getattr(self._cursor, name)

            def execute(self, text: str, values: Any) -> Any:
                if "smtpx_delivery" in text and not text.startswith("INSERT"):
                    rows = self._cursor.execute(f"EXPLAIN {text}", values).fetchall()
                    plans[text] = "\n".join(row[0] for row in rows)
                return self._cursor.execute(text, values)

        def explained(operation: Any, *arguments: Any) -> Any:
            with store._connection.transaction():
                cursor: Any = Explaining(store._connection.cursor())
                return run(operation(*arguments), cursor, store.dialect)

        limits = {"up.test": Limit(at_once=9)}
        explained(queue.set_back, now)
        explained(queue.expire, now)
        explained(asking.counts, None)
        taken = explained(queue.claim, Claim(OWNER, 9, now, limits=limits))
        tickets = [one.ticket for one in taken.deliveries]
        explained(queue.claim, Claim(OWNER, 9, now + 9, limits=limits))
        explained(queue.claim, Claim(OWNER, 9, now + 9, batch=id))
        explained(queue.wait_until, Claim(OWNER, 9, now + 9, limits=limits))
        explained(claiming.mark, OWNER, [tickets], now)
        noted = [Noted(tickets[0], State.ACCEPTED, 0.0, True, None, "", "")]
        explained(claiming.note, OWNER, noted, now)
        explained(claiming.reap, OWNER, None, now)
    assert len(plans) > 12
    for text, plan in plans.items():
        assert "Seq Scan on smtpx_delivery" not in plan, text
        assert "Sort" not in plan or "batch = " in text, text
        assert ("smtpx_delivery_batch" in plan) == ("batch <> ''" in text), text
        assert ("smtpx_delivery_expires" in plan) == ("expires > 0" in text), text
        assert ("smtpx_delivery_claimed" in plan) == ("place >= 0" in text), text


def test_what_is_doubted_is_counted_at_once_however_much_waits(tmp_path: Path) -> None:
    def doubted(number: int) -> Statements[None]:
        _ = yield Tell("UPDATE smtpx_delivery SET doubted = 1 WHERE number % ? = 0", [(number,)])

    with Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
        _ = held(outbox, 3000, 3, time.time())
        _ = outbox.put(letter(), campaign="spring")
        none, idle = steps(outbox, outbox.counts)
        outbox._store.transact(doubted, 1000)
        three, busy = steps(outbox, outbox.counts)
        assert (none.doubted, three.doubted, outbox.counts("spring").doubted) == (0, 3, 0)
        assert busy < idle + 10


@pytest.mark.parametrize("hop", ["relay.test", None], ids=["in the queue", "set aside"])
def test_what_is_late_expires_however_much_is_before_it(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, hop: str | None
) -> None:
    """Nothing goes to its destination: no claim comes to it."""
    transact, now = outbox._store.transact, time.time()
    _ = held(outbox, 600, 1, now)
    transact(destinations.hold_back, ["relay.test"], now)
    late = outbox.put(letter(to="x@0.down.test"), expires=timedelta(hours=1))
    transact(for_long, now + 290)
    while not transact(queue.claim, Claim(OWNER, 128, now, hop=hop)).is_all:
        pass
    worker = Working(outbox._core, "smtp://127.0.0.1:9", Client, 1, None)
    monkeypatch.setattr(outbox._store, "now", lambda: now + 2 * HOUR)
    worker.tend()
    assert outbox.status(late).deliveries[0].state is State.EXPIRED
    assert outbox.counts() == {**dict.fromkeys(State, 0), State.EXPIRED: 1, State.WAITING: 600}


def test_a_timer_lets_expire_what_is_late(outbox: Outbox) -> None:
    """Where tasks send, and a server is down, nobody else does so."""
    several = [letter(str(n)) for n in range(1200)]
    late = [*outbox.put_many(several, expires=timedelta(microseconds=1))]
    assert outbox.reconcile() == []
    assert outbox.counts()[State.EXPIRED] == len(late)
