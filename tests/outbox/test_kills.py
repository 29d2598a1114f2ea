"""Workers killed by SIGKILL: the server's own log says what was lost, and what came twice."""

from __future__ import annotations

import ast
import random
import signal
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pytest

import smtpx.outbox
from smtpx import bounces
from smtpx.outbox import Outbox, Retries, State
from tests.outbox.children import Child, running
from tests.outbox.judge import Judge
from tests.outbox.worker import LEASE, SOON, keyed, numbered, put, reap, work

# Of a worker that is alone: there is nobody who could take it for dead while it lives.
BRIEF = 0.2
POSTMASTER = "postmaster@example.org"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]


def worker(url: str, judge: Judge, **options: Any) -> AbstractContextManager[Child]:
    """A worker in a process of its own; the options are those of `work`."""
    return running(work, url, judge.url, **options)


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
    with Outbox(url, retries=SOON) as outbox, Judge() as judge:
        list(outbox.put_many(numbered(40)))
        with worker(url, judge, point="none", until_empty=True, print_points=True) as process:
            told = process.rest(timeout=60)
    return told.split("\n")[1].split()


def killed_at(url: str, point: str, nth: int, way: str, *, hold: bool) -> int:
    """Kill a worker at a point, and see that nothing is lost; the value is how many died."""
    extensions, lmtp, recipients = WAYS[way]
    count = 30
    on_doubt: Literal["hold", "resend"] = "hold" if hold else "resend"
    with (
        Outbox(url, retries=SOON) as outbox,
        Judge(extensions=extensions, lmtp=lmtp) as judge,
    ):
        list(outbox.put_many(numbered(count, recipients), on_doubt=on_doubt))
        dying = [(point, nth, True)]
        if point.startswith("reap"):
            # Somebody has to be dead; and whoever finds out, dies of it.
            dying = [("mark_and_note:committed", 1, False), (point, 1, False)]
        killed = 0
        for where, which, until_empty in dying:
            dies = {"point": where, "nth": which, "lease": BRIEF, "until_empty": until_empty}
            with worker(url, judge, **dies) as process:
                process.wait(timeout=120)
                killed += process.returncode == -signal.SIGKILL
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


@pytest.mark.parametrize("way", ["BDAT", "DATA"])
def test_killed_with_mail_of_both_policies(ledger: str, way: str) -> None:
    """What is held shares the queue with the other, and not its window: it keeps its own bounds."""
    extensions, _, _ = WAYS[way]
    count, killed = 120, 0
    with Outbox(ledger, retries=SOON) as outbox, Judge(extensions=extensions) as judge:
        for n, message in enumerate(numbered(count)):
            outbox.put(*message, on_doubt="hold" if n % 5 > 2 else "resend")
        for nth in (1, 2, 1, 2):
            dies = {"point": "mark_and_note:committed", "nth": nth, "lease": BRIEF}
            with worker(ledger, judge, until_empty=True, **dies) as process:
                killed += process.wait(timeout=120) == -signal.SIGKILL
            time.sleep(2 * BRIEF)  # Until it looks dead.
            outbox.reconcile()
        drained(outbox, judge)
        taken = judge.count()
        doubtful = {one.message_id for one in outbox.find(state=State.IN_DOUBT)}
        held = {f"<{n}@example.org>" for n in range(count) if n % 5 > 2}
        assert killed == 4
        assert doubtful <= held
        assert len(doubtful) <= killed
        assert {of for (of, _), times in taken.items() if times > 1}.isdisjoint(held)
        assert {f"<{n}@example.org>" for n in range(count)} == doubtful | {of for of, _ in taken}
        assert sum(taken.values()) - len(taken) <= 16 * killed


# What a worker passes on its way; a new operation of the ledger has to be added here.
NAMED = [
    *("claim:0", "claim:commit", "claim:committed"),
    *("mark_and_note:0", "mark_and_note:commit", "mark_and_note:committed"),
    *("note:0", "note:commit", "note:committed"),
    *("register:0", "register:commit", "register:committed"),
    *("retire:0", "retire:commit", "retire:committed"),
    *("set_back:0", "set_back:commit", "set_back:committed"),
    *("write", "written", "half a write"),
]
REAPING = [*(f"reap:{n}" for n in range(6)), "reap:commit", "reap:committed"]
# What only some workers do: those that work for a second, tell senders, find no way, or stop early.
_OTHERS = {"beat", "expire", "hold_back", "release", "report", "warn"}


def test_every_operation_of_a_worker_has_its_points(tmp_path: Path) -> None:
    """What is written to a ledger is written by `transact`, which has a point at each statement."""
    known = {point.partition(":")[0] for point in [*NAMED, *REAPING]}
    passed = {point.partition(":")[0] for point in points(tmp_path)}
    assert passed <= known | {"beat"}
    assert known - {"reap", "half a write"} <= passed | {"written"}
    assert _operations() == (known - {"write", "written", "half a write"}) | _OTHERS


