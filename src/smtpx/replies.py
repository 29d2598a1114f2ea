"""What a server answers: reply, reply code, enhanced status code (RFC 5321 §4.2, 3463, 2034)."""

import re
from typing import NamedTuple, Self

from smtpx import _checks
from smtpx._values import Value

__all__ = ["EnhancedStatusCode", "Reply"]

# RFC 2034 §3: the code stands at the start of each line's text and is followed by a space.
_ENHANCED = r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?=[ \t]|$)"
_TOO_MANY = re.compile(rb"552[ -]5\.5\.3(?!\d)")
# Controls, and what changes the direction in which the rest of a line is shown.
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"


class EnhancedStatusCode(NamedTuple):
    """``class.subject.detail`` of RFC 3463, e.g. ``5.1.1``: bad destination mailbox address."""

    class_: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.class_}.{self.subject}.{self.detail}"


class Reply(Value):
    """One reply of the server, all of its lines.

    Its bytes are kept as they came; everything else is read out of them when asked for.
    The first digit decides what a reply means (RFC 5321 §4.2.1): `positive`, `intermediate`,
    `transient` and `permanent` are its four values.
    """

    raw: bytes
    """The whole reply with its line ends."""

    @classmethod
    def of(cls, code: int, *lines: str) -> Self:
        """Make a reply from its code and the text of its lines.

        Raises:
            ValueError: the code has not three digits from 200 on, or a line has a line end.
            TypeError: they are no `int` and `str`.
        """
        _checks.count("code", code, 200, 599)
        for line in lines:
            _checks.text("lines", line)
            if "\r" in line or "\n" in line:
                raise ValueError(f"lines: {_checks.shown(line)} has a line end: give it as several")
        texts = lines or ("",)
        *before, last = (line.encode() for line in texts)
        wire = b"".join(b"%d-%s\r\n" % (code, line) for line in before)
        return cls(wire + b"%d %s\r\n" % (code, last))

    @property
    def code(self) -> int:
        """The three-digit reply code."""
        return int(self.raw[:3])

    @property
    def lines(self) -> tuple[str, ...]:
        """The text of each line, without code and line end; UTF-8, undecodable octets replaced."""
        return tuple(line[4:].decode("utf-8", "replace") for line in self._raw_lines())

    @property
    def text(self) -> str:
        """The lines, joined by a line feed."""
        return "\n".join(self.lines)

    @property
    def enhanced(self) -> EnhancedStatusCode | None:
        """The enhanced status code, if the text starts with one of the reply code's own class."""
        match = re.match(_ENHANCED, self._raw_lines()[0][4:].decode("ascii", "replace"))
        if match is None or match[1] != chr(self.raw[0]):
            return None
        return EnhancedStatusCode(int(match[1]), int(match[2]), int(match[3]))

    @property
    def positive(self) -> bool:
        """2yz: done."""
        return self.raw.startswith(b"2")

    @property
    def intermediate(self) -> bool:
        """3yz: go on."""
        return self.raw.startswith(b"3")

    @property
    def transient(self) -> bool:
        """4yz: not now; the same request may succeed later.

        So may a recipient that is one too many, of which some servers still say 552 (RFC 5321
        §4.5.3.1.10).
        """
        return self.raw.startswith(b"4") or _TOO_MANY.match(self.raw) is not None

    @property
    def permanent(self) -> bool:
        """5yz: no; the same request will fail again. What is `transient` is not."""
        return self.raw.startswith(b"5") and not self.transient

    def _raw_lines(self) -> list[bytes]:
        return self.raw.rstrip(b"\r\n").replace(b"\r\n", b"\n").split(b"\n")

    def __str__(self) -> str:
        """``code text`` on one line, control characters replaced: safe in a log or a terminal."""
        text = " / ".join(line for line in self.lines if line)
        shown = f"{self.code} {text}".rstrip()
        return shown if shown.isprintable() else re.sub(_UNPRINTABLE, "\ufffd", shown)

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<Reply {self}>"
