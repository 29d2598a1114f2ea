"""What Django's settings and OPTIONS say, as a client takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from smtpx import Credentials, Endpoint, PoolLimits, SessionOptions, Timeouts, _checks
from smtpx.integrations.django import _outboxes
from smtpx.integrations.django._outboxes import Kept
from smtpx.tls import ClientCertificate, TLSMode, TLSPolicy

__all__ = ["OPTIONS", "Settings", "read", "said_by"]

# The options that Django's own backend has, and the setting of each before MAILERS.
_DJANGO = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "use_tls": "EMAIL_USE_TLS",
    "use_ssl": "EMAIL_USE_SSL",
    "timeout": "EMAIL_TIMEOUT",
    "ssl_keyfile": "EMAIL_SSL_KEYFILE",
    "ssl_certfile": "EMAIL_SSL_CERTFILE",
}
_IMPLICIT_TLS = 465  # RFC 8314 §7.3
_WHERE = ("host", "port", "use_tls", "use_ssl")
# `timeout` is Django's, and means each wait.
_SESSION = frozenset(SessionOptions.__annotations__) - {"timeout"}
OPTIONS = frozenset(_DJANGO) | _SESSION | {"url", "pool", "partial", "outbox"}
"""All that can be said."""
_PARTIAL = ("signal", "raise")
_WHO = ("username", "password", "credentials")
_SERVER = ("url", *_WHERE, *_WHO)
# What a call says, and what of the settings it replaces.
_REPLACED = {
    "url": (*_WHERE, *_WHO),
    "host": ("url",),
    "username": ("credentials",),
    "credentials": ("username", "password"),
    "timeout": ("timeouts",),
    "timeouts": ("timeout",),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a backend works by. Those that are equal share a client."""

    endpoint: Endpoint
    pool: PoolLimits | None
    options: SessionOptions = field(repr=False)  # The URL of a proxy may have a password.
    partial_raises: bool
    """A message that only some recipients got is an error."""
    outbox: Kept | None
    """Where mail is put in place of being sent."""


