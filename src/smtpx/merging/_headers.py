"""Fields of a header with a template's fields in them: text, a mailbox, or a value as it is."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from smtpx._message import fields
from smtpx._message.mailboxes import mailbox_in
from smtpx._stamps import date_field, new_message_id
from smtpx.addresses import Address
from smtpx.errors import AddressError, LocalProtocolError
from smtpx.merging._patterns import (
    FIELD,
    PRINTABLE,
    AsItIs,
    Pattern,
    fixed,
    joined,
    pattern_of,
    room_in,
    tight,
)

__all__ = [
    "DateField",
    "ExactField",
    "MailboxField",
    "MessageIDField",
    "TextField",
    "Writer",
    "filled_address",
    "of_fields",
]

_LINE = 78
_LONGEST_LINE = 998  # RFC 5322 §2.1.1
_NOT_EXACT = re.compile(r"[^!-;=?-~]")
_EXACT = frozenset(each for each in PRINTABLE if not _NOT_EXACT.search(each))
_IN_PHRASE = frozenset(filter(fields.is_phrase, PRINTABLE)) | {" "}
# The `email` package quotes a field that has spaces in its braces.
_QUOTED_FIELD = re.compile(rf'"({FIELD.pattern})"', re.ASCII)


class Writer(Protocol):
    """A piece of a copy."""

    names: tuple[str, ...]
    """The fields in it."""
    as_it_is: Sequence[AsItIs]
    """What it writes where nothing has to be done; nothing, where that shows only in writing."""

    def written(self, values: Mapping[str, str]) -> str:
        """With its line end, filled with these values.

        Raises:
            LocalProtocolError: one cannot stand there; the message names it.
        """
        ...


class TextField:
    """Unstructured: what is not ASCII, or would not fit, is encoded (RFC 2047)."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._pattern = pattern_of(text, f"the message's {name}")
        self.names = self._pattern.names
        self.as_it_is: Sequence[AsItIs] = ()
        # Without "=" in either, no value makes an encoded word of it.
        if "=" not in text and _is_plain(FIELD.sub("x", text)):
            whole = pattern_of(f"{name}: {text}\r\n", name)
            self.as_it_is = (AsItIs(whole, PRINTABLE - {"="}, room_in(_LINE + 2, whole)),)

    def written(self, values: Mapping[str, str]) -> str:
        text = self._pattern.fill(values)
        field = f"{self._name}: {text}\r\n"
        if len(field) <= _LINE + 2 and _is_plain(text):
            return field
        _refuse_controls(self._pattern, values)
        return _written(self._name, fields.unstructured(self._name, text))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "=?" not in text and text == text.strip(" ")


class MailboxField:
    """One mailbox, with or without a display name (RFC 5322 §3.4)."""

    as_it_is: Sequence[AsItIs] = ()  # The address is parsed.

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        display, address = _mailbox(name, text)
        self.display = pattern_of(display, f"the message's {name}")
        self.pattern = pattern_of(address, f"the message's {name}")
        self.names = self.display.names + self.pattern.names

    def written(self, values: Mapping[str, str]) -> str:
        address = filled_address(self.pattern, values)
        if address.needs_smtputf8:
            names = ", ".join(map(repr, self.pattern.names))
            raise AddressError(f"field {names}: {address} is not ASCII, as {self.name} has to be")
        return self.written_with(str(address), values)

    @property
    def with_its_address(self) -> Sequence[AsItIs]:
        """What `written_with` writes, as far as the address is what its values make."""
        shown = self.display.fill(dict.fromkeys(self.display.names, "x"))
        if "=" in shown or not fields.is_phrase(shown):
            return ()
        before = joined([fixed(f"{self.name}: "), self.display, fixed(" <")])
        address = joined([self.pattern, fixed(">\r\n")])
        room = room_in(_LINE + 2, before, address)
        return AsItIs(before, _IN_PHRASE - {"="}, room), AsItIs(address, PRINTABLE, room)

    def written_with(self, address: str, values: Mapping[str, str]) -> str:
        display = self.display.fill(values)
        field = f"{self.name}: {display} <{address}>\r\n"
        if len(field) <= _LINE + 2 and fields.is_phrase(display):
            return field
        _refuse_controls(self.display, values)
        mailbox = display.strip(" "), address
        return _written(self.name, fields.mailboxes(self.name, [mailbox]))


