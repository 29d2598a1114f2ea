"""By procrastinate: the wake-up is a job in the same PostgreSQL, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..outbox import Outbox
from ..states import LedgerMisconfigured, LedgerUnavailable
from . import DELIVER, RECONCILE

__all__ = ["ProcrastinateDispatcher"]

# A type, a function or a table that the database does not know.
_MISSING = ("42704", "42883", "42P01")
_NO_SCHEMA = (
    "procrastinate's tables are not in the database, or too old: "
    "run `python -m procrastinate --app=… schema --apply`, or its migrations"
)


class ProcrastinateDispatcher:
    """Wakes by jobs of a procrastinate app.

    ::

        dispatcher = ProcrastinateDispatcher(app)
        outbox = smtpx.Outbox("postgresql://…", dispatcher=dispatcher)
        dispatcher.serve(outbox, "submission://…")  # where procrastinate's workers run
    """

    transactional = True

    def __init__(self, app: Any, *, queue: str = "smtpx") -> None:
        self._app = app
        self._queue = queue

    def wake(self, batches: Sequence[str], *, connection: object = None) -> None:
        """Defer a job for each batch, on the caller's connection where there is one.

        Raises:
            LedgerMisconfigured: procrastinate's tables are not there, or too old.
            LedgerUnavailable: the caller's connection cannot be used.
        """
        # No queueing lock: a job that is there may be one that has looked already.
        task: Any = self._app.configure_task(
            DELIVER, queue=self._queue, connection=connection, allow_unknown=True
        )
        try:
            _ = task.batch_defer(*[{"batch": batch} for batch in batches])
        except Exception as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state in _MISSING:
                raise LedgerMisconfigured(_NO_SCHEMA) from error
            if connection is not None and state is not None:
                raise LedgerUnavailable(f"the job cannot be deferred: {error.__cause__}") from error
            raise

    def serve(self, outbox: Outbox, via: Any, *, connections: int = 1) -> None:
        """Define the tasks: one delivers a batch, one is called each minute."""
        app = self._app

        def deliver(batch: str) -> None:
            outbox.deliver(batch, via, connections=connections)

        def reconcile(timestamp: int) -> None:
            _ = outbox.reconcile()

        _ = app.task(name=DELIVER, queue=self._queue)(deliver)
        task = app.task(name=RECONCILE, queue=self._queue)(reconcile)
        _ = app.periodic(cron="* * * * *")(task)
