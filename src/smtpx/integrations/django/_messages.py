"""A message of Django's, as a client takes it."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.headerregistry import AddressHeader
from email.message import Message
from typing import TypeAlias

from django.core.mail import EmailMessage

from smtpx import Address, AddressError, Envelope

__all__ = ["Item", "written"]

Item: TypeAlias = "tuple[Message[str, str], Envelope]"

# What the email package calls a defect, and Django takes: "webmaster", and SMTPUTF8.
_TAKEN = {
    "addr-spec local part with no domain",
    "local-part contains non-ASCII characters)",
}


def written(message: EmailMessage) -> Item:
    """The message and its envelope, which may name others than the header does.

    Raises:
        ValueError: an address is none, or the header would end where it should not.
    """
    sender = _address(str(message.from_email))
    envelope = Envelope(sender, [_address(str(text)) for text in message.recipients()])
    return message.message(), envelope


def _address(text: str) -> Address:
    """One address, as people write it in a header.

    Raises:
        AddressError: it is none, or several.
    """
    if "<" not in text:
        return _parsed(text, text)
    try:
        read = AddressHeader.value_parser(text)
    except (HeaderParseError, IndexError) as error:
        raise AddressError(f"Invalid address {text!r}: {error}") from error
    defects = {str(defect) for defect in read.all_defects} - _TAKEN
    mailboxes = read.all_mailboxes
    if defects or len(mailboxes) != 1:
        why = "; ".join(sorted(defects)) or "give one address"
        raise AddressError(f"Invalid address {text!r}: {why}")
    return _parsed(text, mailboxes[0].addr_spec)


def _parsed(text: str, address: str) -> Address:
    try:
        return Address.parse(address.strip(), bare_local_part=True)
    except AddressError as error:
        raise AddressError(f"Invalid address {text!r}: {error}") from None
