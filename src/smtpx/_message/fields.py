"""Field bodies as they are written: folded, and in ASCII whatever the language.

RFC 5322 §2.2.3 (folding), RFC 2047 (encoded words), RFC 2231 (parameters). Written here rather than
by the `email` package, whose versions differ in what they fold badly.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence

from smtpx.addresses import Address

__all__ = [
    "addresses",
    "breaks_a_line",
    "folded",
    "folded_apart",
    "half_of_a_character",
    "identifiers",
    "is_phrase",
    "mailboxes",
    "parameters",
    "unstructured",
]

_LINE = 78  # RFC 5322 §2.1.1: what a line should not exceed.
_LONGEST_WORD = 900  # … and 998 is what it must not.
_ENCODED_WORD = 75  # RFC 2047 §2.
_ENCODED_LINE = 76  # The same, of a line that has such words.
_FRAME = len("=?utf-8?q??=")
_PLAIN_IN_Q = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q = [chr(octet) if octet in _PLAIN_IN_Q else f"={octet:02X}" for octet in range(256)]
_Q[0x20] = "_"
_CONTINUED = ("=8", "=9", "=A", "=B")  # the second octet of a character, or a later one
_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+"
_PHRASE = re.compile(rf"{_ATEXT}(?: {_ATEXT})*")
_UTF8_ATEXT = r"[\w!#$%&'*+\-/=?^`{|}~]+"
_UTF8_PHRASE = re.compile(rf"{_UTF8_ATEXT}(?: {_UTF8_ATEXT})*")
# Tokens less what RFC 2231 §7 gives a meaning of its own.
_TOKEN = re.compile(r"[!#$&+\-.0-9A-Z^_`a-z{|}~]+")
_EASILY_QUOTED = re.compile(r"""[^";\\\x00-\x1f\x7f-\U0010ffff]+""")
_ATTRIBUTE_CHARACTERS = frozenset(
    b"!#$&+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz{|}~"
)
# The categories Cc, but for the tab, Cs, Zl and Zp.
_BREAKING = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_QUOTED_NAME = 60
_APART = re.compile(r"""[ \t]*(?:"(?:[^"\\]|\\.)*+"?|[^ \t"])+""", re.DOTALL)


def breaks_a_line(text: str) -> bool:
    """True if a text has what some reader takes for a line end, or any other control character."""
    return not text.isprintable() and _BREAKING.search(text) is not None


def half_of_a_character(text: str) -> int | None:
    """Where half of a surrogate pair stands, which no encoding has; None where there is none."""
    try:
        _ = text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def is_phrase(display_name: str) -> bool:
    """True if a display name may stand as it is (RFC 5322 §3.2.5), whatever its length."""
    return "=?" not in display_name and _PHRASE.fullmatch(display_name) is not None


def unstructured(name: str, text: str) -> str:
    """A text for people, such as a subject."""
    if text.isascii() and text.isprintable() and text == text.strip() and "=?" not in text:
        if len(name) + 2 + len(text) <= _LINE:
            return text
        words = re.findall(r" ?[^ ]+", text)
        # Where a line begins with two spaces, some readers see one.
        if "  " not in text and all(len(word) <= _LONGEST_WORD for word in words):
            return _folded(name, words)
    return _folded(name, _encoded(text, _ENCODED_LINE - len(name) - 2))


def folded(name: str, text: str) -> str:
    """Any field body as it is, in lines as short as its words allow."""
    return _folded(name, re.findall(r"[ \t]*[^ \t]+", text.rstrip(" \t")))


def folded_apart(name: str, text: str) -> str:
    """A list of addresses as it is, in lines that part no quoted string: not all readers cope."""
    return _folded(name, _APART.findall(text.strip()))


def mailboxes(name: str, everyone: Iterable[tuple[str, Address | str]]) -> str:
    """Addresses with their display names."""
    return addresses(name, [(None, everyone)])


def addresses(
    name: str,
    groups: Iterable[tuple[str | None, Iterable[tuple[str, Address | str]]]],
    *,
    utf8: bool = False,
) -> str:
    """Mailboxes, those of a group under its name; `utf8` leaves names as they are (RFC 6532)."""
    words: list[str] = []
    for group, members in groups:
        separator = ","
        if group is not None:
            if words:
                words[-1] += ","
            words += _phrase(group, _room(name, words), utf8=utf8)
            # RFC 2047 §5: an encoded word is parted from what follows.
            words[-1] += " :" if words[-1].endswith("?=") else ":"
            separator = ""
        for display_name, address in members:
            if words:
                words[-1] += separator
            if display_name:
                phrase = _phrase(display_name, _room(name, words), utf8=utf8)
                words += [*phrase, f" <{address}>"]
            else:
                words.append(f" {address}")
            separator = ","
        if group is not None:
            words[-1] += ";"
    return _folded(name, words)


