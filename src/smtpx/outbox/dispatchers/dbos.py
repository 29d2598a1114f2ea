"""By DBOS: the wake-up is a workflow in a queue."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from smtpx.errors import ExtraMissing

from ..outbox import Outbox
from . import DELIVER, RECONCILE

__all__ = ["DBOSDispatcher"]


class DBOSDispatcher:
    """Wakes by workflows of a DBOS queue.

    ::

        dispatcher = DBOSDispatcher(queue="smtpx")
        outbox = smtpx.Outbox("postgresql://…", dispatcher=dispatcher)
        dispatcher.serve(outbox, "submission://…")
        dispatcher.launch()  # in the place of DBOS.launch()

    Processes need an executor id each: DBOS takes those of the same id for one that was restarted.
    """

    transactional = False

    def __init__(self, *, queue: str) -> None:
        self._queue = queue
        self._deliver: Any = None
        self._reconcile: Any = None

    def wake(self, batches: Sequence[str], *, connection: object = None) -> None:
        """Enqueue a workflow for each batch.

        Raises:
            ExtraMissing: the package ``dbos`` is not installed.
            RuntimeError: `serve` has not been called.
        """
        api = _dbos()
        if self._deliver is None:
            raise RuntimeError("call serve() first: DBOS enqueues only what it knows")
        for batch in batches:
            api.enqueue_workflow(self._queue, self._deliver, batch)

    def serve(self, outbox: Outbox, via: Any, *, connections: int = 1) -> None:
        """Define the workflows: one delivers a batch, one is called each minute.

        Raises:
            ExtraMissing: the package ``dbos`` is not installed.
        """
        api = _dbos()

        def deliver(batch: str) -> None:
            outbox.deliver(batch, via, connections=connections)

        def reconcile(scheduled: object, context: object) -> None:
            _ = outbox.reconcile()

        self._deliver = api.workflow(name=DELIVER)(deliver)
        self._reconcile = api.workflow(name=RECONCILE)(reconcile)

    def launch(self, *, polling: float = 1.0) -> None:
        """Launch DBOS, with the queue, which is looked at each `polling` seconds, and the timer.

        Raises:
            ExtraMissing: the package ``dbos`` is not installed.
        """
        api = _dbos()
        api.launch()
        api.register_queue(self._queue, polling_interval_sec=polling)
        if api.get_schedule(RECONCILE) is None:
            api.create_schedule(
                schedule_name=RECONCILE, workflow_fn=self._reconcile, schedule="* * * * *"
            )


def _dbos() -> Any:
    try:
        return import_module("dbos").DBOS
    except ImportError as error:
        raise ExtraMissing("dbos", "dbos", "a DBOSDispatcher") from error
