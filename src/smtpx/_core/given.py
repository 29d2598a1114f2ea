"""What a caller gives to be sent, and the envelope that stands in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from smtpx import _checks
from smtpx._message.messages import is_message
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from smtpx._message.messages import AnyMessage
    from smtpx._wire.content import Source

Message: TypeAlias = "Source | AnyMessage"

CONTENT = "an EmailMessage, bytes, a binary file or an iterable of bytes"


def addressed(message: Message) -> Envelope:
    """The envelope that an `EmailMessage` has in its header.

    Raises:
        LocalProtocolError, AddressError: there is none.
        TypeError: it is no message.
    """
    if is_message(message):
        return Envelope.from_message(message)
    given: Any = message
    if isinstance(given, str) or not (hasattr(given, "read") or isinstance(given, Iterable)):
        raise _checks.complaint("message", given, CONTENT)
    listed = cast("list[object]", given) if isinstance(given, list) else []
    if not all(isinstance(each, (bytes, bytearray, memoryview)) for each in listed):
        advice = ": a message and its envelope are a tuple"
        raise _checks.complaint("message", message, CONTENT, advice)
    raise LocalProtocolError("bytes do not say who sends and who gets them: give an Envelope")
