"""Pins: whose certificate or key a server must have, whoever vouches for it (RFC 7469 §2.4)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from enum import Enum

from smtpx import _checks
from smtpx._values import Value

__all__ = ["Pin", "PinKind"]

_CURL = "sha256//"
_SEQUENCE, _INTEGER, _BIT_STRING, _VERSION = b"\x30", b"\x02", b"\x03", b"\xa0"
_FORMS = "sha256//BASE64 (of a key, as curl writes it), key:HEX or certificate:HEX"


class PinKind(Enum):
    """What a pin is the digest of."""

    CERTIFICATE = "certificate"
    """The whole certificate: another one, even a renewed one, is not taken."""
    KEY = "key"
    """Its public key (SubjectPublicKeyInfo), which a renewed certificate may keep."""


class Pin(Value):
    """The SHA-256 digest of a certificate or of its public key.

    Raises:
        ValueError: the digest has not 32 octets.
    """

    kind: PinKind
    digest: bytes

    def __post_init__(self) -> None:
        _checks.instance("kind", self.kind, PinKind)
        if not isinstance(self.digest, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("digest", self.digest, "32 bytes")
        if len(self.digest) != 32:
            raise ValueError(f"a SHA-256 digest has 32 octets; this pin has {len(self.digest)}")

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Read ``sha256//BASE64``, ``key:HEX`` or ``certificate:HEX``, with or without colons.

        Raises:
            ValueError: it is none of these.
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
            ValueError: it is no DER, or its key cannot be read.
        """
        import hashlib

        _checks.instance("kind", kind, PinKind)
        if not isinstance(certificate, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("certificate", certificate, "its DER as bytes")
        if certificate.lstrip().startswith(b"-----BEGIN"):
            raise ValueError("the certificate is PEM: ssl.PEM_cert_to_DER_cert() makes DER of it")
        if _element(certificate, 0, len(certificate), _SEQUENCE)[1] != len(certificate):
            raise _unreadable(len(certificate))
        pinned = certificate if kind is PinKind.CERTIFICATE else key_of(certificate)
        return cls(kind, hashlib.sha256(pinned).digest())

    def __str__(self) -> str:
        if self.kind is PinKind.KEY:
            return _CURL + b64encode(self.digest).decode()
        return f"{self.kind.value}:{self.digest.hex()}"


def key_of(certificate: bytes) -> bytes:
    """The octets of its SubjectPublicKeyInfo (RFC 5280 §4.1), which are never written anew.

    OpenSSL has read the same certificate, and must have found the same key. So only DER is read,
    where one octet has one meaning, and each field has to stand in its place.
    """
    begin, end = _element(certificate, 0, len(certificate), _SEQUENCE)
    if end != len(certificate):
        raise _unreadable(end)
    place, end = _element(certificate, begin, end, _SEQUENCE)
    if certificate[place : place + 1] == _VERSION:
        _, place = _element(certificate, place, end, _VERSION)
    _, place = _element(certificate, place, end, _INTEGER)  # the serial number
    for _field in ("signature", "issuer", "validity", "subject"):
        _, place = _element(certificate, place, end, _SEQUENCE)
    begin, end = _element(certificate, place, end, _SEQUENCE)
    _, begin = _element(certificate, begin, end, _SEQUENCE)  # the algorithm
    if _element(certificate, begin, end, _BIT_STRING)[1] != end:
        raise _unreadable(begin)
    return certificate[place:end]


def _element(der: bytes, place: int, limit: int, tag: bytes) -> tuple[int, int]:
    """Where the contents of the element at `place` begin, and where it ends."""
    if limit - place < 2 or der[place : place + 1] != tag:
        raise _unreadable(place)
    begin, length = place + 2, der[place + 1]
    if length >= 0x80:
        begin += length - 0x80
        length = int.from_bytes(der[place + 2 : begin])
        if length < 0x80 or der[place + 2] == 0:  # No end, or a longer form than need be.
            raise _unreadable(place)
    if begin + length > limit:
        raise _unreadable(place)
    return begin, begin + length


def _unreadable(place: int) -> ValueError:
    return ValueError(f"the certificate cannot be read: no DER at octet {place}")
