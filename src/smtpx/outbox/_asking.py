"""What people ask of the ledger, and have it forget: operations, as generators of statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from smtpx.addresses import Address

from ._arguments import recipient_of, seconds_of, state_of
from ._putting import AT_ONCE, count
from ._statements import Ask, Row, Statements, in_parts, marks
from ._stored import moment, reply_of
from .states import Counts, Delivery, Event, NotInOutbox, State, Submission

__all__ = [
    "OVER",
    "Place",
    "Sought",
    "counts",
    "cursor_of",
    "events",
    "find",
    "forget_events",
    "narrowed",
    "nothing_of",
    "purge",
    "settled",
    "sought_of",
    "status",
]

_COLUMNS = """d.recipient, d.state, d.attempts, d.due, d.reply, d.reason,
    COALESCE(d.message_id, m.message_id), d.host, d.message, d.changed, d.doubted"""
OVER = (State.ACCEPTED, State.REFUSED, State.EXPIRED, State.CANCELLED)
_OVER = f"state IN ({', '.join(repr(state.value) for state in OVER)})"
_UNDER_WAY = "state IN ('waiting', 'sending')"
# Deliveries that a purge looks at in one transaction, and those that it forgets.
_PART, _FORGOTTEN = 500, 5_000


def _delivery(row: Row) -> Delivery:
    recipient, state, attempts, due, reply, reason, message_id, host, message, *more = row
    changed, doubted = more
    return Delivery(
        recipient=recipient,
        state=State(state),
        attempts=attempts,
        due=moment(changed if due == AT_ONCE else due) if state == "waiting" else None,
        reply=reply_of(reply),
        reason=reason,
        message_id=message_id,
        host=host,
        submission=message,
        doubted=bool(doubted) and state != State.ACCEPTED.value,
    )


def status(id: str) -> Statements[Submission]:
    """All about one message.

    Raises:
        NotInOutbox: there is none of that id.
    """
    found = yield Ask(
        "SELECT key, campaign, sender, created, expires FROM smtpx_message WHERE id = ?", [id]
    )
    if not found:
        raise nothing_of(id)
    key, campaign, sender, created, expires = found[0]
    rows = yield Ask(
        f"""SELECT {_COLUMNS} FROM smtpx_delivery d JOIN smtpx_message m ON m.id = d.message
        WHERE d.message = ? ORDER BY d.place""",
        [id],
    )
    return Submission(
        id=id,
        key=key,
        campaign=campaign or None,
        sender=sender,
        created=moment(created),
        expires=moment(expires),
        deliveries=tuple([_delivery(row) for row in rows]),
    )


def nothing_of(id: str, recipient: str = "") -> NotInOutbox:
    """What is raised where there is no such message, or not for that recipient."""
    whose = f" for {recipient}" if recipient else ""
    return NotInOutbox(f"the outbox has no message {id!r}{whose}: it may have been purged")


def counts(campaign: str | None) -> Statements[Counts]:
    """How many deliveries are in each state, and how many that are not over are doubted."""
    of = "" if campaign is None else " AND campaign = ?"
    # One statement: others write meanwhile.
    rows = yield Ask(
        f"SELECT state, SUM(n) FROM smtpx_count WHERE n <> 0{of} GROUP BY state UNION ALL "
        f"SELECT '', COUNT(*) FROM smtpx_delivery WHERE doubted > 0 AND {_UNDER_WAY}{of}",
        [] if campaign is None else [campaign] * 2,
    )
    found = {state: int(n) for state, n in rows}
    return Counts({state: found.get(state.value, 0) for state in State}, found[""])


class Sought(NamedTuple):
    """What `find` looks for."""

    state: State | None
    recipient: Address | None
    older_than: float | None
    """Seconds for which they are unchanged."""


def sought_of(
    state: State | None, recipient: str | Address | None, older_than: timedelta | None
) -> Sought:
    """Look at what somebody looks for.

    Raises:
        TypeError, ValueError, AddressError: an argument is wrong.
    """
    address = None if recipient is None else recipient_of(recipient)
    seconds = None if older_than is None else seconds_of("older_than", older_than)
    return Sought(state_of("state", state), address, seconds)


def find(
    sought: Sought, now: float, after: int, most: int
) -> Statements[list[tuple[int, Delivery]]]:
    """Some of the deliveries that are sought, each with its number, in the order of those."""
    where, values = "d.number > ?", list[object]([after])
    if sought.state is not None:
        where += " AND d.state = ?"
        values.append(sought.state.value)
    if sought.recipient is not None:
        where, whose = narrowed(where, sought.recipient)
        values += whose
    if sought.older_than is not None:
        where += " AND d.changed < ?"
        values.append(now - sought.older_than)
    rows = yield Ask(
        f"""SELECT d.number, {_COLUMNS} FROM smtpx_delivery d
        JOIN smtpx_message m ON m.id = d.message WHERE {where} ORDER BY d.number LIMIT ?""",
        [*values, most],
    )
    return [(row[0], _delivery(row[1:])) for row in rows]


def narrowed(where: str, recipient: Address | None) -> tuple[str, list[object]]:
    """A condition, for one recipient where one is named: its domain is the same in capitals."""
    if recipient is None:
        return where, []
    local_part = str(recipient).removesuffix(recipient.domain)
    return (
        f"{where} AND domain = ? AND SUBSTR(recipient, 1, ?) = ?",
        [recipient.domain.lower(), len(local_part), local_part],
    )


class Place(NamedTuple):
    """How far a purge has come, in the order of what has become of deliveries, and when."""

    state: State | None = OVER[0]
    """``None`` after the last one."""
    changed: float = -1.0
    number: int = 0
    living: frozenset[str] = frozenset()
    """Large messages of which something is not over: each is looked through once."""
    over: tuple[str, ...] = ()
    """Messages that have more deliveries than one transaction forgets."""


def purge(
    before: float, now: float, place: Place
) -> Statements[tuple[int, list[bytes], Place | None]]:
    """Forget some messages of which all is over for that long, and contents that nobody needs.

    The value is how many, the digests of those contents that were in the spool, and where to go
    on: ``None`` at the end.
    """
    if place.over:
        over, following = place.over, place._replace(over=())
    elif place.state is not None:
        over, following = yield from _next_over(place.state, before, place)
    else:
        # Templates that have no rows: there were none, or the call broke off before the first.
        rows = yield Ask(
            "SELECT id FROM smtpx_message WHERE template = 1 AND puts = 0 AND created < ? {wait}",
            [before],
        )
        spooled = yield from _forget_messages([row[0] for row in rows])
        return len(rows), spooled, None
    if not (yield from _forget_deliveries(over, before, now)):
        return 0, [], following._replace(over=over)
    tried_again: set[str] = set()
    for part in in_parts(over):
        rows = yield Ask(
            f"SELECT DISTINCT message FROM smtpx_delivery WHERE message IN {marks(part)}", part
        )
        tried_again |= {row[0] for row in rows}
    gone = [id for id in over if id not in tried_again]
    return len(gone), (yield from _forget_messages(gone)), following


def _next_over(
    state: State, before: float, place: Place
) -> Statements[tuple[tuple[str, ...], Place]]:
    """The next messages of which all is over, and where to go on."""
    # The index wants to be named its own conditions; and SQLite compares no pairs by it.
    text = (
        "SELECT message, changed, number FROM smtpx_delivery "
        "WHERE state = ? AND state <> 'waiting' AND state <> 'sending' "
    )
    rows = yield Ask(
        f"{text} AND changed = ? AND number > ? ORDER BY changed, number LIMIT ?",
        [state.value, place.changed, place.number, _PART],
    )
    if len(rows) < _PART:
        rows += yield Ask(
            f"{text} AND changed > ? AND changed < ? ORDER BY changed, number LIMIT ?",
            [state.value, place.changed, before, _PART - len(rows)],
        )
    seen = Counter(row[0] for row in rows if row[0] not in place.living)
    living: set[str] = set()
    for part in in_parts(seen):
        found = yield Ask(
            f"SELECT DISTINCT message FROM smtpx_delivery WHERE message IN {marks(part)} "
            f"AND NOT ({_OVER} AND changed < ?)",
            [*part, before],
        )
        living |= {row[0] for row in found}
    large = place.living | {id for id in living if seen[id] > 1}
    if len(rows) == _PART:
        _, changed, number = rows[-1]
        following = Place(state, changed, number, large)
    else:
        later = OVER[OVER.index(state) + 1 :]
        following = Place(later[0] if later else None, living=large)
    return tuple([id for id in seen if id not in living]), following


def _forget_deliveries(ids: Sequence[str], before: float, now: float) -> Statements[bool]:
    """Forget deliveries of messages that are over; the value is false if there are more."""
    changed: Counter[tuple[str, str]] = Counter()
    left = _FORGOTTEN
    for part in in_parts(ids):
        rows = yield Ask(
            "SELECT number, campaign, state FROM smtpx_delivery "
            f"WHERE message IN {marks(part)} AND {_OVER} AND changed < ? LIMIT ? {{wait}}",
            [*part, before, left],
        )
        left -= len(rows)
        for _, campaign, state in rows:
            changed[campaign, state] -= 1
        for several in in_parts([row[0] for row in rows]):
            yield Ask(f"DELETE FROM smtpx_delivery WHERE number IN {marks(several)}", several)
        if not left:
            break
    yield from count(changed, now)
    return left > 0


def forget_events(before: float) -> Statements[bool]:
    """Forget some events of that long ago; the value is false if there are more."""
    rows = yield Ask(
        "SELECT cursor FROM smtpx_event WHERE at < ? ORDER BY cursor LIMIT ?",
        [before, _FORGOTTEN],
    )
    for part in in_parts([row[0] for row in rows]):
        yield Ask(f"DELETE FROM smtpx_event WHERE cursor IN {marks(part)}", part)
    return len(rows) < _FORGOTTEN


def _forget_messages(ids: Sequence[str]) -> Statements[list[bytes]]:
    digests: list[bytes] = []
    _ = yield Ask("{forgetting}")
    for part in in_parts(ids):
        rows = yield Ask(
            "SELECT DISTINCT content FROM smtpx_message WHERE content IS NOT NULL "
            f"AND id IN {marks(part)}",
            part,
        )
        digests += [bytes(row[0]) for row in rows]
        yield Ask(f"DELETE FROM smtpx_message WHERE id IN {marks(part)}", part)
    spooled: list[bytes] = []
    for unneeded in in_parts(dict.fromkeys(digests)):
        unused = (
            f"digest IN {marks(unneeded)} AND NOT EXISTS "
            "(SELECT 1 FROM smtpx_message WHERE content = digest)"
        )
        rows = yield Ask(
            f"SELECT digest FROM smtpx_content WHERE octets IS NULL AND {unused}", unneeded
        )
        spooled += [bytes(row[0]) for row in rows]
        yield Ask(f"DELETE FROM smtpx_content WHERE {unused}", unneeded)
    return spooled


def settled(after: int) -> Statements[int]:
    """The highest cursor: none that is lower will be committed any more. `after` if none is higher.

    Whoever tells of events has a lock until that is committed, and shares it with others who do.
    """
    beyond = Ask("SELECT MAX(cursor) FROM smtpx_event WHERE cursor > ?", [after])
    if (yield beyond) == [(None,)]:
        return after
    _ = yield Ask("{told}")
    ((last,),) = yield beyond
    return int(last)


def events(after: int, most: int) -> Statements[list[Event]]:
    """Some of the events after a place in their stream."""
    last = yield from settled(after)
    rows = yield Ask(
        "SELECT cursor, message, recipient, state, reply, reason, at FROM smtpx_event "
        "WHERE cursor > ? AND cursor <= ? ORDER BY cursor LIMIT ?",
        [after, last, most],
    )
    return [
        Event(cursor, message, recipient, State(state), reply_of(reply), reason, moment(at))
        for cursor, message, recipient, state, reply, reason, at in rows
    ]


def cursor_of(name: str) -> Statements[int]:
    """How far a reader of the events has come."""
    rows = yield Ask("SELECT cursor FROM smtpx_reader WHERE name = ?", [name])
    return rows[0][0] if rows else 0
