"""What a session is opened with, whatever the face: declared once, checked once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Unpack, cast

from smtpx import _checks
from smtpx._drivers.resumption import Handshakes
from smtpx._faces.keywords import SessionOptions
from smtpx._secrecy import without_frames
from smtpx._values import Value, replaced
from smtpx._wire.commands import ehlo
from smtpx.endpoints import Endpoint
from smtpx.errors import EndpointError, LocalProtocolError
from smtpx.observing import Observer
from smtpx.options import Check, Limits, Timeouts
from smtpx.proxy_protocol import ProxyHeader
from smtpx.sasl.choice import Mechanisms, check
from smtpx.sasl.credentials import Credentials
from smtpx.tls import TLSPolicy

if TYPE_CHECKING:
    from smtpx._proxies import Proxy
    from smtpx.signing import Signer


_IMPLICIT_TLS = 465
_KINDS: dict[str, type] = {
    "tls": TLSPolicy,
    "credentials": Credentials,
    "proxy_header": ProxyHeader,
    "timeouts": Timeouts,
    "limits": Limits,
}
_TEXTS = ("client_name", "proxy")
_CALLED = ("observer", "signer")
# What other clients call it.
_KIN = {
    **dict.fromkeys(("user", "username", "password", "token", "auth", "login"), "credentials"),
    **dict.fromkeys(("ssl", "use_ssl", "use_tls", "start_tls", "starttls", "secure"), "tls"),
    **dict.fromkeys(("context", "ssl_context", "tls_context", "verify", "validate_certs"), "tls"),
    **dict.fromkeys(("certfile", "keyfile", "cafile", "ca_certs", "client_cert"), "tls"),
    **dict.fromkeys(("local_hostname", "helo", "ehlo", "helo_host"), "client_name"),
    **dict.fromkeys(("debug", "debuglevel", "logger"), "observer"),
    "local_address": "source_address",
    "dkim": "signer",
}


class Settings(Value):
    """An endpoint and the options, complete and checked."""

    endpoint: Endpoint
    tls: TLSPolicy | None
    credentials: Credentials | None
    mechanisms: Mechanisms | None
    client_name: str | None
    sources: tuple[tuple[str, int], ...]
    proxy: Proxy | None
    proxy_header: ProxyHeader | None
    timeouts: Timeouts
    limits: Limits
    ignored: frozenset[str]
    observer: Observer | None
    signer: Signer | None
    check: Check

    @classmethod
    def of(cls, endpoint: str | Endpoint, **options: Unpack[SessionOptions]) -> Settings:
        """Read the URL and complete the options.

        Raises:
            EndpointError, LocalProtocolError: one of them is wrong.
            TypeError: there is no such option, or it takes something else.
        """
        try:
            return cls._of(endpoint, options)
        except Exception as error:
            problem = without_frames(error)
        # R14: passwords may stand in them, and a traceback may show locals.
        del endpoint, options
        raise problem

    @classmethod
    def _of(cls, endpoint: str | Endpoint, options: SessionOptions) -> Settings:
        _check_kinds(options)
        endpoint = _endpoint_of(endpoint)
        _check_tls(endpoint, options.get("tls"))
        _check_port(endpoint, options.get("tls"))
        client_name = options.get("client_name")
        if client_name is not None:
            try:
                _ = ehlo("EHLO", client_name)
            except LocalProtocolError as error:
                raise LocalProtocolError(f"client_name: {error}") from None
        check(options.get("mechanisms"))
        credentials = _credentials_of(endpoint, options.get("credentials"))
        if credentials is None and options.get("mechanisms") is not None:
            raise LocalProtocolError(
                "mechanisms= says how to log in, but not who: give credentials=smtpx.Credentials(…)"
            )
        sources = _sources_of(options.get("source_address"))
        if sources and endpoint.path:
            raise LocalProtocolError("a unix socket has no source_address: leave it out")
        return cls(
            endpoint,
            options.get("tls"),
            credentials,
            options.get("mechanisms"),
            client_name,
            sources,
            _proxy_of(options.get("proxy"), endpoint),
            options.get("proxy_header"),
            _timeouts_of(options),
            options.get("limits") or Limits(),
            _keywords_of(options.get("ignore_extensions", ())),
            options.get("observer"),
            options.get("signer"),
            options.get("check", Check.PASS),
        )

    @property
    def dialled(self) -> Endpoint:
        """What we connect to: the server, or the proxy before it."""
        return self.endpoint if self.proxy is None else Endpoint(self.proxy.host, self.proxy.port)

    def handshakes(self) -> Handshakes:
        """What begins the TLS handshakes of one client with these settings.

        Raises:
            LocalProtocolError: a file of the TLS policy cannot be read.
        """
        return Handshakes(self.tls, self.endpoint.host)

    def without_credentials(self) -> Settings:
        """What is still of use once the session has logged in."""
        endpoint = replaced(self.endpoint, user=None, password=None)
        return replaced(self, endpoint=endpoint, credentials=None, proxy=None, tls=None)

    def policy(self, *, peer_is_local: bool) -> TLSPolicy:
        """What protects the session, given where the peer turned out to be.

        Without a word from the caller, STARTTLS is required of every host but this machine.
        """
        return self.tls or self.endpoint.policy(peer_is_local=peer_is_local)


def _keywords_of(given: Collection[str]) -> frozenset[str]:
    """EHLO keywords, upper case."""
    _checks.each("ignore_extensions", given, "EHLO keywords", str)
    keywords = frozenset(keyword.upper() for keyword in given)
    for keyword in keywords:
        if not keyword.replace("-", "").isalnum() or not keyword.isascii():
            raise LocalProtocolError(f"ignore_extensions: {keyword!r} is no EHLO keyword")
    return keywords


def _check_kinds(options: SessionOptions) -> None:
    unknown = options.keys() - SessionOptions.__annotations__.keys()
    if "socket" in unknown:
        raise TypeError("socket: a Session takes the one you hold; a Client opens several")
    if "pool" in unknown:
        raise TypeError("pool: a Client has one; here is one connection")
    if unknown:
        raise _checks.unknown("option", unknown, SessionOptions.__annotations__, _KIN)
    for name, kind in _KINDS.items():
        _checks.instance(name, options.get(name), kind, or_none=True)
    for name in _TEXTS:
        _checks.text(name, options.get(name), or_none=True)
    for name in _CALLED:
        value = options.get(name)
        if value is None:
            continue
        if not callable(value) or isinstance(value, type):
            raise _checks.complaint(name, value, "what can be called, or None")
        if _is_awaited(value):
            raise TypeError(f"{name}: give a function that is not async: it is called, not awaited")
    _checks.instance("check", options.get("check", Check.PASS), Check)


def _is_awaited(value: object) -> bool:
    from inspect import iscoroutinefunction  # Most clients have neither, and it loads much.

    return iscoroutinefunction(value)


def _endpoint_of(given: str | Endpoint) -> Endpoint:
    if isinstance(given, str):
        return Endpoint.parse(given)
    if isinstance(given, Endpoint):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        return given
    advice = ": is the variable set that it comes from?" if given is None else ""
    allowed = "a URL such as 'smtp://localhost' or a smtpx.Endpoint"
    raise _checks.complaint("endpoint", given, allowed, advice)


def _timeouts_of(options: SessionOptions) -> Timeouts:
    seconds, timeouts = options.get("timeout"), options.get("timeouts")
    _checks.amount("timeout", seconds, "seconds", or_none=True)
    if seconds is None:
        return timeouts or Timeouts()
    if timeouts is not None:
        raise LocalProtocolError(
            "timeout= and timeouts= both say how long to wait: give Timeouts(total=…) in its place"
        )
    return Timeouts(total=seconds)


def _check_tls(endpoint: Endpoint, policy: TLSPolicy | None) -> None:
    """What one of the two says must not be lost because the other says something, too."""
    if policy is None:
        return
    if endpoint.tls not in (None, policy.mode):
        raise LocalProtocolError(
            f"the URL says {endpoint.tls.value}, and tls= says {policy.mode.value}: leave one out"
        )
    if endpoint.says_whom_to_trust:
        raise LocalProtocolError(
            "both the URL and tls= say whom to trust: put all of it in one of them"
        )


def _check_port(endpoint: Endpoint, policy: TLSPolicy | None) -> None:
    """Port 465 waits for TLS (RFC 8314 §7.3), and would be waited for until the time is up."""
    if endpoint.port == _IMPLICIT_TLS and endpoint.tls is None and policy is None:
        raise EndpointError(
            f"{endpoint} begins with TLS, as port 465 does: use smtps://, or say ?tls=starttls if "
            "this server does otherwise"
        )


def _sources_of(given: object) -> tuple[tuple[str, int], ...]:
    """A source for each family."""
    if given is None:
        return ()
    import ipaddress

    allowed = "a tuple of IP address and port, or a list of such tuples"
    said = given
    is_list = isinstance(given, Sequence) and not isinstance(given, (str, bytes))
    several = cast("Sequence[object]", given) if is_list else ()
    if not several:
        raise _checks.complaint("source_address", said, f"{allowed}, or None")
    if isinstance(several[0], str):
        several = [several]
    sources: dict[int, tuple[str, int]] = {}
    for source in several:
        host, port = _checks.address_and_port("source_address", source)
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            # To look up a name would cost time, and may give another address each time.
            raise LocalProtocolError(f"source_address={source!r}: give an IP address") from None
        if version in sources:
            raise LocalProtocolError(f"source_address has two of IPv{version}: give one")
        sources[version] = host, port
    return tuple(sources.values())


def _proxy_of(url: str | None, endpoint: Endpoint) -> Proxy | None:
    if url is None:
        return None
    from smtpx._drivers.tunnels import check_installed
    from smtpx._proxies import Proxy

    check_installed()
    if endpoint.path:
        raise LocalProtocolError("a unix socket is not reached through a proxy")
    return Proxy.parse(url)


def _credentials_of(endpoint: Endpoint, given: Credentials | None) -> Credentials | None:
    """Those that were given; the user may stand in the URL."""
    if given is not None:
        return given if given.user or not endpoint.user else replaced(given, user=endpoint.user)
    if endpoint.user is None:
        return None
    if endpoint.password is None:
        raise LocalProtocolError(
            "the URL has a user but no password: add it, or give it apart: "
            "credentials=smtpx.Credentials(password=…)"
        )
    return Credentials(endpoint.user, endpoint.password)
