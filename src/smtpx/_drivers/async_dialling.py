"""Dialling in any asynchronous world: the addresses of a host, each tried by a task."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from smtpx._drivers.dialling import (
    NO_ANSWER,
    QUEUE_DELAY,
    Answer,
    UnixAttempt,
    found_in,
    look_up,
    numeric,
)
from smtpx._drivers.racing import ATTEMPT_DELAY, Found, Race, Source, called_off, not_found
from smtpx._drivers.waiting import Deadline
from smtpx._drivers.world import Background, World, end
from smtpx.endpoints import Endpoint
from smtpx.errors import ConnectionLost


async def dial(
    world: World,
    endpoint: Endpoint,
    *,
    remaining: Callable[[], float | None],
    sources: Sequence[Source] = (),
) -> socket.socket:
    """Connect as `dialling.dial` does.

    Raises:
        ConnectionLost: no address could be reached; the message lists what each said.
        TimedOut: the time was up before any answered.
    """
    return await Dialling(world, endpoint, remaining=remaining, sources=sources).connected()


class Dialling:
    """One call of `dial`, which another task may call off."""

    def __init__(
        self,
        world: World,
        endpoint: Endpoint,
        *,
        remaining: Callable[[], float | None],
        sources: Sequence[Source] = (),
    ) -> None:
        self._world = world
        self._endpoint = endpoint
        self._remaining = remaining
        self._sources = sources
        self._answers: list[Answer] = []
        self._answered = world.make_bell()
        self._attempts: Attempts | None = None
        self._is_called_off = False

    def call_off(self) -> None:
        """Have it end."""
        self._is_called_off = True
        self._note(called_off(self._endpoint))
        if self._attempts is not None:
            self._attempts.fail(called_off(self._endpoint))

    async def connected(self) -> socket.socket:
        """The connection, once it is there.

        Raises:
            ConnectionLost, TimedOut: as `dial`.
        """
        endpoint = self._endpoint
        if endpoint.path:
            return await self._unix()
        try:
            found = await self._look_up(endpoint.host, endpoint.port)
        except ConnectionLost:
            raise
        except (OSError, UnicodeError) as error:
            raise not_found(endpoint, error) from error
        race = Race(endpoint, found, self._sources)
        self._attempts = Attempts(self._world, race, self._remaining)
        return await self._attempts.winner()

    async def _look_up(self, host: str, port: int) -> Sequence[Found]:
        """Look up a host, in a thread.

        Not by the world's own means: `asyncio.run` would wait at its end for a resolver that hangs.
        """
        if known := numeric(host, port):
            return known
        call = self._world.from_any_thread()

        def tell(answer: Answer) -> None:
            with suppress(RuntimeError):  # The run is over: nobody waits.
                _ = call(lambda: self._note(answer))

        look_up(host, port, tell)
        if not await self._answered.wait(self._remaining()):
            raise TimeoutError(NO_ANSWER)
        return found_in(self._answers[0])

    def _note(self, answer: Answer) -> None:
        self._answers.append(answer)
        self._answered.ring()

    async def _unix(self) -> socket.socket:
        deadline = Deadline(self._remaining())
        with UnixAttempt(self._endpoint) as attempt:
            while True:
                if self._is_called_off:
                    raise called_off(self._endpoint)
                if attempt.is_connected():
                    break
                _ = await self._answered.wait(deadline.within(QUEUE_DELAY))
            return attempt.connection


class Attempts:
    """The attempts at the addresses of one host, each in the background."""

    def __init__(self, world: World, race: Race, remaining: Callable[[], float | None]) -> None:
        self._world = world
        self._race = race
        self._remaining = remaining
        self._winner: socket.socket | None = None
        self._tasks: dict[socket.socket, Background] = {}
        self._running = 0
        self._news = world.make_bell()
        self._crash: BaseException | None = None

    async def winner(self) -> socket.socket:
        """The first connection to be there, when nothing is left of the others."""
        try:
            winner = await self._first()
        except BaseException:
            await self._call_off()
            raise
        await self._call_off(winner)
        return winner

    async def _first(self) -> socket.socket:
        """Try the next address whenever one fails, or takes its time."""
        race = self._race
        while self._winner is None:
            if self._crash is not None:
                raise self._crash
            address = race.next()
            if address is not None:
                self._start(address)
            elif self._running == 0:
                raise race.lost()
            _ = await self._news.wait(ATTEMPT_DELAY if race.has_more else None)
        return self._winner

    async def _call_off(self, winner: socket.socket | None = None) -> None:
        try:
            await end(self._tasks.values())
        except BaseException:
            winner = None
            raise
        finally:
            for connection in self._tasks:
                if connection is not winner:
                    connection.close()

    def _start(self, address: Found) -> None:
        try:
            connection = self._race.prepare(address)
        except OSError as error:
            self._race.failed(address, error)
            self._news.ring()
            return
        self._running += 1
        self._tasks[connection] = self._world.spawn(
            lambda: self._attempt(address, connection), self.fail
        )

    async def _attempt(self, address: Found, connection: socket.socket) -> None:
        try:
            await self._world.connect(connection, address[4], self._remaining())
        except OSError as error:
            connection.close()
            self._race.failed(address, error)
        else:
            if self._winner is None:
                self._winner = connection
        finally:
            self._running -= 1
            self._news.ring()

    def fail(self, error: BaseException) -> None:
        """Have it end by an error."""
        self._crash = error
        self._news.ring()
