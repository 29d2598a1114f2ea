"""What a message is here: one of the `email` package's, the older class too."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from email.message import EmailMessage
    from email.message import Message as OldMessage

AnyMessage: TypeAlias = "EmailMessage | OldMessage[str, str]"

__all__ = ["AnyMessage", "is_message", "not_too_deep"]


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
