"""By Celery, with the broker that it has: a message for each wake-up.

Celery and its brokers do lose messages, and deliver some of them twice. Neither matters here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..outbox import Outbox
from . import DELIVER, RECONCILE

__all__ = ["CeleryDispatcher"]


class CeleryDispatcher:
    """Wakes by tasks of a Celery app.

    ::

        dispatcher = CeleryDispatcher(app)
        outbox = smtpx.Outbox("postgresql://…", dispatcher=dispatcher)
        dispatcher.serve(outbox, "submission://…")  # where Celery's workers and its beat run
    """

    transactional = False

    def __init__(self, app: Any, *, queue: str | None = None) -> None:
        self._app = app
        self._queue = queue

    def wake(self, batches: Sequence[str], *, connection: object = None) -> None:
        """Send a task for each batch."""
        for batch in batches:
            self._app.send_task(DELIVER, [batch], queue=self._queue, ignore_result=True)

    def serve(self, outbox: Outbox, via: Any, *, connections: int = 1) -> None:
        """Define the tasks: one delivers a batch, one is called by the beat."""
        app = self._app

        def deliver(batch: str) -> None:
            outbox.deliver(batch, via, connections=connections)

        def reconcile() -> None:
            _ = outbox.reconcile()

        # Acknowledged when it is done: what a worker that died had, another one gets.
        _ = app.task(name=DELIVER, shared=False, acks_late=True, ignore_result=True)(deliver)
        _ = app.task(name=RECONCILE, shared=False, ignore_result=True)(reconcile)
        app.conf.beat_schedule = {
            **(app.conf.beat_schedule or {}),
            RECONCILE: {
                "task": RECONCILE,
                "schedule": 30.0,
                "options": {"queue": self._queue, "expires": 30.0},
            },
        }
