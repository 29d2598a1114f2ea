"""Pins: parsed, shown, and made of certificates as others make them."""

from __future__ import annotations

import base64
import hashlib
import sys

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from smtpx.pins import Pin, PinKind
from tests.certificates import der_of

DIGEST = hashlib.sha256(b"a key").digest()
HEX = DIGEST.hex()
BASE64 = base64.b64encode(DIGEST).decode()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"sha256//{BASE64}", PinKind.KEY),
        (f"key:{HEX}", PinKind.KEY),
        (f"certificate:{HEX}", PinKind.CERTIFICATE),
        (f"certificate:{HEX.upper()}", PinKind.CERTIFICATE),
        # As `openssl x509 -fingerprint -sha256` prints it.
        (f"certificate:{DIGEST.hex(':').upper()}", PinKind.CERTIFICATE),
    ],
)
def test_the_forms(text: str, kind: PinKind) -> None:
    assert Pin.parse(text) == Pin(kind, DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        BASE64,
        f"sha256/{BASE64}",
        f"sha1//{BASE64}",
        f"sha256//{BASE64[:-4]}",
        f"sha256//{BASE64} ",
        f"sha256//{HEX}",
        f"spki:{HEX}",
        f"key:{HEX[:-2]}",
        f"key:{HEX}00",
        f"key:{HEX[:-1]}",
        f"key:{BASE64}",
        "key:",
        f"certificate:{'é' * 64}",
    ],
)
def test_what_is_no_pin(text: str) -> None:
    with pytest.raises(ValueError, match="not a pin such as"):
        _ = Pin.parse(text)


@given(st.builds(Pin, st.sampled_from(PinKind), st.binary(min_size=32, max_size=32)))
def test_what_is_shown_is_what_is_read(pin: Pin) -> None:
    assert Pin.parse(str(pin)) == pin


def test_a_digest_of_another_length() -> None:
    with pytest.raises(ValueError, match="32 octets"):
        _ = Pin(PinKind.CERTIFICATE, bytes(20))


@pytest.mark.parametrize("key_type", trustme.KeyType)
def test_of_a_certificate(key_type: trustme.KeyType) -> None:
    certificate = trustme.CA().issue_cert("mail.example.org", key_type=key_type)
    der = der_of(certificate)
    assert Pin.of(PinKind.CERTIFICATE, der).digest == hashlib.sha256(der).digest()
    # The key of the private half, which never saw the certificate.
    public = load_pem_private_key(certificate.private_key_pem.bytes(), None).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert Pin.of(PinKind.KEY, der).digest == hashlib.sha256(spki).digest()


def test_keys_need_the_extra_and_certificates_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ImportError, match=r"install smtpx\[x509\]"):
        _ = Pin.parse(f"sha256//{BASE64}")
    assert Pin.parse(f"certificate:{HEX}").digest == DIGEST
