"""The proxy that makes the connection for us, as a URL: ``socks5://user:secret@proxy.example.com``."""

from __future__ import annotations

import re
from enum import Enum

from smtpx._secrecy import Confidential
from smtpx._urls import ENCODE, URL, host_of, plain, port_of
from smtpx._values import Value, field
from smtpx.errors import EndpointError

__all__ = ["Proxy", "ProxyKind"]


class ProxyKind(Enum):
    """What the proxy speaks. All of them look up the name of the mail server themselves."""

    SOCKS5 = "socks5"
    """RFC 1928, RFC 1929."""
    SOCKS4A = "socks4a"
    HTTP = "http"
    """The CONNECT method (RFC 9110 §9.3.6)."""


_SCHEMES = {
    "socks5": (ProxyKind.SOCKS5, 1080),
    "socks5h": (ProxyKind.SOCKS5, 1080),  # as others spell it where the proxy looks up names
    "socks4a": (ProxyKind.SOCKS4A, 1080),
    "http": (ProxyKind.HTTP, 8080),
}


class Proxy(Confidential, Value):
    """One proxy's address, and who we are to it."""

    kind: ProxyKind
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Read a URL: ``scheme://[user[:password]@]host[:port]``, both percent-encoded.

        Raises:
            EndpointError: the URL has a mistake; the message names it, never the password.
        """
        try:
            return cls._parse(url)
        except EndpointError as error:
            problem = error.with_traceback(None)
            problem.__context__ = None
            problem.args = (f"proxy: {error}",)
        # A traceback with locals shows what the error has passed through, and what it came of.
        del url
        raise problem

    @classmethod
    def _parse(cls, url: str) -> Proxy:
        match = re.fullmatch(URL, url) if url.isprintable() else None
        if match is None:
            raise EndpointError(
                f"the URL is not scheme://host, e.g. socks5://proxy.example.com:1080 ({ENCODE})"
            )
        scheme = match["scheme"].lower()
        if scheme not in _SCHEMES:
            raise EndpointError(f"unknown scheme {scheme!r}; one of {', '.join(_SCHEMES)}")
        kind, port = _SCHEMES[scheme]
        if (match["path"] or "/") != "/" or match["query"]:
            raise EndpointError(f"the URL of a proxy ends with its port ({ENCODE})")
        host = host_of(match["host"])
        port = port if match["port"] is None else port_of(match["port"])
        user, password = (plain(part) or "" for part in match.group("user", "password"))
        _check(kind, user, password)
        return cls(kind, host, port, user, password)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password, alone and as HTTP says it (RFC 7617)."""
        if not self.password:
            return ()
        told = (self.password, f"{self.user}:{self.password}")
        return tuple(text.encode(charset) for text in told for charset in ("utf-8", "latin-1"))

    @property
    def _holds_secret(self) -> bool:
        """True with a password."""
        return bool(self.password)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind.value} proxy {host}:{self.port}"


def _check(kind: ProxyKind, user: str, password: str) -> None:
    """What the proxy could not be told, or `python-socks` would stumble over."""
    match kind:
        case ProxyKind.SOCKS5:
            if bool(user) != bool(password):
                raise EndpointError("SOCKS5 wants both a user and a password, or neither")
            if not (user + password).isascii() or max(len(user), len(password)) > 255:
                raise EndpointError("SOCKS5 takes 255 ASCII characters of user and of password")
        case ProxyKind.SOCKS4A:
            if password:
                raise EndpointError("SOCKS4a knows no passwords, only a user")
            if not user.isascii() or "\0" in user:
                raise EndpointError("SOCKS4a takes a user in ASCII without NUL")
        case ProxyKind.HTTP:
            if ":" in user or not all(ord(character) < 256 for character in user + password):
                raise EndpointError("HTTP takes a user without : and with a password in Latin-1")
            if password and not user:
                raise EndpointError("the URL has a password but no user")
