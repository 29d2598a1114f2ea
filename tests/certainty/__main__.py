"""Send many messages to a hostile server by every face, and account for each of them.

``python -m tests.certainty --seed 1 --messages 100000``; ``--round SEED`` runs one round alone,
and shows what was said.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.certainty import runs, worker
from tests.certainty.plans import FACES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.certainty", description=__doc__)
    _ = parser.add_argument("--seed", type=int, default=1)
    _ = parser.add_argument("--messages", type=int, default=100_000)
    _ = parser.add_argument("--round", type=int, help="the seed of one round, to be run alone")
    _ = parser.add_argument("--faces", default=",".join(FACES))
    _ = parser.add_argument("--workers", type=int, default=3 * (os.cpu_count() or 1))
    _ = parser.add_argument("--plant", default="", help="a bug of tests/certainty/planted.py")
    _ = parser.add_argument("--keep", type=Path, help="a folder for the dialogues that failed")
    _ = parser.add_argument("--ledgers", default="", help=argparse.SUPPRESS)
    _ = parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    faces = tuple(given.faces.split(","))
    worlds = runs.worlds_here()
    if given.work:
        if given.plant:
            from tests.certainty.planted import PLANTED

            PLANTED[given.plant].plant()
        worker.main(faces, worlds, given.ledgers)
        return 0
    seeds = [given.round] if given.round is not None else runs.seeds(given.seed)
    with ledgers(faces) as url:
        tally = runs.run(
            seeds,
            messages=given.messages,
            faces=faces,
            workers=1 if given.round is not None else given.workers,
            plant=given.plant,
            tell=lambda text: print(text, flush=True),
            in_full=given.round is not None,
            keep=given.keep,
            ledgers=url,
        )
    print(tally)
    return 1 if tally.kinds else 0


@contextmanager
def ledgers(faces: tuple[str, ...]) -> Iterator[str]:
    """The URL of a database for outboxes, if one of the faces is such, and there is a server."""
    from tests.outbox import postgres

    is_wanted = any("outbox" in face for face in faces) and find_spec("psycopg") is not None
    if not is_wanted or postgres.programs() is None:
        yield ""
        return
    with postgres.running() as server:
        yield server.database()


if __name__ == "__main__":
    sys.exit(main())
