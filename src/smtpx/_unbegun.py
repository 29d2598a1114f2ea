"""Iterators that do something, and that somebody forgot to iterate over."""

from __future__ import annotations

import warnings

__all__ = ["Unbegun"]


class Unbegun:
    """An argument of a generator, which calls `begin` first of all.

    A generator that is dropped before drops this, too, and that warns: as Python does of a
    coroutine that was never awaited. Once it has begun nothing of this runs.
    """

    _warning = ""

    def __init__(self, call: str, nothing: str, *, awaited: bool = False) -> None:
        """The name of what was called, and what has not happened."""
        loop = "async for" if awaited else "for"
        self._warning = f"{call} was never iterated over: {nothing}; loop over it by {loop}"

    def begin(self) -> None:
        """The generator runs."""
        self._warning = ""

    def __del__(self) -> None:
        if self._warning:
            warnings.warn(self._warning, RuntimeWarning, stacklevel=2, source=self)
