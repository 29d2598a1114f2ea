"""What a message costs: round trips, writes, system calls. Counts, at most; never times."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpx.testing import ALL_EXTENSIONS, Extension, Server
from tests.scale.counted import main

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
WAYS = {
    "BDAT": ALL_EXTENSIONS,
    "DATA": ALL_EXTENSIONS - {Extension.CHUNKING, Extension.BINARYMIME},
    "lock-step": ALL_EXTENSIONS - {Extension.PIPELINING},
}
FEW, MANY = 20, 120

# Round trips and writes that one more message costs.
MOST = {
    ("smtplib", "BDAT"): (2, 2),
    ("smtplib", "DATA"): (2, 2),
    ("smtplib", "lock-step"): (4, 4),
    ("client", "BDAT"): (1, 1),
    ("client", "DATA"): (2, 2),
    ("client", "lock-step"): (4, 4),
    ("asyncio", "BDAT"): (1, 1),
    ("asyncio", "DATA"): (2, 2),
    ("asyncio", "lock-step"): (4, 4),
    ("trio", "BDAT"): (1, 1),
    ("trio", "DATA"): (2, 2),
    ("trio", "lock-step"): (4, 4),
    ("send_many", "BDAT"): (0.05, 0.05),
    ("send_many", "DATA"): (1, 1),
    ("send_many", "lock-step"): (4, 4),
}


def at_the_server(how: str, way: str, count: int) -> tuple[int, int]:
    with Server(extensions=WAYS[way]) as server:
        main(how, server.url, count)
        (session,) = server.wait_until_idle()
        assert len(server.messages) == count
    return session.round_trips, session.reads


@pytest.mark.parametrize(("how", "way"), MOST)
def test_round_trips_and_writes(how: str, way: str):
    # The difference of two runs is free of what opening and closing cost.
    few, many = (at_the_server(how, way, count) for count in (FEW, MANY))
    for each, (before, after) in zip(MOST[how, way], zip(few, many, strict=True), strict=True):
        assert (after - before) / (MANY - FEW) <= each + 0.05


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a fast sink that never fails, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.scale.sink", "/dev/null", "0"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as sink:
        assert sink.stdin is not None
        assert sink.stdout is not None
        yield int(sink.stdout.readline())
        sink.stdin.close()


# poll, send, poll, recv, and one poll more: what follows the last reply that is due, if anything,
# may show that it was another's. Half a call is left for replies that come in two parts.
CALLS = {"send": 5, "client": 5, "asyncio": 5, "trio": 6, "send_many": 0.1}
_OF_SOCKETS = re.compile(
    r"^(?:\d+ +)?((?:send|recv|p?poll|p?select|epoll_\w+|read|write|ioctl|fcntl|\w+sockopt)\w*)\(",
    re.MULTILINE,
)


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], check=False).returncode == 0


@pytest.mark.skipif(not can_trace(), reason="strace is not here, or may not trace")
@pytest.mark.parametrize("how", CALLS)
def test_system_calls(how: str, port: int, tmp_path: Path):
    totals = []
    for count in (FEW, MANY):
        trace = tmp_path / f"{count}"
        client = [sys.executable, "-m", "tests.scale.counted", how, str(port), str(count)]
        traced = ["strace", "-f", "-qq", "-o", str(trace), *client]
        _ = subprocess.run(traced, cwd=ROOT, check=True)
        totals.append(Counter(_OF_SOCKETS.findall(trace.read_text())))
    more = totals[1] - totals[0]
    assert more.total() / (MANY - FEW) <= CALLS[how] + 0.5, more
