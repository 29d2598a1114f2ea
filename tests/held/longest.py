"""How long each call can hold its caller: the procedures run against the slowest server.

No socket and no clock: each step that waits adds to a sum what a server can make of it that answers
at the last moment, whole and right. So the times are those of the code, whatever it is.
"""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from smtpx import Credentials, Envelope, Limits, PoolLimits, Timeouts, TLSMode
from smtpx._core.authentication import log_in
from smtpx._core.connection import Connection
from smtpx._core.housekeeping import quit_session, reset, say
from smtpx._core.opening import open_session
from smtpx._core.sending import deliver
from smtpx._core.steps import Glance, Obtain, Receive, Send, StartTLS, Steps
from smtpx._core.xclient import xclient

T = TypeVar("T")

EXTENSIONS = ("PIPELINING", "CHUNKING")
# What the system takes of a write without waiting for the server to read.
_ROOM = 16384


class SlowestServer:
    """Answers everything as it should, and as late as it may."""

    def __init__(self, extensions: tuple[str, ...], lmtp: bool) -> None:
        self.seconds = 0.0
        self._offer = ("slow.test", "STARTTLS", "AUTH PLAIN", "XCLIENT NAME", *extensions)
        self._lmtp = lmtp
        self._replies = deque([b"220 slow.test\r\n"])
        self._unread = b""
        self._content = 0
        self._is_last = False
        self._in_data = False
        self._recipients = 0
        self._room = _ROOM
        self._behind: float | None = None

    def run(self, procedure: Steps[T]) -> T:
        try:
            step = next(procedure)
            while True:
                answer: bytes | None = b""
                match step:
                    case Receive(timeout, fresh):
                        assert timeout is not None
                        self.seconds += timeout if fresh else 0
                        answer = self._replies.popleft()
                        self._room, self._behind = _ROOM, None
                    case Send():
                        self._write(step)
                    case Glance():
                        answer = None
                    case StartTLS(timeout=timeout) | Obtain(timeout=timeout):
                        assert timeout is not None
                        self.seconds += timeout
                step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _write(self, step: Send) -> None:
        """A write waits once there is no room; then the server is as far behind as it may be."""
        octets = len(step.data)
        self._room -= octets
        if self._room < 0:
            assert step.timeout is not None
            if step.rate is None:
                self.seconds += step.timeout
            else:
                self.seconds += step.timeout if self._behind is None else self._behind
                self.seconds += octets / step.rate
                self._behind = 0.0
        self._hear(bytes(step.data))

    def _hear(self, octets: bytes) -> None:
        self._unread += octets
        while self._unread:
            if self._content:
                taken = min(self._content, len(self._unread))
                self._content -= taken
                self._unread = self._unread[taken:]
                if not self._content:
                    self._replies.append(b"250 ok\r\n")
            elif self._in_data:
                if not self._unread.endswith(b"\r\n.\r\n"):
                    self._unread = self._unread[-4:]
                    return
                self._unread, self._in_data = b"", False
                self._replies.extend([b"250 ok\r\n"] * (self._recipients if self._lmtp else 1))
            else:
                line, _, self._unread = self._unread.partition(b"\r\n")
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        match line.split():
            case [b"EHLO" | b"LHLO", *_]:
                lines = [b"250-%b\r\n" % word.encode() for word in self._offer]
                self._replies.append(b"".join(lines) + b"250 HELP\r\n")
            case [b"BDAT", size, *_]:
                self._content = int(size)
            case [b"DATA"]:
                self._in_data = True
                self._replies.append(b"354 go ahead\r\n")
            case [b"AUTH", *_]:
                self._replies.append(b"235 welcome\r\n")
            case [b"STARTTLS" | b"XCLIENT", *_]:
                self._replies.append(b"220 ok\r\n")
            case [verb, *_]:
                if verb == b"RCPT":
                    self._recipients += 1
                self._replies.append(b"250 ok\r\n")


class Longest:
    """The longest time of each call, with these settings."""

    def __init__(
        self,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        pool: PoolLimits | None = None,
        *,
        extensions: tuple[str, ...] = EXTENSIONS,
        lmtp: bool = False,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._limits = limits or Limits()
        self._pool = pool or PoolLimits()
        self._extensions = extensions
        self._lmtp = lmtp

    def _opened(self) -> tuple[Connection, SlowestServer]:
        server = SlowestServer(self._extensions, self._lmtp)
        connection = Connection(
            lmtp=self._lmtp, local=True, timeouts=self._timeouts, limits=self._limits
        )
        mode = TLSMode.NONE if self._lmtp else TLSMode.STARTTLS
        server.run(open_session(connection, "client.test", mode))
        return connection, server

    def open(self) -> float:
        """Look-up, one address, greeting, EHLO, STARTTLS, EHLO again, AUTH PLAIN."""
        connection, server = self._opened()
        credentials = Credentials("ann", "secret")
        server.run(log_in(connection, credentials, host="slow.test", port=25, mechanisms=None))
        connect = self._timeouts.connect
        assert connect is not None
        return 2 * connect + server.seconds

    def send(self, size: int = 2000, recipients: int = 1) -> float:
        """A message of that many octets."""
        connection, server = self._opened()
        content = b"x" * (size - 2) + b"\r\n"
        envelope = Envelope("a@x.test", [f"r{i}@y.test" for i in range(recipients)])
        before = server.seconds
        result = server.run(deliver(connection, content, envelope))
        assert len(result.accepted) == recipients
        return server.seconds - before

    def close(self) -> float:
        return self._of(quit_session)

    def command(self) -> float:
        return self._of(lambda connection: say(connection, "NOOP"))

    def reset(self) -> float:
        return self._of(reset)

    def xclient(self) -> float:
        return self._of(lambda connection: xclient(connection, {"name": "a.test"}))

    def _of(self, procedure) -> float:
        connection, server = self._opened()
        before = server.seconds
        server.run(procedure(connection))
        return server.seconds - before
