"""A worker was taken for dead, and learns later what became of its mail: an acceptance is true."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from smtpx import Envelope
from smtpx.outbox import Outbox, State
from smtpx.outbox import _claiming as claiming
from smtpx.outbox import _queue as queue
from smtpx.outbox._claiming import Noted
from smtpx.outbox._destinations import Claim
from smtpx.outbox._queue import Claimed
from smtpx.outbox._statements import Tell

pytestmark = pytest.mark.timeout(60)

RECIPIENT = "b@example.net"
LETTER = b"Subject: x\r\n\r\n", Envelope("a@example.org", RECIPIENT)


class Worker:
    """What a worker does to the ledger, one thing after the other."""

    def __init__(self, outbox: Outbox, name: str) -> None:
        self._transact: Any = outbox._store.transact
        self._name = name
        self._transact(claiming.register, name, 30.0, time.time())

    def claim(self) -> None:
        wanted = Claim(self._name, 9, time.time() + 1000)
        (claimed,) = self._transact(queue.claim, wanted).deliveries
        self.claimed: Claimed = claimed

    def mark(self) -> bool:
        (word,) = self._transact(claiming.mark, self._name, [[self.claimed.ticket]], time.time())
        return bool(word)

    def note(self, state: State, *, counts: bool = True, doubted: bool = False) -> None:
        noted = Noted(self.claimed.ticket, state, 0.0, counts, None, "", "", doubted)
        if state is State.ACCEPTED:
            noted = noted._replace(whose=(self.claimed.message, self.claimed.recipient))
        self._transact(claiming.note, self._name, [noted], time.time())

    def die(self) -> None:
        self._transact(claiming.reap, self._name, None, time.time())

    def send(self) -> None:
        self.claim()
        assert self.mark()


def found(outbox: Outbox) -> tuple[State, bool, int]:
    """Its state, whether it is doubted, and its attempts."""
    (delivery,) = outbox.find()
    assert outbox.counts() == {**dict.fromkeys(State, 0), delivery.state: 1}
    return delivery.state, delivery.doubted, delivery.attempts


Meanwhile = Callable[[Outbox, str, "Worker"], object]


def claimed(outbox: Outbox, id: str, second: Worker) -> None:
    second.claim()


def on_its_way(outbox: Outbox, id: str, second: Worker) -> None:
    second.send()


def noted(state: State, *, doubted: bool = False) -> Meanwhile:
    def do(outbox: Outbox, id: str, second: Worker) -> None:
        second.send()
        second.note(state, doubted=doubted)

    return do


def dead(outbox: Outbox, id: str, second: Worker) -> None:
    second.send()
    second.die()


MEANWHILE: dict[str, tuple[Meanwhile, int]] = {
    "nothing": (lambda outbox, id, second: None, 1),
    "retried": (lambda outbox, id, second: outbox.retry(id), 1),
    "cancelled": (lambda outbox, id, second: outbox.cancel(id), 1),
    "claimed": (claimed, 1),
    "on its way": (on_its_way, 2),
    "refused for now": (noted(State.WAITING), 2),
    "refused": (noted(State.REFUSED), 2),
    "in doubt": (noted(State.WAITING, doubted=True), 2),
    "dead, too": (dead, 2),
    "refused, and cancelled": (
        lambda outbox, id, second: (noted(State.WAITING)(outbox, id, second), outbox.cancel(id)),
        2,
    ),
}


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
@pytest.mark.parametrize("name", MEANWHILE)
def test_a_late_acceptance_is_true_whatever_has_happened(
    outbox: Outbox, name: str, hold: bool
) -> None:
    meanwhile, attempts = MEANWHILE[name]
    id = outbox.put(*LETTER, on_doubt="hold" if hold else "resend")
    first, second = Worker(outbox, "first"), Worker(outbox, "second")
    first.send()
    first.die()
    if hold:
        outbox.resolve(id, RECIPIENT, "resend")
    meanwhile(outbox, id, second)
    for _ in range(2):  # That the commit was answered may be unknown.
        first.note(State.ACCEPTED)
        assert found(outbox) == (State.ACCEPTED, False, attempts)
    if hasattr(second, "claimed"):
        with suppress(claiming.OwnerLost):
            assert not second.mark(), "it goes to nobody any more"
        for state in (State.WAITING, State.REFUSED, State.IN_DOUBT, State.ACCEPTED):
            second.note(state)
        assert found(outbox) == (State.ACCEPTED, False, attempts)
    assert [event.state for event in outbox.events()].count(State.ACCEPTED) == 1


def test_what_is_accepted_late_and_settled_by_hand_stays_so(outbox: Outbox) -> None:
    id = outbox.put(*LETTER, on_doubt="hold")
    first = Worker(outbox, "first")
    first.send()
    first.die()
    outbox.resolve(id, RECIPIENT, "accepted")
    first.note(State.ACCEPTED)
    assert [event.state for event in outbox.events()] == [State.IN_DOUBT, State.ACCEPTED]


def test_a_number_that_another_message_has_by_now_settles_nothing(outbox: Outbox) -> None:
    """As in a ledger that was restored: the counter of the numbers was, too."""
    outbox.put(*LETTER)
    first, second = Worker(outbox, "first"), Worker(outbox, "second")
    first.send()
    first.claimed = first.claimed._replace(message="that of before")
    first.die()
    second.claim()
    first.note(State.ACCEPTED)
    assert found(outbox)[0] is State.WAITING
    assert second.mark()


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        (State.ACCEPTED, (State.ACCEPTED, False, 1)),
        (State.REFUSED, (State.REFUSED, False, 1)),
        (State.WAITING, (State.WAITING, False, 1)),
        (State.IN_DOUBT, (State.IN_DOUBT, False, 1)),
    ],
)
def test_one_attempt_counts_once_however_late_its_outcome(
    outbox: Outbox, said: State, becomes: tuple[State, bool, int]
) -> None:
    for hold in (False, True):
        if said is State.IN_DOUBT and not hold:
            continue
        id = outbox.put(*LETTER, on_doubt="hold" if hold else "resend")
        first = Worker(outbox, f"first {hold}")
        first.send()
        first.die()
        for _ in range(2):
            first.note(said)
            assert found(outbox) == becomes
        _ = outbox.cancel(id)
        forget(outbox)


def forget(outbox: Outbox) -> None:
    """All of it, whatever its state."""

    def operation() -> Any:
        for table in ("delivery", "count"):
            yield Tell(f"DELETE FROM smtpx_{table}", [()])

    outbox._store.transact(operation)


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
def test_what_turns_out_to_be_no_attempt_counts_as_none(outbox: Outbox, hold: bool) -> None:
    outbox.put(*LETTER, on_doubt="hold" if hold else "resend")
    first = Worker(outbox, "first")
    first.send()
    first.die()
    first.note(State.WAITING, counts=False)
    assert found(outbox) == (State.WAITING, False, 0)


@pytest.mark.parametrize("hold", [False, True], ids=["resend", "hold"])
def test_a_late_refusal_takes_no_doubt_of_another_attempt_back(outbox: Outbox, hold: bool) -> None:
    """The first may have been accepted; what the second says late is about the second."""
    id = outbox.put(*LETTER, on_doubt="hold" if hold else "resend")
    first, second = Worker(outbox, "first"), Worker(outbox, "second")
    first.send()
    first.die()
    if hold:
        outbox.resolve(id, RECIPIENT, "resend")
    second.send()
    second.die()
    second.note(State.REFUSED)
    assert found(outbox) == (State.IN_DOUBT, True, 2)


def test_what_was_not_marked_takes_no_doubt_back(outbox: Outbox) -> None:
    """It was refused before its content, of which the worker did not tell before it was dead."""
    outbox.put(*LETTER)
    first, second = Worker(outbox, "first"), Worker(outbox, "second")
    first.send()
    first.die()
    second.claim()
    second.die()
    second.note(State.REFUSED)
    assert found(outbox) == (State.WAITING, True, 1)
