"""The sessions that a `Client` shares among threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpx._core.pool import Decision, Slot, Ticket, Wait
from smtpx._faces.leasing import Lease, Leasing, seconds_left
from smtpx.options import PoolLimits

if TYPE_CHECKING:
    from smtpx._faces.sync import Session


class SessionPool(Leasing["Session"]):
    """Leases sessions to threads, at most so many at a time."""

    def __init__(self, new_session: Callable[[], Session], limits: PoolLimits) -> None:
        super().__init__(limits)
        self._new_session = new_session

    def acquire(self, messages: int = 1) -> Lease[Session]:
        """Lease a session for up to `messages`; wait for it as long as the limits say.

        Raises:
            TimedOut: there was none for so long.
            LocalProtocolError: the pool is closed.
            SMTPError: as `Session.open`.
        """
        self._leave_parent()
        decision = self._ask(messages)
        if isinstance(decision, Wait):
            decision = self._wait(decision.ticket)
        return self._act_on(decision)

    def acquire_now(self, messages: int) -> Lease[Session] | None:
        """Lease a session if there is one, or room for one, without waiting.

        Raises:
            SMTPError: as `acquire`.
        """
        self._leave_parent()
        decision = self._ask(messages)
        if isinstance(decision, Wait):
            self._withdraw(decision.ticket)
            return None
        return self._act_on(decision)

    def replace(self, lease: Lease[Session]) -> Lease[Session]:
        """Lease a new session in place of one that was gone.

        Raises:
            LocalProtocolError, SMTPError: as `acquire`; nothing is leased any more then.
        """
        return self._open(self._replaced(lease))

    def release(self, lease: Lease[Session], messages: int = 1) -> None:
        """Give a session back, on which so many mail transactions were begun."""
        self._give_back(lease, messages)
        if self._given_up:
            self._part()

    def close(self, *, abort: bool) -> None:
        """Lease no more; close what is idle, and what is leased when it is released, or at once."""
        self._leave_parent()
        self._shut(abort=abort)
        if abort:
            while session := self._next_given_up():
                session.abort()
        self._part()

    def _act_on(self, decision: Decision[Session]) -> Lease[Session]:
        found = self._found(decision)
        return found if isinstance(found, Lease) else self._open(found)

    def _open(self, slot: Slot[Session]) -> Lease[Session]:
        session = self._new_session()
        try:
            self._part()  # First, so that the server never sees more than there may be.
            session.open()
        except BaseException as error:
            self._failed(slot, error)
            raise
        return self._opened(slot, session)

    def _wait(self, ticket: Ticket[Session]) -> Decision[Session]:
        with self._lock:
            answered = threading.Condition(self._lock)
            self._waiters[ticket] = answered.notify
            try:
                while isinstance(ticket.decision, Wait):
                    if not answered.wait(seconds_left(ticket.decision)):
                        self._carry_out(self._state.evict(time.monotonic()))
            except BaseException:
                self._carry_out(self._state.cancel(ticket, time.monotonic()))
                raise
            finally:
                del self._waiters[ticket]
        return ticket.decision

    def _part(self) -> None:
        while session := self._next_given_up():
            session.close()
