"""Some of the held callers, the same ones each time; ``make held`` has them all."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.held.cases import Case, cases
from tests.held.harness import Harness

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
    "uvloop, Session.send, MAIL, session tickets, TLS, pipelined, phase",
]
DRAWN = 20
GROUPS = 3


def _chosen() -> list[object]:
    by_name = {str(case): case for case in ALL}
    chosen = {name: by_name[name] for name in ALWAYS}
    chosen |= {str(case): case for case in Random(11).sample(ALL, DRAWN)}
    return [_parameter(number, case) for number, case in enumerate(chosen.values())]


def _parameter(number: int, case: Case) -> object:
    group = pytest.mark.xdist_group(f"held-{number % GROUPS}")
    return pytest.param(case, id=str(case), marks=group)


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


@pytest.mark.parametrize("case", _chosen())
def test_the_caller_is_back_in_time(harness: Harness, case: Case) -> None:
    verdict = harness.judge(case)
    assert not verdict.fault, verdict
