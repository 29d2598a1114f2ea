"""From an endpoint to a connected socket."""

from __future__ import annotations

import codecs
import math
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self, TypeAlias

from smtpx._drivers.racing import (
    ATTEMPT_DELAY,
    PHASE,
    Found,
    Race,
    Source,
    called_off,
    not_found,
    unreachable,
)
from smtpx._drivers.waiting import Deadline, Selector
from smtpx._loading import loading
from smtpx._starting import start_thread
from smtpx.endpoints import Endpoint
from smtpx.errors import ConnectionLost

# Seconds after which it is seen whether the dialling was called off.
_LOOK = 0.05
QUEUE_DELAY = 0.02
"""Seconds after which it is seen whether there is room in the queue of a unix socket."""


def dial(
    endpoint: Endpoint, *, remaining: Callable[[], float | None], sources: Sequence[Source] = ()
) -> socket.socket:
    """Connect to whichever address of the host answers first (RFC 8305); it does not block then.

    `remaining` says how many seconds there are for the look-up, and for each attempt.

    Raises:
        ConnectionLost: no address could be reached; the message lists what each said.
        TimedOut: the time was up before any answered.
    """
    connected: socket.socket | None = None
    try:
        with Dialling(endpoint, remaining=remaining, sources=sources) as dialling:
            while True:
                if (connected := dialling.go_on(wait=True)) is not None:
                    return connected
    except BaseException:
        if connected is not None:
            # By one call of C, whatever interrupts what follows.
            socket.SocketType.close(connected)
        raise


class Dialling:
    """One call of `dial`, as far as it has come: for a thread that has others to attend to.

    A context, at whose end everything is closed but what was returned.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        remaining: Callable[[], float | None],
        sources: Sequence[Source] = (),
    ) -> None:
        self._endpoint = endpoint
        self._remaining = remaining
        self._sources = sources
        self._unix: UnixAttempt | None = None
        self._deadline: Deadline | None = None
        """Until when the look-up may take, or a unix socket."""
        self._answers: SimpleQueue[Answer] | None = None
        self._selector: selectors.BaseSelector | None = None
        self._attempts: Attempts | None = None
        self._is_called_off = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up whatever has not been returned."""
        if self._unix is not None:
            self._unix.connection.close()
        if self._attempts is not None:
            self._attempts.close()
        if self._selector is not None:
            self._selector.close()

    def call_off(self) -> None:
        """Have it end, from any thread; whoever dials closes what there is."""
        self._is_called_off = True
        if self._answers is not None:
            self._answers.put(called_off(self._endpoint))

    def go_on(self, *, wait: bool) -> socket.socket | None:
        """The connection; ``None`` while there is none, which without `wait` is told soon.

        Raises:
            ConnectionLost, TimedOut: as `dial`.
        """
        if self._is_called_off:
            raise called_off(self._endpoint)
        if self._endpoint.path:
            return self._go_on_unix(wait=wait)
        if self._attempts is None:
            try:
                found = self._look_up(wait=wait)
            except ConnectionLost:
                raise
            except (OSError, UnicodeError) as error:
                raise not_found(self._endpoint, error) from error
            if found is None:
                return None
            race = Race(self._endpoint, found, self._sources)
            self._selector = Selector()
            self._attempts = Attempts(race, self._selector, self._remaining)
        return self._attempts.go_on(wait=wait)

    def _look_up(self, *, wait: bool) -> Sequence[Found] | None:
        """The addresses, once they are known.

        `getaddrinfo` cannot be interrupted: it runs in a thread that is left alone when the time
        is up, and ends when the system's resolver gives up by itself.

        Raises:
            OSError, UnicodeError: there is no such host.
            TimeoutError: there was no answer in time.
        """
        host, port = self._endpoint.host, self._endpoint.port
        if self._answers is None or self._deadline is None:
            self._deadline = Deadline(self._remaining())
            if known := numeric(host, port):
                return known
            self._answers = SimpleQueue()
            look_up(host, port, self._answers.put)
        try:
            seconds = self._deadline.within(None)
            answer = self._answers.get(wait, seconds if wait else None)
        except Empty:
            return None
        except TimeoutError:
            raise TimeoutError(NO_ANSWER) from None
        return found_in(answer)

    def _go_on_unix(self, *, wait: bool) -> socket.socket | None:
        attempt, deadline = self._unix, self._deadline
        if attempt is None or deadline is None:
            attempt = self._unix = UnixAttempt(self._endpoint)
            deadline = self._deadline = Deadline(self._remaining())
        with attempt:
            if not attempt.is_connected():
                seconds = deadline.within(QUEUE_DELAY) or 0
                if wait:
                    time.sleep(seconds)
                return None
        self._unix = None
        return attempt.connection


