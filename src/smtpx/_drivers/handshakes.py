"""One TLS handshake, as every driver does it, and what `ssl` tells of it."""

from __future__ import annotations

import socket
import ssl
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

from smtpx._core.steps import StartTLS
from smtpx._drivers.contexts import missing_from
from smtpx.tls import Presented, Protection


class Resumable(NamedTuple):
    """A session of TLS that a later handshake can resume."""

    session: ssl.SSLSession
    terms: tuple[object, ...]
    """What it was agreed on under."""
    protection: Protection


class Handshake:
    """One connection's handshake, over buffers."""

    def __init__(
        self,
        context: ssl.SSLContext,
        server_hostname: str,
        *,
        terms: tuple[object, ...],
        resumed: Resumable | None,
    ) -> None:
        self.server_hostname = server_hostname
        self._context = context
        self._terms = terms
        self._resumed = resumed
        self._channel: ssl.SSLObject | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        self._protection: Protection | None = None
        self._step: StartTLS | None = None
        """What asked for it."""

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Wrap two buffers; the handshake is still to be done."""
        self._outgoing = outgoing
        channel = self._channel = self._context.wrap_bio(
            incoming, outgoing, server_hostname=self.server_hostname, session=self._session
        )
        return channel

    @property
    def _session(self) -> ssl.SSLSession | None:
        return None if self._resumed is None else self._resumed.session

    def note(self, step: StartTLS) -> None:
        """Note what the handshake agreed on, once it is done."""
        channel = self._channel
        if channel is None:
            raise AssertionError("a handshake is done on a channel")
        self._step = step
        step.protection = self._protection = _protection_of(channel, self._resumed)

    def note_close(self) -> None:
        """Note that the peer has said that nothing follows."""
        if self._step is not None:
            self._step.is_closed = True

    def note_failure(self, step: StartTLS) -> None:
        """Note what is known of a handshake that has failed."""
        if self._channel is not None:
            step.presented = _presented_by(self._channel)
            step.missing = missing_from(self._channel.context)

    def part(self, connected: socket.socket) -> None:
        """Write close_notify to the socket, if there is room (RFC 8446 §6.1).

        The peer's own is not waited for; nor does it matter whether ours arrives.
        """
        if self._channel is None or self._outgoing is None or self._protection is None:
            return
        try:
            self._channel.unwrap()
        except ssl.SSLError:
            pass  # The peer has yet to say the same.
        try:
            _ = connected.send(self._outgoing.read())
        except OSError:
            pass  # It has gone already.

    @property
    def resumable(self) -> Resumable | None:
        """What a later handshake can resume; ``None`` as long as there is nothing."""
        channel = self._channel
        if type(channel) is not ssl.SSLObject:
            return None  # Who looks at certificates beside OpenSSL finds none in what is resumed.
        session = channel.session
        if session is None or self._protection is None:
            return None
        return Resumable(session, self._terms, self._protection)


def _protection_of(channel: ssl.SSLObject, resumed: Resumable | None) -> Protection:
    cipher = channel.cipher()
    certificate = channel.getpeercert(binary_form=True) or b""
    verified = channel.getpeercert() or {}
    shown = (_decoded(verified),) if verified else _presented_by(channel)
    names = shown[0].names if shown else ()
    expires = shown[0].expires if shown else None
    if not shown and resumed is not None and resumed.protection.certificate == certificate:
        names, expires = resumed.protection.names, resumed.protection.expires
    bindings = ((kind, channel.get_channel_binding(kind)) for kind in ssl.CHANNEL_BINDING_TYPES)
    return Protection(
        version=channel.version() or "",
        cipher=cipher[0] if cipher else "",
        certificate=certificate,
        chain=_chain_of(channel),
        names=names,
        expires=expires,
        is_verified=bool(verified) and channel.context.check_hostname,
        is_resumed=bool(channel.session_reused),
        channel_bindings=tuple((kind, data) for kind, data in bindings if data),
    )


def _chain_of(channel: ssl.SSLObject) -> tuple[bytes, ...]:
    """What the peer has sent, DER; nothing where that is not told."""
    if sys.version_info >= (3, 13):
        return tuple(channel.get_unverified_chain())
    # Before 3.13 it can be had from below only; where it cannot, nothing is believed of it.
    chain: Any = getattr(getattr(channel, "_sslobj", None), "get_unverified_chain", None)
    pem = (certificate.public_bytes() for certificate in (chain and chain()) or ())
    return tuple(map(ssl.PEM_cert_to_DER_cert, pem))


def _presented_by(channel: ssl.SSLObject) -> tuple[Presented, ...]:
    # What was not believed can be had from below only: the public method, of 3.13, gives octets
    # that nothing in the standard library decodes. It is for people to read, and for no decision.
    chain: Any = getattr(getattr(channel, "_sslobj", None), "get_unverified_chain", None)
    return tuple(_decoded(certificate.get_info()) for certificate in (chain and chain()) or ())


def _decoded(certificate: Any) -> Presented:
    """What `ssl` makes of a certificate, in our words."""
    alternatives = certificate.get("subjectAltName", ())
    issuer = [value for part in certificate.get("issuer", ()) for _, value in part]
    return Presented(
        names=tuple(str(name) for kind, name in alternatives if kind in ("DNS", "IP Address")),
        issuer=", ".join(issuer),
        begins=_moment(certificate["notBefore"]),
        expires=_moment(certificate["notAfter"]),
    )


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
