"""From the client's bytes to its commands: line ends, lengths, and who waits for whom.

What is judged here is framing: bare CR and LF, line lengths, transparency, and RFC 2920's rules
about command groups. What a command means is the protocol's business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from ._content import has_single_dot, unstuff
from ._extensions import Extension
from ._parameters import allowance
from .faults import AUTH_RESPONSE, END_OF_DATA, GREETING

_COMMAND_LIMIT = 512
_AUTH_LIMIT = 12_288  # RFC 4954 §4
_HOPELESS_LINE = 1 << 20
_MOST_KEPT = 100_000  # Characters of a session's lines, where they are bounded.
_MOST_VERBS = 1000
_DOTS = 1 << 16  # What transparency may add to a content that is not too large.
_GROUPABLE = frozenset({"MAIL", "RCPT", "RSET", "BDAT", END_OF_DATA})
_WITH_ADDRESS = frozenset({"MAIL", "RCPT", "VRFY", "EXPN"})
_CONTROL = re.compile(rb"[\x00-\x0c\x0e-\x1f\x7f]")
_CHUNK = re.compile(r"([0-9]{1,20})( LAST)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """Something that asks for a reply."""

    __module__ = "smtpx.testing"

    verb: str
    """Upper case; ``END-OF-DATA`` and ``AUTH-RESPONSE`` for what is not a command line."""

    nth: int
    """How many of this verb the session has seen, this one included."""

    argument: str = ""
    content: bytes = b""
    """What END-OF-DATA ended, without transparency, or the chunk of a BDAT."""

    oversize: bool = False
    """There was more content than is taken: it was read, and not kept."""

    no_room: bool = False
    """The same, because others have sent so much."""

    also: tuple[tuple[str, int], ...] = ()
    """What else a BDAT is, with its number: the DATA of its transaction, its END-OF-DATA."""

    @property
    def points(self) -> tuple[tuple[str, int], ...]:
        """Every name under which a fault may strike it, each with its number."""
        return ((self.verb, self.nth), *self.also)


class _Reading(Enum):
    COMMANDS = auto()
    CONTENT = auto()
    CHUNK = auto()
    AUTH = auto()
    NOTHING = auto()


def read_chunk_size(argument: str) -> tuple[int, bool] | None:
    """Read ``<size> [LAST]`` of a BDAT; None when there is no telling where the chunk ends."""
    match = _CHUNK.fullmatch(argument)
    return (int(match[1]), match[2] is not None) if match else None


class _FirstLines(list[str]):
    """The first so many lines, and so many characters of them; the others are not kept."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self._limit = limit
        self._room = _MOST_KEPT

    def append(self, line: str) -> None:
        if self._limit is None:
            super().append(line)
        elif len(self) < self._limit and self._room > 0:
            super().append(line[: self._room])
            self._room -= len(line)


