"""Some of the held callers, the same ones each time; ``make held`` has them all."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.held.cases import Case, cases
from tests.held.harness import Harness
from tests.held.hostile import Manner

ALL = list(cases())
# What was seen to hold callers is among them, whatever the draw.
ALWAYS = [
    "sync, Session.open, greeting, session tickets, TLS, pipelined, phase",
    "sync, Session.open, handshake, flood of replies, TLS, pipelined, total",
    "sync, Client.send_many, content, flood of replies, plain, chunked, phase",
    "sync, Client.send_many, content, half-close, plain, pipelined, phase",
    "sync, Client.send, MAIL, 421, and silence, plain, pipelined, phase",
    "asyncio, Session.send, content, endless lines, plain, pipelined, phase",
    "trio, Session.send, content, session tickets, TLS, pipelined, phase",
]
DRAWN = 20
GROUPS = 3


def _not_mended(case: Case) -> str:
    """Why a case cannot be in time yet; nothing if it can."""
    if case.call.face == "uvloop" and case.plan.manner is Manner.TICKETS:
        return "uvloop hands over megabytes of TLS records before it looks at the time"
    return ""


def _chosen() -> list[object]:
    by_name = {str(case): case for case in ALL}
    chosen = {name: by_name[name] for name in ALWAYS}
    for case in Random(11).sample(ALL, DRAWN):
        # What cannot be in time takes its time: those above are enough of it.
        if not _not_mended(case):
            chosen[str(case)] = case
    return [_parameter(number, case) for number, case in enumerate(chosen.values())]


def _parameter(number: int, case: Case) -> object:
    marks = [pytest.mark.xdist_group(f"held-{number % GROUPS}")]
    if reason := _not_mended(case):
        marks.append(pytest.mark.xfail(strict=True, reason=reason))
    return pytest.param(case, id=str(case), marks=marks)


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


@pytest.mark.parametrize("case", _chosen())
def test_the_caller_is_back_in_time(harness: Harness, case: Case) -> None:
    verdict = harness.judge(case, tries=1 if _not_mended(case) else 3)
    assert not verdict.fault, verdict
