"""Some of the held callers, the same ones each time; ``make held`` has them all."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.held.cases import Case, cases
from tests.held.harness import Harness
from tests.held.hostile import Manner, Phase

ALL = list(cases())
# What was seen to hold callers is among them, whatever the draw.
ALWAYS = [
    "sync, Session.open, greeting, session tickets, TLS, pipelined, phase",
    "sync, Session.open, handshake, flood of replies, TLS, pipelined, total",
    "sync, Session.send, MAIL, key updates, TLS, pipelined, phase",
    "sync, Client.send_many, content, flood of replies, plain, chunked, phase",
    "sync, Client.send_many, content, half-close, plain, pipelined, phase",
    "sync, Client.send, MAIL, 421, and silence, plain, pipelined, phase",
    "asyncio, Session.send, content, endless lines, plain, pipelined, phase",
    "trio, Session.send, content, session tickets, TLS, pipelined, phase",
]
DRAWN = 28
GROUPS = 3

_FLOODS = (Manner.FLOOD, Manner.LINES)
_RECORDS = (Manner.TICKETS, Manner.KEY_UPDATES)


def _not_mended(case: Case) -> str:
    """Why a case cannot be in time yet; nothing if it can."""
    phase, manner, face = case.plan.phase, case.plan.manner, case.call.face
    is_many = case.call.name == "Client.send_many"
    if face == "sync" and not is_many and manner in _RECORDS:
        return "a flood of TLS records keeps OpenSSL busy within one call"
    if face == "sync" and phase is Phase.HANDSHAKE and manner is Manner.FLOOD:
        return "a flood of TLS records keeps OpenSSL busy within one call"
    if manner is Manner.PARTING and not case.by_total and case.way != "lock-step":
        return "the words after a 421 are waited for longer than a reply"
    if phase is Phase.CONTENT and manner in _FLOODS and (face != "sync" or is_many):
        return "what comes while a write waits is kept without bound, or up to 64 MiB"
    if phase is Phase.CONTENT and manner is Manner.HALF_CLOSE and is_many and face == "sync":
        return "a write that waits spins once the server has half-closed"
    if face == "trio" and phase is Phase.CONTENT and manner is Manner.TICKETS:
        return "what comes while a write waits is kept up to 64 MiB"
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
