"""The trio driver: answers a procedure's steps from a trio stream."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from smtpx._core.steps import (
    Glance,
    More,
    Receive,
    Send,
    StartTLS,
    Step,
    Steps,
    with_octets_written,
)
from smtpx._drivers.interruption import abandon
from smtpx._drivers.waiting import Deadline, Waiter
from smtpx._drivers.worlds import Found, Supplier
from smtpx.errors import SMTPError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

_BUFFER = 65536
_SLICE = 65536


class TrioDriver:
    """Owns one connection; a driver that failed, or was cancelled, has closed it."""

    def __init__(
        self,
        connected: socket.socket,
        context: ssl.SSLContext | None,
        server_hostname: str | None,
    ) -> None:
        self._socket = connected
        self._waiter = Waiter(connected)
        self._carrier = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        self._protected: trio.SSLStream[trio.SocketStream] | None = None
        self._context = context
        self._server_hostname = server_hostname
        self._reply_due: float | None = None

    async def run(self, procedure: Steps[T], deadline: Deadline, more: Supplier | None = None) -> T:
        """Run a procedure to its end and return its value; see `AsyncDriver`."""
        try:
            step = next(procedure)
            while True:
                try:
                    if isinstance(step, More):
                        answer = None if more is None else await more()
                    else:
                        with _as_os_errors():
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

    def close(self) -> None:
        """Close the connection; nothing more is said."""
        try:
            trio.lowlevel.notify_closing(self._socket)
        except RuntimeError:
            pass  # Its run is over.
        self._socket.close()

    @property
    def closed(self) -> bool:
        """True once the connection is closed on our side."""
        return self._socket.fileno() < 0

    async def _answer(self, step: Step, deadline: Deadline) -> bytes | None:
        if isinstance(step, Receive):
            return await self._receive(step, deadline)
        if isinstance(step, Send):
            return await self._send(step, deadline)
        if isinstance(step, Glance):
            return await self._glance()
        if isinstance(step, StartTLS):
            return await self._start_tls(step, deadline)
        raise AssertionError(f"this driver has no answer to {step!r}")

    async def _receive(self, step: Receive, deadline: Deadline) -> bytes:
        seconds = step.timeout
        if seconds is not None:
            if step.fresh:
                self._reply_due = time.monotonic() + seconds
            elif self._reply_due is not None:
                seconds = max(self._reply_due - time.monotonic(), 0)
        with _within(deadline.within(seconds)):
            return await self._read()

    async def _read(self) -> bytes:
        if self._protected is not None:
            return bytes(await self._protected.receive_some(_BUFFER))
        return bytes(await self._carrier.receive_some(_BUFFER))

    async def _glance(self) -> bytes | None:
        if self._protected is not None:
            # TLS may hold records that it has read and nobody has asked for. What is cancelled
            # from the start gives those, and looks no further.
            with trio.CancelScope(deadline=-math.inf):
                return await self._read()
        if not self._waiter.is_readable():
            return None
        # What there is is taken before trio sees that the time is up.
        with trio.move_on_after(0):
            return await self._read()
        return None

    async def _send(self, step: Send, deadline: Deadline) -> bytes:
        data = memoryview(step.data)
        written = 0
        try:
            with _as_os_errors(), _within(deadline.within(step.timeout)):
                while written < len(data):
                    piece = data[written : written + _SLICE]
                    # Counted first: what is cut off in the middle may have gone out as a whole.
                    written += len(piece)
                    await (self._protected or self._carrier).send_all(piece)
        except OSError as error:
            raise with_octets_written(error, written) from error.__cause__
        return b""

    async def _start_tls(self, step: StartTLS, deadline: Deadline) -> bytes:
        if self._context is None:
            raise AssertionError("a policy that asks for TLS has made a context")
        # Peers close without close_notify, and end what they say by its form.
        self._protected = trio.SSLStream(
            self._carrier,
            self._context,
            server_hostname=self._server_hostname,
            https_compatible=True,
        )
        with _within(deadline.within(step.timeout)):
            await self._protected.do_handshake()
        return b""


@contextmanager
def _within(seconds: float | None) -> Generator[None, None, None]:
    with trio.CancelScope(deadline=math.inf) as scope:
        if seconds is not None:
            scope.deadline = trio.current_time() + seconds
        yield
    if scope.cancelled_caught:
        raise TimeoutError("timed out")


@contextmanager
def _as_os_errors() -> Generator[None, None, None]:
    """What the socket or TLS said is the cause of what trio says."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise ConnectionAbortedError(str(error) or "the connection is closed") from error


async def resolve(host: str, port: int, seconds: float | None) -> Found:
    """Look up a host."""
    with _within(seconds):
        return await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def connect(connection: socket.socket, address: Any, seconds: float | None) -> None:
    """Connect a socket that does not block."""
    with _within(seconds):
        await trio.socket.from_stdlib_socket(connection).connect(address)


async def drive(
    connected: socket.socket, context: ssl.SSLContext | None, server_hostname: str | None
) -> TrioDriver:
    """Make a driver, which owns the socket from now on."""
    return TrioDriver(connected, context, server_hostname)


async def vanish() -> None:
    """What was closed is gone at once."""


class Bell:
    """What a task waits for; see `worlds.Bell`."""

    __slots__ = ("_has_rung", "_waiting")

    def __init__(self) -> None:
        self._has_rung = False
        self._waiting: trio.Event | None = None

    def ring(self) -> None:
        """End the wait, or the next one."""
        self._has_rung = True
        if self._waiting is not None:
            self._waiting.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until it rings; False if it does not within `seconds`."""
        if not self._has_rung:
            self._waiting = trio.Event()
            with trio.move_on_after(math.inf if seconds is None else seconds):
                await self._waiting.wait()
        has_rung, self._has_rung = self._has_rung, False
        return has_rung


make_bell = Bell


class _Background:
    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def run(
        self, call: Callable[[], Coroutine[Any, Any, None]], failed: Callable[[BaseException], None]
    ) -> None:
        try:
            with self._scope:
                await call()
        except trio.Cancelled:
            raise
        except BaseException as error:
            failed(error)
        finally:
            self._ended.set()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def cancel(self) -> None:
        self._scope.cancel()

    async def ended(self) -> None:
        with trio.CancelScope(shield=True):
            await self._ended.wait()


def spawn(
    call: Callable[[], Coroutine[Any, Any, None]], failed: Callable[[BaseException], None]
) -> _Background:
    """Start a system task: trio has no others that outlive the block that starts them."""
    background = _Background()
    _ = trio.lowlevel.spawn_system_task(background.run, call, failed, context=copy_context())
    return background


async def let_others_run() -> None:
    """Return when every task that could go on has done so: a batch of them may end with us."""
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()


def current_run() -> object:
    """The token of the present run."""
    return trio.lowlevel.current_trio_token()
