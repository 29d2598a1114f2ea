"""How long mail waits for a file of SQLite's that others have locked: a moment, and that once."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["Patience"]

# Seconds. Others' transactions are over sooner; what takes longer may take for ever.
_MOMENT, _HARDLY = 0.5, 0.02
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Patience:
    """Is used up where a file stays locked, and comes back as soon as it is free."""

    def __init__(self) -> None:
        self.is_used_up = False

    @property
    def seconds(self) -> float:
        """For how long to wait now."""
        return _HARDLY if self.is_used_up else _MOMENT

    @contextmanager
    def tried(self) -> Generator[None, None, None]:
        """Note whether the file was to be had."""
        try:
            yield
        except sqlite3.Error as error:
            # Of an extended code the last octet says what it is.
            self.is_used_up = getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCKED
            raise
        self.is_used_up = False
