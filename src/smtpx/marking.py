"""The mark: what `send_many` asks before a message may be in doubt; and how few may be at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Self, TypeAlias

from smtpx import _checks
from smtpx.results import SendResult

__all__ = ["Alone", "Mark"]

Mark: TypeAlias = Callable[
    [Sequence[object], Sequence[SendResult]], Sequence[bool] | Awaitable[Sequence[bool]]
]
"""Called before the last octet of messages may leave: from then on they may be in doubt.

It is given these messages, as `send_many` was given them, and the results that `send_many` has not
yielded yet. It returns one boolean for each message. False is for a message that must not be sent:
its result is "not tried", with a `MarkRefused` as its error. An `AsyncClient` awaits what is to be
awaited. What the mark raises ends `send_many`; nothing that it was asked about was sent.

A message may be asked about again: over another connection, or where the server wants it in
several mail transactions.
"""


class Alone(bytes):
    """Content that goes alone: over its connection nothing else is in doubt meanwhile.

    `send_many` writes it once all before it was answered, and then waits for its own reply. So a
    connection that breaks leaves one such message in doubt at most, whatever the `window`.
    """

    __slots__ = ()

    def __new__(cls, content: bytes) -> Self:
        """Take octets.

        Raises:
            TypeError: they are none.
        """
        _checks.instance("content", content, bytes)
        return super().__new__(cls, content)
