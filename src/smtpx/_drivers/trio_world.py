"""trio as a `World`: dialling, tasks and what they wait for."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import trio

from smtpx._drivers.trio_driver import TrioDriver, Within

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake


def from_any_thread() -> Callable[[Callable[[], object]], object]:
    """What has the present run call something."""
    return trio.lowlevel.current_trio_token().run_sync_soon


async def connect(connection: socket.socket, address: Any, seconds: float | None) -> None:
    """Connect a socket that does not block."""
    with Within(seconds):
        await trio.socket.from_stdlib_socket(connection).connect(address)


async def drive(connected: socket.socket, handshake: Handshake | None) -> TrioDriver:
    """Make a driver, which owns the socket from now on."""
    return TrioDriver(connected, handshake)


async def vanish() -> None:
    """What was closed is gone at once."""


class Bell:
    """What a task waits for; see `world.Bell`."""

    __slots__ = ("_has_rung", "_waiting")

    def __init__(self) -> None:
        self._has_rung = False
        self._waiting: trio.Event | None = None

    def ring(self) -> None:
        """End the wait, or the next one."""
        self._has_rung = True
        if self._waiting is not None:
            self._waiting.set()

    @trio.lowlevel.enable_ki_protection  # trio.Event keeps a waiter that Ctrl-C has taken away.
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

    @trio.lowlevel.enable_ki_protection
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


def call_in(run: trio.lowlevel.TrioToken, call: Callable[[], None]) -> bool:
    """Have a run make a call, from whatever thread; False if it has ended."""
    try:
        run.run_sync_soon(call)
    except trio.RunFinishedError:
        return False
    return True
