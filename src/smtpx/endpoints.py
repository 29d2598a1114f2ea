"""Where a server listens, as a URL: ``submission://user:secret@mail.example.com``."""

from __future__ import annotations

import re
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

from smtpx import _checks
from smtpx._secrecy import Confidential, without_frames
from smtpx._urls import ENCODE, URL, host_of, known_host, plain, port_of
from smtpx._values import Value, field
from smtpx.errors import EndpointError
from smtpx.pins import Pin
from smtpx.tls import TLSMode, TLSPolicy, TLSVersion

if TYPE_CHECKING:
    from smtpx.services import Service

__all__ = ["Endpoint"]

_SCHEMES: dict[str, tuple[int, TLSMode | None, bool]] = {
    # scheme: (port, what protects it, or None = decided by where it is; LMTP?)
    "smtp": (25, None, False),
    "submission": (587, None, False),  # RFC 6409
    "smtps": (465, TLSMode.IMPLICIT, False),  # RFC 8314 §7.3
    "submissions": (465, TLSMode.IMPLICIT, False),
    "lmtp": (24, None, True),  # RFC 2033 §5 leaves the port open, but never 25
    "lmtp+unix": (0, None, True),
}

# A service knows its host, so that the user's own @ needs no encoding.
_SERVICE_URL = r"[^:]+://(?P<user>[^:/?]*)(?::(?P<password>[^@/?]*))?/?(?:\?(?P<query>.*))?"


_SHOWN = 3  # names that an error tells of what may be meant
_CONTROL = r"[\x00-\x1f\x7f-\x9f]"


def _pins(text: str) -> tuple[Pin, ...]:
    return tuple(Pin.parse(pin) for pin in text.split(","))


def _file(text: str) -> str:
    if not text:
        raise ValueError
    return text


# What a query may say of the policy: the field, how it is read, and what it may be.
_PARAMETERS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "tls": ("tls", TLSMode, f"one of {', '.join(mode.value for mode in TLSMode)}"),
    "ca": ("ca_file", _file, "the path of a PEM file"),
    "server_hostname": ("server_hostname", host_of, "a host name"),
    "minimum_version": ("minimum_version", TLSVersion, "TLSv1.2 or TLSv1.3"),
    "pin": ("pins", _pins, "a pin as Pin.parse reads it"),
}


