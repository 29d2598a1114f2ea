"""What is done now and then, as long as it is done for somebody."""

from __future__ import annotations

import threading
from typing import Any

from smtpx.outbox._pulse import Pulse


class Patient:
    def __init__(self, seconds: float) -> None:
        self.beaten = threading.Event()
        self.pulse = Pulse(self.beat, seconds)

    def beat(self) -> None:
        self.beaten.set()


def test_it_beats_until_it_is_ended() -> None:
    patient = Patient(0.01)
    with patient.pulse:
        assert patient.beaten.wait(30)
        assert patient.pulse.thread.is_alive()
    assert not patient.pulse.thread.is_alive()


def test_it_ends_at_once_with_whom_it_is_for() -> None:
    """Whoever had it was interrupted, and has never come to its end."""
    patient: Any = Patient(3600)
    patient.pulse.begin()
    thread = patient.pulse.thread
    del patient
    thread.join(30)
    assert not thread.is_alive()


def test_it_ends_before_its_first_beat_where_it_was_ended_before() -> None:
    patient = Patient(0)
    patient.pulse.end()
    patient.pulse.begin()
    patient.pulse.thread.join(30)
    assert not patient.pulse.thread.is_alive()
    assert not patient.beaten.is_set()
