"""How a worker takes messages, marks them, notes what became of them: operations of the ledger.

A delivery is claimed by an owner, and all that an owner does is fenced: it has an effect only as
long as the delivery is still its own. A claim says nothing about the server: the state is
"waiting" until the mark, so that a claimed delivery can be cancelled, or given to another owner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ._putting import AT_ONCE, count, moved
from ._schedule import HELD_MOST, Limit, free_at, granted, held_for
from ._statements import Ask, Row, Statements, Tell, in_parts, marks
from .states import State

__all__ = [
    "Claim",
    "Claimed",
    "Contents",
    "Noted",
    "OwnerLost",
    "beat",
    "claim",
    "hold_back",
    "mark",
    "mark_and_note",
    "note",
    "overdue",
    "reap",
    "register",
    "release",
    "retire",
    "set_back",
    "wait_until",
    "workers",
]

_TOLD = (State.ACCEPTED, State.REFUSED, State.IN_DOUBT, State.EXPIRED, State.CANCELLED)
_EVENT = """INSERT INTO smtpx_event (message, recipient, state, reply, reason, at)
    VALUES (?,?,?,?,?,?)"""
_DESTINATION = """INSERT INTO smtpx_destination (name, held_until, failures, earliest)
    VALUES (?,0,0,0) ON CONFLICT DO NOTHING"""
_FREE = "state = 'waiting' AND claimed = 0"
# Turns in which a claim looks past destinations that may get no more now.
_LOOKS = 8


class OwnerLost(Exception):
    """The owner was taken for dead, and what it had was given to others."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What an owner asks for."""

    owner: str
    hold: bool
    most: int
    now: float
    batch: str | None = None
    limits: Mapping[str, Limit] | None = None
    hop: str | None = None
    """The one next hop of all messages; ``None`` where each domain is its own."""


class Claimed(NamedTuple):
    """A delivery that was claimed, with all that is needed to send it."""

    number: int
    message: str
    recipient: str
    wishes: str | None
    domain: str
    expires: float
    attempts: int
    message_id: str | None
    data: str | None
    sender: str
    options: str | None
    stamps: bytes
    octets: bytes | None
    content: bytes | None
    """The digest of the content, where that is no part of the message's own row."""
    template: int
    created: float


Contents: TypeAlias = dict[bytes, tuple[bytes | None, int]]
"""Contents by their digests: the octets, ``None`` where they are in the spool; and the size."""


class Noted(NamedTuple):
    """What has become of a delivery."""

    number: int
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


def _check_owner(owner: str) -> Statements[None]:
    # Locked, so that nobody can take it for dead until we have committed.
    rows = yield Ask("SELECT id FROM smtpx_worker WHERE id = ? {share}", [owner])
    if not rows:
        raise OwnerLost(owner)


