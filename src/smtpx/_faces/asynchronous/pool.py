"""The sessions that an `AsyncClient` shares among tasks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any
from weakref import ref

from smtpx._core.pool.decisions import Ticket, Wait
from smtpx._core.pool.state import PoolState
from smtpx._drivers.current import current_world
from smtpx._drivers.waiting import NO_DEADLINE, Deadline
from smtpx._drivers.world import Background, World, end
from smtpx._faces.asynchronous.session import AsyncSession
from smtpx._faces.forking import begins_anew_in_child
from smtpx._faces.leasing import FAREWELL, Lease, Leasing, leave_observers, wait_for
from smtpx._values import Value
from smtpx.errors import LocalProtocolError
from smtpx.options import PoolLimits
from smtpx.pooling import PoolStatistics, sum_of


class TaskPool(Leasing[AsyncSession]):
    """Leases sessions to the tasks of one run of a loop, at most so many at a time."""

    def __init__(
        self,
        new_session: Callable[[], AsyncSession],
        limits: PoolLimits,
        server: str,
        world: World,
    ) -> None:
        super().__init__(limits, server)
        self._new_session = new_session
        self._world = world

    async def acquire(
        self, messages: int = 1, deadline: Deadline | None = None
    ) -> Lease[AsyncSession]:
        """Lease a session for up to `messages`; wait for it as long as the limits say.

        Raises:
            TimedOut: there was none for so long.
            LocalProtocolError: the pool is closed.
            SMTPError: as `AsyncSession.open`.
        """
        lease = self._ask(messages)
        if lease.held is not None and not self._given_up:
            return lease
        try:
            if isinstance(lease.place, Ticket):
                await self._wait(lease, lease.place, deadline or NO_DEADLINE)
            await self._make_ready(lease, deadline)
        except BaseException as error:
            place, lease.place = lease.place, None
            self.give_up(place, error)
            raise
        return lease

    async def acquire_now(self, messages: int) -> Lease[AsyncSession] | None:
        """Lease a session if there is one, or room for one, without waiting for it.

        Raises:
            SMTPError: as `acquire`.
        """
        lease = self._ask(messages)
        try:
            ticket = lease.place
            if isinstance(ticket, Ticket):
                lease.place = None
                self.give_up(ticket, None)
                return None
            await self._make_ready(lease, None)
        except BaseException as error:
            place, lease.place = lease.place, None
            self.give_up(place, error)
            raise
        return lease

    async def replace(self, lease: Lease[AsyncSession], deadline: Deadline | None = None) -> None:
        """Have a new session in place of one that was gone.

        Raises:
            LocalProtocolError, SMTPError: as `acquire`; nothing is leased any more then.
        """
        try:
            if not self._in_turn(self._reopen, lease):
                raise LocalProtocolError("the client is closed")
            await self._make_ready(lease, deadline)
        except BaseException as error:
            place, lease.place = lease.place, None
            self.give_up(place, error)
            raise

    async def release(self, lease: Lease[AsyncSession], deadline: Deadline | None = None) -> None:
        """Give a session back.

        Raises:
            Exception: what the observer of the session raised meanwhile.
        """
        self._give_back(lease)
        if self._given_up:
            await self._part(deadline, lease.held)
        if lease.held is not None:
            lease.held._heed_observer()

    async def close(self, *, abort: bool) -> None:
        """Lease no more; close what is idle, and what is leased when it is released, or at once."""
        self._shut(abort=abort)
        for session in await self._close_given_up(NO_DEADLINE, abort=abort):
            session._heed_observer()

    def shut(self, *, abort: bool = False) -> None:
        """Lease no more, and close without a farewell what is idle, or with `abort` everything."""
        self._shut(abort=abort)
        parting: list[AsyncSession] = []
        try:
            self._hand_over(parting)
            self._abort(parting)
        except BaseException:
            self._given_up.extend(parting)
            raise

    async def _make_ready(self, lease: Lease[AsyncSession], deadline: Deadline | None) -> None:
        """Open a session, where none came with the lease."""
        if self._given_up:
            # First, so that the server never sees more than there may be.
            await self._part(deadline)
        if lease.held is not None:
            return
        session = self._new_session()
        lease.begin(session)
        if deadline is None:
            await session.open()
        else:
            await session._open_by(deadline)
        self.fill(lease, session)

    async def _wait(
        self, lease: Lease[AsyncSession], ticket: Ticket[AsyncSession], deadline: Deadline
    ) -> None:
        bell = self._world.make_bell()
        lease.wake = bell.ring
        while isinstance(ticket.decision, Wait):
            if not await bell.wait(wait_for(ticket, deadline)):
                self._in_turn(self._take_back)
        self._answered(lease, ticket.decision)

    async def _part(self, deadline: Deadline | None, mine: AsyncSession | None = None) -> None:
        """Close what the pool has given up, in a call that is about another session, or `mine`."""
        parted = await self._close_given_up(deadline or NO_DEADLINE, mine=mine)
        leave_observers(parted, mine)

    async def _close_given_up(
        self, deadline: Deadline, *, mine: AsyncSession | None = None, abort: bool = False
    ) -> list[AsyncSession]:
        parting: list[AsyncSession] = []
        try:
            self._hand_over(parting)
            leave_observers(parting, mine)  # Of calls that are over.
            if not abort:
                farewell = deadline.for_farewell(FAREWELL)
                await _together(self._world, [partial(s._close_by, farewell) for s in parting])
            self._abort(parting)
        except BaseException:
            self._given_up.extend(parting)  # If we are interrupted again, others close them.
            self._abort(parting)
            raise
        if abort:
            await self._world.vanish()
        return parting


async def _together(world: World, calls: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Await all of these calls, which never fail, side by side."""
    if len(calls) == 1:
        return await calls[0]()
    left, news = len(calls), world.make_bell()

    async def noted(call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        nonlocal left
        try:
            await call()
        finally:
            left -= 1
            news.ring()

    tasks: list[Background] = []
    try:
        for call in calls:
            tasks.append(world.spawn(partial(noted, call), lambda _: None))
        while True:
            if not left:
                break
            _ = await news.wait()
    finally:
        await end(tasks)


class Turn:
    """The time in which a task has a session for one message, as a context."""

    __slots__ = ("_deadline", "_lease", "_pool")

    def __init__(self, pool: TaskPool, deadline: Deadline) -> None:
        self._pool = pool
        self._deadline = deadline

    async def __aenter__(self) -> Lease[AsyncSession]:
        self._lease = await self._pool.acquire(1, self._deadline)
        return self._lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            await self._pool.release(self._lease, self._deadline)
        else:
            lease = self._lease
            place, lease.place = lease.place, None
            self._pool.give_up(place, None)


class _Run(Value):
    """A run of a loop, and the pool of its tasks."""

    world: World
    of: Callable[[], object | None]
    """Gives the run, as long as there is one: a weak reference."""
    pool: TaskPool

    def call(self, call: Callable[[], None]) -> bool:
        """Have the run make a call; False if it has ended."""
        run = self.of()
        return run is not None and self.world.call_in(run, call)


class TaskPools:
    """A `TaskPool` for each run of a loop in which a client is used: in a thread of its own each.

    Other threads come and go while one looks, so each looks at a copy.
    """

    def __init__(
        self, new_session: Callable[[], AsyncSession], limits: PoolLimits, server: str
    ) -> None:
        self._new_session = new_session
        self._limits = limits
        self._server = server
        self._runs: list[_Run] = []
        self._is_closed = False
        begins_anew_in_child(self)

    def here(self) -> TaskPool:
        """The pool of the run that calls."""
        world = current_world()
        run = world.current_run()
        for known in tuple(self._runs):
            if known.of() is run:
                return known.pool
        return self._join(world, run)

    def _join(self, world: World, run: object) -> TaskPool:
        for known in tuple(self._runs):
            if not known.call(_nothing):
                self._leave(known)
        pool = TaskPool(self._new_session, self._limits, self._server, world)
        self._runs.append(_Run(world, ref(run), pool))
        if self._is_closed:
            pool.shut()
        return pool

    def _leave(self, ended: _Run) -> None:
        """Close what a run has left."""
        try:
            self._runs.remove(ended)
        except ValueError:
            return  # Another thread does.
        ended.pool.shut(abort=True)

    def leave_parent(self) -> None:
        """Begin anew in a child process: loops and pools are its parent's."""
        self._runs.clear()

    def statistics(self) -> PoolStatistics:
        """What the pools hold, and have done so far, all together."""
        figures = [known.pool.statistics() for known in tuple(self._runs)]
        none: PoolState[AsyncSession] = PoolState(self._limits)
        return sum_of(figures or [none.statistics()])

    async def close(self, *, abort: bool) -> None:
        """Close the pool of this run, and have the other runs close theirs, without a farewell."""
        await self._shut_others(abort=abort).close(abort=abort)

    def abort(self) -> None:
        """Close all pools at once."""
        self._shut_others(abort=True).shut(abort=True)

    def _shut_others(self, *, abort: bool) -> TaskPool:
        """Have the other runs close their pools; the value is the pool of this one."""
        self._is_closed = True
        here = self.here()
        for known in tuple(self._runs):
            if known.pool is here:
                continue
            if not known.call(partial(known.pool.shut, abort=abort)):
                self._leave(known)
        return here


def _nothing() -> None:
    """What an ended run cannot do any more."""
