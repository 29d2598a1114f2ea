"""What the pools of threads and of tasks have in common: `PoolState`, and what it decides means.

Nothing here waits. Sessions that the pool gives up are kept until somebody can close them, outside
the lock and in the way of its world.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, Protocol, TypeVar

from smtpx._core.pool import (
    NO_CHANGES,
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
from smtpx._wire.extensions import Extensions
from smtpx.errors import ConnectionLost, LocalProtocolError, ReplyError, SMTPError, TimedOut
from smtpx.options import PoolLimits

# RFC 5321 §3.8, RFC 4954 §6: what servers say that have too many connections from us.
_TOO_MANY = (421, 454)
# A connection that fails while it waits for these has taken nothing of a message.
_UNTOUCHED = ("other", "mail")


class Leased(Protocol):
    """A session, as a pool sees it."""

    @property
    def is_open(self) -> bool:
        """True while commands can be sent."""
        ...

    @property
    def extensions(self) -> Extensions:
        """What the server offers."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...


S = TypeVar("S", bound=Leased)

_forks = 0
"""How many forks there were from the process that was started to this one."""


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


@dataclass(slots=True, eq=False)
class Lease(Generic[S]):
    """A session that is its holder's until it is released."""

    slot: Slot[S]
    session: S
    reused: bool
    """It was used before: the server may have closed it meanwhile."""
    messages: int
    """How many mail transactions may be begun on it."""

    def was_gone(self, error: SMTPError | None) -> bool:
        """True if the session had ended while it was idle: nothing of a message was read."""
        return (
            self.reused
            and isinstance(error, ConnectionLost)
            and error.phase in _UNTOUCHED
            and not error.in_doubt
        )


class Leasing(Generic[S]):
    """`PoolState` under its lock, and the sessions that it has given up."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._lock = Lock()
        self._state: PoolState[S] = PoolState(limits)
        self._waiters: dict[Ticket[S], Callable[[], object]] = {}
        """What wakes each caller who waits."""
        self._given_up: deque[S] = deque()
        """To be closed, by whoever comes to it first."""
        self._forks = _forks

    def statistics(self) -> PoolStatistics:
        """What the pool holds, and has done so far."""
        with self._lock:
            return self._state.statistics()

    def _leave_parent(self) -> None:
        """After `fork`, begin anew: the sockets are the parent's, and so may be the lock."""
        if self._forks != _forks:
            self._forks = _forks
            self._lock = Lock()
            _ = self._forget()

    def _forget(self) -> Iterable[S]:
        """Begin anew; the value is the sessions that there were."""
        with self._lock:
            forgotten = [*self._state.forget(), *self._given_up]
            self._given_up.clear()
            self._waiters.clear()
        return forgotten

    def _ask(self, messages: int) -> Decision[S]:
        with self._lock:
            decision, changes = self._state.acquire(time.monotonic(), messages)
            if changes is not NO_CHANGES:
                self._carry_out(changes)
        return decision

    def _withdraw(self, ticket: Ticket[S]) -> None:
        """Stop waiting; what was granted meanwhile is given back."""
        with self._lock:
            self._carry_out(self._state.cancel(ticket, time.monotonic()))

    def _found(self, decision: Decision[S]) -> Lease[S] | Slot[S]:
        """What was granted: a lease, or a slot for which a session is to be opened.

        Raises:
            TimedOut: there was neither for so long.
            LocalProtocolError: the pool is closed.
        """
        if isinstance(decision, Use):
            return Lease(decision.slot, decision.slot.connection, True, decision.messages)
        if isinstance(decision, Open):
            return decision.slot
        if decision == Refused(Refusal.TIMED_OUT):
            raise TimedOut(
                f"no connection was free within {self._limits.wait} seconds "
                "(PoolLimits.open, PoolLimits.wait)",
                phase="connect",
            )
        raise LocalProtocolError("the client is closed")

    def _replaced(self, lease: Lease[S]) -> Slot[S]:
        """A slot for a new session, in place of one that was gone."""
        with self._lock:
            decision, changes = self._state.reopen(lease.slot, time.monotonic())
            self._carry_out(changes)
        if isinstance(decision, Refused):
            raise LocalProtocolError("the client is closed")
        return decision.slot

    def _opened(self, slot: Slot[S], session: S) -> Lease[S]:
        """The lease of a session that was opened."""
        limit = session.extensions.limits.get("MAILMAX")
        with self._lock:
            decision, changes = self._state.opened(
                slot, time.monotonic(), connection=session, mail_max=limit
            )
            self._carry_out(changes)
        if isinstance(decision, Refused):
            session.abort()
            raise LocalProtocolError("the client was closed")
        return Lease(slot, session, False, decision.messages)

    def _failed(self, slot: Slot[S], error: BaseException) -> None:
        """A session could not be opened."""
        with self._lock:
            now = time.monotonic()
            if isinstance(error, ReplyError) and error.reply.code in _TOO_MANY:
                self._state.refused_for_load(slot, now)
            self._carry_out(self._state.failed(slot, now))

    def _give_back(self, lease: Lease[S], messages: int) -> None:
        # A session that was interrupted, or is out of step, has been closed (R10).
        usable = lease.session.is_open
        with self._lock:
            changes = self._state.release(
                lease.slot, time.monotonic(), usable=usable, messages=messages
            )
            if changes is not NO_CHANGES:
                self._carry_out(changes)

    def _shut(self, *, abort: bool) -> None:
        with self._lock:
            self._carry_out(self._state.close(time.monotonic(), abort=abort))

    def _carry_out(self, changes: Changes[S]) -> None:
        """Wake who was answered; keep what is to be closed outside the lock, which is held."""
        for ticket in changes.answered:
            if ticket in self._waiters:
                _ = self._waiters[ticket]()
        for slot in changes.close:
            self._given_up.append(slot.connection)

    def _next_given_up(self) -> S | None:
        """A session to be closed, if there is one; it is told once."""
        if not self._given_up:
            return None
        with self._lock:
            return self._given_up.popleft() if self._given_up else None


def seconds_left(wait: Wait[S]) -> float | None:
    """How long the holder of a ticket waits before it has the pool look again."""
    return None if wait.until is None else max(0, wait.until - time.monotonic())
