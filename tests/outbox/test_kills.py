"""Workers killed by SIGKILL: the server's own log says what was lost, and what came twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

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
) -> Iterator[Any]:
    command = [sys.executable, "-m", "tests.outbox.worker", url, judge.url]
    command += [str(connections), str(window), point, str(nth), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def numbered(count: int, recipients: int = 1) -> Iterator[Any]:
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
    return str(told).split("\n")[1].split()


def killed_at(url: str, point: str, nth: int, way: str, *, hold: bool) -> bool:
    """Kill a worker at a point, and see that nothing is lost; True if it came there."""
    extensions, lmtp, recipients = WAYS[way]
    count = 30
    on_doubt: Literal["hold", "resend"] = "hold" if hold else "resend"
    with (
        Outbox(url, lease=LEASE, retries=SOON) as outbox,
        Judge(extensions=extensions, lmtp=lmtp) as judge,
    ):
        list(outbox.put_many(numbered(count, recipients), on_doubt=on_doubt))
        more = ["until-empty"]
        with worker(url, judge, point=point, nth=nth, more=more) as process:
            process.wait(timeout=120)
            killed = bool(process.returncode == -signal.SIGKILL)
        drained(outbox, judge)
        check(outbox, judge, count, recipients, hold=hold, most=killed * (1 if hold else 16))
    return killed


@pytest.mark.parametrize(
    ("way", "hold"), [*zip(WAYS, [False, True, True, False, True], strict=True)]
)
def test_killed_at_some_points(ledger: str, way: str, hold: bool) -> None:
    """At all points, of each way under each policy, `make outbox-torture` has it."""
    chance = random.Random(f"{way} {hold} {ledger[:6]}")
    point = chance.choice(NAMED)
    killed_at(ledger, point, chance.choice([1, 2]), way, hold=hold)


# What a worker passes on its way; a new operation of the ledger has to be added here.
NAMED = [
    *("claim:0", "claim:commit", "claim:committed"),
    *("mark_and_note:0", "mark_and_note:commit", "mark_and_note:committed"),
    *("note:0", "note:commit", "note:committed"),
    *("register:commit", "reap:commit", "retire:0", "retire:commit"),
    *("write", "written", "half a write"),
]


def test_every_operation_of_a_worker_has_its_points(tmp_path: Path) -> None:
    passed = {point.partition(":")[0] for point in points(tmp_path)}
    known = {point.partition(":")[0] for point in NAMED}
    assert passed <= known | {"beat", "workers", "release", "migrate"}
    assert {"claim", "mark_and_note", "note", "register", "retire", "write"} <= passed


def killed_at_random(
    url: str, *, hold: bool, kills: int, count: int, seed: int, workers: int = 1
) -> str:
    """Kill workers and putters again and again: what was acknowledged is kept, and arrives."""
    chance = random.Random(seed)
    on_doubt: Literal["hold", "resend"] = "hold" if hold else "resend"
    acknowledged: set[str] = set()
    killed = 0
    with Outbox(url, lease=LEASE, retries=SOON) as outbox, Judge(delay=0.002) as judge:
        while killed < kills:
            with ExitStack() as stack:
                putter = stack.enter_context(putting(url, count, on_doubt))
                working = [
                    stack.enter_context(worker(url, judge, connections=4)) for _ in range(workers)
                ]
                for process in working:
                    assert process.stdout is not None
                    assert process.stdout.readline() == "ready\n"
                time.sleep(chance.uniform(0, 0.4))
                for process in working:
                    process.kill()
                    killed += 1
                putter.kill()
                told, _ = putter.communicate()
                acknowledged |= {line for line in told.split("\n")[:-1] if line}
        known = {f"<{n}@example.org>" for n in range(count)}
        assert {d.message_id for d in outbox.find()} >= acknowledged
        list(outbox.put_many(keyed(count), on_doubt=on_doubt))
        assert {d.message_id for d in outbox.find()} == known
        drained(outbox, judge, within=300)
        most = killed * 4 * (1 if hold else 16)
        doubles = check(outbox, judge, count, 1, hold=hold, most=most)
        doubt = outbox.counts()[State.IN_DOUBT]
    return f"{killed} kills, 0 lost, {doubles} doubles, {doubt} in doubt of {most} possible"


def keyed(count: int) -> Iterator[Any]:
    for n, (octets, envelope) in enumerate(numbered(count)):
        yield octets, envelope, f"key-{n}"


@contextmanager
def putting(url: str, count: int, on_doubt: str) -> Iterator[Any]:
    """A process that puts messages in, one by one, and says which it has put in."""
    code = (
        "import sys; from smtpx.outbox import Outbox; from tests.outbox.test_kills import keyed\n"
        "outbox = Outbox(sys.argv[1])\n"
        "for n, (octets, envelope, key) in enumerate(keyed(int(sys.argv[2]))):\n"
        "    outbox.put(octets, envelope, key=key, on_doubt=sys.argv[3])\n"
        "    print(f'<{n}@example.org>', flush=True)\n"
    )
    command = [sys.executable, "-c", code, url, str(count), on_doubt]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_killed_at_random(ledger: str) -> None:
    """Again and again, under both policies, `make outbox-torture` has it."""
    print(killed_at_random(ledger, hold=ledger.startswith("sqlite"), kills=3, count=150, seed=1))
