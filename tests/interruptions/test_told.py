"""Interrupted at any point of `send_many`: everything that was read is told of once, and truly."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from operator import length_hint
from types import FrameType

import pytest

import smtpx
from smtpx import Client, Envelope, Outcome, PoolLimits, SendResult, Status
from tests.interruptions.noting import Noting, Ways
from tests.interruptions.points import Points

DATA = ("PIPELINING", "8BITMIME", "SIZE")
WAYS = {
    "BDAT": Ways(),
    "DATA": Ways(DATA),
    "one by one": Ways(("8BITMIME", "SIZE")),
    "BDAT, divided": Ways(rcpt_max=1),
    "DATA, divided": Ways(DATA, rcpt_max=1),
    "one by one, divided": Ways(("SIZE",), rcpt_max=1),
    "BDAT, refused": Ways(refused="eve@two.test"),
    "DATA, refused": Ways(DATA, refused="eve@two.test"),
    "BDAT, 421": Ways(session_max=3),
    "DATA, 421": Ways(DATA, session_max=3),
    "BDAT, closed": Ways(session_max=3, closes_mutely=True, rcpt_max=1),
    "DATA, closed": Ways(DATA, session_max=3, closes_mutely=True),
    "one by one, closed": Ways(("SIZE",), session_max=3, closes_mutely=True),
}
MESSAGES = 7
# Points between one interruption and the next.
_SLOWLY = [
    pytest.param(points, marks=pytest.mark.slow)
    for points in (1, 2, 4, 5, 6, 7, 10, 14, 20, 28, 40, 60)
]
CONTENT_AND_BOB = (b"Subject: 0\r\n\r\nhello\r\n", "bob@one.test")


class Interruption(BaseException):
    """What a signal handler raises."""


def interrupt() -> None:
    raise Interruption


def items() -> list[tuple[bytes, Envelope]]:
    envelope = Envelope("ann@example.org", ["bob@one.test", "eve@two.test"])
    return [(b"Subject: %d\r\n\r\nhello\r\n" % number, envelope) for number in range(MESSAGES)]


class Call:
    """One call of `send_many`, interrupted at its so-manieth point, if it has so many.

    And `again`, if that is not 0, so many points later.
    """

    def __init__(
        self, client: Client, at: int, connections: int, *, resend: bool, again: int = 0
    ) -> None:
        self.told: list[SendResult] = []
        """What was yielded, and what hung on the interruption."""
        self._resend = resend
        given = items()
        source: Iterator[tuple[bytes, Envelope]] = iter(given)
        sending = client.send_many(
            source,
            connections=connections,
            window=3,
            on_doubt="resend" if resend else "report",
        )
        points = Points(at, interrupt, self._is_of_the_call, again)
        try:
            points.run(lambda: self._go_through(sending))
        except (Interruption, smtpx.SMTPError) as error:
            self.told += vars(error).get("results", [])
        self.happened = points.happened
        self.read = [content for content, _ in given[: MESSAGES - length_hint(source)]]

    def _go_through(self, sending: Iterable[SendResult]) -> None:
        for result in sending:
            self.told.append(result)

    def _is_of_the_call(self, frame: FrameType) -> bool:
        # The caller's own loop is not: who leaves it closes the generator.
        return frame.f_code is not Call._go_through.__code__

    def faults(self, taken: list[tuple[bytes, str]]) -> list[str]:
        """What was told that does not hold at the server, or not told, or told twice."""
        had, told = Counter(taken), [_content_of(result) for result in self.told]
        wrong = [] if sorted(told) == self.read else [f"read {self.read}, told {told}"]
        for result in self.told:
            content = _content_of(result)
            if len(result.outcomes) != 2:
                wrong.append(f"{content!r} has {len(result.outcomes)} outcomes")
            for outcome in result.outcomes:
                times = had[content, str(outcome.recipient)]
                untrue = {
                    Status.ACCEPTED: not times,
                    Status.REFUSED: bool(times),
                    Status.NOT_TRIED: bool(times),
                    Status.IN_DOUBT: False,
                }
                if untrue[outcome.status] or (times > 1 and not self._resend):
                    wrong.append(f"{content!r}: {outcome}, taken {times} times")
        return wrong


def _has_lost(client: Client) -> bool:
    statistics = client.statistics()
    return bool(statistics.opening or statistics.busy or statistics.waiting)


def _content_of(result: SendResult) -> bytes:
    assert isinstance(result.message, bytes)
    return result.message


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("connections", "resend"), [(1, False), (3, True)])
@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_told(way: str, step: int, connections: int, resend: bool) -> None:
    # The ways have much in common: each is struck at other points of it.
    first = 1 + (7 * list(WAYS).index(way) + 3 * connections) % step
    assert told_wrongly(way, step, connections, resend=resend, first=first) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("connections", "resend"), [(1, True), (3, False)])
@pytest.mark.parametrize("again", [3, *_SLOWLY])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_told_to_the_impatient(
    way: str, again: int, connections: int, resend: bool
) -> None:
    """Who presses Ctrl-C twice strikes what the first one had us do."""
    assert told_wrongly(way, 211 - again, connections, resend=resend, again=again) == []


def told_wrongly(
    way: str, step: int, connections: int, *, resend: bool, again: int = 0, first: int = 1
) -> list[str]:
    """What is told wrongly, or lost, by an interruption at every so-manieth point."""
    at, wrong = first, list[str]()
    with Noting(WAYS[way]) as server:
        _ = [*Client(server.url).send_many([])]  # What is imported late is imported now.
        while True:
            server.taken.clear()
            client = Client(server.url, pool=PoolLimits(open=3, wait=5))
            call = Call(client, at, connections, resend=resend, again=again)
            if again and _has_lost(client):
                _ = gc.collect()  # It was interrupted while it gave a place back.
            if _has_lost(client):
                wrong.append(f"at {at}: a place is lost: {client.statistics()}")
            client.close()
            server.wait_for_the_end()
            wrong += [f"at {at}: {fault}" for fault in call.faults(server.taken)]
            if not call.happened:
                break
            at += step
    assert at > 50 + first
    return wrong


@pytest.mark.parametrize(
    ("taken", "told_times"),
    [
        ([], 1),  # accepted, and never taken
        ([CONTENT_AND_BOB] * 2, 1),
        ([CONTENT_AND_BOB], 0),
        ([CONTENT_AND_BOB], 2),
    ],
)
def test_what_is_untrue_is_found(taken: list[tuple[bytes, str]], told_times: int) -> None:
    content, bob = CONTENT_AND_BOB
    call = Call.__new__(Call)
    call._resend, call.read = False, [content]
    envelope = Envelope("ann@example.org", [bob, "eve@two.test"])
    outcomes = [
        Outcome(envelope.recipients[0].address, Status.ACCEPTED, None),
        Outcome(envelope.recipients[1].address, Status.NOT_TRIED, None),
    ]
    call.told = [SendResult(outcomes, None, message=content)] * told_times
    assert call.faults(taken)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("again", [3, *_SLOWLY])
@pytest.mark.parametrize("way", ["BDAT", "DATA", "one by one", "BDAT, divided", "DATA, refused"])
def test_what_the_impatient_are_told_of_one(way: str, again: int) -> None:
    at, wrong, content, envelope = 1, list[str](), *items()[0]
    with Noting(WAYS[way]) as server:
        while True:
            server.taken.clear()
            client = Client(server.url, pool=PoolLimits(open=1, wait=5))
            points = Points(at, interrupt, again=again)
            result: SendResult | None = None
            try:
                result = points.run(partial(client.send, content, envelope))
            except (Interruption, smtpx.SMTPError) as error:
                result = vars(error).get("result")
            client.close()
            server.wait_for_the_end()
            taken = {recipient for _, recipient in server.taken}
            for outcome in () if result is None else result.outcomes:
                was_taken = str(outcome.recipient) in taken
                untrue = {Status.REFUSED, Status.NOT_TRIED} if was_taken else {Status.ACCEPTED}
                if outcome.status in untrue:
                    wrong.append(f"at {at}: {outcome}, {was_taken=}")
            if not points.happened:
                break
            at += 31
    assert wrong == []
    assert at > 50
