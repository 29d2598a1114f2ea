"""By what the outbox sends: a server's URL, a client, or anything that sends as a client does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

from smtpx.endpoints import Endpoint
from smtpx.results import SendResult

__all__ = ["AsyncVia", "Via", "check_via", "hop_of"]


class _Sends(Protocol):
    def send_many(
        self, messages: Iterable[Any], *, connections: int, window: int, mark: Any
    ) -> Iterator[SendResult]:
        """Send messages as they come; ask the mark before they may be in doubt."""
        ...


class _SendsAsync(Protocol):
    def send_many(
        self, messages: Any, *, connections: int, window: int, mark: Any
    ) -> AsyncIterator[SendResult]:
        """Send messages as they come; ask the mark before they may be in doubt."""
        ...


Via: TypeAlias = str | Endpoint | _Sends
"""A server's URL, a `Client`, or what has a `send_many` like it.

One whose attribute `hop` is ``None`` finds the server of each domain by itself; the limits of
``"*"`` are then each domain's own. Its `send_many` has to know `smtpx.NOTHING_YET` and
`smtpx.Alone`.
"""
AsyncVia: TypeAlias = str | Endpoint | _SendsAsync


def check_via(via: object, *, is_async: bool) -> None:
    """Make sure that an outbox of this face can send by it.

    Raises:
        TypeError: it cannot.
    """
    if not isinstance(via, (str, Endpoint)) and (
        isinstance(via, type) or not callable(getattr(via, "send_many", None))
    ):
        given = type(via).__name__
        raise TypeError(f"via: give a server's URL, an Endpoint or a Client, not {given}")
    ours, theirs = ("__aenter__", "__enter__") if is_async else ("__enter__", "__aenter__")
    if hasattr(via, theirs) and not hasattr(via, ours):
        outbox, kind = ("AsyncOutbox", "asynchronous") if is_async else ("Outbox", "blocking")
        raise TypeError(f"via: an {outbox} sends by {kind} clients, not by {type(via).__name__}")


def hop_of(via: object) -> str | None:
    """The name of the one next hop; ``None`` where each domain has its own."""
    return getattr(via, "hop", repr(via))
