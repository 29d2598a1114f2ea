"""Variable envelope return paths: a sender of its own for each recipient.

A report about ``bob@example.net`` then comes back to ``bounces+bob=example.net@example.org``: its
address tells whom it is about, whatever is in it. The sender's domain must have subaddresses
(RFC 5233 §1): what is for ``bounces+anything`` goes to ``bounces``.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from smtpx import _checks
from smtpx._message.messages import is_message
from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.errors import AddressError, LocalProtocolError

__all__ = ["ReturnPath", "apart", "decode", "encode"]

M = TypeVar("M")


class ReturnPath(NamedTuple):
    """What a variable return path is made of."""

    sender: Address
    recipient: Address


def encode(sender: str | Address, recipient: str | Address) -> Address:
    """The sender that names its recipient; `decode` is the inverse.

    Raises:
        AddressError: one of them is no address, or there is no sender. Or the sender has a ``+`` in
            its local-part, or both together are too long for a path (256 octets).
    """
    sender, recipient = _parsed("sender", sender), _parsed("recipient", recipient)
    if "+" in sender.local_part:
        raise AddressError(f"the sender {sender} has a + already: give one without")
    if not (sender.domain and recipient.domain):
        raise AddressError("a variable return path needs a sender and a recipient with a domain")
    local_part = f"{sender.local_part}+{recipient.local_part}={recipient.domain}"
    return Address(local_part, sender.domain)


def decode(address: str | Address) -> ReturnPath | None:
    """Whom a report to this address is about; ``None`` if it is no variable return path.

    Raises:
        AddressError: it is no address at all.
    """
    address = _parsed("address", address)
    local_part, plus, encoded = address.local_part.partition("+")
    # A domain has no = in it, a local-part may.
    user, equals, domain = encoded.rpartition("=")
    if not (plus and equals and local_part and user and domain):
        return None
    try:
        recipient = Address(user, domain)
    except AddressError:
        return None
    return ReturnPath(Address(local_part, address.domain), recipient)


def apart(message: M, envelope: Envelope) -> Iterator[tuple[M, Envelope]]:
    """The message once for each recipient, with a sender that names it; for `send_many`.

    Raises:
        AddressError: a sender cannot name its recipient; see `encode`.
        LocalProtocolError: the envelope has the null sender, to which no report comes back.
        TypeError: one of them is of another kind.
    """
    given: Any = message
    if isinstance(given, (str, Envelope)) or not (
        is_message(given) or hasattr(given, "read") or isinstance(given, (Iterable, AsyncIterable))
    ):
        raise _checks.complaint("message", given, "an EmailMessage or bytes")
    _checks.instance("envelope", envelope, Envelope)
    if envelope.sender is None:
        raise LocalProtocolError("the null sender gets no reports: give one that does")
    # All of them before the first is sent: one that cannot be made is to stop no half of a list.
    senders = [encode(envelope.sender, recipient.address) for recipient in envelope.recipients]
    return (
        (message, envelope.replace(sender=sender, recipients=recipient))
        for sender, recipient in zip(senders, envelope.recipients, strict=True)
    )


def _parsed(name: str, address: str | Address) -> Address:
    if isinstance(address, str):
        return Address.parse(address)
    if not isinstance(address, Address):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint(name, address, "a str or a smtpx.Address")
    return address
