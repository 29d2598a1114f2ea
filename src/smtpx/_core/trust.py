"""Whether the peer of a TLS handshake is to be trusted, and what its failure means.

Whoever has to act on a failure reads its text: it says what is wrong, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpx.errors import TLSFailure, TLSPolicyError

if TYPE_CHECKING:
    from datetime import datetime

    from smtpx.pins import Pin, PinKind
    from smtpx.tls import Missing, Presented, Protection

_SHOWN_NAMES = 5

# OpenSSL's codes (X509_V_ERR_…) for what is wrong with a certificate.
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 18, 62, 64
_UNKNOWN_ISSUER = (2, 19, 20, 21)

# What a server says of our certificate (RFC 8446 §6.2), which may come after the handshake.
_OUR_CERTIFICATE = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_NO_CERTIFICATE",
    }
)
_NO_COMMON_VERSION = frozenset(
    {
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "NO_PROTOCOLS_AVAILABLE",
        "WRONG_SSL_VERSION",
    }
)
_NO_COMMON_CIPHER = frozenset(
    {
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        "SSLV3_ALERT_ILLEGAL_PARAMETER",
        "NO_CIPHERS_AVAILABLE",
    }
)
# What OpenSSL makes of the octets of a reply, by what they happen to be.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})


def check_pins(pins: Sequence[Pin], protection: Protection | None) -> None:
    """Make sure that one of the pins, if there are any, is the peer's.

    Raises:
        TLSPolicyError: none is.
    """
    if not pins:
        return
    shown: dict[PinKind, Pin] = {}
    if protection is not None and protection.certificate:
        for kind in {pin.kind for pin in pins}:
            try:
                shown[kind] = type(pins[0]).of(kind, protection.certificate)
            except ValueError:
                pass  # A key that cannot be read is nobody's.
    if not any(shown.get(pin.kind) == pin for pin in pins):
        raise TLSPolicyError(
            f"the server's certificate is not pinned ({', '.join(map(str, shown.values()))}): pin "
            "it if you know that it was renewed; else somebody is in between",
            TLSFailure.PIN_MISMATCH,
        )


def is_tls_error(error: OSError) -> bool:
    """True if it was said by TLS, and not by the network."""
    # An SSLError, as a floor without `ssl` sees it.
    return type(error).__module__ == "ssl" and not isinstance(error, TimeoutError)


def is_about_our_certificate(error: OSError) -> bool:
    """True for what a server says that does not take our certificate, or misses one."""
    return getattr(error, "reason", None) in _OUR_CERTIFICATE


def explained(
    error: OSError,
    presented: Sequence[Presented],
    *,
    greeted: bool,
    missing: Missing | None = None,
    usual: str = "",
) -> TLSPolicyError:
    """What a failed handshake means.

    `greeted` is whether the server had spoken before; `missing`, what this Python looks for and
    does not find; `usual`, what is usual on the server's port.
    """
    if getattr(error, "reason", None) in _NOT_TLS:
        return plain_text_instead(greeted=greeted, usual=usual)
    reason, text = _meaning(error, presented)
    if reason is not TLSFailure.UNKNOWN_AUTHORITY or missing is None:
        pass
    elif missing.is_all:
        reason, text = TLSFailure.NO_AUTHORITIES, _no_authorities(missing)
    elif missing.places:
        text = f"{text}; none were found in {' and '.join(missing.places)}"
    return TLSPolicyError(f"{text} (TLS says: {error.strerror or error})", reason)


def plain_text_instead(*, greeted: bool, usual: str = "") -> TLSPolicyError:
    """What it means that the server goes on, or begins, in plain text."""
    return TLSPolicyError(
        "the server took STARTTLS, and went on in plain text"
        if greeted
        else "the server speaks plain text on this port: use submission://, or "
        f"smtp:// with ?tls=starttls, which begin TLS by STARTTLS{usual}",
        TLSFailure.NOT_TLS,
    )


def _meaning(error: OSError, presented: Sequence[Presented]) -> tuple[TLSFailure, str]:
    code: int | None = getattr(error, "verify_code", None)
    if code:
        return _of_certificate(code, presented)
    said = str(getattr(error, "reason", None))
    if said in _OUR_CERTIFICATE:
        return TLSFailure.CLIENT_CERTIFICATE, (
            "the server asks for a certificate of ours and takes none that we have: give "
            "TLSPolicy(client_certificate=…) one that it knows, and that has not expired"
        )
    if said in _NO_COMMON_VERSION:
        return TLSFailure.NO_COMMON_VERSION, (
            "the server speaks no version of TLS that we do: it must be brought up to date, or "
            "TLSPolicy.minimum_version asks for too much"
        )
    if said in _NO_COMMON_CIPHER:
        return TLSFailure.NO_COMMON_CIPHER, (
            "the server finds nothing in what we offer: it has no cipher suite or key of today, "
            "or it asks for a certificate of ours (TLSPolicy.client_certificate)"
        )
    return TLSFailure.OTHER, "the TLS handshake failed"


def _of_certificate(code: int, presented: Sequence[Presented]) -> tuple[TLSFailure, str]:
    """What is wrong with the server's certificate."""
    if code == _EXPIRED:
        when = _moment(min((one.expires for one in presented), default=None))
        return TLSFailure.CERTIFICATE_EXPIRED, (
            f"the server's certificate expired{when}: its owner must renew it, unless the clock "
            "of this machine is wrong"
        )
    if code == _NOT_YET_VALID:
        when = _moment(max((one.begins for one in presented), default=None))
        return TLSFailure.CERTIFICATE_NOT_YET_VALID, (
            f"the server's certificate is not valid yet, but from a later moment{when}: is the "
            "clock of this machine right?"
        )
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        return TLSFailure.CERTIFICATE_OF_ANOTHER_HOST, (
            f"the server's certificate is for {_names(presented)}: use a name that it has, or, if "
            "this is the right server all the same, TLSPolicy(server_hostname=…)"
        )
    if code == _SELF_SIGNED:
        return TLSFailure.CERTIFICATE_SELF_SIGNED, (
            "nobody but itself vouches for the server's certificate: if you know it, give "
            "TLSPolicy(pins=…, pins_suffice=True), or the certificate as TLSPolicy.ca_file"
        )
    if code in _UNKNOWN_ISSUER:
        issuer = f" ({_shown(presented[-1].issuer)})" if presented else ""
        return TLSFailure.UNKNOWN_AUTHORITY, (
            f"the authority of the server's certificate{issuer} is not known here: give its "
            "certificate as TLSPolicy.ca_file, or have the server send its intermediate ones"
        )
    return TLSFailure.CERTIFICATE_INVALID, "the server's certificate is not acceptable"


def _no_authorities(missing: Missing) -> str:
    return (
        "this Python has no authorities to trust, so it knows no server's certificate: there are "
        f"none in {' and '.join(missing.places)}. Install smtpx[truststore] to trust those of the "
        "system, or give a file as TLSPolicy.ca_file"
    )


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f" on {moment:%Y-%m-%d at %H:%M} UTC"


def _names(presented: Sequence[Presented]) -> str:
    if not presented:
        return "another host"
    names = presented[0].names
    shown = ", ".join(map(_shown, names[:_SHOWN_NAMES])) or "no host at all"
    return shown + (f" and {len(names) - _SHOWN_NAMES} more" * (len(names) > _SHOWN_NAMES))


def _shown(text: str) -> str:
    """What a stranger has written, in one line."""
    return text[:80] if text.isprintable() else ascii(text[:80])
