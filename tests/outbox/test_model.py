"""The ledger against a dict: whatever is done to it, in whatever order."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from smtpx import Envelope
from smtpx.outbox import IdempotencyConflict, NotInOutbox, Outbox, State
from smtpx.outbox import _claiming as claiming
from smtpx.outbox import _queue as queue
from smtpx.outbox._claiming import Noted, OwnerLost, Ticket
from smtpx.outbox._destinations import Claim
from smtpx.outbox._queue import Claimed

OWNERS = ["first", "second"]
LATER = 10_000.0
places = st.integers(0, 3)
OUTCOMES = [State.ACCEPTED, State.REFUSED, State.WAITING, State.IN_DOUBT]
outcomes = st.sampled_from(OUTCOMES)


class Row:
    """What a delivery has to be."""

    def __init__(self, key: int, hold: bool) -> None:
        self.key, self.hold = key, hold
        self.state = State.WAITING
        self.owner: str | None = None
        """Who may still say something of it."""
        self.claimed = False
        self.sent: set[str] = set()
        """Who has let its last octet go."""
        self.id = ""
        self.tickets: list[Ticket] = []
        """Of its claims, the last of which may be valid."""
        self.doubts = 0
        """How many attempts may have been accepted that nobody told more of."""


class Ledger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.outbox = Outbox(f"sqlite:///{self.directory}/mail.db")
        self.store: Any = self.outbox._store
        connection: Any = vars(self.store)["_connection"]
        connection.execute("PRAGMA synchronous = OFF")
        self.rows: dict[str, Row] = {}
        self.living = set(OWNERS)
        for owner in OWNERS:
            self.store.transact(claiming.register, owner, 30.0, time.time())
        self.events: Counter[State] = Counter()

    def teardown(self) -> None:
        self.outbox.close()
        shutil.rmtree(self.directory)

    def nth(self, place: int) -> tuple[str, Row] | None:
        several = sorted(self.rows.items(), key=lambda each: each[1].key)
        return several[place % len(several)] if several else None

    @rule(key=places, hold=st.booleans(), text=st.integers(0, 3))
    def put(self, key: int, hold: bool, text: int) -> None:
        message = b"Subject: %d\r\n\r\n" % text, Envelope("a@example.org", "b@example.net")
        known = next((id for id, row in self.rows.items() if row.key == key), None)
        try:
            id = self.outbox.put(*message, key=f"{key}", on_doubt="hold" if hold else "resend")
        except IdempotencyConflict:
            assert known is not None
        else:
            assert known in (None, id)
            if known is None:
                self.rows[id] = Row(key, hold)
                self.rows[id].id = id

    @rule(owner=st.sampled_from(OWNERS))
    def begin(self, owner: str) -> None:
        if owner not in self.living:
            self.store.transact(claiming.register, owner, 30.0, time.time())
            self.living.add(owner)

    @rule(owner=st.sampled_from(OWNERS), most=st.integers(1, 3))
    def claim(self, owner: str, most: int) -> None:
        free = [r for r in self.rows.values() if r.state is State.WAITING and not r.claimed]
        wanted = Claim(owner=owner, most=most, now=time.time() + LATER)
        try:
            claimed = self.store.transact(queue.claim, wanted).deliveries
        except OwnerLost:
            assert owner not in self.living
            return
        assert owner in self.living
        assert len(claimed) == min(most, len(free))
        for one in claimed:
            assert isinstance(one, Claimed)
            row = self.rows[one.message]
            assert row in free
            assert bool(one.hold) == row.hold
            assert one.ticket not in row.tickets
            row.claimed, row.owner = True, owner
            row.tickets.append(one.ticket)

    @rule(owner=st.sampled_from(OWNERS))
    def claim_and_mark(self, owner: str) -> None:
        self.claim(owner, 3)
        several = sorted(self.rows.values(), key=lambda row: row.key)
        for place, row in enumerate(several):
            if row.claimed and row.owner == owner:
                self.mark(owner, place)

    @rule(owner=st.sampled_from(OWNERS), place=places, before=st.integers(0, 2))
    def mark(self, owner: str, place: int, before: int = 0) -> None:
        """By the last claim, or by one before it."""
        found = self.nth(place)
        if found is None or len(found[1].tickets) <= before:
            return
        row = found[1]
        mine = row.claimed and row.owner == owner and row.state in (State.WAITING, State.SENDING)
        mine = mine and before == 0
        ticket = row.tickets[-1 - before]
        try:
            (word,) = self.store.transact(claiming.mark, owner, [[ticket]], time.time())
        except OwnerLost:
            assert owner not in self.living
            return
        assert word == mine
        if word:
            assert not row.hold or row.sent <= {owner}, "held, and let go by two"
            row.sent.add(owner)
            row.state = State.SENDING

    @rule(owner=st.sampled_from(OWNERS), place=places)
    def withdraw(self, owner: str, place: int) -> None:
        """Between its claim and its mark, it is cancelled, retried, and claimed again."""
        found = self.nth(place)
        if found is None or not found[1].claimed or found[1].state is not State.WAITING:
            return
        self.cancel(place)
        self.retry(place)
        self.claim(owner, 3)
        self.mark(owner, place, 1)
        self.mark(owner, place)

    @rule(owner=st.sampled_from(OWNERS), place=places, before=st.integers(0, 2))
    def give_back(self, owner: str, place: int, before: int) -> None:
        found = self.nth(place)
        if found is None or len(found[1].tickets) <= before:
            return
        row = found[1]
        self.store.transact(claiming.release, owner, [row.tickets[-1 - before]])
        if row.owner == owner and row.state is State.WAITING and before == 0:
            row.claimed = False

    @rule(owner=st.sampled_from(OWNERS), place=places, outcome=outcomes, before=st.integers(0, 2))
    def note(self, owner: str, place: int, outcome: State, before: int = 0) -> None:
        found = self.nth(place)
        if found is None or len(found[1].tickets) <= before:
            return
        row = found[1]
        doubted = outcome is State.IN_DOUBT and not row.hold
        if doubted:
            outcome = State.WAITING
        said = Noted(row.tickets[-1 - before], outcome, time.time(), True, None, "", "", doubted)
        is_accepted = outcome is State.ACCEPTED
        if is_accepted:
            said = said._replace(whose=(row.id, "b@example.net"))
        is_mine = row.owner == owner and before == 0
        self.store.transact(claiming.note, owner, [said], time.time())
        if row.state is State.ACCEPTED or not (is_mine or is_accepted):
            return
        row.owner = None
        is_late = not (is_mine and row.claimed)
        row.doubts += doubted - (is_late and row.state is State.WAITING and row.doubts > 0)
        if is_late and outcome is State.IN_DOUBT:
            return
        if is_late and row.state is outcome is State.WAITING:
            return
        if row.doubts and outcome is State.REFUSED:
            outcome = State.IN_DOUBT
        row.state, row.claimed = outcome, False
        if outcome is State.WAITING:
            row.sent = set()  # It was said for certain that nobody has it.
        if outcome is not State.WAITING:
            self.events[outcome] += 1

    @rule(owner=st.sampled_from(OWNERS))
    def die(self, owner: str) -> None:
        changed = self.store.transact(claiming.reap, owner, None, time.time())
        expected = 0
        for row in self.rows.values():
            if row.owner == owner and row.claimed:
                row.claimed = False
                if row.state is State.WAITING:
                    row.owner = None
                if row.state is State.SENDING:
                    expected += 1
                    row.state = State.IN_DOUBT if row.hold else State.WAITING
                    row.doubts += not row.hold
                    self.events[State.IN_DOUBT] += row.hold
        assert changed == (expected if owner in self.living else 0)
        self.living.discard(owner)

    @rule(place=places)
    def cancel(self, place: int) -> None:
        if found := self.nth(place):
            id, row = found
            assert self.outbox.cancel(id) == (row.state is State.WAITING)
            if row.state is State.WAITING:
                row.state = State.IN_DOUBT if row.doubts else State.CANCELLED
                row.claimed, row.owner = False, None
                self.events[row.state] += 1

    @rule(place=places)
    def retry(self, place: int) -> None:
        if found := self.nth(place):
            id, row = found
            over = row.state in (State.REFUSED, State.EXPIRED, State.CANCELLED)
            waits = row.state is State.WAITING and not row.claimed
            assert self.outbox.retry(id) == (over or waits)
            if over or waits:
                row.state, row.owner = State.WAITING, None
                row.sent = set()

    @rule(place=places, accepted=st.booleans())
    def resolve(self, place: int, accepted: bool) -> None:
        if found := self.nth(place):
            id, row = found
            try:
                self.outbox.resolve(id, "b@example.net", "accepted" if accepted else "resend")
            except NotInOutbox:
                assert row.state is not State.IN_DOUBT
                return
            assert row.state is State.IN_DOUBT
            row.state, row.owner = State.ACCEPTED if accepted else State.WAITING, None
            row.doubts = 0 if accepted else max(row.doubts, 1)
            row.sent = set()
            self.events[State.ACCEPTED] += accepted

    @rule()
    def purge(self) -> None:
        time.sleep(0.001)
        over = (State.ACCEPTED, State.REFUSED, State.EXPIRED, State.CANCELLED)
        gone = [id for id, row in self.rows.items() if row.state in over]
        assert self.outbox.purge(older_than=timedelta(microseconds=1)) == len(gone)
        for id in gone:
            del self.rows[id]
        self.events.clear()  # They are forgotten, too.
        for event in self.outbox.events():
            self.events[event.state] += 1

    @invariant()
    def it_is_as_it_has_to_be(self) -> None:
        found = {each.submission: (each.state, each.doubted) for each in self.outbox.find()}
        assert found == {
            id: (row.state, row.doubts > 0 and row.state is not State.ACCEPTED)
            for id, row in self.rows.items()
        }
        counts = Counter(row.state for row in self.rows.values())
        told = self.outbox.counts()
        assert told == {state: counts[state] for state in State}
        under_way = (State.WAITING, State.SENDING)
        assert told.doubted == sum(
            row.doubts > 0 and row.state in under_way for row in self.rows.values()
        )

    @invariant()
    def its_events_say_what_happened(self) -> None:
        assert Counter(event.state for event in self.outbox.events()) == +self.events


@pytest.mark.parametrize("seed", range(6))
def test_a_long_walk(seed: int) -> None:
    """Hypothesis finds the short ways to a fault; this one goes far."""
    chance = random.Random(seed)
    ledger = Ledger()
    hold, owner = [False, True], [*OWNERS]
    steps: list[Callable[[], None]] = [
        lambda: ledger.put(chance.randrange(8), chance.choice(hold), chance.randrange(2)),
        lambda: ledger.begin(chance.choice(owner)),
        lambda: ledger.begin(chance.choice(owner)),
        lambda: ledger.claim(chance.choice(owner), chance.randrange(1, 4)),
        lambda: ledger.claim_and_mark(chance.choice(owner)),
        lambda: ledger.mark(chance.choice(owner), chance.randrange(8), chance.randrange(2)),
        lambda: ledger.withdraw(chance.choice(owner), chance.randrange(8)),
        lambda: ledger.give_back(chance.choice(owner), chance.randrange(8), chance.randrange(2)),
        lambda: ledger.note(chance.choice(owner), chance.randrange(8), chance.choice(OUTCOMES)),
        lambda: ledger.note(chance.choice(owner), chance.randrange(8), chance.choice(OUTCOMES)),
        lambda: ledger.note(chance.choice(owner), chance.randrange(8), State.WAITING, 1),
        lambda: ledger.note(chance.choice(owner), chance.randrange(8), State.ACCEPTED, 1),
        lambda: ledger.die(chance.choice(owner)),
        lambda: ledger.cancel(chance.randrange(8)),
        lambda: ledger.retry(chance.randrange(8)),
        lambda: ledger.resolve(chance.randrange(8), chance.choice(hold)),
    ]
    try:
        for step in range(300):
            chance.choice(steps)()
            if step % 100 == 99:
                ledger.purge()
            ledger.it_is_as_it_has_to_be()
            ledger.its_events_say_what_happened()
    finally:
        ledger.teardown()


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
