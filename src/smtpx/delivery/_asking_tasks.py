"""The DNS for tasks: each question is asked by a task that nobody's cancellation ends."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any

from ._answers import Answers
from ._dnspython import Ask, Asking, NameServers, Pause, asking
from ._flights import Flight, Flights, Waiter
from ._manners import Manners
from ._responses import response_of
from ._worlds import Background, Bell, Channel, World
from .resolver import Answer, Question

__all__ = ["TaskAsker"]


class _Waiter(Waiter):
    """A call of one task."""

    def __init__(
        self, questions: Sequence[Question], needed: int, seconds: float, bell: Bell
    ) -> None:
        super().__init__(questions, questions[:needed], monotonic(), seconds)
        self.bell = bell

    async def wait(self) -> None:
        """Wait for all answers, or as long as there is time."""
        while not self.is_served and (left := self.until - monotonic()) > 0:
            await self.bell.wait(left)


class TaskAsker:
    """Asks name servers for all tasks of one run of a loop."""

    def __init__(
        self, servers: NameServers, answers: Answers, manners: Manners, world: World
    ) -> None:
        self._servers = servers
        self._answers = answers
        self._manners = manners
        self._world = world
        self._flights: Flights[_Waiter] = Flights()
        self._tasks: dict[Flight[_Waiter], Background] = {}
        self._is_watched = False

    async def ask(
        self, questions: Sequence[Question], seconds: float, needed: int = 0
    ) -> list[Answer]:
        """Answer them all, in their order, or as `FAILED` where there was no time; see `Waiter`."""
        known = self._answers.all_of(questions)
        if known is not None:
            return known
        waiter = _Waiter(questions, needed, seconds, self._world.make_bell())
        await self._wait(waiter)
        return [waiter.answer(question) for question in questions]

    async def _wait(self, waiter: _Waiter) -> None:
        try:
            waiter.go_on(self._flights, self._answers)
            self._send_off()
            await waiter.wait()
        finally:
            for flight in self._flights.leave(waiter.flights.values(), waiter):
                task = self._tasks.pop(flight, None)
                if task is not None:  # Else there was no room to begin it.
                    task.cancel()
            self._send_off()

    def _send_off(self) -> None:
        """Begin what is due, and look again when more may be."""
        now = monotonic()
        begun, set_back = self._flights.due(now)
        for flight in set_back:
            self._tasks.pop(flight).cancel()
        for flight in begun:
            self._tasks[flight] = self._world.spawn(partial(self._fly, flight))
        again = self._flights.looks_again()
        if again is not None and not self._is_watched:
            self._is_watched = True
            try:
                _ = self._world.spawn(partial(self._look_again, again - now))
            except BaseException:
                self._is_watched = False
                raise

    async def _look_again(self, seconds: float) -> None:
        try:
            await self._world.pause(max(seconds, 0))
        finally:
            self._is_watched = False
        self._send_off()

    async def _fly(self, flight: Flight[_Waiter]) -> None:
        procedure = asking(flight.question, self._servers, self._manners)
        answer = await _asked(procedure, self._world)
        self._answers.keep(flight.question, answer)
        _ = self._tasks.pop(flight, None)
        for waiter in self._flights.landed(flight):
            waiter.hear(flight.question, answer)
            waiter.go_on(self._flights, self._answers)
            if waiter.is_to_look(flight.question):
                waiter.bell.ring()
        self._send_off()


async def _asked(procedure: Asking, world: World) -> Answer:
    """Run one question to its answer."""
    try:
        step = next(procedure)
        while True:
            try:
                response: Any = None
                match step:
                    case Pause(seconds):
                        await world.pause(seconds)
                    case Ask():
                        response = await _response(step, world)
            except Exception as error:
                step = procedure.throw(error)
            else:
                step = procedure.send(response)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer


async def _response(step: Ask, world: World) -> Any:
    """What the server says, over a socket of ours, which whatever ends us closes.

    Not by dnspython: what is cancelled while it opens a socket leaves that open on uvloop.

    Raises:
        OSError, DNSException, ValueError, EOFError: there is none.
    """
    family = socket.AF_INET6 if ":" in step.server else socket.AF_INET
    call = _by_tcp if step.tcp else _by_udp
    with socket.socket(family, socket.SOCK_STREAM if step.tcp else socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        try:
            return await world.within(step.timeout, lambda: call(step, world.channel(opened)))
        except TimeoutError:
            raise TimeoutError("it did not answer in time") from None


async def _by_udp(step: Ask, channel: Channel) -> Any:
    """The response by a datagram; what is none of it anybody could have sent (CVE-2023-29483)."""
    import dns.exception

    # It hears nobody but this server.
    await channel.connect((step.server, step.port))
    await channel.send(step.query.to_wire())
    while True:
        wire = await channel.receive(_LONGEST)
        try:
            return response_of(step.query, wire)
        except (dns.exception.DNSException, ValueError, EOFError):
            continue


async def _by_tcp(step: Ask, channel: Channel) -> Any:
    """The response over a connection."""
    await channel.connect((step.server, step.port))
    query = step.query.to_wire()
    await channel.send(len(query).to_bytes(2) + query)
    size = int.from_bytes(await _exactly(channel, 2))
    return response_of(step.query, await _exactly(channel, size))


async def _exactly(channel: Channel, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        came = await channel.receive(size - len(octets))
        if not came:
            raise EOFError("it has hung up")
        octets += came
    return octets


_LONGEST = 65535
