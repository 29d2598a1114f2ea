"""The pool's decisions: a rule each, any order of calls, and real threads and tasks on top."""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Any

import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smtpx._core.pool.decisions import (
    Changes,
    Decision,
    Open,
    Refusal,
    Refused,
    Slot,
    SlotState,
    Ticket,
    Use,
    Wait,
)
from smtpx._core.pool.state import PoolState
from smtpx.options import PoolLimits
from smtpx.pooling import CloseReason

NOTHING: Changes[str] = Changes((), ())


def pool(**limits: Any) -> PoolState[str]:
    """A pool with the limits that its test is about, and no others."""
    given: dict[str, Any] = {"idle_time": None, "age": None, "messages": None, "wait": None}
    return PoolState(PoolLimits(**(given | limits)))


def opening(state: PoolState[str], now: float = 0, messages: int = 1) -> Slot[str]:
    decision, changes = state.acquire(now, messages)
    assert isinstance(decision, Open)
    assert changes == NOTHING
    return decision.slot


def opened(
    state: PoolState[str], now: float = 0, *, messages: int = 1, mail_max: int | None = None
) -> Slot[str]:
    slot = opening(state, now, messages)
    decision, _ = state.opened(slot, now, connection="connection", mail_max=mail_max)
    assert isinstance(decision, Use)
    return slot


def reused(state: PoolState[str], now: float, messages: int = 1) -> Slot[str]:
    decision, _ = state.acquire(now, messages)
    assert isinstance(decision, Use)
    return decision.slot


def waiting(state: PoolState[str], now: float = 0, messages: int = 1) -> Ticket[str]:
    decision, _ = state.acquire(now, messages)
    assert isinstance(decision, Wait)
    return decision.ticket


def answer(ticket: Ticket[str]) -> Decision[str]:
    """What holds by now."""
    return ticket.decision


def closed(changes: Changes[str]) -> list[Slot[str]]:
    return list(changes.close)


def why(state: PoolState[str]) -> dict[CloseReason, int]:
    return dict(state.statistics().closed)


class TestOpening:
    def test_no_more_are_open_or_opening_than_may_be(self):
        state = pool(open=2)
        _, _ = opening(state), opened(state)
        _ = waiting(state)
        assert state.statistics().open == state.statistics().bound == 2

    def test_what_fails_to_open_makes_room_for_the_next_in_line(self):
        state = pool(open=1)
        slot, first, second = opening(state), waiting(state), waiting(state)
        assert state.failed(slot, 1) == Changes((), (first,))
        assert isinstance(first.decision, Open)
        assert isinstance(second.decision, Wait)

    def test_what_was_never_opened_is_not_the_faces_to_close(self):
        state = pool()
        assert state.failed(opening(state), 0) == NOTHING
        assert why(state) == {CloseReason.FAILED: 1}

    def test_the_connection_stays_with_its_slot(self):
        state = pool()
        slot = opened(state)
        _ = state.release(slot, 1)
        assert reused(state, 2).connection == "connection"

    def test_a_slot_that_opens_has_no_connection_yet(self):
        with pytest.raises(AssertionError, match="from `opened` on"):
            _ = opening(pool()).connection


class TestReuse:
    def test_the_most_recently_used_goes_first(self):
        state = pool()
        old, young = opened(state), opened(state)
        _ = state.release(old, 1)
        _ = state.release(young, 2)
        assert [reused(state, 3), reused(state, 3)] == [young, old]
        assert state.statistics().reused == 2

    def test_r10_what_is_not_usable_is_closed(self):
        state = pool()
        slot = opened(state)
        assert closed(state.release(slot, 1, usable=False)) == [slot]
        assert slot.state is SlotState.CLOSED
        assert why(state) == {CloseReason.BROKEN: 1}

    def test_the_least_recently_used_is_closed_when_too_many_are_idle(self):
        state = pool(idle=1)
        old, young = opened(state), opened(state)
        assert closed(state.release(old, 1)) == []
        assert closed(state.release(young, 2)) == [old]
        assert why(state) == {CloseReason.SURPLUS: 1}

    def test_none_is_kept_idle_where_none_may_be(self):
        state = pool(idle=0)
        slot = opened(state)
        assert closed(state.release(slot, 1)) == [slot]

    def test_but_it_goes_to_who_waits(self):
        state = pool(idle=0, open=1)
        slot, ticket = opened(state), waiting(state)
        assert state.release(slot, 1) == Changes((), (ticket,))
        assert ticket.decision == Use(slot, 1)

    def test_a_dead_one_is_opened_again_in_its_place(self):
        state = pool(open=1)
        dead = opened(state)
        _ = state.release(dead, 1)
        dead = reused(state, 2, messages=7)
        ticket = waiting(state, 3)
        decision, changes = state.reopen(dead, 3)
        assert isinstance(decision, Open)
        assert decision.messages == 7
        assert changes == Changes((dead,), ())
        assert why(state) == {CloseReason.STALE: 1}
        assert isinstance(ticket.decision, Wait)
        answer, _ = state.opened(decision.slot, 4, connection="another")
        assert answer == Use(decision.slot, 7)


