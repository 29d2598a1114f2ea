"""TLS records that no library would send: sealed by hand, with the keys of a real handshake."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.network import take, with_small_window

HANDSHAKE, APPLICATION_DATA = 22, 23
# A ticket with neither lifetime nor extensions (RFC 8446 §4.6.1), and a key update (§4.6.3).
TICKET = b"\x04\x00\x00\x0e" + bytes(8) + b"\x00" + b"\x00\x01t" + b"\x00\x00"
KEY_UPDATE = b"\x18\x00\x00\x01\x00"
KEY_UPDATE_REQUESTED = b"\x18\x00\x00\x01\x01"
# What a client in a handshake passes over (RFC 5246 §7.4.1.1): as many as a record holds.
HELLO_REQUESTS = b"\x16\x03\x03\x40\x00" + 4096 * b"\x00\x00\x00\x00"


class Sealed:
    """The server's side of a TLS 1.3 connection, one record at a time."""

    def __init__(self, secret: bytes) -> None:
        self._use(secret)

    def _use(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._key = AESGCM(self._expanded("key", 32))
        self._iv = int.from_bytes(self._expanded("iv", 12), "big")

    def _expanded(self, label: str, size: int) -> bytes:
        named = b"tls13 " + label.encode()
        info = struct.pack("!HB", size, len(named)) + named + b"\x00"
        return HKDFExpand(SHA384(), size, info).derive(self._secret)

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """One record; after a key update the next one has a new key."""
        head = struct.pack("!BHH", 23, 0x0303, len(content) + 17)
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        octets = head + self._key.encrypt(nonce, content + bytes([kind]), head)
        if kind == HANDSHAKE and content in (KEY_UPDATE, KEY_UPDATE_REQUESTED):
            self._use(self._expanded("traffic upd", 48))
        return octets


def handshaken(connection: socket.socket, context: ssl.SSLContext, folder: Path) -> Sealed:
    """Do the server's handshake; what follows is sealed by hand."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    log = folder / "keys.log"
    context.keylog_filename = str(log)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    channel = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            channel.do_handshake()
            break
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(65536))
    connection.sendall(outgoing.read())
    (line,) = [line for line in log.read_text().splitlines() if "SERVER_TRAFFIC_SECRET_0" in line]
    return Sealed(bytes.fromhex(line.split()[2]))


@contextmanager
def sealing(
    context: ssl.SSLContext,
    folder: Path,
    *said: Callable[[Sealed], Iterable[bytes]],
    before: bytes = b"",
    taking: int = 1,
) -> Iterator[int]:
    """A server whose every word is sealed by hand; each but the first answers something.

    `before` goes out in plain text, between the client's first words of TLS and the server's. So
    many octets are taken before the last words.
    """

    def serve() -> None:
        connection, _ = listener.accept()
        listener.close()
        with connection:
            try:
                _ = connection.recv(1, socket.MSG_PEEK)
                connection.sendall(before)
                sealed = handshaken(connection, context, folder)
                for records in said:
                    if records is said[-1]:
                        take(connection, taking)
                    elif records is not said[0]:
                        take(connection, 1)
                    for record in records(sealed):
                        connection.sendall(record)
                _ = connection.recv(1)
            except OSError:
                pass  # The client has had enough.

    with with_small_window() as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()
