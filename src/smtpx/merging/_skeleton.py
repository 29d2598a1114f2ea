"""A composed message taken apart: octets that all copies share, and what is written for each."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Callable, Iterable
from email.message import EmailMessage
from typing import Any, Protocol

from smtpx._message.encodings import as_octets, octets_of
from smtpx._message.names import ADDRESSES
from smtpx._message.sections import refuse_shown_bcc
from smtpx.errors import LocalProtocolError
from smtpx.merging._bodies import body_of
from smtpx.merging._calendars import CalendarBody
from smtpx.merging._declaring import declare_header, declared_text
from smtpx.merging._headers import (
    DateField,
    ExactField,
    MailboxField,
    MessageIDField,
    TextField,
    Writer,
)
from smtpx.merging._patterns import FIELD, has_fields

__all__ = ["Skeleton"]

_TEXT = {"subject", "comments", "keywords", "organization", "thread-topic"}
_MIME = ("content-", "mime-")
_CALENDARS = {"text/calendar", "application/ics"}
_MARKUP = {"text/html", "text/x-amp-html", "text/watch-html"}
_FILLED = {"text/plain"} | _MARKUP | _CALENDARS


class Body(Writer, Protocol):
    """What writes a part."""

    encoding: str


class Skeleton:
    """The message with a mark in each place that is written anew.

    Marks stand where nothing encodes or folds them: for the whole of a body, or of a field.

    Raises:
        LocalProtocolError: there are fields where there can be none, or no To; or octets that are
            no text.
        AddressError: an address without a field is none.
    """

    def __init__(self, message: EmailMessage, domain: str) -> None:
        refuse_shown_bcc(message)
        self.to: MailboxField | None = None
        self._message = copy.deepcopy(message)
        self._mark = f"x-{secrets.token_hex(16)}"
        self._writers: list[tuple[Writer, bool]] = []
        self._mark_texts(self._message)
        self._mark_header(domain)

    def pieces(self) -> tuple[list[str], list[tuple[Writer, bool]]]:
        """What is fixed, with an empty place for each writer; and these, each if in HTML."""
        written, _ = as_octets(self._message, smtputf8=False, eight_bit=False, binary=False)
        if not written.isascii():
            raise LocalProtocolError(
                "the message has octets above 127 outside of its texts, or in an address: leave "
                "them out"
            )
        pieces = re.split(rf"{self._mark}-(\d+)(?:: -\r\n)?", written.decode("ascii"))
        writers = [self._writers[int(place)] for place in pieces[1::2]]
        pieces[1::2] = [""] * len(writers)
        return pieces, writers

    def _place(self, writer: Writer, *, in_markup: bool = False) -> str:
        self._writers.append((writer, in_markup))
        return f"{self._mark}-{len(self._writers) - 1}"

    def _mark_texts(self, part: Any) -> None:
        declare_header(part)
        main, subtype = part.get_content_maintype(), part.get_content_subtype()
        if main in ("multipart", "text") and not hasattr(part, "iter_parts"):
            raise LocalProtocolError(
                f"a part is a {type(part).__name__}: compose it with EmailMessage's methods"
            )
        if main == "multipart" and subtype in ("signed", "encrypted"):
            _refuse_texts(part)
        elif main == "multipart":
            # No value can end a part: "=_" is in no encoded text (RFC 2045 §6.7).
            part.set_boundary(f"=_{secrets.token_hex(12)}")
            for inner in part.iter_parts():
                _refuse_fields(inner)
                self._mark_texts(inner)
        elif main == "message":
            for inner in part.walk():
                if inner.get_content_maintype() == "text":
                    _refuse_attached(inner)
        elif part.get_content_type() in _CALENDARS:
            self._mark_text(part, CalendarBody)
        elif main == "text" and part.is_attachment():
            _refuse_attached(part)
        elif main == "text":
            self._mark_text(part, body_of)

    def _mark_text(self, part: Any, body_of: Callable[[str, str], Body]) -> None:
        text, kind = declared_text(part), part.get_content_type()
        if not has_fields(text):
            return
        if kind not in _FILLED:
            raise LocalProtocolError(
                f"the {kind} part has a field in it, where a value could be more than a value: "
                "only text/plain, text/html and text/calendar have fields"
            )
        body = body_of(text, f"the {kind} part")
        part.set_payload(self._place(body, in_markup=kind in _MARKUP))
        part.set_param("charset", "utf-8")
        del part["Content-Transfer-Encoding"]
        part["Content-Transfer-Encoding"] = body.encoding

    def _mark_header(self, domain: str) -> None:
        message = self._message
        fields = message.items()
        as_they_are = list(message.raw_items())
        for name, _ in fields:
            del message[name]
        for (name, value), (_, as_it_is) in zip(fields, as_they_are, strict=True):
            writer = self._writer(name, str(value))
            if writer is not None:
                message[self._place(writer)] = "-"
            elif name.lower() not in ("date", "message-id"):
                message.set_raw(name, as_it_is)
        for generated in self._generated(domain, fields):
            message[self._place(generated)] = "-"
        if "MIME-Version" not in message:
            message["MIME-Version"] = "1.0"

    def _writer(self, name: str, text: str) -> Writer | None:
        """What writes a field of the header for each copy, if it is not the same in all."""
        _refuse_name(name)
        kind = name.lower()
        if kind == "to":
            self.to = MailboxField(name, text)
            return self.to
        if not has_fields(text):
            return None
        if kind in ADDRESSES:
            return MailboxField(name, text)
        if kind in _TEXT or kind.startswith("x-"):
            return TextField(name, text)
        if kind == "date":
            raise LocalProtocolError("Date is the time of rendering: leave it out of the message")
        if kind.startswith(_MIME):
            raise LocalProtocolError(f"{name} has a field in it: it is the same in all copies")
        return ExactField(name, text)

    def _generated(self, domain: str, fields: Iterable[tuple[str, Any]]) -> Iterable[Writer]:
        yield DateField()
        if not any(
            name.lower() == "message-id" and has_fields(str(value)) for name, value in fields
        ):
            yield MessageIDField(domain)


def _refuse_fields(part: Any) -> None:
    for name, value in part.items():
        _refuse_name(name)
        if has_fields(str(value)):
            raise LocalProtocolError(
                f"{name} of a part has a field in it: fields stand in the message's own header and "
                "in its texts"
            )


def _refuse_texts(part: Any) -> None:
    for inner in part.walk():
        if inner.get_content_maintype() == "text" and has_fields(inner.get_content()):
            raise LocalProtocolError(
                f"a part of {part.get_content_type()} has a field in it: filled in, it would be "
                "another than what was signed or encrypted"
            )


def _refuse_attached(part: Any) -> None:
    found = FIELD.search(octets_of(part).decode("utf-8", "replace"))
    if found is not None:
        raise LocalProtocolError(
            f"an attachment has the field {found[0]} in it: it is the same in all copies; attach "
            "a text that is meant so as application/octet-stream"
        )


def _refuse_name(name: str) -> None:
    if has_fields(name):
        raise LocalProtocolError(f"{name!r} has a field in it: names of fields are the same in all")
