"""Which messages their senders are told of: those that were given up, and those that wait."""

from __future__ import annotations

import json
from collections.abc import Sequence

from smtpx._headers import header_section
from smtpx.envelope import Envelope, Notify

from . import _asking
from ._notices import Concerned, Reported, notice
from ._preparing import prepared
from ._putting import Terms, put
from ._spool import Spool
from ._statements import Ask, Row, Statements, Tell, in_parts, marks
from ._stored import reply_of
from .states import LedgerCorrupt, LedgerUnavailable, State

__all__ = ["begin_reports", "report", "settled", "warn"]

# What a report begins to read as events, and no more of them, or of what waits, at once.
_READER, _MOST = "smtpx bounces", 200
# Events that it goes past at once: most of them are of what was accepted.
_PASSED = 20_000
_GIVEN_UP = (State.REFUSED.value, State.EXPIRED.value, State.IN_DOUBT.value)


def begin_reports() -> Statements[None]:
    """Report from now on, if that was not begun before."""
    _ = yield Tell(
        "INSERT INTO smtpx_reader (name, cursor) VALUES (?,?) ON CONFLICT DO NOTHING",
        [(_READER, (yield from _asking.settled(0)))],
    )


def settled() -> Statements[int]:
    """Up to where reports may be made. Not in the transaction that makes them, which takes long."""
    before = yield from _asking.cursor_of(_READER)
    return (yield from _asking.settled(before))


def report(postmaster: str, spool: Spool | None, terms: Terms, until: int) -> Statements[int]:
    """Put reports in of what was given up since the last time, up to a cursor; the value is by how
    much ours has moved.

    None is sent to the null sender, nor to that of a template, which is many people's.
    """
    ((before,),) = yield Ask("SELECT cursor FROM smtpx_reader WHERE name = ? {wait}", [_READER])
    ((last,),) = yield Ask(
        "SELECT MAX(cursor) FROM (SELECT cursor FROM smtpx_event "
        "WHERE cursor > ? AND cursor <= ? ORDER BY cursor LIMIT ?) AS part",
        [before, until, _PASSED],
    )
    if last is None:
        return 0
    events = yield Ask(
        "SELECT cursor, message, recipient, state, reply, reason FROM smtpx_event "
        f"WHERE cursor > ? AND cursor <= ? AND state IN {marks(_GIVEN_UP)} "
        "ORDER BY cursor LIMIT ?",
        [before, last, *_GIVEN_UP, _MOST],
    )
    after: int = events[-1][0] if len(events) == _MOST else last
    failed: dict[str, list[Row]] = {}
    for event in events:
        failed.setdefault(event[1], []).append(event)
    for message, several in failed.items():
        rows = yield Ask(
            "SELECT recipient, wishes, host, hold FROM smtpx_delivery WHERE message = ?", [message]
        )
        known = {recipient: several for recipient, *several in rows}
        concerned: list[Concerned] = []
        for _, _, recipient, state, reply, reason in several:
            wishes, host, hold = known.get(recipient, (None, "", 0))
            if state == State.IN_DOUBT.value and (hold or not (reply or reason)):
                continue  # Somebody has to settle it, or has cancelled it.
            if _is_wanted(wishes, Notify.FAILURE):
                concerned.append(
                    Concerned(
                        *(recipient, _original(wishes), State(state), reply_of(reply)),
                        *(reason, host, 0.0),
                    )
                )
        yield from _tell(postmaster, message, concerned, spool, terms)
    _ = yield Tell("UPDATE smtpx_reader SET cursor = ? WHERE name = ?", [(after, _READER)])
    return after - int(before)


def warn(postmaster: str, spool: Spool | None, terms: Terms) -> Statements[int]:
    """Put reports in of what has waited for so long that its sender is to be told; the value is of
    how many recipients. Each is told of once.
    """
    rows = yield Ask(
        "SELECT number, message, recipient, wishes, reply, reason, host, expires "
        "FROM smtpx_delivery WHERE state = 'waiting' AND claimed = 0 AND warn <= ? "
        "ORDER BY warn, number LIMIT ? {lock}",
        [terms.now, _MOST],
    )
    for part in in_parts([row[0] for row in rows]):
        yield Ask(f"UPDATE smtpx_delivery SET warn = NULL WHERE number IN {marks(part)}", part)
    delayed: dict[str, list[Concerned]] = {}
    for _, message, recipient, wishes, reply, reason, host, expires in rows:
        if expires > terms.now and _is_wanted(wishes, Notify.DELAY):
            delayed.setdefault(message, []).append(
                Concerned(
                    *(recipient, _original(wishes), State.WAITING, reply_of(reply)),
                    *(reason, host, expires),
                )
            )
    for message, concerned in delayed.items():
        yield from _tell(postmaster, message, concerned, spool, terms)
    return len(rows)


def _is_wanted(wishes: str | None, kind: Notify) -> bool:
    """True unless the sender has said for that recipient that it is not (RFC 3461 §4.1)."""
    notify = None if wishes is None else json.loads(wishes)["notify"]
    return notify is None or kind in Notify(notify)


def _original(wishes: str | None) -> str | None:
    said: str | None = None if wishes is None else json.loads(wishes)["orcpt"]
    if said is None or (";" in said and not said.startswith('"')):
        return said
    return f"rfc822;{said}"


def _tell(
    postmaster: str,
    message: str,
    concerned: Sequence[Concerned],
    spool: Spool | None,
    terms: Terms,
) -> Statements[None]:
    """Put in a report of a message, where there is somebody who is to be told of it."""
    found = yield Ask(
        "SELECT m.sender, m.stamps, m.message_id, m.options, COALESCE(m.octets, c.octets), "
        "c.digest, c.size FROM smtpx_message m LEFT JOIN smtpx_content c ON c.digest = m.content "
        "WHERE m.id = ? AND m.sender <> ''",
        [message],
    )
    if not found or not concerned:
        return
    sender, stamps, message_id, options, octets, digest, size = found[0]
    head = b"" if octets is None else bytes(octets)
    if digest is not None and octets is None and spool is not None:
        try:
            head = next(spool.pieces(bytes(digest), size), b"")
        except (LedgerCorrupt, LedgerUnavailable):
            head = b""
    envid = None if options is None else json.loads(options).get("envid")
    header = bytes(stamps) + header_section(head)
    said = notice(postmaster, Reported(sender, message_id, envid, header), concerned)
    _ = yield from put([prepared(said, Envelope(None, sender), None)], terms, None)
