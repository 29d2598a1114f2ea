"""Instructions that a message takes in the client, without those of the system.

`python -m bench instructions`. They are counted by valgrind's cachegrind, in a run of some
messages and in one of many more. What differs is the messages', however busy the machine is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from bench import processes

_FEW, _MANY = 256, 2304
# As `bench/client.py` calls them; those of the limit as `bench/limit.py` does.
_ROWS = {
    "Session.send": "call",
    "AsyncSession.send, asyncio": "acall",
    "smtpx.smtplib, sendmail": "smtplib",
    "send_many, one envelope": "stream",
    "send_many, an envelope each": "own",
}


def lines() -> Iterator[str]:
    """The table, a line as soon as it is known."""
    yield f"{'thousand instructions a message':34}{'limit':>8}{'smtpx':>8}{'share':>8}"
    with processes.sink() as server:
        for title, mode in _ROWS.items():
            limit = _a_message(["-m", "bench.limit", mode], server.port)
            ours = _a_message([str(processes.ROOT / "bench" / "client.py"), mode], server.port)
            yield f"{title:34}{limit / 1000:8.1f}{ours / 1000:8.1f}{limit / ours:8.2f}"


def _a_message(program: list[str], port: int) -> float:
    few, many = (_all(program, count, port) for count in (_FEW, _MANY))
    return (many - few) / (_MANY - _FEW)


def _all(program: list[str], count: int, port: int) -> int:
    path = os.pathsep.join([str(processes.ROOT), str(processes.ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    with tempfile.NamedTemporaryFile() as report:
        done = subprocess.run(
            [
                *("valgrind", "--tool=cachegrind", "--cache-sim=no"),
                f"--cachegrind-out-file={report.name}",
                *(sys.executable, *program, "127.0.0.1", str(port), str(count), "2k", "1", "1"),
            ],
            cwd=processes.ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if found is None:
        raise ValueError(f"valgrind says nothing of instructions: {done.stderr[-500:]}")
    return int(found[1].replace(",", ""))
