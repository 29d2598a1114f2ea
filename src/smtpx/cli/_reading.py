"""Files that cannot be read: which one it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["reading"]


@contextmanager
def reading(name: str | Path) -> Generator[None]:
    """Name the file of whatever is read; Python does so only where it cannot be opened."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(name)
        raise
