"""The parts of a message: text, attachments, and what holds them together (RFC 2045, RFC 2046)."""

from __future__ import annotations

import base64
import binascii
import copy
import mimetypes
import os
import re
import secrets
from email.message import MIMEPart
from email.policy import default
from io import TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast, runtime_checkable

from smtpx import _checks
from smtpx._message import fields
from smtpx._message.messages import not_too_deep, refuse_too_many
from smtpx._message.sections import parsed, refuse_shown_bcc
from smtpx._values import Value
from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from smtpx._message.messages import AnyMessage
    from smtpx.findings import Finding

__all__ = ["POLICY", "Attachment"]

# The fields are folded already. Were it to fold them anew, the `email` package would encode what is
# too long for a line, be it an address, a Message-ID or the URI of List-Unsubscribe.
POLICY = default.clone(refold_source="none")

NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
"""What can be the first part of a Content-ID."""
_NAME = r"[A-Za-z0-9!#$&^_.+-]{1,127}"  # RFC 6838 §4.2
_PARAMETER = re.compile(rf"""[ ]*;[ ]*({_NAME})=(?:({_NAME})|"([^"\\\x00-\x1f\x7f-\x9f]*)")""")
_MEDIA_TYPE = re.compile(rf"({_NAME}/{_NAME})((?:{_PARAMETER.pattern})*)")
# RFC 5322 §2.1.1 wants no more; and "From " would be changed on its way through a mailbox file.
_NOT_PLAIN = re.compile(r"[^\n]{79}|^From |[^\t\n -~]", re.MULTILINE)
_NO_NAME = r"^[. ]*$|[/\\\t]"
_METHOD = re.compile(r"METHOD(?:;[^:]*)?:(.*)", re.IGNORECASE)
_METHOD_VALUE = re.compile(r" *[A-Za-z-]+ *")
_FOLD = re.compile(r"\n[ \t]")  # RFC 5545 §3.1
_BOM = "\ufeff"


@runtime_checkable
class OpenFile(Protocol):
    """What is read as a whole: never its lines one by one, which may be anything."""

    def read(self) -> bytes: ...


class Attachment(Value):
    """A file to be attached: bytes, a path, or an open binary file."""

    __module__ = "smtpx.composing"

    source: bytes | str | os.PathLike[str] | BinaryIO
    name: str | None = None
    """The file's name as the reader sees it, in any language; by default that of the path."""
    media_type: str | None = None
    """Such as ``application/pdf`` or ``text/csv; charset=utf-8``; by default guessed from the name.

    A text that is UTF-8 says so.
    """

    def __post_init__(self) -> None:
        is_source = isinstance(self.source, (bytes, str, os.PathLike))
        if not is_source and not callable(getattr(self.source, "read", None)):
            raise _checks.complaint("source", self.source, "bytes, a path or an open binary file")
        if isinstance(self.source, TextIOBase):
            raise _checks.complaint("source", self.source, "a file that is open in binary mode")
        _checks.text("name", self.name, or_none=True)
        _checks.text("media_type", self.media_type, or_none=True)

    @_checks.even_half_made
    def __repr__(self) -> str:
        source = self.source
        what = f"{len(source)} octets" if isinstance(source, bytes) else repr(source)
        named = [what, *map(repr, filter(None, (self.name, self.media_type)))]
        return f"<Attachment {', '.join(named)}>"


def read(argument: str, attachment: Attachment | str | os.PathLike[str] | BinaryIO) -> Attachment:
    """An attachment whose octets, name and media type are all there.

    Raises:
        LocalProtocolError: it cannot be read, has no name or an impossible one, or its media type
            is none.
        TypeError: it is something else.
    """
    if isinstance(attachment, TextIOBase):
        raise _in_text_mode(argument)
    if isinstance(attachment, (str, os.PathLike, OpenFile)):
        attachment = Attachment(cast("BinaryIO", attachment))
    if isinstance(attachment, bytes):
        raise TypeError(f"{argument}: bytes have no name: give Attachment(data, 'report.pdf')")
    if not isinstance(attachment, Attachment):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(
            f"{argument}: give a path, an open file, an Attachment or an EmailMessage, "
            f"not {type(attachment).__name__}"
        )
    data, origin = _octets(argument, attachment.source)
    name = attachment.name if attachment.name is not None else origin
    if not name or not name.strip():
        raise LocalProtocolError(f"{argument} has no name: give Attachment(…, name='report.pdf')")
    if fields.half_of_a_character(name) is not None:
        raise LocalProtocolError(
            f"{argument}: {name!r} has half of a surrogate pair: give its name as text, "
            "Attachment(…, name='report.pdf')"
        )
    if re.search(_NO_NAME, name) or fields.breaks_a_line(name):
        raise LocalProtocolError(
            f"{argument}: {name!r} is no file's name: leave out directories and control characters"
        )
    media_type = attachment.media_type or _guessed(name)
    found = _MEDIA_TYPE.fullmatch(media_type)
    if found is None or not _is_of_a_file(found[1].lower()):
        raise LocalProtocolError(
            f"{argument}: {media_type!r} is no media type of a file: give type/subtype, and "
            "parameters such as '; charset=utf-8'"
        )
    return Attachment(data, name, media_type)


