"""Sessions that ask the mark at once are answered at once: a commit costs as much for all."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from smtpx._core.steps import Mark, Steps
from smtpx._drivers.blocking import BlockingDriver
from smtpx._drivers.multiplexed import Lane, Multiplexer

WORDS = {"a": True, "b": False, "c": True}


@pytest.fixture
def drivers() -> Iterator[list[BlockingDriver]]:
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in WORDS]
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
        yield [BlockingDriver(end, None) for end, _ in pairs]


def all_values(multiplexer: Multiplexer[object], lanes: Sequence[Lane[object]]) -> list[object]:
    for lane in lanes:
        multiplexer.add(lane)
    while not all(lane.finished for lane in lanes):
        _ = multiplexer.turn(0)
    multiplexer.close()
    return [lane.value for lane in lanes]


def test_all_that_wait_for_the_mark_ask_it_once(drivers: list[BlockingDriver]) -> None:
    asked: list[list[object]] = []

    def mark(messages: Sequence[object]) -> list[bool]:
        asked.append([*messages])
        return [WORDS[str(message)[0]] for message in messages]

    def asking(name: str) -> Steps[object]:
        told = []
        for step in (Mark(mark, [name]), Mark(mark, [name + "1", name + "2"])):
            _ = yield step
            told.append([*step.allowed])
        return told

    lanes = [
        Lane(driver, asking(name), lambda: False)
        for driver, name in zip(drivers, WORDS, strict=True)
    ]
    values = all_values(Multiplexer(), lanes)
    assert asked == [["a", "b", "c"], ["a1", "a2", "b1", "b2", "c1", "c2"]]
    assert values == [[[word], [word, word]] for word in WORDS.values()]


def test_a_mark_that_fails_has_failed_for_all(drivers: list[BlockingDriver]) -> None:
    def mark(messages: Sequence[object]) -> list[bool]:
        raise ValueError(f"no to {len(messages)}")

    def asking() -> Steps[object]:
        step = Mark(mark, ["a"])
        _ = yield step
        return str(step.failure), step.allowed

    lanes = [Lane(driver, asking(), lambda: False) for driver in drivers]
    assert all_values(Multiplexer(), lanes) == [("no to 3", [False])] * 3
