"""`send_many` of the asynchronous face: each session at work is a task in the background."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
)
from types import TracebackType
from typing import Any, Self

from smtpx._core.steps import Steps
from smtpx._core.streaming.supply import Budget, Window
from smtpx._drivers.current import current_world
from smtpx._drivers.interruption import value_of_lost, with_results
from smtpx._drivers.waiting import Deadline
from smtpx._drivers.world import Background, end
from smtpx._faces.asynchronous.pool import TaskPool
from smtpx._faces.asynchronous.session import AsyncSession
from smtpx._faces.forking import begins_anew_in_child, not_ours
from smtpx._faces.leasing import Lease
from smtpx._faces.tally import ASKED, READ_AHEAD, Item, Source, Tally
from smtpx.errors import SMTPError
from smtpx.marking import Mark
from smtpx.options import Check
from smtpx.pausing import NOTHING_YET, PAUSE, NothingYet
from smtpx.results import SendResult


class TaskSending:
    """One call of `send_many`, as a context, which ends when all of its tasks have.

    A nursery may not be open while an asynchronous generator yields, so the tasks are nobody's:
    whatever they raise is kept, and raised where the caller waits for results.
    """

    def __init__(
        self,
        pool: TaskPool,
        messages: Iterable[Item | NothingYet] | AsyncIterable[Item | NothingYet],
        connections: int,
        window: Window,
        resend_doubtful: bool,
        check: Check,
        mark: Mark | None,
    ) -> None:
        self._pool = pool
        self._world = current_world()
        self._connections = connections
        self._tally = Tally(window, resend_doubtful, check, mark)
        self._source: Source | None = None
        self._run = self._world.current_run()
        self._tasks: list[Background] = []
        self._procedures: list[Steps[SMTPError | None]] = []
        """What the sessions at work carry out."""
        self._working = 0
        self._joining = 0
        """Of those, how many are still to have one: nobody waits for them."""
        self._late = 0
        """Of those, how many have had another come and go: they are not counted on."""
        self._is_crowded = False
        self._failure: BaseException | None = None
        self._news = self._world.make_bell()
        self._demand = self._world.make_bell()
        self._unread_limit = connections * window.messages
        self._is_parents = False
        self.results = self._tally.results
        begins_anew_in_child(self)
        if isinstance(messages, AsyncIterable):
            arriving = aiter(messages)
            self._spawn(lambda: self._read(arriving))
        else:
            self._source = iter(messages)

    def leave_parent(self) -> None:
        """Tell nothing in a child process, but for what is being told."""
        self._is_parents = True
        while len(self.results) > 1:
            _ = self.results.pop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the tasks, in the middle of what they do."""
        if self._is_parents:
            return
        self._tally.break_off()
        try:
            await end(self._tasks)
        except BaseException as another:
            error = another  # It is what the caller gets.
            raise
        finally:
            self.tell(error)

    def tell(self, error: BaseException | None) -> None:
        """Have nothing more sent; hang what was not told on what ends the call.

        Once more where the end itself was interrupted.
        """
        if self._is_parents:
            return
        self._tally.break_off()
        self._cancel()
        self._tally.interrupted()
        with_results(error, self.results)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def tell_elsewhere(self, error: BaseException) -> None:
        """The same in another thread, for which the loop waits, as all of its tasks do."""
        if self._is_parents:
            return
        self._tally.break_off()
        for procedure in self._procedures:
            _ = value_of_lost(procedure)
        self._tally.interrupted()
        with_results(error, self.results)
        _ = self._world.call_in(self._run, self._cancel)

    async def go_on(self) -> bool:
        """Send until there are results; False if there will be none.

        Raises:
            SMTPError: no session can be had any more.
            LocalProtocolError: it is the parent process that sends.
            BaseException: what the caller's iterable raised; what came before it was sent.
        """
        if self._is_parents:
            raise not_ours()
        self._is_crowded = False
        while not self.results:
            if self._failure is not None:
                raise self._failure
            while self._has_work():
                self._start()
            # A session that is still to join is waited for only where there is something for it.
            at_work = self._working - self._joining
            if at_work or not self._tally.is_exhausted or (self._joining and self._tally.at_hand):
                if not self._tally.at_hand:
                    self._demand.ring()
                _ = await self._news.wait(self._patience)
            elif not self.results:
                return self._tally.conclude()
        return True

    @property
    def _has_room(self) -> bool:
        """True if there is perhaps one more session."""
        return self._working < self._connections and not (self._working and self._is_crowded)

    @property
    def _patience(self) -> float | None:
        """Seconds for which those at work are waited for, if there may be one more."""
        if not self._has_room or (self._source is None and not self._tally.at_hand):
            return None
        return self._tally.patience

    def _has_work(self) -> bool:
        """True if there is a message for one more session, and perhaps a session."""
        tally = self._tally
        if not self._has_room:
            return False
        can_be_read = not tally.is_exhausted and not (self._working and tally.is_slow)
        if self._source is not None and not tally.at_hand and can_be_read:
            tally.refill(self._source)
        return self._working - self._late < tally.at_hand or tally.is_held_up()

    def _start(self) -> None:
        """Put a session to work; the first waits for one, the others make do without."""
        lease = self._lease_now if self._working else self._lease
        self._working += 1
        self._joining += 1
        self._tasks = [task for task in self._tasks if not task.has_ended]
        self._spawn(lambda: self._work(lease))

    def _spawn(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.append(self._world.spawn(call, self._fail))

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._news.ring()

    async def _work(self, leased: Callable[[], Awaitable[Lease[AsyncSession] | None]]) -> None:
        try:
            try:
                lease = await leased()
            finally:
                self._joining -= 1
                self._late = min(self._late, self._joining)
            if lease is None:
                self._is_crowded = True
            else:
                await self._send(lease)
                self._late = self._joining
        finally:
            self._working -= 1
            self._news.ring()

    async def _lease(self) -> Lease[AsyncSession] | None:
        try:
            return await self._pool.acquire(ASKED)
        except SMTPError as error:
            if self._working == 1:
                self._tally.none_to_be_had(error)
            return None

    async def _lease_now(self) -> Lease[AsyncSession] | None:
        """A session beside those that are at work; they do without, where none is to be had."""
        try:
            return await self._pool.acquire_now(ASKED)
        except SMTPError:
            return None

    async def _send(self, lease: Lease[AsyncSession]) -> None:
        """Send until the session has ended, or there is nothing for it to do."""
        connection, driver = lease.session._parts
        budget = Budget(lease.messages)
        procedure = self._tally.procedure(connection, budget, self._emit)
        self._procedures.append(procedure)
        try:
            error = await driver.run(procedure, Deadline(None), self._more)
        except BaseException:
            place, lease.place = lease.place, None
            self._pool.give_up(place, None)
            raise
        finally:
            self._procedures.remove(procedure)
        self._is_crowded = False
        if error is not None:
            lease.session.abort()
        try:
            self._tally.session_ended(
                connection, budget, error, reused=lease.reused, at_work=self._working - 1
            )
        finally:
            await self._pool.release(lease)

    def _emit(self, result: SendResult) -> None:
        if not self.results:  # Whoever waits for news has read all results.
            self._news.ring()
        self.results.append(result)

    async def _more(self) -> bytes | None:
        """Answer `More`, unless the caller has so much to read that it holds us up."""
        tally = self._tally
        if len(self.results) >= self._unread_limit:
            return None
        if not tally.at_hand and not tally.is_exhausted:
            if self._source is None:
                self._demand.ring()
                await self._world.let_others_run()
            elif not tally.is_slow:
                tally.refill(self._source)
        return b"" if tally.at_hand or tally.is_exhausted else None

    async def _read(self, source: AsyncIterator[Item | NothingYet]) -> None:
        """Read the caller's asynchronous iterable, as far ahead as there is room."""
        tally = self._tally
        try:
            async for item in source:
                if item is NOTHING_YET:
                    _ = await self._demand.wait(PAUSE)
                else:
                    tally.add(item)
                if tally.is_exhausted:
                    return  # There is no hope for any of them.
                # Of the first at hand it is looked whether those at work take it.
                if self._has_room and (tally.at_hand == 1 or self._has_work()):
                    self._news.ring()
                await self._wait_for_demand()
            tally.exhaust()
        except Exception as error:
            tally.exhaust(error)
        finally:
            self._news.ring()
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    async def _wait_for_demand(self) -> None:
        while self._tally.at_hand >= READ_AHEAD:
            _ = await self._demand.wait()
