"""A process that is signalled at any moment while it sends; it fails if anything is lost.

``python -m tests.faces.signalled SIGNALS SEED``
"""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading

from smtpx import Client, Envelope, PoolLimits, SendResult
from smtpx.testing import Server

ENVELOPE = Envelope("ann@example.org", "bob@example.net")


class Interruption(BaseException):
    """What the signal handler raises."""


def interrupt(*_: object) -> None:
    raise Interruption


def main(signals: int, seed: int) -> None:
    chance = random.Random(seed)
    _ = signal.signal(signal.SIGALRM, interrupt)
    accepted: set[bytes] = set()
    doubtful: set[bytes] = set()
    number = came = 0
    with Server() as server:
        client = Client(server.url, pool=PoolLimits(open=2, messages=20, wait=10))
        while came < signals:
            number += 1
            content = b"%d\r\n" % number
            told: list[SendResult] = []
            try:
                _ = signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-3))
                try:
                    if number % 5:
                        result = client.send(content, ENVELOPE)
                        told += [result]
                    else:
                        for result in client.send_many([(content, ENVELOPE)]):
                            told += [result]
                finally:
                    _ = signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption as interruption:
                came += 1
                told += vars(interruption).get("results", [])
                if not told and "result" in vars(interruption):
                    told += [vars(interruption)["result"]]
            accepted |= {content for result in told if result.accepted}
            doubtful |= {content for result in told if result.in_doubt}
        _ = signal.signal(signal.SIGALRM, signal.SIG_DFL)
        assert client.send(b"last\r\n", ENVELOPE).accepted
        accepted |= {b"last\r\n"}
        _ = gc.collect()
        statistics = client.statistics()
        assert (statistics.opening, statistics.busy, statistics.waiting) == (0, 0, 0), statistics
        client.close()
        _ = server.wait_until_idle()
        taken = [message.content for message in server.messages]
        assert len(taken) == len(set(taken))
        assert accepted <= set(taken)
        sent_alone = {content for content in taken if content == b"last\r\n" or int(content) % 5}
        assert sent_alone <= accepted | doubtful, sent_alone - accepted - doubtful
        assert threading.active_count() == 2  # the server's, and this one
    print(f"{came} signals, {number} messages, {len(doubtful)} in doubt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
