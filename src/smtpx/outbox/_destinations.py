"""Where mail may go now: which destinations are held back, or limited, and what waits for them.

A claim goes along the queue. What is in its way is set aside once, under the name of its
destination, and put back into the queue in its turn. So a claim costs the same however much waits
for a destination that takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ._schedule import HELD_MOST, Limit, free_at, granted, held_for
from ._statements import Ask, Row, Statements, Tell, in_parts, marks

__all__ = [
    "FREE",
    "IN_TURN",
    "Claim",
    "Closed",
    "admitted",
    "held",
    "hold_back",
    "is_left",
    "let_in",
    "let_in_of_batch",
    "next_turn",
    "set_aside",
]

FREE = "state = 'waiting' AND claimed = 0"
_ASIDE = f"{FREE} AND aside = ? AND aside <> ''"
# The turn has come of what a delivery was set aside for: by now, or the clock was set back since.
IN_TURN = """EXISTS (SELECT 1 FROM smtpx_destination
    WHERE name = aside AND (turn <= ? OR turn > ?))"""
# One at a time decides about destinations: whoever waited for two of them in turn could block.
_DECIDING = Ask("{deciding}")
_DESTINATION = """INSERT INTO smtpx_destination (name, held_until, failures, earliest)
    VALUES (?,0,0,0) ON CONFLICT DO NOTHING"""
# Destinations of which a claim lets something in.
_LOOKS = 8
_DOMAIN = 4
"""Where the domain stands in the row of a delivery."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What an owner asks for."""

    owner: str
    most: int
    now: float
    batch: str | None = None
    limits: Mapping[str, Limit] | None = None
    hop: str | None = None
    """The one next hop of all messages; ``None`` where each domain is its own."""

    @property
    def goes_one_way(self) -> bool:
        """True if what may not go to one domain now may go to no other."""
        return self.hop is not None and not {*(self.limits or {})} - {"*", self.hop}

    def destination(self, domain: str) -> str:
        """By whose limits the mail for a domain goes, and what it waits for."""
        if self.hop is None or domain in (self.limits or {}):
            return domain
        return self.hop

    def limit(self, destination: str) -> Limit | None:
        """The limit of a destination, where it has one."""
        limits = self.limits or {}
        return limits.get(destination) or limits.get("*")


class Closed(NamedTuple):
    """A destination that gets no more now, and what waits for it."""

    until: float
    rows: Sequence[Row]


def held(names: Iterable[str], now: float) -> Statements[dict[str, float]]:
    """Those that are held back, each with when that ends."""
    found: dict[str, float] = {}
    for part in in_parts(names):
        # Nothing is held for longer than that, unless the clock was set back.
        rows = yield Ask(
            "SELECT name, held_until FROM smtpx_destination "
            f"WHERE name IN {marks(part)} AND held_until > ? AND held_until <= ?",
            [*part, now, now + HELD_MOST],
        )
        found |= dict(rows)
    return found


