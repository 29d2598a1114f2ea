"""From a connected socket to a session: what the blocking and the asynchronous faces do alike."""

from __future__ import annotations

import socket
import sys
from itertools import count
from typing import TYPE_CHECKING

from smtpx._core.authentication import log_in
from smtpx._core.connection import Connection
from smtpx._core.opening import open_session
from smtpx._core.steps import Steps
from smtpx._drivers.contexts import context_for
from smtpx._drivers.dialling import address_literal, is_local
from smtpx._faces.settings import Settings
from smtpx.observing import Event, Line, Observer, SessionBegun, SessionClosed, SessionOpened
from smtpx.tls import TLSMode

if TYPE_CHECKING:
    import ssl

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
    """One connection's state, what its driver needs for TLS, and the procedure that opens it."""

    def __init__(self, settings: Settings, connected: socket.socket, watch: Watch) -> None:
        local = is_local(connected)
        policy = settings.policy(peer_is_local=local)
        self.context: ssl.SSLContext | None = context_for(policy)
        self.server_hostname = policy.server_hostname or settings.endpoint.host
        self.connection = Connection(
            lmtp=settings.endpoint.lmtp,
            local=local,
            timeouts=settings.timeouts,
            limits=settings.limits,
            observer=watch.observer,
            signer=settings.signer,
            session=watch.session,
        )
        self._client_name = settings.client_name or address_literal(connected)
        self._mode: TLSMode = policy.mode
        self._credentials = settings.credentials
        self._watch = watch

    def procedure(self) -> Steps[None]:
        """Greeting, EHLO, TLS and AUTH, as the settings ask."""
        yield from open_session(self.connection, self._client_name, self._mode)
        if self._credentials is not None:
            _ = yield from log_in(self.connection, self._credentials)
        self._watch.opened(self.connection)


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