class TestTime:
    def test_idle_time(self):
        state = pool(idle_time=30)
        slot = opened(state)
        _ = state.release(slot, 10)
        assert state.evict(39.9) == NOTHING
        assert closed(state.evict(40)) == [slot]
        assert why(state) == {CloseReason.IDLE_TIME: 1}

    def test_use_ends_idle_time(self):
        state = pool(idle_time=30)
        slot = opened(state)
        _ = state.release(slot, 10)
        assert reused(state, 39) is slot
        assert state.evict(100) == NOTHING
        _ = state.release(slot, 110)
        assert state.evict(139.9) == NOTHING
        assert closed(state.evict(140)) == [slot]

    def test_age_counts_from_the_opening(self):
        state = pool(age=300)
        slot = opening(state, 0)
        _ = state.opened(slot, 5, connection="")
        _ = state.release(slot, 304)
        assert state.evict(304.9) == NOTHING
        decision, changes = state.acquire(305)
        assert isinstance(decision, Open)
        assert closed(changes) == [slot]
        assert why(state) == {CloseReason.AGE: 1}

    def test_age_while_busy(self):
        state = pool(age=300)
        slot = opened(state)
        assert closed(state.release(slot, 300)) == [slot]

    def test_without_limits_nothing_expires(self):
        state = pool()
        _ = state.release(opened(state), 0)
        assert state.evict(1e9) == NOTHING

    def test_a_clock_read_before_the_lock_was_had_is_taken_for_the_last(self):
        state = pool(idle_time=30, rate=1)
        slot = opened(state, 100)
        _ = state.release(slot, 99)
        decision, _ = state.acquire(50)
        assert isinstance(decision, Wait)
        assert decision.until == 101
        _ = state.cancel(decision.ticket, 50)
        assert state.evict(129.9) == NOTHING
        assert closed(state.evict(130)) == [slot]


class TestMessages:
    def test_a_connection_carries_so_many(self):
        state = pool(messages=2)
        slot = opened(state)
        assert closed(state.release(slot, 1)) == []
        assert closed(state.release(reused(state, 2), 3)) == [slot]
        assert why(state) == {CloseReason.MESSAGES: 1}

    def test_what_was_not_sent_does_not_count(self):
        state = pool(messages=1)
        slot = opened(state)
        assert closed(state.release(slot, 1, messages=0)) == []
        assert reused(state, 2) is slot

    def test_rfc9422_mailmax_lowers_it_for_that_connection(self):
        state = pool(messages=10)
        slot = opened(state, messages=5, mail_max=3)
        assert slot.granted == 3
        assert closed(state.release(slot, 1, messages=3)) == [slot]
        assert opened(state, messages=5).granted == 5

    def test_mailmax_never_raises_it(self):
        slot = opened(pool(messages=2), messages=5, mail_max=9)
        assert slot.granted == 2

    def test_a_divided_message_counts_as_often_as_it_was_sent(self):
        state = pool(messages=3)
        slot = opened(state)
        assert state.release(slot, 1, messages=2).close == ()
        assert slot.left() == 1


class TestRate:
    def test_messages_wait_for_their_tokens(self):
        state = pool(rate=2, burst=3)
        slots = [opened(state) for _ in range(3)]
        decision, _ = state.acquire(0)
        assert isinstance(decision, Wait)
        assert decision.until == 0.5
        assert state.evict(0.4) == NOTHING
        assert state.evict(0.5).answered == (decision.ticket,)
        assert isinstance(decision.ticket.decision, Open)
        assert state.statistics().rate_seconds == 0.5
        assert state.statistics().connection_seconds == 0
        assert len(slots) == 3

    def test_no_connection_is_taken_before_there_is_a_token(self):
        state = pool(rate=1, open=5)
        _ = state.release(opened(state), 0)
        _ = waiting(state, 0)
        assert state.statistics().idle == state.statistics().open == 1

    def test_a_group_takes_what_there_is(self):
        state = pool(rate=2, burst=10)
        slot = opened(state, messages=64)
        assert slot.granted == 10
        _ = state.release(slot, 0, messages=10)
        assert state.acquire(1.5, 64)[0] == Use(slot, 3)

    def test_rounding_costs_no_token(self):
        state = pool(rate=100, burst=5)
        slot = opened(state, messages=5)
        _ = state.release(slot, 0, messages=5)
        assert state.acquire(0.03, 5)[0] == Use(slot, 3)

    def test_what_is_not_sent_is_put_back(self):
        state = pool(rate=1, burst=2)
        slot = opened(state, messages=2)
        ticket = waiting(state)
        assert state.release(slot, 0, messages=1).answered == (ticket,)
        assert isinstance(ticket.decision, Use)

    def test_so_it_is_when_the_opening_fails(self):
        state = pool(rate=1)
        slot, ticket = opening(state), waiting(state)
        assert state.failed(slot, 0).answered == (ticket,)

    def test_only_the_first_in_line_waits_for_the_token(self):
        state = pool(rate=1, wait=60)
        _ = opened(state)
        first, second = waiting(state), waiting(state)
        assert [first.decision, second.decision] == [Wait(first, 1), Wait(second, 60)]
        # When it has gone, the next is told, and nobody else wakes up.
        assert state.evict(1).answered == (first, second)
        assert second.decision == Wait(second, 2)


