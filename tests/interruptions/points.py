"""A signal at a chosen point of a call, and at no other: as CPython itself runs its handlers.

It runs them where a function begins and where one of C's has returned; a profile function sees
both. To raise in that function upsets CPython 3.11, which then frees what is still in use. So it
only says that a signal came, by a call that is none to the interpreter's loop: the handler runs
after it, in the frame that was seen.
"""

from __future__ import annotations

import _thread
import signal
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any


def _is_any(_: FrameType) -> bool:
    return True


class Points:
    """Runs a handler at the so-manieth point of a call; at none if that is 0.

    And, if `again` is given, once more so many points later.
    """

    def __init__(
        self,
        at: int,
        handle: Callable[[], object] | None,
        counts: Callable[[FrameType], bool] = _is_any,
        again: int = 0,
    ) -> None:
        """Only points in frames that `counts` accepts are counted.

        Without a handler the signal goes to whoever handles it just then.
        """
        self.seen = 0
        self._at = at
        self._handle = handle
        self._counts = counts
        self._again = at + again
        self._signals: Any = defaultdict(partial(_thread.interrupt_main, signal.SIGINT))

    @property
    def happened(self) -> bool:
        """Whether there were so many that the signal came."""
        return 0 < self._at <= self.seen

    def run(self, call: Callable[[], Any]) -> Any:
        handle, before = self._handle, signal.getsignal(signal.SIGINT)
        if handle is not None:
            _ = signal.signal(signal.SIGINT, lambda *_: handle())
        try:
            sys.setprofile(self._see)
            return call()
        except TypeError as error:
            if "'traceback' object" not in str(error):
                raise
            # CPython 3.11 at times makes that of what a handler raises where an __init__ begins.
            interruption = KeyboardInterrupt()
            vars(interruption).update(vars(error))
            raise interruption from error
        finally:
            sys.setprofile(None)
            signal.signal(signal.SIGINT, before)

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        if event not in ("call", "c_return") or frame.f_code is Points.run.__code__:
            return
        if self._counts(frame):
            self.seen += 1
            if self.seen in (self._at, self._again):
                self._signals[self.seen]
