"""What differs from one asynchronous world to the next: what asyncio and trio both offer."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from smtpx._core.steps import Steps
from smtpx._drivers.waiting import Deadline

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

T = TypeVar("T")

Supplier: TypeAlias = Callable[[], Awaitable[bytes | None]]
"""Answers `More`."""


class AsyncDriver(Protocol):
    """Owns one connection; a driver that failed, or was cancelled, has closed it."""

    async def run(self, procedure: Steps[T], deadline: Deadline, more: Supplier | None = None) -> T:
        """Run a procedure to its end and return its value; `more` is asked when it asks for `More`.

        Raises:
            LocalProtocolError: another procedure is being run; it is not disturbed.
            SMTPError: the procedure failed; it knows whether the connection can go on.
            BaseException: anything else, such as a cancellation or an error of the caller's own
                file, ends the procedure and closes the connection. What became of the message
                hangs on it as ``.result``.
        """
        ...

    @property
    def is_running(self) -> bool:
        """True while a call uses it."""
        ...

    def part(self) -> None:
        """Close the connection in good order: under TLS the peer is told (RFC 8446 §6.1)."""
        ...

    def close(self) -> None:
        """Close the connection; nothing more is said."""
        ...

    @property
    def closed(self) -> bool:
        """True once the connection is closed on our side."""
        ...


class Bell(Protocol):
    """What one task waits for, and any other one of its run may ring."""

    def ring(self) -> None:
        """End the wait, or the next one if nobody waits."""
        ...

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until it rings; False if it does not within `seconds`."""
        ...


class Background(Protocol):
    """A task that nobody's `async with` holds."""

    @property
    def has_ended(self) -> bool:
        """True once it has."""
        ...

    def cancel(self) -> None:
        """Have it end."""
        ...

    async def ended(self) -> None:
        """Wait for its end, whoever may be cancelled meanwhile."""
        ...


class World(Protocol):
    """An asynchronous world: the modules of asyncio's driver and of trio's are such."""

    def from_any_thread(self) -> Callable[[Callable[[], object]], object]:
        """What has the present run call something, whichever thread it is told so in."""
        ...

    async def connect(self, connection: socket.socket, address: Any, seconds: float | None) -> None:
        """Connect a socket that does not block."""
        ...

    async def drive(self, connected: socket.socket, handshake: Handshake | None) -> AsyncDriver:
        """Make a driver, which owns the socket from now on."""
        ...

    async def vanish(self) -> None:
        """Return when what was closed is gone."""
        ...

    def make_bell(self) -> Bell:
        """Make a bell for the tasks of the present run."""
        ...

    def spawn(
        self, call: Callable[[], Coroutine[Any, Any, None]], failed: Callable[[BaseException], None]
    ) -> Background:
        """Start a task in the background; what it raises but a cancellation goes to `failed`."""
        ...

    async def let_others_run(self) -> None:
        """Return when every task that could go on has done so."""
        ...

    def current_run(self) -> object:
        """What stands for the present run: the loop, or trio's token."""
        ...

    def call_in(self, run: Any, call: Callable[[], None]) -> bool:
        """Have a run make a call, from whatever thread; False if it has ended."""
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
