"""An `EmailMessage` as octets, and the envelope that its header says (RFC 5322 §3.6, §3.6.6)."""

from __future__ import annotations

import copy
import re
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError
from smtpx.mailboxes import addresses_in

if TYPE_CHECKING:
    from email.message import EmailMessage
    from email.message import Message as OldMessage
    from email.policy import Policy

AnyMessage: TypeAlias = "EmailMessage | OldMessage[str, str]"

__all__ = ["envelope_of", "header_addresses", "is_message", "one_field_each", "serialise"]

_HARMLESS = re.compile("encoded.word|end of header in group|local part with no domain")
_BCC = ("bcc", "resent-bcc")
# RFC 5322 §2.2: a name, a colon, a body; its further lines begin with white space.
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n")


def is_message(value: object) -> TypeGuard[AnyMessage]:
    """True for a message of the `email` package; the package is not imported to find out."""
    module = sys.modules.get("email.message")
    return module is not None and isinstance(value, module.Message)


def envelope_of(message: AnyMessage) -> Envelope:
    """Sender and recipients as the header has them.

    The sender is Sender, else the first of From; the recipients are To, Cc and Bcc, each once.
    A message that was resent takes its Resent- fields instead (RFC 5322 §3.6.6).

    Raises:
        LocalProtocolError: a field that is needed is missing or malformed, or there are several
            Resent- blocks.
        AddressError: an address in it cannot be sent to.
    """
    prefix = _prefix(message)
    authors = _addresses(message, prefix + "Sender") or _addresses(message, prefix + "From")
    if not authors:
        raise LocalProtocolError(
            f"the message has no {prefix}From with an address: set it, or give an Envelope"
        )
    names = (prefix + "To", prefix + "Cc", prefix + "Bcc")
    recipients = dict.fromkeys(_addresses(message, *names))
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
    from email.policy import EmailPolicy

    from smtpx._flatten import Unsure, flattened

    policy = _transport_policy(message.policy, smtputf8, seven_bit)
    try:
        if type(message.policy) is EmailPolicy:
            try:
                return flattened(message, policy, without=_BCC)
            except Unsure:
                pass
        return _generated(message, policy)
    except LocalProtocolError:
        raise
    except Exception as error:  # What is malformed makes the `email` package fail in many ways.
        raise LocalProtocolError(f"the message cannot be written: {error}") from error


def _generated(message: AnyMessage, policy: Policy[Any]) -> bytes:
    from email.generator import BytesGenerator
    from io import BytesIO

    sent = copy.copy(message)
    for field in _BCC:
        del sent[field]
    buffer = BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(sent)
    return buffer.getvalue()


@lru_cache(maxsize=16)
def _transport_policy(policy: Policy[Any], smtputf8: bool, seven_bit: bool) -> Any:
    """The message's own, with what it needs for the way; policies cannot be changed."""
    from email.policy import EmailPolicy

    policy = policy.clone(
        linesep="\r\n", cte_type="7bit" if seven_bit else "8bit", max_line_length=78
    )
    if isinstance(policy, EmailPolicy):
        policy = policy.clone(utf8=smtputf8)
    return one_field_each(type(policy))(**vars(policy))


@cache
def one_field_each(kind: type[Policy[Any]]) -> type[Policy[Any]]:
    """A policy like this one, refusing a header value that would not stay within its own field.

    A line end in a value would smuggle fields, or a body, into the message (CVE-2024-6923 and its
    kin); this holds on every version of the `email` package, and in the parts of a message too.
    """

    def fold_binary(self: Policy[Any], name: str, value: str) -> bytes:
        folded = kind.fold_binary(self, name, value)
        if not _FIELD.fullmatch(folded):
            raise LocalProtocolError(
                f"the message's {name!r} contains a line end that would begin another field"
            )
        return folded

    return type(kind.__name__, (kind,), {"fold_binary": fold_binary})


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
    if hasattr(field, "addresses"):
        for defect in field.defects:
            # The package guesses, and loses "bob" of "ann@x.test; bob@x.test".
            if type(defect).__name__ == "InvalidHeaderDefect" and not _HARMLESS.search(str(defect)):
                raise ValueError(str(defect))
        return [address.addr_spec for address in field.addresses]
    if not isinstance(field, str):
        # A `Header` as it will be sent: commas in its encoded words separate nothing. Only where
        # the addresses are encoded too, which no reader will understand, as it was meant.
        encoded: str = field.encode()
        return addresses_in(encoded if "@" in encoded else str(field))
    return addresses_in(field.encode("utf-8", "surrogateescape").decode("utf-8"))


def _addresses(message: AnyMessage, *names: str) -> list[str]:
    try:
        return header_addresses(message, *names)
    except ValueError as error:
        raise LocalProtocolError(f"{error}; mend it, or give an Envelope") from error


def _prefix(message: AnyMessage) -> str:
    resent = len(message.get_all("Resent-Date", []))
    if resent > 1:
        raise LocalProtocolError(
            "the message was resent more than once; give an Envelope, its header cannot tell"
        )
    return "Resent-" if resent else ""
