"""DKIM (RFC 6376, 8463): what is signed, verified by a verifier that is not ours."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs7,
)
from hypothesis import given
from hypothesis import strategies as st

import smtpx
from smtpx import DKIMKey, DKIMSigner, LocalProtocolError, Signer
from smtpx.testing import Server
from tests.certificates import rsa_key

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
RSA = rsa_key()
ED25519 = ed25519.Ed25519PrivateKey.generate()
HEADER = (
    b"From: Ann <ann@example.org>\r\n"
    b"To: bob@example.net\r\n"
    b"Subject: folded\r\n over  two lines\r\n"
    b"Date: Thu, 26 Nov 2026 09:30:00 +0000\r\n"
    b"X-Ours: unsigned\r\n"
)
CONTENT = HEADER + b"\r\nhello  \r\n\r\nworld\r\n\r\n\r\n"


def pem(
    key: PrivateKey,
    encryption: KeySerializationEncryption | None = None,
    form: PrivateFormat = PrivateFormat.PKCS8,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def record(key: PrivateKey) -> str:
    """The TXT record of its public half (RFC 6376 §3.6.1, RFC 8463 §4)."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={b64encode(octets).decode()}"
    octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={b64encode(octets).decode()}"


def look_up(name: bytes, timeout: float = 5) -> bytes | None:
    keys: dict[bytes, PrivateKey] = {
        b"r._domainkey.example.org.": RSA,
        b"e._domainkey.example.org.": ED25519,
        b"r._domainkey.xn--bcher-kva.example.": RSA,
    }
    return record(keys[name]).encode() if name in keys else None


def verified(content: bytes) -> list[bool]:
    """What dkimpy says of each signature, from the top."""
    count = content.count(b"DKIM-Signature:")
    return [dkim.DKIM(content).verify(i, look_up) for i in range(count)]


def tags(content: bytes, nth: int = 0) -> dict[str, str]:
    field = content.split(b"DKIM-Signature:")[nth + 1].split(b"\r\n", 1)
    value = field[0]
    for line in field[1].split(b"\r\n"):
        if not line.startswith(b" "):
            break
        value += line
    pairs = (tag.split("=", 1) for tag in value.decode().split(";"))
    return {name.strip(): "".join(text.split()) for name, text in pairs}


@pytest.fixture(scope="module")
def both() -> DKIMSigner:
    return DKIMSigner(
        DKIMKey("example.org", "r", pem(RSA)), DKIMKey("example.org", "e", pem(ED25519))
    )


@pytest.mark.requirement("RFC 8463 §3")
def test_both_algorithms_at_once_and_the_content_as_it_was(both: DKIMSigner):
    signed = both(CONTENT)
    assert signed.endswith(CONTENT)
    assert [tags(signed, i)["a"] for i in (0, 1)] == ["rsa-sha256", "ed25519-sha256"]
    assert verified(signed) == [True, True]
    assert max(len(line) for line in signed.split(b"\r\n")) <= 78


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["To", "Cc", "Subject", "X-Y", "List-Unsubscribe", "Resent-From"]),
            st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=90),
        ),
        max_size=8,
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=300),
)
def test_any_content_verifies(fields: list[tuple[str, str]], body: str):
    signer = DKIMSigner(DKIMKey("example.org", "e", ED25519))
    header = "".join(f"{name}: {text}\n" for name, text in [("From", "a@b.test"), *fields])
    content = f"{header}\n{body}".replace("\n", "\r\n").encode()
    assert verified(signer(content)) == [True]


@pytest.mark.parametrize(
    "change",
    [
        (b"hello", b"hallo"),
        (b"Ann", b"Eve"),
        (b"Date: Thu", b"Date: Fri"),
        (b"X-Ours", b"From: eve@example.org\r\nX-Ours"),
        (b"X-Ours", b"Subject: another\r\nX-Ours"),
        (b"X-Ours", b"Reply-To: eve@example.org\r\nX-Ours"),
        (b"X-Ours", b"Cc: eve@example.org\r\nX-Ours"),
        (b"X-Ours", b"Date: Fri, 27 Nov 2026 09:30:00 +0000\r\nX-Ours"),
    ],
)
@pytest.mark.requirement("RFC 6376 §8.15")
def test_what_is_changed_or_added_breaks_the_signature(
    both: DKIMSigner, change: tuple[bytes, bytes]
):
    signed = both(CONTENT)
    assert change[0] in signed
    try:
        results = verified(signed.replace(*change))
    except dkim.ValidationError:  # How dkimpy tells that the body's hash is another.
        results = []
    assert not any(results)


