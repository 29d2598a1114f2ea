"""The outbox: mail that survives a crash, from one file to many machines.

A ledger, in an SQLite file or in PostgreSQL, has for each recipient what is true at the server.
Workers claim what is due, mark it before it may be in doubt, send it, and note what became of it.
"""

from __future__ import annotations

from ._options import OutboxOptions, PutOptions
from ._schedule import Limit, Retries
from .asynchronous import AsyncOutbox
from .outbox import Outbox
from .states import (
    Counts,
    Delivery,
    Event,
    IdempotencyConflict,
    LedgerCorrupt,
    LedgerMisconfigured,
    LedgerTooNew,
    LedgerUnavailable,
    NotInOutbox,
    OutboxError,
    State,
    Submission,
)

__all__ = [
    "AsyncOutbox",
    "Counts",
    "Delivery",
    "Event",
    "IdempotencyConflict",
    "LedgerCorrupt",
    "LedgerMisconfigured",
    "LedgerTooNew",
    "LedgerUnavailable",
    "Limit",
    "NotInOutbox",
    "Outbox",
    "OutboxError",
    "OutboxOptions",
    "PutOptions",
    "Retries",
    "State",
    "Submission",
]
