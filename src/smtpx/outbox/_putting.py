"""How messages come into the ledger: operations, as generators of statements."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from ._preparing import Prepared, Receiver
from ._statements import Ask, Statements, Table, Tell, in_parts, marks
from .states import IdempotencyConflict, NotInOutbox

__all__ = [
    "AT_ONCE",
    "MergeRow",
    "Terms",
    "chained",
    "count",
    "moved",
    "put",
    "put_rows",
    "put_template",
    "tell",
]

AT_ONCE = 0.0
"""What is due before all else, whatever the clock says, and whoever's it is."""
# Counters are spread over so many rows, so that transactions do not wait for each other.
_SLOTS = 16

_CONTENT = "INSERT INTO smtpx_content (digest, octets, size) VALUES (?,?,?) ON CONFLICT DO NOTHING"
_MESSAGES = Table(
    "smtpx_message",
    # As `Prepared` has them.
    ["id", "key", "fingerprint", "sender", "options", "stamps", "message_id", "octets", "content"],
    ["campaign", "template", "hold", "created", "expires"],
    {"puts": "0"},
)
_DELIVERIES = Table(
    "smtpx_delivery",
    ["message", "place", "recipient", "wishes", "domain", "message_id", "data", "batch", "warn"],
    ["campaign", "hold", "priority", "due", "expires", "changed"],
    {"state": "'waiting'", "reason": "''", "host": "''"}
    | dict.fromkeys(["claimed", "deferred", "doubted", "attempts"], "0"),
)
_EVENT = """INSERT INTO smtpx_event (message, recipient, state, reply, reason, at)
    VALUES (?,?,?,?,?,?)"""
_COUNT = """INSERT INTO smtpx_count (campaign, slot, state, n) VALUES (?,?,?,?)
    ON CONFLICT (campaign, slot, state) DO UPDATE SET n = smtpx_count.n + excluded.n"""


class Terms(NamedTuple):
    """What holds for all messages of one call."""

    campaign: str
    hold: bool
    priority: int
    due: float
    expires: float
    now: float
    warn: float | None = None
    """When the sender is told that a message still waits."""


def put(
    messages: Sequence[Prepared],
    terms: Terms,
    batches: Sequence[str] | None,
    spooled: Container[bytes | None] = (),
) -> Statements[list[str]]:
    """Put messages in; the value is their ids, or those under which their keys were used before.

    They are spread over the batches; without these, each is its own. Contents whose digests are
    among the `spooled` ones are in files.

    What was put in by an earlier try of the very same call is left as it is.

    Raises:
        IdempotencyConflict: a key was used for another message.
    """
    known: dict[str, str] = {}
    new = messages
    if any(message.key is not None for message in messages):
        known = yield from _known(messages)
        new = _unknown(messages, known)
    if shared := [message for message in new if message.digest is not None]:
        # Until we have committed, nobody may forget a content that we have found to be there.
        _ = yield Ask("{keeping}")
        _ = yield Tell(_CONTENT, [_content(one, one.digest in spooled) for one in shared])
    yield from _add_messages([_kept(message) for message in new], terms, template=0)
    if known or any(message.key is not None for message in new):
        # Another process may have used a key meanwhile, and was first.
        known = yield from _known(messages)
        new = [message for message in new if known.get(message.key or "", message.id) == message.id]
    rows: list[tuple[object, ...]] = []
    for n, message in enumerate(new):
        batch = message.id if batches is None else batches[n % len(batches)]
        warn = terms.warn if message.sender else None  # The null sender is nobody to be told.
        for place, receiver in enumerate(message.receivers):
            rows.append((message.id, place, *receiver, None, None, batch, warn))
    yield from _add_deliveries(rows, terms)
    return [known.get(message.key or "", message.id) for message in messages]


def _known(messages: Sequence[Prepared]) -> Statements[dict[str, str]]:
    """The ids of keys that are in the ledger."""
    wanted = {message.key: message for message in messages if message.key is not None}
    known: dict[str, str] = {}
    for keys in in_parts(wanted):
        rows = yield Ask(
            f"SELECT key, id, fingerprint FROM smtpx_message WHERE key IN {marks(keys)}", keys
        )
        for key, id, fingerprint in rows:
            _check_same(wanted[key], bytes(fingerprint or b""), id)
            known[key] = id
    return known


def _unknown(messages: Sequence[Prepared], known: Mapping[str, str]) -> list[Prepared]:
    """Those to be put in; of several with one key, the first."""
    first: dict[str, Prepared] = {}
    new: list[Prepared] = []
    for message in messages:
        if message.key is None:
            new.append(message)
        elif message.key not in known:
            if message.key not in first:
                first[message.key] = message
                new.append(message)
            elif first[message.key].fingerprint != message.fingerprint:
                raise _conflict(message.key, first[message.key].id)
    return new


def _check_same(message: Prepared, fingerprint: bytes, id: str) -> None:
    if fingerprint != message.fingerprint:
        raise _conflict(message.key, id)


def _conflict(key: str | None, id: str) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"key {key!r} was used for another message ({id}): give each message a key of its own"
    )


