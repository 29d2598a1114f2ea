"""What the pools of threads and of tasks have in common: `PoolState`, and what it decides means.

Nothing here waits. Sessions that the pool gives up are kept until somebody can close them, outside
the lock and in the way of its world.

An interruption (Ctrl-C, a signal handler that raises, a cancellation) may end any call anywhere,
and whoever has a place may be gone without a word. Three rules leave nothing lost:

- A place belongs to a `Lease` that claims it, and the pool knows the lease by a weak reference. Who
  is interrupted claims it no more, by one assignment, before anything is called. The next one who
  needs a place, counts or closes takes back what nobody claims.
- A session that is to be opened is the pool's to close, from before it is begun.
- What is done under the lock is done in a turn; one that was torn is mended by the next. A turn
  within a turn of the same thread (a signal handler, a finaliser) leaves word for the outer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, TypeVarTuple, Unpack
from weakref import ref

from smtpx._core.pool.decisions import (
    NO_CHANGES,
    Changes,
    Decision,
    Open,
    Refusal,
    Refused,
    Slot,
    SlotState,
    Ticket,
    Use,
    Wait,
)
from smtpx._core.pool.state import PoolState
from smtpx._drivers.waiting import Deadline
from smtpx._faces.forking import begins_anew_in_child
from smtpx.errors import (
    ConnectionLost,
    LocalProtocolError,
    ReplyError,
    SMTPError,
    TimedOut,
)
from smtpx.options import PoolLimits
from smtpx.pooling import PoolStatistics
from smtpx.results import SendResult, Status

if TYPE_CHECKING:
    from smtpx._core.connection import Connection

# RFC 5321 §3.8, RFC 4954 §6: what servers say that have too many connections from us.
_TOO_MANY = (421, 454)
# A connection that fails while it waits for these has taken nothing of a message.
_UNTOUCHED = ("other", "mail")
# Seconds after which a caller in the queue sees whether others have vanished.
_LOOK_AGAIN = 1.0
# Seconds that all connections together have for their farewell, when a pool gives them up.
FAREWELL = 1.0


class Leased(Protocol):
    """A session, as a pool sees it."""

    @property
    def is_open(self) -> bool:
        """True while commands can be sent."""
        ...

    @property
    def _parts(self) -> tuple[Connection, object]:
        """The connection's state, and its driver."""
        ...

    def _transactions(self) -> int:
        """Mail transactions that were begun on it."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...

    def _leave_observer(self) -> None:
        """Log what its observer has raised."""
        ...


S = TypeVar("S", bound=Leased)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Lease(Generic[S]):
    """A place in the pool, or in the queue for one: its holder's until it is released, or lost."""

    __slots__ = (
        "__weakref__",
        "_before",
        "held",
        "messages",
        "place",
        "reused",
        "wake",
    )

    def __init__(self) -> None:
        self.place: Slot[S] | Ticket[S] | None = None
        self.held: S | None = None
        self.reused = False
        """It was used before: the server may have closed it meanwhile."""
        self.messages = 0
        """How many mail transactions may be begun on it."""
        self._before = 0
        self.wake: Callable[[], object] | None = None
        """Has the holder look at its ticket."""

    @property
    def session(self) -> S:
        """The session, once there is one."""
        if self.held is None:
            raise AssertionError("a session is opened before it is used")
        return self.held

    def claims(self, place: Slot[S] | Ticket[S]) -> bool:
        """True if this is what it has; also what its ticket was just answered by."""
        mine = self.place
        if isinstance(mine, Ticket) and place is not mine:
            return isinstance(mine.decision, (Use, Open)) and mine.decision.slot is place
        return place is mine

    def take(self, decision: Decision[S]) -> bool:
        """Note what was granted; False if nothing was."""
        if isinstance(decision, (Use, Open)):
            slot = decision.slot
            self.messages = decision.messages
            self.hold(slot.held)
            self.reused = slot.held is not None
            self.place = slot
            return True
        if isinstance(decision, Wait):
            self.place = decision.ticket
            return True
        return False

    def begin(self, session: S) -> None:
        """Have a session that is still to be opened: the pool closes it where nobody does."""
        self.slot.held = session

    def hold(self, session: S | None) -> None:
        """Have a session, or none yet."""
        self._before = 0 if session is None else session._transactions()
        self.held = session

    @property
    def slot(self) -> Slot[S]:
        """The slot, once it has one."""
        if isinstance(self.place, Slot):
            return self.place
        raise AssertionError("what is not in the queue, nor given back, has a slot")

    def was_gone(self, result: SendResult) -> bool:
        """True if the session had ended while it was idle: another one may take the message.

        Nothing of it was read, and nobody was accepted, or is in doubt.
        """
        error = result.error
        if not self.reused or error is None:
            return False
        from smtpx._core.verdicts import parted_before_the_content

        connection, _ = self.session._parts
        if parted_before_the_content(connection, result):
            return True  # RFC 5321 §3.8: it is no answer to the message, but ends the session.
        is_untouched = isinstance(error, ConnectionLost) and error.phase in _UNTOUCHED
        return (is_untouched or connection.was_gone) and all(
            outcome.status is Status.NOT_TRIED for outcome in result.outcomes
        )

    @property
    def begun(self) -> int:
        """Mail transactions that its holder has begun."""
        return 0 if self.held is None else self.held._transactions() - self._before