@pytest.mark.parametrize(
    "change",
    [
        (b"X-Ours: unsigned", b"X-Ours: mine"),
        (b"From: Ann", b"Received: from x\r\nFrom: Ann"),
        (b"From: Ann", b"Message-ID: <1@mx.example.org>\r\nFrom: Ann"),
        (b"From: Ann", b"Resent-From: eve@example.org\r\nFrom: Ann"),
        (b"world\r\n\r\n\r\n", b"world\r\n"),
        (b"hello  ", b"hello"),
        (b"over  two", b"over two"),
    ],
)
def test_what_may_happen_on_the_way_does_not(both: DKIMSigner, change: tuple[bytes, bytes]):
    signed = both(CONTENT)
    assert change[0] in signed
    assert verified(signed.replace(*change)) == [True, True]


def test_the_fields_that_are_signed(both: DKIMSigner):
    extra = b"List-Unsubscribe: <https://x.test>\r\nList-Unsubscribe-Post: x\r\nComments: no\r\n"
    names = tags(both(extra + b"Resent-From: a@b.test\r\n" * 2 + CONTENT))["h"].split(":")
    assert names.count("from") == names.count("to") == names.count("subject") == 2
    assert names.count("list-unsubscribe") == names.count("list-unsubscribe-post") == 2
    assert names.count("resent-from") == 2
    assert names.count("cc") == names.count("reply-to") == 1
    assert not {"x-ours", "comments", "message-id", "content-type"} & set(names)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_key_as_text_of_any_usual_form(form: PrivateFormat, line_end: str):
    text = pem(RSA, form=form).decode().replace("\n", line_end)
    assert verified(DKIMSigner(DKIMKey("example.org", "r", text))(CONTENT)) == [True]


def test_an_internationalized_domain():
    key = DKIMKey("bücher.example", "r", RSA)
    assert key.domain == "xn--bcher-kva.example"
    assert verified(DKIMSigner(key)(CONTENT)) == [True]


def test_a_key_that_has_a_password_is_loaded_by_the_caller():
    locked = pem(RSA, BestAvailableEncryption(b"secret"))
    with pytest.raises(LocalProtocolError, match="has a password: load it by"):
        _ = DKIMKey("example.org", "r", locked)
    opened = load_pem_private_key(locked, b"secret")
    assert isinstance(opened, rsa.RSAPrivateKey)
    assert DKIMKey("example.org", "r", opened).algorithm == "rsa-sha256"


WEAK = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIIBOwIBAAJBALoXwx9+qKIYnhwJ4U3wcCve5DyQZ5dm6IiT0bvPgb9xL43npX31
PJwE88puOD0CZOPwPOOvG1aaBeupP7RmP7sCAwEAAQJBALkDiO4WGghWm1NbC1JW
ut8TEi2YkDV5jbTD6iBkVSYD6Y0v88O8soklN5wUPnLN0DiofoAnQPq7bsRafymU
iXkCIQDsmuqOIAWMydSjno75th5cFXRRwGb+A097BjEaLjmXjwIhAMlY3GgGqQPr
2o50yVaRb2IVLt7piN4Oo34Vt0+FRZ8VAiEAr1QMw8zO0Akv3R8966Uc0jfDvmDI
8Soa15s6/5+JZdkCID0g/mGSzBOFsqgXat0ecHuNxNomesg4F4j7HNlGs/l1AiAe
L8PfmcsdxK8uiMDnfZqhgZPSiEHy6heda2m71cbqjA==
-----END RSA PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("/etc/dkim/key.pem", "give the contents of the PEM file"),
        (b"", "give the contents of the PEM file"),
        (
            RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "it is the public one",
        ),
        (pem(RSA)[:200] + b"\n-----END PRIVATE KEY-----\n", "damaged"),
        (WEAK, "512 bits"),
        (ec.generate_private_key(ec.SECP256R1()), "neither an RSA nor an Ed25519"),
    ],
)
def test_a_bad_key_is_told(key, message: str):
    with pytest.raises(LocalProtocolError, match=message):
        _ = DKIMKey("example.org", "r", key)


