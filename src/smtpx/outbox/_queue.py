"""What is to be sent next: the queue, and who takes what from it. Operations of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from ._claiming import Ticket, as_it_is, check_owner
from ._destinations import (
    FREE,
    IN_TURN,
    Claim,
    admitted,
    held,
    let_in,
    let_in_of_batch,
    next_turn,
    set_aside,
)
from ._putting import AT_ONCE, moved, tell
from ._schedule import HELD_MOST, free_at
from ._statements import Ask, Row, Statements, Tell, in_parts, marks
from .states import State

__all__ = ["Claimed", "Contents", "Taken", "claim", "expire", "overdue", "set_back", "wait_until"]

_QUEUED = f"{FREE} AND aside IS NULL"
# What is late expires so many at a time.
_LATE = 1000
# Turns in which a claim looks past what is in its way: one transaction sets no more aside.
_LOOKS = 4


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
    epoch: int
    sender: str
    options: str | None
    stamps: bytes
    octets: bytes | None
    content: bytes | None
    """The digest of the content, where that is no part of the message's own row."""
    template: int
    hold: int
    created: float

    @property
    def ticket(self) -> Ticket:
        """What this claim is known by."""
        return Ticket(self.number, self.epoch)


Contents: TypeAlias = dict[bytes, tuple[bytes | None, int]]
"""Contents by their digests: the octets, ``None`` where they are in the spool; and the size."""


class Taken(NamedTuple):
    """What a claim has got."""

    deliveries: list[Claimed]
    contents: Contents
    is_all: bool
    """False if more may be due, behind what was in the way."""


