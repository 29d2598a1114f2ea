"""The processes of a measurement: a sink, perhaps a wire before it, and the contenders' clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CLIENT = (sys.executable, str(ROOT / "bench" / "client.py"))
THE_LIMIT = (sys.executable, "-m", "bench.limit")
LIMIT = 300  # seconds that any client may take


def share_one_core() -> bool:
    """Keep this process and those it starts on one core, where the system can.

    Else the waking of idle cores is most of what one measures, and the least repeatable.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return True


@dataclass(frozen=True)
class Service:
    """A process that listens on a port, and reports what it has seen since the last report."""

    port: int
    process: subprocess.Popen[str]

    def report(self) -> Any:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        _ = stdin.write("report\n")
        stdin.flush()
        return json.loads(stdout.readline())


@contextmanager
def service(*arguments: str) -> Iterator[Service]:
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield Service(int(process.stdout.readline()), process)
        finally:
            process.stdin.close()


@contextmanager
def sink(*, without: Sequence[str] = (), tls: str | None = None) -> Iterator[Service]:
    arguments = [argument for keyword in without for argument in ("--without", keyword)]
    if tls is None:
        with service("bench.sink", *arguments) as running:
            yield running
        return

    import trustme

    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "certificate.pem"
        issued = trustme.CA().issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        arguments += ["--tls", tls, "--certificate", str(certificate)]
        with service("bench.sink", *arguments) as running:
            yield running


@contextmanager
def wire(target: Service, rtt: float) -> Iterator[Service]:
    """A wire to the target, so many milliseconds there and back."""
    with service("bench.wire", str(target.port), str(rtt)) as running:
        yield running


def run_client(
    command: Sequence[str],
    port: int,
    n: int,
    size: str,
    recipients: int,
    connections: int = 1,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run one client as bench/client.py is; return what it reports."""
    arguments = ["127.0.0.1", str(port), str(n), size, str(recipients), str(connections)]
    finished = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if finished.returncode:
        sys.exit(f"{' '.join(finished.args)} failed:\n{finished.stderr}")
    report: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return report
