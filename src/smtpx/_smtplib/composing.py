"""What `send_message` reads out of a message, and how it writes it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from email.generator import BytesGenerator
from email.message import Message
from email.policy import EmailPolicy, Policy
from io import BytesIO
from smtplib import SMTPNotSupportedError
from typing import Any

from smtpx._message.correspondents import header_addresses
from smtpx._message.sections import refuse_lost_recipients, refuse_shown_bcc
from smtpx._message.serialising import careful
from smtpx._smtplib.arguments import needs_smtputf8
from smtpx.errors import LocalProtocolError

__all__ = ["as_given_to_sendmail", "written"]


def as_given_to_sendmail(
    message: Message[Any, Any],
    sender: str | None,
    to: str | Sequence[str] | None,
    options: Sequence[str],
    has_extension: Callable[[str], bool],
) -> tuple[str, str | Sequence[str], bytes, Sequence[str]]:
    """Sender, recipients, content and options of MAIL; what is not given is in the header.

    Raises:
        ValueError: there are several Resent- blocks, no sender, or a header value that would begin
            another field.
        SMTPNotSupportedError: a local-part is not ASCII, and SMTPUTF8 is not offered.
    """
    resent = _prefix(message)
    if sender is None:
        sender = _author(message, resent)
    if to is None:
        to = _recipients(message, resent)
    if isinstance(to, Iterator):  # It is looked at, and then sent to.
        to = list(to)
    everyone: Any = [to] if isinstance(to, str) else to
    texts = [one for one in (sender, *everyone) if isinstance(one, str)]
    foreign = [address for address in texts if not address.isascii()]
    utf8 = bool(foreign) and has_extension("smtputf8")
    if not utf8 and any(map(needs_smtputf8, foreign)):
        raise SMTPNotSupportedError(
            "One or more source or delivery addresses require internationalized email "
            "support, but the server does not advertise the required SMTPUTF8 capability"
        )
    if utf8:
        options = (*options, "SMTPUTF8", "BODY=8BITMIME")
    return sender, to, written(message, utf8=utf8), options


def _prefix(message: Message[Any, Any]) -> str:
    """``Resent-`` for a message that was resent, else nothing (RFC 5322 §3.6.6).

    Raises:
        ValueError: it was resent more than once.
    """
    resent = message.get_all("Resent-Date", [])
    if len(resent) > 1:
        raise ValueError("message has more than one 'Resent-' header block")
    return "Resent-" if resent else ""


def _author(message: Message[Any, Any], resent: str) -> str:
    """The address of Sender, else the first of From.

    Raises:
        ValueError: there is none, or it cannot be read without guessing.
    """
    name = "Sender" if resent + "Sender" in message else "From"
    addresses = header_addresses(message, resent + name)
    if not addresses or not addresses[0]:
        raise ValueError(
            f"the message has no {resent}{name} with an address: set it, or give from_addr "
            "('' is the null sender)"
        )
    return addresses[0]


def _recipients(message: Message[Any, Any], resent: str) -> list[str]:
    """The addresses of To, Bcc and Cc.

    Raises:
        ValueError: a field cannot be read without guessing, or is behind the header.
    """
    try:
        refuse_lost_recipients(message)
    except LocalProtocolError as error:
        raise ValueError(str(error)) from error
    return header_addresses(message, *(resent + name for name in ("To", "Bcc", "Cc")))


def written(message: Message[Any, Any], *, utf8: bool) -> bytes:
    """The message as octets with CRLF line ends, without its Bcc fields.

    Raises:
        ValueError: a header value would begin another field, or a Bcc stands in what readers see.
    """
    sent = copy.copy(message)
    del sent["Bcc"]
    del sent["Resent-Bcc"]
    policy: Policy[Any] = message.policy
    if utf8 and isinstance(policy, EmailPolicy):
        policy = policy.clone(utf8=True)
    policy = careful(type(policy), smtputf8=utf8, lenient=True)(**vars(policy))
    buffer = BytesIO()
    try:
        refuse_shown_bcc(message)
        BytesGenerator(buffer, policy=policy).flatten(sent, linesep="\r\n")
    except LocalProtocolError as error:
        raise ValueError(str(error)) from error
    return buffer.getvalue()
