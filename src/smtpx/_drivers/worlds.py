"""What differs from one asynchronous world to the next, and what does not: dialling."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from smtpx._core.steps import Steps
from smtpx._drivers.dialling import not_found, unix_socket, unreachable
from smtpx._drivers.waiting import Deadline
from smtpx.endpoints import Endpoint

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

Found: TypeAlias = Sequence[tuple[int, int, int, str, Any]]
"""What `socket.getaddrinfo` returns."""


Supplier: TypeAlias = Callable[[], Awaitable[bytes | None]]
"""Answers `More`."""


class AsyncDriver(Protocol):
    """Owns one connection; a driver that failed, or was cancelled, has closed it."""

    async def run(self, procedure: Steps[T], deadline: Deadline, more: Supplier | None = None) -> T:
        """Run a procedure to its end and return its value; `more` is asked when it asks for `More`.

        Raises:
            SMTPError: the procedure failed; it knows whether the connection can go on.
            BaseException: anything else, such as a cancellation or an error of the caller's own
                file, ends the procedure and closes the connection. What became of the message
                hangs on it as ``.result``.
        """
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

    async def resolve(self, host: str, port: int, seconds: float | None) -> Found:
        """Look up a host."""
        ...

    async def connect(self, connection: socket.socket, address: Any, seconds: float | None) -> None:
        """Connect a socket that does not block."""
        ...

    async def drive(
        self,
        connected: socket.socket,
        context: ssl.SSLContext | None,
        server_hostname: str | None,
    ) -> AsyncDriver:
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


def current_world() -> World:
    """The world whose task is calling: trio's where one of its tasks does, else asyncio."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            from smtpx._drivers import trio_

            return trio_
    from smtpx._drivers import aio

    return aio


async def dial(
    world: World,
    endpoint: Endpoint,
    *,
    remaining: Callable[[], float | None],
    source_address: tuple[str, int] | None = None,
) -> socket.socket:
    """Connect as `dialling.dial` does; the socket does not block.

    Raises:
        ConnectionLost: no address could be reached; the message lists what each said.
        TimedOut: the time was up before any answered.
    """
    if endpoint.path:
        connection = unix_socket()
        try:
            await _connect(world, connection, endpoint.path, remaining, None)
        except OSError as error:
            raise unreachable(endpoint.path, [error], [str(error)]) from error
        return connection
    try:
        found = await world.resolve(endpoint.host, endpoint.port, remaining())
    except (OSError, UnicodeError) as error:
        raise not_found(endpoint, error) from error
    failures: list[OSError] = []
    reasons: list[str] = []
    for family, kind, protocol, _, address in found:
        try:
            connection = socket.socket(family, kind, protocol)
            await _connect(world, connection, address, remaining, source_address)
        except OSError as error:
            failures.append(error)
            reasons.append(f"{address[0]} port {address[1]}: {error}")
            continue
        # Every write is a whole group already: waiting to fill a packet only costs a round trip.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    raise unreachable(str(endpoint), failures, reasons) from failures[-1]


async def _connect(
    world: World,
    connection: socket.socket,
    address: object,
    remaining: Callable[[], float | None],
    source_address: tuple[str, int] | None,
) -> None:
    try:
        connection.setblocking(False)
        if source_address is not None:
            connection.bind(source_address)
        await world.connect(connection, address, remaining())
    except BaseException:
        connection.close()
        raise
