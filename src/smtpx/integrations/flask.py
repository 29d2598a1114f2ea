"""Mail for Flask (`smtpx[flask]`): a client for each app, by the settings of Flask-Mail(man).

===================================  ==============================================
``SMTPX_URL``                        where mail goes; in place of the next four
``MAIL_SERVER``, ``MAIL_PORT``       host and port; 127.0.0.1 and 25
``MAIL_USE_TLS``, ``MAIL_USE_SSL``   STARTTLS is required; TLS from the start
``MAIL_USERNAME``, ``MAIL_PASSWORD``  who logs in
``MAIL_DEFAULT_SENDER``              an address, or a tuple of name and address
``MAIL_MAX_EMAILS``                  messages over one connection
``MAIL_TIMEOUT``                     seconds for each wait
``MAIL_SUPPRESS_SEND``               keep mail in `Mail.outbox`; by default in tests
``MAIL_BACKEND``                     ``smtp``; or ``locmem`` or ``dummy``, which keep it there, too
===================================  ==============================================
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from email.message import EmailMessage
from threading import Lock
from typing import Any, Unpack

from smtpx import _checks
from smtpx._unbegun import Unbegun
from smtpx.errors import ExtraMissing

try:
    from flask import Flask, current_app
    from werkzeug.local import LocalProxy
except ImportError as error:
    raise ExtraMissing("flask", "Flask", "smtpx.integrations.flask") from error

import smtpx

__all__ = ["Mail"]

_IMPLICIT_TLS = 465  # RFC 8314 §7.3
# What a client is made of.
_WHERE = ("SERVER", "PORT", "USE_TLS", "USE_SSL", "USERNAME", "PASSWORD")
_SETTINGS = ("SMTPX_URL", *(f"MAIL_{name}" for name in (*_WHERE, "MAX_EMAILS", "TIMEOUT")))
# The backends of Flask-Mailman that send nothing and show nothing.
_KEEPING = ("locmem", "memory", "dummy")
# What other libraries read, and we do not: set and ignored, mail would go out, or otherwise.
_ELSEWHERE = {
    "SUPPRESS_SEND": "say MAIL_SUPPRESS_SEND",
    **dict.fromkeys(("MAIL_STARTTLS", "MAIL_TLS"), "say MAIL_USE_TLS"),
    **dict.fromkeys(("MAIL_SSL_TLS", "MAIL_SSL"), "say MAIL_USE_SSL"),
    **dict.fromkeys(
        ("MAIL_SSL_CERTFILE", "MAIL_SSL_KEYFILE"),
        "give Mail(tls=…) a TLSPolicy with that client_certificate",
    ),
}


class _State:
    """What an app has."""

    def __init__(self, config: Mapping[str, Any], options: smtpx.SessionOptions) -> None:
        self.outbox: list[EmailMessage] = []
        self._options = options
        self._lock = Lock()
        self._made = _said(config), _client(config, options)

    def client(self, config: Mapping[str, Any]) -> smtpx.Client:
        """The client for what the settings say now: a fixture may change them at any time."""
        said, client = self._made
        if said == _said(config):
            return client
        with self._lock:
            said, client = self._made
            if said != _said(config):
                client.close()
                client = _client(config, self._options)
                self._made = _said(config), client
            return client

    def close(self) -> None:
        """Close the connections."""
        _, client = self._made
        client.close()


class Mail:
    """Sends mail for Flask apps; each has a `smtpx.Client` of its own, shared by its threads.

    The options are those of a client, and hold for every app.
    """

    def __init__(self, app: Flask | None = None, **options: Unpack[smtpx.SessionOptions]) -> None:
        """Take an app now, or any by `init_app`.

        Raises:
            TypeError, ValueError, smtpx.SMTPError: a setting or an option is wrong.
        """
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the settings of an app.

        Raises:
            TypeError, ValueError, smtpx.SMTPError: a setting or an option is wrong.
        """
        if not isinstance(app, Flask):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("app", app, "a Flask app")
        _check_names(app.config)
        _check_sender(_sender(app.config))
        _ = _is_suppressed(app.config)
        state = app.extensions["smtpx"] = _State(app.config, self._options)
        _ = weakref.finalize(app, state.close)

    @property
    def client(self) -> smtpx.Client:
        """The client of the current app; another one, when its settings have changed.

        Raises:
            TypeError, ValueError, smtpx.SMTPError: a setting was changed, and is wrong.
        """
        return self._state.client(current_app.config)

    @property
    def outbox(self) -> list[EmailMessage]:
        """The messages that the current app kept, each as it was when it would have been sent."""
        return self._state.outbox

    def compose(self, **arguments: Any) -> EmailMessage:
        """Make a message, as `smtpx.compose` does; from ``MAIL_DEFAULT_SENDER`` unless told.

        Raises:
            smtpx.SMTPError, TypeError: as `smtpx.compose`.
        """
        sender = _sender(current_app.config)
        if sender is not None:
            arguments = {"sender": sender, **arguments}
        elif "sender" not in arguments:
            raise TypeError("sender: give one, or set MAIL_DEFAULT_SENDER")
        return smtpx.compose(**{name: _present(value) for name, value in arguments.items()})

    def send(self, message: EmailMessage) -> smtpx.SendResult:
        """Send a message.

        Where it is only kept, the result is as if everybody had accepted it, without a reply.

        Raises:
            smtpx.SMTPError: nobody accepted it, or it cannot be sent at all.
            TypeError, ValueError: a setting was changed, and is wrong.
        """
        if _is_suppressed(current_app.config):
            return _keep(message, self.outbox)
        return self.client.send(message)

    def send_many(self, messages: Iterable[EmailMessage]) -> Iterator[smtpx.SendResult]:
        """Send messages, pipelined, and yield what became of each.

        Where they are only kept, the results are as those of `send`.

        Raises:
            smtpx.SMTPError: no connection can be had.
            TypeError, ValueError: a setting was changed, and is wrong.
        """
        if _is_suppressed(current_app.config):
            return _keep_many(
                Unbegun("Mail.send_many()", "nothing was kept"), messages, self.outbox
            )
        return self.client.send_many(messages)

    @property
    def _state(self) -> _State:
        state = current_app.extensions.get("smtpx")
        if not isinstance(state, _State):
            raise RuntimeError("this app has no mail: call Mail.init_app(app)")
        return state


