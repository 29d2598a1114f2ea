"""The server's way out: in order, and as slowly as the faults want it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

Item: TypeAlias = bytes | Callable[[], None]


class Outlet:
    """Writes octets and runs actions in the order they were put, each when it is due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, write: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._write = write
        self._queue: deque[tuple[float, Item]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Something has been put that has not left."""
        return bool(self._queue)

    def put(
        self, item: Item, *, latency: float = 0.0, size: int = 0, interval: float = 0.0
    ) -> None:
        """Put `item`, to leave `latency` seconds from now.

        Octets leave in pieces of `size`, `interval` seconds apart; 0 is all at once.
        """
        if not self._queue and not latency and not size:
            self._perform(item)
            return
        due = self._loop.time() + latency
        if self._queue:
            due = max(due, self._queue[-1][0])
        if size and isinstance(item, bytes):
            for number, start in enumerate(range(0, len(item), size)):
                self._queue.append((due + number * interval, item[start : start + size]))
        else:
            self._queue.append((due, item))
        if self._timer is None:
            self._schedule()

    def clear(self) -> None:
        """Forget what has not left."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        # Through the loop even when it is due already, so that each piece is a write of its own.
        self._timer = self._loop.call_at(self._queue[0][0], self._next)

    def _next(self) -> None:
        self._timer = None
        _, item = self._queue.popleft()
        self._perform(item)
        if self._queue and self._timer is None:
            self._schedule()

    def _perform(self, item: Item) -> None:
        if isinstance(item, bytes):
            self._write(item)
        else:
            item()
