"""Tells those who watch that something has changed, and never more often than they can look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

__all__ = ["Changes"]

_PACE = 0.25
_PING = 15.0


class Changes:
    """What has changed since each watcher looked: kinds of things, never a list that grows."""

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()
        self._closed = False

    def tell(self, kind: str) -> None:
        """Note a change, from any thread."""
        for watcher in list(self._watchers):
            watcher.note(kind)

    def close(self) -> None:
        """End every stream, so that nobody waits for the server to end."""
        self._closed = True
        self.tell("")

    async def watch(self, timeout: float | None = None) -> AsyncGenerator[set[str]]:
        """Give what has changed, at most four times a second; an empty set is a sign of life."""
        watcher = _Watcher(asyncio.get_running_loop())
        self._watchers.add(watcher)
        try:
            while True:
                if self._closed:
                    return
                try:
                    async with asyncio.timeout(_PING if timeout is None else timeout):
                        _ = await watcher.changed.wait()
                except TimeoutError:
                    yield set()
                    continue
                if self._closed:
                    return
                yield watcher.taken()
                await asyncio.sleep(_PACE)
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._kinds: set[str] = set()
        self.changed = asyncio.Event()

    def note(self, kind: str) -> None:
        try:
            _ = self._loop.call_soon_threadsafe(self._note, kind)
        except RuntimeError:
            pass  # Its loop is closed: nobody watches any more.

    def _note(self, kind: str) -> None:
        self._kinds.add(kind)
        self.changed.set()

    def taken(self) -> set[str]:
        kinds, self._kinds = self._kinds, set()
        self.changed.clear()
        return kinds
