"""What the embedded server keeps: the messages it accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from smtpx import _checks

if TYPE_CHECKING:
    from email.message import EmailMessage


class Via(Enum):
    """The command that carried a content."""

    __module__ = "smtpx.testing"

    DATA = "DATA"
    BDAT = "BDAT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A message the server took responsibility for."""

    __module__ = "smtpx.testing"

    sender: str
    """The reverse-path without brackets; ``""`` is the null reverse-path."""

    recipients: tuple[str, ...]
    """The forward-paths that were accepted, in order; over LMTP those delivered to."""

    content: bytes
    """Header section and body, without transparency, with its CRLF."""

    mail_parameters: dict[str, str]
    """By upper-case keyword; ``""`` for one without a value."""

    recipient_parameters: tuple[dict[str, str], ...]
    """One for each of `recipients`."""

    tls: bool
    user: str | None
    """Who had authenticated, if anyone."""

    smtputf8: bool
    helo: str
    """The client identification."""

    via: Via
    session: int
    """Number of the session, from 1."""

    queue_id: str
    """The ID in the reply to the end of data."""

    @_checks.even_half_made
    def __repr__(self) -> str:
        told = f"from <{self.sender}> to {', '.join(self.recipients)}"
        return f"<ReceivedMessage {told}: {len(self.content)} octets>"

    @property
    def parsed(self) -> EmailMessage:
        """The content as Python's `email` package reads it, by `email.policy.default`.

        ``get_content()`` of a text has LF at the ends of its lines, and UTF-8 in the header
        section, which SMTPUTF8 allows, is read. It is made anew each time: keep it if you ask
        often.
        """
        from ._parsing import parsed

        binary = self.mail_parameters.get("BODY", "").upper() == "BINARYMIME"
        return parsed(self.content if binary else self.content.replace(b"\r\n", b"\n"))


@dataclass(slots=True)
class Mailbox:
    """Where accepted messages go; several sessions may share one.

    With `keep` or `keep_octets` the oldest messages go when there are more. `on_message` is called
    with each one as it is accepted, in the server's thread; what it raises fails the server.
    """

    __module__ = "smtpx.testing"

    messages: list[ReceivedMessage] = field(default_factory=list[ReceivedMessage])
    keep: int | None = field(default=None, kw_only=True)
    """How many messages are kept; None is all."""
    keep_octets: int | None = field(default=None, kw_only=True)
    """How many octets of content are kept; None is all."""
    on_message: Callable[[ReceivedMessage], object] | None = field(default=None, kw_only=True)
    received: int = field(default=0, init=False)
    """How many messages have come, those that are not kept included."""
    _octets: int = field(default=0, init=False)
    _ids: int = field(default=0x5_0000_0000, init=False)

    def __post_init__(self) -> None:
        _checks.count("keep", self.keep, 0, or_none=True)
        _checks.count("keep_octets", self.keep_octets, 0, or_none=True)
        if not (self.on_message is None or callable(self.on_message)):
            raise _checks.complaint("on_message", self.on_message, "what can be called, or None")

    def add(self, message: ReceivedMessage) -> None:
        """Keep a message, as long as there is room for it."""
        self.messages.append(message)
        self.received += 1
        if self.keep is not None or self.keep_octets is not None:
            self._octets += len(message.content)
            self._make_room()
        if self.on_message is not None:
            _ = self.on_message(message)

    def clear(self) -> None:
        """Forget what is kept."""
        self.messages.clear()
        self._octets = 0

    def _make_room(self) -> None:
        most = len(self.messages) if self.keep is None else self.keep
        while self.messages and (
            len(self.messages) > most
            or (self.keep_octets is not None and self._octets > self.keep_octets)
        ):
            self._octets -= len(self.messages.pop(0).content)

    def _next_id(self) -> str:
        """Make a queue ID of ten upper-case hexadecimal digits, never given before."""
        # An odd step makes neighbours look different without ever meeting again.
        self._ids = (self._ids + 0x9E_3779_B1) % 0x100_0000_0000
        return f"{self._ids:010X}"
