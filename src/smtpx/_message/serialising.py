"""An `EmailMessage` as octets."""

from __future__ import annotations

import copy
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from smtpx._checks import shown
from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from email.policy import Policy

    from smtpx._message.messages import AnyMessage

__all__ = ["careful", "serialise"]

_BCC = ("bcc", "resent-bcc")
# RFC 5322 §2.2: a name, a colon, a body; its further lines begin with white space.
_FIELD = rb"[!-9;-~]+:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n"


def serialise(message: AnyMessage, *, smtputf8: bool = False, seven_bit: bool = False) -> bytes:
    """The message as octets with CRLF line ends, without its Bcc fields.

    `smtputf8` writes headers as UTF-8 (RFC 6532); `seven_bit` encodes 8-bit parts anew. The
    caller's message is left as it is.

    Raises:
        LocalProtocolError: a header would break out of its field.
    """
    from email.policy import EmailPolicy

    from smtpx._message.flattening import Unsure, flattened

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
    return careful(type(policy), smtputf8=smtputf8)(**vars(policy))


@cache
def careful(
    kind: type[Policy[Any]], *, smtputf8: bool = False, lenient: bool = False
) -> type[Policy[Any]]:
    """A policy like this one, under which a field says what it was meant to say, and no more.

    Addresses, and what programs read, are written by `rewritten`. Of a field that would not stay
    within itself nothing is written: its line end would smuggle fields, or a body, into the message
    (CVE-2024-6923 and its kin). Both hold on every version of the `email` package, and in the parts
    of a message too. With `smtputf8` an older policy, which knows nothing of it, can have addresses
    beyond ASCII. A `lenient` one leaves it to the package to spoil a local-part beyond ASCII.
    """
    from smtpx._message.rewriting import as_it_came, rewritten

    def fold_binary(self: Any, name: str, value: str) -> bytes:
        utf8 = smtputf8 or getattr(self, "utf8", False)
        if not utf8 and getattr(self, "refold_source", "") == "none" and type(value) is str:
            # From Python 3.13 on it would be encoded, and an address in it be another's.
            _ = value.encode("ascii", "surrogateescape")
        body = rewritten(name, value, self)
        folded = b""
        if body is None or (lenient and not utf8 and not body.isascii()):
            try:
                folded = kind.fold_binary(self, name, value)
            except AttributeError as error:
                raise _no_text(name, value) from error
            body = None if re.fullmatch(_FIELD, folded) else as_it_came(name, value)
        if body is not None:
            lines = f"{name}: {body}".rstrip(" ").replace("\n", self.linesep) + self.linesep
            folded = lines.encode("utf-8" if utf8 else "ascii")
        if not re.fullmatch(_FIELD, folded):
            raise LocalProtocolError(
                f"the message's {name!r} is not one field: its name is malformed, or a line end in "
                "it would begin another"
            )
        return folded

    return type(kind.__name__, (kind,), {"fold_binary": fold_binary})


def _no_text(name: str, value: Any) -> LocalProtocolError:
    return LocalProtocolError(f"the message's {name} is {shown(value)}, and not text: give a str")
