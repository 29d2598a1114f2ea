"""Some interruptions, the same ones each time; ``make interruptions`` has ten thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(100)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.xfail(strict=True, reason="an interruption between two steps loses a place")
def test_nothing_is_lost_by_an_interruption(seed: int) -> None:
    command = [sys.executable, "-m", "tests.interruptions", "400", str(seed), "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert ended.returncode == 0, ended.stdout + ended.stderr
