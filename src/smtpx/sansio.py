"""Procedures, and what runs them: for programs that speak a protocol of their own by smtpx.

A *procedure* is a generator that yields *steps*, each a request to the outside, and returns a
value. It does no I/O itself, so one text serves every world, and `smtpx.testing.play` tests it
without a socket.

- `Send` and `StartTLS` are answered with ``b""``, `Receive` and `Glance` with what came.
- A step that fails is thrown into the procedure as an `OSError`. It is a `TimeoutError` when the
  step's time was up, and an `ssl.SSLError` when no TLS was agreed on.

A *driver* owns one connection and runs procedures over it, one after the other: `Driver` in a
thread, `AsyncDriver` in a task of asyncio or trio. `dial` and `dial_async` connect to whichever of
several addresses answers first, for those who look hosts up themselves.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from smtpx import _checks
from smtpx._core.steps import Glance, Receive, Send, StartTLS, Step, Steps
from smtpx._drivers import async_dialling, dialling
from smtpx._drivers.blocking import BlockingDriver
from smtpx._drivers.current import current_world
from smtpx._drivers.racing import Found, Race, Source
from smtpx._drivers.resumption import Handshakes
from smtpx._drivers.waiting import Deadline, Selector
from smtpx._drivers.world import AsyncDriver as DriverInAWorld
from smtpx._drivers.world import World
from smtpx._uncopied import Uncopied
from smtpx.endpoints import Endpoint
from smtpx.errors import ConnectionLost, LocalProtocolError, TimedOut
from smtpx.tls import TLSPolicy

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

__all__ = [
    "AsyncDriver",
    "Dialled",
    "Driver",
    "Glance",
    "Receive",
    "Send",
    "StartTLS",
    "Step",
    "Steps",
    "dial",
    "dial_async",
]

T = TypeVar("T")


class Dialled(NamedTuple):
    """What came of dialling several addresses."""

    socket: socket.socket | None
    """Connected, and the caller's; ``None`` if no address has answered."""
    address: str
    """The one that has."""
    begun: tuple[str, ...]
    """All that were dialled, in order."""
    failures: tuple[tuple[str, OSError], ...]
    """Those that could not be reached, and why. A `TimeoutError` is one."""


def dial(
    addresses: Sequence[str],
    port: int,
    *,
    timeout: float | None = None,
    total: float | None = None,
    sources: Sequence[tuple[str, int]] = (),
) -> Dialled:
    """Connect to whichever of several IP addresses of one host answers first (RFC 8305).

    They are dialled in their order, families by turns: the next one a quarter of a second later,
    or at once after a failure. Each has `timeout` seconds, and all of them `total`. `sources` are
    what to connect from, an IP address and a port (0: any) for each family.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """
    race, spelt = _race(addresses, port, timeout, total, sources)
    deadline = Deadline(total)
    connected: socket.socket | None = None
    try:
        with Selector() as selector:
            attempts = dialling.Attempts(race, selector, lambda: deadline.within(timeout))
            # What each has said is known.
            with closing(attempts), suppress(ConnectionLost, TimedOut):
                while True:
                    if (connected := attempts.go_on(wait=True)) is not None:
                        break
        return _dialled(race, connected, spelt)
    except BaseException:
        if connected is not None:
            # By one call of C, whatever interrupts what follows.
            socket.SocketType.close(connected)
        raise


async def dial_async(
    addresses: Sequence[str],
    port: int,
    *,
    timeout: float | None = None,
    total: float | None = None,
    sources: Sequence[tuple[str, int]] = (),
) -> Dialled:
    """The same in a task of asyncio or trio.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """
    race, spelt = _race(addresses, port, timeout, total, sources)
    deadline = Deadline(total)
    connected: socket.socket | None = None
    attempts = async_dialling.Attempts(current_world(), race, lambda: deadline.within(timeout))
    with suppress(ConnectionLost, TimedOut):  # What each has said is known.
        connected = await attempts.winner()
    return _dialled(race, connected, spelt)


