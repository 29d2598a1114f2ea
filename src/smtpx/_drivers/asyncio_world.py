"""asyncio as a `World`: dialling, tasks and what they wait for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from smtpx._drivers.asyncio_driver import AsyncioDriver, within

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake


def from_any_thread() -> Callable[[Callable[[], object]], object]:
    """What has the running loop call something."""
    return asyncio.get_running_loop().call_soon_threadsafe


async def connect(connection: socket.socket, address: Any, seconds: float | None) -> None:
    """Connect a socket that does not block."""
    async with within(seconds):
        await asyncio.get_running_loop().sock_connect(connection, address)


async def drive(connected: socket.socket, handshake: Handshake | None) -> AsyncioDriver:
    """Make a driver, which owns the socket from now on."""
    driver = AsyncioDriver(connected, handshake)
    loop = asyncio.get_running_loop()
    if connected.family in (socket.AF_INET, socket.AF_INET6):
        making = asyncio.ensure_future(loop.create_connection(lambda: driver, sock=connected))
    else:
        making = asyncio.ensure_future(loop.create_unix_connection(lambda: driver, sock=connected))
    # It takes a turn or two of the loop. Were it cancelled, the loops would differ in whether the
    # socket is still ours to close.
    cancelled: asyncio.CancelledError | None = None
    while not making.done():
        try:
            _ = await asyncio.wait([making])
        except asyncio.CancelledError as error:
            cancelled = error
    if making.cancelled() or making.exception() is not None:
        connected.close()
    elif cancelled is not None:
        driver.close()
    if cancelled is not None:
        raise cancelled
    _ = making.result()
    return driver


async def vanish() -> None:
    """Let the loop close what was aborted."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


class Bell:
    """What a task waits for; see `world.Bell`."""

    __slots__ = ("_has_rung", "_waiting")

    def __init__(self) -> None:
        self._has_rung = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """End the wait, or the next one."""
        self._has_rung = True
        self._end()

    def _end(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until it rings; False if it does not within `seconds`."""
        if not self._has_rung:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            alarm = None if seconds is None else loop.call_later(seconds, self._end)
            try:
                await self._waiting
            finally:
                if alarm is not None:
                    alarm.cancel()
        has_rung, self._has_rung = self._has_rung, False
        return has_rung


make_bell = Bell


class _Background:
    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    @property
    def has_ended(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        _ = self._task.cancel()

    async def ended(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                _ = await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


def spawn(
    call: Callable[[], Coroutine[Any, Any, None]], failed: Callable[[BaseException], None]
) -> _Background:
    """Start a task in the background."""

    async def run() -> None:
        try:
            await call()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            failed(error)

    return _Background(asyncio.create_task(run()))


async def let_others_run() -> None:
    """Return when every task that could go on has done so."""
    await asyncio.sleep(0)


def current_run() -> object:
    """The running loop."""
    return asyncio.get_running_loop()


def call_in(run: asyncio.AbstractEventLoop, call: Callable[[], None]) -> bool:
    """Have a loop make a call, from whatever thread; False if it is closed."""
    try:
        _ = run.call_soon_threadsafe(call)
    except RuntimeError:
        return False
    return True