def admitted(wanted: Claim, rows: Sequence[Row]) -> Statements[tuple[list[Row], dict[str, Closed]]]:
    """Those that may go now, in their order; and the destinations that get no more."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(wanted.destination(row[_DOMAIN]), []).append(row)
    closed: dict[str, Closed] = {}
    if wanted.hop is None:
        for name, until in (yield from held(by_name, wanted.now)).items():
            closed[name] = Closed(until, by_name.pop(name))
    asked = {name: len(by_name[name]) for name in sorted(by_name) if wanted.limit(name)}
    if asked:
        _ = yield _DECIDING
        _ = yield Tell(_DESTINATION, [(name,) for name in asked])
        rooms = yield from _rooms(wanted, asked)
        yield from _note_earliest(rooms)
        for name, room in rooms.items():
            if room.several < asked[name]:
                closed[name] = Closed(room.until, by_name[name][room.several :])
    shut = {row[0] for one in closed.values() for row in one.rows}
    return [row for row in rows if row[0] not in shut], closed


class _Room(NamedTuple):
    """How many may go to a destination now."""

    several: int
    earliest: float
    """That of the destination, once they have gone."""
    until: float
    """When another may go."""


def _note_earliest(rooms: Mapping[str, _Room]) -> Statements[None]:
    _ = yield Tell(
        "UPDATE smtpx_destination SET earliest = ? WHERE name = ?",
        [(room.earliest, name) for name, room in rooms.items()],
    )


def _rooms(wanted: Claim, asked: Mapping[str, int]) -> Statements[dict[str, _Room]]:
    """Of so many for each destination, those that its limit allows."""
    under_way = yield from _under_way(wanted, asked)
    earliest: dict[str, float] = {}
    for part in in_parts(asked):
        rows = yield Ask(
            f"SELECT name, earliest FROM smtpx_destination WHERE name IN {marks(part)}", part
        )
        earliest |= dict(rows)
    rooms: dict[str, _Room] = {}
    for name, most in asked.items():
        limit, since = wanted.limit(name), earliest.get(name, 0.0)
        if limit is None:
            rooms[name] = _Room(most, since, wanted.now)
            continue
        if limit.at_once is not None:
            most = max(0, min(most, limit.at_once - under_way.get(name, 0)))
        several, then = granted(limit, most, since, wanted.now)
        rooms[name] = _Room(several, then, max(free_at(limit, then, wanted.now), wanted.now))
    return rooms


def _under_way(wanted: Claim, names: Iterable[str]) -> Statements[dict[str, int]]:
    """How many have been claimed, of destinations that are limited in that."""
    counted = [
        name for name in names if (limit := wanted.limit(name)) and limit.at_once is not None
    ]
    found: dict[str, int] = {}
    for part in in_parts([name for name in counted if name != wanted.hop]):
        found |= dict(
            (
                yield Ask(
                    "SELECT domain, COUNT(*) FROM smtpx_delivery "
                    f"WHERE claimed = 1 AND place >= 0 AND domain IN {marks(part)} GROUP BY domain",
                    part,
                )
            )
        )
    if wanted.hop in counted:
        ((n,),) = yield Ask("SELECT COUNT(*) FROM smtpx_delivery WHERE claimed = 1 AND place >= 0")
        found[wanted.hop] = n
    return found


def set_aside(closed: Mapping[str, Closed], now: float) -> Statements[None]:
    """Take out of the queue what waits for destinations that get no more."""
    if not closed:
        return
    _ = yield _DECIDING
    _ = yield Tell(_DESTINATION, [(name,) for name in sorted(closed)])
    _ = yield Tell(
        "UPDATE smtpx_destination SET turn = ? WHERE name = ?",
        [(min(one.until, now + HELD_MOST), name) for name, one in sorted(closed.items())],
    )
    by_domain = [row[0] for name, one in closed.items() for row in one.rows if row[_DOMAIN] == name]
    for part in in_parts(by_domain):
        yield Ask(f"UPDATE smtpx_delivery SET aside = domain WHERE number IN {marks(part)}", part)
    for name, one in closed.items():
        for part in in_parts([row[0] for row in one.rows if row[_DOMAIN] != name]):
            yield Ask(
                f"UPDATE smtpx_delivery SET aside = ? WHERE number IN {marks(part)}",
                [name, *part],
            )


def let_in(wanted: Claim) -> Statements[int]:
    """Put back into the queue some of what was set aside, where its turn has come; the value is
    how many.
    """
    if not (yield from _turns(wanted.now)):
        return 0
    _ = yield _DECIDING
    names = yield from _turns(wanted.now)
    each = -(-wanted.most // max(len(names), 1))
    rooms = yield from _rooms(wanted, dict.fromkeys(names, each))
    found = 0
    for name, room in rooms.items():
        rows = yield Ask(
            f"SELECT number FROM smtpx_delivery WHERE {_ASIDE} "
            "ORDER BY priority DESC, due, number LIMIT ? {lock}",
            [name, room.several],
        )
        yield from _put_back([row[0] for row in rows])
        found += len(rows)
        turn: float | None = min(room.until, wanted.now + HELD_MOST)
        if len(rows) < room.several and not (
            yield Ask(
                f"SELECT 1 FROM smtpx_delivery WHERE {_ASIDE} LIMIT 1",
                [name],
            )
        ):
            turn = None
        _ = yield Tell("UPDATE smtpx_destination SET turn = ? WHERE name = ?", [(turn, name)])
        if not room.several:
            # Where the clock was set back, it is further ahead than a burst.
            yield from _note_earliest({name: room})
    return found


def _turns(now: float) -> Statements[list[str]]:
    """Destinations whose turn has come, or was put off by a clock that was set back since."""
    rows = yield Ask(
        """SELECT name FROM (SELECT name FROM smtpx_destination WHERE turn <= ?
            ORDER BY turn LIMIT ?) AS due
        UNION ALL SELECT name FROM (SELECT name FROM smtpx_destination WHERE turn > ?
            ORDER BY turn LIMIT ?) AS ahead""",
        [now, _LOOKS, now + HELD_MOST, _LOOKS],
    )
    return [row[0] for row in rows]


def _put_back(numbers: Sequence[int]) -> Statements[None]:
    for part in in_parts(numbers):
        yield Ask(f"UPDATE smtpx_delivery SET aside = NULL WHERE number IN {marks(part)}", part)


def let_in_of_batch(wanted: Claim) -> Statements[None]:
    """Put back into the queue what was set aside of a batch, where its turn has come."""
    rows = yield Ask(
        f"SELECT number FROM smtpx_delivery WHERE {FREE} AND batch = ? AND batch <> '' "
        f"AND aside IS NOT NULL AND {IN_TURN} {{lock}}",
        [wanted.batch, wanted.now, wanted.now + HELD_MOST],
    )
    yield from _put_back([row[0] for row in rows])


def is_left(batch: str, now: float) -> Statements[bool]:
    """True if something of a batch is due that nobody has: it may not go now."""
    rows = yield Ask(
        f"SELECT 1 FROM smtpx_delivery WHERE {FREE} AND batch = ? AND batch <> '' AND due <= ? "
        "LIMIT 1",
        [batch, now],
    )
    return bool(rows)


def next_turn(wanted: Claim) -> Statements[float | None]:
    """When the next turn of a destination comes that something was set aside for."""
    rows = yield Ask("SELECT MIN(turn) FROM smtpx_destination WHERE turn IS NOT NULL")
    turn: float | None = rows[0][0]
    return turn if turn is None or turn <= wanted.now + HELD_MOST else wanted.now


def hold_back(names: Sequence[str], now: float) -> Statements[None]:
    """Send nothing to destinations for a while that could not be reached: each time for longer,
    unless they could be for as long meanwhile.
    """
    _ = yield _DECIDING
    for part in in_parts(sorted(names)):
        _ = yield Tell(_DESTINATION, [(name,) for name in part])
        rows = yield Ask(
            f"SELECT name, held_until, failures FROM smtpx_destination WHERE name IN {marks(part)}",
            part,
        )
        backs: list[tuple[object, ...]] = []
        for name, until, failures in rows:
            if until > now and until <= now + HELD_MOST:
                continue  # Whoever came before has said so.
            before = failures if now - until < held_for(failures) else 0
            end = now + held_for(before)
            backs.append((end, before + 1, end, name))
        _ = yield Tell(
            "UPDATE smtpx_destination SET held_until = ?, failures = ?, "
            "turn = CASE WHEN turn IS NULL THEN NULL ELSE ? END WHERE name = ?",
            backs,
        )