def _operations() -> set[str]:
    """What the modules of a worker hand to `transact`."""
    found: set[str] = set()
    for name in ("_delivering", "_owning", "_working"):
        source = (Path(smtpx.outbox.__file__).parent / f"{name}.py").read_text("utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".transact"):
                found.add(ast.unparse(node.args[0]).partition(".")[2])
    return found


def test_nothing_is_committed_in_another_place() -> None:
    committed = {
        path.name: text.count('"COMMIT"') + text.count(".commit(")
        for path in Path(smtpx.outbox.__file__).parent.rglob("*.py")
        if '"COMMIT"' in (text := path.read_text("utf-8")) or ".commit(" in text
    }
    assert committed == {"_sqlite.py": 1, "_postgres.py": 1}, "each by its `transact` alone"


@pytest.mark.parametrize("point", ["report:0", "report:commit", "report:committed", "warn:commit"])
def test_killed_while_it_tells_a_sender(tmp_path: Path, point: str) -> None:
    """What was given up is reported, and what waits, once: a report is a message as others are."""
    options: Any = {"bounces": POSTMASTER, "warn_after": timedelta(milliseconds=1)}

    def refuse(word: str, of: str) -> bytes | None:
        if word == "RCPT" and of.startswith("r"):
            return b"550 5.1.1 nobody\r\n" if of.startswith("r0") else b"451 4.3.2 later\r\n"
        return None

    url = f"sqlite:///{tmp_path}/mail.db"
    late = Retries(first=3600)
    with Outbox(url, retries=late, **options) as outbox, Judge(answer=refuse) as judge:
        list(outbox.put_many(numbered(3, recipients=2)))
        time.sleep(0.01)  # Until they are late.
        with worker(url, judge, point=point, until_empty=True, bounces=POSTMASTER) as process:
            assert process.wait(timeout=60) == -signal.SIGKILL
        outbox.run(judge.url, until_empty=True)
        told = [bounces.parse(content) for content in judge.contents.values()]
        actions = Counter(
            each.action
            for report in told
            if isinstance(report, bounces.DeliveryReport)
            for each in report.recipients
        )
        assert actions == {bounces.Action.FAILED: 3, bounces.Action.DELAYED: 3}
        assert max(judge.count().values()) == 1


def killed_at_random(
    url: str, *, hold: bool, kills: int, count: int, seed: int, workers: int = 1
) -> str:
    """Kill workers and putters again and again: what was acknowledged is kept, and arrives."""
    chance = random.Random(seed)
    on_doubt: Literal["hold", "resend"] = "hold" if hold else "resend"
    acknowledged = {f"<{n}@example.org>" for n in range(count // 2)}
    first, killed = count // 2, 0
    # Slow enough that there is something to be killed at until the end.
    with Outbox(url, retries=SOON) as outbox, Judge(delay=kills / count) as judge:
        list(outbox.put_many(islice(keyed(count), first), on_doubt=on_doubt))
        while killed < kills:
            with ExitStack() as stack:
                putter = stack.enter_context(running(put, url, first, count, on_doubt))
                working = [
                    stack.enter_context(worker(url, judge, connections=4)) for _ in range(workers)
                ]
                for process in working:
                    assert process.stdout.readline() == "ready\n"
                after(judge, chance.randrange(4 * count // kills))
                time.sleep(chance.uniform(0, 0.02))
                for process in (*working, putter):
                    process.kill()
                killed += len(working)
                acknowledged |= {line for line in putter.rest().split("\n")[:-1] if line}
                for process in working:
                    process.wait()
                reaper = stack.enter_context(running(reap, url))
                assert reaper.stdout.readline() == "ready\n"
                time.sleep(chance.uniform(0, 2 * LEASE))
            # Some are put in again: they are known.
            first = max(first, len(acknowledged) - 5)
            outbox.reconcile()
        known = {f"<{n}@example.org>" for n in range(count)}
        assert {d.message_id for d in outbox.find()} >= acknowledged
        meanwhile = len(judge.count())
        judge.delay = 0
        list(outbox.put_many(keyed(count), on_doubt=on_doubt))
        assert {d.message_id for d in outbox.find()} == known
        drained(outbox, judge, within=300)
        most = killed * 4 * (1 if hold else 16)
        doubles = check(outbox, judge, count, 1, hold=hold, most=most)
        doubt = outbox.counts()[State.IN_DOUBT]
    return (
        f"{killed} kills while {meanwhile} of {count} arrived, 0 lost, "
        f"{doubles} doubles, {doubt} in doubt of {most} possible"
    )


def after(judge: Judge, several: int) -> None:
    """Wait until so many more have arrived, but not for long: they may all have."""
    until, end = len(judge.taken) + several, time.monotonic() + 2
    while len(judge.taken) < until and time.monotonic() < end:
        time.sleep(0.002)


def test_killed_at_random(ledger: str) -> None:
    """Again and again, under both policies, `make outbox-torture` has it."""
    print(killed_at_random(ledger, hold=ledger.startswith("sqlite"), kills=3, count=150, seed=1))
