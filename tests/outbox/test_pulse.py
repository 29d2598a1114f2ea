"""What is done now and then, as long as it is done for somebody."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from smtpx import _starting
from smtpx.outbox._pulse import Pulse


class Patient:
    def __init__(self, seconds: float) -> None:
        self.beaten = threading.Event()
        self.pulse = Pulse(self.beat, seconds)

    def beat(self) -> None:
        self.beaten.set()


def threads() -> int:
    return sum(thread.name == "smtpx outbox" for thread in threading.enumerate())


def test_it_beats_until_it_is_ended() -> None:
    patient, before = Patient(0.01), threads()
    with patient.pulse:
        assert patient.beaten.wait(30)
        assert threads() == before + 1
    assert threads() == before


def test_it_ends_at_once_with_whom_it_is_for() -> None:
    """Whoever had it was interrupted, and has never come to its end."""
    patient: Any = Patient(3600)
    before = threads()
    patient.pulse.begin()
    del patient
    end = time.monotonic() + 30
    while threads() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threads() == before


def test_it_ends_before_its_first_beat_where_it_was_ended_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever began it was interrupted, and it comes to life later."""
    lives: list[Any] = []

    def interrupted(live: Any, name: str) -> None:
        lives.append(live)
        raise KeyboardInterrupt

    monkeypatch.setattr(_starting, "start_thread", interrupted)
    patient = Patient(0)
    with pytest.raises(KeyboardInterrupt):
        patient.pulse.begin()
    patient.pulse.end()
    lives[0]()
    assert not patient.beaten.is_set()
