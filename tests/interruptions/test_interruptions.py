"""Some interruptions, the same ones each time; ``make interruptions`` has ten thousand."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.interruptions.__main__ import Account
from tests.interruptions.subjects import Subject, open_files

ROOT = Path(__file__).parents[2]
in_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="counts open files in /proc"
)


@pytest.mark.timeout(100)
@in_proc
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_by_an_interruption(seed: int) -> None:
    command = [sys.executable, "-m", "tests.interruptions", "400", str(seed), "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert ended.returncode == 0, ended.stdout + ended.stderr


class Leaky(Subject):
    """Leaves behind what it is told to."""

    def __init__(self, *, file: bool = False, thread: bool = False, place: bool = False) -> None:
        super().__init__()
        self._place = place
        self.files: list[int] = []
        self.over = threading.Event()
        if file:
            self.files += os.pipe()
        if thread:
            threading.Thread(target=self.over.wait).start()

    def faults(self) -> list[str]:
        return ["a place"] if self._place else []


@in_proc
@pytest.mark.parametrize("what", ["", "file", "thread", "place"])
def test_what_is_lost_is_found(what: str) -> None:
    files, threads = open_files(), threading.active_count()
    subject = Leaky(**{what: True} if what else {})
    left, over = subject.files, subject.over
    account = Account()
    account.look(subject, "somewhere", files, threads)
    over.set()
    for file in left:
        os.close(file)
    assert (account.interruptions, account.lost) == (1, 1 if what else 0)