class Leasing(Generic[S]):
    """`PoolState` under its lock, and the sessions that it has given up."""

    def __init__(self, limits: PoolLimits, server: str) -> None:
        self._limits = limits
        self._server = server
        self._state: PoolState[S] = PoolState(limits)
        self._given_up: deque[S] = deque()
        """To be closed, by whoever comes to it first."""
        self._lost: deque[object] = deque()
        """References to leases that were never released."""
        self._later: deque[Callable[[], object]] = deque()
        """What is left to the turn that is being taken."""
        self._begin_anew()
        begins_anew_in_child(self)

    def _begin_anew(self) -> None:
        self._lock = RLock()  # Of the two, the one that nobody can release but its owner.
        self._turn_of: int | None = None
        self._is_torn = False

    def leave_parent(self) -> None:
        """Begin anew in a child process: sockets are the parent's, and so may be the lock."""
        self._begin_anew()
        _ = self._state.forget()
        for left in (self._given_up, self._lost, self._later):
            left.clear()

    def _in_turn(self, change: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """Make a change under the lock.

        Raises:
            LocalProtocolError: this thread is in a turn already.
        """
        me, lock = get_ident(), self._lock
        if self._turn_of == me:
            raise LocalProtocolError(
                "a signal handler has interrupted this client in its bookkeeping, and cannot send "
                "by it: have it set a flag, or give it a client of its own"
            )
        try:
            _ = lock.acquire()
            self._turn_of = me
            was_torn, self._is_torn = self._is_torn, True
            if was_torn or self._lost:
                self._lost.clear()
                self._take_back(torn=was_torn)
            made = change(*args)
            while True:
                if not self._later:
                    break
                self._later[0]()
                del self._later[0]
            self._is_torn = False
            return made
        finally:
            # CPython runs signal handlers where a function begins, and after one of C's: not here,
            # before the lock is released.
            if self._turn_of == me:
                self._turn_of = None
            try:
                lock.release()
            except RuntimeError:
                pass  # We were interrupted before it was ours.

    def _take_back(self, *, torn: bool = False) -> None:
        """Take back what nobody claims any more."""
        self._carry_out(self._state.mend(time.monotonic(), torn=torn))

    def statistics(self) -> PoolStatistics:
        """What the pool holds, and has done so far."""
        if self._turn_of == get_ident():
            return self._state.statistics()
        return self._in_turn(self._counted)

    def _counted(self) -> PoolStatistics:
        self._take_back()
        return self._state.statistics()

    def _ask(self, messages: int) -> Lease[S]:
        """A lease of a session, of a slot for one, or of a place in the queue.

        Raises:
            LocalProtocolError: the pool is closed.
        """
        lease: Lease[S] = Lease()
        try:
            if self._in_turn(self._acquire, lease, messages, ref(lease, self._lost.append)):
                return lease
        except BaseException as error:  # Whoever holds it holds the lease.
            place, lease.place = lease.place, None
            self.give_up(place, error)
            raise
        raise LocalProtocolError("the client is closed")

    def _acquire(self, lease: Lease[S], messages: int, reference: ref[Lease[S]]) -> bool:
        if not self._state.has_room():
            self._take_back()
        decision, changes = self._state.acquire(time.monotonic(), messages, reference)
        if changes is not NO_CHANGES:
            self._carry_out(changes)
        return lease.take(decision)

    def fill(self, lease: Lease[S], session: S) -> None:
        """Have a session in a place that was claimed, once that is open.

        Raises:
            LocalProtocolError: the pool was closed.
        """
        if not self._in_turn(self._opened, lease, session):
            session.abort()
            raise LocalProtocolError("the client was closed")

    def give_up(self, place: Slot[S] | Ticket[S] | None, error: BaseException | None) -> None:
        """Take a place back whose holder has failed, or was interrupted, and claims it no more.

        Its session is closed without a farewell. Nothing, if it was given back before.
        """
        if place is None:
            return
        if self._turn_of == get_ident():
            self._later.append(partial(self._give_up, place, error))
            return
        self._in_turn(self._give_up, place, error)
        if isinstance(place, Slot) and place.held is not None:
            place.held.abort()

    def _answered(self, lease: Lease[S], decision: Decision[S]) -> None:
        """Note by what a ticket was answered.

        Raises:
            TimedOut: there was nothing for so long.
            LocalProtocolError: the pool is closed.
        """
        if not isinstance(decision, Refused):
            _ = lease.take(decision)
            return
        if decision.refusal is Refusal.TIMED_OUT:
            raise TimedOut(
                f"no connection was free within {self._limits.wait} seconds "
                "(PoolLimits.open, PoolLimits.wait)",
                phase="connect",
            )
        raise LocalProtocolError("the client is closed")

    def _reopen(self, lease: Lease[S]) -> bool:
        """Have a slot for a new session, in place of one that was gone; False if closed."""
        decision, changes = self._state.reopen(lease.slot, time.monotonic())
        if isinstance(decision, Open):
            _ = lease.take(decision)
        self._carry_out(changes)
        return isinstance(decision, Open)

    def _opened(self, lease: Lease[S], session: S) -> bool:
        """Note that a session was opened; False if the pool was closed meanwhile."""
        connection, _ = session._parts
        limits = (connection.extensions.mail_max, connection.learnt.messages)
        limit = min([most for most in limits if most is not None], default=None)
        decision, changes = self._state.opened(
            lease.slot, time.monotonic(), connection=session, mail_max=limit
        )
        self._carry_out(changes)
        if isinstance(decision, Refused):
            return False
        lease.hold(session)
        lease.messages = decision.messages
        return True

    def _give_up(self, place: Slot[S] | Ticket[S], error: BaseException | None) -> None:
        now = time.monotonic()
        if isinstance(error, SMTPError) and error.server is None:
            error.server = self._server
        if isinstance(place, Ticket):
            self._carry_out(self._state.cancel(place, now))
            return
        if isinstance(error, SMTPError) and place.state is SlotState.OPENING:
            place.held = None  # What could not be opened has been closed.
        if isinstance(error, ReplyError) and error.reply.code in _TOO_MANY:
            self._state.refused_for_load(place, now)
        self._carry_out(self._state.give_up(place, now))

    def _give_back(self, lease: Lease[S]) -> None:
        if self._turn_of == get_ident():
            self._later.append(partial(self._release, lease))
        elif lease.place is not None:
            self._in_turn(self._release, lease)

    def _release(self, lease: Lease[S]) -> None:
        # It claims the place no more, so that a turn which is torn now does not leave it to it.
        place, lease.place = lease.place, None
        if not isinstance(place, Slot):
            return
        now = time.monotonic()
        if lease.held is None:
            changes = self._state.give_up(place, now)
        else:
            # A session that was interrupted, or is out of step, has been closed (R10).
            usable = lease.held.is_open
            changes = self._state.release(place, now, usable, lease.begun)
        if changes is not NO_CHANGES:
            self._carry_out(changes)

    def _shut(self, *, abort: bool) -> None:
        """Lease no more. Within a turn of this thread, when that has ended."""
        if self._turn_of == get_ident():
            self._later.append(partial(self._close, abort))
        else:
            self._in_turn(self._close, abort)

    def _close(self, abort: bool) -> None:
        self._take_back()
        self._carry_out(self._state.close(time.monotonic(), abort=abort))

    def _carry_out(self, changes: Changes[S]) -> None:
        """Wake the callers that were answered; keep what is to be closed outside the lock."""
        for slot in changes.close:
            if slot.connection not in self._given_up:
                self._given_up.append(slot.connection)
        for ticket in changes.answered:
            lease = None if ticket.holder is None else ticket.holder()
            if isinstance(lease, Lease) and lease.wake is not None:
                lease.wake()

    def _hand_over(self, parting: list[S]) -> None:
        """Add those that are to be closed; their new owner closes them, whatever happens."""
        if self._turn_of != get_ident():
            self._in_turn(self._move_given_up, parting)

    def _move_given_up(self, parting: list[S]) -> None:
        parting.extend(self._given_up)
        self._given_up.clear()

    def _abort(self, parting: list[S]) -> None:
        for session in parting:
            session.abort()


def leave_observers(sessions: Iterable[Leased], mine: Leased | None) -> None:
    """Log what the observers of sessions have raised, but for that of a call: it hears of its own.

    The others' sessions are closed by whoever comes next, who has nothing to do with them.
    """
    for session in sessions:
        if session is not mine:
            session._leave_observer()


def wait_for(ticket: Ticket[Any], deadline: Deadline) -> float:
    """How long the holder of a ticket waits before it has the pool look again.

    Raises:
        TimedOut: the whole call has taken too long.
    """
    until = ticket.decision.until if isinstance(ticket.decision, Wait) else None
    seconds = _LOOK_AGAIN if until is None else min(max(0, until - time.monotonic()), _LOOK_AGAIN)
    try:
        return deadline.within(seconds) or 0
    except TimeoutError as error:
        raise TimedOut(
            "the total time was up while we waited for a connection (Timeouts.total)",
            phase="connect",
        ) from error
