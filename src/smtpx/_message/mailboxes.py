"""The mailboxes in a header field (RFC 5322 §3.4, with the obsolete forms of §4.4).

Nothing is guessed: who wrote what cannot be read
is asked again. The time it takes is linear in the length of the field, and so is its memory.
"""

from __future__ import annotations

import re

__all__ = ["addresses_in", "mailbox_in"]

_TOKEN = re.compile(
    r"""
    (?P<space> [ \t\r\n]+ )
  | (?P<atom> [^\x00-\x20()<>\[\]:;@\\,."\x7f]+ )
  | (?P<special> [.@,:;<>] )
  | (?P<quoted> "(?:[^"\\]|\\.)*" )
  | (?P<literal> \[ [^][\\]* \] )
  | (?P<comment> \( )
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_COMMENT = re.compile(r"[()]|\\.", re.DOTALL)
# What joins two words to one address.
_JOINTS = frozenset(".@,:;")
_NAMED = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^"<>(),:;@\\]*?))\s*<[^<>]*>\s*', re.DOTALL)
_FOLD = re.compile(r"\r?\n(?=[ \t])")


def addresses_in(text: str) -> list[str]:
    """The address of each mailbox in the body of a From, To or like field, members of groups too.

    Display names, comments and groups are read past. The addresses are as they stand there,
    without the white space and comments in them; whether they can be sent to is for
    `Address.parse` to say.

    Raises:
        ValueError: the text is no address list; the message says where.
    """
    return _Reader(_FOLD.sub("", text)).read()


def mailbox_in(text: str) -> tuple[str, str]:
    """Display name, or ``""``, and address of the one mailbox that is all there is in a text.

    Raises:
        ValueError: it is another; the message says why.
    """
    found = addresses_in(text)
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} addresses")
    if text.strip() == found[0]:
        return "", found[0]
    named = _NAMED.fullmatch(text)
    if named is None:
        raise ValueError("it has more than a name and an address")
    quoted, plain = named[1], named[2]
    return plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted), found[0]


class _Reader:
    """Reads a list token by token."""

    def __init__(self, text: str) -> None:
        self._source = text
        self._position = 0
        self._found: list[str] = []
        self._in_group = False
        self._restart()

    def _restart(self) -> None:
        self._words: list[str] = []  # A display name, or an address.
        self._is_joined = True  # False: two words side by side, which make no address.
        self._in_angle = False
        self._named = ""  # An address where a display name should be.
        self._address: str | None = None  # What stood between < and >.
        self._is_over = False  # After a group, there is a comma or the end.

    def read(self) -> list[str]:
        source = self._source
        while self._position < len(source):
            match = _TOKEN.match(source, self._position)
            if match is None:
                raise self._unreadable("cannot be read")
            if match.lastgroup == "comment":
                self._position = self._end_of_comment()
                continue
            if match.lastgroup == "special":
                self._special(match[0])
            elif match.lastgroup != "space":
                self._word(match[0])
            self._position = match.end()
        if self._in_angle:
            raise self._unreadable("comes before the > of an address")
        self._end_mailbox()
        return self._found

    def _special(self, token: str) -> None:
        if token == "<":
            if self._in_angle or self._address is not None or self._is_over:
                raise self._unreadable("is out of place")
            self._named = "".join(self._words) if "@" in self._words else ""
            self._words.clear()
            self._is_joined = self._in_angle = True
        elif token == ">":
            if not self._in_angle:
                raise self._unreadable("is out of place")
            self._address = self._whole()
            self._in_angle = False
            if self._named not in ("", self._address):
                raise ValueError(f"{_shown(self._named)} may be one address too many")
        elif token in ".@" or self._in_angle:
            self._word(token)
        elif token == ",":
            self._end_mailbox()
        elif token == ":":
            if self._in_group or self._address is not None or "@" in self._words:
                raise self._unreadable("is out of place")
            self._restart()
            self._in_group = True
        else:
            if not self._in_group:
                raise self._unreadable("ends no group; a comma separates addresses")
            self._end_mailbox()
            self._in_group, self._is_over = False, True

    def _word(self, token: str) -> None:
        words = self._words
        if self._address is not None or self._is_over:
            raise self._unreadable("follows an address; is a comma missing?")
        if words and not (token in _JOINTS or words[-1] in _JOINTS):
            self._is_joined = False
        words.append(token)

    def _end_mailbox(self) -> None:
        if self._address is not None:
            self._found.append(self._address)
        elif self._words:  # Between two commas there may be nothing (RFC 5322 §4.4).
            self._found.append(self._whole())
        self._restart()

    def _whole(self) -> str:
        words = self._words
        if words[:1] == ["@"] and ":" in words:  # A source route, to be ignored (RFC 5322 §4.4).
            words = words[words.index(":") + 1 :]
        if not self._is_joined or not words:
            raise ValueError(f"{_shown(' '.join(self._words))} is no address")
        return "".join(words)

    def _end_of_comment(self) -> int:
        depth = 0
        for match in _IN_COMMENT.finditer(self._source, self._position):
            depth += {"(": 1, ")": -1}.get(match[0], 0)
            if not depth:
                return match.end()
        raise self._unreadable("begins a comment without end")

    def _unreadable(self, why: str) -> ValueError:
        rest = self._source[self._position :]
        return ValueError(f"{_shown(rest) if rest else 'the end'} {why}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
