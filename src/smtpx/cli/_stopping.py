"""SIGTERM and SIGHUP while an outbox sends: it finishes what is in flight, and begins no more."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Generator
from types import FrameType

from smtpx.cli._running import requests_to_end
from smtpx.outbox import Outbox

__all__ = ["Stopping", "stopping"]

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
    before = {each: signal.signal(each, stop.ask) for each in requests_to_end()}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            _ = signal.signal(each, handler)
