"""Processes to be killed: forked from one that has imported all, so that each is there at once."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, ParamSpec

P = ParamSpec("P")


class Child:
    """A process that runs a function; what that prints is read from `stdout`."""

    def __init__(self, process: Any, printed: int) -> None:
        self._process = process
        self.stdout = open(printed, encoding="utf-8")  # noqa: SIM115 - closed with the process

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def returncode(self) -> int | None:
        """The negative number of the signal that it died of; ``None`` while it lives."""
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.returncode
        assert code is not None, "it has not ended in time"
        return code

    def rest(self, timeout: float | None = None) -> str:
        """Wait for the end; the value is what was printed and not read."""
        told = self.stdout.read()
        self.wait(timeout)
        return told

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()


@contextmanager
def running(call: Callable[P, object], *args: P.args, **named: P.kwargs) -> Iterator[Child]:
    """Have a function called by a process, which does not outlive the context."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.outbox.worker"])
    reads, writes = context.Pipe(duplex=False)
    process = context.Process(target=_called, args=(writes, call, args, named), daemon=True)
    process.start()
    writes.close()
    with reads:
        child = Child(process, os.dup(reads.fileno()))
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _called(writes: Connection, call: Callable[..., object], args: Any, named: Any) -> None:
    os.dup2(writes.fileno(), 1)
    writes.close()
    with open(1, "w", encoding="utf-8", closefd=False) as sys.stdout:
        call(*args, **named)