def _room(name: str, words: list[str]) -> int:
    return _ENCODED_WORD if words else _ENCODED_LINE - len(name) - 2


def identifiers(name: str, each: Sequence[str], separator: str = "") -> str:
    """Message-IDs, or whatever else is written in angle brackets."""
    words = [f" {one}{separator}" for one in each[:-1]]
    return _folded(name, [*words, f" {each[-1]}"])


def parameters(name: str, value: str, named: Iterable[tuple[str, str]]) -> str:
    """A value such as a media type, with its parameters (RFC 2045 §5.1)."""
    words = [value]
    for attribute, meaning in named:
        for written in _parameter(attribute, meaning):
            words[-1] += ";"
            words.append(f" {written}")
    return _folded(name, words)


def _folded(name: str, words: Iterable[str]) -> str:
    """Words, each with the space before it, in lines as short as they allow."""
    lines: list[str] = []
    line, room = "", _LINE - len(name) - 2
    for word in words:
        if line and len(line) + len(word) > room:
            lines.append(line)
            line, room = word, _LINE
        else:
            line += word if line or lines else word.lstrip(" ")
    lines.append(line)
    return "\n".join(lines)


def _phrase(display_name: str, first_room: int, *, utf8: bool) -> Iterator[str]:
    """A display name as words of a phrase (RFC 5322 §3.2.5, RFC 2047 §5)."""
    as_it_is = (utf8 or display_name.isascii()) and "=?" not in display_name
    if as_it_is and len(display_name) <= _QUOTED_NAME:
        if (_UTF8_PHRASE if utf8 else _PHRASE).fullmatch(display_name):
            yield from (f" {atom}" for atom in display_name.split(" "))
        else:
            yield f" {_quoted(display_name)}"
        return
    yield from _encoded(display_name, first_room)


def _encoded(text: str, first_room: int) -> Iterator[str]:
    """Encoded words, none of which parts a character (RFC 2047 §5)."""
    octets = text.encode()
    quoted = "".join(map(_Q.__getitem__, octets))
    room = max(min(first_room, _ENCODED_WORD), 24) - _FRAME
    if len(quoted) > len(octets) * 4 // 3:
        while len(octets) > room // 4 * 3:
            at = room // 4 * 3
            while octets[at] & 0xC0 == 0x80:
                at -= 1
            yield f" =?utf-8?b?{base64.b64encode(octets[:at]).decode()}?="
            octets, room = octets[at:], _ENCODED_WORD - _FRAME
        yield f" =?utf-8?b?{base64.b64encode(octets).decode()}?="
        return
    while len(quoted) > room:
        at = room
        at -= 1 if quoted[at - 1] == "=" else 2 if quoted[at - 2] == "=" else 0
        while quoted[at : at + 2] in _CONTINUED:
            at -= 3
        # Some readers show the white space between two of them, which is best where there is some.
        at = quoted.rfind("_", at // 2, at) + 1 or at
        yield f" =?utf-8?q?{quoted[:at]}?="
        quoted, room = quoted[at:], _ENCODED_WORD - _FRAME
    yield f" =?utf-8?q?{quoted}?="


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parameter(attribute: str, meaning: str) -> Iterator[str]:
    if _TOKEN.fullmatch(meaning) and len(attribute) + len(meaning) < _LINE - 4:
        yield f"{attribute}={meaning}"
        return
    room = _LINE - len(attribute) - 10
    # Some readers end a parameter at a semicolon, quoted or not, and decode encoded words in it.
    if len(meaning) <= room and _EASILY_QUOTED.fullmatch(meaning) and "=?" not in meaning:
        yield f'{attribute}="{meaning}"'
        return
    pieces = _percent_encoded("utf-8''", meaning, room)
    if len(pieces) == 1:
        yield f"{attribute}*={pieces[0]}"
        return
    for number, piece in enumerate(pieces):  # RFC 2231 §4.1
        yield f"{attribute}*{number}*={piece}"


def _percent_encoded(piece: str, meaning: str, room: int) -> list[str]:
    pieces: list[str] = []
    for character in meaning:
        written = "".join(
            chr(octet) if octet in _ATTRIBUTE_CHARACTERS else f"%{octet:02X}"
            for octet in character.encode()
        )
        if len(piece) + len(written) > room:
            pieces.append(piece)
            piece = ""
        piece += written
    return [*pieces, piece]
