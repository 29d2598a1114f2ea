"""A kept message, read within bounds: whoever wrote it is a stranger.

What is larger than anybody's mail is shown as its source alone. Nothing takes longer than a moment:
parts, fields and addresses are counted. Attachments are decoded when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.header import decode_header
from email.utils import getaddresses

from smtpx.inbox._decoding import decoded, header_text, text_of
from smtpx.inbox._structure import Leaf, TooMuch, leaves

__all__ = ["Part", "Reading", "read"]

_MOST_FIELDS = 1000
_MOST_HEADER = 256 * 1024
_MOST_PEOPLE = 200
_MOST_SHOWN = 1_000_000

_FIELD = re.compile(r"^([!-9;-~]+)[ \t]*:[ \t]?(.*(?:\r?\n[ \t].*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the message, addressed by its number."""

    number: int
    kind: str
    name: str
    content_id: str
    charset: str
    is_attachment: bool
    size: int
    """In octets, decoded."""
    start: int
    """Where its body is in the message, and how it is encoded there."""
    end: int
    encoding: str

    def octets(self, content: bytes) -> Iterator[bytes]:
        """Its own octets, out of those of the message, a piece at a time."""
        return decoded(content, self.start, self.end, self.encoding)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message says."""

    fields: tuple[tuple[str, str], ...]
    """Each field as it stands, unfolded; the first 1000."""
    subject: str
    author: str
    to: tuple[str, ...]
    """Addresses of To and Cc, in lower case."""
    addressed: str
    """To and Cc as people read them."""
    message_id: str
    text: str | None
    html: str | None
    parts: tuple[Part, ...]
    problem: str | None
    """Why it is shown as its source alone."""

    @property
    def attachments(self) -> int:
        """How many parts are attachments."""
        return sum(part.is_attachment for part in self.parts)


def read(content: bytes) -> Reading:
    """Read a message; it never fails, and takes no longer than a moment."""
    header = _header_section(content)
    fields = _fields(header)
    named = {name.lower(): value for name, value in reversed(fields)}
    problem = None
    if len(header) >= _MOST_HEADER or len(fields) == _MOST_FIELDS:
        problem = "its header section is larger than any mail's"
    parts: tuple[Part, ...] = ()
    if problem is None:
        try:
            parts = tuple(_part(content, *found) for found in enumerate(leaves(content)))
        except TooMuch as error:
            problem = str(error)
        except Exception as error:  # What is malformed makes the email package fail in many ways.
            problem = f"it cannot be read: {type(error).__name__}"
    return Reading(
        fields=tuple(fields),
        subject=_decoded(named.get("subject", "")),
        author=_decoded(named.get("from", "")),
        to=_people(named.get("to", ""), named.get("cc", "")),
        addressed=_decoded(" ".join(filter(None, (named.get("to"), named.get("cc"))))),
        message_id=named.get("message-id", "").strip()[:998],
        text=_first(content, parts, "text/plain"),
        html=_first(content, parts, "text/html"),
        parts=parts,
        problem=problem,
    )


def _header_section(content: bytes) -> bytes:
    ends = [at for at in (content.find(b"\r\n\r\n"), content.find(b"\n\n")) if at >= 0]
    return content[: min([*ends, _MOST_HEADER]) + 2]


def _fields(header: bytes) -> list[tuple[str, str]]:
    text = header_text(header)
    found: list[tuple[str, str]] = []
    for match in _FIELD.finditer(text):
        found.append((match[1], " ".join(match[2].split())[:_MOST_SHOWN]))
        if len(found) == _MOST_FIELDS:
            break
    return found


def _part(content: bytes, number: int, leaf: Leaf) -> Part:
    header, start, end = leaf
    kind = header.get_content_type()
    name = _decoded(header.get_filename() or "")
    encoding = str(header.get("Content-Transfer-Encoding", "")).strip().lower()
    content_id = str(header.get("Content-ID", "")).strip().strip("<>").strip()
    disposition = header.get_content_disposition()
    # An image that the HTML shows is no file that somebody attached (RFC 2392).
    is_shown = disposition != "attachment" and content_id != "" and kind.startswith("image/")
    return Part(
        number=number,
        kind=kind,
        name=name,
        content_id=content_id,
        charset=header.get_content_charset("") or "",
        is_attachment=not is_shown
        and (disposition == "attachment" or bool(name) or kind not in ("text/plain", "text/html")),
        size=sum(map(len, decoded(content, start, end, encoding))),
        start=start,
        end=end,
        encoding=encoding,
    )


def _first(content: bytes, parts: tuple[Part, ...], kind: str) -> str | None:
    for part in parts:
        if part.kind == kind and not part.is_attachment:
            return text_of(_beginning(part.octets(content)), part.charset)
    return None


def _beginning(pieces: Iterator[bytes]) -> bytes:
    octets = b""
    for piece in pieces:
        octets += piece
        if len(octets) >= _MOST_SHOWN:
            break
    return octets[:_MOST_SHOWN]


def _decoded(value: str) -> str:
    """A field's text with its encoded words read (RFC 2047), on one line."""
    text = value[:10_000]
    try:
        text = "".join(_word(*each) for each in decode_header(text))
    except Exception:  # Broken words: they stay as they are.
        pass
    return " ".join(text.split())


def _word(text: bytes | str, charset: str | None) -> str:
    if isinstance(text, str):
        return text
    if charset is None:
        return text.decode("raw-unicode-escape")  # As decode_header has it.
    # RFC 2231 §5: a language may follow.
    return text_of(text, charset.partition("*")[0])


def _people(*values: str) -> tuple[str, ...]:
    try:
        found = getaddresses([value[:20_000] for value in values])
    except Exception:  # RecursionError, of comments in comments: nobody is named then.
        return ()
    return tuple(address.lower() for _, address in found[:_MOST_PEOPLE] if address)
