"""What differs from one asynchronous world to the next, and what does not: dialling."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
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


class AsyncDriver(Protocol):
    """Owns one connection; a driver that failed, or was cancelled, has closed it."""

    async def run(self, procedure: Steps[T], deadline: Deadline) -> T:
        """Run a procedure to its end and return its value.

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

    def make_lock(self) -> AbstractAsyncContextManager[object]:
        """Make a lock for the tasks of the present run."""
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
        connection = socket.socket(family, kind, protocol)
        try:
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
