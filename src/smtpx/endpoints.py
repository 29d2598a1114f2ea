"""Where a server listens, as a URL: ``submission://user:secret@mail.example.com``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Self

from smtpx.errors import EndpointError
from smtpx.tls import TLSMode

__all__ = ["Endpoint"]

_SCHEMES: dict[str, tuple[int, TLSMode | None, bool]] = {
    # scheme: (port, what protects it, or None = decided by where it is; LMTP?)
    "smtp": (25, None, False),
    "submission": (587, None, False),  # RFC 6409
    "smtps": (465, TLSMode.IMPLICIT, False),  # RFC 8314 §7.3
    "submissions": (465, TLSMode.IMPLICIT, False),
    "lmtp": (24, None, True),  # RFC 2033 §5 leaves the port open, but never 25
    "lmtp+unix": (0, TLSMode.NONE, True),
}
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://"
    r"(?:(?P<user>[^:/?]*?)(?::(?P<password>[^/?]*))?@)?"
    r"(?P<host>\[[^\]]*\]|[^:/?@\[\]]*)"
    r"(?::(?P<port>[^/?@]*))?"
    r"(?P<path>/[^?]*)?"
    r"(?:\?(?P<query>.*))?"
)
# No message quotes the URL: a password that was not encoded may stand anywhere in it.
_ENCODE = "percent-encode : @ / ? in a password"
_LABEL = r"[A-Za-z0-9_\-]{1,63}"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._\-]+)?\]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server's address, and how to speak to it."""

    host: str
    """Name or IP address, without brackets; empty for a unix socket."""
    port: int
    tls: TLSMode | None = None
    """When the handshake takes place; ``None``: STARTTLS is required, except on this machine."""
    lmtp: bool = False
    path: str = ""
    """The unix socket's path."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read a URL: ``scheme://[user[:password]@]host[:port][?tls=…]``.

        The schemes are ``smtp`` (25), ``submission`` (587), ``smtps`` and ``submissions`` (465,
        implicit TLS), ``lmtp`` (24) and ``lmtp+unix:///path``. User and password are
        percent-encoded. ``tls`` is one of ``implicit``, ``starttls``, ``opportunistic``, ``none``.

        Raises:
            EndpointError: the URL has a mistake; the message names it, never the password.
        """
        try:
            return cls._read(url)
        except EndpointError as error:
            problem = error.with_traceback(None)
        # A traceback with locals shows what the error has passed through.
        del url
        raise problem

    @classmethod
    def _read(cls, url: str) -> Endpoint:
        if not url.isprintable():
            raise EndpointError("the URL contains a control character")
        match = _URL.fullmatch(url)
        if match is None:
            raise EndpointError(
                "the URL is not scheme://host, e.g. smtp://localhost or "
                f"submission://user:password@mail.example.com ({_ENCODE})"
            )
        scheme = match["scheme"].lower()
        if scheme not in _SCHEMES:
            raise EndpointError(f"unknown scheme {scheme!r}; one of {', '.join(_SCHEMES)}")
        port, tls, lmtp = _SCHEMES[scheme]
        tls = _tls_of(match["query"], tls)
        host, path = match["host"], _plain(match["path"]) or ""
        if scheme == "lmtp+unix":
            if host or match["port"] or not path.strip("/") or "\0" in path:
                raise EndpointError("a unix socket is written lmtp+unix:///absolute/path")
            if match["user"] is not None and "@" in match["path"]:  # whose @ is it?
                raise EndpointError(f"percent-encode the @ of its path, and {_ENCODE}")
        else:
            if path.strip("/"):
                raise EndpointError(f"a {scheme} URL has no path, but this one has ({_ENCODE})")
            host, path = _host_of(host), ""
            port = port if match["port"] is None else _port_of(match["port"])
        user, password = (_plain(part) for part in match.group("user", "password"))
        return cls(host, port, tls, lmtp, path, user, password)

    @property
    def is_local(self) -> bool:
        """True if it is this machine by name: a unix socket, localhost or a loopback address."""
        return (
            bool(self.path)
            or self.host.lower() in ("localhost", "::1")
            or re.fullmatch(r"127(\.\d{1,3}){3}", self.host) is not None
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self.password is not None:
            raise TypeError("an endpoint with a password is not pickled; give credentials apart")
        return type(self), (self.host, self.port, self.tls, self.lmtp, self.path, self.user)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _plain(part: str | None) -> str | None:
    if part is None or "%" not in part:
        return part
    from urllib.parse import unquote

    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise EndpointError("its user or password is not percent-encoded UTF-8") from None


def _host_of(host: str) -> str:
    if not host:
        raise EndpointError("the URL names no host")
    if not host.isascii():
        import idna

        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:  # Its message would quote what may be a password.
            raise EndpointError("its host is not an internationalized domain name") from None
    if not _HOST.fullmatch(host):
        raise EndpointError(f"its host is not a name or an IP address ({_ENCODE})")
    if host.startswith("["):
        import ipaddress

        try:
            _ = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise EndpointError("its host is not an IPv6 address between [ and ]") from None
    return host.strip("[]")


def _port_of(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise EndpointError(f"its port is not a number from 1 to 65535 ({_ENCODE})")
    return int(text)


def _tls_of(query: str | None, default: TLSMode | None) -> TLSMode | None:
    if not query:
        return default
    from urllib.parse import parse_qsl

    chosen = default
    parameters = parse_qsl(query, keep_blank_values=True)
    for name, value in parameters:
        if name != "tls":
            raise EndpointError(f"unknown URL parameter; known is: tls ({_ENCODE})")
        try:
            chosen = TLSMode(value)
        except ValueError:
            known = ", ".join(mode.value for mode in TLSMode)
            raise EndpointError(f"the tls parameter is not one of {known} ({_ENCODE})") from None
    if len(parameters) > 1:
        raise EndpointError("its tls parameter is given twice")
    return chosen
