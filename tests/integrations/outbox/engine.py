"""A worker of an engine, that delivers from a ledger until it is killed.

`python -m tests.integrations.outbox.engine ENGINE LEDGER BROKER SERVER`
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from smtpx.outbox import Outbox
from tests.outbox.worker import LEASE, SOON


def celery(broker: str) -> tuple[Any, Callable[[], object], Callable[[], object]]:
    from celery import Celery

    from smtpx.outbox.dispatchers.celery import CeleryDispatcher

    app = Celery("engine", broker=broker)
    words = "worker --pool solo --loglevel ERROR --without-gossip --without-mingle"
    return CeleryDispatcher(app), lambda: None, lambda: app.worker_main(words.split())


def procrastinate(broker: str) -> tuple[Any, Callable[[], object], Callable[[], object]]:
    from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

    from smtpx.outbox.dispatchers.procrastinate import ProcrastinateDispatcher

    app = App(connector=PsycopgConnector(conninfo=broker))
    waking = App(connector=SyncPsycopgConnector(conninfo=broker))
    waking.open()
    dispatcher = ProcrastinateDispatcher(waking)

    def serve(outbox: Outbox, via: Any) -> None:
        ProcrastinateDispatcher(app).serve(outbox, via)

    vars(dispatcher)["serve"] = serve
    return dispatcher, lambda: None, lambda: app.run_worker(queues=["smtpx"])


def dbos(broker: str) -> tuple[Any, Callable[[], object], Callable[[], object]]:
    from dbos import DBOS

    from smtpx.outbox.dispatchers.dbos import DBOSDispatcher

    DBOS(
        config={
            "name": "engine",
            "system_database_url": broker,
            "executor_id": uuid4().hex,
            "log_level": "ERROR",
        }
    )
    dispatcher = DBOSDispatcher(queue="smtpx")
    return dispatcher, lambda: dispatcher.launch(polling=0.1), threading.Event().wait


ENGINES = {"celery": celery, "procrastinate": procrastinate, "dbos": dbos}


def main() -> None:
    engine, ledger, broker, server = sys.argv[1:]
    dispatcher, launch, work = ENGINES[engine](broker)
    outbox = Outbox(ledger, dispatcher=dispatcher, lease=LEASE, overdue=1, retries=SOON)
    dispatcher.serve(outbox, server)
    launch()

    def look() -> None:
        while True:
            outbox.reconcile()
            time.sleep(0.2)

    threading.Thread(target=look, daemon=True).start()
    work()


if __name__ == "__main__":
    main()
