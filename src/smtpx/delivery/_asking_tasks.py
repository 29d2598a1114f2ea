"""The DNS for tasks: each question is asked by a task that nobody's cancellation ends."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any

from ._answers import Answers
from ._dnspython import Ask, Asking, NameServers, Pause, asking, response_of
from ._flights import Flight, Flights, Waiter, unheard
from ._manners import Manners
from ._worlds import Background, Bell, World
from .resolver import Answer, Question

__all__ = ["TaskAsker"]


class _Waiter(Waiter):
    """A call of one task."""

    def __init__(self, questions: Sequence[Question], bell: Bell) -> None:
        super().__init__(questions)
        self.bell = bell

    async def wait(self, until: float) -> None:
        """Wait for all answers, or as long as there is time."""
        while not self.is_served and (left := until - monotonic()) > 0:
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

    async def ask(self, questions: Sequence[Question], seconds: float) -> list[Answer]:
        """Answer them all, in their order; within so many seconds, or as `FAILED`."""
        known = self._answers.all_of(questions)
        if known is not None:
            return known
        found = await self._wait(questions, monotonic() + seconds)
        return [found.get(question) or unheard(seconds) for question in questions]

    async def _wait(self, questions: Sequence[Question], until: float) -> dict[Question, Answer]:
        waiter = _Waiter(questions, self._world.make_bell())
        try:
            waiter.go_on(self._flights, self._answers)
            self._send_off()
            await waiter.wait(until)
        finally:
            for flight in self._flights.leave(waiter.flights.values(), waiter):
                self._tasks.pop(flight).cancel()
            self._send_off()
        return waiter.answers

    def _send_off(self) -> None:
        """Begin what is due, and look again when more may be."""
        now = monotonic()
        for flight in self._flights.due(now):
            self._tasks[flight] = self._world.spawn(partial(self._fly, flight))
        again = self._flights.looks_again()
        if again is not None and not self._is_watched:
            self._is_watched = True
            _ = self._world.spawn(partial(self._look_again, again - now))

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
            if waiter.is_served:
                waiter.bell.ring()
        self._send_off()


async def _asked(procedure: Asking, world: World) -> Answer:
    """Run one question to its answer."""
    import dns.asyncbackend

    # Given, for dnspython keeps what it has found out by itself for ever.
    backend = dns.asyncbackend.get_backend(world.name)
    try:
        step = next(procedure)
        while True:
            try:
                response: Any = None
                match step:
                    case Pause(seconds):
                        await world.pause(seconds)
                    case Ask():
                        transport = _by_tcp if step.tcp else _by_udp
                        response = await transport(step, backend)
            except Exception as error:
                step = procedure.throw(error)
            else:
                step = procedure.send(response)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer


async def _by_udp(step: Ask, backend: Any) -> Any:
    """The response by a datagram; what is none of it anybody could have sent (CVE-2023-29483)."""
    import dns.exception

    until = monotonic() + step.timeout
    async with await _connected(step, backend, socket.SOCK_DGRAM) as channel:
        await channel.sendto(step.query.to_wire(), None, step.timeout)
        while True:
            wire, _ = await channel.recvfrom(_LONGEST, max(until - monotonic(), 0.0))
            try:
                return response_of(step.query, wire)
            except (dns.exception.DNSException, ValueError, EOFError):
                continue


async def _by_tcp(step: Ask, backend: Any) -> Any:
    """The response over a connection.

    Raises:
        OSError, DNSException, ValueError, EOFError: there is none.
    """
    until = monotonic() + step.timeout
    async with await _connected(step, backend, socket.SOCK_STREAM) as channel:
        query = step.query.to_wire()
        left = max(until - monotonic(), 0.0)
        await channel.sendall(len(query).to_bytes(2) + query, left)
        size = int.from_bytes(await _exactly(channel, 2, until))
        return response_of(step.query, await _exactly(channel, size, until))


async def _exactly(channel: Any, size: int, until: float) -> bytes:
    octets = b""
    while len(octets) < size:
        came = await channel.recv(size - len(octets), max(until - monotonic(), 0.0))
        if not came:
            raise EOFError("it has hung up")
        octets += came
    return octets


async def _connected(step: Ask, backend: Any, kind: socket.SocketKind) -> Any:
    """A socket that hears nobody but this server."""
    family = socket.AF_INET6 if ":" in step.server else socket.AF_INET
    to = (step.server, step.port)
    return await backend.make_socket(family, kind, 0, None, to, step.timeout)


_LONGEST = 65535