def _race(
    addresses: Sequence[str],
    port: int,
    timeout: float | None,
    total: float | None,
    sources: Sequence[Source],
) -> tuple[Race, dict[str, str]]:
    """What comes next, and how the addresses were spelt."""
    _checks.each("addresses", addresses, "IP addresses as str", str)
    _checks.count("port", port, 1, 65535)
    _checks.amount("timeout", timeout, "seconds", or_none=True)
    _checks.amount("total", total, "seconds", or_none=True)
    _checks.each("sources", sources, "tuples of IP address and port", tuple)
    for source in sources:
        _ = _checks.address_and_port("sources", source)
    spelt: dict[str, str] = {}
    found: list[Found] = []
    for address in addresses:
        known = dialling.numeric(address, port)
        if not known:
            raise ValueError(f"addresses: {address[:80]!r} is no IP address")
        found += known[:1]
        spelt[str(known[0][4][0])] = address
    if not found:
        raise ValueError("addresses: give one at least")
    return Race(Endpoint(addresses[0], port), found, sources), spelt


def _dialled(race: Race, connected: socket.socket | None, spelt: dict[str, str]) -> Dialled:
    begun = [str(found[4][0]) for found in race.begun]
    failures = {str(found[4][0]): error for found, error in race.failures}
    address = ""
    if connected is not None:
        try:
            address = str(connected.getpeername()[0])
        except OSError as error:
            # It has hung up already.
            connected.close()
            connected = None
            failures[next(one for one in begun if one not in failures)] = error
    elif not begun:
        failures = dict.fromkeys(spelt, OSError("no source_address is of its family"))
    return Dialled(
        connected,
        spelt.get(address, ""),
        tuple(spelt[one] for one in begun),
        tuple((spelt[one], error) for one, error in failures.items()),
    )


class Driver(Uncopied):
    """One connection, over which procedures are run, one after the other; a context.

    `to` is the URL of what is dialled, or an `Endpoint`; or a connected socket, which belongs to
    the driver from now on. `tls` says how a `StartTLS` is answered, where the URL does not.
    `timeout` is in seconds, for the look-up of the host, and for each attempt to connect.
    """

    def __init__(
        self,
        to: str | Endpoint | socket.socket,
        *,
        tls: TLSPolicy | None = None,
        timeout: float | None = None,
    ) -> None:
        """Check what is given; nothing is dialled yet.

        Raises:
            EndpointError, LocalProtocolError: the URL is wrong, or `tls` asks for what a driver
                does not do.
            TypeError, ValueError: an argument is of another kind, or not above 0.
        """
        self._target = _Target(to, tls, timeout)
        self._driver: BlockingDriver | None = None

    def __enter__(self) -> Self:
        """Dial.

        Raises:
            ConnectionLost, TimedOut: no address of the host answers.
            LocalProtocolError: a file of the policy cannot be read; or it was entered before.
        """
        target = self._target
        target.claim()
        try:
            handshake = target.begin()
            self._driver = BlockingDriver(target.dial(), handshake)
        except BaseException:
            target.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._driver is not None:
            if error is None and not self._driver.closed:
                self._driver.part()
            self._driver.close()

    def run(self, procedure: Steps[T], *, timeout: float | None = None) -> T:
        """Run a procedure to its end and return its value; it has `timeout` seconds in all.

        Raises:
            LocalProtocolError: the driver is not entered, or has closed its connection.
            TypeError, ValueError: an argument is of another kind, or not above 0.
            BaseException: what the procedure raises. Unless that is an `SMTPError`, the
                connection is closed: nobody knows in the middle of what.
        """
        _check_run(procedure, timeout)
        driver = _usable(self._driver)
        return driver.run(procedure, Deadline(timeout))


class AsyncDriver(Uncopied):
    """A `Driver` for asyncio and trio: an asynchronous context."""

    def __init__(
        self,
        to: str | Endpoint | socket.socket,
        *,
        tls: TLSPolicy | None = None,
        timeout: float | None = None,
    ) -> None:
        """Check what is given; nothing is dialled yet. See `Driver`.

        Raises:
            EndpointError, LocalProtocolError, TypeError, ValueError: as `Driver`.
        """
        self._target = _Target(to, tls, timeout)
        self._driver: DriverInAWorld | None = None
        self._world: World | None = None

    async def __aenter__(self) -> Self:
        """Dial.

        Raises:
            ConnectionLost, TimedOut, LocalProtocolError: as `Driver`.
        """
        target = self._target
        target.claim()
        try:
            handshake = target.begin()
            world = self._world = current_world()
            self._driver = await world.drive(await target.dial_in(world), handshake)
        except BaseException:
            target.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._driver is None or self._world is None:
            return
        if error is None and not self._driver.closed:
            self._driver.part()
        self._driver.close()
        await self._world.vanish()

    async def run(self, procedure: Steps[T], *, timeout: float | None = None) -> T:
        """Run a procedure to its end and return its value; it has `timeout` seconds in all.

        Raises:
            LocalProtocolError: as `Driver.run`.
            BaseException: what the procedure raises, as `Driver.run`; what is cancelled closes
                the connection, too.
        """
        _check_run(procedure, timeout)
        driver = _usable(self._driver)
        return await driver.run(procedure, Deadline(timeout))


