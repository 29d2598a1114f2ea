"""The tables of the ledger, and how each version of them becomes the next.

A migration is never edited once it was released: the next one mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["MIGRATIONS", "VERSION", "Column", "Former"]


class Column(NamedTuple):
    """A column that a table is to have: added where it is not there."""

    table: str
    name: str
    kind: str


class Former(NamedTuple):
    """A column that a table had: dropped where it is there."""

    table: str
    name: str


# What differs between the databases is in braces: see `Dialect`.
_FIRST = (
    """CREATE TABLE smtpx_content (
        digest {octets} PRIMARY KEY,
        octets {octets},
        size BIGINT NOT NULL
    )""",
    """CREATE TABLE smtpx_message (
        id TEXT PRIMARY KEY,
        key TEXT UNIQUE,
        fingerprint {octets},
        campaign TEXT NOT NULL,
        sender TEXT NOT NULL,
        options TEXT,
        stamps {octets} NOT NULL,
        message_id TEXT NOT NULL,
        octets {octets},
        content {octets},
        template INTEGER NOT NULL,
        hold INTEGER NOT NULL,
        created {seconds} NOT NULL,
        expires {seconds} NOT NULL,
        puts BIGINT NOT NULL
    )""",
    """CREATE INDEX smtpx_message_content ON smtpx_message (content)
        WHERE content IS NOT NULL""",
    """CREATE TABLE smtpx_delivery (
        number {number},
        message TEXT NOT NULL,
        place BIGINT NOT NULL,
        recipient TEXT NOT NULL,
        wishes TEXT,
        domain TEXT NOT NULL,
        message_id TEXT,
        data TEXT,
        campaign TEXT NOT NULL,
        batch TEXT NOT NULL,
        state TEXT NOT NULL,
        claimed INTEGER NOT NULL,
        owner TEXT,
        hold INTEGER NOT NULL,
        deferred INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        due {seconds} NOT NULL,
        expires {seconds} NOT NULL,
        attempts INTEGER NOT NULL,
        reply TEXT,
        reason TEXT NOT NULL,
        host TEXT NOT NULL,
        changed {seconds} NOT NULL,
        warn {seconds}
    )""",
    "CREATE UNIQUE INDEX smtpx_delivery_message ON smtpx_delivery (message, place)",
    """CREATE INDEX smtpx_delivery_due ON smtpx_delivery (hold, deferred, priority, due, number)
        WHERE state = 'waiting' AND claimed = 0""",
    """CREATE INDEX smtpx_delivery_batch ON smtpx_delivery (batch, due)
        WHERE state = 'waiting' AND claimed = 0""",
    """CREATE INDEX smtpx_delivery_warn ON smtpx_delivery (warn)
        WHERE state = 'waiting' AND warn IS NOT NULL""",
    "CREATE INDEX smtpx_delivery_claimed ON smtpx_delivery (owner) WHERE claimed = 1",
    """CREATE INDEX smtpx_delivery_settled ON smtpx_delivery (state, changed)
        WHERE state <> 'waiting' AND state <> 'sending'""",
    """CREATE TABLE smtpx_worker (
        id TEXT PRIMARY KEY,
        beat BIGINT NOT NULL,
        seen {seconds} NOT NULL,
        lease {seconds} NOT NULL
    )""",
    """CREATE TABLE smtpx_destination (
        name TEXT PRIMARY KEY,
        held_until {seconds} NOT NULL,
        failures INTEGER NOT NULL,
        earliest {seconds} NOT NULL
    )""",
    """CREATE TABLE smtpx_count (
        campaign TEXT NOT NULL,
        slot INTEGER NOT NULL,
        state TEXT NOT NULL,
        n BIGINT NOT NULL,
        PRIMARY KEY (campaign, slot, state)
    )""",
    """CREATE TABLE smtpx_event (
        cursor {number},
        message TEXT NOT NULL,
        recipient TEXT NOT NULL,
        state TEXT NOT NULL,
        reply TEXT,
        reason TEXT NOT NULL,
        at {seconds} NOT NULL
    )""",
    """CREATE TABLE smtpx_reader (
        name TEXT PRIMARY KEY,
        cursor BIGINT NOT NULL
    )""",
)

# For some days the first one had these, too: what it made then is of version 1 as well.
_SECOND = (
    # The key of a template was its campaign's name, and might have been a message's.
    "UPDATE smtpx_message SET key = NULL WHERE template = 1",
    Column("smtpx_delivery", "doubted", "INTEGER NOT NULL DEFAULT 0"),
    """CREATE INDEX IF NOT EXISTS smtpx_message_template ON smtpx_message (created)
        WHERE template = 1""",
    """CREATE UNIQUE INDEX IF NOT EXISTS smtpx_message_campaign ON smtpx_message (campaign)
        WHERE template = 1 AND campaign <> ''""",
)

# What waits for a destination that takes nothing stands in the way of no claim. An index that is
# for one purpose alone has a condition that only that purpose names: without statistics, as after
# a first large campaign, PostgreSQL would take it for another, and read all that waits.
_THIRD = (
    Column("smtpx_delivery", "aside", "TEXT"),
    Column("smtpx_destination", "turn", "{seconds}"),
    "DROP INDEX smtpx_delivery_due",
    """CREATE INDEX smtpx_delivery_due ON smtpx_delivery (hold, deferred, priority, due, number)
        WHERE state = 'waiting' AND claimed = 0 AND aside IS NULL""",
    """CREATE INDEX smtpx_delivery_aside
        ON smtpx_delivery (aside, hold, priority DESC, due, number)
        WHERE state = 'waiting' AND claimed = 0 AND aside <> ''""",
    "DROP INDEX smtpx_delivery_batch",
    """CREATE INDEX smtpx_delivery_batch ON smtpx_delivery (batch, due)
        WHERE state = 'waiting' AND claimed = 0 AND batch <> ''""",
    "DROP INDEX smtpx_delivery_claimed",
    """CREATE INDEX smtpx_delivery_claimed ON smtpx_delivery (owner)
        WHERE claimed = 1 AND place >= 0""",
    # With the number, that a purge goes on in the midst of what was settled in one moment.
    "DROP INDEX smtpx_delivery_settled",
    """CREATE INDEX smtpx_delivery_settled ON smtpx_delivery (state, changed, number)
        WHERE state <> 'waiting' AND state <> 'sending'""",
    "CREATE INDEX smtpx_destination_turn ON smtpx_destination (turn) WHERE turn IS NOT NULL",
)

# What was withdrawn and is claimed again is another claim, though the owner be the same.
_FOURTH = (
    Column("smtpx_delivery", "epoch", "BIGINT NOT NULL DEFAULT 0"),
    # Of those who tell of events by one name, one does so.
    Column("smtpx_reader", "owner", "TEXT"),
)

# Mail of both policies is one queue.
_FIFTH = (
    "DROP INDEX smtpx_delivery_due",
    """CREATE INDEX smtpx_delivery_due ON smtpx_delivery (deferred, priority, due, number)
        WHERE state = 'waiting' AND claimed = 0 AND aside IS NULL""",
    "DROP INDEX smtpx_delivery_aside",
    """CREATE INDEX smtpx_delivery_aside ON smtpx_delivery (aside, priority DESC, due, number)
        WHERE state = 'waiting' AND claimed = 0 AND aside <> ''""",
)

# In PostgreSQL the first one added the transaction of an event. Events are in the order of their
# commits now, and a ledger that was restored has transactions of another server.
_SIXTH = (Former("smtpx_event", "xid"),)

# What is late is found wherever it waits. What is doubted is seldom, and counted as it is.
_SEVENTH = (
    """CREATE INDEX IF NOT EXISTS smtpx_delivery_expires ON smtpx_delivery (expires)
        WHERE state = 'waiting' AND claimed = 0 AND expires > 0""",
    """CREATE INDEX IF NOT EXISTS smtpx_delivery_doubted
        ON smtpx_delivery (state, campaign)
        WHERE doubted > 0""",
)

MIGRATIONS: Sequence[Sequence[str | Column | Former]] = (
    *(_FIRST, _SECOND, _THIRD),
    *(_FOURTH, _FIFTH, _SIXTH, _SEVENTH),
)
"""What makes of the tables of each version those of the next; the first makes them of nothing."""

VERSION = len(MIGRATIONS)
