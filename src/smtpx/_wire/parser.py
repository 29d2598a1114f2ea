"""Bytes into replies (RFC 5321 §4.2).

What is decided here on purpose:

- Each line is three digits, ``[2-5][0-5][0-9]``, then a space, a hyphen or the line's end. A
  refusal may have any second digit: real servers refuse by 571 or 499.
- All lines of a reply carry one code. A server that changes it within a reply is not believed.
- CRLF ends a line, and so does a bare LF, which some servers send; a bare CR is text.
- A line without its line end is no line: a reply cut short is never a reply.
- A line, a reply and its number of lines are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from smtpx._secrecy import redacted
from smtpx.errors import MalformedReply
from smtpx.options import Limits
from smtpx.replies import Reply

_SINGLE_LINE = re.compile(rb"(?:[23][0-5]|[45][0-9])[0-9](?: [^\n]*|\r)?\n")
_LINE = re.compile(rb"(?:[23][0-5]|[45][0-9])[0-9](?:[ -][^\n]*)?\r?\n")

# Octets of what is no reply that are kept.
_QUOTED = 80

TLS_ALERT = b"\x15\x03"
"""What a peer begins with that speaks TLS, and was spoken to in plain text (RFC 8446 §5.1, §6)."""

_POSITIVE_LINE = rb"2[0-5][0-9](?: [^\n]*+\n|\r?+\n)"
_POSITIVES = re.compile(rb"(?:%b)*+" % _POSITIVE_LINE)
_GO_AHEAD = re.compile(rb"(?:%b)*+3%b" % (_POSITIVE_LINE, _POSITIVE_LINE[1:]))
_PROMISING = re.compile(
    rb"(?:%b)*+(?:2(?:[0-5](?:[0-9](?: [^\n]*|\r)?)?)?)?" % _POSITIVE_LINE,
)


def are_positive(octets: bytes, count: int, go_ahead: bool = False) -> bool:
    """True if these are so many positive replies of one line, then a 3yz if asked, and no more."""
    pattern = _GO_AHEAD if go_ahead else _POSITIVES
    return octets.count(b"\n") == count + go_ahead and pattern.fullmatch(octets) is not None


class ReplyParser:
    """Fed with bytes as they come, gives replies as they are whole."""

    __slots__ = ("_begin", "_buffer", "_limits", "_lines", "_scanned", "is_empty", "secrets")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        self._begin: int = 0  # where the current reply begins
        self._scanned: int = 0  # where its first line not yet looked at begins
        self._lines = 0  # how many lines of it precede that
        self.is_empty = True
        """True if no byte is waiting, not even of an unfinished line."""
        self.secrets: tuple[bytes, ...] = ()
        """What is cut out of what is quoted as no reply."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the server."""
        if self._begin == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._begin :] + data
        self._scanned -= self._begin
        self._begin = 0
        self.is_empty = not self._buffer

    def next_reply(self) -> Reply | None:
        """Take the first whole reply out, or return ``None`` while there is none.

        Raises:
            MalformedReply: what came is no reply, or too large. The parser is of no use then.
        """
        if self.is_empty:
            return None
        buffer, begin = self._buffer, self._begin
        # Nearly every reply is one line, and whole: this is the way they all go.
        single = _SINGLE_LINE.match(buffer, begin)
        if single and self._scanned == begin and single.end() - begin <= self._limits.reply_line:
            self._take(single.end())
            return Reply(single[0])
        return self._next_in_lines()

    def feed_success(self, data: bytes, count: int) -> bytes | None:
        """Take bytes; return the last reply if they are the replies to one transaction, so many.

        If they are anything else, or more, they are kept as `feed` keeps them.
        """
        if self.is_empty and len(data) <= self._limits.reply_line and are_positive(data, count):
            return _last_line(data)
        self.feed(data)
        return None

    def next_success(self, count: int) -> bytes | None:
        """Take out the replies to one transaction, so many; return the last, as `next_positives`.

        Mostly they are all that has come.
        """
        unread = self._buffer[self._begin :]
        if self._took(unread, count):
            return _last_line(unread)
        last, _ = self.next_positives((count,))
        return last[0] if last else None

    def next_positives(self, counts: Iterable[int]) -> tuple[list[bytes], int]:
        """Take out the replies to transactions, so many to each; return the octets of the last.

        As far as all to one are there, of one line, and positive. Also how many were taken.
        """
        positives = _POSITIVES.match(self._buffer, self._begin)
        if positives is None or self._scanned != self._begin:
            return [], 0
        octets = positives[0]
        lines = octets.split(b"\n")
        longest = self._limits.reply_line
        if len(octets) > longest and max(map(len, lines)) >= longest:
            return [], 0  # One by one, then, to see which is too long.
        last: list[bytes] = []
        taken, whole = 0, len(lines) - 1
        for count in counts:
            end = taken + count
            if end > whole:
                break
            last.append(lines[end - 1] + b"\n")
            taken = end
        self._take(positives.end() - len(b"\n".join(lines[taken:])))
        return last, taken

    def took_go_ahead(self, count: int) -> bool:
        """Take out so many positive replies and the 3yz after them, if that is all there is.

        As far as all are of one line; else nothing is taken.
        """
        return self._took(self._buffer[self._begin :], count, go_ahead=True)

    def _took(self, unread: bytes, count: int, go_ahead: bool = False) -> bool:
        if (
            len(unread) > self._limits.reply_line
            or self._scanned != self._begin
            or not are_positive(unread, count, go_ahead)
        ):
            return False
        self._begin = self._scanned = len(self._buffer)
        self.is_empty = True
        return True

    def _take(self, end: int) -> None:
        """Note that what precedes is read."""
        self._begin = self._scanned = end
        self.is_empty = end == len(self._buffer)

    @property
    def has_line(self) -> bool:
        """True if a whole line is waiting."""
        return self._buffer.find(b"\n", self._begin) >= 0

    @property
    def is_cut(self) -> bool:
        """True if the last reply that waits has not come whole."""
        *_, line, rest = (b"\n" + self._buffer[self._begin :]).split(b"\n")
        return rest != b"" or line[3:4] == b"-"

    @property
    def is_promising(self) -> bool:
        """True if what has come may be the beginning of replies of one line, all positive."""
        if (
            len(self._buffer) - self._begin > self._limits.reply_line
            or self._scanned != self._begin
        ):
            return False
        return _PROMISING.fullmatch(self._buffer, self._begin) is not None

    def _next_in_lines(self) -> Reply | None:
        buffer, begin = self._buffer, self._begin
        if buffer.startswith(TLS_ALERT, begin):  # It has no line end to wait for.
            raise MalformedReply("this is a TLS alert", TLS_ALERT)
        while True:
            start = self._scanned
            end = buffer.find(b"\n", start) + 1
            self._check_size(end or len(buffer))
            if not end:
                return None
            line = buffer[start:end]
            if not _LINE.fullmatch(line):
                raise self._malformed("this is no reply", line)
            if start != begin and line[:3] != buffer[begin : begin + 3]:
                code = _shown(buffer[begin : begin + 3])
                raise self._malformed(f"a {code} reply goes on with", line)
            if line[3:4] != b"-":
                self._take(end)
                self._lines = 0
                return Reply(buffer[begin:end])
            self._scanned = end
            self._lines += 1

    def _check_size(self, end: int) -> None:
        limits = self._limits
        if (
            end - self._begin > limits.reply_size
            or end - self._scanned > limits.reply_line
            or self._lines >= limits.reply_lines
        ):
            raise self._malformed("a reply is too large", self._buffer[self._begin :])

    def _malformed(self, why: str, octets: bytes) -> MalformedReply:
        return MalformedReply(why, redacted(octets, self.secrets)[:_QUOTED])


def _last_line(octets: bytes) -> bytes:
    return octets[octets.rfind(b"\n", 0, -1) + 1 :]


def _shown(octets: bytes) -> str:
    return repr(octets[:_QUOTED])[1:]
