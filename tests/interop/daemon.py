"""A foreign daemon as a child process: started in the foreground, ended for certain."""

import os
import pty
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)
ENVIRONMENT = {"PATH": SEARCH_PATH, "LC_ALL": "C", "TZ": "UTC"}
POLL_SECONDS = 0.01


class StartError(RuntimeError):
    """A daemon did not come up; the message ends with what it logged."""


def program(name: str) -> str | None:
    """Find `name` also where only root's shell looks."""
    return shutil.which(name, path=SEARCH_PATH)


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll `condition`, since a foreign daemon notifies nobody; False when the time is up."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def output_on_terminal(argv: Sequence[str], timeout: float = 10) -> str:
    """What a program says when its standard error is a terminal, and to syslog otherwise.

    No more than it says in time: it may hang as what it is to explain does.
    """
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=ENVIRONMENT
        )
    finally:
        os.close(theirs)
    said = b""
    deadline = time.monotonic() + timeout
    try:
        while select.select([ours], [], [], max(deadline - time.monotonic(), 0))[0]:
            said += os.read(ours, 4096)
    except OSError:
        pass  # EIO: the last process with this terminal has ended.
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
        process.wait()
    return said.decode("utf-8", "replace").replace("\r\n", "\n")


def free_ports(host: str, count: int) -> list[int]:
    """Distinct ports nobody listens on now.

    They lie below those that systems give away by themselves, so that no test that runs beside
    this one is given them before the daemon listens there.
    """
    ports = []
    for port in random.sample(range(10_000, 32_000), 1000):
        try:
            socket.create_server((host, port)).close()
        except OSError:
            continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise StartError(f"no {count} free ports on {host}")


def listens(host: str, port: int) -> bool:
    """True if somebody accepts connections there."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


class Daemon:
    """One daemon and all its children: a session of its own, so that they can be told apart.

    It gets SIGTERM also when this process is killed: a shell waits at the end of a pipe for that
    (Linux's "parent death signal" is no use, a daemon that changes its user loses it).
    What it writes to its standard streams, and `logs`, are the evidence when it does not start.
    """

    def __init__(
        self, argv: Sequence[str], directory: Path, logs: Sequence[Path] = (), *, grace: float = 10
    ) -> None:
        self.argv = list(argv)
        self.name = Path(self.argv[0]).name
        self.output = directory / f"{self.name}.out"
        self.logs = [self.output, *logs]
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r line; kill -TERM "$0"', str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait_until_ready(self, ready: Callable[[], bool], timeout: float = 60) -> None:
        """Return once `ready()`.

        Raises: StartError when the daemon exits first or the time is up.
        """
        process = self._process
        assert process is not None
        if not wait_until(lambda: process.poll() is not None or ready(), timeout):
            raise StartError(f"{self.name} is not ready after {timeout} s\n{self.log_tail()}")
        if process.returncode is not None:
            raise StartError(f"{self.name} exited with {process.returncode}\n{self.log_tail()}")

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of every log."""
        tails = []
        for log in self.logs:
            if log.exists() and (text := log.read_text("utf-8", "replace")):
                tails.append(f"--- {log.name}\n" + "\n".join(text.splitlines()[-lines:]))
        return "\n".join(tails)

    def pids(self) -> list[int]:
        """The daemon and its children, as long as they run."""
        return [] if self._process is None else _session_members(self._process.pid)

    def stop(self) -> None:
        """End the daemon and its children; on return nothing of it runs."""
        process = self._process
        if process is None:
            return
        self._watch.kill()
        with self._watch:
            pass  # Reap it and close the pipe.
        process.terminate()
        if not wait_until(lambda: process.poll() is not None and not self.pids(), self._grace):
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # It ended by itself.
            if not wait_until(lambda: process.poll() is not None and not self.pids(), 5):
                raise RuntimeError(f"{self.name} left processes behind: {self.pids()}")
        self._process = None


class Harness:
    """Foreign daemons with all that is theirs in a directory, which goes when they have ended."""

    name: str
    """What its directory is called by."""

    def start(self, directory: Path, exits: ExitStack) -> None:
        """Write what they read; enter what is to be ended, and return when they are ready."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            prefix = f"smtpx-{self.name}-"
            directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
            self.start(directory, exits)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()


def _session_members(session: int) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended meanwhile.
        state, _parent, _group, its_session = stat.rpartition(")")[2].split()[:4]
        if int(its_session) == session and state not in "ZX":
            pids.append(int(entry.name))
    return pids
