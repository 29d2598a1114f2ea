"""The DNS for threads: of those who wait for an answer, one sends and reads for all.

So there is no thread of our own, and nothing is open while nobody asks.
"""

from __future__ import annotations

import ipaddress
import selectors
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic
from typing import Any

from smtpx import _checks

from ._answers import Answers
from ._dnspython import Ask, NameServers, Pause, asking
from ._flights import Flight, Flights, Waiter
from ._manners import Manners
from ._responses import response_of
from .resolver import Answer, AnswerState, Question

__all__ = ["Asker"]

_LONGEST = 65535
# Packets of one question that are looked at before others have their turn.
_AT_A_TURN = 64


class _Waiter(Waiter):
    """A call of one thread."""

    def __init__(self, questions: Sequence[Question], needed: int, seconds: float) -> None:
        super().__init__(questions, questions[:needed], monotonic(), seconds)
        self.bell: SimpleQueue[None] = SimpleQueue()


class Asker:
    """Asks name servers for all threads of one delivery."""

    def __init__(self, servers: NameServers, answers: Answers) -> None:
        self._servers = servers
        self._answers = answers
        self._manners = Manners()
        self._lock = Lock()
        self._flights: Flights[_Waiter] = Flights()
        self._air: dict[Flight[_Waiter], _Air] = {}
        self._waiting: dict[_Waiter, None] = {}
        self._pilot: _Waiter | None = None
        """Who sends and reads for all."""
        self._alarm: socket.socket | None = None
        """Written to, it wakes the pilot."""
        self._forsaken: list[_Air] = []
        """Nobody waits for these any more."""

    def ask(self, questions: Sequence[Question], seconds: float, needed: int = 0) -> list[Answer]:
        """Answer them all, in their order, or as `FAILED` where there was no time; see `Waiter`."""
        known = self._answers.all_of(questions)
        if known is not None:
            return known
        waiter = _Waiter(questions, needed, seconds)
        try:
            self._wait(waiter)
        except OSError as error:  # There is no descriptor left to ask by.
            return [_unasked(waiter, question, error) for question in questions]
        return [waiter.answer(question) for question in questions]

    def _wait(self, waiter: _Waiter) -> None:
        try:
            with self._lock:
                waiter.go_on(self._flights, self._answers)
                self._waiting[waiter] = None
            while True:
                if waiter.is_served or (left := waiter.until - monotonic()) <= 0:
                    break
                with self._lock:
                    is_pilot = self._pilot is None
                    if is_pilot:
                        self._pilot = waiter
                    else:
                        self._wake()
                if is_pilot:
                    self._fly(waiter)
                else:
                    with suppress(Empty):
                        waiter.bell.get(timeout=min(left, _checks.LONGEST_WAIT))
        finally:
            with self._lock:
                _ = self._waiting.pop(waiter, None)
                forsaken = self._flights.leave(waiter.flights.values(), waiter)
                self._forsaken += [self._air.pop(one) for one in forsaken if one in self._air]
                if self._pilot is None:
                    self._land_without_pilot()
                else:
                    self._wake()

    def _land_without_pilot(self) -> None:
        """Close what nobody waits for, and have another one fly."""
        while True:
            if not self._forsaken:
                break
            self._forsaken.pop().close()
        for other in self._waiting:
            other.bell.put(None)
            break

    def _wake(self) -> None:
        """Have the pilot look at what has changed."""
        if self._alarm is not None:
            try:
                _ = self._alarm.send(b"\0")
            except OSError:
                pass  # It has enough to read.

    def _fly(self, pilot: _Waiter) -> None:
        """Send and read for everybody, until the pilot has all of its own answers."""
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs, selectors.DefaultSelector() as selector:
                ours.setblocking(False)
                theirs.setblocking(False)
                _ = selector.register(ours, selectors.EVENT_READ)
                with self._lock:
                    self._alarm = theirs
                    for air in self._air.values():
                        air.board(selector)
                while True:
                    if pilot.is_served or monotonic() >= pilot.until:
                        break
                    for key, _ in selector.select(self._pause(pilot.until)):
                        if key.data is None:
                            _ = ours.recv(4096)
                        else:
                            key.data.is_ready = True
                    self._go_on(selector)
        finally:
            with self._lock:
                self._alarm = self._pilot = None
                for air in (*self._air.values(), *self._forsaken):
                    air.selector = None
                _ = self._waiting.pop(pilot, None)
                self._land_without_pilot()

    def _pause(self, until: float) -> float:
        """Seconds until something is due, whatever comes in."""
        with self._lock:
            ends = [until, *(air.until for air in self._air.values())]
            again = self._flights.looks_again()
            if again is not None:
                ends.append(again)
        return min(max(min(ends) - monotonic(), 0), _checks.LONGEST_WAIT)

    def _go_on(self, selector: selectors.BaseSelector) -> None:
        """Send off what is due, and take what has come."""
        with self._lock:
            while True:
                if not self._forsaken:
                    break
                self._forsaken.pop().close()
            begun, set_back = self._flights.due(monotonic())
            for flight in set_back:
                self._air.pop(flight).close()
            for flight in begun:
                air = self._air[flight] = _Air(flight.question, self._servers, self._manners)
                air.board(selector)
            flying = [
                (flight, air)
                for flight, air in self._air.items()
                if air.is_ready or air.until <= monotonic()
            ]
            for flight, air in flying:
                self._carry(flight, air)

    def _carry(self, flight: Flight[_Waiter], air: _Air) -> None:
        try:
            answer = air.go_on()
        except BaseException:
            # Whatever ends us, others may wait for it: they have it sent off anew.
            self._air.pop(flight).close()
            self._flights.again(flight)
            raise
        if answer is not None:
            self._land(flight, answer)

    def _land(self, flight: Flight[_Waiter], answer: Answer) -> None:
        self._answers.keep(flight.question, answer)
        del self._air[flight]
        for waiter in self._flights.landed(flight):
            waiter.hear(flight.question, answer)
            waiter.go_on(self._flights, self._answers)
            if waiter.is_to_look(flight.question):
                waiter.bell.put(None)


