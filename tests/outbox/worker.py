"""A worker in a process of its own, that can be killed at a point: `python -m tests.outbox.worker`.

A point is a statement or a commit of the ledger, or a write to the server.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from smtpx.outbox import Outbox, Retries

SOON = Retries(first=0.05, most=0.2, greylisted=0.05)
LEASE = 1.0


class Deadly:
    """Counts what passes each point, and dies at one."""

    def __init__(self, point: str, nth: int) -> None:
        self.point, self.nth = point, nth
        self.seen: dict[str, int] = {}

    def reach(self, point: str) -> None:
        self.seen[point] = self.seen.get(point, 0) + 1
        if point == self.point and self.seen[point] == self.nth:
            os.kill(os.getpid(), signal.SIGKILL)


def armed(outbox: Outbox, deadly: Deadly) -> None:
    """Have every statement and commit of an outbox be a point."""
    store: Any = outbox._store
    transact = store.transact

    def watched(operation: Any, *args: Any, **named: Any) -> Any:
        name = operation.__name__

        def run(*args: Any, **named: Any) -> Any:
            steps = operation(*args, **named)
            answer, number = None, 0
            try:
                while True:
                    statement = steps.send(answer)
                    deadly.reach(f"{name}:{number}")
                    answer = yield statement
                    number += 1
            except StopIteration as stop:
                deadly.reach(f"{name}:commit")
                return stop.value

        value = transact(run, *args, **named)
        deadly.reach(f"{name}:committed")
        return value

    store.transact = watched


def armed_writes(deadly: Deadly) -> None:
    """Have what is written to the server be a point, too, and half of it."""
    from smtpx._drivers import blocking

    send = blocking.BlockingDriver._write

    def watched(self: Any, octets: Any) -> int:
        deadly.reach("write")
        if deadly.point == "half a write" and len(octets) > 20:
            deadly.reach("before half a write")
            if deadly.seen["before half a write"] == deadly.nth:
                send(self, octets[: len(octets) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        sent = send(self, octets)
        deadly.reach("written")
        return sent

    blocking.BlockingDriver._write = watched  # type: ignore[method-assign]


def main() -> None:
    ledger, server, connections, window, point, nth, lease = sys.argv[1:8]
    postmaster = "postmaster@example.org" if "bounces" in sys.argv else None
    outbox = Outbox(ledger, lease=float(lease), retries=SOON, bounces=postmaster)
    deadly = Deadly(point, int(nth))
    if point:
        armed(outbox, deadly)
        armed_writes(deadly)
    print("ready", flush=True)
    outbox.run(
        server,
        connections=int(connections),
        window=int(window) or None,
        until_empty="until-empty" in sys.argv,
    )
    if "points" in sys.argv:
        print(*sorted(deadly.seen), flush=True)


if __name__ == "__main__":
    main()
