"""How a worker marks what it has claimed, and notes what became of it: operations of the ledger.

A delivery is claimed by an owner, and all that an owner does is fenced: it has an effect only as
long as the delivery is still its own, by that very claim. An acceptance alone is true whatever has
happened since, and settles the delivery. A claim says nothing about the server:
the state is "waiting" until the mark, so that a claimed delivery can be cancelled, or given to
another owner. Whoever claims it next, be it the same owner, has a ticket of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ._putting import AT_ONCE, count, moved, tell
from ._statements import Ask, Row, Statements, Tell, in_parts, marks
from .states import State

__all__ = [
    "Noted",
    "OwnerLost",
    "Ticket",
    "as_it_is",
    "beat",
    "check_owner",
    "mark",
    "mark_and_note",
    "note",
    "orphans",
    "reap",
    "register",
    "release",
    "retire",
    "workers",
]

_TOLD = (State.ACCEPTED, State.REFUSED, State.IN_DOUBT, State.EXPIRED, State.CANCELLED)


class OwnerLost(Exception):
    """The owner was taken for dead, and what it had was given to others."""


class Ticket(NamedTuple):
    """One claim of a delivery, and no other."""

    number: int
    epoch: int
    """How many claims of it there have been, with this one."""


class Noted(NamedTuple):
    """What has become of a delivery."""

    ticket: Ticket
    state: State
    """WAITING gives it back, ACCEPTED, REFUSED, or IN_DOUBT."""
    due: float
    counts: bool
    """It was an attempt."""
    reply: str | None
    reason: str
    host: str
    doubted: bool = False
    """It may have been accepted, and is to be sent again all the same."""
    whose: tuple[str, str] | None = None
    """Of what was accepted the message and the recipient: numbers may have been given anew where a
    ledger was restored.
    """


def register(owner: str, lease: float, now: float) -> Statements[None]:
    """Note that an owner lives, and how long it may be silent for."""
    _ = yield Tell(
        "INSERT INTO smtpx_worker (id, beat, seen, lease) VALUES (?,0,?,?)", [(owner, now, lease)]
    )


def beat(owner: str, now: float) -> Statements[None]:
    """Note that an owner still lives."""
    _ = yield Tell("UPDATE smtpx_worker SET beat = beat + 1, seen = ? WHERE id = ?", [(now, owner)])


def workers() -> Statements[list[Row]]:
    """The owners: id, beat, when each was seen, and its lease."""
    return (yield Ask("SELECT id, beat, seen, lease FROM smtpx_worker"))


def orphans() -> Statements[list[str]]:
    """Owners of what is claimed that are unknown: somebody has deleted them, or restored a part."""
    rows = yield Ask(
        "SELECT DISTINCT owner FROM smtpx_delivery WHERE claimed = 1 AND place >= 0 "
        "AND NOT EXISTS (SELECT 1 FROM smtpx_worker WHERE id = owner)"
    )
    return [row[0] for row in rows]


def check_owner(owner: str) -> Statements[None]:
    """Raise `OwnerLost` if an owner was taken for dead."""
    # Locked, so that nobody can take it for dead until we have committed.
    rows = yield Ask("SELECT id FROM smtpx_worker WHERE id = ? {share}", [owner])
    if not rows:
        raise OwnerLost(owner)


def as_it_is(state: State, doubts: int) -> State:
    """What came to nothing is in doubt, if an earlier attempt may have been accepted."""
    return State.IN_DOUBT if doubts and state in (State.REFUSED, State.EXPIRED) else state


def mark(owner: str, groups: Sequence[Sequence[Ticket]], now: float) -> Statements[list[bool]]:
    """Mark deliveries as on their way, each group whole or not at all: the value says which."""
    changed: Counter[tuple[str, str]] = Counter()
    allowed = yield from _mark(owner, groups, changed)
    yield from count(changed, now)
    return allowed


def _mark(
    owner: str, groups: Sequence[Sequence[Ticket]], changed: Counter[tuple[str, str]]
) -> Statements[list[bool]]:
    yield from check_owner(owner)
    numbers = [ticket.number for group in groups for ticket in group]
    mine: dict[Ticket, list[Any]] = {}
    for part in in_parts(numbers):
        rows = yield Ask(
            "SELECT number, epoch, state, campaign FROM smtpx_delivery "
            f"WHERE number IN {marks(part)} "
            "AND owner = ? AND claimed = 1 AND state IN ('waiting', 'sending') {wait}",
            [*part, owner],
        )
        mine |= {Ticket(number, epoch): rest for number, epoch, *rest in rows}
    allowed = [all(ticket in mine for ticket in group) for group in groups]
    marked: list[int] = []
    # Once each: the parts of a divided message are one group, and may be asked for together.
    given = {
        ticket for group, word in zip(groups, allowed, strict=True) if word for ticket in group
    }
    for ticket in sorted(given):
        state, campaign = mine[ticket]
        if state == "waiting":
            marked.append(ticket.number)
            moved(changed, campaign, state, "sending")
    for part in in_parts(marked):
        yield Ask(
            f"UPDATE smtpx_delivery SET state = 'sending' WHERE number IN {marks(part)}", part
        )
    return allowed


def mark_and_note(
    owner: str, groups: Sequence[Sequence[Ticket]], noted: Sequence[Noted], now: float
) -> Statements[list[bool]]:
    """Note what has become of deliveries, and mark others, in one transaction."""
    changed: Counter[tuple[str, str]] = Counter()
    events = yield from _note(owner, noted, now, changed)
    allowed = yield from _mark(owner, groups, changed)
    yield from tell(changed, events, now)
    return allowed


def note(owner: str, noted: Sequence[Noted], now: float) -> Statements[None]:
    """Note what has become of deliveries, where they are still the owner's.

    What an owner learns late, that was taken for dead, settles what is in doubt or would be sent
    again, as long as nobody else has claimed it. An acceptance does so in any case: whoever sends
    it again is told no by the mark, or is late.
    """
    changed: Counter[tuple[str, str]] = Counter()
    events = yield from _note(owner, noted, now, changed)
    yield from tell(changed, events, now)


def _note(
    owner: str, noted: Sequence[Noted], now: float, changed: Counter[tuple[str, str]]
) -> Statements[list[Row]]:
    """The value is what is to be told of it."""
    by_number = {one.ticket.number: one for one in sorted(noted, key=_weight)}
    rows: list[Row] = []
    for part in in_parts(by_number):
        rows += yield Ask(
            "SELECT number, epoch, owner, state, claimed, campaign, message, recipient, doubted "
            f"FROM smtpx_delivery WHERE number IN {marks(part)} AND state <> 'accepted' {{wait}}",
            part,
        )
    updates: list[tuple[object, ...]] = []
    settled: list[tuple[object, ...]] = []
    events: list[Row] = []
    for number, epoch, whose, state, claimed, campaign, message, recipient, doubted in rows:
        one = by_number[number]
        is_mine = whose == owner and epoch == one.ticket.epoch
        if not is_mine and one.whose != (message, recipient):
            continue  # It was withdrawn, or claimed again.
        # Who was taken for dead had an attempt counted, and a doubt where it is sent again.
        is_late = not (is_mine and claimed)
        doubts = doubted + one.doubted - (is_late and state == "waiting" and doubted > 0)
        attempts = one.counts - (is_late and state != "sending")
        if is_late and (one.state is State.IN_DOUBT or (state, one.state) == _GIVEN_BACK):
            settled.append((doubts, attempts, number))
            continue
        becomes = as_it_is(one.state, doubts)
        word = becomes.value
        updates.append(
            (
                *(word, one.due, attempts, int(one.counts), doubts),
                *(one.reply, one.reason, one.host, now, number),
            )
        )
        if word != state:
            moved(changed, campaign, state, word)
        if becomes in _TOLD:
            events.append((message, recipient, word, one.reply, one.reason, now))
    if updates:
        yield Tell(
            """UPDATE smtpx_delivery SET state = ?, claimed = 0, owner = NULL, due = ?,
            attempts = attempts + ?, deferred = CASE WHEN ? = 1 THEN 1 ELSE deferred END,
            doubted = ?, reply = ?, reason = ?, host = ?, changed = ? WHERE number = ?""",
            updates,
        )
    if settled:
        yield Tell(
            "UPDATE smtpx_delivery SET owner = NULL, doubted = ?, attempts = attempts + ? "
            "WHERE number = ?",
            settled,
        )
    return events


def _weight(one: Noted) -> tuple[bool, int]:
    """Of what is said of one delivery, an acceptance counts, or else what was said last."""
    return one.state is State.ACCEPTED, one.ticket.epoch


_GIVEN_BACK = ("waiting", State.WAITING)


def release(owner: str, tickets: Sequence[Ticket]) -> Statements[None]:
    """Give back what was claimed and not marked."""
    _ = yield Tell(
        "UPDATE smtpx_delivery SET claimed = 0 WHERE number = ? AND epoch = ? "
        "AND owner = ? AND claimed = 1 AND state = 'waiting'",
        [(*ticket, owner) for ticket in tickets],
    )


def reap(owner: str, last_beat: int | None, now: float) -> Statements[int]:
    """Give to others what an owner had; the value is of how many deliveries the state changed.

    Nothing happens if the owner has shown another beat than the last one known, where there is one.
    """
    rows = yield Ask("SELECT beat FROM smtpx_worker WHERE id = ? {wait}", [owner])
    if last_beat is not None and (not rows or rows[0][0] != last_beat):
        return 0
    _ = yield Tell("DELETE FROM smtpx_worker WHERE id = ?", [(owner,)])
    yield Ask(
        "UPDATE smtpx_delivery SET claimed = 0, owner = NULL "
        "WHERE owner = ? AND place >= 0 AND claimed = 1 AND state = 'waiting'",
        [owner],
    )
    doubtful = yield Ask(
        "SELECT number, hold, campaign, message, recipient FROM smtpx_delivery "
        "WHERE owner = ? AND place >= 0 AND claimed = 1 AND state = 'sending' {wait}",
        [owner],
    )
    changed: Counter[tuple[str, str]] = Counter()
    updates: list[tuple[object, ...]] = []
    events: list[tuple[object, ...]] = []
    for number, hold, campaign, message, recipient in doubtful:
        state = State.IN_DOUBT if hold else State.WAITING
        updates.append((state.value, AT_ONCE, int(not hold), _DIED, now, number))
        moved(changed, campaign, "sending", state.value)
        if hold:
            events.append((message, recipient, state.value, None, _DIED, now))
    if updates:
        yield Tell(
            "UPDATE smtpx_delivery SET state = ?, claimed = 0, due = ?, deferred = 1, "
            "doubted = doubted + ?, attempts = attempts + 1, reply = NULL, reason = ?, "
            "changed = ? WHERE number = ?",
            updates,
        )
    yield from tell(changed, events, now)
    return len(updates)


_DIED = "the worker ended before the reply was noted"


def retire(owner: str, now: float) -> Statements[int]:
    """Give to others what an owner had that ends in good order."""
    return (yield from reap(owner, None, now))
