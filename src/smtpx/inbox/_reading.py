"""A kept message, read within bounds: whoever wrote it is a stranger.

What is larger than anybody's mail is shown as its source alone. Nothing is parsed that would take
longer than a moment: boundaries, fields and addresses are counted first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses
from typing import Any

__all__ = ["Part", "Reading", "read"]

_MOST_PARTS = 1000
_MOST_DEPTH = 50
_MOST_FIELDS = 1000
_MOST_HEADER = 256 * 1024
_MOST_PEOPLE = 200
_MOST_SHOWN = 1_000_000

_BOUNDARY = re.compile(
    rb"boundary\s*=\s*(?:\"([^\"\r\n]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE
)
_FIELD = re.compile(r"^([!-9;-~]+)[ \t]*:[ \t]?(.*(?:\r?\n[ \t].*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the message, addressed by its number."""

    number: int
    kind: str
    name: str
    content_id: str
    octets: bytes = field(repr=False)
    is_attachment: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message says."""

    fields: tuple[tuple[str, str], ...]
    """Each field as it stands, unfolded; the first 1000."""
    subject: str
    author: str
    to: tuple[str, ...]
    """Addresses of To and Cc, in lower case."""
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
    problem = _problem(content, header, len(fields))
    parts: tuple[Part, ...] = ()
    if problem is None:
        try:
            parts = _parts(content)
        except Exception as error:  # What is malformed makes the email package fail in many ways.
            problem = f"it cannot be read: {type(error).__name__}"
    return Reading(
        fields=tuple(fields),
        subject=_decoded(named.get("subject", "")),
        author=_decoded(named.get("from", "")),
        to=_people(named.get("to", ""), named.get("cc", "")),
        message_id=named.get("message-id", "").strip()[:998],
        text=_first(parts, "text/plain"),
        html=_first(parts, "text/html"),
        parts=parts,
        problem=problem,
    )


def _header_section(content: bytes) -> bytes:
    ends = [at for at in (content.find(b"\r\n\r\n"), content.find(b"\n\n")) if at >= 0]
    return content[: min([*ends, _MOST_HEADER]) + 2]


def _fields(header: bytes) -> list[tuple[str, str]]:
    text = header.decode("utf-8", "replace")
    found: list[tuple[str, str]] = []
    for match in _FIELD.finditer(text):
        found.append((match[1], " ".join(match[2].split())[:_MOST_SHOWN]))
        if len(found) == _MOST_FIELDS:
            break
    return found


def _problem(content: bytes, header: bytes, fields: int) -> str | None:
    if len(header) >= _MOST_HEADER or fields == _MOST_FIELDS:
        return "its header section is larger than any mail's"
    boundaries = {match[1] or match[2] for match in _BOUNDARY.finditer(content)}
    if len(boundaries) > _MOST_DEPTH:
        return f"it has more than {_MOST_DEPTH} boundaries"
    # A boundary may be the beginning of others: each line counts once, for the least of them.
    delimiters = content.count(b"\n--") if boundaries else 0
    if delimiters > _MOST_PARTS:
        count = sum(content.count(b"\n--" + boundary) for boundary in boundaries)
        if count > _MOST_PARTS:
            return f"it has more than {_MOST_PARTS} parts"
    # Messages in messages need no boundary to be nested.
    if content.lower().count(b"message/rfc822") > _MOST_DEPTH:
        return f"it has more than {_MOST_DEPTH} messages in it"
    return None


def _parts(content: bytes) -> tuple[Part, ...]:
    found: list[Part] = []
    for part in message_from_bytes(content).walk():
        if part.is_multipart() and part.get_content_type() != "message/rfc822":
            continue
        octets = _octets(part)
        disposition = part.get_content_disposition()
        kind = part.get_content_type()
        name = _decoded(part.get_filename() or "")
        found.append(
            Part(
                number=len(found),
                kind=kind,
                name=name,
                content_id=str(part.get("Content-ID", "")).strip().strip("<>").strip(),
                octets=octets,
                is_attachment=disposition == "attachment"
                or bool(name)
                or kind not in ("text/plain", "text/html"),
            )
        )
        if kind == "message/rfc822":
            break  # What is in it is its own message: it is one part here.
    return tuple(found)


def _octets(part: Message[str, str]) -> bytes:
    if part.get_content_type() == "message/rfc822":
        inner: Any = part.get_payload()
        try:
            octets: bytes = inner[0].as_bytes()
        except Exception:  # It has none, or none that the email package can write.
            return b""
        return octets
    payload: Any = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _first(parts: tuple[Part, ...], kind: str) -> str | None:
    for part in parts:
        if part.kind == kind and not part.is_attachment:
            return _text_of(part)
    return None


def _text_of(part: Part) -> str:
    octets = part.octets[:_MOST_SHOWN]
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def _decoded(value: str) -> str:
    """A field's text with its encoded words read (RFC 2047), on one line."""
    text = value[:10_000]
    try:
        text = str(make_header(decode_header(text)))
    except Exception:  # Charsets that nobody knows, and broken words.
        pass
    return " ".join(text.split())


def _people(*values: str) -> tuple[str, ...]:
    try:
        found = getaddresses([value[:20_000] for value in values])
    except Exception:  # RecursionError, of comments in comments: nobody is named then.
        return ()
    return tuple(address.lower() for _, address in found[:_MOST_PEOPLE] if address)