class TestWaiting:
    def test_first_come_first_served(self):
        state = pool(open=1)
        slot = opened(state)
        queue = [waiting(state, now) for now in range(4)]
        for ticket in queue:
            assert state.release(slot, 5).answered == (ticket,)
            assert ticket.decision == Use(slot, 1)

    def test_a_newcomer_does_not_overtake(self):
        state = pool(open=2, rate=1)
        _ = opened(state)
        first = waiting(state)
        # The token has come, but the first in line has not called yet.
        decision, changes = state.acquire(1)
        assert changes.answered == (first,)
        assert isinstance(first.decision, Open)
        assert isinstance(decision, Wait)

    def test_nobody_waits_longer_than_may_be(self):
        state = pool(open=1, wait=10)
        slot = opened(state)
        ticket = waiting(state, 5)
        assert answer(ticket) == Wait(ticket, 15)
        assert state.evict(15).answered == (ticket,)
        assert answer(ticket) == Refused(Refusal.TIMED_OUT)
        assert state.statistics().timed_out == 1
        assert state.statistics().connection_seconds == 10
        assert state.release(slot, 16) == NOTHING

    def test_who_can_be_served_does_not_time_out(self):
        state = pool(rate=1, wait=1)
        _ = opened(state)
        ticket = waiting(state)
        _ = state.evict(7)
        assert isinstance(ticket.decision, Open)

    def test_who_withdraws_is_passed_over(self):
        state = pool(open=1)
        slot = opened(state)
        first, second = waiting(state), waiting(state)
        assert state.cancel(first, 1) == NOTHING
        assert state.release(slot, 1).answered == (second,)
        assert state.statistics().cancelled == 1
        assert first.decision == Refused(Refusal.CANCELLED)

    def test_who_withdraws_lets_the_next_know_when_its_turn_comes(self):
        state = pool(rate=1)
        _ = opened(state)
        first, second = waiting(state), waiting(state)
        assert state.cancel(first, 0.5).answered == (second,)
        assert second.decision == Wait(second, 1)

    @pytest.mark.parametrize("again", [1, 2])
    def test_httpcore_785_a_slot_answered_and_not_taken_comes_back(self, again: int):
        state = pool(open=1, messages=1, rate=1, burst=9)
        slot = opened(state)
        first, second = waiting(state), waiting(state)
        _ = state.release(slot, 1, messages=0)
        assert first.decision == Use(slot, 1)
        for _ in range(again):
            _ = state.cancel(first, 1)
        assert second.decision == Use(slot, 1)
        assert slot.messages == 0

    def test_it_comes_back_though_it_was_answered_this_very_moment(self):
        state = pool(rate=1)
        _ = opened(state)
        first, second = waiting(state), waiting(state)
        assert state.cancel(first, 1).answered == (second,)
        assert isinstance(second.decision, Open)

    def test_so_does_leave_to_open(self):
        state = pool(open=1)
        slot = opening(state)
        first, second = waiting(state), waiting(state)
        _ = state.failed(slot, 1)
        assert isinstance(first.decision, Open)
        assert state.cancel(first, 1).answered == (second,)
        assert isinstance(second.decision, Open)
        assert state.statistics().open == 1


class TestLearning:
    def test_the_bound_is_lowered_to_what_is_open(self):
        state = pool(open=5, recovery=60)
        _, _, fifth = opened(state), opened(state), opening(state)
        state.refused_for_load(fifth, 10)
        assert state.statistics().bound == 2
        ticket = waiting(state, 10)
        assert state.failed(fifth, 10) == NOTHING
        assert ticket.decision == Wait(ticket, 70)
        assert state.statistics().refused_for_load == 1

    def test_it_rises_step_by_step(self):
        state = pool(open=3, recovery=60)
        slot = opening(state)
        state.refused_for_load(slot, 0)
        _ = state.failed(slot, 0)
        bounds = []
        for now in (0, 59, 60, 119, 120, 180):
            _ = state.evict(now)
            bounds.append(state.statistics().bound)
        assert bounds == [1, 1, 2, 2, 3, 3]

    def test_who_waits_gets_the_step(self):
        state = pool(open=2, recovery=60)
        _, refused = opened(state), opening(state)
        state.refused_for_load(refused, 0)
        _ = state.failed(refused, 0)
        ticket = waiting(state, 0)
        assert state.evict(60).answered == (ticket,)
        assert isinstance(ticket.decision, Open)

    def test_one_is_always_tried(self):
        state = pool(open=5)
        slot = opening(state)
        state.refused_for_load(slot, 0)
        assert state.statistics().bound == 1
        _ = state.failed(slot, 0)
        _ = opening(state)

    def test_a_connection_refused_in_use_does_not_count_as_open(self):
        state = pool(open=5)
        _, refused = opened(state), opened(state)
        state.refused_for_load(refused, 0)
        assert state.statistics().bound == 1
        assert closed(state.release(refused, 0)) == [refused]
        assert why(state) == {CloseReason.SURPLUS: 1}

    def test_what_the_server_takes_after_all_it_can_bear(self):
        state = pool(open=5)
        refused, *others = [opening(state) for _ in range(4)]
        state.refused_for_load(refused, 0)
        _ = state.failed(refused, 0)
        for slot in others:
            _ = state.opened(slot, 1, connection="")
        assert state.statistics().bound == 3
        assert [closed(state.release(slot, 2)) for slot in others] == [[], [], []]


