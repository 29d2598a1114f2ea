"""Workers killed by SIGKILL: the server's own log says what was lost, and what came twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smtpx import Envelope
from smtpx.outbox import Outbox, State
from tests.outbox.judge import Judge
from tests.outbox.worker import SOON

# Whoever looks on in the test knows that it is dead, and need not wait for long.
LEASE = 0.2

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]


@contextmanager
def worker(
    url: str, judge: Judge, *, connections=1, window=0, point="", nth=1, more=()
) -> Iterator:
    command = [sys.executable, "-m", "tests.outbox.worker", url, judge.url]
    command += [str(connections), str(window), point, str(nth), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def numbered(count: int, recipients: int = 1) -> Iterator:
    for n in range(count):
        octets = b"Message-ID: <%d@example.org>\r\nSubject: %d\r\n\r\n%b" % (
            n,
            n,
            b"x" * 70 + b"\r\n",
        )
        everyone = [f"r{place}@example.net" for place in range(recipients)]
        yield octets, Envelope("a@example.org", everyone)


def drained(outbox: Outbox, judge: Judge, within: float = 60) -> None:
    """Send what is left; in doubt may stay what is held."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        outbox.run(judge.url, until_empty=True)
        counts = outbox.counts()
        if not counts[State.WAITING] and not counts[State.SENDING]:
            return
        time.sleep(0.05)
    pytest.fail(f"not all was sent: {outbox.counts()}")


def check(
    outbox: Outbox, judge: Judge, count: int, recipients: int, *, hold: bool, most: int
) -> int:
    """Nothing is lost; what came twice, or is in doubt, is within its bounds."""
    counts, taken = outbox.counts(), judge.count()
    everything = {
        (f"<{n}@example.org>", f"r{r}@example.net") for n in range(count) for r in range(recipients)
    }
    doubtful = {
        (delivery.message_id, delivery.recipient) for delivery in outbox.find(state=State.IN_DOUBT)
    }
    accepted = {
        (delivery.message_id, delivery.recipient) for delivery in outbox.find(state=State.ACCEPTED)
    }
    assert accepted <= taken.keys(), "the ledger says accepted, and the server never was asked"
    assert accepted | doubtful == everything, counts
    assert taken.keys() <= everything
    assert everything - taken.keys() <= doubtful, "lost"
    doubles = sum(times - 1 for times in taken.values())
    if hold:
        assert doubles == 0
        assert len(doubtful) <= most * recipients
    else:
        assert not doubtful
        assert doubles <= most * recipients
    for state in State:
        told = sum(1 for _ in outbox.find(state=state))
        assert told == counts[state], state
    return doubles


WAYS = {
    "BDAT": (("PIPELINING", "8BITMIME", "CHUNKING"), False, 1),
    "DATA": (("PIPELINING", "8BITMIME"), False, 1),
    "one at a time": (("8BITMIME",), False, 1),
    "LMTP": (("PIPELINING", "8BITMIME"), True, 2),
    "several recipients": (("PIPELINING", "8BITMIME", "CHUNKING"), False, 3),
}


def points(tmp_path: Path) -> list[str]:
    """All that a worker passes on its way."""
    url = f"sqlite:///{tmp_path}/points.db"
    with Outbox(url, lease=LEASE, retries=SOON) as outbox, Judge() as judge:
        list(outbox.put_many(numbered(40)))
        with worker(url, judge, point="none", more=["until-empty", "points"]) as process:
            told, _ = process.communicate(timeout=60)
    return told.split("\n")[1].split()


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_each_point(tmp_path: Path, way: str, hold: bool) -> None:
    extensions, lmtp, recipients = WAYS[way]
    passed = [*points(tmp_path), "half a write"]
    assert {
        "claim:commit",
        "mark_and_note:commit",
        "mark_and_note:committed",
        "note:0",
        "written",
    } <= {*passed}
    chance = random.Random(f"{way} {hold}")
    count = 30
    for point in chance.sample(passed, 6):
        url = f"sqlite:///{tmp_path}/{point.replace(' ', '-')}.db"
        with (
            Outbox(url, lease=LEASE, retries=SOON) as outbox,
            Judge(extensions=extensions, lmtp=lmtp) as judge,
        ):
            on_doubt = "hold" if hold else "resend"
            list(outbox.put_many(numbered(count, recipients), on_doubt=on_doubt))
            with worker(
                url, judge, point=point, nth=chance.choice([1, 2, 3]), more=["until-empty"]
            ) as process:
                process.wait(timeout=60)
                kills = process.returncode == -signal.SIGKILL
            drained(outbox, judge)
            check(outbox, judge, count, recipients, hold=hold, most=kills * (1 if hold else 16))


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
def test_killed_at_random(tmp_path: Path, hold: bool) -> None:
    killed_at_random(f"sqlite:///{tmp_path}/mail.db", hold=hold, kills=12, count=600, seed=1)


def killed_at_random(url: str, *, hold: bool, kills: int, count: int, seed: int) -> None:
    chance = random.Random(seed)
    with Outbox(url, lease=LEASE, retries=SOON) as outbox, Judge(delay=0.002) as judge:
        list(outbox.put_many(numbered(count), on_doubt="hold" if hold else "resend"))
        killed = 0
        for _ in range(kills):
            with worker(url, judge, connections=4) as process:
                assert process.stdout.readline() == "ready\n"
                time.sleep(chance.uniform(0, 0.3))
                if process.poll() is None:
                    process.kill()
                    killed += 1
        drained(outbox, judge)
        most = killed * 4 * (1 if hold else 16)
        doubles = check(outbox, judge, count, 1, hold=hold, most=most)
        print(f"{killed} kills, {doubles} doubles, {outbox.counts()[State.IN_DOUBT]} in doubt")
