"""A PostgreSQL server of the operating system's packages, on a port of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """Where the newest server's programs are; ``None`` if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return None if there is None else Path(there).parent


class Postgres:
    """A server, as long as it is wanted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            self.port = bound.getsockname()[1]
        self._databases = 0
        self._run("initdb", "-D", str(directory / "data"), "-U", "postgres", "-A", "trust", "-N")
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        found = programs()
        assert found is not None
        # The server refuses to be root's.
        user = "postgres" if os.geteuid() == 0 else None
        done = subprocess.run(
            [str(found / program), *arguments],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            user=user,
            group=user,
        )
        assert done.returncode == 0, done.stdout

    def start(self) -> None:
        settings = f"-p {self.port} -k '' -c listen_addresses=127.0.0.1 -c max_connections=60"
        log = str(self.directory / "log")
        data = str(self.directory / "data")
        self._run("pg_ctl", "-D", data, "-l", log, "-w", "-t", "90", "-o", settings, "start")

    def stop(self, mode: str = "fast") -> None:
        data = str(self.directory / "data")
        self._run("pg_ctl", "-D", data, "-w", "-t", "90", "-m", mode, "stop")

    def database(self) -> str:
        """The URL of a new database."""
        import psycopg

        self._databases += 1
        name = f"outbox{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"


@contextmanager
def running() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="smtpx-postgres-") as name:
        directory = Path(name)
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        server = Postgres(directory)
        try:
            yield server
        finally:
            server.stop("immediate")
