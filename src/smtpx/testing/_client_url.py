"""The URL by which a client finds a server, and trusts it."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote, urlencode

from .server import Server, ServerTLS


def client_url(server: Server) -> str:
    """The URL of a server that has started, with what a client has to know of its TLS."""
    known: dict[str, str] = {}
    if server.tls is ServerTLS.STARTTLS:
        known["tls"] = "starttls"
    if server.tls is not ServerTLS.NONE:
        with suppress(RuntimeError):  # Of a context that was given, nobody knows the authority.
            known["ca"] = server.ca_file.as_posix()
    query = urlencode(known, safe="/", quote_via=quote)
    return f"{server.url}?{query}" if query else server.url
