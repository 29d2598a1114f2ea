"""Which of the server's faults are meant for one session, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from ._records import Shared
from .faults import (
    CommandFault,
    CutContent,
    CutInput,
    CutOutput,
    Drip,
    Fault,
    Latency,
    StreamFault,
    strikes,
)

CutT = TypeVar("CutT", CutInput, CutOutput, CutContent)


class Pace(NamedTuple):
    """How slowly octets leave."""

    latency: float = 0.0
    size: int = 0
    """Octets at a time; 0 is all at once."""
    interval: float = 0.0


class FaultPlan:
    """Asks the faults of the server as they are now: tests change them while sessions run."""

    def __init__(self, shared: Shared, session: int) -> None:
        self._shared = shared
        self._session = session

    def struck(self, fault: Fault) -> None:
        """Note that `fault` has done what it is for."""
        self._shared.struck[id(fault)] += 1

    def at_command(
        self, points: Sequence[tuple[str, int]], argument: str = ""
    ) -> list[CommandFault]:
        """Return what is meant for a command of these names and numbers, in the order given."""
        return [
            fault
            for fault in self._shared.faults
            if not isinstance(fault, StreamFault)
            and strikes(fault, points, self._session, argument)
            and (fault.times is None or self._shared.struck[id(fault)] < fault.times)
        ]

    def input_cut(self, octets: int) -> CutInput | None:
        """Return what ends the connection at or before `octets` of input."""
        return self._first_cut(CutInput, octets)

    def content_cut(self, octets: int, *, in_content: bool) -> CutContent | None:
        """Return what ends the connection at or before `octets` of content, or as it begins."""
        return self._first_cut(CutContent, octets) if octets or in_content else None

    def output_cut(self, octets: int) -> CutOutput | None:
        """Return what ends the connection at or before `octets` of output."""
        return self._first_cut(CutOutput, octets)

    def pace(self) -> Pace:
        """Return how slowly octets leave from now on: the last of each kind says it."""
        latency, drip = None, None
        for fault in self._shared.faults:
            match fault:
                case Latency() if self._meant(fault):
                    latency = fault
                case Drip() if self._meant(fault):
                    drip = fault
                case _:
                    pass
        pace = Pace()
        if latency is not None:
            self.struck(latency)
            pace = pace._replace(latency=latency.seconds)
        if drip is not None:
            self.struck(drip)
            pace = pace._replace(size=drip.size, interval=drip.interval)
        return pace

    def _first_cut(self, kind: type[CutT], octets: int) -> CutT | None:
        cuts = [
            fault
            for fault in self._shared.faults
            if isinstance(fault, kind) and self._meant(fault) and octets >= fault.at
        ]
        return min(cuts, key=lambda cut: cut.at, default=None)

    def _meant(self, fault: StreamFault) -> bool:
        return fault.session is None or fault.session == self._session
