"""An `EmailMessage` as the octets of its content, for those who keep or hand on what they send."""

from __future__ import annotations

from smtpx import _checks
from smtpx._message.encodings import as_octets
from smtpx._message.messages import AnyMessage, is_message

__all__ = ["flatten"]


def flatten(message: AnyMessage, *, smtputf8: bool = False) -> bytes:
    """The message as a server with 8BITMIME takes it: lines end in CRLF, Bcc is left out.

    `smtputf8` writes the header in UTF-8, names and addresses as they are (RFC 6532). Without it
    that is done only for an address that has no other form.

    Raises:
        LocalProtocolError: the message cannot be written.
        TypeError: it is none of the `email` package.
    """
    if not is_message(message):
        raise _checks.complaint("message", message, "an EmailMessage")
    _checks.flag("smtputf8", smtputf8)
    return as_octets(message, smtputf8=smtputf8, eight_bit=True, binary=False)[0]
