"""A Redis server of the operating system's packages, on a port of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """Its URL, as long as it is wanted; a test is skipped where there is none."""
    with process(directory) as (url, _):
        yield url


@contextmanager
def process(directory: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its URL and its process."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no Redis server is installed: apt-get install redis-server")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    server = subprocess.Popen([program, *settings], stdout=subprocess.DEVNULL)
    try:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0", server
    finally:
        server.terminate()
        server.wait(timeout=30)
