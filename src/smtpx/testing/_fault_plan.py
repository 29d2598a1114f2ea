"""Which of the server's faults are meant for one session, and when."""

from __future__ import annotations

from typing import NamedTuple

from ._records import Shared
from .faults import (
    CommandFault,
    CutContent,
    CutInput,
    CutOutput,
    Drip,
    Latency,
    StreamFault,
    strikes,
)


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

    def at_command(self, command: str, nth: int) -> list[CommandFault]:
        """Return what strikes at the `nth` `command`."""
        return [
            fault
            for fault in self._shared.faults
            if not isinstance(fault, StreamFault) and strikes(fault, command, nth, self._session)
        ]

    def input_cut(self, octets: int) -> CutInput | None:
        """Return what ends the connection after `octets` of input."""
        for fault in self._shared.faults:
            if isinstance(fault, CutInput) and self._meant(fault) and octets >= fault.at:
                return fault
        return None

    def content_cut(self, octets: int, *, in_content: bool) -> CutContent | None:
        """Return what ends the connection after `octets` of content, or as content begins."""
        if not octets and not in_content:
            return None
        for fault in self._shared.faults:
            if isinstance(fault, CutContent) and self._meant(fault) and octets >= fault.at:
                return fault
        return None

    def output_cut(self, octets: int) -> CutOutput | None:
        """Return what ends the connection at or before `octets` of output."""
        cuts = [
            fault
            for fault in self._shared.faults
            if isinstance(fault, CutOutput) and self._meant(fault) and octets >= fault.at
        ]
        return min(cuts, key=lambda cut: cut.at, default=None)

    def pace(self) -> Pace:
        """Return how slowly octets leave."""
        pace = Pace()
        for fault in self._shared.faults:
            match fault:
                case Latency() if self._meant(fault):
                    pace = pace._replace(latency=fault.seconds)
                case Drip() if self._meant(fault):
                    pace = pace._replace(size=fault.size, interval=fault.interval)
                case _:
                    pass
        return pace

    def _meant(self, fault: StreamFault) -> bool:
        return fault.session is None or fault.session == self._session
