"""Runs cases: a server and a caller in two processes, and a watchdog over both."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from tests.held import callers, hostile
from tests.held.callers import Outcome
from tests.held.cases import Case
from tests.held.hostile import Manner

PROMISE = 0.5
"""Seconds that a call may take longer than its phase, or its total, has."""
MEMORY = 16 * 2**20
_WATCHDOG = 60.0  # Far from anything that a busy machine makes of a few seconds.
# Seconds of the processor's time, where there is next to nothing to do.
_WORK = 0.3
_QUIET = (Manner.SILENCE, Manner.DRIP, Manner.HALF_CLOSE, Manner.PARTING)
# A held caller comes back when the server lets go of it, and that is far from both.
_BUSY_MACHINE = 1.0


@dataclass(frozen=True)
class Verdict:
    """What was seen of a case, and what is wrong with it, if something is."""

    case: Case
    outcome: Outcome | None
    fault: str

    def __str__(self) -> str:
        if self.outcome is None:
            return f"{self.case}: {self.fault}"
        seconds, memory = self.outcome.seconds, self.outcome.memory / 2**20
        what = f"{seconds:.2f} s, {self.outcome.processor:.2f} s of the processor, {memory:.0f} MB"
        return f"{self.case}: {self.fault or 'in time'} ({what}; {self.outcome.told})"


class _Child:
    """A process that answers what it is sent."""

    def __init__(self, main: Callable[[Connection], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, question: Any) -> Any:
        """Its answer; `None` if it has none in time."""
        self._pipe.send(question)
        return self._pipe.recv() if self._pipe.poll(_WATCHDOG) else None

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


class Harness:
    """A pair of processes in which one case runs after the other."""

    def __enter__(self) -> Self:
        self._server = _Child(hostile.main)
        self._caller = _Child(callers.main)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self._caller.close()

    def judge(self, case: Case, tries: int = 3) -> Verdict:
        """Run a case; where the machine may be to blame for the time, again."""
        verdict = self._judge(case)
        for _ in range(tries - 1):
            if not verdict.fault.startswith(("late", "could not begin")):
                break
            verdict = self._judge(case)
        return verdict

    def _judge(self, case: Case) -> Verdict:
        port, ca_file = self._server.ask(case.plan)
        outcome = self._caller.ask((case.call, port, ca_file))
        if outcome is None:
            self._caller.close()
            self._caller = _Child(callers.main)
            return Verdict(case, None, "hangs")
        if isinstance(outcome, str):
            return Verdict(case, None, f"could not begin: {outcome}")
        return Verdict(case, outcome, fault(case, outcome))


def fault(case: Case, outcome: Outcome) -> str:
    """What is wrong with an outcome; nothing if it is as promised."""
    if outcome.seconds > case.seconds + PROMISE + _BUSY_MACHINE:
        return f"late: {case.seconds + PROMISE:.1f} s were promised"
    if outcome.memory > MEMORY:
        return "takes too much memory"
    if outcome.processor > _WORK and case.plan.manner in _QUIET:
        return "works while it waits"
    if not outcome.is_documented:
        return "raises what is not documented"
    return ""
