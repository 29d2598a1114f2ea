"""From a connected socket to a session: what the blocking and the asynchronous faces do alike."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from smtpx._core.authentication import log_in
from smtpx._core.connection import Connection
from smtpx._core.opening import open_session
from smtpx._core.steps import Steps
from smtpx._drivers.contexts import context_for
from smtpx._drivers.dialling import address_literal, is_local
from smtpx._faces.settings import Settings
from smtpx.dialogue import Line, Observer
from smtpx.tls import TLSMode

if TYPE_CHECKING:
    import ssl


class Opening:
    """One connection's state, what its driver needs for TLS, and the procedure that opens it."""

    def __init__(self, settings: Settings, connected: socket.socket) -> None:
        local = is_local(connected)
        policy = settings.policy(peer_is_local=local)
        self.context: ssl.SSLContext | None = context_for(policy)
        self.server_hostname = policy.server_hostname or settings.endpoint.host
        self.connection = Connection(
            lmtp=settings.endpoint.lmtp,
            local=local,
            timeouts=settings.timeouts,
            limits=settings.limits,
            observer=_observer(settings.observer),
        )
        self._client_name = settings.client_name or address_literal(connected)
        self._mode: TLSMode = policy.mode
        self._settings = settings

    def procedure(self) -> Steps[None]:
        """Greeting, EHLO, TLS and AUTH, as the settings ask."""
        yield from open_session(self.connection, self._client_name, self._mode)
        settings = self._settings
        if settings.credentials is not None:
            _ = yield from log_in(
                self.connection,
                settings.credentials,
                host=settings.endpoint.host,
                port=settings.endpoint.port,
                mechanisms=settings.mechanisms,
            )


def _observer(observer: Observer | None) -> Observer | None:
    """The caller's observer and the logger ``smtpx.wire``, as far as anyone listens."""
    # A program that has not imported logging listens to no logger.
    logging = sys.modules.get("logging")
    if logging is None or not logging.getLogger("smtpx.wire").isEnabledFor(logging.DEBUG):
        return observer
    wire = logging.getLogger("smtpx.wire")

    def observe(line: Line) -> None:
        wire.debug("%s", line)
        if observer is not None:
            observer(line)

    return observe