class CommandReader:
    """Cuts the input of one session into commands.

    It appends to `breaches` and `commands`, and reads `offered`, which the protocol sets.
    """

    def __init__(
        self,
        content_limit: int | None = None,
        kept_lines: int | None = None,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._content_limit = content_limit
        self._is_full = is_full
        self._ran_out = False
        self._dropped = 0
        self.breaches: list[str] = _FirstLines(kept_lines)
        self.commands: list[str] = _FirstLines(kept_lines)
        self.offered: frozenset[Extension] = frozenset()
        self.content_octets = 0
        """Octets of content received so far, transparency and framing included."""
        self._buffer = bytearray()
        self._searched = 0
        self._reading = _Reading.COMMANDS
        self._counts: Counter[str] = Counter()
        self._last_verb = GREETING
        self._chunk: tuple[int, str] = (0, "")

    @property
    def content_pending(self) -> int | None:
        """Octets of content in the buffer; None when the input is not content just now."""
        reading = self._reading
        return len(self._buffer) if reading in (_Reading.CONTENT, _Reading.CHUNK) else None

    @property
    def held(self) -> int:
        """Octets in the buffer."""
        return len(self._buffer)

    def feed(self, data: bytes, *, unanswered: bool) -> None:
        """Take input; `unanswered` says that the last reply has not left completely yet."""
        if self._reading is _Reading.NOTHING:
            self.breaches.append(f"{_shown(data)} sent after {self._last_verb}")
            return
        self._buffer += data
        if unanswered and self._reading in (_Reading.COMMANDS, _Reading.AUTH):
            self._check_group(self._last_verb)

    def expect_content(self) -> None:
        """Read content up to its lone dot."""
        self._reading = _Reading.CONTENT

    def expect_auth_response(self) -> None:
        """Read the next line as an answer to a 334."""
        self._reading = _Reading.AUTH

    def expect_commands(self) -> None:
        """Read commands again."""
        self._reading = _Reading.COMMANDS

    def expect_nothing(self) -> None:
        """Hold everything that still comes against the client."""
        self._reading = _Reading.NOTHING
        self._buffer.clear()
        self._searched = 0

    def next_command(self) -> Command | None:
        """Cut off the next command; None when more bytes are needed."""
        match self._reading:
            case _Reading.COMMANDS | _Reading.AUTH:
                return self._next_line()
            case _Reading.CONTENT:
                return self._next_content()
            case _Reading.CHUNK:
                return self._next_chunk()
            case _Reading.NOTHING:
                return None

    def _next_line(self) -> Command | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched <= _HOPELESS_LINE:
                return None
            # Nobody's command; cut it here, so that memory stays bounded.
            end = self._searched - 1
        raw = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._searched = 0
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        text = self._decode(line)
        self.commands.append(text)
        if self._reading is _Reading.AUTH:
            verb, argument = AUTH_RESPONSE, text
        else:
            verb, _, argument = text.partition(" ")
            verb = verb.upper()
        self._check_line(raw, line, verb)
        self._last_verb = verb
        if verb == "BDAT" and (size := read_chunk_size(argument)):
            self._chunk = (size[0], argument)
            self._reading = _Reading.CHUNK
            return self._next_chunk()
        return self._command(verb, argument)

    def _next_content(self) -> Command | None:
        buffer = self._buffer
        if buffer.startswith(b".\r\n"):
            size, end = 0, 3
        else:
            at = buffer.find(b"\r\n.\r\n", max(0, self._searched - 4))
            if at < 0:
                self._drop_content()
                self._searched = len(buffer)
                return None
            size, end = at + 2, at + 5
        stuffed = bytes(memoryview(buffer)[:size])
        del buffer[:end]
        self._searched = 0
        self.content_octets += end
        self._reading = _Reading.COMMANDS
        self._last_verb = END_OF_DATA
        if self._dropped or self._ran_out:
            return self._oversize(END_OF_DATA, "")
        if has_single_dot(stuffed):
            self.breaches.append("a line of the content begins with a single dot (RFC 5321 §4.5.2)")
        return self._command(END_OF_DATA, "", unstuff(stuffed))

    def _next_chunk(self) -> Command | None:
        size, argument = self._chunk
        size -= self._dropped
        if len(self._buffer) < size:
            self._drop_content()
            return None
        chunk = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self.content_octets += size
        self._reading = _Reading.COMMANDS
        if self._dropped or self._ran_out:
            return self._oversize("BDAT", argument)
        return self._command("BDAT", argument, chunk)

    def _drop_content(self) -> None:
        """Forget content beyond the limit, but for what may be the beginning of its end."""
        limit = self._content_limit
        is_too_large = limit is not None and len(self._buffer) + self._dropped > limit + _DOTS
        if not is_too_large and not self._ran_out:
            self._ran_out = self._is_full()
        if is_too_large or self._ran_out:
            surplus = max(0, len(self._buffer) - 4)
            del self._buffer[:surplus]
            self._dropped += surplus
            self.content_octets += surplus

    def _oversize(self, verb: str, argument: str) -> Command:
        no_room, self._ran_out, self._dropped = self._ran_out, False, 0
        return replace(self._command(verb, argument), oversize=True, no_room=no_room)

    def count(self, name: str) -> int:
        """Count one more of this command; return how many there are."""
        if len(self._counts) >= _MOST_VERBS and name not in self._counts:
            return 1  # Nobody's fault has that many names.
        self._counts[name] += 1
        return self._counts[name]

    def _command(self, verb: str, argument: str, content: bytes = b"") -> Command:
        if self._buffer:
            self._check_group(verb)
        return Command(verb, self.count(verb), argument, content)

    def _decode(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.breaches.append(f"{_shown(line)} is not UTF-8")
            return line.decode("latin-1")

    def _check_line(self, raw: bytes, line: bytes, verb: str) -> None:
        if not raw.endswith(b"\r\n"):
            self.breaches.append(f"bare LF ends {_shown(line)} (RFC 5321 §2.3.8)")
        if b"\r" in line:
            self.breaches.append(f"bare CR in {_shown(line)} (RFC 5321 §2.3.8)")
        if _CONTROL.search(line) is not None:
            self.breaches.append(f"control character in {_shown(line)}")
        if line.endswith(b" "):
            self.breaches.append(f"trailing space in {_shown(line)}")
        if not line.isascii() and verb not in _WITH_ADDRESS:
            self.breaches.append(f"non-ASCII octets in {_shown(line)}")
        if len(raw) > _COMMAND_LIMIT:
            self._check_length(len(raw), verb)

    def _check_length(self, octets: int, verb: str) -> None:
        limit = _COMMAND_LIMIT + allowance(verb, self.offered)
        if verb in ("AUTH", AUTH_RESPONSE):
            limit = _AUTH_LIMIT
        if octets > limit:
            self.breaches.append(
                f"{verb} line of {octets} octets, {limit} are allowed (RFC 5321 §4.5.3.1.4)"
            )

    def _check_group(self, verb: str) -> None:
        if Extension.PIPELINING not in self.offered:
            rule = "PIPELINING was not offered"
        elif verb not in _GROUPABLE:
            rule = f"{verb} must be the last of its command group"
        else:
            return
        following = _shown(bytes(self._buffer[:60]))
        self.breaches.append(
            f"{following} sent before the reply to {verb}, but {rule} (RFC 2920 §3.1)"
        )


def _shown(data: bytes) -> str:
    return repr(data[:60] if len(data) <= 60 else data[:57] + b"...")[1:]
