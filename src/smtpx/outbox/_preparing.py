"""A message as it is kept: its octets, its envelope, what tells it from others. No I/O."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.message import Message
from email.utils import format_datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from smtpx._headers import BCC, header_section
from smtpx.envelope import Envelope, Recipient
from smtpx.errors import LocalProtocolError
from smtpx.messages import flatten

from ._stored import options_text, wishes_text

__all__ = [
    "AnyContent",
    "Prepared",
    "Receiver",
    "date_field",
    "fingerprint",
    "new_id",
    "new_message_id",
    "prepared",
    "stamped",
]

AnyContent: TypeAlias = "Message[str, str] | bytes | bytearray | memoryview | Iterable[bytes]"

# Contents of so many octets are kept with their message; of larger ones, equal ones are kept once.
_SMALL = 8192
_ANY_CASE = re.IGNORECASE | re.MULTILINE
_FOLDED = rb"[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
_FIRST_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
# Fields that matter here, and what is in angles first; a line end is found at once.
_FIELD = re.compile(
    rb"[\r\n](message-id|date|(?:resent-)?bcc|(?:dkim|arc-message)-signature)[ \t]*:"
    rb"(?:\s*(<[^<>\r\n]*>))?",
    re.IGNORECASE,
)
_BCC_NAMES = {b"bcc", b"resent-bcc"}
_SIGNATURES = {b"dkim-signature", b"arc-message-signature"}
# What is made anew each time a message is composed: no part of what it says.
_VARYING = re.compile(rb"^(?:message-id|date)[ \t]*:" + _FOLDED, _ANY_CASE)
_BOUNDARY = re.compile(rb'\bboundary="?([^"\s;]+)', re.IGNORECASE)


class Receiver(NamedTuple):
    """One recipient, as it is kept."""

    address: str
    wishes: str | None
    domain: str


class Prepared(NamedTuple):
    """A message that can be put into a ledger."""

    id: str
    key: str | None
    fingerprint: bytes | None
    """What tells whether two messages of one key are the same; ``None`` without a key."""
    sender: str
    options: str | None
    stamps: bytes
    """The header fields that the outbox adds on top: Message-ID and Date, where they were missing.
    """
    message_id: str
    """Empty where the message has none that can be read, and is signed."""
    octets: bytes
    digest: bytes | None
    """By what a content is kept that equal messages share; ``None`` for a small one."""
    receivers: tuple[Receiver, ...]


# Random octets, sixteen at a time: to ask the system for each id would cost more than all else.
_random: list[bytes] = []


def _sixteen() -> bytes:
    while True:
        try:
            return _random.pop()  # No two threads get the same.
        except IndexError:
            octets = os.urandom(16 * 256)
            _random.extend([octets[place : place + 16] for place in range(0, len(octets), 16)])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.clear)


def new_id() -> str:
    """An id that nobody can guess; ids of later messages are larger, to the millisecond."""
    return f"{time.time_ns() // 1_000_000:012x}{_sixteen()[:10].hex()}"


def new_message_id(sender: str) -> str:
    """A Message-ID of the sender's domain."""
    domain = sender.rpartition("@")[2]
    if not domain or domain.startswith("["):
        domain = "outbox.invalid"
    return f"<{_sixteen().hex()}@{domain}>"


