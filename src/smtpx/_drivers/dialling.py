"""From an endpoint to a connected socket: every address of a host, one after the other."""

from __future__ import annotations

import socket
from collections.abc import Callable

from smtpx.endpoints import Endpoint
from smtpx.errors import ConnectionLost, TimedOut

_PHASE = "connect"


def dial(
    endpoint: Endpoint,
    *,
    remaining: Callable[[], float | None],
    source_address: tuple[str, int] | None = None,
) -> socket.socket:
    """Connect, trying each address of the host in the resolver's order.

    `remaining` says how many seconds there are for the next attempt.

    Raises:
        ConnectionLost: no address could be reached; the message lists what each said.
        TimedOut: the time was up before any answered.
    """
    if endpoint.path:
        return _dial_unix(endpoint.path, remaining())
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise not_found(endpoint, error) from error
    failures: list[OSError] = []
    reasons: list[str] = []
    for family, kind, protocol, _, address in found:
        connection: socket.socket | None = None
        try:
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(remaining())
            if source_address is not None:
                connection.bind(source_address)
            connection.connect(address)
        except OSError as error:
            if connection is not None:
                connection.close()
            failures.append(error)
            host, port = map(str, address[:2])
            reasons.append(f"{host} port {port}: {error}")
            continue
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        # Every write is a whole group already: waiting to fill a packet only costs a round trip.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    raise unreachable(str(endpoint), failures, reasons) from failures[-1]


def _dial_unix(path: str, timeout: float | None) -> socket.socket:
    connection = unix_socket()
    connection.settimeout(timeout)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise unreachable(path, [error], [str(error)]) from error
    except BaseException:
        connection.close()
        raise
    return connection


def unix_socket() -> socket.socket:
    """Make a unix socket, where there are any.

    Raises:
        ConnectionLost: this system has none.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConnectionLost("this system has no unix sockets: use lmtp://", phase=_PHASE)
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def not_found(endpoint: Endpoint, error: Exception) -> ConnectionLost | TimedOut:
    """What it is called when a host has no address."""
    kind = TimedOut if isinstance(error, TimeoutError) else ConnectionLost
    return kind(f"the host {endpoint.host} was not found: {error}", phase=_PHASE)


def unreachable(
    place: str, failures: list[OSError], reasons: list[str]
) -> ConnectionLost | TimedOut:
    """What it is called when no address answers."""
    timed_out = any(isinstance(failure, TimeoutError) for failure in failures)
    kind = TimedOut if timed_out else ConnectionLost
    return kind(f"no connection to {place}: {'; '.join(reasons)}", phase=_PHASE)


def is_local(connection: socket.socket) -> bool:
    """True if the peer is on this machine."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return True
    try:
        peer = connection.getpeername()
    except OSError:
        # It has hung up already. Our own address tells as much: only a peer that is on this
        # machine is reached from a loopback address.
        peer = connection.getsockname()
    host = str(peer[0]).partition("%")[0].removeprefix("::ffff:")
    return host == "::1" or host.startswith("127.")


def address_literal(connection: socket.socket) -> str:
    """Our own address as a client may identify itself by it (RFC 5321 §4.1.3), without DNS."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return "localhost"
    host = str(connection.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"
