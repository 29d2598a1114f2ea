"""Django's settings, changed so that a project's mail goes to a test's server.

A project that has the backend of smtpx, or one made of it, keeps that with its options: tests are
of what production does. Any other is replaced by Django's own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, TypeVar

from ._client_url import client_url
from ._transaction import EIGHT_BIT
from .server import Server

__all__ = ["is_djangos_own", "pointed_at"]

T = TypeVar("T")

_DJANGOS = "django.core.mail.backends.smtp.EmailBackend"
_IN_TESTS = "django.core.mail.backends.locmem.EmailBackend"
# What says where the server is, how it is reached, and who logs in.
_OPTIONS = {
    *("url", "host", "port", "username", "password", "use_tls", "use_ssl"),
    *("ssl_certfile", "ssl_keyfile", "tls", "credentials", "mechanisms"),
    *("proxy", "proxy_header", "source_address"),
}
_SETTINGS = (
    *("EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD"),
    *("EMAIL_USE_TLS", "EMAIL_USE_SSL", "EMAIL_SSL_CERTFILE", "EMAIL_SSL_KEYFILE"),
)


def pointed_at(server: Server) -> tuple[AbstractContextManager[Any], bool]:
    """Django's settings with this server, where it is configured; see `_settings_for`."""
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return nullcontext(), False
    changed, is_djangos = _settings_for(server, client_url(server))
    override: Any = import_module("django.test.utils").override_settings
    return override(**changed), is_djangos


def is_djangos_own(breach: str) -> bool:
    """Whether Django's backend does that to every mail beyond ASCII: no project can mend it."""
    return breach.endswith(EIGHT_BIT)


def _settings_for(server: Server, url: str) -> tuple[dict[str, Any], bool]:
    """The settings to override; and whether some mail goes by Django's own backend."""
    settings: Any = import_module("django.conf").settings
    place = {"host": server.host, "port": server.port}
    if hasattr(settings, "MAILERS"):  # Beside it, even an empty one, EMAIL_… is not to be had.
        known: dict[str, dict[str, Any]] = {"default": {}, **_mailers(settings)}
        mailers = {
            alias: _pointed(mailer, url) or {"BACKEND": _DJANGOS, "OPTIONS": place}
            for alias, mailer in known.items()
        }
        return {"MAILERS": mailers}, any(each["BACKEND"] == _DJANGOS for each in mailers.values())
    backend = _backend(settings)
    if _is_ours(backend):
        options = {**_without_place(getattr(settings, "SMTPX", {})), "url": url}
        unsaid = {name: None for name in _SETTINGS if settings.is_overridden(name)}
        return {"EMAIL_BACKEND": backend, "SMTPX": options, **unsaid}, False
    return {
        "EMAIL_BACKEND": _DJANGOS,
        "EMAIL_HOST": server.host,
        "EMAIL_PORT": server.port,
        "EMAIL_HOST_USER": "",
        "EMAIL_HOST_PASSWORD": "",
        "EMAIL_USE_TLS": False,
        "EMAIL_USE_SSL": False,
    }, True


def _pointed(mailer: Mapping[str, Any], url: str) -> dict[str, Any] | None:
    """A mailer of smtpx, with another server; None of any other."""
    if not _is_ours(mailer.get("BACKEND", "")):
        return None
    return {**mailer, "OPTIONS": {**_without_place(mailer.get("OPTIONS", {})), "url": url}}


def _without_place(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _OPTIONS}


def _is_ours(backend: str) -> bool:
    """Whether it is the backend of smtpx, or one made of it."""
    try:
        kind = import_module("django.utils.module_loading").import_string(backend)
    except ImportError:  # What only production has installed is none of ours.
        return False
    ours: Any = sys.modules.get("smtpx.integrations.django")
    return ours is not None and isinstance(kind, type) and issubclass(kind, ours.EmailBackend)


def _backend(settings: Any) -> str:
    """The project's backend: where Django is set up for tests, what was there before."""
    said: str = settings.EMAIL_BACKEND
    return _before_tests("email_backend", said) if said == _IN_TESTS else said


def _mailers(settings: Any) -> dict[str, Any]:
    """The project's mailers: where Django is set up for tests, what was there before."""
    said: dict[str, Any] = settings.MAILERS
    is_for_tests = all(mailer.get("BACKEND") == _IN_TESTS for mailer in said.values())
    return _before_tests("mailers", said) if is_for_tests else said


def _before_tests(name: str, now: T) -> T:
    # Django has no public name for what `setup_test_environment` keeps.
    state: Any = getattr(import_module("django.test.utils"), "_TestState", None)
    before: T = getattr(getattr(state, "saved_data", None), name, now)
    return before
