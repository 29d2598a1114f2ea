"""The asyncio driver: answers a procedure's steps from a transport of the running loop.

It is its own protocol, with one buffer to read into: asyncio's streams would keep octets that
nobody here sees, and STARTTLS must know of every one (RFC 3207 §6).
"""

from __future__ import annotations

import asyncio
import math
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import TYPE_CHECKING, TypeVar, cast

from smtpx._core.steps import (
    Asked,
    Glance,
    Mark,
    More,
    Obtain,
    Receive,
    Send,
    StartTLS,
    Steps,
    with_octets_written,
)
from smtpx._drivers.interruption import abandon
from smtpx._drivers.waiting import KEPT, Deadline, Pace, Waiter
from smtpx._drivers.world import Supplier
from smtpx.errors import LocalProtocolError, SMTPError

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

T = TypeVar("T")

# The most that is read at once.
_BUFFER = 16384
# Written at once. asyncio's TLS would keep a second copy of whatever it is given.
_SLICE = 131072
# asyncio's own bound for a handshake, which cannot be switched off; ours is the one that counts.
_LONG = 1e6


class _Wait:
    """What a task waits for; when octets come it goes on at once, within the loop's callback.

    A future would have it go on in the loop's next turn, which is a fifth of what asyncio adds to
    the price of a message. To asyncio, what has this flag is a future (`asyncio.isfuture`).
    """

    __slots__ = ("_asyncio_future_blocking", "_error", "_loop", "_resume", "_resume_in")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._error: BaseException | None = None
        self._resume: Callable[[_Wait], object] | None = None
        self._resume_in: Context | None = None

    def __await__(self) -> Generator[_Wait, None, None]:
        self._asyncio_future_blocking = True
        yield self

    # What the driver calls. A wait that is over is not ended again.

    @property
    def is_over(self) -> bool:
        """True if the task goes on, or will."""
        return self._resume is None

    def end_within_callback(self) -> None:
        """Resume the task, if the loop has called us and no other task is running."""
        resume, context = self._resume, self._resume_in
        if resume is None or context is None or asyncio.current_task(self._loop) is not None:
            self.end()
            return
        self._resume = None
        try:
            _ = context.run(resume, self)
        except (KeyboardInterrupt, SystemExit) as interruption:
            # These end the loop, not the transport that called: uvloop's would swallow them.
            _ = self._loop.call_soon(_raise, interruption)

    def end(self, error: BaseException | None = None) -> None:
        """Have the loop resume the task, with an error if there is one."""
        resume, self._resume = self._resume, None
        if resume is not None:
            self._error = error
            _ = self._loop.call_soon(resume, self, context=self._resume_in)

    # What the task calls.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task."""
        return self._loop

    def add_done_callback(
        self, fn: Callable[[_Wait], object], /, *, context: Context | None = None
    ) -> None:
        """Take what resumes the task."""
        self._resume, self._resume_in = fn, context

    def cancel(self, msg: object = None) -> bool:
        """End the wait by a cancellation, unless it has ended."""
        if self._resume is None:
            return False
        self.end(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return True

    def result(self) -> None:
        """Raise the error, if there is one."""
        if self._error is not None:
            raise self._error


def _raise(error: BaseException) -> None:
    raise error


class AsyncioDriver(asyncio.BufferedProtocol):
    """Owns one connection; a driver that failed, or was cancelled, has closed it.

    Octets are taken from the transport as they come and kept until a step asks for them. A step
    that has to wait has one `_waiting`: what comes ends it, and the alarm fails it.
    """

    def __init__(self, connected: socket.socket, handshake: Handshake | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._waiter = Waiter(connected)
        self._handshake = handshake
        # A memoryview: asyncio's TLS writes into a slice of it, and a bytearray's is a copy.
        self._view = memoryview(bytearray(_BUFFER))
        self._arrived = bytearray()
        self._ended = False
        self._failure: OSError | None = None
        self._is_reading = True
        self._unwritten: bytes | memoryview = b""
        self._is_writable = True
        self._is_protected = False
        self._is_closed = False
        self._waiting: _Wait | None = None
        self._due = math.inf
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due = math.inf
        self._reply_due = math.inf
        self._pace = Pace()
        # Under TLS, `_transport` is the protected one and `_carrier` what it writes to. Once lost,
        # the former passes for open, and takes whatever it is given.
        self._carrier: asyncio.Transport
        self._transport: asyncio.Transport

    async def run(self, procedure: Steps[T], deadline: Deadline, more: Supplier | None = None) -> T:
        """Run a procedure to its end and return its value; see `AsyncDriver`."""
        answer: bytes | None = None
        try:
            step = next(procedure)
            while True:
                try:
                    if isinstance(step, Receive):
                        answer = await self._receive(step, deadline)
                    elif isinstance(step, Send):
                        sent = self._sent_at_once(step, deadline)
                        answer = b"" if sent else await self._send(step, deadline)
                    elif isinstance(step, Glance):
                        answer = None if self._is_quiet() else await self._glance()
                    elif isinstance(step, More):
                        answer = None if more is None else await more()
                    elif isinstance(step, (Obtain, Mark)):
                        answer = await _asked(step, deadline)
                    else:
                        answer = await self._start_tls(step, deadline)
                except OSError as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        except SMTPError:
            raise
        except BaseException as error:
            # Interrupted, in the middle of who knows what: never to be used again.
            self.close()
            abandon(procedure, error)
            raise
        finally:
            answer = None  # R14: a traceback with locals would show what the server echoes.

    def part(self) -> None:
        """Close the connection in good order; see `AsyncDriver`."""
        if not self.closed and self._handshake is not None and self._is_drained():
            self._handshake.part(self._socket)
        self.close()

    def _is_drained(self) -> bool:
        """True if the kernel has everything that was written."""
        left = self._transport.get_write_buffer_size() + self._carrier.get_write_buffer_size()
        return not self._unwritten and not left

    def close(self) -> None:
        """Close the connection; nothing more is said."""
        self._is_closed = self._ended = True
        self._set_alarm(math.inf)
        if self._loop.is_closed():
            self._socket.close()
            return
        # It takes the protected transport along, whose own abort() is broken in 3.11. One whose
        # socket is closed has been let go of by its loop, and may have none left to abort with.
        if self._socket.fileno() >= 0:
            self._carrier.abort()
        self._wake()

    @property
    def closed(self) -> bool:
        """True once the connection is closed on our side, or its loop is."""
        return self._is_closed or self._loop.is_closed()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, before TLS."""
        self._carrier = self._transport = cast("asyncio.Transport", transport)
        # A Send is answered when the kernel has it: any octet left over pauses.
        self._transport.set_write_buffer_limits(high=1, low=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; what came before it can still be read."""
        if not self._is_closed and not self._is_protected:
            self._read_the_rest()
        self._ended = True
        if isinstance(exc, OSError):
            self._failure = exc
        self._wake()

    def _read_the_rest(self) -> None:
        """Read what the transport leaves unread: when a write fails, often the reason why."""
        try:
            while len(self._arrived) < KEPT and (octets := self._socket.recv(_BUFFER)):
                self._arrived += octets
        except OSError:
            pass  # That was all.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what was read, and hold up a peer that says more than anyone listens to."""
        self._arrived += self._view[:nbytes]
        if self._is_reading and len(self._arrived) >= KEPT:
            self._is_reading = False
            self._transport.pause_reading()
        if self._waiting is not None:
            self._waiting.end_within_callback()

    def eof_received(self) -> bool:
        """Note the end of the stream; without TLS, what is to be written may still arrive."""
        self._ended = True
        self._wake()
        return not self._is_protected

    def pause_writing(self) -> None:
        """Note that the transport did not take everything."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Note that it has now; TLS calls this from within its write() at times."""
        self._is_writable = True
        self._wake()

    # The steps.

    def _sent_at_once(self, step: Send, deadline: Deadline) -> bool:
        """Do a write that needs no waiting; False if it is not done."""
        self._unwritten = step.data
        try:
            _ = deadline.within(step.timeout)
            if self._carrier.is_closing() and not self._ended:
                return False  # It is about to tell why.
            self._write()
        except OSError as error:
            taken = len(step.data) - len(self._unwritten)
            raise with_octets_written(error, taken) from error.__cause__
        if not self._is_writable or self._unwritten:
            return False
        self._pace.took_at_once(step)
        return True

    def _is_quiet(self) -> bool:
        """True if nothing has come; False if it has, or the loop must be asked."""
        # One system call, as without a loop. Windows' loop reads on its own, so that the socket
        # does not show what there is.
        if sys.platform == "win32" or self._arrived or self._ended:
            return False
        return not self._waiter.is_readable()

    async def _receive(self, step: Receive, deadline: Deadline) -> bytes:
        self._pace.refill()
        if step.fresh:
            self._reply_due = _end_of(step.timeout)
        elif self._reply_due <= time.monotonic():
            raise TimeoutError("timed out")  # There may be more, again and again: it is too late.
        due = self._reply_due
        if (total := deadline.within(None)) is not None:
            due = min(due, _end_of(total))
        while not self._arrived and not self._ended:
            await self._wait(due)
        return self._take()

    def _take(self) -> bytes:
        """What has come; ``b""`` for the end."""
        arrived = bytes(self._arrived)
        if arrived:
            self._arrived.clear()
            if not self._is_reading:
                self._read_on()
        elif self._failure is not None:
            raise self._failure
        return arrived

    def _read_on(self) -> None:
        """Hold the peer up no longer."""
        self._is_reading = True
        if not self._carrier.is_closing():
            self._transport.resume_reading()

    async def _glance(self) -> bytes | None:
        if not self._arrived and not self._ended:
            # The loop reads at the end of one turn; we go on in the next.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return self._take() if self._arrived or self._ended else None

    def _write(self) -> None:
        """Hand the next slice to the transport."""
        if self._failure is not None:
            raise self._failure
        if self._carrier.is_closing():
            raise BrokenPipeError("the connection is closed")
        # Taken off first: the transport may call back before write() returns.
        piece, self._unwritten = self._unwritten, b""
        if len(piece) > _SLICE:
            whole = memoryview(piece)
            piece, self._unwritten = whole[:_SLICE], whole[_SLICE:]
        self._transport.write(piece)

    async def _send(self, step: Send, deadline: Deadline) -> bytes:
        """Go on with a write that did not fit."""
        self._pace.begin(step)
        untaken = len(step.data)
        try:
            while True:
                while not (self._ended if self._carrier.is_closing() else self._is_writable):
                    untaken = self._advance(untaken)
                    due = _end_of(deadline.within(self._pace.left))
                    try:
                        await self._wait(due)
                    except TimeoutError:
                        # Only here is it seen that the transport took some of a slice.
                        untaken = self._advance(untaken)
                        if self._pace.left == 0:
                            raise
                if not self._unwritten:
                    break
                self._write()
            self._pace.end()
        except OSError as error:
            taken = len(step.data) - len(self._unwritten)
            raise with_octets_written(error, taken) from error.__cause__
        return b""

    def _advance(self, untaken: int) -> int:
        """Note what was taken since so many octets were not; the value is how many are not now."""
        left = len(self._unwritten) + self._transport.get_write_buffer_size()
        if self._transport is not self._carrier:
            left += self._carrier.get_write_buffer_size()
        self._pace.advance(max(untaken - left, 0))
        return min(untaken, left)

    async def _start_tls(self, step: StartTLS, deadline: Deadline) -> bytes:
        seconds = deadline.within(step.timeout)
        handshake = self._handshake
        if handshake is None:
            raise LocalProtocolError("StartTLS: no TLSPolicy says whom the driver may trust")
        if self._arrived:
            raise AssertionError("a procedure looks before it asks for TLS")
        if self._ended:
            raise ConnectionAbortedError("the peer hung up before the TLS handshake")
        self._is_protected = True
        try:
            async with within(seconds):
                protected = await self._loop.start_tls(
                    self._carrier,
                    self,
                    handshake.as_context(),
                    server_hostname=handshake.server_hostname,
                    ssl_handshake_timeout=_LONG,
                )
        except BaseException:
            self._ended = True
            self._carrier.abort()
            handshake.note_failure(step)
            raise
        if protected is None:
            raise ConnectionAbortedError("the peer hung up after the TLS handshake")
        self._transport = protected
        protected.set_write_buffer_limits(high=1, low=0)
        step.protection = handshake.agreed()
        return b""

    # Waiting.

    def _wait(self, due: float) -> _Wait:
        """Wait for octets, the end, or room to write; a `TimeoutError` if nothing comes by then."""
        self._due = due
        # One alarm serves many waits: it is set anew only where it would ring too late.
        if due < self._alarm_due:
            self._set_alarm(due)
        self._waiting = _Wait(self._loop)
        return self._waiting

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.end()

    def _set_alarm(self, due: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._alarm_due = due
        if due != math.inf:
            self._alarm = self._loop.call_later(max(due - time.monotonic(), 0), self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_due = None, math.inf
        if self._waiting is None or self._waiting.is_over:
            return
        if self._due > time.monotonic():
            self._set_alarm(self._due)
        else:
            self._waiting.end(TimeoutError("timed out"))


async def _asked(step: Asked, deadline: Deadline) -> bytes:
    async with within(deadline.within(step.timeout)):
        awaitable = step.ask()
        if awaitable is not None:
            step.note(await awaitable)
    return b""


def _end_of(seconds: float | None) -> float:
    return math.inf if seconds is None else time.monotonic() + seconds


@asynccontextmanager
async def within(seconds: float | None) -> AsyncGenerator[None, None]:
    """Raise a `TimeoutError` where a block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        # The system's own has an errno and says what it is.
        raise TimeoutError(str(error) or "timed out") from error