def _is_of_a_file(media_type: str) -> bool:
    """False for what is made of other parts, and may not be encoded (RFC 2046 §5)."""
    return media_type == "message/rfc822" or not media_type.startswith(("multipart/", "message/"))


def text_part(text: str, subtype: str, *parameters: tuple[str, str]) -> MIMEPart:
    """A text, in whatever encoding keeps it readable and every line short."""
    text = _unix(text)
    encoding, charset = "7bit", "utf-8"
    if _NOT_PLAIN.search(text):
        octets = text.encode()
        encoding = "quoted-printable"
        # No line of it must look like the start of a message, or like the end of one.
        text = re.sub(
            rb"^From ", b"=46rom ", binascii.b2a_qp(octets, istext=True), flags=re.M
        ).decode()
        if len(text) * 3 > len(octets) * 4:
            encoding = "base64"
            text = base64.encodebytes(octets.replace(b"\n", b"\r\n")).decode()
    part = _part(f"text/{subtype}", ("charset", charset), *parameters)
    part.set_raw("Content-Transfer-Encoding", encoding)
    part.set_payload(text)
    return part


def calendar_part(calendar: str) -> MIMEPart:
    """An invitation as programs read it that answer it (RFC 6047 §2.4).

    Raises:
        LocalProtocolError: it is no calendar object, or says not what is to be done with it.
    """
    unix = _unix(calendar.removeprefix(_BOM).strip())
    if not re.match(r"BEGIN:VCALENDAR\n", unix, re.IGNORECASE):
        raise LocalProtocolError("calendar is no iCalendar object: it begins with BEGIN:VCALENDAR")
    methods = _methods(unix)
    if len(methods) != 1 or not _METHOD_VALUE.fullmatch(methods[0]):
        raise LocalProtocolError(
            "calendar needs one METHOD, such as METHOD:REQUEST (RFC 5546 §1.4)"
        )
    return text_part(unix, "calendar", ("method", methods[0].strip().upper()))


def _methods(calendar: str) -> list[str]:
    """The values of METHOD that are the calendar's own, and of no component in it."""
    found: list[str] = []
    depth = 0
    for line in _FOLD.sub("", calendar).split("\n"):
        name = line[:6].upper()
        depth += (name == "BEGIN:") - (name[:4] == "END:")
        if depth == 1 and (method := _METHOD.fullmatch(line)):
            found.append(method[1])
    return found


def calendar_file(calendar: str) -> MIMEPart:
    """The same as a file to be saved, for readers whose program knows no calendars."""
    data = _unix(calendar.removeprefix(_BOM)).replace("\n", "\r\n").encode()
    return file_part(Attachment(data, "invite.ics", "application/ics"))


def file_part(attachment: Attachment, content_id: str | None = None) -> MIMEPart:
    """A file to be saved, or with a `content_id` to be shown in its place."""
    name, media_type = attachment.name or "", attachment.media_type or ""
    data = attachment.source if isinstance(attachment.source, bytes) else b""
    essence = media_type.partition(";")[0].rstrip()
    if essence.lower() == "message/rfc822":
        # RFC 2046 §5.2.1: it may not be encoded, only what is in it.
        with not_too_deep(name):
            refuse_too_many(data)
            return message_part(repr(name), parsed(data), name)
    part = _part(essence, *_described(media_type, data))
    part.set_raw("Content-Transfer-Encoding", "base64")
    _dispose(part, "attachment" if content_id is None else "inline", name)
    if content_id is not None:
        part.set_raw("Content-ID", content_id)
    part.set_payload(base64.encodebytes(data).decode("ascii"))
    return part


