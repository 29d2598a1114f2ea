"""`make bench`: what smtpx costs beside the standard library, as ratios within one run.

Times differ from machine to machine and from hour to hour; the ratios less so. Each figure is the
median of interleaved rounds. What arrived is checked by digest in the same run.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROUNDS = 5

IMPORT = """
import sys, time
def resident():
    for line in open('/proc/self/status'):
        if line.startswith('VmRSS'): return int(line.split()[1])
before = resident() if sys.platform == 'linux' else 0
start = time.perf_counter()
{}
took = time.perf_counter() - start
print(took * 1000, (resident() - before) / 1024 if sys.platform == 'linux' else 0)
"""

LARGE = """
import sys, tracemalloc, smtpx
path, url = sys.argv[1:]
def pieces():
    with open(path, 'rb') as file:
        while piece := file.read(10_000):
            yield piece
envelope = smtpx.Envelope('a@example.com', 'b@example.net')
with smtpx.Session(url) as session:
    session.send(b'first\\r\\n', envelope)
    for source in (open(path, 'rb'), pieces()):
        tracemalloc.start()
        session.send(source, envelope)
        print(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
"""


def python(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


@contextmanager
def sink() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.sink"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def statistics_of(port: int) -> dict[str, int]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        file = connection.makefile("rwb", buffering=0)
        _ = file.readline()
        _ = file.write(b"XSTAT\r\n")
        report: dict[str, int] = json.loads(file.readline()[4:])
        return report


def imports() -> None:
    statements = {
        "import smtplib": "import smtplib",
        "import smtpx": "import smtpx",
        "… and use Client": "import smtpx; smtpx.Client('smtp://localhost')",
        "from smtpx import smtplib": "from smtpx import smtplib",
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in statements}
    for _ in range(9):
        for name, statement in statements.items():
            took, resident = python("-I", "-c", IMPORT.format(statement)).split()
            measured[name].append((float(took), float(resident)))
    print("\nImporting\n")
    print(f"  {'':28}{'ms':>8}{'MB added':>10}{'time':>8}{'memory':>8}")
    base = [statistics.median(values) for values in zip(*measured["import smtplib"], strict=True)]
    for name, runs in measured.items():
        took, resident = (statistics.median(values) for values in zip(*runs, strict=True))
        ratio = f"{took / base[0]:7.2f}x{resident / base[1]:7.2f}x" if base[1] else ""
        print(f"  {name:28}{took:8.1f}{resident:10.1f}{ratio}")


def calls() -> None:
    print("\nOne message a call: 2 KB, one recipient, one connection, loopback\n")
    print(f"  {'':28}{'µs/message':>11}{'CPU µs':>8}{'speed':>8}{'CPU':>8}")
    modes = {"std": "smtplib", "smtplib": "smtpx.smtplib", "call": "smtpx.Session"}
    runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in modes}
    digests: set[int] = set()
    count = 2000
    for _ in range(ROUNDS):
        for mode in modes:
            with sink() as port:
                arguments = [mode, "127.0.0.1", str(port), str(count), "2k", "1", "1"]
                runs[mode].append(json.loads(python("-m", "bench.client", *arguments)))
                taken = statistics_of(port)
                assert taken["messages"] == count
                digests.add(taken["digest"])
    assert len(digests) == 1, "what arrived differs from client to client"
    wall = {m: statistics.median([r["wall"] for r in rs]) / count * 1e6 for m, rs in runs.items()}
    cpu = {m: statistics.median([r["cpu"] for r in rs]) / count * 1e6 for m, rs in runs.items()}
    for mode, name in modes.items():
        ratios = f"{wall['std'] / wall[mode]:7.2f}x{cpu['std'] / cpu[mode]:7.2f}x"
        print(f"  {name:28}{wall[mode]:11.1f}{cpu[mode]:8.1f}{ratios}")


def large() -> None:
    size = 100_000_000
    path = ROOT / "bench" / "results" / "large"
    path.parent.mkdir(exist_ok=True)
    line = b"x" * 77 + b"\n"
    try:
        _ = path.write_bytes(line * (size // len(line)))
        with sink() as port:
            peaks = python("-c", LARGE, str(path), f"smtp://127.0.0.1:{port}").split()
            octets = statistics_of(port)["octets"]
        assert octets == 2 * (size // len(line)) * (len(line) + 1) + len(b"first\r\n")
    finally:
        path.unlink(missing_ok=True)
    print("\nA message of 100 MB: most memory taken meanwhile\n")
    for name, peak in zip(["from a file", "from an iterator"], peaks, strict=True):
        print(f"  {name:28}{int(peak) / 2**20:8.2f} MB")


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    imports()
    calls()
    large()
