"""The service extensions that the embedded server can offer."""

from __future__ import annotations

from enum import Enum


class Extension(Enum):
    """A service extension, by its EHLO keyword (RFC 5321 §2.2)."""

    __module__ = "smtpx.testing"

    PIPELINING = "PIPELINING"
    """RFC 2920."""
    SIZE = "SIZE"
    """RFC 1870."""
    EIGHT_BIT_MIME = "8BITMIME"
    """RFC 6152."""
    SMTPUTF8 = "SMTPUTF8"
    """RFC 6531."""
    DSN = "DSN"
    """RFC 3461."""
    CHUNKING = "CHUNKING"
    """RFC 3030 §2."""
    BINARYMIME = "BINARYMIME"
    """RFC 3030 §3; offered only together with CHUNKING."""
    ENHANCED_STATUS_CODES = "ENHANCEDSTATUSCODES"
    """RFC 2034."""
    STARTTLS = "STARTTLS"
    """RFC 3207; offered only where TLS can be started."""
    AUTH = "AUTH"
    """RFC 4954; offered only when there are users."""
    REQUIRETLS = "REQUIRETLS"
    """RFC 8689; offered only under TLS."""
    LIMITS = "LIMITS"
    """RFC 9422."""
    DELIVERBY = "DELIVERBY"
    """RFC 2852."""
    FUTURERELEASE = "FUTURERELEASE"
    """RFC 4865."""
    MT_PRIORITY = "MT-PRIORITY"
    """RFC 6710."""
    RRVS = "RRVS"
    """RFC 7293."""


ALL_EXTENSIONS = frozenset(Extension)
"""Everything the embedded server knows."""

USUAL_EXTENSIONS = frozenset(
    {
        Extension.PIPELINING,
        Extension.SIZE,
        Extension.EIGHT_BIT_MIME,
        Extension.SMTPUTF8,
        Extension.DSN,
        Extension.CHUNKING,
        Extension.BINARYMIME,
        Extension.ENHANCED_STATUS_CODES,
        Extension.STARTTLS,
        Extension.AUTH,
    }
)
"""What a present-day mail server shows; subtract from it to switch something off."""