def _keep(
    message: EmailMessage, outbox: list[EmailMessage], *, told: object = None
) -> smtpx.SendResult:
    """Keep what could be sent; the result is what a program hopes for."""
    envelope = smtpx.Envelope.from_message(message)
    outbox.append(deepcopy(message))  # As it is now: the caller may go on with it.
    outcomes = [
        smtpx.Outcome(recipient.address, smtpx.Status.ACCEPTED, None)
        for recipient in envelope.recipients
    ]
    return smtpx.SendResult(outcomes, None, message=told)


def _keep_many(
    unbegun: Unbegun, messages: Iterable[EmailMessage], outbox: list[EmailMessage]
) -> Iterator[smtpx.SendResult]:
    unbegun.begin()
    for message in messages:
        try:
            result = _keep(message, outbox, told=message)
        except smtpx.SMTPError as error:
            result = smtpx.SendResult([], None, error, message=message)
        yield result


def _said(config: Mapping[str, Any]) -> list[Any]:
    return [config.get(name) for name in _SETTINGS]


def _check_names(config: Mapping[str, Any]) -> None:
    names = {name for name in config if name.startswith("SMTPX_")}
    if unknown := names - {"SMTPX_URL"}:
        arguments = smtpx.SessionOptions.__annotations__
        kin = {f"SMTPX_{name.upper()}": f"the argument {name} of Mail" for name in arguments}
        raise _checks.unknown("setting", unknown, ["SMTPX_URL"], kin)


def _is_suppressed(config: Mapping[str, Any]) -> bool:
    """Whether mail is kept, as it is said now: a fixture says so after the app was made."""
    for name, instead in _ELSEWHERE.items():
        if config.get(name):
            raise ValueError(f"{name} is not read here: {instead} in its place")
    said, backend = _flag(config, "SUPPRESS_SEND"), config.get("MAIL_BACKEND")
    if said is not None:
        return said
    if not backend:
        return bool(config.get("TESTING"))
    name = str(backend).removesuffix(".EmailBackend").rpartition(".")[2]
    if name in _KEEPING:
        return True
    if name == "smtp":
        return False
    raise ValueError(
        f"MAIL_BACKEND={_checks.shown(backend)} is not here: say MAIL_SUPPRESS_SEND=True to keep "
        "mail in Mail.outbox, or False to send it"
    )


