"""What a connected socket tells."""

from __future__ import annotations

import socket
from socket import socket as Socket  # noqa: N812 - tests patch the module

__all__ = ["Socket", "address_literal", "is_genuine", "is_local"]


def is_genuine(sock: object) -> bool:
    """True for a socket of the operating system, as opposed to a test's stand-in."""
    return isinstance(sock, Socket)


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
