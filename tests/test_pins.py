"""Pins: parsed, shown, and made of certificates as others make them."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

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


@pytest.mark.parametrize("kind", PinKind)
def test_of_what_is_no_certificate(kind: PinKind) -> None:
    """Its digest would be one that no server's certificate ever has."""
    issued = trustme.CA().issue_cert("mail.example.org")
    pem = issued.cert_chain_pems[0].bytes()
    with pytest.raises(ValueError, match=r"is PEM: ssl\.PEM_cert_to_DER_cert"):
        _ = Pin.of(kind, pem)
    for octets in (b"", b"mail.example.org", der_of(issued)[:-1], der_of(issued) + b"\n"):
        with pytest.raises(ValueError, match="cannot be read"):
            _ = Pin.of(kind, octets)


def openssl(*arguments: str) -> bytes:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the program openssl")
    return subprocess.run([program, *arguments], check=True, capture_output=True).stdout


KEYS = {
    "RSA": ["-algorithm", "RSA"],
    "RSA-PSS": ["-algorithm", "RSA-PSS"],
    "RSA-PSS, its parameters too": [
        *("-algorithm", "RSA-PSS", "-pkeyopt", "rsa_pss_keygen_md:sha256"),
        *("-pkeyopt", "rsa_pss_keygen_mgf1_md:sha256", "-pkeyopt", "rsa_pss_keygen_saltlen:32"),
    ],
    "a named curve": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "a curve with explicit parameters": [
        *("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-pkeyopt", "ec_param_enc:explicit"),
    ],
    "Ed25519": ["-algorithm", "ED25519"],
    "Ed448": ["-algorithm", "ED448"],
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.requirement("RFC 7469 §2.4")
def test_a_key_is_pinned_as_it_stands_in_the_certificate(kind: str, tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.der")
    _ = openssl("genpkey", *KEYS[kind], "-out", key)
    spki = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    _ = openssl(
        *("req", "-x509", "-new", "-key", key, "-subj", "/CN=mail.example.org"),
        *("-outform", "DER", "-out", certificate),
    )
    pin = Pin.of(PinKind.KEY, Path(certificate).read_bytes())
    assert pin.digest == hashlib.sha256(spki).digest()


def der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


SEQUENCE, INTEGER, VERSION = 0x30, 0x02, 0xA0
FIELD = der(SEQUENCE, b"\x05\x00")
SPKI = der(SEQUENCE, FIELD, der(0x03, b"\x00" * 300))
FIELDS = [
    der(VERSION, der(INTEGER, b"\x02")),
    der(INTEGER, b"\x07"),  # the serial number
    *([FIELD] * 4),  # signature, issuer, validity, subject
    SPKI,
    der(0xA3, FIELD),
]


def certificate_of(*fields: bytes) -> bytes:
    return der(SEQUENCE, der(SEQUENCE, *fields), FIELD, der(0x03, b"\x00"))


@pytest.mark.parametrize("first", [0, 1])
def test_the_version_may_be_left_out(first: int) -> None:
    pin = Pin.of(PinKind.KEY, certificate_of(*FIELDS[first:]))
    assert pin.digest == hashlib.sha256(SPKI).digest()


@pytest.mark.parametrize(
    "certificate",
    [
        b"",
        b"0",
        b"\x30\x80",
        b"not a certificate",
        certificate_of(),
        certificate_of(*FIELDS) + b"\x00",
        certificate_of(*FIELDS)[:-1],
        certificate_of(*FIELDS[:6]),
        certificate_of(*FIELDS[:5], SPKI),
        certificate_of(FIELDS[0], *FIELDS[2:]),
        certificate_of(FIELDS[0], *FIELDS),
        certificate_of(FIELDS[1], FIELDS[0], *FIELDS[2:]),
        certificate_of(*FIELDS[:6], SPKI[:-1]),
        certificate_of(*FIELDS[:6], b"\x30\x80" + SPKI[4:] + b"\x00\x00"),  # no end stated
        certificate_of(*FIELDS[:6], b"\x30\x83\x00" + SPKI[2:]),  # a longer length than need be
        certificate_of(*FIELDS[:6], b"\x30\x81\x7f" + b"\x05" * 127),
        certificate_of(*FIELDS[:6], b"\x30\x85\x00\x00\x00\x00\x02\x05\x00"),
        certificate_of(*FIELDS[:6], b"\x30\xff" + b"\xff" * 200),
        certificate_of(*FIELDS[:6], b"\x3f\x81\x30\x02\x05\x00"),  # a tag of many octets
        b"\x30\x84\xff\xff\xff\xff" + certificate_of(*FIELDS),
    ],
)
def test_what_is_no_certificate_has_no_key(certificate: bytes) -> None:
    with pytest.raises(ValueError, match="the certificate cannot be read"):
        _ = Pin.of(PinKind.KEY, certificate)


@given(
    st.one_of(
        st.binary(max_size=100),
        st.tuples(st.integers(0, 400), st.integers(0, 9), st.binary(max_size=9)).map(
            lambda cut: (
                (whole := certificate_of(*FIELDS))[: cut[0]] + cut[2] + whole[sum(cut[:2]) :]
            )
        ),
    )
)
def test_any_octets_have_a_key_or_none(certificate: bytes) -> None:
    with suppress(ValueError):
        _ = Pin.of(PinKind.KEY, certificate)


def test_nothing_is_needed_to_pin_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert Pin.parse(f"sha256//{BASE64}").digest == DIGEST
    assert Pin.of(PinKind.KEY, certificate_of(*FIELDS)).kind is PinKind.KEY
