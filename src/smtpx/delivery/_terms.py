"""What must be true of TLS before MAIL is said to a mail exchanger; pure.

Precedence: DANE alone where it applies (RFC 8461 §2), else MTA-STS, else the caller's minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from .dane import TLSA

__all__ = ["Level", "Terms"]


class Level(IntEnum):
    """How much TLS has to give; each gives all that those before it do, in the caller's eyes."""

    NONE = 0
    """TLS is not begun."""
    OPPORTUNISTIC = 1
    """TLS where it is offered, whoever's certificate it is (RFC 7435)."""
    ENCRYPTED = 2
    """TLS, whoever's certificate it is."""
    VERIFIED = 3
    """TLS, and a certificate of the host by an authority that is known (RFC 8461 §4.1)."""
    DANE = 4
    """TLS, and a certificate that matches a TLSA record (RFC 7672)."""


Level.__module__ = "smtpx.delivery"


@dataclass(frozen=True, slots=True)
class Terms:
    """What must be true of TLS before MAIL is said."""

    level: Level
    records: tuple[TLSA, ...] = ()
    """For DANE: the usable records."""
    base: str = ""
    """For DANE: the name at which they were found, which is also what the server is asked for."""
    names: tuple[str, ...] = ()
    """For DANE: one of these a certificate must have that a trust anchor vouches for."""
    mx_insecure: bool = False
    """The host itself may be forged: neither DNSSEC nor an MTA-STS policy vouches for it."""

    NONE: ClassVar[Terms]
    OPPORTUNISTIC: ClassVar[Terms]
    ENCRYPTED: ClassVar[Terms]
    VERIFIED: ClassVar[Terms]

    @property
    def proves(self) -> bool:
        """True if they prove who the host is, so that REQUIRETLS is kept (RFC 8689 §4.2.1)."""
        return self.level >= Level.VERIFIED and not self.mx_insecure

    def __str__(self) -> str:
        told = f"DANE by {self.base}" if self.level is Level.DANE else self.level.name
        return told + " (MX insecure)" * self.mx_insecure


Terms.__module__ = "smtpx.delivery"
Terms.NONE = Terms(Level.NONE)
Terms.OPPORTUNISTIC = Terms(Level.OPPORTUNISTIC)
Terms.ENCRYPTED = Terms(Level.ENCRYPTED)
Terms.VERIFIED = Terms(Level.VERIFIED)
