"""`send_many` of the blocking face: one thread, many sockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from smtpx._core.streaming.supply import Budget, Window
from smtpx._drivers.interruption import with_results
from smtpx._drivers.multiplexed import Lane, Multiplexer
from smtpx._faces.blocking.joining import PAUSE, Joining
from smtpx._faces.blocking.pool import SessionPool
from smtpx._faces.blocking.session import Session
from smtpx._faces.forking import begins_anew_in_child, not_ours
from smtpx._faces.leasing import Lease
from smtpx._faces.tally import ASKED, Item, Tally
from smtpx._wire.commands import Phase
from smtpx.errors import ConnectionLost, SMTPError
from smtpx.marking import Mark
from smtpx.options import Check
from smtpx.pausing import NothingYet


class _Working(NamedTuple):
    """A leased session at work, and what it may still send."""

    lease: Lease[Session]
    budget: Budget


class Sending:
    """One call of `send_many`, until its `end`."""

    def __init__(
        self,
        pool: SessionPool,
        messages: Iterable[Item | NothingYet],
        connections: int,
        window: Window,
        resend_doubtful: bool,
        check: Check,
        mark: Mark | None,
    ) -> None:
        self._pool = pool
        self._source = iter(messages)
        self._connections = connections
        self._tally = Tally(window, resend_doubtful, check, mark)
        self._multiplexer: Multiplexer[SMTPError | None] = Multiplexer()
        self._working: dict[Lane[SMTPError | None], _Working] = {}
        self._joining: list[Joining] = []
        self.leases: list[Lease[Session]] = []
        """All of its places in the pool, whatever they are for just now."""
        self._is_crowded = False
        """Another session could not be had: the others do without, until one of them has ended."""
        self._is_parents = False
        self.results = self._tally.results
        begins_anew_in_child(self)

    def leave_parent(self) -> None:
        """Tell nothing in a child process."""
        self._is_parents = True
        self.results.clear()

    def end(self, error: BaseException | None = None) -> None:
        """End the sessions that are still at work, in the middle of it.

        What was not told hangs on the error. Whoever is interrupted in here calls it once more.
        """
        self._multiplexer.close()
        self._tally.break_off()
        for joining in self._joining:
            joining.close(ConnectionLost("send_many has ended", phase=Phase.CONNECT.field))
        for lease in self.leases:
            if lease.place is not None and lease.held is not None:
                lease.held.abort()
        for lane in self._working:
            lane.abandon()
        for lease in self.leases:
            place, lease.place = lease.place, None
            self._pool.give_up(place, None)
        if self._is_parents:
            self.results.clear()
        else:
            self._tally.interrupted()
        with_results(error, self.results)

    def go_on(self) -> bool:
        """Send until there are results; False if there will be none.

        Raises:
            SMTPError: no session can be had any more.
            LocalProtocolError: it is the parent process that sends.
            Exception: what the caller's iterable raised; what came before it was sent.
        """
        if self._is_parents:
            raise not_ours()
        while not self.results:
            while self._has_work() and self._start():
                pass
            tally = self._tally
            if self._working or (self._joining and tally.at_hand) or not tally.is_exhausted:
                self._turn()
            elif not self.results:
                return tally.conclude()
        return True

    def _turn(self) -> None:
        """Wait for what happens next, at any of the sessions or at the caller's iterator."""
        pause = self._tally.patience if self._has_room else None
        if any(joining.is_dialling for joining in self._joining):
            pause = PAUSE if pause is None else min(pause, PAUSE)
        for lane in self._multiplexer.turn(pause):
            if lane in self._working:
                self._end(lane)
        for joining in [*self._joining]:
            if joining.go_on(self._multiplexer):
                self._joined(joining)
                self._joining.remove(joining)

    def _joined(self, joining: Joining) -> None:
        """Put a session to work that was opened beside the others."""
        if joining.error is None:
            self._put_to_work(joining.lease)
            return
        self.leases.remove(joining.lease)
        if self._working or len(self._joining) > 1:
            self._is_crowded = True
        else:
            self._tally.none_to_be_had(joining.error)

    @property
    def _has_room(self) -> bool:
        """True if there is perhaps one more session."""
        under_way = len(self._working) + len(self._joining)
        return under_way < self._connections and not (self._working and self._is_crowded)

    def _has_work(self) -> bool:
        """True if there is a message for one more session, and perhaps a session."""
        tally, under_way = self._tally, len(self._working) + len(self._joining)
        if not self._has_room:
            return False
        if not self._working and not tally.at_hand and not tally.is_exhausted:
            tally.refill(self._source)
        else:
            _ = self._more()
        # Those that are still to join are not counted on, where nobody else is at work.
        return (under_way if self._working else 0) < tally.at_hand or tally.is_held_up()

    def _start(self) -> bool:
        """Put a session to work, or begin to open one; False if none is to be had now.

        The first is waited for. The others join without holding it up.
        """
        try:
            if self._working or self._joining:
                lease = self._pool.claim_now(ASKED)
            else:
                lease = self._pool.acquire(ASKED)
        except SMTPError as error:
            if not self._working and not self._joining:
                self._tally.none_to_be_had(error)
            return False
        if lease is None:
            return False
        self.leases.append(lease)
        if lease.held is not None:
            self._put_to_work(lease)
        else:
            self._joining.append(Joining(self._pool, lease))
        return True

    def _put_to_work(self, lease: Lease[Session]) -> None:
        connection, driver = lease.session._parts
        budget = Budget(lease.messages)
        procedure = self._tally.procedure(connection, budget, self.results.append)
        lane = Lane(driver, procedure, self._more)
        self._working[lane] = _Working(lease, budget)
        self._multiplexer.add(lane)
        if lane.finished:  # On this machine, a lane may never have to wait.
            self._end(lane)

    def _end(self, lane: Lane[SMTPError | None]) -> None:
        lease, budget = self._working[lane]
        error = lane.value
        self._is_crowded = False
        connection, _ = lease.session._parts
        if error is not None:
            lease.session.abort()
        try:
            self._tally.session_ended(
                connection, budget, error, reused=lease.reused, at_work=len(self._working) - 1
            )
        finally:
            self._pool.release(lease)
        del self._working[lane]
        self.leases.remove(lease)

    def _more(self) -> bool:
        """Answer `More`: what is on its way goes before what the caller has yet to make."""
        tally = self._tally
        if not tally.at_hand and not tally.is_exhausted and not tally.is_slow:
            tally.refill(self._source)
        return bool(tally.at_hand) or tally.is_exhausted
