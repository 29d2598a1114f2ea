"""The trio driver: answers a procedure's steps from a socket that trio waits for."""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import trio

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
    Step,
    Steps,
    with_octets_written,
)
from smtpx._drivers.interruption import abandon, broken_off, under_way
from smtpx._drivers.protected import Channel
from smtpx._drivers.waiting import KEPT, Deadline, Pace, Transport, Waiter
from smtpx._drivers.world import Supplier
from smtpx.errors import LocalProtocolError, SMTPError

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

T = TypeVar("T")

_BUFFER = 65536
# What takes longer to write lets others run, even where the kernel never holds it up.
_SLICE = 65536
# Seconds that a write waits for room before it looks whether anything has arrived.
_PATIENCE = 0.02
_WANTS_READ = (BlockingIOError, ssl.SSLWantReadError)
_WANTS_WRITE = (BlockingIOError, ssl.SSLWantWriteError)


class _Carrier:
    """A connected socket. While a write waits for room, what arrives is read and kept.

    A peer that cannot get rid of its replies stops reading, and both would wait for ever
    (RFC 2920 §3.1). TLS, which may go over it, knows nothing of that.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._waiter = Waiter(connected)
        self._arrived = bytearray()

    def recv(self, size: int, /) -> bytes:
        """What has come; ``b""`` is the end."""
        if not self._arrived:
            return self.socket.recv(size)
        octets = bytes(self._arrived[:size])
        del self._arrived[:size]
        return octets

    def send(self, octets: bytes | memoryview, /) -> int:
        """Write what fits."""
        return self.socket.send(octets)

    def is_readable(self) -> bool:
        """True if octets, or the end, are there."""
        return bool(self._arrived or self._waiter.is_readable())

    async def until_readable(self) -> None:
        """Wait for octets, or the end. Others run meanwhile, even if there is something."""
        if self._arrived:
            await trio.lowlevel.checkpoint()
        else:
            await self._until(trio.lowlevel.wait_readable)

    async def until_writable(self) -> None:
        """Wait for room, or for a moment."""
        with trio.move_on_after(_PATIENCE):
            await self._until(trio.lowlevel.wait_writable)
        self._keep()

    async def _until(self, ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        """Wait for the socket.

        Raises:
            BrokenOff: it is closed, or was meanwhile.
        """
        if self.is_closed:
            raise BrokenOff
        try:
            await ready(self.socket)
        except trio.ClosedResourceError as error:
            raise BrokenOff from error

    def _keep(self) -> None:
        try:
            while len(self._arrived) < KEPT and (octets := self.socket.recv(_BUFFER)):
                self._arrived += octets
        except OSError:
            pass  # Nothing is there; or the write will fail in its turn, and say why.

    @property
    def is_closed(self) -> bool:
        """True once it is closed on our side."""
        return self.socket.fileno() < 0

    def close(self) -> None:
        """Close the socket, and wake whoever waits for it."""
        if self.is_closed:
            return  # trio keeps what it is told of a number that is none.
        try:
            trio.lowlevel.notify_closing(self.socket)
        except RuntimeError:
            pass  # Its run is over.
        self.socket.close()


class TrioDriver:
    """Owns one connection; a driver that failed, or was cancelled, has closed it."""

    def __init__(self, connected: socket.socket, handshake: Handshake | None) -> None:
        self.is_running = False
        """A call uses it."""
        self._carrier = _Carrier(connected)
        self._transport: Transport = self._carrier
        self._channel: Channel | None = None
        self._wait_for_room = self._carrier.until_writable
        self._handshake = handshake
        self._reply_due: float | None = None
        self._pace = Pace()

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
                    if type(step) is More:
                        answer = None if more is None else await more()
                    else:
                        answer = await self._answer(step, deadline)
                except OSError as error:
                    if self.closed:
                        error = broken_off(error)
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
        if self._channel is not None and not self.closed:
            self._channel.part(self._carrier.socket)
        self.close()

    def close(self) -> None:
        """Close the connection; nothing more is said."""
        self._carrier.close()

    @property
    def closed(self) -> bool:
        """True once the connection is closed on our side."""
        return self._carrier.is_closed

    async def _answer(self, step: Step, deadline: Deadline) -> bytes | None:
        if type(step) is Receive:
            return await self._receive(step, deadline)
        if type(step) is Send:
            return await self._send(step, deadline)
        if type(step) is Glance:
            return self._glance()
        if isinstance(step, StartTLS):
            return await self._start_tls(step, deadline)
        if isinstance(step, (Obtain, Mark)):
            return await _asked(step, deadline)
        raise AssertionError(f"this driver has no answer to {step!r}")

    async def _receive(self, step: Receive, deadline: Deadline) -> bytes:
        seconds = step.timeout
        if self._pace.is_behind:
            self._pace.refill()
        if seconds is not None:
            if step.fresh:
                self._reply_due = time.monotonic() + seconds
            elif self._reply_due is not None:
                seconds = max(self._reply_due - time.monotonic(), 0)
        carrier = self._carrier
        with Within(deadline.within(seconds)):
            while True:
                if self._is_pending():
                    await trio.lowlevel.checkpoint()
                else:
                    await carrier.until_readable()
                try:
                    return self._transport.recv(_BUFFER)
                except ssl.SSLWantWriteError:
                    await carrier.until_writable()
                except _WANTS_READ:
                    pass  # A record that holds no content, or part of one; or nothing.

    def _is_pending(self) -> bool:
        """True if TLS has something that was not read."""
        return self._channel is not None and self._channel.pending()

    def _glance(self) -> bytes | None:
        if not self._is_pending() and not self._carrier.is_readable():
            return None
        try:
            return self._transport.recv(_BUFFER)
        except (*_WANTS_READ, *_WANTS_WRITE):
            return None

    async def _send(self, step: Send, deadline: Deadline) -> bytes:
        unsent, pace = memoryview(step.data), self._pace
        try:
            _ = deadline.within(step.timeout)
            sent = self._write(unsent)
            unsent = unsent[sent:]
            if not unsent and sent < _SLICE:
                if pace.is_behind:
                    pace.took_at_once(step)
                return b""
            pace.begin(step)
            with Within(deadline.within(pace.left)) as scope:
                while True:
                    pace.advance(sent)
                    scope.deadline = _end_of(deadline.within(pace.left))
                    if sent:
                        await trio.lowlevel.checkpoint()
                    else:
                        await self._wait_for_room()
                    if not unsent:
                        break
                    sent = self._write(unsent)
                    unsent = unsent[sent:]
            pace.end()
        except OSError as error:
            taken = len(step.data) - len(unsent)
            raise with_octets_written(error, taken) from error.__cause__
        return b""

    def _write(self, octets: memoryview) -> int:
        """How many octets could be written at once."""
        try:
            return self._transport.send(octets)
        except ssl.SSLWantReadError:
            self._wait_for_room = self._carrier.until_readable  # TLS has something to hear first.
        except _WANTS_WRITE:
            self._wait_for_room = self._carrier.until_writable
        return 0

    async def _start_tls(self, step: StartTLS, deadline: Deadline) -> bytes:
        handshake = self._handshake
        if handshake is None:
            raise LocalProtocolError("StartTLS: no TLSPolicy says whom the driver may trust")
        channel = self._channel = Channel(self._carrier, handshake)
        self._transport = channel
        try:
            with Within(deadline.within(step.timeout)):
                await self._shake_hands(channel)
        except OSError:
            handshake.note_failure(step)
            raise
        handshake.note(step)
        return b""

    async def _shake_hands(self, channel: Channel) -> None:
        while True:
            try:
                if channel.do_handshake():
                    return
            except ssl.SSLWantReadError:
                await self._carrier.until_readable()
            except ssl.SSLWantWriteError:
                await self._carrier.until_writable()
            else:
                await trio.lowlevel.checkpoint()


def _end_of(seconds: float | None) -> float:
    return math.inf if seconds is None else trio.current_time() + seconds


class Within:
    """Raise a `TimeoutError` where a block takes longer."""

    __slots__ = ("_scope",)

    def __init__(self, seconds: float | None) -> None:
        self._scope = trio.CancelScope(deadline=_end_of(seconds))

    def __enter__(self) -> trio.CancelScope:
        return self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _ = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise TimeoutError("timed out")


async def _asked(step: Asked, deadline: Deadline) -> bytes:
    with Within(deadline.within(step.timeout)):
        awaitable = step.ask()
        if awaitable is not None:
            step.note(await awaitable)
    return b""
