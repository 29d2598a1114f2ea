"""The mailboxes in a header field (RFC 5322 §3.4, with the obsolete forms of §4.4).

Nothing is guessed: who wrote what cannot be read
is asked again. The time it takes is linear in the length of the field, and so is its memory.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "Group",
    "Mailbox",
    "addresses_in",
    "decoded",
    "groups_in",
    "mailbox_in",
    "revealed",
    "unfolded",
]

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
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ENCODED_WORD = r"=\?[^?\s]+\?[bq]\?[^?\s]*\?="
# White space between two of them is not shown (RFC 2047 §6.2).
_ENCODED = re.compile(rf"(?P<encoded>{_ENCODED_WORD}(?:\s*{_ENCODED_WORD})*)", re.IGNORECASE)
_WHOLE = re.compile(rf"(?<![^,])\s*+{_ENCODED.pattern}\s*+(?![^,])", re.IGNORECASE)
_PIECE = re.compile(
    rf"""{_ENCODED.pattern} | (?P<quoted> "(?:[^"\\]|\\.)*+"? ) | (?P<plain> [^"=]+ | . )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_FOLD = re.compile(r"\r?\n(?=[ \t])")


class Mailbox(NamedTuple):
    """An address with what stands around it."""

    address: str
    """As it stands there, without the white space and comments in it."""
    phrase: str = ""
    """What is before the angle brackets, quoted and encoded as it came."""
    comments: tuple[str, ...] = ()
    """What stands in parentheses, without them."""

    @property
    def name(self) -> str:
        """The display name as people read it; a comment is part of it, or takes its place."""
        name = _spoken(self.phrase)
        comments = [decoded(_ESCAPED.sub(r"\1", comment)).strip() for comment in self.comments]
        if not name:
            return " ".join(comments)
        return " ".join([name, *(f"({comment})" for comment in comments)])


class Group(NamedTuple):
    """Mailboxes under a name (RFC 5322 §3.4), or without one each by itself."""

    name: str | None
    mailboxes: list[Mailbox]


def addresses_in(text: str) -> list[str]:
    """The address of each mailbox in the body of a From, To or like field, members of groups too.

    Display names, comments and groups are read past. The addresses are as they stand there,
    without the white space and comments in them; whether they can be sent to is for
    `Address.parse` to say.

    Raises:
        ValueError: the text is no address list; the message says where.
    """
    return [mailbox.address for group in groups_in(text) for mailbox in group.mailboxes]


def groups_in(text: str) -> list[Group]:
    """All that an address list says.

    Raises:
        ValueError: the text is none; the message says where.
    """
    return _Reader(unfolded(text)).read()


def mailbox_in(text: str) -> tuple[str, str]:
    """Display name, or ``""``, and address of the one mailbox that is all there is in a text.

    Raises:
        ValueError: it is another; the message says why.
    """
    groups = groups_in(text)
    found = [mailbox for group in groups for mailbox in group.mailboxes]
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} addresses")
    mailbox = found[0]
    if mailbox.comments or any(group.name is not None for group in groups):
        raise ValueError("it has more than a name and an address")
    return mailbox.name, mailbox.address


def unfolded(text: str) -> str:
    """The body of a field in one line (RFC 5322 §2.2.3)."""
    return _FOLD.sub("", text)


def decoded(text: str) -> str:
    """A text with its encoded words decoded (RFC 2047 §6.2), but for what is malformed."""
    return _ENCODED.sub(_meant, text)


def revealed(text: str) -> str:
    """An address list in which the mailboxes are decoded that were encoded as a whole."""
    return _WHOLE.sub(lambda mailbox: decoded(mailbox[0]), unfolded(text))


def _meant(words: re.Match[str]) -> str:
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(words[0])))
    except Exception:  # What is malformed makes the `email` package fail in many ways.
        return words[0]


class _Reader:
    """Reads a list token by token."""

    def __init__(self, text: str) -> None:
        self._source = text
        self._position = 0
        self._found: list[Group] = []
        self._group: Group | None = None
        self._restart()

    def _restart(self) -> None:
        self._words: list[str] = []  # A display name, or an address.
        self._pieces: list[str] = []  # The same, with the white space in it.
        self._phrase = ""  # The display name, when what follows it has begun.
        self._comments: list[str] = []
        self._is_joined = True  # False: two words side by side, which make no address.
        self._in_angle = False
        self._named = ""  # An address where a display name should be.
        self._address: str | None = None  # What stood between < and >.
        self._is_over = False  # After a group, there is a comma or the end.

    def read(self) -> list[Group]:
        source = self._source
        while self._position < len(source):
            match = _TOKEN.match(source, self._position)
            if match is None:
                raise self._unreadable("cannot be read")
            if match.lastgroup == "comment":
                end = self._end_of_comment()
                self._comments.append(source[self._position + 1 : end - 1])
                self._pieces.append(" ")
                self._position = end
                continue
            if match.lastgroup == "special":
                self._special(match[0])
            elif match.lastgroup == "space":
                self._pieces.append(" ")
            else:
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
            self._phrase = "".join(self._pieces)
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
            if self._group is not None or self._address is not None or "@" in self._words:
                raise self._unreadable("is out of place")
            self._group = Group(Mailbox("", "".join(self._pieces), (*self._comments,)).name, [])
            self._found.append(self._group)
            self._restart()
        else:
            if self._group is None:
                raise self._unreadable("ends no group; a comma separates addresses")
            self._end_mailbox()
            self._group, self._is_over = None, True

    def _word(self, token: str) -> None:
        words = self._words
        if self._address is not None or self._is_over:
            raise self._unreadable("follows an address; is a comma missing?")
        if words and not (token in _JOINTS or words[-1] in _JOINTS):
            self._is_joined = False
        words.append(token)
        self._pieces.append(token)

    def _end_mailbox(self) -> None:
        address = self._address
        if address is None and self._words:  # else nothing is between two commas (RFC 5322 §4.4)
            address = self._whole()
        if address is not None:
            mailbox = Mailbox(address, self._phrase, (*self._comments,))
            if self._group is not None:
                self._group.mailboxes.append(mailbox)
            else:
                self._found.append(Group(None, [mailbox]))
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


def _spoken(phrase: str) -> str:
    """What a phrase says to people: quotes undone, encoded words decoded (RFC 2047 §5)."""
    said: list[str] = []
    for piece in _PIECE.finditer(phrase.strip()):
        if piece.lastgroup == "quoted":
            said.append(_ESCAPED.sub(r"\1", piece[0][1:-1]))
        elif piece.lastgroup == "encoded":
            said.append(decoded(piece[0]))
        else:
            said.append(re.sub(r"\s+", " ", piece[0]))
    return "".join(said)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
