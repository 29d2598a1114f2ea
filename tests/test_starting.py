"""A thread is started in one step, whatever strikes."""

from __future__ import annotations

import ast
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

import smtpx
from smtpx import Delivery, Envelope, Outbox, _starting
from smtpx._starting import Joined, start_thread
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


@pytest.mark.parametrize("has_room", [True, False])
def test_one_that_is_waited_for_has_ended(monkeypatch: pytest.MonkeyPatch, has_room: bool) -> None:
    def none(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    ended: list[bool] = []

    def run() -> None:
        time.sleep(0.05)
        ended.append(True)

    if not has_room:
        monkeypatch.setattr(threading.Thread, "start", none)
    before = threading.active_count()
    thread = Joined(run, "smtpx test")
    assert starts_within(thread.start) == []
    for _ in range(2):
        thread.join()
        assert ended == [True]
        assert not has_room or threading.active_count() == before


@pytest.mark.parametrize("is_struck", ["before", "after"])
def test_whoever_was_interrupted_as_one_began_waits_for_no_other(
    monkeypatch: pytest.MonkeyPatch, is_struck: str
) -> None:
    """It ends what it does, or never runs: also where it comes to life later."""
    gate, runs, ended = threading.Event(), list[None](), threading.Event()

    def run() -> None:
        runs.append(None)

    def begin(live: Callable[[], object], name: str) -> None:
        def late() -> None:
            gate.wait(20)
            live()
            ended.set()

        if is_struck == "after":
            start_thread(late, name)
        raise KeyboardInterrupt

    monkeypatch.setattr(_starting, "start_thread", begin)
    thread = Joined(run, "smtpx test")
    with pytest.raises(KeyboardInterrupt):
        thread.start()
    thread.join()
    gate.set()
    assert is_struck == "before" or ended.wait(20)
    assert runs == []


def test_all_threads_are_started_so() -> None:
    """But for those that have nothing to lose: they are one call of C's themselves."""
    package = Path(_starting.__file__).parent
    own = {"_starting.py": {"Thread", "start_new_thread"}}
    own |= {name: {"start_new_thread"} for name in ("_accounting.py", "_faces/opening.py")}
    for path in package.rglob("*.py"):
        found = set(begun_by(path.read_text("utf-8")))
        assert found == own.get(path.relative_to(package).as_posix(), set()), path


def begun_by(source: str) -> list[str]:
    """By what a module begins threads."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [ast.unparse(call).rpartition(".")[2] for call in calls]
    return [name for name in names if name in {"Thread", "start_new_thread"}]


def test_what_begins_a_thread_is_found() -> None:
    for text in ("Thread(target=f).start()", "x = threading.Thread(target=f)"):
        assert begun_by(text) == ["Thread"]
    assert begun_by("_thread.start_new_thread(f, ())") == ["start_new_thread"]


def test_a_worker_starts_its_threads_so(tmp_path: Path) -> None:
    with Server() as server, Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
        _ = outbox.put(b"Subject: hi\r\n\r\n", Envelope("ann@x.test", "bob@a.test"))
        assert starts_within(lambda: outbox.run(server.url, until_empty=True)) == []
        assert len(server.messages) == 1


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
