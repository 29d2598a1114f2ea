"""`send_many` of the blocking face: one thread, many sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

from smtpx._core.delivery import Message
from smtpx._core.stream import stream
from smtpx._core.supply import Budget, Outgoing, Supply, Window, not_sent
from smtpx._drivers.multiplexed import Lane, Multiplexer
from smtpx._faces.pool import Lease, SessionPool
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, SMTPError
from smtpx.results import SendResult

# Messages taken from the caller's iterable at a time.
_READ_AHEAD = 16
# A message that this many sessions could not send is not tried again; and when so many sessions
# in a row sent nothing, there is no hope for the next.
_ATTEMPTS = 3
# Mail transactions asked for with a session; the pool grants what its limits allow.
_ASKED = 1_000_000


class _Working(NamedTuple):
    """A leased session at work, and what it may still send."""

    lease: Lease
    budget: Budget


class Sending:
    """One call of `send_many`."""

    def __init__(
        self,
        pool: SessionPool,
        messages: Iterable[Message | tuple[Message, Envelope]],
        window: Window,
        resend_doubtful: bool,
    ) -> None:
        self._pool = pool
        self._source = iter(messages)
        self._source_error: Exception | None = None
        self._window = window
        self._supply = Supply(resend_doubtful)
        self._results: deque[SendResult] = deque()
        self._multiplexer: Multiplexer[SMTPError | None] = Multiplexer()
        self._working: dict[Lane[SMTPError | None], _Working] = {}
        self._fruitless = 0
        self._lost: SMTPError | None = None

    def run(self, connections: int) -> Iterator[SendResult]:
        """Yield the result of each message as it is known.

        Raises:
            SMTPError: no session can be had any more.
            Exception: what the caller's iterable raised; what came before it was sent.
        """
        results = self._results
        self._refill()
        while True:
            while results:
                self._fruitless = 0
                yield results.popleft()
            # As many sessions as there is work for; one that ended is followed by another.
            while self._lost is None and len(self._working) < min(connections, self._work()):
                if not self._start():
                    break
            if self._working:
                for lane in self._multiplexer.turn():
                    self._end(lane)
            elif not results:
                break
        while self._lost is not None and self._supply.ready:
            yield not_sent(self._supply.ready.popleft(), self._lost)
        if self._lost is not None:
            raise self._lost
        if self._source_error is not None:
            raise self._source_error

    def close(self) -> None:
        """End the sessions that are still at work, in the middle of it."""
        self._multiplexer.close()
        for lease, budget in self._working.values():
            lease.session.abort()
            self._pool.release(lease, lease.messages - budget.left)

    def _work(self) -> int:
        return len(self._supply.ready) + (0 if self._supply.exhausted else 1)

    def _start(self) -> bool:
        """Put a session to work; False if none is to be had now."""
        try:
            if self._working:
                lease = self._pool.acquire_now(_ASKED)
            else:
                lease = self._pool.acquire(_ASKED)
        except SMTPError as error:
            # The sessions that are at work may do without another.
            if not self._working:
                self._lost = error
            return False
        if lease is None:
            return False
        connection, driver = lease.session.parts
        budget = Budget(lease.messages)
        procedure = stream(connection, self._supply, self._results.append, self._window, budget)
        lane = Lane(driver, procedure, self._refill)
        self._working[lane] = _Working(lease, budget)
        self._multiplexer.add(lane)
        if lane.finished:  # On this machine, a lane may never have to wait.
            self._end(lane)
        return True

    def _end(self, lane: Lane[SMTPError | None]) -> None:
        lease, budget = self._working.pop(lane)
        if lane.value is not None:
            lease.session.abort()
        self._pool.release(lease, lease.messages - budget.left)
        error = lane.value
        if error is None:
            return
        ready = self._supply.ready
        for outgoing in [outgoing for outgoing in ready if outgoing.attempts >= _ATTEMPTS]:
            ready.remove(outgoing)
            self._results.append(not_sent(outgoing, error))
        # A session from the pool that was closed while it was idle proves nothing.
        if not (lease.reused and isinstance(error, ConnectionLost)):
            self._fruitless += 1
        if self._fruitless > _ATTEMPTS + len(self._working) and not self._results:
            self._lost = error

    def _refill(self) -> None:
        supply = self._supply
        try:
            for _ in range(_READ_AHEAD):
                item = next(self._source)
                if isinstance(item, tuple):
                    message, envelope = cast("tuple[Message, Envelope]", item)
                    supply.ready.append(Outgoing(message, envelope))
                else:
                    supply.ready.append(Outgoing(item, None))
        except StopIteration:
            supply.exhausted = True
        except Exception as error:
            # What was read before is sent before the caller hears of it.
            self._source_error = error
            supply.exhausted = True
