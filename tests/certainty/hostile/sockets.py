"""Ways to close a connection."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress


def linger(connected: socket.socket) -> None:
    """Have the peer get RST when it is closed."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(connected: socket.socket) -> None:
    with suppress(OSError):
        linger(connected)
    shut(connected)


def shut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.close()


def knock(port: int) -> None:
    """Wake whoever accepts there."""
    with suppress(OSError), socket.socket() as knocking:
        knocking.settimeout(5)
        knocking.connect(("127.0.0.1", port))
