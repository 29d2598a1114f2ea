"""What one call of a face is given, looked at before a connection is dialled or leased (R18)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Mapping
from io import TextIOBase
from typing import Any, cast

from smtpx import _checks
from smtpx._core.given import CONTENT
from smtpx._loaders import UNDER_WAY
from smtpx._loading import refuse_amid_loading
from smtpx._message.messages import is_message
from smtpx.envelope import Envelope
from smtpx.options import PoolLimits

__all__ = ["check_blocking", "check_many", "check_message", "check_pool"]


def check_message(message: object) -> None:
    """Make sure that it is a message, of whatever form.

    Raises:
        TypeError: it is none.
    """
    if isinstance(message, bytes) or is_message(message):
        return
    given = message
    if isinstance(message, str):
        advice = ": encode it, or read it by email.message_from_string()"
    elif isinstance(message, os.PathLike):
        advice = ": give its read_bytes(), or open it in binary mode"
    elif isinstance(message, TextIOBase):
        advice = ": open the file in binary mode"
    elif isinstance(message, Envelope):
        advice = ": the message comes first, then its envelope"
    elif isinstance(message, AsyncIterable) and not isinstance(message, Iterable):
        advice = ": that is for an AsyncClient"
    elif isinstance(message, (list, tuple, set, frozenset, Mapping)) and not _is_octets(message):
        advice = ": send one, or several by send_many()"
    elif hasattr(given, "read") or isinstance(message, (bytearray, memoryview, Iterable)):
        return
    else:
        advice = ""
    raise _checks.complaint("message", given, CONTENT, advice)


def check_many(
    messages: object, connections: int, window: int, on_doubt: str, mark: object, limits: PoolLimits
) -> None:
    """Look at what `send_many` is given, but for the messages themselves.

    Raises:
        TypeError: it is one message, or nothing to be read one by one, or of another kind.
        ValueError: a number is out of its range, or there is no such word.
        LocalProtocolError: a signal handler calls at a moment when it cannot send.
    """
    if UNDER_WAY:
        refuse_amid_loading()
    given = messages  # as it came: what follows tells its kinds apart
    if (
        _checks.is_one(given)
        or isinstance(messages, Envelope)
        or _is_pair(messages)
        or not isinstance(messages, (Iterable, AsyncIterable))
    ):
        allowed = "a list or another iterable of messages, or of tuples of message and envelope"
        raise _checks.complaint("messages", given, allowed)
    _checks.count("connections", connections, 1)
    if connections > limits.open:
        raise ValueError(
            f"connections={connections}: the client opens {limits.open} at most: give it "
            f"pool=smtpx.PoolLimits(open={connections})"
        )
    _checks.count("window", window, 1)
    _checks.one_of("on_doubt", on_doubt, ("report", "resend"))
    if mark is not None and (not callable(mark) or isinstance(mark, type)):
        raise _checks.complaint("mark", mark, "a function of messages and results, or None")


def check_blocking(messages: object) -> None:
    """Make sure that a blocking face can read it.

    Raises:
        TypeError: it is asynchronous.
    """
    given = messages
    if isinstance(messages, AsyncIterable) and not isinstance(messages, Iterable):
        raise _checks.complaint("messages", given, "an iterable", ": that is for an AsyncClient")


def check_pool(pool: PoolLimits | None) -> PoolLimits:
    """The limits, or the usual ones.

    Raises:
        TypeError: they are none.
    """
    _checks.instance("pool", pool, PoolLimits, or_none=True)
    return PoolLimits() if pool is None else pool


def _is_octets(several: Any) -> bool:
    """True for content that is in pieces."""
    return not isinstance(several, Mapping) and all(
        isinstance(piece, (bytes, bytearray, memoryview)) for piece in several
    )


def _is_pair(messages: object) -> bool:
    """True for one message and its envelope, where a list of such pairs is meant."""
    if not isinstance(messages, tuple):
        return False
    pair = cast("tuple[object, ...]", messages)
    return len(pair) == 2 and isinstance(pair[1], Envelope)
