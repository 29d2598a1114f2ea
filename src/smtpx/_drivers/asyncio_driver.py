"""The asyncio driver: answers a procedure's steps from a transport of the running loop.

It is its own protocol, with one buffer to read into: asyncio's streams would keep octets that
nobody here sees, and STARTTLS must know of every one (RFC 3207 §6).
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar, cast

from smtpx._core.steps import (
    Asked,
    BrokenOff,
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
from smtpx._drivers.asyncio_wait import Wait
from smtpx._drivers.interruption import abandon, under_way
from smtpx._drivers.protected import Channel
from smtpx._drivers.waiting import KEPT, Deadline, Pace, Waiter
from smtpx._drivers.world import Supplier
from smtpx.errors import LocalProtocolError, SMTPError

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

T = TypeVar("T")

# The most that is read at once.
_BUFFER = 16384
# Kept unread where nobody waits for it, before the peer is held up.
_UNHEARD = 65536
# Written at once. uvloop keeps whatever it is given until the end of its turn.
_SLICE = 131072


class AsyncioDriver(asyncio.BufferedProtocol):
    """Owns one connection; a driver that failed, or was cancelled, has closed it.

    Octets are taken from the transport as they come and kept until a step asks for them. A step
    that has to wait has one `_waiting`: what comes ends it, and the alarm fails it. To TLS it is a
    socket that does not block: the loop's own TLS looks at no clock, however much there is to read.
    """

    def __init__(self, connected: socket.socket, handshake: Handshake | None) -> None:
        self.is_running = False
        """A call uses it."""
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._waiter = Waiter(connected)
        self._handshake = handshake
        self._view = memoryview(bytearray(_BUFFER))
        self._arrived = bytearray()
        self._ended = False
        self._failure: OSError | None = None
        self._is_reading = True
        self._most_kept = _UNHEARD
        self._unwritten: bytes | memoryview = b""
        self._is_writable = True
        self._is_closed = False
        self._waiting: Wait | None = None
        self._due = math.inf
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due = math.inf
        self._reply_due = math.inf
        self._pace = Pace()
        self._transport: asyncio.Transport
        self._channel: Channel | None = None

    async def run(self, procedure: Steps[T], deadline: Deadline, more: Supplier | None = None) -> T:
        """Run a procedure to its end and return its value; see `AsyncDriver`."""
        answer: bytes | None = None
        if self.is_running:
            raise under_way()
        try:
            self.is_running = True
            step = next(procedure)
            while True:
                try:
                    if type(step) is Glance:  # The commonest first.
                        answer = None if self._is_quiet() else await self._glance()
                    elif type(step) is Receive:
                        answer = await self._receive(step, deadline)
                    elif type(step) is Send:
                        sent = self._sent_at_once(step, deadline)
                        answer = b"" if sent else await self._send(step, deadline)
                    elif type(step) is More:
                        answer = None if more is None else await more()
                    elif isinstance(step, (Obtain, Mark)):
                        answer = await _asked(step, deadline)
                    else:
                        answer = await self._start_tls(step, deadline)
                except OSError as error:
                    step = procedure.throw(deadline.judged(error))
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
            self.is_running = False

    def part(self) -> None:
        """Close the connection in good order; see `AsyncDriver`."""
        if not self.closed and self._channel is not None and not self._untaken():
            self._channel.part(self._socket)
        self.close()

    def _untaken(self) -> int:
        """Octets that the kernel has not taken."""
        return len(self._unwritten) + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close the connection; nothing more is said."""
        self._is_closed = self._ended = True
        self._failure = self._failure or BrokenOff()
        self._set_alarm(math.inf)
        if self._loop.is_closed():
            self._socket.close()
            return
        # One whose socket is closed has been let go of by its loop, which it would abort with.
        if self._socket.fileno() >= 0:
            self._transport.abort()
        self._wake()

    @property
    def closed(self) -> bool:
        """True once the connection is closed on our side, or its loop is."""
        return self._is_closed or self._loop.is_closed()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        # A Send is answered when the kernel has it: any octet left over pauses.
        self._transport.set_write_buffer_limits(high=1, low=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; what came before it can still be read."""
        if not self._is_closed:
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
        if self._is_reading and len(self._arrived) >= self._most_kept:
            self._is_reading = False
            self._transport.pause_reading()
        if self._waiting is not None:
            self._waiting.end_within_callback()

    def eof_received(self) -> bool:
        """Note the end of the stream; what is to be written may still arrive."""
        self._ended = True
        self._wake()
        return True

    def pause_writing(self) -> None:
        """Note that the transport did not take everything."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Note that it has now."""
        self._is_writable = True
        self._wake()

    # What TLS calls.

    def recv(self, size: int, /) -> bytes:
        """What has come, up to so many octets; ``b""`` for the end."""
        if not self._arrived and not self._ended:
            raise BlockingIOError
        return self._take(size)

    def send(self, octets: bytes | memoryview, /) -> int:
        """Hand everything to the transport, if it has taken what was before."""
        if not self._is_writable:
            raise BlockingIOError
        self._see_that_it_is_open()
        self._transport.write(octets)
        return len(octets)

    # The steps.

    def _sent_at_once(self, step: Send, deadline: Deadline) -> bool:
        """Do a write that needs no waiting; False if it is not done."""
        self._unwritten = step.data
        try:
            _ = deadline.within(step.timeout)
            if self._transport.is_closing():
                if not self._ended:
                    return False  # It is about to tell why.
                self._see_that_it_is_open()
            self._write()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            taken = len(step.data) - len(self._unwritten)
            raise with_octets_written(error, taken) from error.__cause__
        if not self._is_writable or self._unwritten:
            return False
        if self._pace.is_behind:
            self._pace.took_at_once(step)
        return True

    def _is_quiet(self) -> bool:
        """True if nothing has come; False if it has, or the loop must be asked."""
        # One system call, as without a loop. Windows' loop reads on its own, so that the socket
        # does not show what there is.
        if sys.platform == "win32" or self._has_something():
            return False
        return not self._waiter.is_readable()

    def _has_something(self) -> bool:
        """True if something has come that nobody has read: octets, or the end."""
        if self._arrived or self._ended:
            return True
        return self._channel is not None and self._channel.pending()

    async def _receive(self, step: Receive, deadline: Deadline) -> bytes:
        if self._pace.is_behind:
            self._pace.refill()
        if step.fresh:
            self._reply_due = _end_of(step.timeout)
        elif self._reply_due <= time.monotonic():
            raise TimeoutError("timed out")  # There may be more, again and again: it is too late.
        due = self._reply_due
        if (total := deadline.within(None)) is not None:
            due = min(due, _end_of(total))
        while True:
            while not self._has_something():
                await self._wait(due)
            try:
                return self._read()
            except ssl.SSLWantReadError:
                await self._give_way(due)  # A record that holds no content, or part of one.
            except ssl.SSLWantWriteError as want:
                await self._until(want, due)

    def _read(self) -> bytes:
        """Read what has come; ``b""`` for the end."""
        return self._take() if self._channel is None else self._channel.recv(_BUFFER)

    def _take(self, most: int = KEPT) -> bytes:
        """Take off what has come; ``b""`` for the end."""
        arrived = self._arrived
        if len(arrived) <= most:
            taken = bytes(arrived)
            arrived.clear()
        else:
            taken = bytes(arrived[:most])
            del arrived[:most]
        if not taken and self._failure is not None:
            raise self._failure
        if not self._is_reading:
            self._read_on()
        return taken

    def _read_on(self) -> None:
        """Hold the peer up no longer, if there is room for what it says."""
        if len(self._arrived) < self._most_kept:
            self._is_reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    async def _glance(self) -> bytes | None:
        if not self._has_something():
            # The loop reads at the end of one turn; we go on in the next.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        try:
            return self._read() if self._has_something() else None
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def _write(self) -> None:
        """Hand the next slice to the transport, which is open, or to TLS."""
        if self._channel is not None:
            passed = self._channel.send(self._unwritten)
            self._unwritten = memoryview(self._unwritten)[passed:]
            return
        # Taken off first: the transport may call back before write() returns.
        piece, self._unwritten = self._unwritten, b""
        if len(piece) > _SLICE:
            whole = memoryview(piece)
            piece, self._unwritten = whole[:_SLICE], whole[_SLICE:]
        self._transport.write(piece)

    def _has_room(self) -> bool:
        """True if something can be written, or a write would tell why not."""
        return self._ended if self._transport.is_closing() else self._is_writable

    def _see_that_it_is_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._transport.is_closing():
            raise BrokenPipeError("the connection is closed")

    async def _send(self, step: Send, deadline: Deadline) -> bytes:
        """Go on with a write that did not fit."""
        self._pace.begin(step)
        untaken = len(step.data)
        self._most_kept = KEPT
        if not self._is_reading:
            self._read_on()
        try:
            while True:
                while True:  # No condition ends it: no `try` is left by a jump back.
                    if self._has_room():
                        break
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
                self._see_that_it_is_open()
                try:
                    self._write()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
                    await self._until(want, _end_of(deadline.within(self._pace.left)))
            self._pace.end()
        except OSError as error:
            taken = len(step.data) - len(self._unwritten)
            raise with_octets_written(error, taken) from error.__cause__
        finally:
            self._most_kept = _UNHEARD
        return b""

    def _advance(self, untaken: int) -> int:
        """Note what was taken since so many octets were not; the value is how many are not now."""
        left = self._untaken()
        self._pace.advance(max(untaken - left, 0))
        return min(untaken, left)

    async def _start_tls(self, step: StartTLS, deadline: Deadline) -> bytes:
        due = _end_of(deadline.within(step.timeout))
        handshake = self._handshake
        if handshake is None:
            raise LocalProtocolError("StartTLS: no TLSPolicy says whom the driver may trust")
        if self._arrived:
            raise AssertionError("a procedure looks before it asks for TLS")
        channel = self._channel = Channel(self, handshake)
        try:
            await self._shake_hands(channel, due)
        except OSError:
            handshake.note_failure(step)
            raise
        handshake.note(step)
        return b""

    async def _shake_hands(self, channel: Channel, due: float) -> None:
        while True:
            try:
                if channel.do_handshake():
                    return
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
                await self._until(want, due)
            else:
                await self._give_way(due)

    # Waiting.

    async def _give_way(self, due: float) -> None:
        """Let others run between two pieces of TLS; a `TimeoutError` if it is too late."""
        if due <= time.monotonic():
            raise TimeoutError("timed out")
        await asyncio.sleep(0)

    async def _until(self, want: OSError, due: float) -> None:
        """Wait for what TLS wants: octets, or room for its own."""
        await self._give_way(due)
        if isinstance(want, ssl.SSLWantReadError):
            while not self._has_something():
                await self._wait(due)
        else:
            while not self._has_room():
                await self._wait(due)

    def _wait(self, due: float) -> Wait:
        """Wait for octets, the end, or room to write; a `TimeoutError` if nothing comes by then."""
        self._due = due
        # One alarm serves many waits: it is set anew only where it would ring too late.
        if due < self._alarm_due:
            self._set_alarm(due)
        self._waiting = Wait(self._loop)
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
