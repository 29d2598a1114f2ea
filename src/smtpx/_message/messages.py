"""What a message is here: one of the `email` package's, the older class too."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from email.message import EmailMessage
    from email.message import Message as OldMessage

AnyMessage: TypeAlias = "EmailMessage | OldMessage[str, str]"

__all__ = ["AnyMessage", "is_message", "not_too_deep", "refuse_too_many"]

_MOST_PARTS = 10_000
_MOST_BOUNDARIES = 100
_BOUNDARY = rb"boundary\s*=\s*(?:\"([^\"\r\n]{1,200})\"|([^\s;\"]{1,200}))"


def is_message(value: object) -> TypeGuard[AnyMessage]:
    """True for a message of the `email` package; the package is not imported to find out."""
    module = sys.modules.get("email.message")
    return module is not None and isinstance(value, module.Message)


@contextmanager
def not_too_deep(whose: str = "the message") -> Generator[None, None, None]:
    """For all that goes down into the parts of a message, as the `email` package does.

    Raises:
        LocalProtocolError: they are nested deeper than the stack of calls can be.
    """
    try:
        yield
    except RecursionError as error:
        raise LocalProtocolError(f"{whose}'s parts are nested too deep") from error


def refuse_too_many(octets: bytes) -> None:
    """What has more parts than any mail is not parsed: the `email` package would take minutes.

    Raises:
        LocalProtocolError: there are more than 10,000.
    """
    if octets.count(b"\n--") <= _MOST_PARTS:
        return
    named = re.finditer(_BOUNDARY, octets, re.IGNORECASE)
    boundaries = {match[1] or match[2] for match in islice(named, _MOST_BOUNDARIES)}
    if sum(octets.count(b"\n--" + boundary) for boundary in boundaries) > _MOST_PARTS:
        raise LocalProtocolError(f"the message has more than {_MOST_PARTS:,} parts")
