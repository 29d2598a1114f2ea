"""What an iterable of messages gives `send_many` where it has none just now."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

__all__ = ["NOTHING_YET"]


class _Nothing(Enum):
    NOTHING_YET = "nothing yet"

    def __repr__(self) -> str:
        return "smtpx.NOTHING_YET"


NOTHING_YET: Final = _Nothing.NOTHING_YET
"""What an iterable gives `send_many` in place of a message, if it may have one later.

What is on its way goes on meanwhile. The iterable is asked again within a quarter of a second, and
at once where nothing is on its way any more.
"""

NothingYet: TypeAlias = Literal[_Nothing.NOTHING_YET]

PAUSE = 0.25
"""Seconds until it is asked again, at the most."""