def _described(media_type: str, data: bytes) -> list[tuple[str, str]]:
    """The parameters of a file's media type; a text that names no charset may be UTF-8."""
    named = [(name, word or quoted) for name, word, quoted in _PARAMETER.findall(media_type)]
    is_unnamed = not any(name.lower() == "charset" for name, _ in named)
    if is_unnamed and media_type.lower().startswith("text/") and not data.isascii():
        try:
            _ = data.decode()
        except UnicodeDecodeError:
            return named  # Nobody knows what it is, and readers may guess.
        named.append(("charset", "utf-8"))
    return named


def message_part(argument: str, message: AnyMessage, name: str | None = None) -> MIMEPart:
    """A message forwarded whole, without its Bcc, and with lines that a server takes.

    Raises:
        LocalProtocolError: its lines cannot be mended, it cannot be written, or a Bcc stands in
            what readers see.
    """
    refuse_shown_bcc(message)
    message = copy.copy(message)
    del message["Bcc"]
    del message["Resent-Bcc"]
    message = _with_short_lines(argument, message)
    part = _part("message/rfc822")
    _dispose(part, "attachment", name)
    _hold(part, [message])
    return part


def _with_short_lines(argument: str, message: AnyMessage) -> AnyMessage:
    """The message itself, or a copy mended as by `Check.FIX`: what is signed is not touched."""
    if not (problems := _problems(message)):
        return message
    from smtpx._stamps import date_field, new_message_id
    from smtpx.checking._mending import Stamps, mended

    stamps = Stamps(date_field, new_message_id)
    message = cast("AnyMessage", mended(message, problems, stamps))
    for problem in _problems(message):
        raise LocalProtocolError(
            f"{argument}, a message: {problem.where}: {problem.problem}: attach it as a file, "
            "Attachment(…, 'message.eml', 'application/octet-stream')"
        )
    return message


def _problems(message: AnyMessage) -> list[Finding]:
    """What no server takes of it, as it is written within a composed message."""
    from smtpx._message.encodings import as_octets
    from smtpx.checking._content import check_lines
    from smtpx.findings import Rule

    within = copy.copy(message)
    within.policy = cast("Any", POLICY)
    octets, _ = as_octets(within, smtputf8=True, eight_bit=True, binary=False)
    wanted = (Rule.LINE_TOO_LONG, Rule.NUL)
    return [finding for finding in check_lines(octets) if finding.rule in wanted]


def joined(subtype: str, parts: list[MIMEPart], *parameters: tuple[str, str]) -> MIMEPart:
    """Several parts as one; one alone as it is."""
    if len(parts) == 1:
        return parts[0]
    # RFC 2045 §6.7: =_ stands in no quoted-printable text, and _ in no base64.
    boundary = f"=_{secrets.token_hex(12)}"
    whole = _part(f"multipart/{subtype}", *parameters, ("boundary", boundary))
    _hold(whole, parts)
    return whole


def _unix(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def _hold(part: MIMEPart, parts: list[Any]) -> None:
    part.set_payload(parts)


def _part(media_type: str, *parameters: tuple[str, str]) -> MIMEPart:
    part = MIMEPart()
    part.set_raw("Content-Type", fields.parameters("Content-Type", media_type, parameters))
    return part


def _dispose(part: MIMEPart, disposition: str, name: str | None) -> None:
    named = [("filename", name)] if name else []
    field = fields.parameters("Content-Disposition", disposition, named)
    part.set_raw("Content-Disposition", field)


def _guessed(name: str) -> str:
    media_type, coding = mimetypes.guess_type(name, strict=False)
    if coding is not None:  # What is within cannot be told by a media type.
        return "application/gzip" if coding == "gzip" else "application/octet-stream"
    return media_type or "application/octet-stream"


def _octets(argument: str, source: Any) -> tuple[bytes, str]:
    """The octets of a source, and the name that it has by itself."""
    if isinstance(source, bytes):
        return source, ""
    try:
        if isinstance(source, (str, os.PathLike)):
            path = Path(cast("str | os.PathLike[str]", source))
            return path.read_bytes(), path.name
        data, name = source.read(), getattr(source, "name", "")
    except (OSError, ValueError) as error:
        raise LocalProtocolError(f"{argument} cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise _in_text_mode(argument)
    return data, Path(name).name if isinstance(name, str) else ""


def _in_text_mode(argument: str) -> TypeError:
    return TypeError(f"{argument}: open the file in binary mode, as by open(path, 'rb')")
