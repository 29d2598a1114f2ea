"""A signal at a chosen point of a call, and at no other: as CPython itself runs its handlers.

It runs them where a function begins and where one of C's has returned; a profile function sees
both. To raise in that function upsets CPython, which then frees what is still in use. So it only
says that a signal came, by a call that is none to the interpreter's loop: the handler runs after
it, in the frame that was seen. CPython 3.11 has looked for signals before it says that a function
begins, and would look again where the profile function itself does. So that one is taken away until
the handler runs.
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
        # Of a handler that is not ours, nobody gives the profile function back.
        is_late = handle is None and sys.version_info < (3, 12)
        self._events = {"c_return"} if is_late else {"call", "c_return"}
        # CPython 3.11 does not hold what it calls: to take a bound method away frees it meanwhile.
        self._seen_by = self._see
        self._handled_by = self._handled
        self._is_over = False
        self._signals: Any = defaultdict(partial(_thread.interrupt_main, signal.SIGINT))

    @property
    def happened(self) -> bool:
        """Whether there were so many that the signal came."""
        return 0 < self._at <= self.seen

    def run(self, call: Callable[[], Any]) -> Any:
        before = signal.getsignal(signal.SIGINT)
        if self._handle is not None:
            _ = signal.signal(signal.SIGINT, self._handled_by)
        try:
            sys.setprofile(self._seen_by)
            return call()
        finally:
            self._is_over = True
            sys.setprofile(None)
            signal.signal(signal.SIGINT, before)

    def _handled(self, *_: object) -> None:
        if self._is_over:
            return  # It came as the call ended, and would be followed by the other one after it.
        sys.setprofile(self._seen_by)
        if self._handle is not None:
            self._handle()

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        if event not in self._events or frame.f_code in _OWN:
            return
        if self._counts(frame):
            self.seen += 1
            if self.seen in (self._at, self._again):
                if self._handle is not None:
                    sys.setprofile(None)
                self._signals[self.seen]


_OWN = {Points.run.__code__, Points._handled.__code__}
