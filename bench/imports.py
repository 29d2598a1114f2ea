"""What importing costs: time, and resident memory added."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import NamedTuple

ROUNDS = 9
STATEMENTS = {
    "import smtplib": "import smtplib",
    "import smtpx": "import smtpx",
    "… and make a Client": "import smtpx; smtpx.Client('smtp://localhost')",
    "from smtpx import smtplib": "from smtpx import smtplib",
    "import aiosmtplib": "import aiosmtplib",
}
PROMISED = {
    "import smtpx": 2.0,
    "… and make a Client": 0.9,
    "from smtpx import smtplib": 0.8,
}
"""As times as fast, and as small, as `import smtplib`."""
MEASURE = """
import sys, time
def resident():
    if sys.platform != 'linux':
        return 0
    for line in open('/proc/self/status'):
        if line.startswith('VmRSS'):
            return int(line.split()[1])
before, start = resident(), time.perf_counter()
{}
print(time.perf_counter() - start, resident() - before)
"""


class Cost(NamedTuple):
    """Seconds, and KB."""

    time: float
    memory: float


def measure() -> dict[str, Cost]:
    """By statement: medians over rounds, each in a process of its own."""
    costs: dict[str, list[Cost]] = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS):
        for name, statement in STATEMENTS.items():
            finished = subprocess.run(
                [sys.executable, "-P", "-c", MEASURE.format(statement)],
                # What the first round has compiled, the others find.
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
                check=True,
                capture_output=True,
                text=True,
            )
            took, added = finished.stdout.split()
            costs[name].append(Cost(float(took), float(added)))
    return {
        name: Cost(*[statistics.median(values) for values in zip(*rounds, strict=True)])
        for name, rounds in costs.items()
    }