def prepared(message: AnyContent, envelope: Envelope | None, key: str | None) -> Prepared:
    """Make a message ready to be kept.

    Raises:
        LocalProtocolError, AddressError: it cannot be sent at all.
        TypeError: it is no message.
    """
    if isinstance(message, Message):
        if envelope is None:
            envelope = Envelope.from_message(message)
        octets = flatten(message, smtputf8=envelope.needs_smtputf8)
    else:
        octets = _octets(message)
        if envelope is None:
            raise LocalProtocolError(
                "bytes do not say who sends and who gets them: give an Envelope"
            )
    sender = "" if envelope.sender is None else str(envelope.sender)
    section = header_section(octets)
    fields: dict[bytes, bytes] = {}
    for name, value in _FIELD.findall(b"\n" + section):
        known = name.lower()
        fields[known] = fields.get(known) or value
    if not fields.keys().isdisjoint(_BCC_NAMES):
        body = octets[len(section) :]
        section = BCC.sub(b"", section)
        octets = section + body
    head = section if _FIRST_FIELD.match(section) else b""
    message_id = fields.get(b"message-id", b"").decode("latin-1")
    stamps = b""
    if head and fields.keys().isdisjoint(_SIGNATURES):
        if b"message-id" not in fields:
            message_id = new_message_id(sender)
            stamps = b"Message-ID: %b\r\n" % message_id.encode()
        if b"date" not in fields:
            stamps += b"Date: %b\r\n" % _date(int(time.time()))
    return Prepared(
        new_id(),
        key,
        None if key is None else fingerprint(octets, len(head), envelope),
        sender,
        None if envelope.is_plain and envelope.body is None else options_text(envelope),
        stamps,
        message_id,
        octets,
        None if len(octets) <= _SMALL else hashlib.sha256(octets).digest(),
        tuple(
            [
                Receiver(
                    str(recipient.address),
                    wishes_text(recipient) if recipient.has_options else None,
                    recipient.address.domain.lower(),
                )
                for recipient in _each_once(envelope.recipients)
            ]
        ),
    )


def _each_once(recipients: Sequence[Recipient]) -> Iterable[Recipient]:
    """Those who get it, in their order; a domain is the same in capitals (RFC 5321 §2.4)."""
    if len(recipients) == 1:
        return recipients
    first: dict[tuple[str, str], Recipient] = {}
    for recipient in recipients:
        address = recipient.address
        _ = first.setdefault((address.local_part, address.domain.lower()), recipient)
    return first.values()


def _octets(message: Any) -> bytes:
    if isinstance(message, bytes):
        return message
    read = getattr(message, "read", None)
    if isinstance(message, (str, Envelope)) or not (callable(read) or hasattr(message, "__iter__")):
        raise TypeError(
            "message: give an EmailMessage, bytes, a binary file or an iterable of bytes, "
            f"not {type(message).__name__}"
        )
    try:
        pieces: Any = read() if callable(read) else message
        kinds: tuple[Any, ...] = (bytes, bytearray, memoryview)
        return bytes(pieces) if isinstance(pieces, kinds) else b"".join(pieces)
    except TypeError:
        raise TypeError("message: give bytes, or a binary file or an iterable of them") from None


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return date_field(second).encode()


def date_field(second: float) -> str:
    """The value of a Date field."""
    return format_datetime(datetime.fromtimestamp(int(second), UTC))


def fingerprint(octets: bytes, size: int, envelope: Envelope) -> bytes:
    """The same for messages that say the same: composed twice, one is.

    Of the header, which has so many octets, Message-ID and Date are left out, and boundaries are
    numbered. Line ends, and the order of the recipients, say nothing.
    """
    text = (_VARYING.sub(b"", octets[:size]) + octets[size:]).replace(b"\r\n", b"\n")
    for number, boundary in enumerate(dict.fromkeys(_BOUNDARY.findall(text))):
        text = text.replace(boundary, b"boundary-%d" % number)
    digest = hashlib.sha256(text)
    told = sorted(
        (
            recipient.address.local_part,
            recipient.address.domain.lower(),
            wishes_text(recipient) or "",
        )
        for recipient in _each_once(envelope.recipients)
    )
    digest.update(repr([options_text(envelope), str(envelope.sender), told]).encode())
    return digest.digest()


def stamped(octets: bytes, message_id: str, date: str) -> bytes:
    """A rendered copy with the Message-ID and the Date that were fixed for it."""
    section = header_section(octets)
    head = _VARYING.sub(b"", section)
    return b"Message-ID: %b\r\nDate: %b\r\n%b%b" % (
        message_id.encode(),
        date.encode(),
        head,
        octets[len(section) :],
    )
