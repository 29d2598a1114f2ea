"""Interrupted at any point of a blocking call: no place, lock or verdict is lost.

CPython runs signal handlers where a function begins and where one of C's has returned; a recursion
that gets too deep fails there, too. So at each of these points, one after the other, an exception
is raised; and once more by real signals, at any moment.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import smtpx
from smtpx import Client, Envelope, PoolLimits, SendResult, Session
from smtpx._faces import opening
from smtpx.testing import ALL_EXTENSIONS, Close, Extension, Server
from tests.interruptions.points import Points

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")

TWO_DOMAINS = Envelope("ann@example.org", ["bob@one.test", "eve@two.test"])

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("nothing_is_kept_of_an_interrupted_finaliser"),
]


class Interruption(BaseException):
    """What a signal handler raises."""


def interrupt() -> None:
    """What most signal handlers do."""
    raise Interruption


class Interrupted:
    """A call within which a signal comes at its so-manieth point, if it has so many."""

    def __init__(
        self, call: Callable[[], Any], at: int, handle: Callable[[], object] = interrupt
    ) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        points = Points(at, handle)
        try:
            self.value = points.run(call)
        except (Interruption, smtpx.SMTPError) as error:
            # As where it is handled: its frames hold whatever they held just then.
            self.error = error
        self.happened = points.happened

    @property
    def result(self) -> SendResult | None:
        """What it is told, or carries."""
        return self.value if self.error is None else getattr(self.error, "result", None)


def each_point(call: Callable[[int], Interrupted], step: int) -> None:
    """Interrupt a call at its points, or at some of them."""
    at = 1
    while call(at).happened:
        at += step
    assert at > 50


def assert_all_places_are_back(client: Client) -> None:
    statistics = client.statistics()
    assert (statistics.opening, statistics.busy, statistics.waiting) == (0, 0, 0)


def descriptors() -> int:
    _ = gc.collect()
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def no_descriptor_more() -> Iterator[None]:
    before = descriptors() if os.path.exists("/proc/self/fd") else None
    yield
    end = time.monotonic() + 5
    while before is not None and descriptors() > before:
        assert time.monotonic() < end, "a descriptor is left"
        time.sleep(0.005)  # The server of the test, in this process, has its own to close.


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_place_that_is_claimed_at_once_is_given_back() -> None:
    """While what interrupted the claim is still held, and all that its frames hold."""
    at, happened = 0, True
    assert Client("smtp://127.0.0.1:9")._pool.claim_now(1)  # What is made late is made now.
    while happened:
        at += 1
        client = Client("smtp://127.0.0.1:9", pool=PoolLimits(open=1))
        claim = Interrupted(lambda: client._pool.claim_now(1), at)  # noqa: B023 - called at once
        happened = claim.happened
        if claim.error is not None:
            assert_all_places_are_back(client)
    assert at > 10


WAYS = ["new", "reused", "replaced", "retired", "lock-step", "two sessions"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_send_at_every_point(way: str, step: int) -> None:
    """One connection only: a place that were lost would be missed."""
    missing = {"lock-step": {Extension.PIPELINING}, "replaced": {Extension.CHUNKING}}
    limits = PoolLimits(open=1, wait=5, idle=0 if way == "retired" else 1)
    domains = 1 if way == "two sessions" else None
    extensions = ALL_EXTENSIONS - missing.get(way, set())
    with Server(extensions=extensions, domain_limit=domains) as server:

        def attempt(at: int) -> Interrupted:
            client = Client(server.url, pool=limits)
            if way in ("reused", "replaced"):
                _ = client.send(CONTENT, ENVELOPE)
            if way == "replaced":
                server.clear_faults()
                server.add_fault(Close("MAIL", session=len(server.sessions)))
            server.clear_messages()
            outcome = Interrupted(lambda: client.send(b"1\r\n", TWO_DOMAINS), at)
            assert_all_places_are_back(client)
            assert client.send(b"2\r\n", ENVELOPE).accepted
            client.close()
            _ = server.wait_until_idle()
            messages = [message for message in server.messages if message.content == b"1\r\n"]
            taken = [name for message in messages for name in message.recipients]
            result = outcome.result
            accepted = {str(told.recipient) for told in result.accepted} if result else set()
            doubtful = {str(told.recipient) for told in result.in_doubt} if result else set()
            assert len(taken) == len(set(taken))
            assert accepted <= set(taken) <= accepted | doubtful
            return outcome

        with no_descriptor_more():
            each_point(attempt, min(step, 7) if way == "reused" else step)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_send_many_at_every_point(step: int) -> None:
    """It gives back what it has acquired, and another call can be made."""
    with Server() as server:

        def attempt(at: int) -> Interrupted:
            client = Client(server.url, pool=PoolLimits(open=2, wait=5))
            items = [(CONTENT, ENVELOPE)] * 4
            outcome = Interrupted(lambda: [*client.send_many(items, connections=2, window=1)], at)
            assert_all_places_are_back(client)
            assert client.send(CONTENT, ENVELOPE).accepted
            client.close()
            return outcome

        with no_descriptor_more():
            each_point(attempt, step)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", ["open", "one shot"])
def test_what_is_opened_is_closed_at_every_point(way: str, step: int) -> None:
    """Whoever is interrupted in `open` has no session, and no socket."""
    with Server() as server:

        def attempt(at: int) -> Interrupted:
            session = Session(server.url)
            if way == "open":
                outcome = Interrupted(session.open, at)
                session.close()
            else:
                call = lambda: smtpx.send(CONTENT, server.url, envelope=ENVELOPE)  # noqa: E731
                outcome = Interrupted(call, at)
            _ = server.wait_until_idle()
            return outcome

        with no_descriptor_more():
            each_point(attempt, step)


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", ["statistics", "send", "close", "abort"])
@pytest.mark.parametrize("way", ["new", "reused"])
def test_a_signal_handler_uses_the_client_that_it_interrupts(way: str, what: str, step: int):
    """It is served, or told why not; it never waits for what it interrupts."""
    limits = PoolLimits(open=2, idle=2)
    with Server() as server:

        def attempt(at: int) -> Interrupted:
            client = Client(server.url, pool=limits)
            if way == "reused":
                _ = client.send(CONTENT, ENVELOPE)
            told: list[BaseException | None] = []

            def handle() -> None:
                try:
                    match what:
                        case "statistics":
                            assert client.statistics().open <= 2
                        case "send":
                            assert client.send(CONTENT, ENVELOPE).accepted
                        case _:
                            client.close(abort=what == "abort")
                    told.append(None)
                except smtpx.LocalProtocolError as error:
                    told.append(error)

            outcome = Interrupted(lambda: client.send(CONTENT, ENVELOPE), at, handle)
            assert all(error is None or "signal handler" in str(error) for error in told)
            if what in ("statistics", "send"):
                assert outcome.error is None
                assert what == "send" or told in ([None], [])
                assert client.send(CONTENT, ENVELOPE).accepted
            assert_all_places_are_back(client)
            client.close()
            assert client.statistics().open == 0
            return outcome

        with no_descriptor_more():
            each_point(attempt, min(step, 7) if way == "reused" else step)


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_generator_is_collected_within_a_call_of_its_client(step: int):
    """The garbage collector runs where it likes; what it ends gives its session back."""
    with Server() as server:

        def attempt(at: int) -> Interrupted:
            client = Client(server.url, pool=PoolLimits(open=2))
            _ = client.send(CONTENT, ENVELOPE)
            abandoned = [client.send_many([(CONTENT, ENVELOPE)] * 100, window=2)]
            _ = next(abandoned[0])
            outcome = Interrupted(lambda: client.send(CONTENT, ENVELOPE), at, abandoned.clear)
            abandoned.clear()
            assert outcome.error is None
            assert_all_places_are_back(client)
            client.close()
            return outcome

        with no_descriptor_more():
            each_point(attempt, step)


def test_a_place_whose_holder_has_vanished_goes_to_who_waits_for_it():
    with Server() as server, Client(server.url, pool=PoolLimits(open=1)) as client:
        vanishing = [client._pool.acquire()]
        waiting = threading.Thread(target=client.send, args=[CONTENT, ENVELOPE])
        waiting.start()
        while not client.statistics().waiting:
            pass
        vanishing.clear()
        waiting.join()
        assert len(server.messages) == 1
        assert client.statistics().idle == 1


def test_the_lock_of_logging_is_not_kept_by_who_is_interrupted():
    """Once asked for the logger, a session does not ask again."""

    def attempt(at: int) -> Interrupted:
        opening._asked.clear()
        outcome = Interrupted(opening._wire, at)
        asking = threading.Thread(target=logging.getLogger, args=[f"other{at}"], daemon=True)
        asking.start()
        asking.join(10)
        assert not asking.is_alive()
        return outcome

    at = 1
    while attempt(at).happened:
        at += 1
    assert Interrupted(opening._wire, 1_000).error is None


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
@pytest.mark.parametrize("signals", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_signals_at_any_moment(signals: int):
    """In a process of its own, which would hang if a lock were lost."""
    seed = 20261129
    call = [sys.executable, "-m", "tests.faces.signalled", str(signals), str(seed)]
    ended = subprocess.run(call, check=False, timeout=280, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
