"""DKIM signatures, made by smtpx and verified in the inbox by keys that were given."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.cli._dkim_keys import records
from smtpx.cli._exits import Stop
from smtpx.inbox import Inbox

from .conftest import Taken

pytest.importorskip("dkim", reason="dkimpy is not installed: extra `dkim`")

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

PLAIN = b"From: ann@example.org\r\nTo: bob@example.net\r\nSubject: x\r\n\r\nhi\r\n"
KEYS: dict[str, Callable[[], Any]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


class Signed:
    """A signed message, and its key as files."""

    def __init__(self, folder: Path, kind: str = "rsa") -> None:
        key = KEYS[kind]()
        self.private, self.public = folder / "private.pem", folder / "public.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _ = self.private.write_bytes(pem)
        _ = self.public.write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        self.content = smtpx.DKIMSigner(smtpx.DKIMKey("Example.org", "news", pem))(PLAIN)

    def verdicts(self, content: bytes, keys: dict[str, str]) -> list[tuple[str, str]]:
        with Inbox(dkim_keys=keys) as inbox:
            taken = Taken(inbox)
            number = taken.take(content)
            found = taken.get(f"/api/messages/{number}/findings").json()["dkim"]
        return [(each["verdict"], each["text"]) for each in found]


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("half", ["private", "public", "record"])
def test_a_signature_is_verified(kind: str, half: str, tmp_path: Path) -> None:
    signed = Signed(tmp_path, kind)
    file = signed.private if half == "private" else signed.public
    keys = records([f"news:example.org:{file}"])
    if half == "record":
        (record,) = keys.values()
        # As zone files have it: cut anywhere.
        _ = (tmp_path / "txt").write_text(f'"{record[:40]}"\n "{record[40:]}"\n')
        keys = records([f"news:EXAMPLE.org:{tmp_path / 'txt'}"])
    ((verdict, _),) = signed.verdicts(signed.content, keys)
    assert verdict == "valid"
    ((verdict, text),) = signed.verdicts(signed.content.replace(b"hi\r\n", b"ho\r\n"), keys)
    assert (verdict, "body hash" in text) == ("invalid", True)
    ((verdict, _),) = signed.verdicts(signed.content.replace(b"Subject: x", b"Subject: y"), keys)
    assert verdict == "invalid"


def test_no_key_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is in the mail: who wrote it would learn of the look-up."""

    def connects(*_: object) -> None:
        raise AssertionError("something connects")

    monkeypatch.setattr(socket.socket, "connect", connects)
    monkeypatch.setattr(socket.socket, "sendto", connects)
    signed = Signed(tmp_path)
    ((verdict, text),) = signed.verdicts(signed.content, {})
    assert (verdict, text) == ("unknown", "the key news._domainkey.example.org was not given")
    other = records([f"other:example.org:{signed.public}"])
    assert signed.verdicts(signed.content, other)[0][0] == "unknown"
    assert signed.verdicts(PLAIN, {}) == []


HOSTILE = {
    "nothing in it": b"DKIM-Signature: \r\n",
    "no end": b"DKIM-Signature: d=example.org; s=news; h=" + b"x:" * 100_000 + b"\r\n",
    "names that are not there": b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=news; "
    b"bh=AA==; b=AA==; h=from:" + b"x:" * 1900 + b"x\r\n" + b"X-A: b\r\n" * 900,
    "many": b"DKIM-Signature: d=example.org; s=news\r\n" * 900,
    "no algorithm": b"DKIM-Signature: v=1; a=none; d=example.org; s=news; bh=; b=; h=from\r\n",
    "octets": b"DKIM-Signature: v=1; d=example.org; s=news; b=\xff\xfe\r\n",
    "l= of more than there is": b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=news; "
    b"l=99999999999999999999; bh=AA==; b=AA==; h=from\r\n",
}


@pytest.mark.parametrize("field", HOSTILE.values(), ids=HOSTILE)
def test_hostile_signatures_are_none_that_hold(field: bytes, tmp_path: Path) -> None:
    signed = Signed(tmp_path)
    begun = time.process_time()
    found = signed.verdicts(field + PLAIN, records([f"news:example.org:{signed.public}"]))
    assert len(found) <= 5
    assert "valid" not in {verdict for verdict, _ in found}
    assert time.process_time() - begun < 30  # What is not bounded takes minutes.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("news", "SELECTOR:DOMAIN:FILE"),
        ("news::file", "SELECTOR:DOMAIN:FILE"),
        ("news:example.org:empty", "has no DKIM key"),
        ("news:example.org:bad.pem", "no key in PEM"),
    ],
)
def test_keys_that_are_none(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _ = Path("empty").write_bytes(b"")
    _ = Path("bad.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(Stop, match=said):
        _ = records([text])
    with pytest.raises(ValueError, match="by selector"):
        _ = Inbox(dkim_keys={"news.example.org": "v=DKIM1; p="})