@sensitive_variables()
def said_by(call: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call, such as `get_connection`; those it leaves out are in the settings.

    A host of the call replaces the whole URL there. A URL of the call says who logs in, too. The
    outbox None is none: mail is sent at once.

    Raises:
        ValueError: the settings, or these and the call, contradict each other.
        TypeError: ``SMTPX`` is no dict.
    """
    # None says nothing of the rest, which Django itself gives.
    is_sent_now = "outbox" in call and call["outbox"] is None
    call, settled = _said(call), _said_in_settings()
    if is_sent_now:
        _ = settled.pop("outbox", None)
    parts = [name for name in _WHERE if name in call]
    if parts and "url" in settled and not {"url", "host"} & call.keys():
        raise ValueError(
            f"SMTPX has a url, which says {', '.join(parts)}: give the host, too, or say "
            "get_connection(url=…)"
        )
    if "outbox" in settled and (others := [name for name in _SERVER if name in call]):
        raise ValueError(
            "SMTPX has an outbox, whose worker sends by the server of the settings: leave out "
            f"{', '.join(others)}, or send at once: get_connection(outbox=None, …)"
        )
    replaced = {name for given in call for name in _REPLACED.get(given, ())}
    return {name: settled[name] for name in settled if name not in replaced} | call


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    """What options say: None says nothing."""
    return {name: value for name, value in options.items() if value is not None}


@sensitive_variables()
def _said_in_settings() -> dict[str, Any]:
    """The options that ``SMTPX`` and the ``EMAIL_…`` settings give.

    Django's own defaults say nothing about TLS: what nobody wrote is no wish for plain text.

    Raises:
        ValueError: ``SMTPX`` has a URL, and a setting says what the URL says.
        TypeError: ``SMTPX`` is no dict.
    """
    given: object = getattr(settings, "SMTPX", {})
    if not isinstance(given, dict):
        raise _checks.complaint("SMTPX", given, "a dict of options")
    own = cast("dict[str, Any]", given)
    written = _said(
        {
            name: getattr(settings, setting)
            for name, setting in _DJANGO.items()
            if settings.is_overridden(setting)
        }
    )
    if own.get("url") is None:
        written = {"host": settings.EMAIL_HOST, "port": settings.EMAIL_PORT} | written
    elif twice := [_DJANGO[name] for name in written if name != "timeout"]:
        raise ValueError(f"SMTPX has a url: leave out {', '.join(twice)}")
    return _said(written | own)


@sensitive_variables()
def read(options: Mapping[str, Any]) -> Settings:
    """Read options; None says nothing.

    Raises:
        ValueError: one of them is wrong, or two contradict each other.
        TypeError: one of them is of another kind, or unknown.
        smtpx.LocalProtocolError: a client cannot be made of them.
    """
    unknown = options.keys() - OPTIONS
    if unknown:
        raise _checks.unknown("option", unknown, sorted(OPTIONS))
    given = _said(options)
    partial = given.get("partial", "signal")
    if partial not in _PARTIAL:
        raise ValueError(f"partial: give 'signal' or 'raise', not {partial!r}")
    outbox = _outboxes.read(given["outbox"]) if "outbox" in given else None
    if outbox is not None and "partial" in given:
        raise ValueError("partial: leave it out beside an outbox, which tells of each recipient")
    endpoint = _endpoint(given)
    session: dict[str, Any] = {name: given[name] for name in _SESSION & given.keys()}
    for name, value in (
        ("credentials", _credentials(given, endpoint)),
        ("timeouts", _timeouts(given)),
        ("tls", _policy(given, endpoint)),
    ):
        if value is not None:
            session[name] = value
    return Settings(
        endpoint, given.get("pool"), cast("SessionOptions", session), partial == "raise", outbox
    )


def _endpoint(given: Mapping[str, Any]) -> Endpoint:
    if "url" in given:
        if twice := [name for name in _WHERE if name in given]:
            raise ValueError(f"the url says it already: leave out {', '.join(twice)}")
        return Endpoint.parse(given["url"])
    if not given.get("host"):
        raise ValueError("OPTIONS must define 'url' or 'host'")
    mode, port = _mode(given), given.get("port")
    if str(port).isdecimal():  # a str, where it comes from the environment
        port = int(str(port))
    if port == _IMPLICIT_TLS and mode is None and "tls" not in given:
        raise ValueError(
            "port 465 begins with TLS: say use_ssl=True; or use_tls=True, if this server does "
            "otherwise"
        )
    usual = {TLSMode.IMPLICIT: _IMPLICIT_TLS, TLSMode.STARTTLS: 587}.get(mode, 25) if mode else 25
    return Endpoint(given["host"], port or usual, mode)


def _mode(given: Mapping[str, Any]) -> TLSMode | None:
    """When TLS begins, as far as it is said."""
    use_tls, use_ssl = given.get("use_tls"), given.get("use_ssl")
    for name in {"use_tls", "use_ssl"} & given.keys():
        _checks.flag(name, given[name])
    if use_tls and use_ssl:
        raise ValueError(
            "EMAIL_USE_TLS/EMAIL_USE_SSL are mutually exclusive, so only set one of those "
            "settings to True."
        )
    if use_ssl:
        return TLSMode.IMPLICIT
    if use_tls is None:
        return None
    return TLSMode.STARTTLS if use_tls else TLSMode.NONE


def _credentials(given: Mapping[str, Any], endpoint: Endpoint) -> Credentials | None:
    username, password = given.get("username"), given.get("password")
    if endpoint.password is None and password:
        username = username or endpoint.user
    if not username and not password:
        return None
    if "credentials" in given:
        raise ValueError("credentials and username both say who logs in: leave one out")
    if not (username and password):
        raise ValueError("give both username and password, or neither")
    return Credentials(username, password)


def _timeouts(given: Mapping[str, Any]) -> Timeouts | None:
    if "timeout" not in given:
        return None
    if "timeouts" in given:
        raise ValueError("timeout and timeouts both say how long to wait: leave one out")
    _checks.amount("timeout", given["timeout"], "seconds")
    return Timeouts.each(given["timeout"])


def _policy(given: Mapping[str, Any], endpoint: Endpoint) -> TLSPolicy | None:
    file, key_file = given.get("ssl_certfile"), given.get("ssl_keyfile")
    if not file and not key_file:
        return None
    if not file:
        raise ValueError("ssl_keyfile needs ssl_certfile: give the certificate of that key")
    if "tls" in given:
        raise ValueError("tls and ssl_certfile: give the TLSPolicy a client_certificate")
    certificate = ClientCertificate(file, key_file or None)
    return TLSPolicy(endpoint.tls or TLSMode.STARTTLS, client_certificate=certificate)
