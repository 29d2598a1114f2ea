"""What is done again and again in a thread, as long as somebody holds what it is done for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self
from weakref import WeakMethod

from smtpx._starting import Joined

__all__ = ["Pulse"]


class Pulse:
    """Calls a method of an object now and then, as a context, or from `begin` to `end`.

    It does so as long as somebody holds the object: whatever its holder was interrupted in, the
    thread ends at once then.
    """

    def __init__(self, beat: Callable[[], object], seconds: float) -> None:
        # It may be told of in the middle of anything, by whoever lets go of the object last.
        ended: SimpleQueue[None] = SimpleQueue()
        self._ended = ended
        reference = WeakMethod(beat, lambda _: ended.put(None))
        live = partial(_live, reference, ended, min(seconds, threading.TIMEOUT_MAX))
        self._thread = Joined(live, "smtpx outbox")

    def begin(self) -> None:
        """Call it from now on, for the first time after a pause."""
        self._thread.start()

    def end(self) -> None:
        """Call it no more; where it is being called, wait for that."""
        self._ended.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()


def _live(
    reference: WeakMethod[Callable[[], object]], ended: SimpleQueue[None], seconds: float
) -> None:
    while True:
        try:
            ended.get(timeout=seconds)
        except Empty:
            if _beats(reference()):
                continue
        return


def _beats(beat: Callable[[], object] | None) -> bool:
    if beat is None:
        return False
    _ = beat()
    return True
