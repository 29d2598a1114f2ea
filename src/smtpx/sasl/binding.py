"""What ties a login to the TLS channel in which it takes place (RFC 5056, RFC 5929).

``tls-exporter`` (RFC 9266) is missing: neither Python's `ssl` nor scramp can do it.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from typing import Any

from smtpx.tls import Protection

__all__ = ["endpoint_binding", "scram_binding"]


def scram_binding(protection: Protection | None) -> tuple[str, bytes] | None:
    """Type and data of the binding that SCRAM uses; ``None`` where there is none.

    Up to TLS 1.2 it is ``tls-unique``, which every server with -PLUS must know (RFC 5802 §6.1).
    In TLS 1.3 that does not exist (RFC 9266 §3), and ``tls-server-end-point`` takes its place.
    """
    if protection is None:
        return None
    if protection.version == "TLSv1.2":
        for kind, data in protection.channel_bindings:
            if kind == "tls-unique":
                return kind, data
    endpoint = endpoint_binding(protection)
    return None if endpoint is None else ("tls-server-end-point", endpoint)


def endpoint_binding(protection: Protection | None) -> bytes | None:
    """The digest of the server's certificate (RFC 5929 §4.1).

    ``None`` without a certificate, or without the package asn1crypto, which scramp brings along.
    ``None``, too, for a kind of signature for which the RFC defines no digest.
    """
    if protection is None or not protection.certificate:
        return None
    try:
        # By name: it has no types, and comes with an extra.
        x509: Any = import_module("asn1crypto.x509")
        algorithm = str(x509.Certificate.load(protection.certificate).hash_algo)
    except (ImportError, ValueError):
        return None
    if algorithm in ("md5", "sha1"):
        algorithm = "sha256"
    return hashlib.new(algorithm, protection.certificate).digest()
