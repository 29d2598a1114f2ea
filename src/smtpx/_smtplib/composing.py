"""What `send_message` reads out of a message, and how it writes it."""

from __future__ import annotations

import copy
from email.generator import BytesGenerator
from email.message import Message
from email.policy import EmailPolicy, Policy
from io import BytesIO
from typing import Any

from smtpx._message.correspondents import header_addresses
from smtpx._message.serialising import careful
from smtpx.errors import LocalProtocolError

__all__ = ["author", "prefix", "recipients", "written"]


def prefix(message: Message[Any, Any]) -> str:
    """``Resent-`` for a message that was resent, else nothing (RFC 5322 §3.6.6).

    Raises:
        ValueError: it was resent more than once.
    """
    resent = message.get_all("Resent-Date", [])
    if len(resent) > 1:
        raise ValueError("message has more than one 'Resent-' header block")
    return "Resent-" if resent else ""


def author(message: Message[Any, Any], resent: str) -> str:
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


def recipients(message: Message[Any, Any], resent: str) -> list[str]:
    """The addresses of To, Bcc and Cc.

    Raises:
        ValueError: a field cannot be read without guessing.
    """
    return header_addresses(message, *(resent + name for name in ("To", "Bcc", "Cc")))


def written(message: Message[Any, Any], *, utf8: bool) -> bytes:
    """The message as octets with CRLF line ends, without its Bcc fields.

    Raises:
        ValueError: a header value would begin another field.
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
        BytesGenerator(buffer, policy=policy).flatten(sent, linesep="\r\n")
    except LocalProtocolError as error:
        raise ValueError(str(error)) from error
    return buffer.getvalue()
