"""A session, as far as threads and tasks have it alike: its settings, and what is known of it."""

from __future__ import annotations

import socket
from typing import Generic, Protocol, Self, TypeVar

from smtpx import _checks
from smtpx._core.connection import Connection
from smtpx._core.learnt import Learnt
from smtpx._drivers.interruption import under_way
from smtpx._drivers.resumption import Handshakes
from smtpx._faces.forking import forks
from smtpx._faces.opening import Watch, taken
from smtpx._faces.settings import Settings
from smtpx._uncopied import Uncopied
from smtpx._values import replaced
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx.errors import LocalProtocolError
from smtpx.replies import Reply
from smtpx.tls import Protection


class Driver(Protocol):
    """A driver of one connection, as far as it is known here."""

    @property
    def is_running(self) -> bool:
        """True while a call uses it."""
        ...

    @property
    def closed(self) -> bool:
        """True once the connection is closed on our side."""
        ...


D = TypeVar("D", bound=Driver)


class Opened(Uncopied, Generic[D]):
    """One connection to one server, from its settings until it is closed."""

    def __init__(self, settings: Settings, held: socket.socket | None) -> None:
        self._settings = settings
        self._held: socket.socket | None = None if held is None else taken(held, settings)
        self._handshakes: Handshakes | None = None
        self._learnt = Learnt()
        self._driver: D | None = None
        self._connection: Connection | None = None
        self._watch: Watch | None = None
        self._forks = forks()
        self._is_called_off = False
        """It was aborted: whoever opens it goes no further."""
        self._is_opening = False
        """Somebody goes on with opening it, and closes whatever there is if that fails."""

    def _resuming(self, handshakes: Handshakes, learnt: Learnt) -> Self:
        """Share with others of one client what is agreed and known."""
        self._handshakes, self._learnt = handshakes, learnt
        return self

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.endpoint}, {self._state}>"

    @property
    def _state(self) -> str:
        if self._connection is None:
            return "not open"
        return "open" if self.is_open else "closed"

    def _heed_observer(self) -> None:
        """Raise what the observer has raised meanwhile."""
        if self._watch is not None and self._watch.failure is not None:
            self._watch.heed()

    def _leave_observer(self) -> None:
        """Log what the observer has raised meanwhile."""
        if self._watch is not None and self._watch.failure is not None:
            self._watch.leave()

    @property
    def is_open(self) -> bool:
        """True while commands can be sent, as far as is known without asking the server."""
        return (
            self._driver is not None
            and self._connection is not None
            and not self._driver.closed
            and self._connection.usable
            and self._forks == forks()
        )

    def _see_that_it_is_unopened(self) -> None:
        """Raise a `LocalProtocolError` if it is open, was, or is being opened."""
        if self._is_opening:
            raise under_way()
        if self._connection is not None:
            raise LocalProtocolError("a session is opened once: make another one")

    @property
    def _is_at_work(self) -> bool:
        """True while a call is under way."""
        return self._is_opening or (self._driver is not None and self._driver.is_running)

    def _see_that_it_is_free(self) -> None:
        """Raise a `LocalProtocolError` if another call is under way."""
        if self._is_at_work:
            raise under_way()

    @property
    def total(self) -> float | None:
        """Seconds that each call has in all: `Timeouts.total`, unless another number is set."""
        return self._settings.timeouts.total

    @total.setter
    def total(self, seconds: float | None) -> None:
        _checks.amount("total", seconds, "seconds", or_none=True)
        timeouts = replaced(self._settings.timeouts, total=seconds)
        self._settings = replaced(self._settings, timeouts=timeouts)

    @property
    def greeting(self) -> Reply | None:
        """The server's first words."""
        return None if self._connection is None else self._connection.greeting

    @property
    def extensions(self) -> Extensions:
        """What the server offers, under the protection the session has now."""
        return NO_EXTENSIONS if self._connection is None else self._connection.extensions

    @property
    def protection(self) -> Protection | None:
        """What the TLS handshake agreed on; ``None`` without TLS."""
        return None if self._connection is None else self._connection.protection

    def _transactions(self) -> int:
        """Mail transactions that were begun on it."""
        return 0 if self._connection is None else self._connection.transactions

    @property
    def _parts(self) -> tuple[Connection, D]:
        """For those who run procedures of their own on it.

        Raises:
            LocalProtocolError: it is not open, or the parent process's.
        """
        if self._connection is None or self._driver is None:
            raise LocalProtocolError("open the session first: by `with`, or by open()")
        if self._forks != forks():
            raise LocalProtocolError("this session is the parent process's: open another one")
        return self._connection, self._driver
