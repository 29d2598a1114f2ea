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
from smtpx._drivers.racing import ATTEMPT_DELAY, Found, Race, Source, not_found
from smtpx._drivers.waiting import Deadline
from smtpx._drivers.world import Background, World, end
from smtpx.endpoints import Endpoint


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
    if endpoint.path:
        return await _dial_unix(world, endpoint, remaining())
    try:
        found = await _resolve(world, endpoint.host, endpoint.port, remaining())
    except (OSError, UnicodeError) as error:
        raise not_found(endpoint, error) from error
    return await Attempts(world, Race(endpoint, found, sources), remaining).winner()


async def _resolve(world: World, host: str, port: int, seconds: float | None) -> Sequence[Found]:
    """Look up a host as `dialling.resolve` does.

    Not by the world's own means: `asyncio.run` would wait at its end for a resolver that hangs.
    """
    if known := numeric(host, port):
        return known
    answers: list[Answer] = []
    answered, call = world.make_bell(), world.from_any_thread()

    def note(answer: Answer) -> None:
        answers.append(answer)
        answered.ring()

    def tell(answer: Answer) -> None:
        with suppress(RuntimeError):  # The run is over: nobody waits.
            _ = call(lambda: note(answer))

    look_up(host, port, tell)
    if not await answered.wait(seconds):
        raise TimeoutError(NO_ANSWER)
    return found_in(answers[0])


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
            lambda: self._attempt(address, connection), self._fail
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

    def _fail(self, error: BaseException) -> None:
        self._crash = error
        self._news.ring()


async def _dial_unix(world: World, endpoint: Endpoint, timeout: float | None) -> socket.socket:
    deadline, bell = Deadline(timeout), world.make_bell()
    with UnixAttempt(endpoint) as attempt:
        while True:
            if attempt.is_connected():
                break
            _ = await bell.wait(deadline.within(QUEUE_DELAY))
        return attempt.connection
