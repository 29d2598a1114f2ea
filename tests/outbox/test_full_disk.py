"""A disk that is really full, and a file that may not grow: a typed error, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smtpx import Envelope
from smtpx.outbox import LedgerUnavailable, Outbox, State
from tests.outbox.judge import Judge
from tests.outbox.test_kills import check, drained
from tests.outbox.worker import numbered

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="it has no tmpfs"),
]

KIB = 1024
ENVELOPE = Envelope("a@example.org", "r0@example.net")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


class Ballast:
    """Fills a disk, and can be thrown off."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"

    def fill(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            for size in (64 * KIB, KIB):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    pass  # It is full.

    def throw_off(self) -> None:
        self._path.unlink()


def letter(number: int) -> Any:
    return b"Message-ID: <%d@example.org>\r\n\r\n%b" % (number, b"x" * 60 * 30), ENVELOPE


def test_what_does_not_fit_is_not_acknowledged(small_disk: Path) -> None:
    ballast = Ballast(small_disk)
    with Outbox(f"sqlite:///{small_disk}/mail.db") as outbox, Judge() as judge:
        kept = 0
        outbox.put(*letter(kept))
        ballast.fill()
        with pytest.raises(LedgerUnavailable, match="what is in the outbox is safe"):
            while True:
                outbox.put(*letter(kept + 1))
                kept += 1
        with pytest.raises(LedgerUnavailable, match=r"a large message cannot be kept .*space"):
            outbox.put(b"Subject: x\r\n\r\n" + b"x" * 16 * KIB * KIB, ENVELOPE)
        assert outbox.counts()[State.WAITING] == kept + 1
        ballast.throw_off()
        assert [each.name for each in small_disk.glob("*-spool/*")] == []
        drained(outbox, judge)
        check(outbox, judge, kept + 1, 1, hold=True, most=0)


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
def test_a_worker_whose_disk_is_full(small_disk: Path, hold: bool) -> None:
    ballast = Ballast(small_disk)
    filled = False

    def fill(word: str, of: str) -> bytes | None:
        nonlocal filled
        if not filled and of == "<20@example.org>":
            filled = True
            ballast.fill()
        return None

    count = 300
    with (
        Outbox(f"sqlite:///{small_disk}/mail.db", lease=0.4) as outbox,
        Judge(answer=fill) as judge,
    ):
        list(outbox.put_many(numbered(count), on_doubt="hold" if hold else "resend"))
        with pytest.raises(LedgerUnavailable, match="what is in the outbox is safe"):
            outbox.run(judge.url, until_empty=True, connections=1)
        assert 20 <= len(judge.taken) < count
        ballast.throw_off()
        drained(outbox, judge)
        check(outbox, judge, count, 1, hold=hold, most=1 if hold else 16)


GROWS = """
import resource, signal, sys
from smtpx import Envelope
from smtpx.outbox import LedgerUnavailable, Outbox

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
envelope = Envelope("a@example.org", "r0@example.net")
with Outbox(sys.argv[1]) as outbox:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, resource.RLIM_INFINITY))
    for size in (60, 600_000):
        try:
            for n in range(1000):
                outbox.put(b"Message-ID: <%d@example.org>\\r\\n\\r\\n" % n + b"x" * size, envelope)
        except LedgerUnavailable as error:
            print(n, error)
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mail.db"
    command = [sys.executable, "-c", GROWS, url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    small, large = told.splitlines()
    kept = int(small.split()[0])
    assert "what is in the outbox is safe" in small
    assert "0 a large message cannot be kept in" in large
    with Outbox(url) as outbox, Judge() as judge:
        drained(outbox, judge)
        check(outbox, judge, kept, 1, hold=True, most=0)
