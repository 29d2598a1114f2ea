"""The mark before the doubt: the caller is asked before the last octet of a content may leave.

Whoever keeps a ledger of messages commits "in flight" there: what was not marked cannot have been
accepted. Without a mark nothing of this runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

from smtpx._core.connection import Connection
from smtpx._core.steps import Mark, Steps
from smtpx.errors import MarkRefused

T = TypeVar("T")
Marker: TypeAlias = Callable[[Sequence[object]], object]
"""Given messages, it returns of each whether its last octet may leave, or what is to be awaited."""


class MarkFailed(BaseException):
    """The mark raised `why`: neither the message's fault nor the server's, so nobody's to catch."""

    def __init__(self, why: BaseException) -> None:
        super().__init__(why)
        self.why = why


def allowed(
    connection: Connection, mark: Marker, messages: Sequence[object]
) -> Steps[Sequence[bool]]:
    """Of each message, whether its last octet may leave.

    Raises:
        MarkFailed: the mark has failed; nothing of theirs is complete.
    """
    step = Mark(mark, messages)
    _ = yield step
    if step.failure is not None:
        connection.broken = True  # A content may be half sent.
        raise MarkFailed(step.failure)
    return step.allowed


def marked(
    connection: Connection, mark: Marker | None, message: object, procedure: Steps[T]
) -> Steps[T]:
    """Run a procedure that sends one content; it asks at the end of that."""
    return procedure if mark is None else _marked(connection, mark, message, procedure)


def _marked(connection: Connection, mark: Marker, message: object, procedure: Steps[T]) -> Steps[T]:
    connection.mark = partial(_may_end, connection, mark, message)
    try:
        return (yield from procedure)
    finally:
        connection.mark = None


def _may_end(connection: Connection, mark: Marker, message: object) -> Steps[bool]:
    (word,) = yield from allowed(connection, mark, [message])
    return word


def mark_refused() -> MarkRefused:
    """Why a message does not go out."""
    return MarkRefused("the mark said that this message must not be sent")
