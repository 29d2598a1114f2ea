"""From a connected socket to a session: what the blocking and the asynchronous faces do alike."""

from __future__ import annotations

import socket
import sys
from _thread import start_new_thread
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from smtpx import _checks
from smtpx._core.authentication import log_in
from smtpx._core.connection import Connection
from smtpx._core.learnt import Learnt
from smtpx._core.naming import named
from smtpx._core.opening import open_session
from smtpx._core.steps import Steps
from smtpx._drivers.connected import address_literal, is_local
from smtpx._drivers.resumption import Handshakes
from smtpx._ends import no_end
from smtpx._faces.settings import Settings
from smtpx._wire.commands import Phase
from smtpx.errors import ConnectionLost, LocalProtocolError, TimedOut
from smtpx.observing import Event, Line, Observer, SessionBegun, SessionClosed, SessionOpened
from smtpx.tls import TLSMode

if TYPE_CHECKING:
    import logging

    from smtpx._drivers.handshakes import Handshake

_sessions = count(1)
_DEBUG = 10


class Watch:
    """Tells the observer that a session began and that it ended, each once.

    An observer that fails does not disturb the dialogue: what it raises is kept, and raised when
    what was begun has ended, so that nobody misses what became of a message.
    """

    def __init__(self, settings: Settings) -> None:
        self._told = settings.observer
        self._wire = _wire()
        self.failure: BaseException | None = None
        """What it has raised, until somebody heeds it."""
        self.observer: Observer | None = None
        if self._told is not None or self._wire is not None:
            self.observer = self._observe
        self.session = next(_sessions)
        self._is_closed = False
        if self.observer is not None:
            endpoint = settings.without_credentials().endpoint
            _ = self.observer(SessionBegun(self.session, endpoint))

    def _observe(self, event: Event) -> None:
        try:
            if self._wire is not None and isinstance(event, Line):
                self._wire.debug("%s", event)
            if self._told is not None:
                _ = self._told(event)
        except Exception as error:
            self.failure = self.failure or no_end(error, "the observer")

    def heed(self) -> None:
        """Raise what the observer has raised, once."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def leave(self) -> None:
        """Log what the observer has raised, for no call that is under way is about this session."""
        failure, self.failure = self.failure, None
        if failure is not None:
            wire = _logger()
            if wire is not None:
                wire.error("the observer failed at the end of a session", exc_info=failure)

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
        self,
        settings: Settings,
        handshakes: Handshakes,
        connected: socket.socket,
        watch: Watch,
        learnt: Learnt,
    ) -> None:
        local = _is_local(settings, connected)
        policy = settings.policy(peer_is_local=local)
        self.handshake: Handshake | None = handshakes.begin(policy)
        self.connection = Connection(
            server=str(settings.endpoint),
            lmtp=settings.endpoint.lmtp,
            local=local,
            timeouts=settings.timeouts,
            limits=settings.limits,
            observer=watch.observer,
            signer=settings.signer,
            session=watch.session,
            ignored=settings.ignored,
            learnt=learnt,
            pins=policy.pins,
        )
        connected.setblocking(False)
        self._client_name = settings.client_name or address_literal(connected)
        self._mode: TLSMode = policy.mode
        self._settings = settings
        self._watch = watch

    def procedure(self) -> Steps[None]:
        """Whatever goes before it; then greeting, EHLO, TLS and AUTH, as the settings ask."""
        return named(self.connection, self._procedure())

    def _procedure(self) -> Steps[None]:
        settings, connection = self._settings, self.connection
        if settings.proxy is not None:
            from smtpx._drivers.tunnels import tunnel

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


def not_reached(error: BaseException, settings: Settings) -> None:
    """Have the error of who could not be dialled name the server; a proxy may be before it."""
    if isinstance(error, (ConnectionLost, TimedOut)) and error.server is None:
        error.server = str(settings.endpoint)


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


_asked: list[logging.Logger] = []
"""The logger ``smtpx.wire``, once it was asked for."""


def _wire() -> logging.Logger | None:
    """The logger ``smtpx.wire``, if anyone listens to it."""
    # A program that has not imported logging listens to no logger.
    wire = _logger() if _asked or "logging" in sys.modules else None
    if wire is None:
        return None
    # `isEnabledFor` takes a lock of logging's.
    level = max(wire.getEffectiveLevel(), wire.manager.disable + 1)
    return None if wire.disabled or level > _DEBUG else wire


def _logger() -> logging.Logger | None:
    """The logger ``smtpx.wire``; ``None`` where it was not to be had."""
    if not _asked:
        # Ended by Ctrl-C, `getLogger` may keep the lock of all logging for ever. Signals come to
        # the main thread alone; and `threading` is no better at them.
        answer: SimpleQueue[None] = SimpleQueue()
        try:
            _ = start_new_thread(_ask_for_logger, (answer,))
        except RuntimeError:  # The interpreter shuts down, or there are too many threads.
            _ask_for_logger(answer)
        try:
            answer.get(timeout=1)
        except Empty:
            pass  # Its lock is ours, or was lost.
    return _asked[0] if _asked else None


def _ask_for_logger(answer: SimpleQueue[None]) -> None:
    import logging

    _asked.append(logging.getLogger("smtpx.wire"))
    answer.put(None)
