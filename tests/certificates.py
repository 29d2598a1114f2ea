"""Servers whose TLS is as it should be, or wrong in one way; and what their clients need."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """One of 2,048 bits, for whatever needs any: to make it takes a fifth of a second."""
    return rsa.generate_private_key(65537, 2048)


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def ca_file_of(authority: trustme.CA, folder: Path) -> Path:
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def certificate_file_of(certificate: trustme.LeafCert, folder: Path) -> Path:
    """Certificate and key in one file."""
    path = folder / "certificate.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def encrypted_key_of(certificate: trustme.LeafCert, password: str, folder: Path) -> Path:
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    path = folder / "key.pem"
    _ = path.write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
        )
    )
    return path


def der_of(certificate: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


def certificate_in(path: Path) -> bytes:
    """The first certificate of a PEM file, DER."""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return certificate.public_bytes(Encoding.DER)


def self_signed(host: str, folder: Path) -> ssl.SSLContext:
    """A server's context whose certificate nobody else has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "self-signed.pem"
    _ = path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