class TestClosing:
    def test_drain(self):
        state = pool(open=3)
        idle, busy, late = opened(state), opened(state), opening(state)
        ticket = waiting(state)
        _ = state.cancel(ticket, 0)
        _ = state.release(idle, 1)
        assert closed(state.close(2)) == [idle]
        assert state.statistics().open == 2
        assert state.acquire(3)[0] == Refused(Refusal.CLOSED)
        assert isinstance(state.opened(late, 4, connection="")[0], Use)
        assert closed(state.release(busy, 5)) == [busy]
        assert closed(state.release(late, 6)) == [late]
        assert not state.statistics().open
        assert why(state) == {CloseReason.SHUTDOWN: 3}
        assert state.statistics().refused == 1

    def test_who_waits_is_turned_away(self):
        state = pool(open=1)
        slot, ticket = opened(state), waiting(state)
        assert state.close(1) == Changes((), (ticket,))
        assert ticket.decision == Refused(Refusal.CLOSED)
        assert closed(state.release(slot, 2)) == [slot]

    def test_abort(self):
        state = pool(open=3)
        idle, busy, late = opened(state), opened(state), opening(state)
        _ = state.release(idle, 1)
        assert closed(state.close(2, abort=True)) == [idle, busy]
        assert not state.statistics().open
        # What their holders still report changes nothing.
        assert state.release(busy, 3) == NOTHING
        assert state.reopen(busy, 3) == (Refused(Refusal.CLOSED), NOTHING)
        assert state.opened(late, 3, connection="") == (Refused(Refusal.CLOSED), NOTHING)
        assert state.failed(late, 3) == NOTHING

    def test_a_drain_can_still_be_aborted(self):
        state = pool()
        slot = opened(state)
        assert state.close(1) == NOTHING
        assert closed(state.close(2, abort=True)) == [slot]
        assert state.close(3, abort=True) == NOTHING

    def test_after_fork_the_child_has_nothing_and_closes_nothing(self):
        state = pool(open=3, rate=1, burst=3)
        idle, busy, late = opened(state), opened(state), opening(state)
        ticket = waiting(state)
        _ = state.release(idle, 0)
        assert state.forget() == ["connection", "connection"]
        assert state.statistics() == pool(open=3).statistics()
        assert state.release(busy, 1) == state.failed(late, 1) == NOTHING
        assert state.cancel(ticket, 1) == NOTHING
        assert opened(state, 1) not in (idle, busy, late)

    def test_what_is_closed_is_closed_in_the_child_too(self):
        state = pool()
        _ = state.close(0)
        assert state.forget() == []
        assert state.acquire(1)[0] == Refused(Refusal.CLOSED)


@pytest.mark.parametrize(
    "report",
    [
        lambda state, slot: state.release(slot, 1),
        lambda state, slot: state.reopen(slot, 1),
        lambda state, slot: state.failed(slot, 1),
        lambda state, slot: state.opened(slot, 1, connection=""),
    ],
)
def test_httpcore_1110_who_does_not_hold_a_slot_cannot_report_about_it(
    report: Callable[[PoolState[str], Slot[str]], object],
):
    state = pool()
    slot = opened(state)
    _ = state.release(slot, 0)
    with pytest.raises(AssertionError, match="is reported idle"):
        _ = report(state, slot)


class TestLimits:
    def test_every_bound_has_a_default_but_the_rate(self):
        limits = PoolLimits()
        assert limits.open
        assert limits.idle
        assert limits.idle_time
        assert limits.age
        assert limits.messages
        assert limits.wait
        assert limits.rate is None
        assert PoolState[str]().statistics().bound == limits.open

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *[(name, 0) for name in ("open", "messages", "burst", "idle_time", "age", "rate")],
            *[(name, -1) for name in ("open", "idle", "wait", "recovery")],
            *[(name, math.nan) for name in ("idle_time", "age", "wait", "recovery", "rate")],
            *[(name, math.inf) for name in ("idle_time", "age", "wait", "recovery", "rate")],
        ],
    )
    def test_a_limit_that_limits_nothing_or_all_is_refused(self, name: str, value: float):
        with pytest.raises(ValueError, match=name):
            _ = PoolLimits(**{name: value})  # type: ignore[arg-type] # some are whole numbers

    def test_a_rate_that_nobody_waits_for_is_refused(self):
        with pytest.raises(ValueError, match="within wait=30"):
            _ = PoolLimits(rate=1 / 60, wait=30)


class Wire:
    """What a face opens: it knows whether two write to it at once."""

    def __init__(self) -> None:
        self.users = 0
        self.closed = False

    def send(self) -> None:
        assert not self.closed
        self.users += 1
        assert self.users == 1
        self.users -= 1


class Threads:
    """How a blocking face uses the state: one lock, and a condition for each waiting caller."""

    def __init__(self, limits: PoolLimits) -> None:
        self.state: PoolState[Wire] = PoolState(limits)
        self.lock = threading.Lock()
        self.conditions: dict[Ticket[Wire], threading.Condition] = {}
        self.wires: list[Wire] = []

    def publish(self, changes: Changes[Wire]) -> list[Wire]:
        """Under the lock; what it returns is closed outside."""
        for ticket in changes.answered:
            if ticket in self.conditions:
                self.conditions[ticket].notify()
        return [slot.connection for slot in changes.close]

    def acquire(self) -> Slot[Wire]:
        doomed: list[Wire] = []
        try:
            with self.lock:
                decision, changes = self.state.acquire(monotonic())
                doomed += self.publish(changes)
                if isinstance(decision, Wait):
                    decision = self.wait(decision.ticket, doomed)
        finally:
            self.close_all(doomed)
        match decision:
            case Use(slot):
                return slot
            case Open(slot):
                return self.open(slot)
            case Refused(refusal):
                raise TimeoutError(refusal.value)
        raise AssertionError("has been waited for")

    def wait(self, ticket: Ticket[Wire], doomed: list[Wire]) -> Any:
        mine = self.conditions[ticket] = threading.Condition(self.lock)
        try:
            while isinstance(ticket.decision, Wait):
                until = ticket.decision.until
                _ = mine.wait(None if until is None else max(0, until - monotonic()))
                if isinstance(ticket.decision, Wait):
                    doomed += self.publish(self.state.evict(monotonic()))
        except BaseException:  # KeyboardInterrupt
            doomed += self.publish(self.state.cancel(ticket, monotonic()))
            raise
        finally:
            del self.conditions[ticket]
        return ticket.decision

    def open(self, slot: Slot[Wire]) -> Slot[Wire]:
        wire = None
        try:
            wire = Wire()
            self.wires.append(wire)
        finally:
            with self.lock:
                if wire is None:
                    doomed = self.publish(self.state.failed(slot, monotonic()))
                else:
                    _, changes = self.state.opened(slot, monotonic(), connection=wire)
                    doomed = self.publish(changes)
            self.close_all(doomed)
        return slot

    @contextmanager
    def slot(self):
        slot = self.acquire()
        usable = False
        try:
            yield slot.connection
            usable = True
        finally:
            with self.lock:
                doomed = self.publish(self.state.release(slot, monotonic(), usable=usable))
            self.close_all(doomed)

    def close_all(self, doomed: list[Wire]) -> None:
        for wire in doomed:
            wire.closed = True


