"""A long run against a server that fails at 5 % of the messages: ``python -m tests.scale.soak``.

Each message is accounted for exactly once, and neither open files nor memory grow with their
number. Prints its figures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import smtpx
from smtpx import Client, PoolLimits, SendResult, Status, Timeouts
from tests.scale.account import digest, mail, verdicts_of

CONNECTIONS = 8
THREADS = 12
SHARE = 0.05
GROWTH = 8 * 2**20
"""What a process may gain in memory by no fault of its own: the allocator's, the collector's."""

_ROOT = Path(__file__).parents[2]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """Octets of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


CODES = {status: number for number, status in enumerate(Status, 1)}


class Ledger:
    """What was told, one octet a message, so that the account itself takes no memory."""

    def __init__(self, count: int) -> None:
        self.told = bytearray(count)
        self.most_files = 0
        self.warm_memory = 0
        self._left = count
        self._warm_at = count - count // 4
        self._lock = threading.Lock()

    def tell(self, number: int, outcome: SendResult | smtpx.SMTPError) -> None:
        """Note what became of a message, which has one recipient."""
        (status,) = verdicts_of(outcome, mail(number, 1)).values()
        with self._lock:
            assert not self.told[number], "told twice"
            self.told[number] = CODES[status]
            self._left -= 1
            if self._left == self._warm_at:
                self.warm_memory = resident()
            if self._left % 64 == 0:
                self.most_files = max(self.most_files, open_files())

    def settle(self, kept: Path) -> Counter[Status]:
        """Hold what was told against what the sink kept."""
        there: Counter[int] = Counter()
        with kept.open() as lines:
            for line in lines:
                found, sender, *recipients = line.split()
                number = number_of(sender)
                expected = mail(number, 1)
                assert bytes.fromhex(found) == digest(expected.content), "damaged, or misdirected"
                assert tuple(recipients) == expected.recipients
                there[number] += 1
        status_of = {number: status for status, number in CODES.items()}
        tally: Counter[Status] = Counter()
        for number, code in enumerate(self.told):
            assert code, f"nothing was told of {number}"
            status = status_of[code]
            tally[status] += 1
            least = 1 if status is Status.ACCEPTED else 0
            most = 1 if status in (Status.ACCEPTED, Status.IN_DOUBT) else 0
            assert least <= there[number] <= most, f"{number}: {status}, {there[number]}"
        return tally


def number_of(address: str) -> int:
    """The number of the message that has this sender or recipient."""
    return int(address[1:].partition("@")[0].partition("-")[0])


def by_send_many(client: Client, tally: Ledger, count: int) -> None:
    """All by one call."""
    messages = (mail(number, 1).item for number in range(count))
    for result in client.send_many(messages, connections=CONNECTIONS, window=16):
        tally.tell(number_of(str(result.outcomes[0].recipient)), result)


def by_send(client: Client, tally: Ledger, count: int) -> None:
    """Each by a call of its own, from more threads than there are connections."""
    errors: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, count, THREADS):
                try:
                    outcome: SendResult | smtpx.SMTPError = client.send(*mail(number, 1).item)
                except smtpx.SMTPError as error:
                    outcome = error
                tally.tell(number, outcome)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    verdicts: Counter[Status]
    seconds: float
    files_before: int
    most_files: int
    files_after: int
    memory_growth: int
    """Octets, from a quarter of the messages on."""

    def __str__(self) -> str:
        total = self.verdicts.total()
        told = ", ".join(f"{count} {status.value}" for status, count in self.verdicts.items())
        return (
            f"{total} messages in {self.seconds:.1f} s, {total / self.seconds:.0f} a second\n"
            f"  {told}\n"
            f"  open files: {self.files_before} before, {self.most_files} at most, "
            f"{self.files_after} after\n"
            f"  memory, from a quarter of the messages on: {self.memory_growth / 2**20:+.1f} MiB"
        )


def run(send_all: Callable[[Client, Ledger, int], None], count: int) -> Report:
    """Send `count` messages and account for them; memory and open files stay within bounds."""
    with tempfile.TemporaryDirectory() as directory:
        kept = Path(directory) / "kept"
        tally = Ledger(count)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.scale.sink", str(kept), str(SHARE)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as sink:
            assert sink.stdin is not None
            assert sink.stdout is not None
            port = int(sink.stdout.readline())
            limits = PoolLimits(open=CONNECTIONS, idle=CONNECTIONS)
            files = open_files()
            began = time.monotonic()
            with Client(
                f"smtp://127.0.0.1:{port}", pool=limits, timeouts=Timeouts.each(60)
            ) as client:
                send_all(client, tally, count)
                growth = resident() - tally.warm_memory
            seconds = time.monotonic() - began
            files_after = open_files()
            sink.stdin.close()  # It ends, and its file is whole.
            _ = sink.wait(60)
        report = Report(tally.settle(kept), seconds, files, tally.most_files, files_after, growth)
    assert report.files_after <= report.files_before, report
    # A connection has one; one more for the selector, one for the reading of the directory itself.
    assert report.most_files <= report.files_before + CONNECTIONS + 2, report
    assert report.memory_growth < GROWTH, report
    return report


if __name__ == "__main__":
    print("send_many:", run(by_send_many, 100_000), flush=True)
    print("send:", run(by_send, 20_000), flush=True)
