"""Near the recursion limit: wherever it strikes, what was read is told of once, and truly.

A signal strikes once, and what it interrupts has room to account for it. A stack that has no room
for a call has none for what that has to call in turn.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Any, TypeVar

import pytest

import smtpx
from smtpx import Client, PoolLimits, SendResult, Status
from tests.interruptions.noting import Noting
from tests.interruptions.test_told import WAYS, Call, items

T = TypeVar("T")

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(300),
]

ROOMS = range(70)
"""How many frames are left for a call: from none of its own to all that it needs."""
_MUTE = 3
"""Of those, how many are so few that a call which has begun before cannot account for itself."""


def _depth() -> int:
    frame, depth = sys._getframe(), 0
    while (before := frame.f_back) is not None:
        frame, depth = before, depth + 1
    return depth


def within(room: int, call: Callable[[], T]) -> T:
    """Call where so many frames are left."""

    def go_down(left: int) -> T:
        return call() if left <= 0 else go_down(left - 1)

    return go_down(sys.getrecursionlimit() - _depth() - room)


class Told(Call):
    """One call of `send_many` that has so much room, from its so-manieth result on."""

    def __init__(self, client: Client, room: int, connections: int, begun: int) -> None:
        self.told: list[SendResult] = []
        self._resend = False
        given = items()
        source = iter(given)
        self.error: BaseException | None = None
        sending: Any = client.send_many(source, connections=connections, window=3)
        self._sending: Iterator[SendResult] = sending
        try:
            for _ in range(begun):
                self.told.append(next(self._sending))
            within(room, self._go_on)
        except RecursionError as error:
            self.error = error
            self.told += vars(error).get("results", [])
        self.read = [content for content, _ in given[: len(given) - length_hint(source)]]
        if sending.gi_frame is not None:
            self.told += self._sending  # Not even its frame was reached: who has room goes on.
            self.read = [content for content, _ in given]

    @property
    def is_mute(self) -> bool:
        return self.error is not None and "results" not in vars(self.error) and bool(self.told)

    def _go_on(self) -> None:
        for result in self._sending:
            self.told.append(result)


def _lost(client: Client) -> list[str]:
    there = client.statistics()
    return [f"a place is lost: {there}"] if there.opening or there.busy or there.waiting else []


@pytest.mark.parametrize("begun", [0, 1])
@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_told_at_every_depth(way: str, connections: int, begun: int) -> None:
    """From the first result on, or deeper than the first one was asked for."""
    wrong, errors, mute = list[str](), 0, 0
    with Noting(WAYS[way]) as server:
        _ = [*Client(server.url).send_many([])]  # What is imported late is imported now.
        for room in ROOMS:
            server.taken.clear()
            client = Client(server.url, pool=PoolLimits(open=3, wait=5))
            call = Told(client, room, connections, begun)
            errors += call.error is not None
            if call.is_mute:
                _ = gc.collect()  # CPython has ended the generator, and run nothing of it.
            wrong += [f"room for {room}: {fault}" for fault in _lost(client)]
            client.close()
            server.wait_for_the_end()
            faults = call.faults(server.taken)
            if call.is_mute and faults and faults[0].startswith("read"):
                mute += 1
                del faults[0]
            wrong += [f"room for {room}: {fault}" for fault in faults]
    assert wrong == []
    assert 10 < errors < len(ROOMS) - 10
    assert mute <= (_MUTE if begun else 0)


@pytest.mark.parametrize("way", ["BDAT", "DATA", "one by one", "BDAT, divided", "DATA, refused"])
@pytest.mark.parametrize("is_reused", [False, True])
def test_what_is_told_of_one_at_every_depth(way: str, is_reused: bool) -> None:
    wrong, errors, content, envelope = list[str](), 0, *items()[0]
    with Noting(WAYS[way]) as server:
        _ = Client(server.url).send(b"\r\n", envelope)
        for room in ROOMS:
            client = Client(server.url, pool=PoolLimits(open=1, wait=5))
            if is_reused:
                _ = client.send(b"\r\n", envelope)
            server.taken.clear()
            result: SendResult | None = None
            try:
                result = within(room, lambda: client.send(content, envelope))  # noqa: B023
            except (RecursionError, smtpx.SMTPError) as error:
                errors += 1
                result = vars(error).get("result")
                wrong += [f"room for {room}: {fault}" for fault in _lost(client)]
            taken = {recipient for _, recipient in server.taken}
            wrong += [f"room for {room}: {fault}" for fault in _untrue(result, taken)]
            if not client.send(b"\r\n", envelope).accepted:
                wrong.append(f"room for {room}: nothing goes any more")
            client.close()
            server.wait_for_the_end()
    assert wrong == []
    assert 10 < errors < len(ROOMS) - 10


@pytest.mark.parametrize("way", ["BDAT", "DATA", "one by one"])
def test_a_kept_session_is_idle_or_closed_at_every_depth(way: str) -> None:
    """Also while the error is kept, and nobody uses the client again."""
    wrong, errors, content, envelope = list[str](), list[BaseException](), *items()[0]
    with Noting(WAYS[way]) as server:
        _ = Client(server.url).send(b"\r\n", envelope)
        for room in ROOMS:
            client = Client(server.url, pool=PoolLimits(open=1, wait=5))
            _ = client.send(b"\r\n", envelope)
            (slot,) = client._pool._state._slots
            assert slot.held is not None
            assert slot.held._driver is not None
            connected = slot.held._driver.socket
            try:
                _ = within(room, lambda: client.send(content, envelope))  # noqa: B023
            except (RecursionError, smtpx.SMTPError) as error:
                errors.append(error)
            is_open = connected.fileno() >= 0
            if is_open != client.statistics().idle:
                wrong.append(f"room for {room}: {is_open=}, {client.statistics()}")
            client.close()
    assert wrong == []
    assert 10 < len(errors) < len(ROOMS) - 10


def _untrue(result: SendResult | None, taken: set[str]) -> list[str]:
    if result is None:
        return [f"taken, and not told of: {taken}"] if taken else []
    wrong: list[str] = []
    for outcome in result.outcomes:
        was_taken = str(outcome.recipient) in taken
        untrue = {Status.REFUSED, Status.NOT_TRIED} if was_taken else {Status.ACCEPTED}
        if outcome.status in untrue:
            wrong.append(f"{outcome}, {was_taken=}")
    return wrong
