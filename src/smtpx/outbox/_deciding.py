"""What people decide about messages: operations of the ledger, some deliveries at a time.

A campaign may have a million. Between two transactions others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from smtpx.addresses import Address

from ._asking import narrowed, nothing_of
from ._putting import AT_ONCE, moved, tell
from ._statements import Ask, Row, Statements, in_parts, marks
from ._store import Store
from .states import State

__all__ = ["cancel", "decide", "resolve", "retry"]

# Deliveries that one transaction decides about.
_PART = 500


class _Decided(NamedTuple):
    """What a decision about some of the deliveries of a message has come to."""

    many: int
    """For how many it changed something."""
    is_known: bool
    """Among them is the recipient that it is for, where there is one."""
    after: int | None
    """The place behind which it goes on; ``None`` at the end."""


def decide(
    store: Store,
    operation: Callable[..., Statements[_Decided]],
    id: str,
    recipient: Address | None,
    *args: object,
) -> int:
    """Decide about the deliveries of a message; the value is for how many it changed something.

    Raises:
        NotInOutbox: there is none of that id, or for that recipient.
    """
    many, is_known = 0, False
    after: int | None = -1
    while after is not None:
        some = store.transact(operation, id, recipient, after, *args)
        many, is_known, after = many + some.many, is_known or some.is_known, some.after
    if not is_known:
        raise nothing_of(id, str(recipient))
    return many


def cancel(id: str, recipient: Address | None, after: int, now: float) -> Statements[_Decided]:
    """Send nothing any more of what waits, for one recipient or all, from a place on.

    What somebody may have accepted is in doubt from then on.

    Raises:
        NotInOutbox: there is none of that id.
    """
    part = yield from _part(id, recipient, after)
    changes = _Changes(Counter(), [])
    many = 0
    for doubted, state in (("= 0", State.CANCELLED), ("> 0", State.IN_DOUBT)):
        where = f"state = 'waiting' AND doubted {doubted}"
        many += yield from _changed(part, where, state, changes, now)
    yield from tell(*changes, now)
    return _Decided(many, part.is_known, part.following)


def retry(
    id: str, recipient: Address | None, after: int, now: float, expires: float
) -> Statements[_Decided]:
    """Have those tried at once who wait, were refused or have expired, one recipient or all, from a
    place on.

    Raises:
        NotInOutbox: there is none of that id.
    """
    part = yield from _part(id, recipient, after)
    where = "(state IN ('refused', 'expired', 'cancelled') OR (state = 'waiting' AND claimed = 0))"
    changes = _Changes(Counter(), [])
    many = yield from _changed(part, where, State.WAITING, changes, now, expires)
    yield from tell(*changes, now)
    return _Decided(many, part.is_known, part.following)


def resolve(
    id: str, recipient: Address, after: int, state: State, now: float, expires: float
) -> Statements[_Decided]:
    """Settle what is in doubt, from a place on; what is sent again stays doubted, for it may be
    there already.

    Raises:
        NotInOutbox: there is none of that id.
    """
    part = yield from _part(id, recipient, after)
    where = "state = 'in doubt'"
    doubted = "0" if state is State.ACCEPTED else "CASE WHEN doubted > 0 THEN doubted ELSE 1 END"
    yield Ask(
        f"UPDATE smtpx_delivery SET doubted = {doubted} WHERE {part.where} AND {where}",
        part.values,
    )
    changes = _Changes(Counter(), [])
    many = yield from _changed(part, where, state, changes, now, expires)
    yield from tell(*changes, now)
    return _Decided(many, many > 0, part.following)


class _Part(NamedTuple):
    """So many deliveries of a message as one transaction decides about."""

    id: str
    where: str
    values: Sequence[object]
    is_known: bool
    following: int | None


def _part(id: str, recipient: Address | None, after: int) -> Statements[_Part]:
    if not (yield Ask("SELECT id FROM smtpx_message WHERE id = ?", [id])):
        raise nothing_of(id)
    ((last, several),) = yield Ask(
        "SELECT MAX(place), COUNT(*) FROM (SELECT place FROM smtpx_delivery "
        "WHERE message = ? AND place > ? ORDER BY place LIMIT ?) AS part",
        [id, after, _PART],
    )
    where, whose = narrowed("message = ? AND place > ? AND place <= ?", recipient)
    values = [id, after, -1 if last is None else last, *whose]
    is_known = recipient is None or bool(
        (yield Ask(f"SELECT number FROM smtpx_delivery WHERE {where}", values))
    )
    return _Part(id, where, values, is_known, last if several == _PART else None)


class _Changes(NamedTuple):
    """What is told at the end of a transaction."""

    counts: Counter[tuple[str, str]]
    events: list[Row]


def _changed(
    part: _Part, where: str, state: State, changes: _Changes, now: float, expires: float = 0.0
) -> Statements[int]:
    rows = yield Ask(
        "SELECT number, state, campaign, recipient FROM smtpx_delivery "
        f"WHERE {part.where} AND {where} {{wait}}",
        part.values,
    )
    for _, before, campaign, _ in rows:
        if before != state.value:
            moved(changes.counts, campaign, before, state.value)
    for several in in_parts([row[0] for row in rows]):
        # Whoever had it knows nothing of it any more: what it says is about what was before.
        yield Ask(
            "UPDATE smtpx_delivery SET state = ?, claimed = 0, owner = NULL, aside = NULL, "
            "due = ?, changed = ?, expires = CASE WHEN expires < ? THEN ? ELSE expires END "
            f"WHERE number IN {marks(several)}",
            [state.value, AT_ONCE, now, expires, expires, *several],
        )
    if state is not State.WAITING:
        changes.events.extend(
            (part.id, recipient, state.value, None, "", now) for _, _, _, recipient in rows
        )
    return len(rows)
