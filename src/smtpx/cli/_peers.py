"""What a server shows to whoever asks without trusting it: certificates, and what it speaks.

Nothing but EHLO, STARTTLS, NOOP, QUIT and a TLS handshake is said here, and no secret ever: it runs
after a handshake that was refused, too, to tell why.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any

import smtpx

__all__ = ["Certificate", "certificates", "obeys_injected", "old_version", "speaks_instead"]

_LINES, _LINE = 100, 8192
_OLD = (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate claims."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: datetime
    expires: datetime
    key: str
    """Its kind and its size, such as ``RSA 2048``."""

    @property
    def is_self_signed(self) -> bool:
        """True if it names itself as who vouches for it."""
        return self.subject == self.issuer


def certificates(
    endpoint: smtpx.Endpoint, address: Any, mode: smtpx.TLSMode, seconds: float
) -> list[Certificate]:
    """The chain that the server shows, its own first; empty where it cannot be had.

    It needs `cryptography`; where Python cannot tell the chain it is one certificate long.
    """
    try:
        with _protected(endpoint, address, mode, seconds, _trusting()) as stream:
            chain = _chain(stream)
        return [_read(octets) for octets in chain]
    except (OSError, ValueError, ImportError):
        return []


def old_version(
    endpoint: smtpx.Endpoint, address: Any, mode: smtpx.TLSMode, seconds: float
) -> str | None:
    """The newest version of TLS before 1.2 that the server takes; None where it takes none."""
    for version in _OLD:
        context = _trusting()
        try:
            with warnings.catch_warnings():
                # To ask for what is deprecated is the point.
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
            context.set_ciphers("ALL:@SECLEVEL=0")
            with _protected(endpoint, address, mode, seconds, context) as stream:
                return stream.version()
        except (OSError, ValueError):
            continue
    return None


def obeys_injected(endpoint: smtpx.Endpoint, address: Any, seconds: float) -> bool:
    """True where a command behind STARTTLS, in plain text, is obeyed under TLS (CVE-2011-0411)."""
    name = endpoint.server_hostname or endpoint.host or "localhost"
    try:
        with _connected(address, seconds) as plain:
            _start_tls(plain, lmtp=endpoint.lmtp, behind=b"NOOP\r\n")
            with _trusting().wrap_socket(plain, server_hostname=name) as stream:
                stream.sendall(b"QUIT\r\n")
                with stream.makefile("rb") as replies:
                    # To QUIT alone nobody answers 250.
                    return replies.readline(_LINE).startswith(b"250")
    except (OSError, ValueError):
        return False  # Nothing comes of it: the server has ended the session.


def speaks_instead(address: Any, seconds: float) -> str | None:
    """What a server that says nothing by itself speaks: ``TLS``, ``HTTP``, or nobody knows."""
    try:
        with (
            _connected(address, seconds) as plain,
            _trusting().wrap_socket(plain, server_hostname=str(address[0])),
        ):
            return "TLS"
    except OSError:
        pass
    try:
        with _connected(address, seconds) as plain:
            plain.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return "HTTP" if plain.recv(5) == b"HTTP/" else None
    except OSError:
        return None


@contextmanager
def _connected(address: Any, seconds: float) -> Generator[socket.socket]:
    """A connection for so long: what drips would never run out of time otherwise."""
    with socket.create_connection(address, seconds) as plain:
        # TLS takes the socket over: its copy ends both.
        copy = plain.dup()
        end = threading.Timer(seconds, lambda: _shut(copy))
        end.start()
        try:
            yield plain
        finally:
            end.cancel()
            end.join()
            copy.close()


def _shut(plain: socket.socket) -> None:
    try:
        plain.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It has ended by itself.


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _protected(
    endpoint: smtpx.Endpoint,
    address: Any,
    mode: smtpx.TLSMode,
    seconds: float,
    context: ssl.SSLContext,
) -> Generator[ssl.SSLSocket]:
    name = endpoint.server_hostname or endpoint.host or "localhost"
    with _connected(address, seconds) as plain:
        if mode is not smtpx.TLSMode.IMPLICIT:
            _start_tls(plain, lmtp=endpoint.lmtp)
        with context.wrap_socket(plain, server_hostname=name) as stream:
            yield stream


def _start_tls(plain: socket.socket, *, lmtp: bool, behind: bytes = b"") -> None:
    """Ask for TLS, with octets `behind` the command in one write."""
    with plain.makefile("rb", buffering=0) as replies:
        for command in (b"", b"LHLO localhost\r\n" if lmtp else b"EHLO localhost\r\n"):
            plain.sendall(command)
            _ = _reply(replies)
        plain.sendall(b"STARTTLS\r\n" + behind)
        if not _reply(replies).startswith(b"220"):
            raise ValueError("STARTTLS was refused")


def _reply(replies: io.RawIOBase) -> bytes:
    for _ in range(_LINES):
        line = replies.readline(_LINE)
        if not line:
            raise ValueError("the server closed the connection")
        if line[3:4] != b"-":
            return line
    raise ValueError("the reply has no end")


def _chain(stream: Any) -> list[bytes]:
    """The certificates as they were shown, DER."""
    if hasattr(stream, "get_unverified_chain"):  # Python 3.13
        return list(stream.get_unverified_chain())
    inner: Any = getattr(stream, "_sslobj", None)
    if hasattr(inner, "get_unverified_chain"):
        return [
            ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in inner.get_unverified_chain()
        ]
    return [stream.getpeercert(binary_form=True)]


def _read(octets: bytes) -> Certificate:
    x509: Any = import_module("cryptography.x509")
    read: Any = x509.load_der_x509_certificate(octets)
    try:
        alternative: Any = read.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(str(name.value) for name in alternative.value)
    except x509.ExtensionNotFound:
        names = ()
    key: Any = read.public_key()
    kind = type(key).__name__.strip("_").removesuffix("PublicKey")
    size = getattr(key, "key_size", "")
    return Certificate(
        _name(read.subject),
        _name(read.issuer),
        names,
        read.not_valid_before_utc,
        read.not_valid_after_utc,
        f"{kind} {size}".strip(),
    )


def _name(name: Any) -> str:
    """The common name, or else the whole of it."""
    common = [each.value for each in name if each.oid.dotted_string == "2.5.4.3"]
    whole = str(name.rfc4514_string())
    return f"{common[0]} ({whole})" if common and len(whole) > len(common[0]) + 3 else whole