def _content(message: Prepared, spooled: bool) -> tuple[object, ...]:
    return message.digest, None if spooled else message.octets, len(message.octets)


def _kept(message: Prepared) -> tuple[object, ...]:
    """The row of a message; a content that others may share is not in it."""
    return message[:-1] if message.digest is None else (*message[:-3], None, message.digest)


def _add_messages(
    rows: Sequence[tuple[object, ...]], terms: Terms, *, template: int
) -> Statements[None]:
    same = (terms.campaign, template, int(terms.hold), terms.now, terms.expires)
    yield from _MESSAGES.add(rows, same)


def _add_deliveries(rows: Sequence[tuple[object, ...]], terms: Terms) -> Statements[None]:
    hold = int(terms.hold)
    same = (terms.campaign, hold, terms.priority, terms.due, terms.expires, terms.now)
    yield from _DELIVERIES.add(rows, same)
    yield from count({(terms.campaign, "waiting"): len(rows)}, terms.now)


class MergeRow(NamedTuple):
    """A recipient of a merged message."""

    receiver: Receiver
    message_id: str
    data: Mapping[str, Any]


def put_template(template: Prepared, terms: Terms) -> Statements[tuple[str, int, bytes]]:
    """Put a template in, or find it; the value is its id, how many rows it has, and their chain."""
    if known := (yield from _begun(template, terms)):
        return known
    _ = yield Ask("{keeping}")
    _ = yield Tell(_CONTENT, [_content(template, spooled=False)])
    # The fingerprint is that of the rows, as they come.
    row = template._replace(fingerprint=b"", stamps=template.fingerprint or b"")
    yield from _add_messages([_kept(row)], terms, template=1)
    # Another process may have begun the campaign meanwhile, and was first.
    return (yield from _begun(template, terms)) or (template.id, 0, b"")


def _begun(template: Prepared, terms: Terms) -> Statements[tuple[str, int, bytes] | None]:
    if not terms.campaign:
        return None
    rows = yield Ask(
        "SELECT id, puts, fingerprint, stamps FROM smtpx_message "
        "WHERE template = 1 AND campaign <> '' AND campaign = ?",
        [terms.campaign],
    )
    if not rows:
        return None
    id, puts, chain, fingerprint = rows[0]
    if bytes(fingerprint) != template.fingerprint:
        raise IdempotencyConflict(
            f"campaign {terms.campaign!r} was begun with another template ({id}): "
            "give each campaign a name of its own"
        )
    return id, puts, bytes(chain)


def put_rows(
    id: str, rows: Sequence[MergeRow], before: int, chain: bytes, terms: Terms, batch: str
) -> Statements[None]:
    """Add rows to a merged message that has so many already.

    Raises:
        IdempotencyConflict: another process adds rows to it.
        NotInOutbox: it was purged meanwhile.
    """
    found = yield Ask("SELECT puts, fingerprint FROM smtpx_message WHERE id = ? {wait}", [id])
    if not found:
        raise NotInOutbox(f"the outbox has no message {id!r} any more: it was purged meanwhile")
    puts, known = found[0]
    if puts == before + len(rows) and bytes(known) == chain:
        return  # The transaction was committed, and we had not heard of it.
    if puts != before:
        raise IdempotencyConflict(
            f"campaign {terms.campaign!r} is being put in by another call: let one of them do it"
        )
    values = [
        (
            *(id, before + place, *row.receiver, row.message_id),
            *(json.dumps(row.data, ensure_ascii=False, separators=(",", ":")), batch, None),
        )
        for place, row in enumerate(rows)
    ]
    _ = yield Tell(
        "UPDATE smtpx_message SET puts = ?, fingerprint = ? WHERE id = ?",
        [(before + len(rows), chain, id)],
    )
    yield from _add_deliveries(values, terms)


def chained(chain: bytes, data: Mapping[str, Any]) -> bytes:
    """What tells a sequence of rows from others, with one more row."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(chain + text.encode("utf-8", "surrogatepass")).digest()


def count(changes: Mapping[tuple[str, str], int], now: float) -> Statements[None]:
    """Add to the counters of campaigns."""
    slot = int(now * 1000) % _SLOTS
    rows = [(campaign, slot, state, n) for (campaign, state), n in changes.items() if n]
    if rows:
        # In one order everywhere, so that no two transactions wait for each other in a circle.
        _ = yield Tell(_COUNT, sorted(rows))


def tell(
    changes: Mapping[tuple[str, str], int], events: Sequence[Sequence[object]], now: float
) -> Statements[None]:
    """Count what has changed, and tell of it in events, at the end of a transaction."""
    yield from count(changes, now)
    if events:
        # Whoever reads waits until this is committed: see `settled`. The last lock of all: whoever
        # has it waits for nobody any more.
        _ = yield Ask("{telling}")
        _ = yield Tell(_EVENT, events)


def moved(counter: Counter[tuple[str, str]], campaign: str, before: str, after: str) -> None:
    """Note that a delivery has gone from one state to another."""
    counter[campaign, before] -= 1
    counter[campaign, after] += 1
