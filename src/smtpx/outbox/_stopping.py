"""Which workers run in one outbox object, and that they are to stop. Without a lock: signals."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakSet

from ._working import Working

__all__ = ["Running"]


class Running:
    """The workers that run, and those that are about to begin: nobody knows of these yet."""

    def __init__(self) -> None:
        self._shifts: WeakSet[Working] = WeakSet()
        self._is_asked = False
        """They are to stop; until the last one of them has, or else the next one."""

    @contextmanager
    def begun(self, shift: Working) -> Generator[None, None, None]:
        """A worker runs, and may be stopped."""
        self._shifts.add(shift)
        if self._is_asked:
            shift.stop()
        try:
            yield
        finally:
            self._shifts.discard(shift)
            if shift.is_stopping and not self._shifts:
                self._is_asked = False

    def stop(self) -> None:
        """Stop all that run; where none does, the next one stops as it begins."""
        self._is_asked = True
        for shift in [*self._shifts]:
            shift.stop()
