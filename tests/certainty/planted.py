"""Bugs to be found: what they break is promised, and was broken once.

Each is planted into the process that runs the rounds, never into the package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from smtpx import ConnectionLost, Outcome, Status


def count_too_little() -> None:
    """Of a write that failed, say that nothing was taken: what was is sent again."""
    for name, module in list(sys.modules.items()):
        if name.startswith("smtpx.") and hasattr(module, "octets_written"):
            vars(module)["octets_written"] = lambda error, otherwise: 0


def repeat_whole() -> None:
    """Replace a connection by how its last part failed, whatever became of the others."""
    from smtpx._faces.leasing import Lease

    def was_gone(self: Any, told: Any) -> bool:
        error = getattr(told, "error", told)
        return (
            self.reused and isinstance(error, ConnectionLost) and error.phase in ("mail", "other")
        )

    Lease.was_gone = was_gone  # type: ignore[method-assign, assignment]


def doubt_nothing() -> None:
    """Tell of what is in doubt that it was not tried."""
    made: Callable[..., None] = Outcome.__init__

    def make(self: Outcome, recipient: Any, status: Status, reply: Any) -> None:
        made(self, recipient, Status.NOT_TRIED if status is Status.IN_DOUBT else status, reply)

    Outcome.__init__ = make  # type: ignore[method-assign]


def take_doubts_elsewhere() -> None:
    """Go on to the next mail exchanger with what the last one may have taken."""
    from smtpx.delivery._standing import Standings

    hear: Callable[..., None] = Standings.hear

    def heard(self: Standings, *given: Any) -> None:
        hear(self, *given)
        for one in self._all:
            one.is_final = one.is_final and one.outcome.status is not Status.IN_DOUBT

    Standings.hear = heard  # type: ignore[method-assign, assignment]


class Bug(NamedTuple):
    """How it is planted, where it shows, and as which kinds of violation."""

    plant: Callable[[], None]
    faces: tuple[str, ...]
    theme: str
    kinds: tuple[str, ...]
    seed: int = 1
    """Of a run that is not long in finding it."""


TWICE = (
    "delivered twice",
    "told not tried, and was accepted",
    "told refused, and was accepted",
)
PLANTED = {
    "count too little": Bug(count_too_little, ("many", "failing many"), "cuts", TWICE, 4),
    "repeat whole": Bug(repeat_whole, ("send", "threads"), "limits", TWICE, 4),
    "take doubts elsewhere": Bug(
        take_doubts_elsewhere, ("delivery", "many deliveries"), "cuts", TWICE
    ),
    "doubt nothing": Bug(doubt_nothing, ("session", "send", "many"), "endings", TWICE[1:2]),
}