@pytest.mark.parametrize("domain", ["", "example.org; x=y", "a b", "ann@example.org", "x\r\ny"])
def test_a_bad_domain_is_told(domain: str):
    with pytest.raises(LocalProtocolError, match=r"domain=.* give one such as") as caught:
        _ = DKIMKey(domain, "r", RSA)
    assert "postmaster" not in str(caught.value)


@pytest.mark.parametrize("selector", ["", "a b", "a;b=c", ".a", "a..b", "a\r\nb", "ä"])
def test_a_bad_selector_is_told(selector: str):
    with pytest.raises(LocalProtocolError, match="selector="):
        _ = DKIMKey("example.org", selector, RSA)


def test_one_selector_for_two_keys():
    with pytest.raises(LocalProtocolError, match="same selector"):
        _ = DKIMSigner(DKIMKey("example.org", "r", RSA), DKIMKey("example.org", "r", ED25519))
    with pytest.raises(LocalProtocolError, match="at least one"):
        _ = DKIMSigner()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 From fields"),
        (b"Subject: nobody\r\n\r\nFrom: body\r\n", "0 From fields"),
        (b"From: a@b.test\r\nfrom: c@d.test\r\n\r\n", "2 From fields"),
        (b"no header\r\n\r\n", "malformed"),
        (b" folded\r\nFrom: a@b.test\r\n\r\n", "malformed"),
    ],
)
def test_content_that_cannot_be_signed(both: DKIMSigner, content: bytes, message: str):
    with pytest.raises(LocalProtocolError, match=message):
        _ = both(content)


def test_a_key_does_not_show_itself():
    key = DKIMKey("example.org", "r", RSA)
    assert repr(key) == "DKIMKey(domain='example.org', selector='r', algorithm='rsa-sha256')"


@pytest.mark.parametrize("missing", ["dkim", "cryptography"])
def test_without_the_extra(missing: str):
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import smtpx\n"
        f"key = {pem(ED25519)!r}\n"
        "try:\n"
        "    smtpx.DKIMSigner(smtpx.DKIMKey('example.org', 'e', key))\n"
        "except smtpx.ExtraMissing as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"DKIM needs {missing}: install smtpx[dkim]\n"


def smime(content: bytes) -> bytes:
    """Sign as S/MIME does (RFC 8551 §3.5.3): the content is written anew."""
    header, _, body = content.partition(b"\r\n\r\n")
    fields = re.findall(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*", header + b"\r\n")
    inner = [field for field in fields if field.lower().startswith(b"content-")]
    outer = [field for field in fields if not field.lower().startswith((b"content-", b"mime-"))]
    builder = pkcs7.PKCS7SignatureBuilder().set_data(b"".join(inner) + b"\r\n" + body)
    signed = builder.add_signer(CERTIFICATE, RSA, SHA256()).sign(
        Encoding.SMIME, [pkcs7.PKCS7Options.DetachedSignature]
    )
    return b"".join(outer) + signed


NAME = x509.Name([x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, "ann@example.org")])
CERTIFICATE = (
    x509.CertificateBuilder()
    .subject_name(NAME)
    .issuer_name(NAME)
    .public_key(RSA.public_key())
    .serial_number(1)
    .not_valid_before(datetime.now(UTC) - timedelta(days=1))
    .not_valid_after(datetime.now(UTC) + timedelta(days=1))
    .sign(RSA, SHA256())
)


def sent(signer: Signer) -> bytes:
    """What a server gets of a composed message."""
    message = message_from_bytes(CONTENT, policy=policy.default)
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = "text/plain"
    with Server() as server:
        _ = smtpx.send(message, server.url, signer=signer)
        return server.messages[0].content


def test_one_signer_after_the_other(both: DKIMSigner, tmp_path: Path):
    content = sent(lambda content: both(smime(content)))
    assert verified(content) == [True, True]
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to verify S/MIME by")
    _ = (tmp_path / "certificate").write_bytes(CERTIFICATE.public_bytes(Encoding.PEM))
    _ = (tmp_path / "message").write_bytes(content)
    done = subprocess.run(
        [openssl, "smime", "-verify", "-CAfile", "certificate", "-in", "message"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"world\r\n\r\n\r\n")


def test_a_seal_of_arc():
    results = b"Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=ann@example.org\r\n"

    def seal(content: bytes) -> bytes:
        content = results + content
        fields = dkim.arc_sign(content, b"r", b"example.org", pem(RSA), b"mx.example.org")
        return b"".join(fields) + content

    assert dkim.arc_verify(sent(seal), dnsfunc=look_up)[0] == b"pass"