def _present(value: Any) -> Any:
    """What stands behind a value: extensions give settings, and translations, by proxies."""
    if isinstance(value, LocalProxy):
        proxy: LocalProxy[Any] = value  # pyright: ignore[reportUnknownVariableType] - of anything
        return _present(proxy._get_current_object())
    return str(value) if _is_late(value) else value


def _is_late(value: Any) -> bool:
    """Whether it is a proxy, or a translation that is made where it is read."""
    if isinstance(value, LocalProxy):
        return True
    return not isinstance(value, str) and hasattr(value, "casefold")


def _sender(config: Mapping[str, Any]) -> Any:
    return config.get("MAIL_DEFAULT_SENDER")


def _check_sender(given: Any) -> None:
    """Look at the default sender; one that is made late is known within a request only."""
    if given is not None and not _is_late(given):
        try:
            _ = smtpx.compose(sender=given, to=[given], text="")
        except (TypeError, smtpx.SMTPError) as error:
            raise type(error)(f"MAIL_DEFAULT_SENDER: {error}") from error


def _client(config: Mapping[str, Any], options: smtpx.SessionOptions) -> smtpx.Client:
    most = _number(config, "MAX_EMAILS", least=1)
    pool = None if most is None else smtpx.PoolLimits(messages=most)
    wait = _read(config, "TIMEOUT")
    _checks.amount("MAIL_TIMEOUT", wait, "seconds", or_none=True)
    if wait is not None:
        options = {"timeouts": smtpx.Timeouts.each(wait), **options}
    url = config.get("SMTPX_URL")
    if url is not None:
        if not isinstance(url, str):
            raise _checks.complaint("SMTPX_URL", url, "a str")
        endpoint = smtpx.Endpoint.parse(url)
        if endpoint.user and endpoint.password is None and (apart := config.get("MAIL_PASSWORD")):
            options = {"credentials": smtpx.Credentials(endpoint.user, apart), **options}
        return smtpx.Client(endpoint, pool=pool, **options)
    user, password = config.get("MAIL_USERNAME"), config.get("MAIL_PASSWORD")
    if bool(user) != bool(password):
        raise ValueError("give both MAIL_USERNAME and MAIL_PASSWORD, or neither")
    if user and password:
        options = {"credentials": smtpx.Credentials(user, password), **options}
    return smtpx.Client(_endpoint(config, options.get("tls")), pool=pool, **options)


def _endpoint(config: Mapping[str, Any], policy: smtpx.TLSPolicy | None) -> smtpx.Endpoint:
    use_tls, use_ssl = _flag(config, "USE_TLS"), _flag(config, "USE_SSL")
    if use_tls and use_ssl:
        raise ValueError("MAIL_USE_TLS and MAIL_USE_SSL contradict each other: set one of them")
    mode = None
    if use_ssl:
        mode = smtpx.TLSMode.IMPLICIT
    elif use_tls is not None:
        mode = smtpx.TLSMode.STARTTLS if use_tls else smtpx.TLSMode.NONE
    port = _number(config, "PORT")
    if port == _IMPLICIT_TLS and mode is None and policy is None:
        raise ValueError(
            "MAIL_PORT=465 begins with TLS: say MAIL_USE_SSL=True; or MAIL_USE_TLS=True, if this "
            "server does otherwise"
        )
    try:
        return smtpx.Endpoint(config.get("MAIL_SERVER") or "127.0.0.1", port or 25, mode)
    except smtpx.EndpointError as error:
        raise smtpx.EndpointError(f"MAIL_SERVER, MAIL_PORT: {error}") from error


def _number(config: Mapping[str, Any], name: str, *, least: int = 0) -> Any:
    value = _read(config, name)
    _checks.count(f"MAIL_{name}", value, least, or_none=True)
    return value


def _read(config: Mapping[str, Any], name: str) -> Any:
    """A number, which is a str where it comes from the environment."""
    value = config.get(f"MAIL_{name}")
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _flag(config: Mapping[str, Any], name: str) -> bool | None:
    value = config.get(f"MAIL_{name}")
    if value is not None:
        _checks.flag(f"MAIL_{name}", value)
    return value
