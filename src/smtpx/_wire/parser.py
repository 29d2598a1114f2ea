"""Bytes into replies (RFC 5321 §4.2).

What is decided here on purpose:

- Each line is three digits, ``[2-5][0-5][0-9]``, then a space, a hyphen or the line's end.
- All lines of a reply carry one code. A server that changes it within a reply is not believed.
- CRLF ends a line, and so does a bare LF, which some servers send; a bare CR is text.
- A line without its line end is no line: a reply cut short is never a reply.
- A line, a reply and its number of lines are bounded.
"""

from __future__ import annotations

import re

from smtpx.errors import RemoteProtocolError
from smtpx.options import Limits
from smtpx.replies import Reply

_LINE = re.compile(rb"[2-5][0-5][0-9](?:[ -][^\n]*)?\r?\n")


class MalformedReply(RemoteProtocolError):
    """The server sent something that is no reply; `line` is what came."""

    line: bytes

    def __init__(self, why: str, line: bytes) -> None:
        super().__init__(f"the server broke the protocol: {why}: {_shown(line)}")
        self.line = line


class ReplyParser:
    """Fed with bytes as they come, gives replies as they are whole."""

    __slots__ = ("_buffer", "_limits", "_lines", "_scanned")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        self._scanned = 0  # where the first line not yet looked at begins
        self._lines = 0  # how many lines of the current reply precede it

    def feed(self, data: bytes) -> None:
        """Take bytes from the server."""
        self._buffer = self._buffer + data if self._buffer else bytes(data)

    @property
    def is_empty(self) -> bool:
        """True if no byte is waiting, not even of an unfinished line."""
        return not self._buffer

    def next_reply(self) -> Reply | None:
        """Take the first whole reply out, or return ``None`` while there is none.

        Raises:
            RemoteProtocolError: what came is no reply, or too large. The parser is of no use then.
        """
        buffer = self._buffer
        while True:
            end = buffer.find(b"\n", self._scanned) + 1
            self._check_size(end or len(buffer))
            if not end:
                return None
            line = buffer[self._scanned : end]
            if not _LINE.fullmatch(line):
                raise MalformedReply("this is no reply", line)
            if self._scanned and line[:3] != buffer[:3]:
                raise MalformedReply(f"a {_shown(buffer[:3])} reply goes on with", line)
            if line[3:4] != b"-":
                self._buffer, self._scanned, self._lines = buffer[end:], 0, 0
                return Reply(buffer[:end])
            self._scanned = end
            self._lines += 1

    def _check_size(self, size: int) -> None:
        limits = self._limits
        if (
            size > limits.reply_size
            or size - self._scanned > limits.reply_line
            or self._lines >= limits.reply_lines
        ):
            raise MalformedReply("a reply is too large", self._buffer[:80])


def _shown(octets: bytes) -> str:
    return repr(octets[:80])[1:]
