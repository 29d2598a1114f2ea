"""What runs in processes that are killed: a worker, at a point; a putter, and a reaper.

A point is a statement or a commit of the ledger, or a write to the server.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from smtpx import Envelope
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


def work(
    ledger: str,
    server: str,
    *,
    connections: int = 1,
    point: str = "",
    nth: int = 1,
    lease: float = LEASE,
    until_empty: bool = False,
    bounces: str | None = None,
    print_points: bool = False,
) -> None:
    """Send what is in a ledger, and die at a point when it is reached for the `nth` time."""
    outbox = Outbox(ledger, lease=lease, retries=SOON, bounces=bounces)
    deadly = Deadly(point, nth)
    if point:
        armed(outbox, deadly)
        armed_writes(deadly)
    print("ready", flush=True)
    outbox.run(server, connections=connections, until_empty=until_empty)
    if print_points:
        print(*sorted(deadly.seen), flush=True)


def put(ledger: str, first: int, count: int, on_doubt: Any) -> None:
    """Put messages in, one by one, and say which have been."""
    outbox = Outbox(ledger)
    for n, (octets, envelope, key) in islice(enumerate(keyed(count)), first, None):
        outbox.put(octets, envelope, key=key, on_doubt=on_doubt)
        print(f"<{n}@example.org>", flush=True)


def reap(ledger: str) -> None:
    """Give to others what dead workers had, again and again."""
    outbox = Outbox(ledger)
    print("ready", flush=True)
    while True:
        outbox.reconcile()
        time.sleep(0.05)


def numbered(count: int, recipients: int = 1) -> Iterator[Any]:
    """Messages that are told from each other by their Message-ID."""
    for n in range(count):
        octets = b"Message-ID: <%d@example.org>\r\nSubject: %d\r\n\r\n%b" % (
            n,
            n,
            b"x" * 70 + b"\r\n",
        )
        everyone = [f"r{place}@example.net" for place in range(recipients)]
        yield octets, Envelope("a@example.org", everyone)


def keyed(count: int) -> Iterator[Any]:
    """The same, each with a key."""
    for n, (octets, envelope) in enumerate(numbered(count)):
        yield octets, envelope, f"key-{n}"
