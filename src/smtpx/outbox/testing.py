"""What every dispatcher has to pass, and one that does its worst. Nothing here needs pytest."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from email import message_from_bytes
from functools import partial
from typing import TYPE_CHECKING

from smtpx import _checks
from smtpx._starting import Joined
from smtpx.envelope import Envelope
from smtpx.errors import SMTPError

from .outbox import Outbox
from .states import State

if TYPE_CHECKING:
    from smtpx.testing import ReceivedMessage, Server

__all__ = ["HostileDispatcher", "verify"]

# Of ten wake-ups, how many are lost, and how many come twice.
_LOST, _TWICE = 3, 3
_LATE = 0.2


class HostileDispatcher:
    """Loses, doubles, delays and reorders wake-ups, as a seed has it; and hangs in them."""

    transactional = False
    is_frozen = False
    """While this is set, no wake-up returns, as by a broker that was stopped."""

    def __init__(self, seed: int = 1, workers: int = 3) -> None:
        self._chance = random.Random(seed)
        self._workers = workers
        self._due: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        self._threads: list[Joined] = []
        self._has_ended = False

    def wake(self, batches: Sequence[str], *, connection: object = None) -> None:
        """Have some of the batches delivered, some time, and some of them twice."""
        with self._changed:
            self._stand_still()
            for batch in batches:
                lot = self._chance.randrange(10)
                times = 0 if lot < _LOST else 2 if lot < _LOST + _TWICE else 1
                for _ in range(times):
                    self._due.append((time.monotonic() + self._chance.uniform(0, _LATE), batch))
            self._due.sort()
            self._changed.notify_all()

    def _stand_still(self) -> None:
        while self.is_frozen and not self._has_ended:
            _ = self._changed.wait(0.02)

    def serve(self, deliver: Callable[[str], object]) -> None:
        """Have batches delivered by threads; a task that raises an `SMTPError` has only failed."""
        for _ in range(self._workers):
            thread = Joined(partial(self._work, deliver), "smtpx hostile dispatcher")
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End the threads; what they deliver is brought to its end."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, deliver: Callable[[str], object]) -> None:
        while True:
            with self._changed:
                while True:
                    if self._has_ended or self._is_due():
                        break
                    _ = self._changed.wait(0.02)
                if self._has_ended:
                    return
                _, batch = self._due.pop(0)
            with suppress(SMTPError):  # A task that fails ends no worker.
                _ = deliver(batch)

    def _is_due(self) -> bool:
        return bool(self._due) and self._due[0][0] <= time.monotonic()


def verify(
    outbox: Outbox,
    server: Server,
    *,
    count: int = 100,
    within: float = 60.0,
    reconcile: Callable[[], object] | None = None,
) -> None:
    """Put messages into an outbox that has a dispatcher, and see that each arrives once.

    `server` is where the dispatcher's workers deliver to. `reconcile` is called all the time, as a
    timer would; by default that of the outbox.

    Raises:
        AssertionError: a message was not delivered in time, or was delivered twice; or the server
            has got mail that the outbox does not know.
        ValueError, TypeError: `count` is less than 1, or no number.
    """
    _checks.count("count", count, 1)
    before = len(server.messages)
    envelope = Envelope("a@example.org", "b@example.net")
    ids = list(
        outbox.put_many((b"Subject: %d\r\n\r\n" % number, envelope) for number in range(count))
    )
    end = time.monotonic() + within
    waiting = set(ids)
    while waiting and time.monotonic() < end:
        _ = (reconcile or outbox.reconcile)()
        waiting = {id for id in waiting if not outbox.status(id).is_over}
        time.sleep(0.05)
    assert not waiting, f"{len(waiting)} of {count} messages were not delivered in time"
    wanted = {outbox.status(id).deliveries[0].message_id for id in ids}
    taken = _message_ids(server.messages)
    doubles = {name: times for name, times in taken.items() if name in wanted and times > 1}
    assert not doubles, f"delivered more than once: {doubles}"
    known = {delivery.message_id for delivery in outbox.find()}
    unknown = [name for name in _message_ids(server.messages[before:]) if name not in known]
    assert not unknown, f"delivered, and not in the outbox: {unknown}"
    states = {outbox.status(id).deliveries[0].state for id in ids}
    assert states == {State.ACCEPTED}, f"not all were accepted: {states}"
    assert wanted <= taken.keys(), "the ledger says accepted, and the server says no"


def _message_ids(messages: Iterable[ReceivedMessage]) -> Counter[str]:
    return Counter(str(message_from_bytes(each.content)["Message-ID"]) for each in messages)
