"""Who sends a message and who gets it, as its header says (RFC 5322 §3.6.2, §3.6.3, §3.6.6)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from smtpx._message.mailboxes import addresses_in
from smtpx._message.sections import refuse_lost_recipients
from smtpx._message.sources import is_none, source_of
from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from smtpx._message.messages import AnyMessage

__all__ = ["header_addresses", "recipients_of", "sender_of"]

# Of each, a block of Resent- fields has one at most (RFC 5322 §3.6).
_RESENT = re.compile("resent-(?:date|from|sender|to|cc|bcc)", re.IGNORECASE).fullmatch
_HARMLESS = re.compile("encoded.word|end of header in group|local part with no domain")


def sender_of(message: AnyMessage) -> str:
    """Sender, else the first of From; of a message that was resent, its Resent- fields.

    Raises:
        LocalProtocolError: there is none, it is malformed, or there are several Resent- blocks.
    """
    prefix = _prefix(message)
    authors = _addresses(message, prefix + "Sender") or _addresses(message, prefix + "From")
    if not authors:
        raise LocalProtocolError(
            f"the message has no {prefix}From with an address: set it, or give an Envelope"
        )
    return authors[0]


def recipients_of(message: AnyMessage) -> list[str]:
    """To, Cc and Bcc, each once; of a message that was resent, its Resent- fields.

    Raises:
        LocalProtocolError: there is nobody, a field is malformed or behind the header, or there
            are several Resent- blocks.
    """
    refuse_lost_recipients(message)
    prefix = _prefix(message)
    names = (prefix + "To", prefix + "Cc", prefix + "Bcc")
    recipients = list(dict.fromkeys(_addresses(message, *names)))
    if not recipients:
        raise LocalProtocolError(
            f"the message has no recipient in {prefix}To, {prefix}Cc or {prefix}Bcc: set one, "
            "or give an Envelope"
        )
    return recipients


def header_addresses(message: AnyMessage, *names: str) -> list[str]:
    """The addresses in the fields of these names, one name after the other.

    Raises:
        ValueError: a field cannot be read without guessing; the message names it.
    """
    found: list[str] = []
    for wanted in names:
        # As the fields are kept: to ask for one by its name would have the package parse it.
        for name, field in message.raw_items():
            if name.lower() == wanted.lower():
                try:
                    found += _addresses_of(field)
                except Exception as error:  # What a program put there may fail in any way.
                    raise ValueError(f"the message's {name} cannot be read: {error}") from error
    return found


def _addresses_of(field: Any) -> list[str]:
    """What one field says, be it as it came, or as the `email` package's policies keep it."""
    if is_none(field):
        return []
    if hasattr(field, "addresses") and not any(map(_is_doubtful, field.defects)):
        try:
            return [address.addr_spec for address in field.addresses]
        except AttributeError:
            _check_texts(field.addresses)
    return addresses_in(source_of(field))


def _check_texts(members: Iterable[Any]) -> None:
    """Make sure that nobody is lost of a list, in which the package keeps whatever it is given."""
    for member in members:
        if not (hasattr(member, "addr_spec") or hasattr(member, "encode")):
            raise ValueError(f"{member!r:.60} in it is neither text nor an address")


def _is_doubtful(defect: Exception) -> bool:
    # The package guesses, and loses "bob" of "ann@x.test; bob@x.test".
    return type(defect).__name__ == "InvalidHeaderDefect" and not _HARMLESS.search(str(defect))


def _addresses(message: AnyMessage, *names: str) -> list[str]:
    try:
        return header_addresses(message, *names)
    except ValueError as error:
        raise LocalProtocolError(f"{error}; mend it, or give an Envelope") from error


def _prefix(message: AnyMessage) -> str:
    """What the fields that count begin with; any that names people marks a message as resent.

    Their Resent-Date may have been forgotten, and whom they leave out is not to get it again.
    """
    standing = Counter(
        name.lower() for name, field in message.raw_items() if _RESENT(name) and not is_none(field)
    )
    if max(standing.values(), default=0) > 1:
        raise LocalProtocolError(
            "the message was resent more than once; give an Envelope, its header cannot tell"
        )
    return "Resent-" if standing else ""
