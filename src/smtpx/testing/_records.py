"""What the server writes down about its sessions, and what they share."""

from __future__ import annotations

import dataclasses
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from smtpx import _checks
from smtpx.observing import Speaker

from ._bounds import Bounds
from ._mailbox import Mailbox
from ._options import ServerOptions
from .faults import Fault


class Abortable(Protocol):
    """A connection, as far as the server ends it."""

    def abort(self) -> None:
        """Close it at once."""
        ...


class Said(NamedTuple):
    """A line of a session's dialogue, as the server heard it or said it.

    What the client says in an AUTH exchange is left out of it.
    """

    at: float
    """Seconds since the session began."""
    speaker: Speaker | None
    """None where it is nobody's line: TLS began, or the content came."""
    text: str
    breaches: tuple[str, ...] = ()
    """What the client should not have done here."""


Said.__module__ = "smtpx.testing"


@dataclass(slots=True)
class SessionRecord:
    """One session. Counts are of SMTP octets, inside TLS if there is any."""

    __module__ = "smtpx.testing"

    number: int
    commands: list[str] = field(default_factory=list[str])
    """Every line the client said, without its line end; contents are left out."""

    dialogue: list[Said] = field(default_factory=list[Said])
    """Its lines with their times: the first 1000."""

    breaches: list[str] = field(default_factory=list[str])
    bytes_in: int = 0
    bytes_out: int = 0
    reads: int = 0
    """How many times input arrived."""

    round_trips: int = 0
    """How many times input arrived after the server had written something."""

    tls_version: str | None = None
    tls_resumed: bool = False
    """The client went on with a TLS session of an earlier connection."""

    server_name: str | None = None
    """The name the client asked for in its TLS handshake (SNI)."""

    tls_error: str | None = None
    """Why TLS failed, as when the client does not trust the certificate."""

    user: str | None = None
    quit: bool = False
    """The client said QUIT and was answered."""

    open: bool = True

    @_checks.even_half_made
    def __repr__(self) -> str:
        state = "open" if self.open else "closed"
        told = f"{self.number}, {state}, {len(self.commands)} commands"
        return f"<SessionRecord {told}{''.join(f'; breach: {one}' for one in self.breaches)}>"

    def snapshot(self) -> SessionRecord:
        """Copy what is known by now."""
        return dataclasses.replace(
            self,
            commands=list(self.commands),
            breaches=list(self.breaches),
            dialogue=list(self.dialogue),
        )


@dataclass(slots=True)
class Shared:
    """What all sessions of one server share; `changed` guards it."""

    options: ServerOptions
    implicit_tls: bool
    buffer_size: int | None
    tls_context: ssl.SSLContext | None = None
    certificate: bytes = b""
    """The server's own, DER, where it made it."""
    faults: list[Fault] = field(default_factory=list[Fault])
    """Those that are played."""
    given: list[Fault] = field(default_factory=list[Fault])
    """All there ever were."""
    struck: Counter[int] = field(default_factory=Counter[int])
    """How often each of those given has done what it is for, by its identity."""
    mailbox: Mailbox = field(default_factory=Mailbox)
    records: list[SessionRecord] = field(default_factory=list[SessionRecord])
    keep_sessions: int | None = None
    """How many records of sessions that are over are kept; None is all."""
    bounds: Bounds = field(default_factory=Bounds)
    sessions: int = 0
    """How many sessions there have been."""
    connections: set[Abortable] = field(default_factory=set[Abortable])
    failures: list[BaseException] = field(default_factory=list[BaseException])
    changed: threading.Condition = field(default_factory=threading.Condition)

    def open_session(self, record: SessionRecord) -> None:
        """Number a session and keep its record, in place of the oldest that is over."""
        self.sessions += 1
        record.number = self.sessions
        self.records.append(record)
        if self.keep_sessions is not None and len(self.records) > self.keep_sessions:
            for old in self.records[: len(self.records) - self.keep_sessions]:
                if not old.open:
                    self.records.remove(old)