class Tasks:
    """How an asyncio face does: no lock, for nothing is awaited between a call and its changes."""

    def __init__(self, limits: PoolLimits) -> None:
        self.state: PoolState[Wire] = PoolState(limits)
        self.futures: dict[Ticket[Wire], asyncio.Future[None]] = {}
        self.wires: list[Wire] = []

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def publish(self, changes: Changes[Wire]) -> None:
        for slot in changes.close:
            slot.connection.closed = True
        for ticket in changes.answered:
            future = self.futures.get(ticket)
            if future is not None and not future.done():
                future.set_result(None)

    async def acquire(self) -> Slot[Wire]:
        decision, changes = self.state.acquire(self.now())
        self.publish(changes)
        if isinstance(decision, Wait):
            decision = await self.wait(decision.ticket)
        match decision:
            case Use(slot):
                return slot
            case Open(slot):
                return await self.open(slot)
            case Refused(refusal):
                raise TimeoutError(refusal.value)
        raise AssertionError("has been waited for")

    async def wait(self, ticket: Ticket[Wire]) -> Any:
        loop = asyncio.get_running_loop()
        try:
            while isinstance(ticket.decision, Wait):
                future = self.futures[ticket] = loop.create_future()
                until = ticket.decision.until
                timer = None if until is None else loop.call_at(until, self.evict)
                try:
                    await future
                finally:
                    if timer is not None:
                        timer.cancel()
        except BaseException:  # CancelledError, perhaps after the answer
            self.publish(self.state.cancel(ticket, self.now()))
            raise
        finally:
            _ = self.futures.pop(ticket, None)
        return ticket.decision

    def evict(self) -> None:
        self.publish(self.state.evict(self.now()))

    async def open(self, slot: Slot[Wire]) -> Slot[Wire]:
        wire = None
        try:
            await asyncio.sleep(0)
            wire = Wire()
            self.wires.append(wire)
        finally:
            if wire is None:
                self.publish(self.state.failed(slot, self.now()))
            else:
                _, changes = self.state.opened(slot, self.now(), connection=wire)
                self.publish(changes)
        return slot

    @asynccontextmanager
    async def slot(self):
        slot = await self.acquire()
        usable = False
        try:
            yield slot.connection
            usable = True
        finally:
            self.publish(self.state.release(slot, self.now(), usable=usable))


# A caller who is never called would wait for ever: the test's own timeout is the assertion.
CROWD = PoolLimits(wait=None, open=3, idle=2, messages=50, burst=20, rate=5000)


def test_threads_share_the_connections():
    face = Threads(CROWD)

    def work() -> None:
        for number in range(100):
            try:
                with face.slot() as wire:
                    wire.send()
                    if number % 10 == 0:
                        raise ConnectionError
            except ConnectionError:
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = face.state.statistics()
    assert figures.acquired == 800
    assert figures.closed[CloseReason.BROKEN] == 80
    assert (figures.busy, figures.opening, figures.waiting) == (0, 0, 0)
    assert sum(not wire.closed for wire in face.wires) == figures.idle
    face.close_all(face.publish(face.state.close(monotonic())))
    assert all(wire.closed for wire in face.wires)


def test_a_thread_is_told_when_it_has_waited_too_long():
    face = Threads(PoolLimits(open=1, wait=0.02))
    with face.slot(), pytest.raises(TimeoutError, match="timed out"), face.slot():
        pass
    assert face.state.statistics().idle == 1


def test_tasks_share_the_connections_and_may_be_cancelled_anywhere():
    async def work(face: Tasks) -> None:
        for _ in range(20):
            async with face.slot() as wire:
                wire.send()
                await asyncio.sleep(0)
                wire.send()

    async def crowd() -> Tasks:
        face = Tasks(CROWD)
        tasks = [asyncio.create_task(work(face)) for _ in range(40)]
        for step, task in enumerate(tasks[::2]):
            for _ in range(step):
                await asyncio.sleep(0)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[1::2] == [None] * 20
        face.publish(face.state.close(face.now()))
        return face

    face = asyncio.run(crowd())
    assert face.futures == {}
    assert not face.state.statistics().open
    assert all(wire.closed for wire in face.wires)
    figures = face.state.statistics()
    assert figures.acquired >= 400
    assert figures.cancelled > 0


