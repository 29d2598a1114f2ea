"""The sessions that a `Client` shares among threads.

`PoolState` decides, under one lock; what it decides is carried out here, outside of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from smtpx._core.pool import (
    Changes,
    Decision,
    Open,
    PoolState,
    PoolStatistics,
    Refusal,
    Refused,
    Slot,
    Ticket,
    Use,
    Wait,
)
from smtpx.errors import LocalProtocolError, ReplyError, TimedOut
from smtpx.options import PoolLimits

if TYPE_CHECKING:
    from smtpx._faces.sync import Session

# RFC 5321 §3.8, RFC 4954 §6: what servers say that have too many connections from us.
_TOO_MANY = (421, 454)


class Lease(NamedTuple):
    """A session that is its holder's until it is released."""

    slot: Slot[Session]
    session: Session
    reused: bool
    """It was used before: the server may have closed it meanwhile."""
    messages: int
    """How many mail transactions may be begun on it."""


class SessionPool:
    """Leases sessions to threads, at most so many at a time."""

    def __init__(self, new_session: Callable[[], Session], limits: PoolLimits) -> None:
        self._new_session = new_session
        self._limits = limits
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._state: PoolState[Session] = PoolState(self._limits)
        self._waiters: dict[Ticket[Session], threading.Condition] = {}
        self._process = os.getpid()

    def acquire(self, messages: int = 1) -> Lease:
        """Lease a session for up to `messages`; wait for it as long as the limits say.

        Raises:
            TimedOut: there was none for so long.
            LocalProtocolError: the pool is closed.
            SMTPError: as `Session.open`.
        """
        self._leave_parent()
        with self._lock:
            decision, changes = self._state.acquire(time.monotonic(), messages)
            self._wake(changes)
        self._close(changes)
        if isinstance(decision, Wait):
            decision = self._wait(decision.ticket)
        return self._act_on(decision)

    def acquire_now(self, messages: int) -> Lease | None:
        """Lease a session if there is one, or room for one, without waiting.

        Raises:
            SMTPError: as `acquire`.
        """
        self._leave_parent()
        with self._lock:
            decision, changes = self._state.acquire(time.monotonic(), messages)
            self._wake(changes)
            late = None
            if isinstance(decision, Wait):
                late = self._state.cancel(decision.ticket, time.monotonic())
                self._wake(late)
        self._close(changes)
        if late is not None:
            self._close(late)
            return None
        return self._act_on(decision)

    def release(self, lease: Lease, messages: int = 1) -> None:
        """Give a session back, on which so many mail transactions were begun."""
        # A session that was interrupted, or is out of step, has been closed (R10).
        with self._lock:
            changes = self._state.release(
                lease.slot, time.monotonic(), usable=lease.session.is_open, messages=messages
            )
            self._wake(changes)
        self._close(changes)

    def close(self, *, abort: bool) -> None:
        """Lease no more; close what is idle, and what is leased when it is released, or at once."""
        self._leave_parent()
        with self._lock:
            changes = self._state.close(time.monotonic(), abort=abort)
            self._wake(changes)
        for slot in changes.close:
            if abort:
                slot.connection.abort()
            else:
                slot.connection.close()

    def statistics(self) -> PoolStatistics:
        """What the pool holds, and has done so far."""
        with self._lock:
            return self._state.statistics()

    def _act_on(self, decision: Decision[Session]) -> Lease:
        match decision:
            case Use(slot, messages):
                return Lease(slot, slot.connection, True, messages)
            case Open(slot):
                return self._open(slot)
            case Refused(Refusal.TIMED_OUT):
                raise TimedOut(
                    f"no connection was free within {self._limits.wait} seconds "
                    "(PoolLimits.open, PoolLimits.wait)",
                    phase="connect",
                )
            case _:
                raise LocalProtocolError("the client is closed")

    def _open(self, slot: Slot[Session]) -> Lease:
        session = self._new_session()
        try:
            session.open()
        except BaseException as error:
            with self._lock:
                now = time.monotonic()
                if isinstance(error, ReplyError) and error.reply.code in _TOO_MANY:
                    self._state.refused_for_load(slot, now)
                changes = self._state.failed(slot, now)
                self._wake(changes)
            self._close(changes)
            raise
        with self._lock:
            decision, changes = self._state.opened(
                slot,
                time.monotonic(),
                connection=session,
                mail_max=session.extensions.limits.get("MAILMAX"),
            )
            self._wake(changes)
        self._close(changes)
        if isinstance(decision, Refused):
            session.close()
            raise LocalProtocolError("the client was closed")
        return Lease(slot, session, False, decision.messages)

    def _wait(self, ticket: Ticket[Session]) -> Decision[Session]:
        changes: list[Changes[Session]] = []
        try:
            with self._lock:
                answered = self._waiters[ticket] = threading.Condition(self._lock)
                try:
                    while isinstance(ticket.decision, Wait):
                        until = ticket.decision.until
                        left = None if until is None else max(0, until - time.monotonic())
                        if not answered.wait(left):
                            changes.append(self._state.evict(time.monotonic()))
                            self._wake(changes[-1])
                except BaseException:
                    changes.append(self._state.cancel(ticket, time.monotonic()))
                    self._wake(changes[-1])
                    raise
                finally:
                    del self._waiters[ticket]
        finally:
            for change in changes:
                self._close(change)
        return ticket.decision

    def _wake(self, changes: Changes[Session]) -> None:
        for ticket in changes.answered:
            if ticket in self._waiters:
                self._waiters[ticket].notify()

    def _close(self, changes: Changes[Session]) -> None:
        for slot in changes.close:
            slot.connection.close()

    def _leave_parent(self) -> None:
        """After `fork`, begin anew: the sockets are the parent's, and so may be the lock."""
        if self._process != os.getpid():
            self._begin()
