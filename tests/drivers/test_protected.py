"""TLS by pieces: what of a content is counted as taken (R15)."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from smtpx._drivers.protected import Channel

FRAME, ANSWER = b"frame", b"an answer of TLS's own"


class Tls:
    """Puts a frame before what it is given; whatever it reads, it answers."""

    def __init__(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing

    def write(self, octets: bytes) -> int:
        _ = self._outgoing.write(FRAME + bytes(octets))
        return len(octets)

    def read(self, size: int) -> bytes:
        _ = self._incoming.read()
        _ = self._outgoing.write(ANSWER)
        raise ssl.SSLWantReadError


class Handshake:
    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> Tls:
        return Tls(incoming, outgoing)


class Carrier:
    """A socket with so much room."""

    def __init__(self) -> None:
        self.room = 0
        self.taken = b""

    def recv(self, size: int, /) -> bytes:
        return b"something to be answered"

    def send(self, octets: bytes | memoryview, /) -> int:
        if not self.room:
            raise BlockingIOError
        piece = bytes(octets[: self.room])
        self.room -= len(piece)
        self.taken += piece
        return len(piece)


@pytest.mark.parametrize("room", range(len(FRAME), len(FRAME) + 11))
def test_no_octet_that_went_out_is_counted_as_not_taken(room: int):
    """TLS puts an answer behind a content that is held up: all the content has gone before."""
    content, carrier, handshake = b"0123456789", Carrier(), Handshake()
    as_handshake: Any = handshake
    channel = Channel(carrier, as_handshake)
    carrier.room = 1
    told = channel.send(content)
    with pytest.raises(ssl.SSLWantReadError):
        _ = channel.recv(16384)
    carrier.room = room - 1
    if carrier.room:
        told += channel.send(content[told:])
    went = len(carrier.taken) - len(FRAME)
    assert told >= went
    assert told < len(content) or went == len(content)