class _Target:
    """Where a connection leads to, and what is agreed on for it beforehand."""

    def __init__(
        self, to: str | Endpoint | socket.socket, tls: TLSPolicy | None, timeout: float | None
    ) -> None:
        _checks.instance("tls", tls, TLSPolicy, or_none=True)
        _checks.amount("timeout", timeout, "seconds", or_none=True)
        self._endpoint = Endpoint.parse(to) if isinstance(to, str) else None
        self._connected: socket.socket | None = None
        """As soon as there is one: it was given, or dialled."""
        if isinstance(to, Endpoint):
            self._endpoint = to
        elif isinstance(to, socket.socket):
            if to.type != socket.SOCK_STREAM or type(to).__module__ == "ssl":
                raise LocalProtocolError("to: give a connected stream socket, without TLS")
            self._connected = to
        elif self._endpoint is None:
            raise _checks.complaint("to", to, "a URL, a smtpx.Endpoint or a connected socket")
        self._policy = tls
        if self._endpoint is not None:
            self._policy = tls or self._endpoint.policy(peer_is_local=False)
        elif tls is not None and tls.server_hostname is None:
            raise LocalProtocolError(
                "tls: say by TLSPolicy(server_hostname=…) whose certificate is expected: a "
                "connected socket has no name"
            )
        if self._policy is not None and self._policy.pins:
            raise LocalProtocolError(
                "tls: a driver looks at no pins: leave them out, and have the procedure compare "
                "StartTLS.protection.certificate"
            )
        self._timeout = timeout
        self._is_claimed = False

    def claim(self) -> None:
        """Have it be dialled, once.

        Raises:
            LocalProtocolError: it was before.
        """
        if self._is_claimed:
            raise LocalProtocolError("a driver is entered once: make another one")
        self._is_claimed = True

    def begin(self) -> Handshake | None:
        """What answers a `StartTLS`, if anything does.

        Raises:
            LocalProtocolError: a file of the policy cannot be read.
        """
        if self._policy is None:
            return None
        host = "" if self._endpoint is None else self._endpoint.host
        return Handshakes(None, host).begin(self._policy)

    def dial(self) -> socket.socket:
        """Connect, unless it was given connected.

        Raises:
            ConnectionLost, TimedOut: no address of the host answers.
        """
        if self._endpoint is not None:
            self._connected = dialling.dial(self._endpoint, remaining=lambda: self._timeout)
        return self._ready()

    async def dial_in(self, world: World) -> socket.socket:
        """The same in an asynchronous world."""
        if self._endpoint is not None:
            self._connected = await async_dialling.dial(
                world, self._endpoint, remaining=lambda: self._timeout
            )
        return self._ready()

    def _ready(self) -> socket.socket:
        if self._connected is None:
            raise AssertionError("what is not dialled was given")
        self._connected.setblocking(False)
        return self._connected

    def close(self) -> None:
        """Close what is connected."""
        if self._connected is not None:
            self._connected.close()


def _check_run(procedure: object, timeout: float | None) -> None:
    if not isinstance(procedure, Generator):
        raise _checks.complaint("procedure", procedure, "a generator of steps", ": call it first")
    _checks.amount("timeout", timeout, "seconds", or_none=True)


D = TypeVar("D", BlockingDriver, DriverInAWorld)


def _usable(driver: D | None) -> D:
    if driver is None:
        raise LocalProtocolError("enter the driver first: `with driver:`, or `async with driver:`")
    if driver.closed:
        raise LocalProtocolError("the driver has closed its connection: make another one")
    return driver
