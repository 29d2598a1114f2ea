"""All cases: ``python -m tests.held [WORD…]``, those alone whose name has all of the words."""

from __future__ import annotations

import sys
import threading
from queue import Empty, SimpleQueue

from tests.held.cases import Case, cases
from tests.held.harness import Harness, Verdict

_AT_ONCE = 4


def main(words: list[str]) -> int:
    left: SimpleQueue[Case] = SimpleQueue()
    for case in cases():
        if all(word in f"{case}, " for word in words):
            left.put(case)
    verdicts: list[Verdict] = []

    def work() -> None:
        with Harness() as harness:
            while True:
                try:
                    verdict = harness.judge(left.get_nowait())
                except Empty:
                    return
                verdicts.append(verdict)
                if verdict.fault:
                    print(verdict, flush=True)

    threads = [threading.Thread(target=work) for _ in range(_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = sum(bool(verdict.fault) for verdict in verdicts)
    print(f"{len(verdicts):,} held callers: {wrong} not back in time, or not as promised")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
