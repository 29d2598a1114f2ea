"""The dialogue as people read it: one line a speaker, secrets already left out."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, TypeAlias

__all__ = ["Line", "Observer", "Speaker"]


class Speaker(Enum):
    """Who says a line."""

    CLIENT = "C"
    SERVER = "S"


class Line(NamedTuple):
    """One line of the dialogue. `str()` is ``C: …`` or ``S: …``, control characters escaped."""

    speaker: Speaker
    text: str

    def __str__(self) -> str:
        shown = self.text.encode("unicode_escape").decode("ascii") if _odd(self.text) else self.text
        return f"{self.speaker.value}: {shown}"


def _odd(text: str) -> bool:
    return not text.isprintable()


Observer: TypeAlias = Callable[[Line], None]
"""Called with every line as it is said."""
