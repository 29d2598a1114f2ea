"""TLS for the embedded server: between two buffers, and with a certificate of its own.

The server drives TLS itself rather than through asyncio: it can then stall a handshake, cut a
stream without a close_notify, and close at once.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from smtpx.errors import ExtraMissing

_READ = 1 << 18


class TLSChannel:
    """The server's end of one TLS connection, without a socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.established = False
        self.ended = False
        """The client has sent a close_notify."""
        self.server_name: str | None = None
        """The name that the client asked for (RFC 6066 §3)."""
        self._context = context
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def version(self) -> str | None:
        """The protocol version, such as ``TLSv1.3``."""
        return self._object.version()

    @property
    def resumed(self) -> bool:
        """True if the client went on with an earlier session."""
        return bool(self._object.session_reused)

    def bindings(self, certificate: bytes) -> dict[str, bytes]:
        """The channel bindings, type to data (RFC 5929), given the server's certificate."""
        bindings: dict[str, bytes] = {}
        unique = self._object.get_channel_binding("tls-unique")
        # RFC 9266 §3: it is not defined for TLS 1.3, whatever `ssl` says.
        if unique is not None and self.version == "TLSv1.2":
            bindings["tls-unique"] = unique
        if certificate:
            # trustme signs with SHA-256.
            bindings["tls-server-end-point"] = hashlib.sha256(certificate).digest()
        return bindings

    @property
    def certificate_user(self) -> str | None:
        """The first name in the client's certificate, if it showed one that was verified."""
        shown: Any = self._object.getpeercert() or {}
        return next((str(name) for _, name in shown.get("subjectAltName", ())), None)

    def receive(self, data: bytes) -> bytes:
        """Take what came from the client; return what it said inside TLS.

        Raises:
            ssl.SSLError: the handshake failed, or a record is broken.
        """
        _ = self._incoming.write(data)
        if not self.established:
            # Set anew for each connection: handshakes are steps of one thread, never at once.
            self._context.sni_callback = self._note_name
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.established = True
        parts: list[bytes] = []
        try:
            while part := self._object.read(_READ):
                parts.append(part)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(parts)

    def _note_name(self, _: object, name: str | None, __: ssl.SSLContext) -> None:
        self.server_name = name

    def encrypt(self, data: bytes) -> bytes:
        """Return the records that carry `data`, after any that were pending."""
        if data:
            _ = self._object.write(data)
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """Return the records that end the stream in good order."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # The client's close_notify is not waited for.
        return self._outgoing.read()


class Authority:
    """A certificate authority that lives as long as its server, or in a folder that keeps it."""

    def __init__(
        self, hostnames: Sequence[str], *, expired: bool, folder: Path | None = None
    ) -> None:
        """Make it, or take the one that `folder` has.

        Raises:
            ExtraMissing: trustme is not installed.
            ValueError: the folder's is none, or others can read its key.
            OSError: it cannot be kept there.
        """
        try:
            # By name, so that checking the types of this package does not need the extra either.
            trustme: Any = importlib.import_module("trustme")
        except ImportError as error:
            raise ExtraMissing("testing", "trustme", "a smtpx.testing.Server with TLS") from error
        self._is_kept = folder is not None
        authority = trustme.CA() if folder is None else _kept(trustme.CA, folder)
        self._pem: bytes = authority.cert_pem.bytes()
        self.ca_file = _written(self._pem, folder)
        # As long as public ones last: a server may run for weeks.
        lifetime = timedelta(days=-1 if expired else 90)
        certificate = authority.issue_cert(*hostnames, not_after=datetime.now(UTC) + lifetime)
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.server_context)
        pem: bytes = certificate.cert_chain_pems[0].bytes()
        self.certificate = ssl.PEM_cert_to_DER_cert(pem.decode())

    def client_context(self) -> ssl.SSLContext:
        """Make a context that trusts this authority and no other."""
        return ssl.create_default_context(cadata=self._pem.decode())

    def close(self) -> None:
        """Remove the file, if it is not to be kept."""
        if not self._is_kept:
            self.ca_file.unlink(missing_ok=True)


def _kept(authority: Any, folder: Path) -> Any:
    """The authority of a folder; the first who wants it makes it."""
    path = folder / "authority.pem"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = authority()
        draft = _draft(made.private_key_pem.bytes() + made.cert_pem.bytes(), folder)
        try:
            # Of several that make it at once, it is the first one's.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise ValueError(f"others can read the key of an authority: chmod 600 {path}")
    pem = path.read_bytes()
    try:
        return authority.from_pem(pem, pem)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no certificate authority: remove it") from error


def _written(pem: bytes, folder: Path | None) -> Path:
    """The file for those who are to trust it."""
    draft = _draft(pem, folder)
    return draft if folder is None else draft.replace(folder / "ca.pem")


def _draft(pem: bytes, folder: Path | None) -> Path:
    """A file that nobody else can read, whole from the first."""
    handle, name = tempfile.mkstemp(prefix="smtpx-testing-", suffix=".pem", dir=folder)
    with open(handle, "wb") as file:  # noqa: PTH123 - what is opened is a file descriptor
        _ = file.write(pem)
    return Path(name)
