"""What the embedded server keeps: the messages it accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

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
    """Where accepted messages go; several sessions may share one."""

    __module__ = "smtpx.testing"

    messages: list[ReceivedMessage] = field(default_factory=list[ReceivedMessage])
    _ids: int = 0x5_0000_0000

    def next_id(self) -> str:
        """Make a queue ID of ten upper-case hexadecimal digits, never given before."""
        # An odd step makes neighbours look different without ever meeting again.
        self._ids = (self._ids + 0x9E_3779_B1) % 0x100_0000_0000
        return f"{self._ids:010X}"
