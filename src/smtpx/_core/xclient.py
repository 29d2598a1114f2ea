"""XCLIENT: speaking for another client (Postfix's ``XCLIENT_README``)."""

from typing import TypedDict

from smtpx import _checks
from smtpx._core.connection import Connection
from smtpx._core.opening import hello
from smtpx._core.steps import Steps
from smtpx._wire.commands import Phase, command
from smtpx._wire.parameters import xtext
from smtpx.errors import ExtensionMissing, LocalProtocolError, ReplyError
from smtpx.replies import Reply

_PORTS = ("port", "destport")
_UNKNOWN_NOW = "[TEMPUNAVAIL]"


class ClientAttributes(TypedDict, total=False):
    """What is known of the client for whom we speak; ``None`` says that it is not.

    ``"[TEMPUNAVAIL]"`` says that it could not be found out now.
    """

    name: str | None
    """Its host name, as the DNS has it both ways."""
    reverse_name: str | None
    """Its host name, as the DNS has it for its address."""
    addr: str | None
    """Its IP address."""
    port: int | None
    destaddr: str | None
    """The IP address it connected to."""
    destport: int | None
    proto: str | None
    """``SMTP`` or ``ESMTP``."""
    helo: str | None
    """What it identified itself by."""
    login: str | None
    """Who it has authenticated as."""


def xclient(connection: Connection, attributes: ClientAttributes) -> Steps[Reply]:
    """Say for whom we speak; the session starts anew, as that client's.

    ::

        C: XCLIENT NAME=spike.example.org ADDR=192.0.2.7
        S: 220 mx.example.net ESMTP
        C: EHLO client.example.org
        S: 250 mx.example.net

    Raises:
        TypeError, LocalProtocolError: there is no such attribute, or it cannot be that.
        ExtensionMissing: the server does not offer XCLIENT, or not all of the attributes.
        ReplyError: it does not take it.
        HelloRefused: it does not want that client.
    """
    unknown = attributes.keys() - ClientAttributes.__annotations__.keys()
    if unknown:
        raise _checks.unknown("attribute", unknown, ClientAttributes.__annotations__)
    values = {name.upper(): _written(name, value) for name, value in attributes.items()}
    if not values:
        raise LocalProtocolError("XCLIENT without an attribute says nothing")
    return _speak_for(connection, values)


def _speak_for(connection: Connection, values: dict[str, str]) -> Steps[Reply]:
    offered = connection.extensions.keywords.get("XCLIENT")
    if offered is None:
        raise ExtensionMissing("XCLIENT", "it is for hosts in smtpd_authorized_xclient_hosts")
    missing = sorted(values.keys() - set(offered.upper().split()))
    if missing:
        raise ExtensionMissing("XCLIENT", f"it takes no {', '.join(missing)}, but {offered}")
    words = " ".join(f"{name}={value}" for name, value in values.items())
    said = command(Phase.GREETING, f"XCLIENT {words}")
    reply = yield from connection.command(said)
    if not reply.positive:
        raise ReplyError(said.shown, reply)
    connection.greeting = reply
    connection.authenticated = connection.open_transaction = False
    return (yield from hello(connection, connection.client_name))


def _written(name: str, value: object) -> str:
    if value is None:
        return "[UNAVAILABLE]"
    if name in _PORTS and value != _UNKNOWN_NOW:
        _checks.count(name, value, 0, 65535, or_none=True)
        return str(value)
    if not isinstance(value, str):
        raise _checks.complaint(name, value, "a str or None")
    text = value
    if not text.strip():
        raise LocalProtocolError(f"{name} is empty: give None for what is not known")
    if name in ("addr", "destaddr") and ":" in text and not text.upper().startswith("IPV6:"):
        text = f"IPV6:{text}"
    try:
        return xtext(text)
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{name}: {error}") from None
