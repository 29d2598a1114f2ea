"""Ctrl-C at any moment of smtpx's work, and of nothing else."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

import smtpx

OURS = str(Path(smtpx.__file__).parent)
HERE = str(Path(__file__).parents[1])
SOON = 0.0005


class Interrupter:
    """Sends this process SIGINT from a thread; raises where smtpx is at work."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._armed = False
        self._timers: list[threading.Timer] = []

    @contextmanager
    def mostly(self) -> Iterator[None]:
        """Interrupt what is done in this context, more often than not."""
        if self._chance.random() < 0.3:
            yield
            return
        before = signal.signal(signal.SIGINT, self._heard)
        self._armed = True
        self._start(self._chance.random() * self._chance.choice((0.001, 0.005, 0.03)))
        try:
            yield
        finally:
            self._armed = False
            while self._timers:
                timer = self._timers.pop()
                timer.cancel()
                timer.join()
            _ = signal.signal(signal.SIGINT, before)

    def _start(self, seconds: float) -> None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
        self._timers.append(timer)
        timer.start()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        """What is ours must not be interrupted: a little later, then.

        Nor what takes a lock of the whole process and does not give it back, as `logging` does.
        """
        while self._armed and frame is not None:
            file = frame.f_code.co_filename
            if file == logging.__file__:
                self._start(SOON)
                return
            if file.startswith(OURS):
                self._armed = False
                raise KeyboardInterrupt
            if file.startswith(HERE):
                self._start(SOON)
                return
            frame = frame.f_back
