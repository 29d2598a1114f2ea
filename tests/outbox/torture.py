"""`make outbox-torture`: a worker killed at every point, and many at random. SEED=, KILLS=."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def main() -> None:
    # Here, as each process that is killed imports this module again.
    from tests.outbox import postgres
    from tests.outbox.test_kills import NAMED, REAPING, WAYS, killed_at, killed_at_random, points

    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--points", choices=["all", "named", "none"], default="all")
    parser.add_argument("--ledger", choices=["sqlite", "postgres"], action="append")
    given = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server: Any = None
        ledgers = given.ledger or ["sqlite", "postgres"]
        if "postgres" in ledgers and postgres.programs() is None:
            print("no PostgreSQL server is installed: SQLite alone")
            ledgers = ["sqlite"]
        elif "postgres" in ledgers:
            server = stack.enter_context(postgres.running())
        made = iter(range(10**9))

        def new(kind: str) -> str:
            name = f"sqlite:///{directory}/{next(made)}.db"
            return name if kind == "sqlite" else str(server.database())

        every = {"all": [*points(directory), *REAPING, "half a write"], "named": NAMED, "none": []}
        for kind in ledgers:
            for hold in (False, True):
                policy = "hold" if hold else "resend"
                for way in WAYS:
                    killed = 0
                    for point in every[given.points]:
                        for nth in (1, 2) if point not in REAPING else (1,):
                            killed += killed_at(new(kind), point, nth, way, hold=hold)
                    print(f"{kind}, {policy}, {way}: killed at {killed} points", flush=True)
                told = killed_at_random(
                    new(kind),
                    hold=hold,
                    kills=given.kills,
                    count=given.messages,
                    seed=given.seed,
                    workers=2,
                )
                print(f"{kind}, {policy}, at random: {told}", flush=True)


if __name__ == "__main__":
    main()
