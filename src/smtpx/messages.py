"""An `EmailMessage` as octets, and the envelope that its header says (RFC 5322 §3.6, §3.6.6)."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from email.message import EmailMessage
    from email.message import Message as OldMessage

AnyMessage: TypeAlias = "EmailMessage | OldMessage[str, str]"

__all__ = ["envelope_of", "is_message", "serialise"]

_FIELD_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")


def is_message(value: object) -> TypeGuard[AnyMessage]:
    """True for a message of the `email` package; the package is not imported to find out."""
    import sys

    module = sys.modules.get("email.message")
    return module is not None and isinstance(value, module.Message)


def envelope_of(message: AnyMessage) -> Envelope:
    """Sender and recipients as the header has them.

    The sender is Sender, else the first of From; the recipients are To, Cc and Bcc, each once.
    A message that was resent takes its Resent- fields instead (RFC 5322 §3.6.6).

    Raises:
        LocalProtocolError: a field that is needed is missing, or there are several Resent- blocks.
        AddressError: an address in it cannot be sent to.
    """
    from email.utils import getaddresses

    prefix = _prefix(message)
    sender = [str(field) for field in message.get_all(prefix + "Sender", [])] or [
        str(field) for field in message.get_all(prefix + "From", [])
    ]
    authors = [address for _, address in getaddresses(sender) if address]
    if not authors:
        raise LocalProtocolError(
            f"the message has no {prefix}From with an address: set it, or give an Envelope"
        )
    fields = [
        str(field) for name in ("To", "Cc", "Bcc") for field in message.get_all(prefix + name, [])
    ]
    # A group without members ("undisclosed-recipients:;") gives empty addresses.
    recipients = dict.fromkeys(address for _, address in getaddresses(fields) if address)
    if not recipients:
        raise LocalProtocolError(
            f"the message has no recipient in {prefix}To, {prefix}Cc or {prefix}Bcc: set one, "
            "or give an Envelope"
        )
    return Envelope(authors[0], recipients)


def serialise(message: AnyMessage, *, smtputf8: bool = False, seven_bit: bool = False) -> bytes:
    """The message as octets with CRLF line ends, without its Bcc fields.

    `smtputf8` writes headers as UTF-8 (RFC 6532); `seven_bit` encodes 8-bit parts anew. The
    caller's message is left as it is.

    Raises:
        LocalProtocolError: a header would break out of its field.
    """
    from email import policy as policies
    from email.errors import MessageError
    from email.generator import BytesGenerator
    from io import BytesIO

    sent = copy.copy(message)
    for field in ("Bcc", "Resent-Bcc"):
        del sent[field]
    policy = message.policy.clone(
        linesep="\r\n", cte_type="7bit" if seven_bit else "8bit", max_line_length=78
    )
    if isinstance(policy, policies.EmailPolicy):
        policy = policy.clone(utf8=smtputf8)
    buffer = BytesIO()
    try:
        BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(sent)
    except (MessageError, ValueError, LookupError) as error:
        raise LocalProtocolError(f"the message cannot be written: {error}") from error
    octets = buffer.getvalue()
    check_header_section(octets, list(sent.keys()))
    return octets


def check_header_section(octets: bytes, names: list[str]) -> None:
    """Make sure that the header section has the message's own fields and no other.

    A value with a line end in it would smuggle fields, or a body, into the message
    (CVE-2024-6923 and its kin); this holds on every version of the `email` package.

    Raises:
        LocalProtocolError: a field is there that the message does not have.
    """
    header = re.split(rb"\r\n\r\n|\n\n|\r\r", octets, maxsplit=1)[0] if octets else b""
    if octets.startswith((b"\r\n", b"\n")):
        header = b""
    found: list[str] = []
    for line in re.split(rb"\r\n|\r|\n", header):
        if line[:1] in (b" ", b"\t", b""):
            continue
        match = _FIELD_NAME.match(line)
        found.append("" if match is None else match[1].decode("ascii").lower())
    if found != [name.lower() for name in names]:
        raise LocalProtocolError(
            "a header value of the message contains a line end that would begin another field"
        )


def _prefix(message: AnyMessage) -> str:
    resent = len(message.get_all("Resent-Date", []))
    if resent > 1:
        raise LocalProtocolError(
            "the message was resent more than once; give an Envelope, its header cannot tell"
        )
    return "Resent-" if resent else ""