class Attempts:
    """The attempts at the addresses of one host, all in this thread."""

    def __init__(
        self,
        race: Race,
        selector: selectors.BaseSelector,
        remaining: Callable[[], float | None],
    ) -> None:
        self._race = race
        self._selector = selector
        self._remaining = remaining
        self._next_at = -math.inf
        self._connections: list[socket.socket] = []

    def close(self) -> None:
        """Close all connections but the one that was returned."""
        for connection in self._connections:
            connection.close()

    def go_on(self, *, wait: bool) -> socket.socket | None:
        """The first connection to be there; ``None`` if there is none yet, for a moment."""
        race, selector = self._race, self._selector
        while True:
            if time.monotonic() >= self._next_at and (address := race.next()) is not None:
                self._next_at = time.monotonic() + ATTEMPT_DELAY
                connected = self._start(address)
                if connected is not None:
                    return self._handed_over(connected)
                continue
            attempts = list(selector.get_map().values())
            if not attempts and not race.has_more:
                raise race.lost()
            for key, _ in selector.select(self._pause(attempts) if wait else 0):
                connection = _connection_of(key)
                number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number == 0:
                    _ = selector.unregister(connection)
                    return self._handed_over(connection)
                self._give_up(key, OSError(number, os.strerror(number)))
            for key in list(selector.get_map().values()):
                if key.data[1] <= time.monotonic():
                    self._give_up(key, TimeoutError("timed out"))
            if selector.get_map():
                return None

    def _pause(self, attempts: Sequence[selectors.SelectorKey]) -> float:
        """Seconds until an attempt is given up, or the next is due; or for a moment."""
        ends: list[float] = [key.data[1] for key in attempts]
        if self._race.has_more:
            ends.append(self._next_at)
        return min(max(min(ends) - time.monotonic(), 0.0), _LOOK)

    def _start(self, address: Found) -> socket.socket | None:
        """Begin to connect; the value is a connection that is there at once."""
        try:
            seconds = self._remaining()
            connection = self._race.prepare(address)
        except OSError as error:
            self._failed(address, error)
            return None
        self._connections.append(connection)
        try:
            connection.connect(address[4])
        except BlockingIOError:
            # Windows shows a failure in the exceptional set, which `selectors` looks at for us.
            end = math.inf if seconds is None else time.monotonic() + seconds
            _ = self._selector.register(connection, selectors.EVENT_WRITE, (address, end))
            return None
        except OSError as error:
            connection.close()
            self._failed(address, error)
            return None
        return connection

    def _handed_over(self, connection: socket.socket) -> socket.socket:
        place = self._connections.index(connection)
        # No signal handler runs between these: whatever interrupts, it is here, or the caller's.
        del self._connections[place]
        return connection

    def _give_up(self, key: selectors.SelectorKey, error: OSError) -> None:
        _ = self._selector.unregister(key.fileobj)
        _connection_of(key).close()
        self._failed(key.data[0], error)

    def _failed(self, address: Found, error: OSError) -> None:
        self._race.failed(address, error)
        self._next_at = -math.inf  # §5: an address that failed is not waited for.


def _connection_of(key: selectors.SelectorKey) -> socket.socket:
    if not isinstance(key.fileobj, socket.socket):
        raise AssertionError("only sockets are registered")
    return key.fileobj


Answer: TypeAlias = Sequence[Found] | Exception
NO_ANSWER = "the resolver did not answer in time"


def numeric(host: str, port: int) -> Sequence[Found]:
    """What a host is that needs no look-up, being an address; nothing if it does.

    Raises:
        LocalProtocolError: there is no descriptor left to load what any look-up needs.
    """
    with loading("the name of a host"):
        _ = codecs.lookup("idna")
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return ()


def look_up(host: str, port: int, tell: Callable[[Answer], object]) -> None:
    """Look up a host in a thread of its own, which nobody waits for, and tell its answer there.

    Where no thread can be started, it is done at once, for as long as it takes.
    """

    def ask() -> None:
        answer: Answer
        try:
            answer = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:
            answer = error
        _ = tell(answer)

    try:
        if sys.is_finalizing():  # CPython 3.11 would wait for the thread for ever.
            raise RuntimeError
        start_thread(ask, f"smtpx looks up {host}")
    except RuntimeError:
        # The interpreter shuts down, or allows no such thread; or there are too many.
        ask()


def found_in(answer: Answer) -> Sequence[Found]:
    """The addresses of an answer.

    Raises:
        OSError, UnicodeError: there are none.
    """
    if isinstance(answer, Exception):
        raise answer
    return answer


class UnixAttempt:
    """A unix socket, connected by the end of the context or closed; its errors are those of `dial`.

    What is at its other end shows at once. But where its queue is full Linux says "try again", and
    does not say when.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise ConnectionLost("this system has no unix sockets: use lmtp://", phase=PHASE)
        self._endpoint = endpoint
        try:
            self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise unreachable(endpoint, [(str(error), error)]) from error

    def __enter__(self) -> Self:
        self.connection.setblocking(False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.connection.close()
        if isinstance(error, OSError):
            said = "its queue is full" if isinstance(error, TimeoutError) else str(error)
            raise unreachable(self._endpoint, [(said, error)])

    def is_connected(self) -> bool:
        """Connect; False if there is no room in the queue.

        Raises:
            OSError: nobody listens there.
        """
        try:
            self.connection.connect(self._endpoint.path)
        except BlockingIOError:
            return False
        return True
