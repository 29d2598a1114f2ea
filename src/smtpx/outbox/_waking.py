"""Wakes by a dispatcher for so long, and no longer: whoever puts mail in waits for no broker."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue
from weakref import finalize

from smtpx._starting import start_thread

from ._dispatching import Dispatcher
from ._statements import in_parts

__all__ = ["Waker"]

_LOG = logging.getLogger("smtpx.outbox")
# Seconds after which a wake-up is given up.
_PATIENCE = 5.0


class Waker:
    """Has a dispatcher wake, in threads of its own: what hangs there holds up nobody."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._told = ""
        """Why nobody could be woken, as the log has it."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._idle: list[_Thread] = []
        self._hanging: _Call | None = None
        self._process = os.getpid()
        _ = finalize(self, _end, self._idle)

    def wake(self, batches: Sequence[str]) -> None:
        """Call for somebody who delivers; only latency depends on it."""
        if self._process != os.getpid():
            self._begin_anew()  # No thread is carried over a fork.
        try:
            for part in in_parts(batches):
                self._wake(part)
        except Exception as error:
            why = _why(error)
            if why != self._told:  # Once, until it changes: each mail would say it again.
                self._told = why
                _LOG.warning("nobody could be woken, so reconcile() will have to: %s", why)
        else:
            self._told = ""

    def _wake(self, batches: Sequence[str]) -> None:
        if self._hanging is not None and not self._hanging.has_ended.is_set():
            raise TimeoutError("the dispatcher still hangs in an earlier wake-up")
        try:
            thread = self._idle.pop()
        except IndexError:
            thread = _Thread(self._dispatcher)
        call = _Call(batches)
        thread.calls.put(call)
        try:
            _ = call.has_ended.wait(_PATIENCE)
        finally:
            if call.has_ended.is_set():
                self._idle.append(thread)
            else:
                _end([thread])
        if not call.has_ended.is_set():
            self._hanging = call
            raise TimeoutError(f"the dispatcher did not wake within {_PATIENCE:g} seconds")
        if call.error is not None:
            raise call.error


def _why(error: BaseException) -> str:
    """What an error says, and what its causes do, each in a line."""
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        lines = str(cause).strip().splitlines()
        said.append(lines[0] if lines else type(cause).__name__)
        cause = cause.__cause__
    return ": ".join(dict.fromkeys(said))


class _Call:
    """One wake-up, and how it ended."""

    def __init__(self, batches: Sequence[str]) -> None:
        self.batches = batches
        self.error: BaseException | None = None
        self.has_ended = threading.Event()


class _Thread:
    """A thread that wakes, one call after the other; it holds up no program that ends."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.calls: SimpleQueue[_Call | None] = SimpleQueue()
        start_thread(partial(_work, dispatcher, self.calls), "smtpx outbox wake")


def _end(threads: list[_Thread]) -> None:
    for thread in threads:
        thread.calls.put(None)


def _work(dispatcher: Dispatcher, calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        try:
            dispatcher.wake(call.batches)
        except BaseException as error:
            call.error = error
        call.has_ended.set()
