"""Replies that were one too many or too few, and which clients could have seen it.

A client has evidence of a reply too many if it is there when the last reply that is due has been
read: if that one and the next came in one write, with nothing else due. Where each transaction
waits for its end (a lone one), the server knows when nothing else is due; in a stream only at the
end of the session, if nothing was read after the last write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Sent(NamedTuple, Generic[T]):
    """One reply, and the first and the last write that it was in."""

    first: int
    last: int
    whose: T | None
    """The transaction it belongs to."""
    due: bool | None
    """``False``: nobody asked for it; ``None``: it was due, and left out."""


def excused(
    sent: Sequence[Sent[T]], checkpoints: Sequence[int], *, lone: bool, heard_after: bool
) -> list[T]:
    """The transactions whose replies were shifted, where nothing showed it in time.

    A checkpoint is how many replies were sent when a lone client awaited nothing more.
    """
    shift = next((place for place, reply in enumerate(sent) if reply.due is not True), None)
    if shift is None:
        return []
    concerned: list[T] = []
    for reply in sent[shift:]:
        if reply.due is not False and reply.whose is not None and reply.whose not in concerned:
            concerned.append(reply.whose)
    if any(reply.due is None for reply in sent):
        # Who gets no more replies has nothing to mistake for the one that was left out.
        spoken = any(reply.due is not None for reply in sent[shift + 1 :])
        return concerned if spoken else []
    if not lone:
        return [each for each in concerned if heard_after or not _seen_in_stream(sent, each)]
    return [each for each in concerned if not _seen_alone(sent, checkpoints, each)]


def _seen_alone(sent: Sequence[Sent[T]], checkpoints: Sequence[int], whose: T) -> bool:
    last = max(place for place, reply in enumerate(sent) if reply.whose is whose)
    ends = {end for end in checkpoints if end <= last + 1} | {last + 1}
    return any(_shows(sent, end) for end in ends)


def _seen_in_stream(sent: Sequence[Sent[T]], whose: T) -> bool:
    """Those before the last write were told before anything could be seen."""
    if not _shows(sent, len(sent)):
        return False
    last = max(place for place, reply in enumerate(sent) if reply.whose is whose)
    strays = sum(reply.due is False for reply in sent[: last + 1])
    return sent[max(0, last - strays)].first == sent[-1].last


def _shows(sent: Sequence[Sent[T]], end: int) -> bool:
    """True if more than all that was due was there when the last of it was read."""
    due = sum(reply.due is True for reply in sent[:end])
    return 0 < due < end and sent[due - 1].last == sent[due].first
