"""TLS policies into `ssl` contexts."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from smtpx.tls import Protection, TLSMode, TLSPolicy

if TYPE_CHECKING:
    import ssl


def context_for(policy: TLSPolicy) -> ssl.SSLContext | None:
    """The context that does what the policy says; ``None`` where TLS is never wanted.

    Certificate and name are verified, and nothing older than TLS 1.2 is spoken, unless the
    policy brings a context of its own.
    """
    if policy.mode is TLSMode.NONE:
        return None
    if policy.context is not None:
        return policy.context
    if policy.ca_file is None:
        return _system_context()
    return _verifying_context(str(policy.ca_file))


@cache
def _system_context() -> ssl.SSLContext:
    # Reading the system's authorities takes tens of milliseconds: done once, shared by all.
    return _verifying_context(None)


def _verifying_context(ca_file: str | None) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def protection_of(channel: ssl.SSLSocket | ssl.SSLObject) -> Protection:
    """What a handshake agreed on."""
    import ssl
    from datetime import UTC, datetime

    cipher = channel.cipher()
    verified = channel.getpeercert() or {}
    names: Any = verified.get("subjectAltName", ())
    expires = verified.get("notAfter")
    bindings = ((kind, channel.get_channel_binding(kind)) for kind in ssl.CHANNEL_BINDING_TYPES)
    return Protection(
        version=channel.version() or "",
        cipher=cipher[0] if cipher else "",
        certificate=channel.getpeercert(binary_form=True) or b"",
        names=tuple(str(name) for kind, name in names if kind in ("DNS", "IP Address")),
        expires=datetime.fromtimestamp(ssl.cert_time_to_seconds(str(expires)), UTC)
        if expires
        else None,
        channel_bindings=tuple((kind, data) for kind, data in bindings if data),
    )
