"""`SMTP.file`: the server's replies line by line, each reply within one deadline."""

from __future__ import annotations

import io
from socket import socket as Socket  # noqa: N812 - tests patch `smtplib.socket`, the module
from time import monotonic
from typing import Any

from smtpx._drivers.waiting import Waiter
from smtpx._wire.parser import ReplyParser
from smtpx.errors import RemoteProtocolError
from smtpx.options import Limits
from smtpx.replies import Reply

try:
    from ssl import SSLWantReadError
except ImportError:  # a Python without TLS
    _nothing_yet: tuple[type[OSError], ...] = (BlockingIOError,)
else:
    _nothing_yet = (BlockingIOError, SSLWantReadError)

__all__ = [
    "LIMITS",
    "MAXLINE",
    "ReplyFile",
    "Socket",
    "code_and_text",
    "is_genuine",
    "malformed",
    "replies_in",
]

MAXLINE = 8192
LIMITS = Limits(reply_line=MAXLINE)
_BLANKS = b" \t\r\n"


class ReplyFile(io.BufferedReader):
    """A buffered reader of a socket, which it does not own.

    Between `begin` and `end` all reads share the time that the socket's timeout gives to one;
    outside of them each read has it for itself, as with `socket.makefile`.
    """

    def __init__(self, connected: Socket) -> None:
        self._incoming = _Incoming(connected)
        super().__init__(self._incoming)

    def begin(self, limit: float | None = None) -> None:
        """A reply is about to be read; `limit` = seconds, if fewer than the socket's timeout."""
        self._incoming.begin(limit)

    def end(self) -> None:
        """The reply was read."""
        self._incoming.timed = False

    def glance(self) -> bytes | None:
        """Take what has arrived, without waiting; ``b""`` is the end, ``None`` nothing."""
        incoming = self._incoming
        incoming.glancing, incoming.ended = True, False
        try:
            if not self.peek(1):
                return b"" if incoming.ended else None
            return self.read1(-1)
        finally:
            incoming.glancing = False


class _Incoming(io.RawIOBase):
    """The socket under a `ReplyFile`."""

    def __init__(self, connected: Socket) -> None:
        self._socket = connected
        self._waiter: Waiter | None = None
        self._limit: float | None = None
        self._due: float | None = None
        self.timed = False
        self.glancing = False
        self.ended = False

    def begin(self, limit: float | None) -> None:
        self._limit = limit
        self._due = None
        self.timed = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self.glancing:
            return self._look(buffer)
        if not self.timed:
            return self._socket.recv_into(buffer)
        timeout = self._socket.gettimeout()
        if self._due is None and self._limit is None:
            # What the first read may take, the socket knows by itself.
            self._due = float("inf") if timeout is None else monotonic() + timeout
            return self._socket.recv_into(buffer)
        if self._due is None:
            limits = [seconds for seconds in (timeout, self._limit) if seconds is not None]
            self._due = monotonic() + min(limits)
        left = self._due - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(None if left == float("inf") else left)
        try:
            return self._socket.recv_into(buffer)
        finally:
            self._socket.settimeout(timeout)

    def _look(self, buffer: Any) -> int | None:
        pending = getattr(self._socket, "pending", None)
        if not (pending is not None and pending()):
            if self._waiter is None:
                self._waiter = Waiter(self._socket)
            if not self._waiter.is_readable():
                return None
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            count = self._socket.recv_into(buffer)
        except _nothing_yet:
            return None  # TLS read a record of its own, such as a session ticket
        finally:
            self._socket.settimeout(timeout)
        self.ended = not count
        return count


def is_genuine(sock: object) -> bool:
    """True for a socket of the operating system, as opposed to a test's stand-in."""
    return isinstance(sock, Socket)


def code_and_text(reply: Reply) -> tuple[int, bytes]:
    """A reply as smtplib gives it: code, and the lines without codes, joined by a line feed."""
    raw = reply.raw
    if raw.count(b"\n") == 1:
        return int(raw[:3]), raw[4:].strip(_BLANKS)
    lines = [line[4:].strip(_BLANKS) for line in raw.split(b"\n")[:-1]]
    return int(raw[:3]), b"\n".join(lines)


def malformed(lines: list[bytes]) -> tuple[int, bytes] | str:
    """What stands for a reply that is none; a text if it is too long to be one.

    The code is never one that a caller could take for acceptance.
    """
    line = lines[-1]
    if len(line) > LIMITS.reply_line:
        return "Line too long."
    if len(lines) >= LIMITS.reply_lines or sum(map(len, lines)) > LIMITS.reply_size:
        return "Reply too large."
    # A code changed within the reply is no code.
    if len(lines) == 1 and line[:3].isdigit() and line[:1] not in b"23":
        return int(line[:3]), line[4:].strip(_BLANKS)
    return -1, line.strip(_BLANKS)


def replies_in(
    octets: bytes,
) -> tuple[list[tuple[int, bytes]], tuple[int, bytes] | str | None]:
    """Every whole reply, and what stands for the malformed one that ended them."""
    parser = ReplyParser(LIMITS)
    replies: list[tuple[int, bytes]] = []
    lines: list[bytes] = []
    for line in io.BytesIO(octets):  # only LF ends a line there
        lines.append(line)
        parser.feed(line)
        try:
            reply = parser.next_reply()
        except RemoteProtocolError:
            return replies, malformed(lines)
        if reply is not None:
            replies.append(code_and_text(reply))
            lines = []
    return replies, None
