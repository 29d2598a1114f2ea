"""TLS 1.3 records that no library writes: floods of key updates and of session tickets.

A library does the handshake and tells its secrets (`SSLContext.keylog_filename`); from there on the
server's records are made here (RFC 8446 §4.6, §5.2, §7.1, §7.2).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

# Of each cipher suite: its hash, that hash's octets, the key's octets, the cipher.
_SUITES: dict[str, tuple[str, int, int, type[AESGCM] | type[ChaCha20Poly1305]]] = {
    "TLS_AES_128_GCM_SHA256": ("sha256", 32, 16, AESGCM),
    "TLS_AES_256_GCM_SHA384": ("sha384", 48, 32, AESGCM),
    "TLS_CHACHA20_POLY1305_SHA256": ("sha256", 32, 32, ChaCha20Poly1305),
}
_HANDSHAKE = b"\x16"
_KEY_UPDATE = b"\x18\x00\x00\x01\x00"
_TICKET = (
    b"\x04\x00\x00\x12" + b"\x00\x00\x0e\x10" + b"\x00\x00\x00\x01" + b"\x01n\x00\x04tick\x00\x00"
)

HELLO_REQUESTS = b"\x16\x03\x03\x40\x00" + b"\x00\x00\x00\x00" * 4096
"""A record of plain text full of HelloRequests, which a client in its handshake passes over."""


def server_secret(keylog: str, client_random: bytes) -> bytes:
    """What the server's records are first protected by, out of what was logged."""
    for line in reversed(keylog.splitlines()):
        label, _, rest = line.partition(" ")
        random, _, secret = rest.partition(" ")
        if label == "SERVER_TRAFFIC_SECRET_0" and bytes.fromhex(random) == client_random:
            return bytes.fromhex(secret)
    raise AssertionError("the handshake was not logged, or is not of TLS 1.3")


class Writer:
    """Writes the server's records from the `written`-th on."""

    def __init__(self, suite: str, secret: bytes, written: int) -> None:
        self._suite = suite
        self._hash, self._hash_size, self._key_size, self._cipher = _SUITES[suite]
        self._begin(secret)
        self._sequence = written

    def following(self) -> Writer:
        """Writes what follows a key update."""
        return Writer(self._suite, self._expanded(b"traffic upd", self._hash_size), 0)

    def _begin(self, secret: bytes) -> None:
        self._secret = secret
        self._aead = self._cipher(self._expanded(b"key", self._key_size))
        self._iv = int.from_bytes(self._expanded(b"iv", 12))
        self._sequence = 0

    def _expanded(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = size.to_bytes(2) + bytes([len(label)]) + label + b"\x00\x01"
        return hmac.digest(self._secret, info, self._hash)[:size]

    def _record(self, content: bytes) -> bytes:
        header = b"\x17\x03\x03" + (len(content) + 17).to_bytes(2)
        nonce = (self._iv ^ self._sequence).to_bytes(12)
        self._sequence += 1
        return header + self._aead.encrypt(nonce, content + _HANDSHAKE, header)

    def key_update(self) -> bytes:
        """A key update, under the keys that it ends."""
        record = self._record(_KEY_UPDATE)
        self._begin(self._expanded(b"traffic upd", self._hash_size))
        return record

    def tickets(self) -> Iterator[bytes]:
        """Session tickets without end, a record full of them at a time."""
        while True:
            yield self._record(_TICKET * (16000 // len(_TICKET)))
