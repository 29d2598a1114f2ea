"""Engines that call workers when there is something to send: in the place of `Outbox.run`.

The ledger owns the truth, and an engine only wakes. The contract of a dispatcher is one sentence:
*a wake-up may be lost, doubled, late or out of order, or hang; only latency depends on it.*
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["DELIVER", "RECONCILE", "Dispatcher"]

DELIVER = "smtpx.outbox.deliver"
"""The name of the task that delivers one batch."""
RECONCILE = "smtpx.outbox.reconcile"
"""The name of the task that a timer calls."""


class Dispatcher(Protocol):
    """Has `Outbox.deliver` called with batches, in some process, at some time."""

    @property
    def transactional(self) -> bool:
        """True if a wake-up can be part of the caller's own transaction."""
        ...

    def wake(self, batches: Sequence[str], *, connection: object = None) -> None:
        """Have each of these batches delivered; where there is a `connection`, once that commits.

        What it raises is logged, and `Outbox.reconcile` wakes again. So it does of one that takes
        more than five seconds: nobody waits for it any longer. It is called in a thread.

        With a `connection` it is called in the thread of whoever owns that. What it raises is
        raised to him, and it may wait for nothing but that connection.
        """
        ...


Dispatcher.__module__ = "smtpx.outbox.dispatchers"
