"""Pins: whose certificate or key a server must have, whoever vouches for it (RFC 7469 §2.4)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from enum import Enum

from smtpx import _checks

__all__ = ["Pin", "PinKind"]

_CURL = "sha256//"
_FORMS = "sha256//BASE64 (of a key, as curl writes it), key:HEX or certificate:HEX"


class PinKind(Enum):
    """What a pin is the digest of."""

    CERTIFICATE = "certificate"
    """The whole certificate: another one, even a renewed one, is not taken."""
    KEY = "key"
    """Its public key (SubjectPublicKeyInfo), which a renewed certificate may keep."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The SHA-256 digest of a certificate or of its public key.

    Pins of keys need ``cryptography``, which the extra ``smtpx[x509]`` brings.

    Raises:
        ValueError: the digest has not 32 octets.
        ImportError: it is of a key, and ``cryptography`` is not installed.
    """

    kind: PinKind
    digest: bytes

    def __post_init__(self) -> None:
        _checks.instance("kind", self.kind, PinKind)
        if not isinstance(self.digest, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("digest", self.digest, "32 bytes")
        if len(self.digest) != 32:
            raise ValueError(f"a SHA-256 digest has 32 octets; this pin has {len(self.digest)}")
        if self.kind is PinKind.KEY:
            from importlib.util import find_spec

            if find_spec("cryptography") is None:
                raise ImportError(
                    "the pin of a key needs cryptography: install smtpx[x509], or pin the "
                    "certificate"
                )

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Read ``sha256//BASE64``, ``key:HEX`` or ``certificate:HEX``, with or without colons.

        Raises:
            ValueError: it is none of these.
            ImportError: it is of a key, and ``cryptography`` is not installed.
        """
        _checks.text("pin", text)
        try:
            if text.startswith(_CURL):
                return cls(PinKind.KEY, b64decode(text.removeprefix(_CURL), validate=True))
            kind, _, digest = text.partition(":")
            return cls(PinKind(kind), bytes.fromhex(digest.replace(":", "")))
        except ValueError as error:
            raise ValueError(f"{text!r} is not a pin such as {_FORMS}: {error}") from None

    @classmethod
    def of(cls, kind: PinKind, certificate: bytes) -> Pin:
        """The pin of a certificate (DER), such as `Protection.certificate`, or of its key.

        Raises:
            ValueError: its key cannot be read.
        """
        import hashlib

        _checks.instance("kind", kind, PinKind)
        if not isinstance(certificate, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("certificate", certificate, "its DER as bytes")
        pinned = certificate if kind is PinKind.CERTIFICATE else _key_of(certificate)
        return cls(kind, hashlib.sha256(pinned).digest())

    def __str__(self) -> str:
        if self.kind is PinKind.KEY:
            return _CURL + b64encode(self.digest).decode()
        return f"{self.kind.value}:{self.digest.hex()}"


def _key_of(certificate: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    try:
        key = load_der_x509_certificate(certificate).public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError(f"the key of the certificate is of an unknown kind: {error}") from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
