"""The sessions that an `AsyncClient` shares among tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from smtpx._core.pool import Decision, Slot, Ticket, Wait
from smtpx._drivers.worlds import World, current_world
from smtpx._faces.leasing import Lease, Leasing, seconds_left
from smtpx.options import PoolLimits

if TYPE_CHECKING:
    from smtpx._faces.aio import AsyncSession


class TaskPool(Leasing["AsyncSession"]):
    """Leases sessions to tasks, at most so many at a time."""

    def __init__(self, new_session: Callable[[], AsyncSession], limits: PoolLimits) -> None:
        super().__init__(limits)
        self._new_session = new_session
        self._run: object = None

    async def acquire(self, messages: int = 1) -> Lease[AsyncSession]:
        """Lease a session for up to `messages`; wait for it as long as the limits say.

        Raises:
            TimedOut: there was none for so long.
            LocalProtocolError: the pool is closed.
            SMTPError: as `AsyncSession.open`.
        """
        world = self._join_run()
        decision = self._ask(messages)
        if isinstance(decision, Wait):
            decision = await self._wait(decision.ticket, world)
        return await self._act_on(decision)

    async def acquire_now(self, messages: int) -> Lease[AsyncSession] | None:
        """Lease a session if there is one, or room for one, without waiting for it.

        Raises:
            SMTPError: as `acquire`.
        """
        _ = self._join_run()
        decision = self._ask(messages)
        if isinstance(decision, Wait):
            self._withdraw(decision.ticket)
            return None
        return await self._act_on(decision)

    async def replace(self, lease: Lease[AsyncSession]) -> Lease[AsyncSession]:
        """Lease a new session in place of one that was gone.

        Raises:
            LocalProtocolError, SMTPError: as `acquire`; nothing is leased any more then.
        """
        return await self._open(self._replaced(lease))

    async def release(self, lease: Lease[AsyncSession], messages: int = 1) -> None:
        """Give a session back, on which so many mail transactions were begun."""
        self._give_back(lease, messages)
        if self._given_up:
            await self._part()

    def drop(self, lease: Lease[AsyncSession], messages: int = 1) -> None:
        """Give a session back without waiting: who is interrupted does not say goodbye."""
        self._give_back(lease, messages)

    async def close(self, *, abort: bool) -> None:
        """Lease no more; close what is idle, and what is leased when it is released, or at once."""
        world = self._join_run()
        self._shut(abort=abort)
        if abort:
            while session := self._next_given_up():
                session.abort()
            await world.vanish()
        await self._part()

    def _join_run(self) -> World:
        """Begin anew in another process, or in another run of a loop than before."""
        self._leave_parent()
        world = current_world()
        run = world.current_run()
        if run is not self._run:
            self._run = run
            for session in self._forget():
                session.abort()
        return world

    async def _act_on(self, decision: Decision[AsyncSession]) -> Lease[AsyncSession]:
        found = self._found(decision)
        return found if isinstance(found, Lease) else await self._open(found)

    async def _open(self, slot: Slot[AsyncSession]) -> Lease[AsyncSession]:
        session = self._new_session()
        try:
            await self._part()  # First, so that the server never sees more than there may be.
            await session.open()
        except BaseException as error:
            self._failed(slot, error)
            raise
        return self._opened(slot, session)

    async def _wait(self, ticket: Ticket[AsyncSession], world: World) -> Decision[AsyncSession]:
        answered = world.make_bell()
        self._waiters[ticket] = answered.ring
        try:
            while isinstance(ticket.decision, Wait):
                if not await answered.wait(seconds_left(ticket.decision)):
                    with self._lock:
                        self._carry_out(self._state.evict(time.monotonic()))
        except BaseException:
            self._withdraw(ticket)
            raise
        finally:
            _ = self._waiters.pop(ticket, None)
        return ticket.decision

    async def _part(self) -> None:
        while session := self._next_given_up():
            await session.close()


class Turn:
    """The time in which a task has a session for one message, as a context."""

    __slots__ = ("_pool", "lease")

    def __init__(self, pool: TaskPool) -> None:
        self._pool = pool

    async def __aenter__(self) -> Turn:
        self.lease = await self._pool.acquire()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            await self._pool.release(self.lease)
        else:
            self._pool.drop(self.lease)

    @property
    def session(self) -> AsyncSession:
        """The session of this turn."""
        return self.lease.session

    async def begin_anew(self) -> None:
        """Go on with a new session: this one was gone, or is full.

        Raises:
            SMTPError: as `TaskPool.acquire`.
        """
        self.lease = await self._pool.replace(self.lease)
