"""A thread is started in one step, whatever strikes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import pytest

import smtpx
from smtpx import Delivery, Envelope
from smtpx._starting import start_thread
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question, ScriptedResolver
from smtpx.testing import Server
from tests.delivery.conftest import LOOPBACK

DNS = {
    Question("a.test", "MX"): Answer(AnswerState.FOUND, (MX(1, "mx.test"),)),
    Question("mx.test", "A"): Answer(AnswerState.FOUND, ("127.0.0.1",)),
}


def starts_within(call: Callable[[], object]) -> list[str]:
    """What the calling thread does of `Thread.start`: there a signal could strike."""
    seen: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is threading.Thread.start.__code__:
            seen.append(f"{frame.f_back and frame.f_back.f_code.co_qualname}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        _ = call()
    finally:
        sys.setprofile(before)
    return seen


def test_nothing_of_it_runs_where_a_signal_may_strike() -> None:
    has_run = threading.Event()
    names: list[str] = []

    def run() -> None:
        names.append(threading.current_thread().name)
        has_run.set()

    assert starts_within(lambda: start_thread(run, "smtpx test")) == []
    assert has_run.wait(20)
    assert names == ["smtpx test"]


def test_where_there_is_no_room_for_a_second_thread_the_first_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    has_run = threading.Event()
    monkeypatch.setattr(threading.Thread, "start", none)
    start_thread(has_run.set, "smtpx test")
    assert has_run.wait(20)


def test_a_delivery_starts_its_threads_so() -> None:
    message = (b"Subject: hi\r\n\r\n", Envelope("ann@x.test", "bob@a.test"))
    with Server() as server:
        delivery = Delivery(
            "mail.example.org",
            resolver=ScriptedResolver(DNS),
            port=server.port,
            addresses=LOOPBACK,
        )
        # The second time a keeper of sessions is there; it parts from several together.
        assert starts_within(lambda: list(delivery.send_many([message] * 4))) == []
        assert starts_within(lambda: list(delivery.send_many([message] * 4))) == []
        assert starts_within(delivery.close) == []


def test_a_look_up_starts_its_thread_so() -> None:
    session = smtpx.Session("smtp://mx.invalid?tls=none")

    def fail() -> None:
        with pytest.raises(smtpx.ConnectionLost):
            session.open()

    assert starts_within(fail) == []
