"""The trio driver: answers a procedure's steps from a trio stream."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import trio

from smtpx._core.steps import (
    Asked,
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
from smtpx._drivers.interruption import abandon
from smtpx._drivers.waiting import KEPT, Deadline, Pace, Waiter
from smtpx._drivers.world import Supplier
from smtpx.errors import LocalProtocolError, SMTPError

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

T = TypeVar("T")

_BUFFER = 65536
_SLICE = 65536
# Seconds that a write waits for room before it looks whether anything has arrived.
_PATIENCE = 0.02


class _NothingThere(Exception):
    """Nothing has come, and nobody waits for it."""


class _Carrier(trio.abc.Stream):
    """A connected socket. While a write waits for room, what arrives is read and kept.

    A peer that cannot get rid of its replies stops reading, and both would wait for ever
    (RFC 2920 §3.1). TLS, which may go over it, knows nothing of that.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.written = 0
        """Octets that were taken since somebody set it."""
        self.waits = True
        """False has TLS take what is there, and no more."""
        self.on_progress: Callable[[int], None] = _ignore
        """Told how many octets were taken, while a write waits for room."""
        self._waiter = Waiter(connected)
        self._arrived = bytearray()

    def send_at_once(self, data: bytes | memoryview) -> bool:
        """Write what fits; True if it was everything."""
        try:
            octets = self.socket.send(data)
        except BlockingIOError:
            return False
        self.written += octets
        return octets == len(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write everything."""
        unsent = memoryview(data)
        while unsent:
            try:
                octets = self.socket.send(unsent)
            except BlockingIOError:
                with trio.move_on_after(_PATIENCE):
                    await _until(trio.lowlevel.wait_writable, self.socket)
                self._keep()
            else:
                self.written += octets
                unsent = unsent[octets:]
                self.on_progress(octets)
        await trio.lowlevel.checkpoint()

    def _keep(self) -> None:
        try:
            while len(self._arrived) < KEPT and (octets := self.socket.recv(_BUFFER)):
                self._arrived += octets
        except OSError:
            pass  # Nothing is there; or the write will fail in its turn, and say why.

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room."""
        await _until(trio.lowlevel.wait_writable, self.socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for octets, or the end."""
        if not self.waits:
            octets = self.receive_at_once()
            if octets is None:
                raise _NothingThere
            return octets
        if self._arrived:
            await trio.lowlevel.checkpoint()
            return self._taken()
        while True:
            # Others run meanwhile, even if there is something.
            await _until(trio.lowlevel.wait_readable, self.socket)
            try:
                return self.socket.recv(_BUFFER)
            except BlockingIOError:
                pass

    def receive_at_once(self) -> bytes | None:
        """What is there; ``None`` if nothing is."""
        if self._arrived:
            return self._taken()
        if not self._waiter.is_readable():
            return None
        try:
            return self.socket.recv(_BUFFER)
        except BlockingIOError:
            return None

    def _taken(self) -> bytes:
        octets = bytes(self._arrived[:_BUFFER])
        del self._arrived[:_BUFFER]
        return octets

    def close(self) -> None:
        """Close the socket, and wake who waits for it."""
        try:
            trio.lowlevel.notify_closing(self.socket)
        except RuntimeError:
            pass  # Its run is over.
        self.socket.close()

    async def aclose(self) -> None:
        """Close the socket."""
        self.close()
        await trio.lowlevel.checkpoint()


class TrioDriver:
    """Owns one connection; a driver that failed, or was cancelled, has closed it."""

    def __init__(self, connected: socket.socket, handshake: Handshake | None) -> None:
        self._carrier = _Carrier(connected)
        self._protected: trio.SSLStream[_Carrier] | None = None
        self._handshake = handshake
        self._reply_due: float | None = None
        self._pace = Pace()
        # True within a write: one that is broken off leaves half of a record behind.
        self._is_torn = False

    async def run(self, procedure: Steps[T], deadline: Deadline, more: Supplier | None = None) -> T:
        """Run a procedure to its end and return its value; see `AsyncDriver`."""
        answer: bytes | None = None
        try:
            step = next(procedure)
            while True:
                try:
                    if isinstance(step, More):
                        answer = None if more is None else await more()
                    else:
                        answer = await self._answer(step, deadline)
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
        if self._handshake is not None and not self._is_torn and not self.closed:
            self._handshake.part(self._carrier.socket)
        self.close()

    def close(self) -> None:
        """Close the connection; nothing more is said."""
        self._carrier.close()

    @property
    def closed(self) -> bool:
        """True once the connection is closed on our side."""
        return self._carrier.socket.fileno() < 0

    async def _answer(self, step: Step, deadline: Deadline) -> bytes | None:
        if isinstance(step, Receive):
            return await self._receive(step, deadline)
        if isinstance(step, Send):
            return await self._send(step, deadline)
        if isinstance(step, Glance):
            return await self._glance()
        if isinstance(step, StartTLS):
            return await self._start_tls(step, deadline)
        if isinstance(step, (Obtain, Mark)):
            return await _asked(step, deadline)
        raise AssertionError(f"this driver has no answer to {step!r}")

    async def _receive(self, step: Receive, deadline: Deadline) -> bytes:
        seconds = step.timeout
        self._pace.refill()
        if seconds is not None:
            if step.fresh:
                self._reply_due = time.monotonic() + seconds
            elif self._reply_due is not None:
                seconds = max(self._reply_due - time.monotonic(), 0)
        with Within(deadline.within(seconds)):
            if self._protected is None:
                return await self._carrier.receive_some()
            with _as_os_errors():
                return bytes(await self._protected.receive_some(_BUFFER))

    async def _glance(self) -> bytes | None:
        if self._protected is None:
            return self._carrier.receive_at_once()
        self._carrier.waits = False
        try:
            with _as_os_errors():
                return bytes(await self._protected.receive_some(_BUFFER))
        except _NothingThere:
            return None
        finally:
            self._carrier.waits = True

    async def _send(self, step: Send, deadline: Deadline) -> bytes:
        carrier, protected, pace = self._carrier, self._protected, self._pace
        carrier.written = 0
        passed = 0
        try:
            _ = deadline.within(step.timeout)
            # A large write lets others run, even where the kernel never holds it up.
            if protected is None and carrier.send_at_once(step.data) and len(step.data) < _SLICE:
                pace.took_at_once(step)
                return b""
            unsent = memoryview(step.data)[carrier.written :]
            pace.begin(step)
            pace.advance(carrier.written)
            with Within(deadline.within(pace.left)) as scope:

                def put_off(octets: int) -> None:
                    pace.advance(octets)
                    scope.deadline = _end_of(deadline.within(pace.left))

                carrier.on_progress = put_off
                if protected is None:
                    await carrier.send_all(unsent)
                self._is_torn = True
                while passed < len(unsent) and protected is not None:
                    piece = unsent[passed : passed + _SLICE]
                    # Counted first: what is cut off in the middle may have gone out as a whole.
                    passed += len(piece)
                    with _as_os_errors():
                        await protected.send_all(piece)
            self._is_torn = False
            pace.end()
        except OSError as error:
            written = carrier.written if protected is None else passed
            raise with_octets_written(error, written) from error.__cause__
        finally:
            carrier.on_progress = _ignore
        return b""

    async def _start_tls(self, step: StartTLS, deadline: Deadline) -> bytes:
        handshake = self._handshake
        if handshake is None:
            raise LocalProtocolError("StartTLS: no TLSPolicy says whom the driver may trust")
        # Peers close without close_notify, and end what they say by its form.
        self._protected = trio.SSLStream(
            self._carrier,
            handshake.as_context(),
            server_hostname=handshake.server_hostname,
            https_compatible=True,
        )
        try:
            with Within(deadline.within(step.timeout)), _as_os_errors():
                await self._protected.do_handshake()
        except OSError:
            handshake.note_failure(step)
            raise
        step.protection = handshake.agreed()
        return b""


def _ignore(octets: int) -> None:
    """Nobody waits for progress."""


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


async def _until(
    ready: Callable[[socket.socket], Awaitable[None]], connected: socket.socket
) -> None:
    try:
        await ready(connected)
    except trio.ClosedResourceError as error:
        raise ConnectionAbortedError("the connection is closed") from error


@contextmanager
def _as_os_errors() -> Generator[None, None, None]:
    """What the socket or TLS said is the cause of what trio says."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise ConnectionAbortedError(str(error) or "the connection is closed") from error
