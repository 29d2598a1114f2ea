"""How a connection is protected (RFC 3207, 8314, 7817)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from enum import Enum
from os import PathLike
from typing import TYPE_CHECKING

from smtpx import _checks
from smtpx._secrecy import Confidential
from smtpx._values import Value, field
from smtpx.pins import Pin

if TYPE_CHECKING:
    import ssl
    from datetime import datetime

__all__ = ["ClientCertificate", "Protection", "TLSMode", "TLSPolicy", "TLSVersion"]


class TLSMode(Enum):
    """When the TLS handshake takes place."""

    IMPLICIT = "implicit"
    """At once, before the greeting (RFC 8314 §3)."""
    STARTTLS = "starttls"
    """After STARTTLS, which the server must offer; else the session ends."""
    OPPORTUNISTIC = "opportunistic"
    """After STARTTLS if the server offers it, else never: no protection against an attacker."""
    NONE = "none"
    """Never."""


class TLSVersion(Enum):
    """A version of TLS; older ones are deprecated (RFC 8996)."""

    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"


class ClientCertificate(Confidential, Value):
    """Who we are, for servers that ask for a certificate; AUTH EXTERNAL builds on it."""

    file: str | PathLike[str]
    """PEM: the certificate, those of its authorities, and the key, where it has no `key_file`."""
    key_file: str | PathLike[str] | None = None
    password: str | Callable[[], str] | None = field(default=None, repr=False)
    """Of the key, or what returns it; nobody is ever asked for it on the terminal."""

    def __init__(
        self,
        file: str | PathLike[str],
        key_file: str | PathLike[str] | None = None,
        password: str | Callable[[], str] | None = None,
    ) -> None:
        """Take them as they are; the files are read when the policy is used.

        Raises:
            TypeError: one of them is of another kind.
        """
        is_secret = password is None or isinstance(password, str) or callable(password)
        put = object.__setattr__
        put(self, "file", file)
        put(self, "key_file", key_file)
        put(self, "password", password if is_secret else None)
        # R14: a traceback with locals shows what an error passes through.
        del password
        _check_file("file", file)
        _check_file("key_file", key_file, or_none=True)
        if not is_secret:
            raise TypeError("password: give a str, what is to be called for one, or None")

    @property
    def _holds_secret(self) -> bool:
        """True with a password."""
        return self.password is not None


class TLSPolicy(Value):
    """How a connection is protected, and whom it trusts.

    Certificate and name are verified against the system's authorities, or those of `ca_file`, or
    as `context` says. With `pins`, the server must also have a certificate or key that is pinned.
    """

    mode: TLSMode
    ca_file: str | PathLike[str] | None
    """A PEM file of the authorities to trust, instead of the system's."""
    context: ssl.SSLContext | None
    """Your own context; it decides alone what is verified."""
    server_hostname: str | None
    """The name the certificate must carry, where it is not the host that is dialled."""
    minimum_version: TLSVersion | None
    """``None``: TLS 1.2, or what the `context` says."""
    pins: tuple[Pin, ...]
    """The server's certificate, or its key, must be one of these."""
    pins_suffice: bool
    """A pinned certificate is taken whoever issued it, for whatever name, expired or not."""
    client_certificate: ClientCertificate | None

    def __init__(
        self,
        mode: TLSMode,
        *,
        ca_file: str | PathLike[str] | None = None,
        context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        minimum_version: TLSVersion | None = None,
        pins: str | Pin | Iterable[str | Pin] = (),
        pins_suffice: bool = False,
        client_certificate: ClientCertificate | None = None,
    ) -> None:
        """Take pins as values or strings (`Pin.parse`).

        Raises:
            ValueError: one of them is wrong, or two contradict each other.
            TypeError: one of them is of another kind, such as a mode that is a string.
        """
        if isinstance(pins, (str, Pin)):
            pins = (pins,)
        elif _checks.is_one(pins) or not isinstance(pins, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            given: object = pins
            raise _checks.complaint("pins", given, "a smtpx.Pin, a str that is one, or a list")
        put = object.__setattr__
        put(self, "mode", mode)
        put(self, "ca_file", ca_file)
        put(self, "context", context)
        put(self, "server_hostname", server_hostname)
        put(self, "minimum_version", minimum_version)
        put(self, "pins", tuple(Pin.parse(pin) if isinstance(pin, str) else pin for pin in pins))
        put(self, "pins_suffice", pins_suffice)
        put(self, "client_certificate", client_certificate)
        self._check_kinds()
        self._check_name()
        self._check_mode()
        self._check_trust()

    def _check_kinds(self) -> None:
        # A mode or version that only looks like one would protect nothing, without a word.
        _checks.instance("mode", self.mode, TLSMode)
        _check_file("ca_file", self.ca_file, or_none=True)
        ssl = sys.modules.get("ssl")  # Whoever has a context has imported it.
        if self.context is not None and not (ssl and isinstance(self.context, ssl.SSLContext)):
            raise _checks.complaint("context", self.context, "a ssl.SSLContext or None")
        _checks.text("server_hostname", self.server_hostname, or_none=True)
        _checks.instance("minimum_version", self.minimum_version, TLSVersion, or_none=True)
        for pin in self.pins:
            _checks.instance("pins", pin, Pin)
        _checks.flag("pins_suffice", self.pins_suffice)
        certificate = self.client_certificate
        _checks.instance("client_certificate", certificate, ClientCertificate, or_none=True)

    def _check_name(self) -> None:
        name = self.server_hostname
        if name is not None and not (name.isascii() and name.isprintable() and name.strip(". ")):
            raise ValueError(
                f"server_hostname={name!r} is not a host name or an IP address: write an "
                "internationalized one with A-labels (xn--…)"
            )

    def _check_mode(self) -> None:
        chosen = (
            self.ca_file,
            self.context,
            self.server_hostname,
            self.minimum_version,
            self.client_certificate,
            self.pins or None,
        )
        if self.mode is TLSMode.NONE and chosen != (None,) * len(chosen):
            raise ValueError(
                "TLSMode.NONE protects nothing, and takes no other setting: use TLSMode.STARTTLS "
                "or TLSMode.IMPLICIT"
            )
        if self.mode is TLSMode.OPPORTUNISTIC and self.pins:
            raise ValueError(
                "TLSMode.OPPORTUNISTIC goes on in plain text if it must, where pins protect "
                "nothing: use TLSMode.STARTTLS"
            )

    def _check_trust(self) -> None:
        if self.context is not None:
            for name in ("ca_file", "minimum_version", "client_certificate"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"give TLSPolicy a context or a {name}, not both: the context has its own"
                    )
        if not self.pins_suffice:
            return
        if not self.pins:
            raise ValueError("pins_suffice=True needs pins: nothing would be verified without")
        if self.ca_file is not None:
            raise ValueError("with pins_suffice=True no authority is asked: leave out ca_file")
        if self.context is not None:
            raise ValueError(
                "a context decides alone what is verified: leave out pins_suffice, and set its "
                "verify_mode to ssl.CERT_NONE if the pins are all that counts"
            )


def _check_file(name: str, value: object, *, or_none: bool = False) -> None:
    if not (isinstance(value, (str, PathLike)) or (or_none and value is None)):
        raise _checks.complaint(name, value, f"the path of a PEM file{' or None' * or_none}")


class Protection(Value):
    """What a TLS handshake agreed on, and who the peer says it is."""

    version: str
    """``TLSv1.3`` or ``TLSv1.2``."""
    cipher: str
    """The cipher suite, as OpenSSL calls it."""
    certificate: bytes = field(default=b"", repr=False)
    """The peer's certificate, DER."""
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    """All certificates that the peer has sent, DER, its own first; unverified.

    Empty where an earlier TLS session went on, and where this Python does not tell.
    """
    names: tuple[str, ...] = ()
    """The host names and IP addresses of the certificate (RFC 6125 §6.4)."""
    expires: datetime | None = None
    """When the certificate ceases to be valid."""
    is_verified: bool = False
    """Certificate and name were verified; else names and expiry are what the peer claims."""
    is_resumed: bool = False
    """An earlier TLS session of the same client went on, without a new certificate."""
    channel_bindings: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """What binds an AUTH exchange to this channel (RFC 5929, RFC 9266): type and data."""


class Missing(Value):
    """Where authorities were looked for, and none found (private to smtpx)."""

    places: tuple[str, ...] = ()
    is_all: bool = False
    """Nowhere else were there any."""


NOTHING_MISSING = Missing()


class Presented(Value):
    """A certificate that a peer has shown, whether or not it was believed (private to smtpx)."""

    names: tuple[str, ...]
    issuer: str
    begins: datetime
    expires: datetime
