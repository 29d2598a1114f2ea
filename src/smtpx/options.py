"""How long to wait, and how much to take (RFC 5321 §4.5.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

__all__ = ["Limits", "Timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait in each phase of a session; ``None`` waits for ever.

    A phase's time is for the whole of its reply: a server that sends it byte by byte does not get
    more. The names are those of RFC 5321 §4.5.3.2; the defaults suit an application, while the
    RFC's minutes suit a queue. The reply to the end of data keeps the RFC's ten minutes, for who
    gives up too early there sends twice.
    """

    connect: float | None = 30.0
    """To each address of the host."""
    greeting: float | None = 60.0
    hello: float | None = 60.0
    """EHLO and HELO."""
    tls: float | None = 30.0
    """STARTTLS, and the handshake."""
    auth: float | None = 60.0
    """Each reply of an AUTH exchange."""
    mail: float | None = 120.0
    rcpt: float | None = 120.0
    data_initiation: float | None = 120.0
    data_block: float | None = 180.0
    """For each piece of content that is written."""
    data_termination: float | None = 600.0
    other: float | None = 60.0
    """RSET, NOOP, VRFY, EXPN, HELP and any other command."""
    quit: float | None = 5.0
    total: float | None = None
    """One deadline over a whole call, whatever its phases still have."""

    def __post_init__(self) -> None:
        for field in fields(self):
            seconds = getattr(self, field.name)
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"{field.name}={seconds!r}: give seconds above 0, or None")

    @classmethod
    def each(cls, seconds: float | None, *, total: float | None = None) -> Timeouts:
        """The same time for every phase."""
        names = [field.name for field in fields(cls) if field.name != "total"]
        return cls(total=total, **dict.fromkeys(names, seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of the server's talk is taken before the session ends, and how far we run ahead."""

    reply_line: int = 8192
    """Octets of one reply line. RFC 5321 §4.5.3.1.5 says 512; real servers exceed it."""
    reply_size: int = 65536
    """Octets of one reply."""
    reply_lines: int = 1000
    """Lines of one reply."""
    challenges: int = 10
    """Challenges in one AUTH exchange."""
    window: int = 4096
    """Octets of commands that may be unanswered under PIPELINING.

    It must fit the peers' socket buffers, else two blocking peers could both sit in a write
    (RFC 2920 §3.1).
    """
