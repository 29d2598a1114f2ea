"""TLS as `smtpx.smtplib` does it when the caller hands in no context.

`ssl` is always the module as the caller's module has it, for tests replace it there.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from smtpx._drivers.connected import is_genuine, is_local

if TYPE_CHECKING:
    from ssl import SSLContext, SSLSocket

__all__ = ["check_key_arguments", "own_context", "part", "protected"]


def check_key_arguments(
    keyfile: str | None, certfile: str | None, context: SSLContext | None
) -> None:
    """Refuse a key beside a context, and say that a context is the better way.

    Raises:
        ValueError: both were given.
    """
    for name, value in (("keyfile", keyfile), ("certfile", certfile)):
        if value is not None and context is not None:
            raise ValueError(f"context and {name} arguments are mutually exclusive")
    if keyfile is not None or certfile is not None:
        warnings.warn(
            "keyfile and certfile are deprecated, use a custom context instead",
            DeprecationWarning,
            stacklevel=3,
        )


def protected(
    ssl: Any,
    plain: Any,
    context: SSLContext | None,
    host: str,
    keyfile: str | None,
    certfile: str | None,
) -> SSLSocket:
    """Do the TLS handshake, with a context of our own if none is given."""
    name = "localhost" if host.startswith("/") else host
    if context is not None:
        return context.wrap_socket(plain, server_hostname=name)
    local = is_genuine(plain) and is_local(plain)
    own = own_context(ssl, keyfile, certfile, verifying=not local)
    try:
        return own.wrap_socket(plain, server_hostname=name)
    except OSError as error:
        if type(error).__name__ == "SSLCertVerificationError":
            text = (
                f"{error.strerror or error}; if you trust {name}, hand in a context: "
                "ssl.create_default_context(cafile=...) with the authority of its certificate"
            )
            error.args = (error.errno, text)
            error.strerror = text
        raise


def part(sock: Any) -> None:
    """Under TLS, write close_notify, if there is room (RFC 8446 §6.1).

    The peer's own is not waited for.
    """
    if not (is_genuine(sock) and hasattr(sock, "unwrap")):
        return
    try:
        sock.settimeout(0)
        sock.unwrap()
    except (OSError, ValueError):
        pass  # The peer has yet to say the same, or has gone already.


def own_context(
    ssl: Any, keyfile: str | None, certfile: str | None, *, verifying: bool = True
) -> SSLContext:
    """Make a context for a caller who has none."""
    if keyfile and not certfile:
        raise ValueError("certfile must be specified")
    context: SSLContext
    if verifying:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    return context