class PoolMachine(RuleBasedStateMachine):
    """Any order of calls. The model knows callers, and counts messages, time and tokens anew.

    Times are whole 64ths of a second and intervals powers of two: the model's sums are exact.
    """

    @stateful.initialize(
        limits=st.builds(
            PoolLimits,
            open=st.integers(1, 4),
            idle=st.integers(0, 4),
            idle_time=st.sampled_from([None, 0.5, 4.0]),
            age=st.sampled_from([None, 2.0, 8.0]),
            messages=st.sampled_from([None, 1, 3, 10]),
            rate=st.sampled_from([None, 0.5, 2.0, 16.0]),
            burst=st.sampled_from([1, 2, 5]),
            wait=st.sampled_from([None, 2.0, 16.0]),
            recovery=st.sampled_from([0.25, 4.0]),
        )
    )
    def start(self, limits: PoolLimits) -> None:
        self.limits = limits
        self.state: PoolState[int] = PoolState(limits)
        self.now = 0.0
        self.begin()
        self.tokens = float(limits.burst)
        self.closing = False

    def begin(self) -> None:
        """As at the start, and after a fork."""
        self.opening: dict[Slot[int], int] = {}  # … and what the holder may send
        self.busy: dict[Slot[int], int] = {}
        self.idle: list[Slot[int]] = []
        self.gone: set[Slot[int]] = set()
        self.carried: dict[Slot[int], int] = {}
        self.most: dict[Slot[int], float] = {}
        self.born: dict[Slot[int], float] = {}
        self.rested: dict[Slot[int], float] = {}
        self.queue: list[Ticket[int]] = []
        self.untaken: set[Ticket[int]] = set()
        self.asked = self.granted = self.reused = self.created = 0
        self.waited = 0.0

    # What the face does.

    def carry_out(self, changes: Changes[int]) -> None:
        for slot in changes.close:
            assert slot not in self.gone, "closed twice"
            assert slot not in self.opening
            self.forget(slot)
        assert len(set(changes.answered)) == len(changes.answered)
        for ticket in sorted(changes.answered, key=lambda ticket: ticket.order):
            if not isinstance(ticket.decision, Wait):
                self.settled(ticket)

    def settled(self, ticket: Ticket[int]) -> None:
        decision = ticket.decision
        if isinstance(decision, Use | Open):
            assert self.queue[0] is ticket, "not first in, first out"
            self.untaken.add(ticket)
            self.given(decision)
        self.queue.remove(ticket)

    def given(self, decision: Use[int] | Open[int]) -> None:
        slot, messages = decision.slot, decision.messages
        assert messages >= 1
        assert not self.closing
        self.spend(messages)
        self.granted += 1
        if isinstance(decision, Open):
            self.create(slot, messages)
            figures = self.state.statistics()
            assert figures.open <= figures.bound
        else:
            self.reused += 1
            assert slot is self.idle.pop(), "not last in, first out"
            self.busy[slot] = messages
            assert self.now < self.born[slot] + (self.limits.age or math.inf)
            assert self.now < self.rested[slot] + (self.limits.idle_time or math.inf)
        assert self.carried[slot] + (self.busy | self.opening)[slot] <= self.most[slot]

    def create(self, slot: Slot[int], messages: int) -> None:
        assert slot not in self.most
        self.opening[slot] = messages
        self.carried[slot] = 0
        self.most[slot] = self.limits.messages or math.inf
        self.created += 1

    def forget(self, slot: Slot[int]) -> None:
        _ = self.opening.pop(slot, None), self.busy.pop(slot, None)
        if slot in self.idle:
            self.idle.remove(slot)
        self.gone.add(slot)
        assert slot.state is SlotState.CLOSED

    def spend(self, messages: int) -> None:
        if self.limits.rate:
            self.tokens = min(self.limits.burst, self.tokens - messages)
            assert self.tokens >= 0, "faster than the rate"

    def held(self) -> list[Slot[int]]:
        """Slots of callers who know that they have them."""
        unknown = {t.decision.slot for t in self.untaken if isinstance(t.decision, Use | Open)}
        return [slot for slot in self.busy if slot not in unknown]

    # Time.

    def go_to(self, now: float) -> None:
        elapsed = now - self.now
        self.now = now
        if self.limits.rate:
            self.tokens = min(self.limits.burst, self.tokens + elapsed * self.limits.rate)
        self.waited += elapsed * len(self.queue)
        # All that time can do at this moment is done before anything else.
        changes = self.state.evict(now)
        assert set(changes.close) == {slot for slot in self.idle if self.expiry(slot) <= now}
        self.carry_out(changes)

    def expiry(self, slot: Slot[int]) -> float:
        of_age = self.born[slot] + (self.limits.age or math.inf)
        return min(of_age, self.rested[slot] + (self.limits.idle_time or math.inf))

    @rule(ticks=st.integers(1, 64) | st.sampled_from([256, 1024]))
    def time_passes(self, ticks: int) -> None:
        self.go_to(self.now + ticks / 64)

    @precondition(lambda self: self.idle)
    @rule()
    def the_first_expires(self) -> None:
        moment = min(self.expiry(slot) for slot in self.idle)
        if moment < math.inf:
            self.go_to(moment)

    @precondition(lambda self: self.queue)
    @rule()
    def the_first_in_line_wakes_up(self) -> None:
        moments = [
            (ticket.decision.until, ticket.order, ticket)
            for ticket in self.queue
            if isinstance(ticket.decision, Wait) and ticket.decision.until is not None
        ]
        if moments:
            moment, _, ticket = min(moments)
            assert moment > self.now, "nobody is told to come back at once"
            before = ticket.decision
            self.go_to(moment)
            assert ticket.decision != before, "whoever was told to come back finds news"

    @rule(back=st.integers(1, 640))
    def a_clock_read_too_early(self, back: int) -> None:
        self.carry_out(self.state.evict(self.now - back / 64))

    # Callers.

    @rule(messages=st.sampled_from([1, 1, 1, 2, 64]))
    def acquire(self, messages: int) -> None:
        self.asked += 1
        decision, changes = self.state.acquire(self.now, messages)
        if isinstance(decision, Wait):
            assert decision.ticket not in changes.answered
            self.queue.append(decision.ticket)
        elif isinstance(decision, Refused):
            assert self.closing
        else:
            assert decision.messages <= messages
            assert not self.queue
            self.given(decision)
        self.carry_out(changes)

    @precondition(lambda self: self.untaken)
    @rule(data=st.data())
    def an_answer_arrives(self, data) -> None:
        order = data.draw(st.sampled_from(sorted(ticket.order for ticket in self.untaken)))
        self.untaken = {ticket for ticket in self.untaken if ticket.order != order}

    @precondition(lambda self: self.queue or self.untaken)
    @rule(data=st.data())
    def cancel(self, data) -> None:
        callers = {ticket.order: ticket for ticket in [*self.queue, *self.untaken]}
        ticket = callers[data.draw(st.sampled_from(sorted(callers)))]
        decision = ticket.decision
        if isinstance(decision, Wait):
            self.queue.remove(ticket)
        elif isinstance(decision, Use | Open) and decision.slot not in self.gone:
            self.untaken.remove(ticket)
            self.spend(-decision.messages)
            if isinstance(decision, Open):
                self.gone.add(decision.slot)
                del self.opening[decision.slot]
            else:
                del self.busy[decision.slot]
                self.rests(decision.slot)
        else:
            self.untaken.discard(ticket)
        self.carry_out(self.state.cancel(ticket, self.now))
        assert ticket.decision == Refused(Refusal.CANCELLED) or self.closing

    def rests(self, slot: Slot[int]) -> None:
        """It is idle, unless `Changes` say otherwise."""
        self.idle.append(slot)
        self.rested[slot] = self.now

    def openings(self) -> list[Slot[int]]:
        unknown = {t.decision.slot for t in self.untaken if isinstance(t.decision, Use | Open)}
        return [slot for slot in self.opening if slot not in unknown]

    @precondition(lambda self: self.openings())
    @rule(data=st.data(), mail_max=st.sampled_from([None, 1, 2, 20]), refused=st.booleans())
    def the_opening_ends(self, data, mail_max: int | None, refused: bool) -> None:
        slot = data.draw(st.sampled_from(self.openings()))
        if data.draw(st.booleans()):
            self.most[slot] = min(self.most[slot], mail_max or math.inf)
            messages = int(min(self.opening.pop(slot), self.most[slot]))
            self.spend(messages - slot.granted)
            self.busy[slot], self.born[slot] = messages, self.now
            answer, changes = self.state.opened(
                slot, self.now, connection=self.created, mail_max=mail_max
            )
            assert answer == Use(slot, messages)
            assert slot.connection == self.created
        else:
            if refused:
                self.refused_for_load(slot)
            self.spend(-self.opening.pop(slot))
            self.gone.add(slot)
            changes = self.state.failed(slot, self.now)
        self.carry_out(changes)

    def refused_for_load(self, slot: Slot[int]) -> None:
        before = self.state.statistics().bound
        others = len(self.busy) + len(self.idle) - (slot in self.busy)
        self.state.refused_for_load(slot, self.now)
        assert self.state.statistics().bound == max(1, min(before, others))

    @precondition(lambda self: self.held())
    @rule(data=st.data(), usable=st.booleans(), refused=st.booleans())
    def release(self, data, usable: bool, refused: bool) -> None:
        slot = data.draw(st.sampled_from(self.held()))
        sent = data.draw(st.integers(0, min(self.busy[slot], 5)) | st.just(self.busy[slot]))
        if refused:
            self.refused_for_load(slot)
        self.spend(sent - self.busy.pop(slot))
        self.carried[slot] += sent
        self.rests(slot)
        changes = self.state.release(slot, self.now, usable=usable, messages=sent)
        assert (slot in changes.close) or usable
        self.carry_out(changes)

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def reopen(self, data) -> None:
        dead = data.draw(st.sampled_from(self.held()))
        decision, changes = self.state.reopen(dead, self.now)
        assert isinstance(decision, Open)
        assert decision.messages == self.busy[dead]
        assert dead in changes.close
        self.create(decision.slot, decision.messages)
        self.carry_out(changes)

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def a_late_report(self, data) -> None:
        """… after an abort or a fork."""
        slots = sorted(self.gone, key=id)
        slot = slots[data.draw(st.integers(0, len(slots) - 1))]
        self.carry_out(self.state.release(slot, self.now))
        self.carry_out(self.state.failed(slot, self.now))

    # The end.

    @precondition(lambda self: self.created > 3)
    @rule(abort=st.booleans())
    def close(self, abort: bool) -> None:
        self.closing = True
        if abort:
            self.gone.update(self.opening)
            self.opening.clear()
        self.carry_out(self.state.close(self.now, abort=abort))
        assert not self.queue
        if abort:
            self.untaken.clear()
            assert not self.state.statistics().open

    @precondition(lambda self: self.created > 3)
    @rule()
    def fork(self) -> None:
        _ = self.state.forget()
        assert all(ticket.decision == Refused(Refusal.CANCELLED) for ticket in self.queue)
        gone = self.gone.union(self.opening, self.busy, self.idle)
        self.begin()
        self.gone = gone

    # What always holds.

    @invariant()
    def every_slot_is_in_one_state(self) -> None:
        assert {slot.state for slot in self.opening} <= {SlotState.OPENING}
        assert {slot.state for slot in self.busy} <= {SlotState.BUSY}
        assert {slot.state for slot in self.idle} <= {SlotState.IDLE}
        assert {slot.state for slot in self.gone} <= {SlotState.CLOSED}
        assert all(slot.granted == messages for slot, messages in self.busy.items())

    @invariant()
    def the_bounds_are_kept(self) -> None:
        figures = self.state.statistics()
        assert len(self.opening) + len(self.busy) + len(self.idle) <= self.limits.open
        assert len(self.idle) <= self.limits.idle
        assert 1 <= figures.bound <= self.limits.open

    @invariant()
    def nobody_waits_for_what_there_is(self) -> None:
        figures = self.state.statistics()
        for ticket in self.queue:
            assert isinstance(ticket.decision, Wait)
            room = figures.idle or figures.open < figures.bound
            assert not (room and (self.limits.rate is None or self.tokens >= 1))
            assert self.now < ticket.deadline

    @invariant()
    def the_figures_add_up(self) -> None:
        figures = self.state.statistics()
        assert figures.opening == len(self.opening)
        assert figures.busy == len(self.busy)
        assert figures.idle == len(self.idle)
        assert figures.open == figures.opening + figures.busy + figures.idle
        assert figures.waiting == len(self.queue)
        assert self.created == figures.open + sum(figures.closed.values())
        assert figures.acquired == self.granted
        assert figures.opened == len(self.born)
        assert figures.reused == self.reused
        turned_away = figures.refused + figures.timed_out + figures.cancelled
        assert self.asked == self.granted + figures.waiting + turned_away
        assert figures.connection_seconds + figures.rate_seconds == pytest.approx(self.waited)


