"""`SMTP.file`: the server's replies line by line, each reply within one deadline."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from math import inf
from smtplib import SMTPServerDisconnected
from typing import TYPE_CHECKING, Any

from smtpx._drivers.waiting import Waiter
from smtpx._secrecy import without_frames
from smtpx._smtplib.codes import MAXLINE, CodeAndText
from smtpx._wire.parser import ReplyParser
from smtpx.errors import RemoteProtocolError
from smtpx.options import Limits
from smtpx.replies import Reply

if TYPE_CHECKING:
    from smtpx._drivers.connected import Socket

try:
    from ssl import SSLWantReadError
except ImportError:  # a Python without TLS
    _nothing_yet: tuple[type[OSError], ...] = (BlockingIOError,)
else:
    _nothing_yet = (BlockingIOError, SSLWantReadError)

__all__ = [
    "LIMITS",
    "ReplyFile",
    "code_and_text",
    "read_reply",
    "replies_in",
]

_BUFFER = 8192
LIMITS = Limits(reply_line=MAXLINE)
_BLANKS = b" \t\r\n"


class ReplyFile:
    """What was read of a socket, which it does not own, and of what is to come.

    Between `begin` and `end` all reads share the time that the socket's timeout gives to one;
    outside of them each read has it for itself, as with `socket.makefile`.
    """

    def __init__(self, connected: Socket) -> None:
        self._socket = connected
        self._waiter = Waiter(connected)
        self._decrypted: Callable[[], int] | None = getattr(connected, "pending", None)
        self._held = b""
        self._is_timed = False
        self._limit: float | None = None
        self._due: float | None = None

    def begin(self, limit: float | None = None) -> None:
        """A reply is about to be read; `limit` = seconds, if fewer than the socket's timeout."""
        self._is_timed = True
        self._limit = limit
        self._due = None

    def first(self) -> bytes:
        """`begin`, and take what comes next; nothing is held, for a glance has found nothing."""
        timeout = self._socket.gettimeout()
        self._is_timed = True
        self._limit = None
        # What the first read may take, the socket knows by itself.
        self._due = inf if timeout is None else time.monotonic() + timeout
        return self._socket.recv(_BUFFER)

    def end(self) -> None:
        """The reply was read."""
        self._is_timed = False

    def readline(self, size: int = -1) -> bytes:
        """Read up to the end of a line, or `size` octets; less only if the stream ends."""
        held = self._held
        while not (end := held.find(b"\n") + 1) and (size < 0 or len(held) < size):
            octets = self._read()
            held += octets
            self._held = held
            if not octets:
                break
        end = min(end or len(held), size if size >= 0 else len(held))
        self._held = held[end:]
        return held[:end]

    def read1(self) -> bytes:
        """Take what is there, or else what comes next; ``b""`` is the end of the stream."""
        if self._held:
            octets, self._held = self._held, b""
            return octets
        return self._read()

    def glance(self) -> bytes | None:
        """Take what has arrived, without waiting; ``b""`` is the end, ``None`` nothing."""
        if self._held:
            return self.read1()
        decrypted = self._decrypted
        if (decrypted is None or not decrypted()) and not self._waiter.is_readable():
            return None
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            return self._socket.recv(_BUFFER)
        except _nothing_yet:
            return None  # TLS read a record of its own, such as a session ticket
        finally:
            self._socket.settimeout(timeout)

    def close(self) -> None:
        """Forget what was not read."""
        self._held = b""

    def _read(self) -> bytes:
        if not self._is_timed:
            return self._socket.recv(_BUFFER)
        if self._due is None and self._limit is None:
            return self.first()
        timeout = self._socket.gettimeout()
        if self._due is None:
            limits = [seconds for seconds in (timeout, self._limit) if seconds is not None]
            self._due = time.monotonic() + min(limits)
        left = self._due - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(None if left == inf else left)
        try:
            return self._socket.recv(_BUFFER)
        finally:
            self._socket.settimeout(timeout)


def read_reply(
    file: Any, secrets: tuple[bytes, ...], tell: Callable[[bytes], object] | None
) -> tuple[CodeAndText | str, bool]:
    """Read one reply, all of its lines within one timeout; or what stands for it, and False.

    Each line is told as it comes.

    Raises:
        OSError: the connection ended, or the time was up.
    """
    lines: list[bytes] = []
    if isinstance(file, ReplyFile):
        file.begin()
    try:
        return code_and_text(_read(file, lines, secrets, tell)), True
    except RemoteProtocolError as error:
        _ = without_frames(error)  # They have what the server may have echoed.
        return _malformed(lines), False
    finally:
        if isinstance(file, ReplyFile):
            file.end()


def _read(
    file: Any,
    lines: list[bytes],
    secrets: tuple[bytes, ...],
    tell: Callable[[bytes], object] | None,
) -> Reply:
    parser = ReplyParser(LIMITS)
    parser.secrets = secrets
    while (reply := parser.next_reply()) is None:
        line: bytes = file.readline(MAXLINE + 1)
        if not line:
            raise SMTPServerDisconnected("Connection unexpectedly closed")
        if tell is not None:
            _ = tell(line)
        lines.append(line)
        parser.feed(line)
    return reply


def code_and_text(reply: Reply) -> tuple[int, bytes]:
    """A reply as smtplib gives it: code, and the lines without codes, joined by a line feed."""
    raw = reply.raw
    if raw.count(b"\n") == 1:
        return int(raw[:3]), raw[4:].strip(_BLANKS)
    lines = [line[4:].strip(_BLANKS) for line in raw.split(b"\n")[:-1]]
    return int(raw[:3]), b"\n".join(lines)


def _malformed(lines: list[bytes]) -> CodeAndText | str:
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
            return replies, _malformed(lines)
        if reply is not None:
            replies.append(code_and_text(reply))
            lines = []
    return replies, None
