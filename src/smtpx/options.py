"""How long to wait, how much to take (RFC 5321 §4.5.3), and what to make of mistakes."""

from __future__ import annotations

from enum import Enum

from smtpx import _checks
from smtpx._values import Value

__all__ = ["Check", "Limits", "PoolLimits", "Timeouts"]


class Check(Enum):
    """What is done about a message that is not as it should be; `smtpx.check` tells what it finds.

    What needs it to be read before it is sent, so a file or an iterator is refused but by `PASS`.
    """

    PASS = "pass"
    """Send it as it is, as far as the server can take it."""
    REFUSE = "refuse"
    """Raise `CheckFailed` where an error is found; warnings pass."""
    FIX = "fix"
    """Mend a copy: Date, Message-ID, line ends, long lines, Bcc and more; refuse what errors are
    left. What is signed by DKIM is not mended."""


class Timeouts(Value, kw_only=True):
    """Seconds to wait in each phase of a session; ``None`` waits for ever.

    A phase's time is for the whole of its reply: a server that sends it byte by byte does not get
    more. The names are those of RFC 5321 §4.5.3.2; the defaults suit an application, while the
    RFC's minutes suit a queue. The reply to the end of data keeps the RFC's ten minutes,
    because giving up too early there sends the message twice.

    Raises:
        ValueError, TypeError: one of them is no number of seconds above 0.
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
    """How far the server may fall behind with the content: see `Limits.data_rate`."""
    data_termination: float | None = 600.0
    """The reply to the end of data; with LMTP, those to all recipients together."""
    other: float | None = 60.0
    """RSET, NOOP, VRFY, EXPN, HELP and any other command."""
    quit: float | None = 5.0
    total: float | None = None
    """One deadline over a whole call, whatever its phases still have."""

    def __post_init__(self) -> None:
        for name in type(self).__fields__:
            _checks.amount(name, getattr(self, name), "seconds", or_none=True)

    @classmethod
    def each(cls, seconds: float | None, *, total: float | None = None) -> Timeouts:
        """The same time for every phase."""
        names = [name for name in cls.__fields__ if name != "total"]
        return cls(total=total, **dict.fromkeys(names, seconds))


class Limits(Value, kw_only=True):
    """How much of the server's talk is taken before the session ends, and how far we run ahead.

    Raises:
        ValueError, TypeError: one of them is no number that it can be.
    """

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
    data_rate: float | None = 5000.0
    """Octets of content a second that the server must take at least.

    A server that takes nothing for `Timeouts.data_block` is given up, as is one that has been that
    much slower than this since its last reply. ``None``: each write has `data_block`, whatever its
    size.
    """

    def __post_init__(self) -> None:
        for name in ("reply_line", "reply_size", "reply_lines", "challenges", "window"):
            _checks.count(name, getattr(self, name), 1)
        _checks.amount("data_rate", self.data_rate, "octets a second", or_none=True)


class PoolLimits(Value, kw_only=True):
    """How many connections to one server there may be, for how long, and how fast they send.

    ``None`` sets no limit, where it may stand. The defaults keep below what servers commonly
    allow one client.

    Raises:
        ValueError, TypeError: one of them is no number that it can be, or `rate` lets no message
            go within `wait`.
    """

    open: int = 5
    """Connections at a time, those being opened included."""
    idle: int = 5
    """Connections kept while nobody uses them; 0 closes each after use."""
    idle_time: float | None = 30.0
    """Seconds a connection is kept unused; the server's own patience is mostly longer."""
    age: float | None = 300.0
    """Seconds after which a connection is not used for another message."""
    messages: int | None = 1000
    """Mail transactions over one connection. A server's MAILMAX (RFC 9422) may lower it."""
    rate: float | None = None
    """Messages per second, over all connections together."""
    burst: int = 1
    """Messages that may go at once after a pause, where there is a `rate`."""
    wait: float | None = 60.0
    """Seconds a caller waits for a connection and for the `rate` to let its message go."""
    recovery: float = 60.0
    """Seconds that fewer connections are kept open after the server refused one for its load.

    Then there is one more each time as many seconds have passed, until there are `open` again.
    """

    def __post_init__(self) -> None:
        _checks.count("open", self.open, 1)
        _checks.count("idle", self.idle, 0)
        _checks.count("messages", self.messages, 1, or_none=True)
        _checks.count("burst", self.burst, 1)
        for name in ("idle_time", "age", "wait"):
            _checks.amount(name, getattr(self, name), "seconds", or_none=True)
        _checks.amount("rate", self.rate, "messages a second", or_none=True)
        _checks.amount("recovery", self.recovery, "seconds")
        if self.rate is not None and self.wait is not None and self.rate * self.wait < 1:
            raise ValueError(
                f"rate={self.rate!r} lets no message go within wait={self.wait!r} seconds"
            )
