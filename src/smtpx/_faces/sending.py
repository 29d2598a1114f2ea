"""`send_many` of the blocking face: one thread, many sockets."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from smtpx._core.supply import Budget, Window
from smtpx._drivers.interruption import with_results
from smtpx._drivers.multiplexed import Lane, Multiplexer
from smtpx._faces.leasing import Lease
from smtpx._faces.ledger import ASKED, Item, Ledger
from smtpx._faces.pool import SessionPool
from smtpx.errors import SMTPError
from smtpx.options import Check

if TYPE_CHECKING:
    from smtpx._faces.sync import Session


class _Working(NamedTuple):
    """A leased session at work, and what it may still send."""

    lease: Lease[Session]
    budget: Budget


class Sending:
    """One call of `send_many`, as a context."""

    def __init__(
        self,
        pool: SessionPool,
        messages: Iterable[Item],
        connections: int,
        window: Window,
        resend_doubtful: bool,
        check: Check,
    ) -> None:
        self._pool = pool
        self._source = iter(messages)
        self._connections = connections
        self._ledger = Ledger(connections, window, resend_doubtful, check)
        self._multiplexer: Multiplexer[SMTPError | None] = Multiplexer()
        self._working: dict[Lane[SMTPError | None], _Working] = {}
        self.results = self._ledger.results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the sessions that are still at work, in the middle of it."""
        self._multiplexer.close()
        self._ledger.break_off()
        for lane, (lease, _) in self._working.items():
            lease.session.abort()
            lane.abandon()
            self._pool.drop(lease)
        self._ledger.interrupted()
        with_results(error, self.results)

    def go_on(self) -> bool:
        """Send until there are results; False if there will be none.

        Raises:
            SMTPError: no session can be had any more.
            Exception: what the caller's iterable raised; what came before it was sent.
        """
        while not self.results:
            while len(self._working) < self._connections and self._has_work():
                if not self._start():
                    break
            if self._working:
                for lane in self._multiplexer.turn():
                    self._end(lane)
            elif not self.results:
                return self._ledger.conclude()
        return True

    def _has_work(self) -> bool:
        """True if there is a message for one more session."""
        if not self._working and not self._ledger.at_hand and not self._ledger.is_exhausted:
            self._ledger.refill(self._source)
        else:
            _ = self._more()
        return len(self._working) < self._ledger.at_hand

    def _start(self) -> bool:
        """Put a session to work; False if none is to be had now."""
        try:
            if self._working:
                lease = self._pool.acquire_now(ASKED)
            else:
                lease = self._pool.acquire(ASKED)
        except SMTPError as error:
            # The sessions that are at work may do without another.
            if not self._working:
                self._ledger.none_to_be_had(error)
            return False
        if lease is None:
            return False
        connection, driver = lease.session._parts
        budget = Budget(lease.messages)
        procedure = self._ledger.procedure(connection, budget, self.results.append)
        lane = Lane(driver, procedure, self._more)
        self._working[lane] = _Working(lease, budget)
        self._multiplexer.add(lane)
        if lane.finished:  # On this machine, a lane may never have to wait.
            self._end(lane)
        return True

    def _end(self, lane: Lane[SMTPError | None]) -> None:
        lease, budget = self._working.pop(lane)
        error = lane.value
        connection, _ = lease.session._parts
        if error is not None:
            lease.session.abort()
        try:
            self._ledger.session_ended(
                connection, budget, error, reused=lease.reused, at_work=len(self._working)
            )
        finally:
            self._pool.release(lease)

    def _more(self) -> bool:
        """Answer `More`: what is on its way goes before what the caller has yet to make."""
        ledger = self._ledger
        if not ledger.at_hand and not ledger.is_exhausted and not ledger.is_slow:
            ledger.refill(self._source)
        return bool(ledger.at_hand) or ledger.is_exhausted