def claim(wanted: Claim) -> Statements[tuple[list[Claimed], Contents]]:
    """Take deliveries that are due: half of them new, half deferred, where there are both.

    The value has their contents, too.
    """
    yield from _check_owner(wanted.owner)
    taken: list[Row] = []
    for deferred, most in ((1, wanted.most // 2), (0, wanted.most), (1, wanted.most)):
        if len(taken) < most:
            taken += yield from _take(wanted, deferred, most - len(taken), taken)
    numbers = [row[0] for row in taken]
    for part in in_parts(numbers):
        yield Ask(
            f"UPDATE smtpx_delivery SET claimed = 1, owner = ? WHERE number IN {marks(part)}",
            [wanted.owner, *part],
        )
    claimed = yield from _with_messages(taken)
    return claimed, (
        yield from _contents(one.content for one in claimed if one.content is not None)
    )


def _take(wanted: Claim, deferred: int, most: int, taken: Sequence[Row]) -> Statements[list[Row]]:
    """Find deliveries of a kind, of the highest priority first."""
    found: list[Row] = []
    held = {*(yield from _held(wanted))}
    if wanted.hop in held:
        return found
    for _ in range(_LOOKS):
        rows = yield from _due(wanted, deferred, most - len(found), held, [*taken, *found])
        late = [row for row in rows if row[5] <= wanted.now]
        yield from _expire(late, wanted.now)
        allowed, full = yield from _within_limits(wanted, [row for row in rows if row not in late])
        found += allowed
        held |= full
        if len(found) >= most or not (late or full):
            break
    return found


def _held(wanted: Claim) -> Statements[dict[str, float]]:
    """Destinations that are held back, each with when that ends."""
    # Nothing is held for longer than that, unless the clock was set back.
    rows = yield Ask(
        "SELECT name, held_until FROM smtpx_destination WHERE held_until > ? AND held_until <= ?",
        [wanted.now, wanted.now + HELD_MOST],
    )
    return dict(rows)


def _limited(wanted: Claim) -> Statements[dict[str, float]]:
    """Destinations of which a limit allows nothing more now, each with when it will."""
    limits, now = wanted.limits or {}, wanted.now
    if not limits:
        return {}
    rows = yield Ask("SELECT name, earliest FROM smtpx_destination WHERE earliest > ?", [now])
    found = {
        name: free_at(limit, earliest, now)
        for name, earliest in rows
        if (limit := limits.get(name) or limits.get("*"))
    }
    return {name: until for name, until in found.items() if until > now}


def _due(
    wanted: Claim, deferred: int, most: int, held: set[str], taken: Sequence[Row]
) -> Statements[list[Row]]:
    text = """SELECT number, message, recipient, wishes, domain, expires, attempts, message_id, data
        FROM smtpx_delivery WHERE state = 'waiting' AND claimed = 0 AND hold = ? AND deferred = ?"""
    without, values = "", list[object]()
    if held:
        # All of them: what is held back must not stand in the way of the rest.
        without += f" AND domain NOT IN {marks([*held])}"
        values += sorted(held)
    if taken:
        without += f" AND number NOT IN {marks(taken)}"
        values += [row[0] for row in taken]
    if wanted.batch is not None:
        return (
            yield Ask(
                f"{text} AND batch = ? AND due <= ?{without} ORDER BY due, number LIMIT ? {{lock}}",
                [int(wanted.hold), deferred, wanted.batch, wanted.now, *values, most],
            )
        )
    rows: list[Row] = []
    priority: int | None = None
    while len(rows) < most:
        below = "" if priority is None else " AND priority < ?"
        highest = yield Ask(
            f"SELECT MAX(priority) FROM smtpx_delivery WHERE {_FREE} AND hold = ? AND deferred = ?"
            + below,
            [int(wanted.hold), deferred, *([] if priority is None else [priority])],
        )
        priority = highest[0][0]
        if priority is None:
            break
        rows += yield Ask(
            f"{text} AND priority = ? AND due <= ?{without} ORDER BY due, number LIMIT ? {{lock}}",
            [int(wanted.hold), deferred, priority, wanted.now, *values, most - len(rows)],
        )
    return rows


def _expire(late: Sequence[Row], now: float) -> Statements[None]:
    changed: Counter[tuple[str, State]] = Counter()
    for part in in_parts([row[0] for row in late]):
        rows = yield Ask(
            "SELECT number, campaign, message, recipient, reply, reason, doubted "
            f"FROM smtpx_delivery WHERE number IN {marks(part)}",
            part,
        )
        events: list[tuple[object, ...]] = []
        updates: list[tuple[object, ...]] = []
        for number, campaign, message, recipient, reply, reason, doubted in rows:
            state = _as_it_is(State.EXPIRED, doubted)
            moved(changed, campaign, "waiting", state)
            updates.append((state.value, now, number))
            events.append((message, recipient, state.value, reply, reason, now))
        yield Tell(
            "UPDATE smtpx_delivery SET state = ?, owner = NULL, changed = ? WHERE number = ?",
            updates,
        )
        yield Tell(_EVENT, events)
    yield from count(changed, now)


def _as_it_is(state: State, doubts: int) -> State:
    """What came to nothing is in doubt, if an earlier attempt may have been accepted."""
    return State.IN_DOUBT if doubts and state in (State.REFUSED, State.EXPIRED) else state


def _within_limits(wanted: Claim, rows: Sequence[Row]) -> Statements[tuple[list[Row], set[str]]]:
    """Those that may go now, and the domains that may get no more."""
    limits = wanted.limits
    if not limits:
        return [*rows], set()
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(_destination(limits, wanted.hop, row[4]) or "", []).append(row)
    allowed: list[Row] = by_name.pop("", [])
    full: set[str] = set()
    for name in sorted(by_name):
        several = by_name[name]
        most = yield from _granted(wanted, name, limits.get(name) or limits["*"], several)
        allowed += several[:most]
        if most < len(several):
            full |= {row[4] for row in several}
    return allowed, full


def _destination(limits: Mapping[str, Limit], hop: str | None, domain: str) -> str | None:
    if domain in limits:
        return domain
    if "*" not in limits:
        return None
    return hop or domain


def _granted(wanted: Claim, name: str, limit: Limit, rows: Sequence[Row]) -> Statements[int]:
    _ = yield Tell(_DESTINATION, [(name,)])
    found = yield Ask("SELECT earliest FROM smtpx_destination WHERE name = ? {wait}", [name])
    most = len(rows)
    if limit.at_once is not None:
        domains = sorted({row[4] for row in rows})
        where = "" if name == wanted.hop else f" AND domain IN {marks(domains)}"
        under_way = yield Ask(
            f"SELECT COUNT(*) FROM smtpx_delivery WHERE claimed = 1{where}",
            [] if name == wanted.hop else domains,
        )
        most = max(0, min(most, limit.at_once - under_way[0][0]))
    several, earliest = granted(limit, most, found[0][0], wanted.now)
    _ = yield Tell("UPDATE smtpx_destination SET earliest = ? WHERE name = ?", [(earliest, name)])
    return several


def _with_messages(taken: Sequence[Row]) -> Statements[list[Claimed]]:
    messages: dict[str, Row] = {}
    for ids in in_parts(dict.fromkeys(row[1] for row in taken)):
        rows = yield Ask(
            "SELECT id, sender, options, stamps, octets, content, template, created "
            f"FROM smtpx_message WHERE id IN {marks(ids)}",
            ids,
        )
        messages |= {row[0]: row[1:] for row in rows}
    return [Claimed(*row, *messages.get(row[1], _GONE)) for row in taken]


# What stands for a message that somebody has deleted: its content is not to be found.
_GONE = ("", None, b"", None, None, 0, 0.0)


def _contents(digests: Iterable[bytes]) -> Statements[Contents]:
    found: Contents = {}
    for part in in_parts(dict.fromkeys(digests)):
        rows = yield Ask(
            f"SELECT digest, octets, size FROM smtpx_content WHERE digest IN {marks(part)}", part
        )
        for digest, octets, size in rows:
            found[bytes(digest)] = None if octets is None else bytes(octets), size
    return found


def mark(owner: str, groups: Sequence[Sequence[int]], now: float) -> Statements[list[bool]]:
    """Mark deliveries as on their way, each group whole or not at all: the value says which."""
    yield from _check_owner(owner)
    numbers = [number for group in groups for number in group]
    mine: dict[int, Row] = {}
    for part in in_parts(numbers):
        rows = yield Ask(
            f"SELECT number, state, campaign FROM smtpx_delivery WHERE number IN {marks(part)} "
            "AND owner = ? AND claimed = 1 AND state IN ('waiting', 'sending') {wait}",
            [*part, owner],
        )
        mine |= {row[0]: row for row in rows}
    allowed = [all(number in mine for number in group) for group in groups]
    changed: Counter[tuple[str, State]] = Counter()
    marked: list[int] = []
    # Once each: the parts of a divided message are one group, and may be asked for together.
    given = {
        number for group, word in zip(groups, allowed, strict=True) if word for number in group
    }
    for number in sorted(given):
        _, state, campaign = mine[number]
        if state == "waiting":
            marked.append(number)
            moved(changed, campaign, state, State.SENDING)
    for part in in_parts(marked):
        yield Ask(
            f"UPDATE smtpx_delivery SET state = 'sending' WHERE number IN {marks(part)}", part
        )
    yield from count(changed, now)
    return allowed


def mark_and_note(
    owner: str, groups: Sequence[Sequence[int]], noted: Sequence[Noted], now: float
) -> Statements[list[bool]]:
    """Note what has become of deliveries, and mark others, in one transaction."""
    if noted:
        yield from note(owner, noted, now)
    return (yield from mark(owner, groups, now))


def note(owner: str, noted: Sequence[Noted], now: float) -> Statements[None]:
    """Note what has become of deliveries, where they are still the owner's.

    What the owner learns late settles what is in doubt, or would be sent again: nobody else has
    it then.
    """
    by_number = {one.number: one for one in noted}
    changed: Counter[tuple[str, State]] = Counter()
    rows: list[Row] = []
    for part in in_parts(by_number):
        rows += yield Ask(
            "SELECT number, state, claimed, campaign, message, recipient, doubted "
            f"FROM smtpx_delivery WHERE number IN {marks(part)} AND owner = ? "
            "AND state IN ('waiting', 'sending', 'in doubt') {wait}",
            [*part, owner],
        )
    updates: list[tuple[object, ...]] = []
    settled: list[tuple[object, ...]] = []
    events: list[tuple[object, ...]] = []
    for number, state, claimed, campaign, message, recipient, doubted in rows:
        one = by_number[number]
        # Who was taken for dead had a doubt counted, which what it says late settles.
        doubts = doubted + one.doubted - (not claimed and doubted > 0)
        if not claimed and (one.state is State.IN_DOUBT or (state, one.state) == _GIVEN_BACK):
            settled.append((doubts, number))
            continue
        becomes = _as_it_is(one.state, doubts)
        attempt = int(one.counts)
        updates.append(
            (
                *(becomes.value, one.due, attempt, attempt, doubts),
                *(one.reply, one.reason, one.host, now, number),
            )
        )
        if becomes.value != state:
            moved(changed, campaign, state, becomes)
        if becomes in _TOLD:
            events.append((message, recipient, becomes.value, one.reply, one.reason, now))
    if updates:
        yield Tell(
            """UPDATE smtpx_delivery SET state = ?, claimed = 0, due = ?, attempts = attempts + ?,
            deferred = CASE WHEN ? = 1 THEN 1 ELSE deferred END,
            doubted = ?, reply = ?, reason = ?, host = ?, changed = ? WHERE number = ?""",
            updates,
        )
    if settled:
        yield Tell("UPDATE smtpx_delivery SET doubted = ? WHERE number = ?", settled)
    if events:
        yield Tell(_EVENT, events)
    yield from count(changed, now)


_GIVEN_BACK = ("waiting", State.WAITING)


def release(owner: str, numbers: Sequence[int]) -> Statements[None]:
    """Give back what was claimed and not marked."""
    for part in in_parts(numbers):
        yield Ask(
            f"UPDATE smtpx_delivery SET claimed = 0 WHERE number IN {marks(part)} "
            "AND owner = ? AND claimed = 1 AND state = 'waiting'",
            [*part, owner],
        )


def reap(owner: str, last_beat: int | None, now: float) -> Statements[int]:
    """Give to others what an owner had; the value is of how many deliveries the state changed.

    Nothing happens if the owner has shown another beat than the last one known, where there is one.
    """
    rows = yield Ask("SELECT beat FROM smtpx_worker WHERE id = ? {wait}", [owner])
    if not rows or (last_beat is not None and rows[0][0] != last_beat):
        return 0
    _ = yield Tell("DELETE FROM smtpx_worker WHERE id = ?", [(owner,)])
    yield Ask(
        "UPDATE smtpx_delivery SET claimed = 0 "
        "WHERE owner = ? AND claimed = 1 AND state = 'waiting'",
        [owner],
    )
    doubtful = yield Ask(
        "SELECT number, hold, campaign, message, recipient FROM smtpx_delivery "
        "WHERE owner = ? AND claimed = 1 AND state = 'sending' {wait}",
        [owner],
    )
    changed: Counter[tuple[str, State]] = Counter()
    updates: list[tuple[object, ...]] = []
    events: list[tuple[object, ...]] = []
    for number, hold, campaign, message, recipient in doubtful:
        state = State.IN_DOUBT if hold else State.WAITING
        updates.append((state.value, AT_ONCE, int(not hold), _DIED, now, number))
        moved(changed, campaign, "sending", state)
        if hold:
            events.append((message, recipient, state.value, None, _DIED, now))
    if updates:
        yield Tell(
            "UPDATE smtpx_delivery SET state = ?, claimed = 0, due = ?, deferred = 1, "
            "doubted = doubted + ?, attempts = attempts + 1, reply = NULL, reason = ?, "
            "changed = ? WHERE number = ?",
            updates,
        )
    if events:
        yield Tell(_EVENT, events)
    yield from count(changed, now)
    return len(updates)


_DIED = "the worker ended before the reply was noted"


def retire(owner: str, now: float) -> Statements[int]:
    """Give to others what an owner had that ends in good order."""
    return (yield from reap(owner, None, now))


def set_back(now: float) -> Statements[None]:
    """Have what was deferred in the future tried at once: the clock was set back since."""
    _ = yield Tell(
        "UPDATE smtpx_delivery SET due = ?, changed = ? "
        "WHERE state = 'waiting' AND claimed = 0 AND deferred = 1 AND changed > ?",
        [(AT_ONCE, now, now)],
    )


def overdue(now: float, seconds: float, most: int) -> Statements[list[str]]:
    """Batches that have been due for so long, and that nobody has taken up."""
    before = now - seconds
    # What has changed in the future did so before the clock was set back.
    rows = yield Ask(
        f"""SELECT DISTINCT batch FROM (SELECT batch FROM smtpx_delivery WHERE {_FREE}
            AND due <= ? AND (changed <= ? OR changed > ?) LIMIT ?) AS found""",
        [before, before, now, most],
    )
    return [row[0] for row in rows]


def wait_until(wanted: Claim) -> Statements[float | None]:
    """When there will be something to claim, if nobody puts anything in; ``None`` if never."""
    held = yield from _held(wanted)
    if wanted.hop in held:
        return held[wanted.hop]
    limited = yield from _limited(wanted)
    dues = [*held.values(), *limited.values()]
    closed = [*held.keys() | limited.keys()]
    where = f" AND domain NOT IN {marks(closed)}" if closed else ""
    if wanted.hop in limited:
        # What has limits of its own does not wait for that of all the rest.
        own = [name for name in wanted.limits or {} if name not in (*closed, "*")]
        if not own:
            return min(dues)
        where, closed = f" AND domain IN {marks(own)}", own
    for hold in (0, 1):
        for deferred in (0, 1):
            priority: int | None = None
            while True:
                below = "" if priority is None else " AND priority < ?"
                values = [hold, deferred, *([] if priority is None else [priority])]
                kind = f"{_FREE} AND hold = ? AND deferred = ?"
                rows = yield Ask(
                    f"SELECT MAX(priority) FROM smtpx_delivery WHERE {kind}{below}", values
                )
                priority = rows[0][0]
                if priority is None:
                    break
                rows = yield Ask(
                    f"SELECT due FROM smtpx_delivery WHERE {kind} AND priority = ?{where} "
                    "ORDER BY due, number LIMIT 1",
                    [hold, deferred, priority, *closed],
                )
                dues += [row[0] for row in rows]
    return min(dues, default=None)


def hold_back(names: Sequence[str], now: float) -> Statements[None]:
    """Send nothing to destinations for a while that could not be reached: each time for longer,
    unless they could be for as long meanwhile.
    """
    for part in in_parts(sorted(names)):
        _ = yield Tell(_DESTINATION, [(name,) for name in part])
        rows = yield Ask(
            "SELECT name, held_until, failures FROM smtpx_destination "
            f"WHERE name IN {marks(part)} ORDER BY name {{wait}}",
            part,
        )
        held: list[tuple[object, ...]] = []
        for name, until, failures in rows:
            if until > now and until <= now + HELD_MOST:
                continue  # Whoever came before has said so.
            before = failures if now - until < held_for(failures) else 0
            held.append((now + held_for(before), before + 1, name))
        _ = yield Tell(
            "UPDATE smtpx_destination SET held_until = ?, failures = ? WHERE name = ?", held
        )
