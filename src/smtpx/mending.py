"""A message with what can be mended in it mended: what `Check.FIX` sends, for those who keep it."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from smtpx import _checks
from smtpx._message.messages import AnyMessage, is_message
from smtpx._stamps import date_field, new_message_id
from smtpx.checking import check
from smtpx.checking._mending import Stamps, mended
from smtpx.envelope import Envelope

__all__ = ["mend"]

_Message = TypeVar("_Message", AnyMessage, bytes)


def mend(message: _Message, envelope: Envelope | None = None) -> _Message:
    """A copy in which is mended what can be, as `Check.FIX` sends it; `check` tells what is left.

    `envelope` is by default what an `EmailMessage` has in its header. A message with a DKIM or
    ARC signature stays as it is, and so does one in which nothing is wrong.

    Raises:
        TypeError: the message is neither an `EmailMessage` nor bytes.
    """
    _checks.instance("envelope", envelope, Envelope, or_none=True)
    findings = check(message, envelope)
    given: Any = message
    if not is_message(given):
        given = bytes(given)  # It may be a bytearray.
    return cast("_Message", mended(given, findings, Stamps(date_field, new_message_id)))
