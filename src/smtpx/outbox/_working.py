"""A worker, whatever its face: it owns what it claims, and leaves alone what cannot be reached."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, NamedTuple
from weakref import ref

from smtpx import _checks
from smtpx.endpoints import Endpoint
from smtpx.errors import SMTPError
from smtpx.options import PoolLimits

from . import _destinations, _queue, _reporting
from ._delivering import Policy, Round
from ._destinations import Claim
from ._options import terms_of
from ._owning import Owner, Watcher
from ._pulse import Pulse
from ._schedule import Limit, held_for
from ._store import Store
from ._via import check_via, hop_of
from .states import OutboxError

__all__ = ["Core", "Working", "stopped_by_sigterm"]

_LOG = logging.getLogger("smtpx.outbox")

# Messages that may be on their way at once over a connection; those whose doubt is held go alone.
_WINDOW = 16
# Deliveries to one domain that are on their way, where each domain has a server of its own; as
# Postfix has it (default_destination_concurrency_limit), and half of all that may be at most.
_TO_ONE = 20
# Connections that a client of our own may have, if not more are asked for.
_OPEN = 5
# Seconds between two looks at the ledger, while there is nothing to do.
_LOOK = 0.25
# Seconds between two looks at what has to be done while mail is on its way, too.
_TEND = 1.0
# Seconds for which a run until all is sent waits for a limit.
_SOON = 10.0


class Core(NamedTuple):
    """What the faces of an outbox have in common."""

    store: Store
    policy: Policy
    lease: float
    watcher: Watcher
    postmaster: str | None
    """Whom reports to senders come from, where there are to be any."""

    def expire(self) -> int:
        """Let some expire that are late; the value is how many."""
        return self.store.transact(_queue.expire, self.store.now())

    def report(self) -> int:
        """Put reports in of what was given up, and of what waits; the value is how many of these
        were looked at.
        """
        if self.postmaster is None:
            return 0
        told = (self.postmaster, self.policy.spool, terms_of({}, self.store.now()))
        until = self.store.look(_reporting.settled)
        failed = self.store.transact(_reporting.report, *told, until)
        return failed + self.store.transact(_reporting.warn, *told)


class Working:
    """A worker: its owner in the ledger, its rounds, and what it knows of the server."""

    is_async = False

    def __init__(
        self,
        core: Core,
        via: Any,
        client: Callable[..., Any],
        connections: int,
        window: int | None,
    ) -> None:
        """Look at the arguments. A `client` is made of a URL, and is then its `own`.

        Raises:
            TypeError, ValueError, EndpointError, LocalProtocolError: one of them is wrong.
        """
        check_via(via, is_async=self.is_async)
        _checks.count("connections", connections, 1)
        if window is not None:
            _checks.count("window", window, 1)
        self._core = core
        self.connections = connections
        self.window = _WINDOW if window is None else window
        self._alone = window is None
        self.client: Any = via
        self.own: Any = None
        if isinstance(via, (str, Endpoint)):
            pool = PoolLimits(open=max(connections, _OPEN))
            self.client = self.own = client(via, pool=pool)
        self._hop = hop_of(self.client)
        self._policy = core.policy
        if self._hop is None:
            most = max(1, min(_TO_ONE, connections * self.window // 2))
            self._policy = _sparing(core.policy, most)
        self._owner: Owner | None = None
        self._round: Round | None = None
        self._is_stopping = False
        self._failures = 0
        self.failure: SMTPError | None = None
        """Why the server could not be reached, the last time."""
        self._pause = 0.0
        self._told = ""
        """What it could not tend to, as the log has it."""
        self._busy = time.monotonic()
        """When something was sent, the last time."""

    def begin(self) -> None:
        """Be known as one that lives."""
        self._owner = Owner(self._core.store, self._core.lease)
        self._owner.begin()

    def end(self, error: BaseException | None) -> None:
        """Give to others what is still its own."""
        if self._owner is not None:
            self._owner.end(error)

    def renew(self) -> None:
        """Begin anew, where others took us for dead: what was ours is theirs."""
        _LOG.warning("this worker was stopped for longer than its lease, and begins anew")
        self.end(None)
        self.begin()

    def stop(self) -> None:
        """Begin nothing more; what is on its way is brought to its end."""
        self._is_stopping = True
        if self._round is not None:
            self._round.is_stopping = True

    @property
    def is_stopping(self) -> bool:
        """True once it is to begin nothing more."""
        return self._is_stopping

    def round(self, batch: str | None) -> Round:
        """The next round."""
        if self._owner is None:
            raise AssertionError("a worker is begun first")
        core = self._core
        self._round = Round(
            *(core.store, self._owner.id, self._policy),
            alone=self._alone,
            hop=self._hop,
            batch=batch,
        )
        self._round.is_stopping = self._is_stopping
        return self._round

    def fail(self, error: SMTPError) -> None:
        """Note why a round has ended early.

        Raises:
            OutboxError: it is the ledger's error, and not the server's.
        """
        if isinstance(error, OutboxError):
            raise error
        self.failure = error

    def judged(self, a_round: Round) -> int:
        """How many deliveries a round has got somewhere, so that another is of use."""
        if a_round.claimed:
            self._busy = time.monotonic()
        if self.failure is None:
            if a_round.answered:
                self._failures, self._pause = 0, 0.0
            return a_round.claimed
        self._failures = 0 if a_round.answered else self._failures
        self._pause = held_for(self._failures)
        self._failures += 1
        return 0

    def is_left(self, batch: str) -> bool:
        """True if something of a batch is due, and has to wait: its destination gets no more."""
        return self._core.store.look(_destinations.is_left, batch, self._core.store.now())

    def tend(self) -> None:
        """Do what has to be done however long mail is on its way, and however much of it there is:
        note what was told, take from dead workers what they had, let expire, and report.
        """
        try:
            if self._round is not None and self._round.has_to_note:
                self._round.flush()
            _ = self._core.watcher.reap()
            _ = self._core.expire()
            _ = self._core.report()
        except OutboxError as error:
            # Whoever sends says so, too, as soon as there is something to be marked.
            if str(error) != self._told:
                _LOG.warning("the outbox's ledger cannot be tended: %s", error)
            self._told = str(error)
        else:
            self._told = ""

    def tending(self) -> Pulse:
        """Tend to the ledger in a thread, as a context: who sends may be held up for long."""
        return Pulse(self.tend, _TEND)

    def is_limited(self) -> bool:
        """True if a limit lets more go soon, as it did lately: not all is sent that can be."""
        if not self._core.policy.limits or time.monotonic() - self._busy > 2 * _SOON:
            return False
        now = self._core.store.now()
        due = self._due(now)
        return due is not None and due <= now + _SOON

    def pause(self) -> float:
        """Seconds until there may be something to do; the log has why that is long."""
        now = self._core.store.now()
        due = self._due(now)
        seconds = _LOOK if due is None else min(max(due - now, 0.02), _LOOK)
        if self.failure is not None:
            _LOG.warning("%s; the next attempt is in %g s", self.failure, self._pause)
        return max(seconds, self._pause)

    def _due(self, now: float) -> float | None:
        limits = self._core.policy.limits
        wanted = Claim("", most=0, now=now, limits=limits, hop=self._hop)
        return self._core.store.look(_queue.wait_until, wanted)


def _sparing(policy: Policy, most: int) -> Policy:
    """So that one domain, whose server is slow, does not take the place of all others."""
    limits = {"*": Limit(), **policy.limits}
    return policy._replace(
        limits={
            name: limit if limit.at_once is not None else replace(limit, at_once=most)
            for name, limit in limits.items()
        }
    )


@contextmanager
def stopped_by_sigterm(worker: Working) -> Generator[None, None, None]:
    """SIGTERM stops a worker that runs in the main thread, as long as it runs.

    A handler that the program has is called, too: its server may have to end as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    # One that was interrupted in its end has left its handler, and is gone.
    running: ref[Working] | None = ref(worker)

    def handle(number: int, frame: FrameType | None) -> None:
        stopped = None if running is None else running()
        if stopped is not None:
            stopped.stop()
        if callable(before):
            _ = before(number, frame)
        elif stopped is None and before is signal.SIG_DFL:
            _ = signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    _ = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        running = None
        # Of several that run side by side, the first may end first: its handler stays then.
        if signal.getsignal(signal.SIGTERM) is handle:
            # Of a handler that is none of Python's, nothing is known but that it was there.
            _ = signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
