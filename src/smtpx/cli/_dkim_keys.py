"""The public halves of DKIM keys, as the DNS would have them, out of files."""

from __future__ import annotations

from base64 import b64encode
from importlib import import_module
from pathlib import Path
from typing import Any

import smtpx
from smtpx.cli._console import printable
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._reading import reading

__all__ = ["records"]


def records(given: list[str]) -> dict[str, str]:
    """TXT records by their names, of ``SELECTOR:DOMAIN:FILE``.

    Raises:
        Stop: one is written otherwise, or its file has no key.
    """
    found: dict[str, str] = {}
    for text in given:
        selector, _, rest = text.partition(":")
        domain, _, file = rest.partition(":")
        if not (selector and domain and file):
            raise Stop(
                f"--dkim-key {printable(text)!r}: write SELECTOR:DOMAIN:FILE, such as "
                "news:example.org:dkim.pem"
            )
        found[f"{selector}._domainkey.{domain}"] = _record(Path(file))
    return found


def _record(path: Path) -> str:
    """Of a TXT record, or of a key in PEM; of a private one, its public half."""
    with reading(path):
        octets = path.read_bytes()
    if octets.lstrip().startswith(b"-----BEGIN"):
        return _record_of_pem(path, octets)
    text = " ".join(octets.decode("ascii", "replace").replace('"', " ").split())
    if "p=" not in text.replace(" ", ""):
        raise Stop(
            f"{path} has no DKIM key: give a PEM file, or 'v=DKIM1; p=…'", Exit.CONFIGURATION
        )
    return text


def _record_of_pem(path: Path, octets: bytes) -> str:
    try:
        forms: Any = import_module("cryptography.hazmat.primitives.serialization")
    except ImportError as error:
        raise smtpx.ExtraMissing("dkim", "cryptography", "a DKIM key in PEM") from error
    try:
        if b"PUBLIC KEY" in octets:
            public: Any = forms.load_pem_public_key(octets)
        else:
            public = forms.load_pem_private_key(octets, password=None).public_key()
    except Exception:  # ValueError, TypeError for one with a password, or cryptography's own.
        raise Stop(f"{path} has no key in PEM without a password", Exit.CONFIGURATION) from None
    if type(public).__name__.lower().startswith(("ed25519", "_ed25519")):
        raw = public.public_bytes(forms.Encoding.Raw, forms.PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={b64encode(raw).decode()}"
    der = public.public_bytes(forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={b64encode(der).decode()}"
