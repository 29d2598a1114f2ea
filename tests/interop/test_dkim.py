"""What smtpx signed, after a real Postfix has had it, verified by others."""

from __future__ import annotations

from base64 import b64encode
from email.message import EmailMessage
from pathlib import Path

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from smtpx import Client, DKIMKey, DKIMSigner, Envelope
from tests.certificates import rsa_key

from . import opendkim
from .postfix import Postfix, added, original

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("postfix")]

RSA = rsa_key()
ED25519 = ed25519.Ed25519PrivateKey.generate()
RECORDS = {
    "r._domainkey.example.org": "v=DKIM1; k=rsa; p="
    + b64encode(
        RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode(),
    "e._domainkey.example.org": "v=DKIM1; k=ed25519; p="
    + b64encode(ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode(),
}
SIGNER = DKIMSigner(DKIMKey("example.org", "r", RSA), DKIMKey("example.org", "e", ED25519))


def look_up(name: bytes, timeout: float = 5) -> bytes:
    return RECORDS[name.decode().rstrip(".")].encode()


def composed() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Jörg Ängström <ann@example.org>"
    message["To"] = "bob@example.test"
    message["Subject"] = "grüße, " + "long enough to be folded, " * 5
    message["Date"] = "Thu, 26 Nov 2026 09:30:00 +0000"
    message["List-Unsubscribe"] = "<https://example.org/unsubscribe?" + "x" * 90 + ">"
    message.set_content(".käse\n..\n" + "a long line " * 100 + "\n  spaces  \t\n\n\n")
    message.add_alternative("<p>käse\n.</p>\n", subtype="html")
    return message


CONTENTS: dict[str, bytes | EmailMessage] = {
    "composed": composed(),
    "8-bit": b"From: ann@example.org\r\nSubject: hi\r\n\r\n" + "käse – 北京\r\n".encode() * 9,
    "bare line ends": b"From: ann@example.org\nSubject: hi\r\r.\n..\r\nhello\rworld\n\n\n",
    "header only": b"From: ann@example.org\r\n\r\n",
    "large": b"From: ann@example.org\r\n\r\n" + (b"." * 76 + b"\n") * 20_000,
}


@pytest.fixture(scope="module")
def delivered(postfix: Postfix) -> dict[str, bytes]:
    """Each content as the mailbox has it, with what Postfix put before it, with CRLF line ends."""
    messages = [
        (content, Envelope("ann@example.org", f"dkim-{index}@example.test"))
        for index, content in enumerate(CONTENTS.values())
    ]
    url = f"smtp://127.0.0.1:{postfix.port}?tls=none"
    with Client(url, signer=SIGNER) as client:
        assert [result.error for result in client.send_many(messages)] == [None] * len(messages)
    found = {}
    for index, name in enumerate(CONTENTS):
        (raw,) = postfix.messages(f"dkim-{index}@example.test")
        found[name] = added(raw).replace(b"\n", b"\r\n") + original(raw)
    return found


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.requirement("RFC 6376 §6")
def test_dkimpy_verifies(delivered: dict[str, bytes], name: str):
    assert [dkim.DKIM(delivered[name]).verify(i, look_up) for i in (0, 1)] == [True, True]


@pytest.mark.skipif(opendkim.missing() is not None, reason=str(opendkim.missing()))
@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.requirement("RFC 6376 §6")
def test_opendkim_verifies(delivered: dict[str, bytes], name: str, tmp_path: Path):
    assert opendkim.results(delivered[name], RECORDS, tmp_path) == {
        "rsa-sha256": "pass",
        "ed25519-sha256": "pass",
    }


@pytest.mark.skipif(opendkim.missing() is not None, reason=str(opendkim.missing()))
def test_opendkim_tells_what_was_changed(delivered: dict[str, bytes], tmp_path: Path):
    changed = delivered["8-bit"].replace(b"Subject: hi", b"Subject: ho")
    assert opendkim.results(changed, RECORDS, tmp_path) == {
        "rsa-sha256": "fail",
        "ed25519-sha256": "fail",
    }