def claim(wanted: Claim) -> Statements[Taken]:
    """Take deliveries that are due: half of them new, half deferred, where there are both."""
    yield from check_owner(wanted.owner)
    if wanted.hop is not None and (yield from held([wanted.hop], wanted.now)):
        return Taken([], {}, is_all=True)
    is_all = True
    if wanted.batch is not None:
        yield from let_in_of_batch(wanted)
    elif (yield from let_in(wanted)):
        is_all = False
    taken: list[Row] = []
    changed: Counter[tuple[str, str]] = Counter()
    events: list[Row] = []
    for deferred, most in ((1, wanted.most // 2), (0, wanted.most), (1, wanted.most)):
        if len(taken) < most:
            is_end = yield from _take(wanted, deferred, most, taken, changed, events)
            is_all = is_all and is_end
    claimed = yield from _with_messages(taken)
    contents = yield from _contents(one.content for one in claimed if one.content is not None)
    # At the end: whoever has touched a counter waits for nobody any more.
    yield from tell(changed, events, wanted.now)
    return Taken(claimed, contents, is_all)


def _take(
    wanted: Claim,
    deferred: int,
    most: int,
    taken: list[Row],
    changed: Counter[tuple[str, str]],
    events: list[Row],
) -> Statements[bool]:
    """Take deliveries of a kind until there are so many, of the highest priority first.

    The value is false if there may be more, behind what was in the way.
    """
    for _ in range(_LOOKS):
        rows = yield from _due(wanted, deferred, most - len(taken))
        late = [row for row in rows if row[5] <= wanted.now]
        yield from _expire(late, wanted.now, changed, events)
        allowed, closed = yield from admitted(wanted, [row for row in rows if row not in late])
        for part in in_parts([row[0] for row in allowed]):
            yield Ask(
                "UPDATE smtpx_delivery SET claimed = 1, owner = ?, epoch = epoch + 1 "
                f"WHERE number IN {marks(part)}",
                [wanted.owner, *part],
            )
        taken += allowed
        if closed and wanted.goes_one_way:
            return True
        yield from set_aside(closed, wanted.now)
        if len(taken) >= most or not (late or closed):
            return True
    return False


def _due(wanted: Claim, deferred: int, most: int) -> Statements[list[Row]]:
    text = f"""SELECT number, message, recipient, wishes, domain, expires, attempts, message_id,
        data, epoch + 1 FROM smtpx_delivery WHERE {_QUEUED} AND deferred = ?"""
    if wanted.batch is not None:
        return (
            yield Ask(
                f"{text} AND batch = ? AND batch <> '' AND due <= ? "
                "ORDER BY due, number LIMIT ? {lock}",
                [deferred, wanted.batch, wanted.now, most],
            )
        )
    rows: list[Row] = []
    priority: int | None = None
    while len(rows) < most:
        priority = yield from _next_priority(deferred, priority)
        if priority is None:
            break
        rows += yield Ask(
            f"{text} AND priority = ? AND due <= ? ORDER BY due, number LIMIT ? {{lock}}",
            [deferred, priority, wanted.now, most - len(rows)],
        )
    return rows


def _next_priority(deferred: int, above: int | None) -> Statements[int | None]:
    """The highest priority of those new, or deferred, in the queue, below the one above."""
    rows = yield Ask(
        f"SELECT priority FROM smtpx_delivery WHERE {_QUEUED} AND deferred = ?"
        + ("" if above is None else " AND priority < ?")
        + " ORDER BY priority DESC LIMIT 1",
        [deferred] if above is None else [deferred, above],
    )
    return rows[0][0] if rows else None


def expire(now: float) -> Statements[int]:
    """Let some expire that are late: a claim may never come to them. The value is how many."""
    # None is locked that stays: whoever claims would pass it over.
    rows = yield Ask(
        f"SELECT number FROM smtpx_delivery WHERE {FREE} AND expires > 0 AND expires <= ? "
        "ORDER BY expires LIMIT ? {lock}",
        [now, _LATE],
    )
    changed: Counter[tuple[str, str]] = Counter()
    events: list[Row] = []
    yield from _expire(rows, now, changed, events)
    yield from tell(changed, events, now)
    return len(rows)


def _expire(
    late: Sequence[Row], now: float, changed: Counter[tuple[str, str]], events: list[Row]
) -> Statements[None]:
    for part in in_parts([row[0] for row in late]):
        rows = yield Ask(
            "SELECT number, campaign, message, recipient, reply, reason, doubted "
            f"FROM smtpx_delivery WHERE number IN {marks(part)}",
            part,
        )
        updates: list[tuple[object, ...]] = []
        for number, campaign, message, recipient, reply, reason, doubted in rows:
            state = as_it_is(State.EXPIRED, doubted)
            moved(changed, campaign, "waiting", state.value)
            updates.append((state.value, now, number))
            events.append((message, recipient, state.value, reply, reason, now))
        yield Tell(
            "UPDATE smtpx_delivery SET state = ?, owner = NULL, changed = ? WHERE number = ?",
            updates,
        )


def _with_messages(taken: Sequence[Row]) -> Statements[list[Claimed]]:
    messages: dict[str, Row] = {}
    for ids in in_parts(dict.fromkeys(row[1] for row in taken)):
        rows = yield Ask(
            "SELECT id, sender, options, stamps, octets, content, template, hold, created "
            f"FROM smtpx_message WHERE id IN {marks(ids)}",
            ids,
        )
        messages |= {row[0]: row[1:] for row in rows}
    return [Claimed(*row, *messages.get(row[1], _GONE)) for row in taken]


# What stands for a message that somebody has deleted: its content is not to be found.
_GONE = ("", None, b"", None, None, 0, 0, 0.0)


def _contents(digests: Iterable[bytes]) -> Statements[Contents]:
    found: Contents = {}
    for part in in_parts(dict.fromkeys(digests)):
        rows = yield Ask(
            f"SELECT digest, octets, size FROM smtpx_content WHERE digest IN {marks(part)}", part
        )
        for digest, octets, size in rows:
            found[bytes(digest)] = None if octets is None else bytes(octets), size
    return found


def set_back(now: float) -> Statements[None]:
    """Have what was deferred in the future tried at once: the clock was set back since.

    What waits for a destination may go as soon as that can take it, by the clock as it is now; and
    what waits for one that somebody has deleted is in the queue again.
    """
    _ = yield Tell("UPDATE smtpx_destination SET turn = ? WHERE turn > ?", [(now, now)])
    yield Ask(
        f"UPDATE smtpx_delivery SET aside = NULL WHERE {FREE} AND aside <> '' AND NOT EXISTS "
        "(SELECT 1 FROM smtpx_destination WHERE name = aside AND turn IS NOT NULL)"
    )
    _ = yield Tell(
        "UPDATE smtpx_delivery SET due = ?, changed = ? "
        "WHERE state = 'waiting' AND claimed = 0 AND batch <> '' AND deferred = 1 AND changed > ?",
        [(AT_ONCE, now, now)],
    )


def overdue(now: float, seconds: float, most: int) -> Statements[list[str]]:
    """Batches that have been due for so long, and that nobody has taken up."""
    before = now - seconds
    # What has changed in the future did so before the clock was set back.
    rows = yield Ask(
        f"""SELECT DISTINCT batch FROM (SELECT batch FROM smtpx_delivery WHERE {FREE}
            AND batch <> '' AND due <= ? AND (changed <= ? OR changed > ?)
            AND (aside IS NULL OR {IN_TURN}) LIMIT ?) AS found""",
        [before, before, now, now, now + HELD_MOST, most],
    )
    return [row[0] for row in rows]


def wait_until(wanted: Claim) -> Statements[float | None]:
    """When there will be something to claim, if nobody puts anything in; ``None`` if never."""
    now = wanted.now
    if wanted.hop is not None:
        if wanted.hop in (ends := (yield from held([wanted.hop], now))):
            return ends[wanted.hop]
        limit = wanted.limit(wanted.hop)
        if wanted.goes_one_way and limit is not None:
            rows = yield Ask("SELECT earliest FROM smtpx_destination WHERE name = ?", [wanted.hop])
            if rows and (free := free_at(limit, rows[0][0], now)) > now:
                return free
    turn = yield from next_turn(wanted)
    dues = [] if turn is None else [turn]
    for deferred in (0, 1):
        dues += yield from _dues(deferred)
    return min(dues, default=None)


def _dues(deferred: int) -> Statements[list[float]]:
    """When the first of each priority is due, of those new or deferred."""
    dues: list[float] = []
    priority: int | None = None
    while (priority := (yield from _next_priority(deferred, priority))) is not None:
        rows = yield Ask(
            f"SELECT due FROM smtpx_delivery WHERE {_QUEUED} AND deferred = ? "
            "AND priority = ? ORDER BY due, number LIMIT 1",
            [deferred, priority],
        )
        dues += [row[0] for row in rows]
    return dues
