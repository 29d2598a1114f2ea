"""Whether what a server has shown meets the terms; pure but for the date."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from smtpx.errors import TLSFailure, TLSPolicyError
from smtpx.tls import Protection

from ._naming import is_named
from ._places import Kept
from ._terms import Level, Terms
from .dane import mismatch

__all__ = ["believe", "meets"]


def believe(terms: Terms, protection: Protection | None) -> None:
    """Make sure that what the server has shown meets the terms, before MAIL is said.

    Raises:
        TLSPolicyError: it does not.
    """
    if terms.level is not Level.DANE:
        return
    reason = _mismatch(terms, protection)
    if reason is not None:
        raise TLSPolicyError(
            f"none of the {len(terms.records)} TLSA records of {terms.base} matches what the "
            f"server has shown: {reason}",
            TLSFailure.DANE_MISMATCH,
        )


def _mismatch(terms: Terms, protection: Protection | None) -> str | None:
    chain = () if protection is None else protection.chain or (protection.certificate,)
    return mismatch(terms.records, chain, terms.names, datetime.now(UTC))


def meets(kept: Kept[Any], host: str, terms: Terms) -> bool:
    """True if a session may carry mail under these terms, though it was opened for other mail.

    It was opened under terms that ask for no less; and what the server has shown then is looked
    at anew, as if it had been shown for this host. What goes on with an earlier TLS session shows
    no certificates.
    """
    shown = kept.protection
    if kept.terms.level < terms.level:
        return False
    if terms.level < Level.ENCRYPTED:
        return True
    if shown is None:
        return False
    match terms.level:
        case Level.VERIFIED:
            return (
                shown.is_verified
                and not shown.is_resumed
                and shown.expires is not None
                and shown.expires > datetime.now(UTC)
                and any(is_named(host, name) for name in shown.names)
            )
        case Level.DANE:
            return not shown.is_resumed and _mismatch(terms, shown) is None
        case _:
            return True
