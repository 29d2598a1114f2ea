"""The multiplexing driver: many procedures at once, each on its own socket, in one thread.

One thread beats a thread for each connection: the interpreter is not handed over between them.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeAlias, TypeVar

from smtpx._core.steps import (
    Glance,
    Mark,
    More,
    Obtain,
    Receive,
    Send,
    StartTLS,
    Step,
    Steps,
    with_octets_written,
)
from smtpx._drivers.blocking import BlockingDriver, asked
from smtpx._drivers.interruption import value_of_lost
from smtpx._drivers.waiting import KEPT, NO_DEADLINE, Deadline, Pace, Selector, at_a_time

T = TypeVar("T")

Fetch: TypeAlias = Callable[[], bool]
"""Puts messages into the supply, or notes that there are no more; False if none is there yet."""

_BUFFER = 65536
# Of a TLS handshake, pieces that are read before others have their turn.
_PIECES = 4
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class _Blocked(Exception):
    """The step cannot be answered before one of the events that are its argument."""


class Lane(Generic[T]):
    """One procedure on one socket, as far as it has come.

    While a write waits for room, what arrives is read: a peer that cannot get rid of its replies
    would stop reading, and both would wait for ever (RFC 2920 §3.1).
    """

    def __init__(
        self,
        driver: BlockingDriver,
        procedure: Steps[T],
        fetch: Fetch,
        deadline: Deadline | None = None,
    ) -> None:
        self.driver = driver
        self.value: T | None = None
        """What the procedure returned, once it has."""
        self.finished = False
        self.wants = 0
        """The events it waits for."""
        self.due: float | None = None
        """When what it waits for will have taken too long."""
        self.asks: Mark | None = None
        """What is to be asked before it can go on."""
        self._procedure = procedure
        self._fetch = fetch
        self._deadline = deadline or NO_DEADLINE
        self._end = self._deadline.end
        self._transport = driver.transport
        self._wants_read, self._wants_write = driver.wants
        self._arrived = bytearray()
        """What came while a write waited."""
        self._ended = False
        """True if the end came then, too."""
        self._unsent: memoryview | None = None
        self._pace = Pace()
        self._reply_due: float | None = None
        self._step: Step | None = None

    def advance(self) -> None:
        """Go on until the socket has to be waited for, or to the end.

        Raises:
            BaseException: what the procedure raises; the lane is finished then.
        """
        try:
            step = next(self._procedure) if self._step is None else self._step
            while True:
                self._step = step
                try:
                    answer = self._answer(step)
                except _Blocked as blocked:
                    self._wait(step, *blocked.args)
                    return
                except OSError as error:
                    self.due = None
                    step = self._procedure.throw(self._deadline.judged(self.driver.judged(error)))
                else:
                    self.due = None
                    step = self._procedure.send(answer)
        except StopIteration as stop:
            self.value = stop.value
            self._finish()
        except BaseException:
            self._finish()
            raise

    def expire(self) -> None:
        """Tell the procedure that its time is up, and go on."""
        self.due = None
        error: OSError = self._deadline.judged(TimeoutError("timed out"))
        if isinstance(self._step, Send) and self._unsent is not None:
            error = with_octets_written(error, len(self._step.data) - len(self._unsent))
        try:
            self._step = self._procedure.throw(error)
        except StopIteration as stop:
            self.value = stop.value
            self._finish()
        except BaseException:
            self._finish()
            raise
        else:
            self.advance()

    def abandon(self) -> None:
        """End the procedure, whose socket is closed; it accounts for what was in flight."""
        _ = value_of_lost(self._procedure)
        self._finish()

    def _finish(self) -> None:
        self.finished = True
        self.wants = 0
        self.due = None

    def _wait(self, step: Step, events: int) -> None:
        self.wants = events
        if isinstance(step, Mark):
            return  # It is the caller's own code, which is not timed.
        if isinstance(step, StartTLS):
            if self.due is None and step.timeout is not None:
                self.due = time.monotonic() + step.timeout
        elif isinstance(step, Send):
            left = self._pace.left
            self.due = None if left is None else time.monotonic() + left
        elif isinstance(step, Receive) and step.timeout is not None:
            if self._reply_due is None:
                self._reply_due = time.monotonic() + step.timeout
            self.due = self._reply_due
        if self._end is not None:
            self.due = self._end if self.due is None else min(self.due, self._end)

    def _answer(self, step: Step) -> bytes | None:
        if type(step) is Receive:
            if self._pace.is_behind:
                self._pace.refill()
            # The rest of a reply has what is left of its time, however often we are woken up.
            if self.due is None:
                self._begin_or_go_on(step)
            return self._taken() if self._arrived or self._ended else self._read()
        if type(step) is Send:
            return self._send(step)
        if type(step) is More:
            return b"" if self._fetch() else None
        if type(step) is Glance:
            return self._glance()
        if isinstance(step, Mark):
            return self._marked(step)
        if isinstance(step, Obtain):
            return asked(step)
        return self._start_tls(step)

    def _marked(self, step: Mark) -> bytes:
        """Wait for those that ask with us; whoever advances us then has asked."""
        if self.asks is None:
            self.asks = step
            raise _Blocked(0)
        self.asks = None
        return b""

    def _start_tls(self, step: StartTLS) -> bytes:
        driver = self.driver
        try:
            is_done = any(driver.shake_hands(step) for _ in range(_PIECES))
        except OSError as error:
            wants_read, wants_write = driver.wants
            if isinstance(error, wants_read):
                raise _Blocked(_READ) from None
            if isinstance(error, wants_write):
                raise _Blocked(_WRITE) from None
            raise
        if not is_done:
            raise _Blocked(_READ | _WRITE)  # It goes on at once; but others have their turn.
        self._transport = driver.transport
        self._wants_read, self._wants_write = driver.wants
        return b""

    def _begin_or_go_on(self, step: Receive) -> None:
        """Start the clock of a reply, or see whether its time is up."""
        if step.fresh or step.timeout is None:
            self._reply_due = None
        elif self._reply_due is None:
            self._reply_due = time.monotonic() + step.timeout
        elif self._reply_due <= time.monotonic():
            raise TimeoutError("timed out")

    def _read(self) -> bytes:
        try:
            return self._transport.recv(_BUFFER) or self.driver.end()
        except self._wants_read:
            raise _Blocked(_READ) from None
        except self._wants_write:
            raise _Blocked(_WRITE) from None

    def _glance(self) -> bytes | None:
        if self._arrived or self._ended:
            return self._taken()
        try:
            return self._transport.recv(_BUFFER) or self.driver.end()
        except (*self._wants_read, *self._wants_write):
            return None

    def _send(self, step: Send) -> bytes:
        unsent, pace = self._unsent, self._pace
        waited = unsent is not None
        if unsent is None:
            unsent = memoryview(step.data)
        while unsent:
            try:
                sent = self._transport.send(unsent)
                unsent = unsent[sent:]
                if waited:
                    pace.advance(sent)
                continue
            except self._wants_write:
                events = _WRITE | self._listen()
            except self._wants_read:
                events = _READ  # TLS has something of its own to hear first.
            except OSError as error:
                self._unsent = None
                raise with_octets_written(error, len(step.data) - len(unsent)) from None
            if not waited:
                pace.begin(step)
                pace.advance(len(step.data) - len(unsent))
            self._unsent = unsent
            raise _Blocked(events)
        self._unsent = None
        if waited:
            pace.end()
        elif pace.is_behind:
            pace.took_at_once(step)
        return b""

    def _listen(self) -> int:
        """Take what has arrived while a write waits; the value is the event of more."""
        if self._ended or len(self._arrived) >= KEPT:
            return 0
        try:
            octets = self._read()
        except _Blocked as blocked:
            events: int = blocked.args[0]
            return events
        except OSError:
            return 0  # The write will fail in its turn, and say why.
        self._arrived += octets
        self._ended = not octets
        return _READ if octets else 0

    def _taken(self) -> bytes:
        """What came before, by and by; then its end."""
        octets = bytes(self._arrived[:_BUFFER])
        del self._arrived[:_BUFFER]
        return octets


class Multiplexer(Generic[T]):
    """Advances lanes as their sockets become ready."""

    def __init__(self) -> None:
        self._selector = Selector()
        self._events: dict[Lane[T], int] = {}

    def add(self, lane: Lane[T]) -> None:
        """Start a lane."""
        self._events[lane] = 0
        lane.driver.lend()
        self._advance(lane, lane.advance)

    @property
    def lanes(self) -> Collection[Lane[T]]:
        """The lanes that have not finished."""
        return self._events.keys()

    def turn(self, most: float | None = None) -> list[Lane[T]]:
        """Wait for a socket, or for a deadline; advance its lane. Return the lanes that finished.

        It waits `most` seconds at the most.

        Raises:
            BaseException: what a lane's procedure raises; the lane is finished then.
        """
        dues = [lane.due for lane in self._events if lane.due is not None]
        timeout = max(min(dues) - time.monotonic(), 0) if dues else None
        if self._asking:
            timeout = 0.0
        if most is not None:
            timeout = most if timeout is None else min(timeout, most)
        before = list(self._events)
        if not self._events and timeout is not None:
            time.sleep(timeout)  # Windows does not wait for no socket at all.
            return []
        for key, _ in self._selector.select(at_a_time(timeout)):
            lane: Lane[T] = key.data
            self._advance(lane, lane.advance)
        if dues:
            now = time.monotonic()
            for lane in before:
                if lane.due is not None and lane.due <= now:
                    self._advance(lane, lane.expire)
        while asking := self._asking:
            self._ask(asking)
        return [lane for lane in before if lane.finished]

    @property
    def _asking(self) -> list[Lane[T]]:
        return [lane for lane in self._events if lane.asks is not None]

    def _ask(self, asking: Sequence[Lane[T]]) -> None:
        """Ask the mark once for all: it commits, which costs as much for one as for several."""
        several = [lane.asks for lane in asking if lane.asks is not None]
        joint = Mark.of(several)
        _ = asked(joint)
        joint.tell(several)
        for lane in asking:
            self._advance(lane, lane.advance)

    def close(self) -> None:
        """Forget all lanes. Their sockets are their owners'."""
        self._selector.close()
        for lane in self._events:
            lane.driver.take_back()
        self._events.clear()

    def _advance(self, lane: Lane[T], step: Callable[[], None]) -> None:
        try:
            step()
        finally:
            self._watch(lane)

    def _watch(self, lane: Lane[T]) -> None:
        watched = self._events[lane]
        if lane.finished:
            del self._events[lane]
        elif lane.wants != watched:
            self._events[lane] = lane.wants
        if watched != lane.wants:
            self._select(lane, watched)
        if lane.finished:
            lane.driver.take_back()

    def _select(self, lane: Lane[T], watched: int) -> None:
        if not watched:
            _ = self._selector.register(lane.driver.socket, lane.wants, lane)
        elif lane.wants:
            _ = self._selector.modify(lane.driver.socket, lane.wants, lane)
        else:
            _ = self._selector.unregister(lane.driver.socket)