class Endpoint(Confidential, Value):
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
    """``None``, like `password`, where both are empty."""
    password: str | None = field(default=None, repr=False)
    ca_file: str | PathLike[str] | None = None
    """A PEM file of the authorities to trust, instead of the system's."""
    server_hostname: str | None = None
    """The name the certificate must carry, where it is not `host`."""
    minimum_version: TLSVersion | None = None
    pins: tuple[Pin, ...] = ()
    """The server's certificate, or its key, must be one of these."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: TLSMode | None = None,
        lmtp: bool = False,
        path: str = "",
        user: str | None = None,
        password: str | None = None,
        ca_file: str | PathLike[str] | None = None,
        server_hostname: str | None = None,
        minimum_version: TLSVersion | None = None,
        pins: tuple[Pin, ...] = (),
    ) -> None:
        """Say it by hand, or have `parse` read it; a host that is not ASCII gets A-labels.

        Raises:
            EndpointError: one of them is wrong, or two contradict each other.
            TypeError: one of them is of another kind.
        """
        if user == "" and (password is None or password == ""):
            user = password = None
        put = object.__setattr__
        put(self, "host", host)
        put(self, "port", port)
        put(self, "tls", tls)
        put(self, "lmtp", lmtp)
        put(self, "path", path)
        put(self, "user", user)
        put(self, "password", password)
        put(self, "ca_file", ca_file)
        put(self, "server_hostname", server_hostname)
        put(self, "minimum_version", minimum_version)
        put(self, "pins", pins)
        try:
            self._check()
        except (TypeError, EndpointError) as error:
            problem = without_frames(error)
        else:
            return
        # R14: a traceback with locals shows what the error passes through.
        del user, password
        raise problem

    def _check(self) -> None:
        _checks.text("host", self.host)
        _checks.text("path", self.path)
        _checks.instance("tls", self.tls, TLSMode, or_none=True)
        _checks.flag("lmtp", self.lmtp)
        for name in ("user", "password"):
            given = getattr(self, name)
            _checks.text(name, given, or_none=True)
            if given and re.search(_CONTROL, given):
                raise EndpointError(f"its {name} has a control character, such as a line end")
        if not isinstance(self.pins, tuple):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("pins", self.pins, "a tuple of smtpx.Pin")
        least, most = (0, 0) if self.path else (1, 65535)
        if self.path and self.port:
            raise EndpointError(f"port={_checks.shown(self.port)}: a unix socket has none: give 0")
        try:
            _checks.count("port", self.port, least, most)
        except ValueError as error:
            raise EndpointError(str(error)) from None
        if not self.path:
            try:
                host = known_host(self.host)
            except EndpointError:
                raise EndpointError(
                    "host: give a name or an IP address, with no scheme, port or path"
                ) from None
            object.__setattr__(self, "host", host)
        elif self.host:
            raise EndpointError(f"host={_checks.shown(self.host)}: a unix socket has none")
        elif re.search(_CONTROL, self.path):
            raise EndpointError("its path has a control character")
        try:
            _ = self.policy(peer_is_local=True)
        except ValueError as error:
            raise EndpointError(f"its parameters contradict each other: {error}") from None

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read a URL: ``scheme://[user[:password]@]host[:port][?name=value&…]``.

        The schemes are ``smtp`` (25), ``submission`` (587), ``smtps`` and ``submissions`` (465,
        implicit TLS), ``lmtp`` (24) and ``lmtp+unix:///path``. User and password are
        percent-encoded. A service of `smtpx.services` is a scheme, too, and knows its host:
        ``gmail://user:password``. The parameters say how it is protected: ``tls`` is one of
        ``implicit``, ``starttls``, ``opportunistic``, ``none``; ``ca`` is a PEM file of the
        authorities to trust; ``server_hostname`` is the name in the certificate, where it is not
        the host; ``minimum_version`` is ``TLSv1.2`` or ``TLSv1.3``; ``pin`` are pins (`Pin.parse`),
        with commas between them. Whoever says whom to trust wants TLS, on this machine too.

        Raises:
            EndpointError: the URL has a mistake; the message names it, never the password.
        """
        if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("url", url, "a str")
        try:
            return cls._read(url)
        except EndpointError as error:
            problem = error.with_traceback(None)
            problem.__context__ = None
        # A traceback with locals shows what the error has passed through, and what it came of.
        del url
        raise problem

    @classmethod
    def _read(cls, url: str) -> Endpoint:
        if not url.isprintable():
            raise EndpointError("the URL contains a control character")
        scheme = url.partition("://")[0].lower()
        if "://" in url and scheme not in _SCHEMES:
            from smtpx.services import known

            if scheme in known():
                return cls._of_service(known()[scheme], url)
        match = re.fullmatch(URL, url)
        if match is None:
            raise EndpointError(
                "the URL is not scheme://host, e.g. smtp://localhost or "
                f"submission://user:password@mail.example.com ({ENCODE})"
            )
        scheme = match["scheme"].lower()
        if scheme not in _SCHEMES:
            raise EndpointError(_unknown(scheme))
        port, tls, lmtp = _SCHEMES[scheme]
        parameters = _parameters_of(match["query"], tls)
        host, path = match["host"], plain(match["path"]) or ""
        if scheme == "lmtp+unix":
            if host or match["port"] or not path.strip("/"):
                raise EndpointError("a unix socket is written lmtp+unix:///absolute/path")
            if match["user"] is not None and "@" in match["path"]:  # whose @ is it?
                raise EndpointError(f"percent-encode the @ of its path, and {ENCODE}")
        else:
            if path.strip("/"):
                raise EndpointError(f"a {scheme} URL has no path, but this one has ({ENCODE})")
            host, path = host_of(host), ""
            port = port if match["port"] is None else port_of(match["port"])
        user, password = (plain(part) for part in match.group("user", "password"))
        return cls(host, port, lmtp=lmtp, path=path, user=user, password=password, **parameters)

    @classmethod
    def _of_service(cls, service: Service, url: str) -> Endpoint:
        """What the URL of a service stands for."""
        match = re.fullmatch(_SERVICE_URL, url)
        user = None if match is None else plain(match["user"])
        if match is None or (user or "").rpartition("@")[2] == service.host:
            raise EndpointError(
                f"{service.name}:// knows its host: write {service.name}://user:password "
                "(percent-encode : @ / ? in a password)"
            )
        if user and service.fixed_user and user != service.user:
            raise EndpointError(f"another user than {service.user!r}: {service.login}")
        base = cls.parse(service.url)
        parameters = _parameters_of(match["query"], base.tls)
        password = plain(match["password"])
        return cls(base.host, base.port, user=user, password=password, **parameters)

    def policy(self, *, peer_is_local: bool) -> TLSPolicy:
        """What protects a session, given where the peer turned out to be.

        Unless the URL says how, or whom to trust, STARTTLS is required of every host but this
        machine.

        Raises:
            ValueError: what is said contradicts itself.
        """
        _checks.flag("peer_is_local", peer_is_local)
        mode = self.tls
        if mode is None:
            is_safe = peer_is_local and self.is_local and not self.says_whom_to_trust
            mode = TLSMode.NONE if is_safe else TLSMode.STARTTLS
        return TLSPolicy(
            mode,
            ca_file=self.ca_file,
            server_hostname=self.server_hostname,
            minimum_version=self.minimum_version,
            pins=self.pins,
        )

    @property
    def says_whom_to_trust(self) -> bool:
        """True if it has what only TLS has a use for."""
        return bool(self.ca_file or self.server_hostname or self.minimum_version or self.pins)

    @property
    def is_local(self) -> bool:
        """True if it is this machine by name: a unix socket, localhost or a loopback address."""
        return (
            bool(self.path)
            or self.host.lower() in ("localhost", "::1")
            or re.fullmatch(r"127(\.\d{1,3}){3}", self.host) is not None
        )

    @property
    def _holds_secret(self) -> bool:
        """True with a password: credentials may be given apart from it."""
        return self.password is not None

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _unknown(scheme: str) -> str:
    """What to say of a scheme that is none."""
    from difflib import get_close_matches

    from smtpx.services import called, known

    near = called(scheme) or get_close_matches(scheme, [*_SCHEMES, *known()], 3)
    if near:
        more = " or another region" if len(near) > _SHOWN else ""
        guess = f"did you mean {' or '.join(near[:_SHOWN])}{more}?"
    else:
        guess = f"one of {', '.join(_SCHEMES)}, or a service such as gmail (smtpx.services)"
    return f"unknown scheme {scheme!r}; {guess}"


def _parameters_of(query: str | None, tls: TLSMode | None) -> dict[str, Any]:
    """The fields that a query sets, beside what the scheme says of TLS."""
    said: dict[str, Any] = {}
    for parameter in filter(None, (query or "").split("&")):
        name, _, text = parameter.partition("=")
        if name not in _PARAMETERS:
            known = ", ".join(_PARAMETERS)
            raise EndpointError(f"unknown URL parameter; known are {known} ({ENCODE})")
        field, read, kind = _PARAMETERS[name]
        if field in said:
            raise EndpointError(f"its {name} parameter is given twice")
        try:
            said[field] = read(plain(text, f"{name} parameter") or "")
        except ValueError:
            raise EndpointError(f"the {name} parameter is not {kind} ({ENCODE})") from None
    if tls is not None and said.get("tls", tls) is not tls:
        raise EndpointError(
            f"its scheme says that TLS is {tls.value}, and its tls parameter another thing: leave "
            "the parameter out, or write smtp:// or submission://"
        )
    return {"tls": tls, **said}
