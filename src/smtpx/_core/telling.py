"""What an observer is told of a session's dialogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from smtpx.observing import Line, MessageBegun, MessageEnded, Observer, Protected, Speaker
from smtpx.results import SendResult

if TYPE_CHECKING:
    from smtpx._wire.commands import Command
    from smtpx.envelope import Envelope
    from smtpx.replies import Reply
    from smtpx.tls import Protection

Ended: TypeAlias = Callable[[SendResult], object]
"""Called with what became of a mail transaction."""


class Telling:
    """An observer, and the number by which it knows the session."""

    __slots__ = ("_messages", "_observer", "_session")

    def __init__(self, observer: Observer, session: int) -> None:
        self._observer = observer
        self._session = session
        self._messages = 0

    def said(self, command: Command) -> None:
        """Tell of what we say, without its secrets."""
        for line in command.shown.split("\r\n"):
            _ = self._observer(Line(Speaker.CLIENT, line, self._session))

    def heard(self, reply: Reply) -> None:
        """Tell of what the server says, out of which secrets have been cut."""
        for line in reply.raw.decode("utf-8", "replace").removesuffix("\n").split("\n"):
            _ = self._observer(Line(Speaker.SERVER, line.removesuffix("\r"), self._session))

    def protected(self, protection: Protection) -> None:
        """Tell of what a TLS handshake agreed on."""
        _ = self._observer(Protected(self._session, protection))

    def begun(self, envelope: Envelope) -> Ended:
        """Tell of a mail transaction; what is returned tells of its result."""
        self._messages += 1
        number = self._messages
        _ = self._observer(MessageBegun(self._session, number, envelope))
        return lambda result: self._observer(MessageEnded(self._session, number, result))