def _unasked(waiter: _Waiter, question: Question, error: OSError) -> Answer:
    """What is known of a question, where it could not be sent off."""
    known = waiter.answers.get(question)
    return known or Answer(AnswerState.FAILED, detail=f"it could not be asked: {error}")


class _Air:
    """One question on its way: its procedure, and the socket that it has come to."""

    def __init__(self, question: Question, servers: NameServers, manners: Manners) -> None:
        self.selector: selectors.BaseSelector | None = None
        self.is_ready = True
        """There is something to read, or to begin with."""
        self.until = 0.0
        """When the present step is over, whatever has come."""
        self._procedure = asking(question, servers, manners)
        self._step: Ask | Pause | None = None
        self._failure: OSError | None = None
        self._socket: socket.socket | None = None
        self._out = self._in = b""

    def board(self, selector: selectors.BaseSelector) -> None:
        """Have a selector tell when there is something to read."""
        self.selector = selector
        if self._socket is not None:
            event = selectors.EVENT_WRITE if self._out else selectors.EVENT_READ
            _ = selector.register(self._socket, event, self)

    def close(self) -> None:
        """Give up."""
        self._procedure.close()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._socket is not None:
            # Ctrl-C may have come between the two, and left it without a selector.
            with suppress(KeyError, ValueError):
                if self.selector is not None:
                    _ = self.selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def go_on(self) -> Answer | None:
        """Take what has come, and go on until there is more to wait for, or the answer."""
        self.is_ready = False
        try:
            if self._step is None and self._begins(next(self._procedure)):
                return None
            while True:
                try:
                    response = self._taken(self._step)
                    if response is _NOTHING:
                        return None
                except Exception as error:
                    self._hang_up()
                    step = self._procedure.throw(error)
                else:
                    self._hang_up()
                    step = self._procedure.send(response)
                if self._begins(step):
                    return None
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer

    def _begins(self, step: Ask | Pause) -> bool:
        """Begin a step; why it cannot be is told when it is looked at."""
        self._step, self._failure = step, None
        try:
            self._begin(step)
        except OSError as error:
            self._failure = error
        return self._failure is None

    def _begin(self, step: Ask | Pause) -> None:
        if isinstance(step, Pause):
            self.until = monotonic() + step.seconds
            return
        self.until = monotonic() + step.timeout
        kind = socket.SOCK_STREAM if step.tcp else socket.SOCK_DGRAM
        is_six = ipaddress.ip_address(step.server).version == 6
        self._socket = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET, kind)
        self._socket.setblocking(False)
        wire: bytes = step.query.to_wire()
        self._in = b""
        self._out = struct.pack("!H", len(wire)) + wire if step.tcp else b""
        info = socket.getaddrinfo(
            step.server, step.port, type=kind, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
        try:
            # A datagram of anybody else does not come in.
            self._socket.connect(info[0][4])
        except BlockingIOError:
            pass
        if not step.tcp:
            _ = self._socket.send(wire)
        if self.selector is not None:
            self.board(self.selector)

    def _taken(self, step: Ask | Pause | None) -> Any:
        """The response, if it is there.

        Raises:
            OSError, DNSException: it will not come, or is no answer.
        """
        if self._failure is not None:
            raise self._failure
        if isinstance(step, Ask) and self._socket is not None:
            response = self._of_stream(step) if step.tcp else self._of_datagrams(step)
            if response is not _NOTHING:
                return response
        if monotonic() < self.until:
            return _NOTHING
        if isinstance(step, Pause):
            return None
        raise TimeoutError("it did not answer in time")

    def _of_datagrams(self, step: Ask) -> Any:
        import dns.exception

        if self._socket is None:
            return _NOTHING
        for _ in range(_AT_A_TURN):
            try:
                wire = self._socket.recv(_LONGEST)
            except BlockingIOError:
                break
            try:
                return response_of(step.query, wire)
            except (dns.exception.DNSException, ValueError, EOFError):
                continue  # Anybody could have sent it (CVE-2023-29483).
        return _NOTHING

    def _of_stream(self, step: Ask) -> Any:
        if self._socket is None:
            return _NOTHING
        try:
            if self._out:
                self._out = self._out[self._socket.send(self._out) :]
                if self._out:
                    return _NOTHING
                if self.selector is not None:
                    _ = self.selector.modify(self._socket, selectors.EVENT_READ, self)
            while True:
                wanted = 2
                if len(self._in) >= 2:
                    wanted += int.from_bytes(self._in[:2])
                    if len(self._in) == wanted:
                        break
                came = self._socket.recv(wanted - len(self._in))
                if not came:
                    raise EOFError("it has hung up")
                self._in += came
        except BlockingIOError:
            return _NOTHING
        return response_of(step.query, self._in[2:])


_NOTHING: Any = object()