class ExactField:
    """Structured: values stand in it as they are, and have to be such as can (RFC 2369 §2)."""

    def __init__(self, name: str, text: str) -> None:
        if not text.isascii():
            raise LocalProtocolError(f"the message's {name} has a field, so the rest must be ASCII")
        self._name = name
        text = " ".join(text.split())
        self._pattern = pattern_of(text, f"the message's {name}")
        self.names = self._pattern.names
        whole = pattern_of(f"{name}: {text}\r\n", name)
        self.as_it_is: Sequence[AsItIs] = (AsItIs(whole, _EXACT, room_in(_LINE + 2, whole)),)

    def written(self, values: Mapping[str, str]) -> str:
        for name in self._pattern.names:
            found = _NOT_EXACT.search(values[name])
            if found:
                raise LocalProtocolError(
                    f"field {name!r} has {found[0]!r}, which {self._name} cannot hold: "
                    "encode it before, in a URL by a percent sign"
                )
        field = f"{self._name}: {self._pattern.fill(values)}"
        if len(field) <= _LINE:
            return field + "\r\n"
        field = _written(self._name, fields.folded(self._name, self._pattern.fill(values)))
        if max(map(len, field.split("\r\n"))) > _LONGEST_LINE:
            longest = max(self._pattern.names, key=lambda name: len(values[name]))
            raise LocalProtocolError(
                f"field {longest!r} makes a line of {self._name} longer than "
                f"{_LONGEST_LINE} characters"
            )
        return field


class DateField:
    """The time of rendering."""

    names: tuple[str, ...] = ()
    as_it_is: Sequence[AsItIs] = ()

    def __init__(self) -> None:
        self._last = 0, ""

    def written(self, values: Mapping[str, str]) -> str:
        now = int(time.time())
        last, field = self._last
        if last != now:
            field = f"Date: {date_field()}\r\n"
            self._last = now, field
        return field


class MessageIDField:
    """Another one for each copy."""

    names: tuple[str, ...] = ()
    as_it_is: Sequence[AsItIs] = ()

    def __init__(self, domain: str) -> None:
        self._domain = domain

    def written(self, values: Mapping[str, str]) -> str:
        return f"Message-ID: {new_message_id(self._domain)}\r\n"


def filled_address(pattern: Pattern, values: Mapping[str, str]) -> Address:
    """The address that the values make.

    Raises:
        AddressError: they make none; the message names the fields.
    """
    try:
        return Address.parse(pattern.fill(values))
    except AddressError as error:
        raise of_fields(pattern, error) from error


def of_fields(pattern: Pattern, error: AddressError) -> AddressError:
    """The error of an address, with the names of its fields."""
    return AddressError(f"field {', '.join(map(repr, pattern.names))}: {error}")


def _mailbox(name: str, text: str) -> tuple[str, str]:
    """Display name and address, both with their fields."""
    try:
        display, address = mailbox_in(tight(_QUOTED_FIELD.sub(r"\1", text)))
        if not FIELD.fullmatch(address):
            _ = Address.parse(FIELD.sub("x", address))
    except ValueError as error:
        raise LocalProtocolError(
            f"the message's {name} is {text!r}: in a template it is one mailbox, such as "
            "'{{name}} <{{address}}>'"
        ) from error
    return display, address


def _written(name: str, body: str) -> str:
    folded = body.replace("\n", "\r\n")
    return f"{name}: {folded}\r\n"


def _refuse_controls(pattern: Pattern, values: Mapping[str, str]) -> None:
    for name in pattern.names:
        if fields.breaks_a_line(values[name]):
            raise LocalProtocolError(
                f"field {name!r} is {values[name]!r:.60}, which no header can hold: leave out line "
                "ends and control characters"
            )