TestAnyOrder = PoolMachine.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


class Caller:
    """Who may have a place, and knows it by what was decided."""

    def __init__(self) -> None:
        self.decision: Decision[str] | None = None

    def claims(self, place: Slot[Any] | Ticket[Any]) -> bool:
        decision = self.decision
        if isinstance(decision, Wait):
            if decision.ticket is place:
                return True
            decision = decision.ticket.decision
        return isinstance(decision, (Use, Open)) and decision.slot is place

    def acquire(self, state: PoolState[str], now: float = 0) -> Changes[str]:
        self.decision, changes = state.acquire(now, 1, weakref.ref(self))
        return changes

    def open(self, state: PoolState[str]) -> Slot[str]:
        _ = self.acquire(state)
        assert isinstance(self.decision, Open)
        _ = state.opened(self.decision.slot, 0, connection="connection")
        return self.decision.slot


class TestMending:
    """An interruption may end any call anywhere, and its caller with it."""

    def test_the_place_of_who_is_gone_is_found_again(self):
        state, gone, next_one = pool(open=1), Caller(), Caller()
        slot = gone.open(state)
        assert next_one.acquire(state) == NOTHING
        del gone
        changes = state.mend(1, torn=False)
        assert closed(changes) == [slot]
        assert next_one.claims(state._slots[0])
        assert why(state) == {CloseReason.BROKEN: 1}

    def test_who_is_opening_and_gone_leaves_nothing_to_close(self):
        state, gone = pool(open=1), Caller()
        _ = gone.acquire(state)
        del gone
        assert state.mend(1, torn=False) == NOTHING
        assert state.statistics().open == 0

    def test_who_waits_and_is_gone_holds_nobody_up(self):
        state, holder, gone, waiting_one = pool(open=1), Caller(), Caller(), Caller()
        slot = holder.open(state)
        _ = gone.acquire(state)
        _ = waiting_one.acquire(state)
        del gone
        _ = state.mend(1, torn=False)
        _ = state.release(slot, 1)
        assert waiting_one.claims(slot)

    def test_what_was_granted_and_never_learnt_is_taken_back(self):
        """The interruption came between the decision and whoever was to note it."""
        state, caller = pool(open=1), Caller()
        _ = state.acquire(0, 1, weakref.ref(caller))
        _ = state.mend(1, torn=True)
        assert state.statistics().open == 0

    def test_who_was_granted_a_place_while_waiting_keeps_it(self):
        state, holder, waiting_one = pool(open=1), Caller(), Caller()
        slot = holder.open(state)
        _ = waiting_one.acquire(state)
        _ = state.release(slot, 1)
        assert state.mend(1, torn=True).close == ()
        assert waiting_one.claims(slot)

    def test_what_was_not_carried_out_is_told_again(self):
        state, holder, waiting_one = pool(open=1), Caller(), Caller()
        slot = holder.open(state)
        _ = waiting_one.acquire(state)
        changes = state.release(slot, 1, usable=False)
        assert closed(changes) == [slot]
        again = state.mend(1, torn=True)
        assert again.close == changes.close
        assert again.answered == changes.answered

    def test_what_was_carried_out_is_not(self):
        state, holder = pool(open=1), Caller()
        slot = holder.open(state)
        _ = state.release(slot, 1, usable=False)
        assert state.mend(1, torn=False) == NOTHING
        assert state.evict(1) == NOTHING
        assert state.mend(1, torn=True) == NOTHING

    def test_an_idle_connection_stays_idle(self):
        state, holder = pool(open=1), Caller()
        slot = holder.open(state)
        _ = state.release(slot, 1)
        assert state.mend(1, torn=True) == NOTHING
        assert holder.acquire(state, 2) == NOTHING
        assert holder.claims(slot)
