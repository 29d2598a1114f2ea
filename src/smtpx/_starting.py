"""Threads whose start is not left half done, whatever strikes meanwhile.

`Thread.start` takes many steps. A signal handler that raises in one of them, or a `RecursionError`,
leaves a thread that `threading` keeps for ever, or that ends before it has begun.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from threading import Thread

__all__ = ["start_thread"]


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
