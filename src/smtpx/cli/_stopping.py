"""SIGTERM and SIGHUP during a merge: what is in flight is finished, and nothing more is begun."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Generator
from types import FrameType

from smtpx.outbox import Outbox

__all__ = ["Stopping", "stopping"]

_SIGNALS = ("SIGTERM", "SIGHUP")
_LOOK = 0.1


class Stopping:
    """Whether somebody has asked for the end."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._is_asked = False

    def is_asked(self) -> bool:
        """True once somebody has."""
        return self._is_asked

    def ask(self, _: int, __: FrameType | None) -> None:
        """Bring it to its end; asked a second time, at once."""
        if self._is_asked:
            raise KeyboardInterrupt
        self._is_asked = True
        self._outbox.stop()

    def sleep(self, seconds: float) -> None:
        """Wait so long, or until somebody asks."""
        until = time.monotonic() + seconds
        while not self._is_asked and time.monotonic() < until:
            time.sleep(_LOOK)


@contextlib.contextmanager
def stopping(outbox: Outbox) -> Generator[Stopping]:
    """Have the signals ask for the end; one that is ignored, as by nohup, stays so."""
    stop = Stopping(outbox)
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in numbers if before[number] is not signal.SIG_IGN]
    for number in taken:
        _ = signal.signal(number, stop.ask)
    try:
        yield stop
    finally:
        for number in taken:
            _ = signal.signal(number, before[number])
