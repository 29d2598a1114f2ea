"""What bounds a server that strangers reach: its sessions, their silence, their unfinished mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Bounds:
    """What all sessions of a server may take; None is no bound."""

    connections: int | None = None
    silence: float | None = None
    """Seconds."""
    unfinished: int | None = None
    """Octets of mail that has begun and not ended."""
    held: int = 0
    """So many of them there are."""

    @property
    def is_full(self) -> bool:
        """There is more unfinished mail than there may be."""
        return self.unfinished is not None and self.held > self.unfinished


class Watch:
    """Calls back once nothing has been heard for too long, and again as long as it lasts."""

    def __init__(self, patience: float | None, call: Callable[[], None]) -> None:
        """Begin, in the loop that runs; with no `patience` for ever."""
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._call = call
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._wait(self._heard)

    def heard(self) -> None:
        """Something was."""
        if self._timer is not None:
            self._heard = self._loop.time()

    def end(self) -> None:
        """Listen no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, since: float) -> None:
        if self._patience is not None:
            self._timer = self._loop.call_at(since + self._patience, self._look)

    def _look(self) -> None:
        now, heard = self._loop.time(), self._heard
        if self._patience is None or now < heard + self._patience:
            self._wait(heard)
            return
        self._wait(now)
        self._call()
