"""What asynchronous delivery needs of asyncio and trio, besides the sessions."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio
    import socket

    import trio

__all__ = ["Background", "Bell", "Call", "Channel", "World", "current_world", "end"]

Call: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Bell(Protocol):
    """What one task waits for, and any other one of its run may ring."""

    def ring(self) -> None:
        """End the wait, or the next one."""
        ...

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until it rings, but no longer than so many seconds."""
        ...


class Background(Protocol):
    """A task that nobody's `async with` holds."""

    def cancel(self) -> None:
        """Have it end."""
        ...

    async def ended(self) -> None:
        """Wait for its end, whoever may be cancelled meanwhile."""
        ...


class Channel(Protocol):
    """A socket of somebody's, which does not block; each call lets others run."""

    async def connect(self, address: tuple[str, int]) -> None:
        """Have it know its peer, by a numeric address."""
        ...

    async def send(self, octets: bytes) -> None:
        """Send all of them."""
        ...

    async def receive(self, most: int) -> bytes:
        """What has come; nothing at the end of a stream."""
        ...


class World(Protocol):
    """asyncio or trio."""

    name: str

    def run(self) -> object:
        """What stands for the present run: the loop, or trio's token."""
        ...

    def is_over(self, run: Any) -> bool:
        """True if a run has ended."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait."""
        ...

    def make_bell(self) -> Bell:
        """Make a bell for the tasks of the present run."""
        ...

    def spawn(self, call: Call) -> Background:
        """Start a task of its own; the call catches whatever it raises but a cancellation."""
        ...

    def channel(self, opened: socket.socket) -> Channel:
        """Speak over a socket, which stays its owner's."""
        ...

    async def within(self, seconds: float, call: Callable[[], Awaitable[Any]]) -> Any:
        """What a call returns.

        Raises:
            TimeoutError: it takes longer.
        """
        ...


async def end(tasks: Collection[Background]) -> None:
    """Cancel tasks, and wait until all have ended; what interrupts us is raised after that."""
    interruption: BaseException | None = None
    for task in tasks:
        task.cancel()
    for task in tasks:
        try:
            await task.ended()
        except BaseException as error:
            interruption = error
    try:
        if interruption is not None:
            raise interruption
    finally:
        interruption = None  # Its traceback holds us.


def current_world() -> World:
    """The world whose task is calling: trio's where one of its tasks does, else asyncio."""
    if "trio" in sys.modules:
        import trio.lowlevel

        if trio.lowlevel.in_trio_task():
            return _Trio()
    return _Asyncio()


class _Asyncio:
    name = "asyncio"

    def run(self) -> object:
        import asyncio

        return asyncio.get_running_loop()

    def is_over(self, run: Any) -> bool:
        return bool(run.is_closed())

    async def pause(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    def make_bell(self) -> Bell:
        return _AsyncioBell()

    def spawn(self, call: Call) -> Background:
        import asyncio

        task = asyncio.create_task(call())
        # The loop itself keeps no hold of it.
        _running.add(task)
        task.add_done_callback(_running.discard)
        return _AsyncioBackground(task)

    def channel(self, opened: socket.socket) -> Channel:
        return _AsyncioChannel(opened)

    async def within(self, seconds: float, call: Callable[[], Awaitable[Any]]) -> Any:
        import asyncio

        async with asyncio.timeout(seconds):
            return await call()


_running: set[asyncio.Task[None]] = set()


class _AsyncioBackground:
    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        _ = self._task.cancel()

    async def ended(self) -> None:
        import asyncio

        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                _ = await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


class _AsyncioBell:
    __slots__ = ("_has_rung", "_waiting")

    def __init__(self) -> None:
        self._has_rung = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._has_rung = True
        self._end()

    def _end(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self, seconds: float | None = None) -> None:
        import asyncio

        if not self._has_rung:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            alarm = None if seconds is None else loop.call_later(seconds, self._end)
            try:
                await self._waiting
            finally:
                if alarm is not None:
                    alarm.cancel()
        self._has_rung = False


class _AsyncioChannel:
    __slots__ = ("_loop", "_socket")

    def __init__(self, opened: socket.socket) -> None:
        import asyncio

        self._socket = opened
        self._loop = asyncio.get_running_loop()

    async def connect(self, address: tuple[str, int]) -> None:
        await self._loop.sock_connect(self._socket, address)

    async def send(self, octets: bytes) -> None:
        await self._loop.sock_sendall(self._socket, octets)

    async def receive(self, most: int) -> bytes:
        import asyncio

        # What is there is had at once, and there may be no end of it.
        await asyncio.sleep(0)
        return await self._loop.sock_recv(self._socket, most)


class _Trio:
    name = "trio"

    def run(self) -> object:
        import trio

        return trio.lowlevel.current_trio_token()

    def is_over(self, run: Any) -> bool:
        import trio

        try:
            run.run_sync_soon(int)
        except trio.RunFinishedError:
            return True
        return False

    async def pause(self, seconds: float) -> None:
        import trio

        await trio.sleep(seconds)

    def make_bell(self) -> Bell:
        return _TrioBell()

    def spawn(self, call: Call) -> Background:
        import trio

        background = _TrioBackground()
        _ = trio.lowlevel.spawn_system_task(background.run, call, context=copy_context())
        return background

    def channel(self, opened: socket.socket) -> Channel:
        return _TrioChannel(opened)

    async def within(self, seconds: float, call: Callable[[], Awaitable[Any]]) -> Any:
        import trio

        try:
            with trio.fail_after(seconds):
                return await call()
        except trio.TooSlowError:
            raise TimeoutError from None


class _TrioBackground:
    __slots__ = ("_ended", "_scope")

    def __init__(self) -> None:
        import trio

        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def run(self, call: Call) -> None:
        try:
            with self._scope:
                await call()
        finally:
            self._ended.set()

    def cancel(self) -> None:
        self._scope.cancel()

    async def ended(self) -> None:
        import trio

        with trio.CancelScope(shield=True):
            await self._ended.wait()


class _TrioChannel:
    __slots__ = ("_socket",)

    def __init__(self, opened: socket.socket) -> None:
        import trio

        self._socket = trio.socket.from_stdlib_socket(opened)

    async def connect(self, address: tuple[str, int]) -> None:
        await self._socket.connect(address)

    async def send(self, octets: bytes) -> None:
        while octets:
            octets = octets[await self._socket.send(octets) :]

    async def receive(self, most: int) -> bytes:
        return await self._socket.recv(most)


class _TrioBell:
    __slots__ = ("_has_rung", "_waiting")

    def __init__(self) -> None:
        self._has_rung = False
        self._waiting: trio.Event | None = None

    def ring(self) -> None:
        self._has_rung = True
        if self._waiting is not None:
            self._waiting.set()

    async def wait(self, seconds: float | None = None) -> None:
        import math

        import trio

        if not self._has_rung:
            self._waiting = trio.Event()
            with trio.move_on_after(math.inf if seconds is None else seconds):
                await self._waiting.wait()
        self._has_rung = False
