"""Threads whose start is not left half done, whatever strikes meanwhile.

`Thread.start` takes many steps. A signal handler that raises in one of them, or a `RecursionError`,
leaves a thread that `threading` keeps for ever, or that ends before it has begun.
"""

from __future__ import annotations

import _thread
import os
from collections.abc import Callable
from threading import Lock, Thread, current_thread

__all__ = ["Claims", "Joined", "start_thread"]


def start_thread(run: Callable[[], object], name: str) -> None:
    """Run something in a thread of its own, which holds up no program that ends.

    It is begun by one call of C. Signals come to the main thread alone, and so none strikes the
    thread that does the rest, with a stack of its own.

    Raises:
        RuntimeError: there are too many threads, or the program ends.
    """
    _ = _thread.start_new_thread(_start, (run, name))


def _start(run: Callable[[], object], name: str) -> None:
    try:
        Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:  # There is no room for another one, but this one is there.
        _ = run()


class Claims:
    """Whose something is: the first one's that asks, who may ask again after an interruption."""

    def __init__(self) -> None:
        self._made: list[object] = []

    def is_first(self, who: object) -> bool:
        """Claim it; true for the first."""
        self._made.append(who)
        return self._made[0] is who


class Joined:
    """A thread whose end is waited for, whatever struck as it was begun."""

    def __init__(self, run: Callable[[], object], name: str) -> None:
        self._run = run
        self._name = name
        self._process = os.getpid()
        self._is_begun = False
        self._claims = Claims()
        self._thread: Thread | None = None
        self._running = Lock()
        _ = self._running.acquire()

    def start(self) -> None:
        """Begin it, once.

        Raises:
            RuntimeError: there are too many threads, or the program ends.
        """
        start_thread(self._live, self._name)
        self._is_begun = True

    def join(self) -> None:
        """Wait for its end. If it was not begun, or that was interrupted, it may never run."""
        if self._process != os.getpid():
            return  # It is the parent's.
        if self._is_begun or not self._claims.is_first("nobody"):
            with self._running:
                pass
            if type(self._thread) is Thread:  # Not the one that was to begin it.
                self._thread.join()

    def _live(self) -> None:
        try:
            self._thread = current_thread()
            if self._claims.is_first("it"):
                _ = self._run()
        finally:
            self._running.release()
