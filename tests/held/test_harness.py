"""The harness finds what it is there to find."""

from __future__ import annotations

import pytest

from tests.held.callers import Outcome
from tests.held.cases import Case, cases
from tests.held.harness import fault

IN_TIME = Outcome(seconds=0.5, processor=0.01, memory=0, told="TimedOut()", is_documented=True)


def case_called(name: str) -> Case:
    return next(case for case in cases() if str(case) == name)


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (IN_TIME, ""),
        (Outcome(4.0, 0.01, 0, "TimedOut()", True), "late"),
        (Outcome(0.5, 0.4, 0, "TimedOut()", True), "works while it waits"),
        (Outcome(0.5, 0.01, 17 * 2**20, "TimedOut()", True), "takes too much memory"),
        (Outcome(0.5, 0.01, 0, "ValueError()", False), "raises what is not documented"),
    ],
)
def test_what_is_wrong_is_found(outcome: Outcome, found: str) -> None:
    case = case_called("sync, Session.noop, NOOP, silence, plain, pipelined, phase")
    assert fault(case, outcome).startswith(found)
    assert bool(fault(case, outcome)) == bool(found)


def test_every_call_is_held_wherever_it_waits() -> None:
    names = [str(case) for case in cases()]
    assert len(names) == len(set(names))
    assert len(names) > 4000
