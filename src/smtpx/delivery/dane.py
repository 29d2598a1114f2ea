"""DANE for SMTP: TLSA records, and whether one of them matches what a server has shown.

RFC 7672, 7671, 6698. Nothing here looks anything up: whoever gives records must know that DNSSEC
vouches for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from smtpx import _checks
from smtpx._loading import loading
from smtpx.errors import ExtraMissing
from smtpx.pins import key_of

from ._naming import is_named

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["TLSA", "mismatch", "usable"]

_TRUST_ANCHOR, _END_ENTITY = 2, 3
_CERTIFICATE, _KEY = 0, 1
_FULL, _SHA256, _SHA512 = 0, 1, 2
_LENGTHS = {_SHA256: 32, _SHA512: 64}
# Certificates of one chain that are looked at: a longer one is no chain, but an attack.
_LONGEST_CHAIN = 10


@dataclass(frozen=True, slots=True)
class TLSA:
    """A TLSA record: which certificate or key a server has to show (RFC 6698 §2.1).

    Raises:
        ValueError: a number is not within one octet.
        TypeError: a field is of another kind.
    """

    usage: int
    """2 is a trust anchor (DANE-TA), 3 is the server's own certificate (DANE-EE)."""
    selector: int
    """0 is the whole certificate, 1 is its SubjectPublicKeyInfo."""
    matching: int
    """0 is all of it, 1 its SHA-256, 2 its SHA-512."""
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("usage", "selector", "matching"):
            _checks.count(name, getattr(self, name), 0, 255)
        if not isinstance(self.data, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("data", self.data, "bytes")

    @classmethod
    def parse(cls, text: str) -> TLSA:
        """Read a record as zones have it: ``3 1 1 AB12…``.

        Raises:
            ValueError: it is none.
            TypeError: it is no `str`.
        """
        _checks.text("text", text)
        try:
            usage, selector, matching, *data = text.split()
            return cls(int(usage), int(selector), int(matching), bytes.fromhex("".join(data)))
        except ValueError:
            raise ValueError(f"{text[:80]!r} is no TLSA record such as '3 1 1 AB12…'") from None

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


def usable(records: Sequence[TLSA]) -> tuple[TLSA, ...]:
    """The records that SMTP has a use for, without the digests that stronger ones replace.

    Usages 0 and 1 have none (RFC 7672 §3.1.3). A SHA-256 beside a SHA-512 of the same usage and
    selector may be what is left of an old key (RFC 7671 §9).
    """
    kept = [record for record in records if _is_usable(record)]
    strong = {(one.usage, one.selector) for one in kept if one.matching == _SHA512}
    return tuple(
        one for one in kept if one.matching != _SHA256 or (one.usage, one.selector) not in strong
    )


def _is_usable(record: TLSA) -> bool:
    if record.usage not in (_TRUST_ANCHOR, _END_ENTITY):
        return False
    if record.selector not in (_CERTIFICATE, _KEY):
        return False
    if record.matching != _FULL:
        return len(record.data) == _LENGTHS.get(record.matching)
    return _is_der(record.data, record.selector)


def _is_der(data: bytes, selector: int) -> bool:
    if selector == _CERTIFICATE:
        try:
            _ = key_of(data)
        except ValueError:
            return False
        return True
    # A SEQUENCE that ends where the data ends.
    if len(data) < 4 or data[0] != 0x30:
        return False
    if data[1] < 0x80:
        return len(data) == 2 + data[1]
    octets = data[1] - 0x80
    return 0 < octets <= 4 and len(data) == 2 + octets + int.from_bytes(data[2 : 2 + octets])


def mismatch(
    records: Sequence[TLSA], chain: Sequence[bytes], names: Sequence[str], now: datetime
) -> str | None:
    """Why none of the usable records matches a server's certificates; ``None`` if one does.

    `chain` is what it sent, DER, its own certificate first. `names` are those that its own must
    have one of, where a trust anchor is what matches (RFC 7672 §3.2.2). Under usage 3 nothing but
    the certificate or its key counts: neither names nor dates (RFC 7672 §3.1.1).

    Raises:
        ExtraMissing: a trust anchor has to be looked at, and ``cryptography`` is not installed.
    """
    if not chain:
        return "the server has shown no certificate"
    chain = chain[:_LONGEST_CHAIN]
    reasons: list[str] = []
    for record in records:
        if record.usage == _END_ENTITY:
            if _is_of(record, chain[0]):
                return None
        else:
            reason = _anchor_mismatch(record, chain, names, now)
            if reason is None:
                return None
            reasons.append(reason)
    return "; ".join(dict.fromkeys(reasons)) or "its certificate is another one"


def _is_of(record: TLSA, certificate: bytes) -> bool:
    selected = certificate
    if record.selector == _KEY:
        try:
            selected = key_of(certificate)
        except ValueError:
            return False
    if record.matching == _SHA256:
        selected = hashlib.sha256(selected).digest()
    elif record.matching == _SHA512:
        selected = hashlib.sha512(selected).digest()
    return selected == record.data


def _anchor_mismatch(
    record: TLSA, chain: Sequence[bytes], names: Sequence[str], now: datetime
) -> str | None:
    """The leaf itself is never its own anchor."""
    anchors = [each for each in chain[1:] if _is_of(record, each)]
    is_whole = (record.selector, record.matching) == (_CERTIFICATE, _FULL)
    if not anchors and is_whole and record.data != chain[0]:
        anchors = [record.data]
    reason: str | None = "no certificate that it has sent is the trust anchor"
    for anchor in anchors:
        reason = _chain_fault(anchor, chain, names, now)
        if reason is None:
            return None
    return reason


def _chain_fault(
    anchor: bytes, chain: Sequence[bytes], names: Sequence[str], now: datetime
) -> str | None:
    try:
        with loading("DANE"):
            from cryptography import x509
            from cryptography.x509 import verification
    except ImportError as error:
        raise ExtraMissing("delivery", "cryptography", "a TLSA record of usage 2") from error
    try:
        leaf = x509.load_der_x509_certificate(chain[0])
        trusted = x509.load_der_x509_certificate(anchor)
        between = [x509.load_der_x509_certificate(each) for each in chain[1:]]
        anything = verification.ExtensionPolicy.permit_all()
        authority = anything.require_present(
            x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
        )
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store([trusted]))
            .time(now)
            .extension_policies(ca_policy=authority, ee_policy=anything)
            .build_client_verifier()
        )
        _ = verifier.verify(leaf, between)
        shown = _names_of(leaf)
    except (ValueError, verification.VerificationError, x509.DuplicateExtension) as error:
        return f"the chain to the trust anchor does not hold ({str(error)[:200]})"
    if not any(is_named(name, pattern) for name in names for pattern in shown):
        told = ", ".join(ascii(each)[1:-1][:80] for each in shown[:5])
        return f"its certificate is for {told or 'no host at all'}"
    return None


def _names_of(leaf: x509.Certificate) -> list[str]:
    """The DNS names of a certificate; where it has none, the common names (RFC 7672 §3.2.3)."""
    from cryptography import x509

    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = alternatives.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = []
    if found:
        return found
    common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(each.value) for each in common]
