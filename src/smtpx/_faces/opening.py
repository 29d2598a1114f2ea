"""From a connected socket to a session: what the blocking and the asynchronous faces do alike."""

from __future__ import annotations

import socket
import sys
from itertools import count
from typing import TYPE_CHECKING

from smtpx import _checks
from smtpx._core.authentication import log_in
from smtpx._core.connection import Connection
from smtpx._core.opening import open_session
from smtpx._core.steps import Steps
from smtpx._drivers.dialling import address_literal, is_local
from smtpx._drivers.resumption import Handshakes
from smtpx._drivers.tunnels import tunnel
from smtpx._faces.settings import Settings
from smtpx._wire.commands import Phase
from smtpx.errors import LocalProtocolError
from smtpx.observing import Event, Line, Observer, SessionBegun, SessionClosed, SessionOpened
from smtpx.tls import TLSMode

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

_sessions = count(1)


class Watch:
    """Tells who observes of a session's beginning and end, of each once."""

    def __init__(self, settings: Settings) -> None:
        self.observer = _observer(settings.observer)
        self.session = next(_sessions)
        self._is_closed = False
        if self.observer is not None:
            endpoint = settings.without_credentials().endpoint
            _ = self.observer(SessionBegun(self.session, endpoint))

    def opened(self, connection: Connection) -> None:
        """Messages can be sent."""
        if self.observer is not None:
            extensions, authenticated = connection.extensions, connection.authenticated
            _ = self.observer(SessionOpened(self.session, extensions, authenticated))

    def closed(self, connection: Connection | None, error: BaseException | None = None) -> None:
        """The transport is closed; with `error`, the session could not be opened."""
        if self.observer is None or self._is_closed:
            return
        self._is_closed = True
        parting = None if connection is None else connection.parting
        _ = self.observer(SessionClosed(self.session, parting, parting is None, error))


class Opening:
    """One connection's state, its TLS handshake, and the procedure that opens it."""

    def __init__(
        self, settings: Settings, handshakes: Handshakes, connected: socket.socket, watch: Watch
    ) -> None:
        local = _is_local(settings, connected)
        policy = settings.policy(peer_is_local=local)
        self.handshake: Handshake | None = handshakes.begin(policy)
        self.connection = Connection(
            lmtp=settings.endpoint.lmtp,
            local=local,
            timeouts=settings.timeouts,
            limits=settings.limits,
            observer=watch.observer,
            signer=settings.signer,
            session=watch.session,
            ignored=settings.ignored,
            pins=policy.pins,
        )
        connected.setblocking(False)
        self._client_name = settings.client_name or address_literal(connected)
        self._mode: TLSMode = policy.mode
        self._settings = settings
        self._watch = watch

    def procedure(self) -> Steps[None]:
        """Whatever goes before it; then greeting, EHLO, TLS and AUTH, as the settings ask."""
        settings, connection = self._settings, self.connection
        if settings.proxy is not None:
            seconds = settings.timeouts.connect
            connection.feed((yield from tunnel(settings.proxy, settings.endpoint, seconds)))
        if settings.proxy_header is not None:
            yield from connection.send(bytes(settings.proxy_header), Phase.CONNECT)
        yield from open_session(connection, self._client_name, self._mode)
        if settings.credentials is not None:
            _ = yield from log_in(
                connection,
                settings.credentials,
                host=settings.endpoint.host,
                port=settings.endpoint.port,
                mechanisms=settings.mechanisms,
            )
        self._watch.opened(connection)


def _is_local(settings: Settings, connected: socket.socket) -> bool:
    """True if the server is on this machine."""
    if settings.proxy is not None:
        return False
    if connected.family not in (socket.AF_INET, socket.AF_INET6) and not settings.endpoint.path:
        # The caller's own socket leads to who knows where; the URL says.
        return settings.endpoint.is_local
    return is_local(connected)


def taken(held: socket.socket, settings: Settings) -> socket.socket:
    """The socket that the caller holds, if a session can be opened on it.

    Raises:
        LocalProtocolError: it is no plain stream socket, or options say how to connect.
        TypeError: it is no socket.
    """
    if not isinstance(held, socket.socket):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("socket", held, "a connected socket.socket or None")
    if held.type != socket.SOCK_STREAM or type(held).__module__ == "ssl":
        raise LocalProtocolError("socket= takes a connected stream socket, without TLS")
    if settings.proxy is not None or settings.sources:
        raise LocalProtocolError("socket= is connected already: no proxy, no source_address")
    return held


def _observer(observer: Observer | None) -> Observer | None:
    """The caller's observer and the logger ``smtpx.wire``, as far as anyone listens."""
    # A program that has not imported logging listens to no logger.
    logging = sys.modules.get("logging")
    if logging is None or not logging.getLogger("smtpx.wire").isEnabledFor(logging.DEBUG):
        return observer
    wire = logging.getLogger("smtpx.wire")

    def observe(event: Event) -> None:
        if isinstance(event, Line):
            wire.debug("%s", event)
        if observer is not None:
            _ = observer(event)

    return observe
