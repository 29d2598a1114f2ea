"""How a connection is protected (RFC 3207, 8314, 7817)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from datetime import datetime
    from os import PathLike

__all__ = ["Protection", "TLSMode", "TLSPolicy"]


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


@dataclass(frozen=True, slots=True)
class TLSPolicy:
    """How a connection is protected, and whom it trusts.

    Certificate and name are verified against the system's authorities, those of `ca_file`, or as
    `context` says.
    """

    mode: TLSMode
    ca_file: str | PathLike[str] | None = None
    """A PEM file of the authorities to trust, instead of the system's."""
    context: ssl.SSLContext | None = None
    """Your own context; it decides alone what is verified."""
    server_hostname: str | None = None
    """The name the certificate must carry, where it is not the host that is dialled."""

    def __post_init__(self) -> None:
        if self.context is not None and self.ca_file is not None:
            raise ValueError("give TLSPolicy a context or a ca_file, not both")


@dataclass(frozen=True, slots=True)
class Protection:
    """What a TLS handshake agreed on, and who the peer says it is."""

    version: str
    """``TLSv1.3`` or ``TLSv1.2``."""
    cipher: str
    """The cipher suite, as OpenSSL calls it."""
    certificate: bytes = field(default=b"", repr=False)
    """The peer's certificate, DER."""
    names: tuple[str, ...] = ()
    """The host names and IP addresses of a certificate that was verified (RFC 6125 §6.4)."""
    expires: datetime | None = None
    """When a certificate that was verified ceases to be valid."""
    channel_bindings: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """What binds an AUTH exchange to this channel (RFC 5929, RFC 9266): type and data."""
