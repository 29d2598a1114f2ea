"""Callers who were held, each as it was found. What may hang runs in a child, under a watchdog."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

import pytest

import smtpx
from smtpx import AsyncClient, Client, Envelope, PoolLimits, SendResult, Session, Timeouts
from tests.interruptions.points import Points

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ITEM = (CONTENT, ENVELOPE)
WATCHDOG = 60.0


unix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs fork, or signals")


def in_child(call: Callable[[], Any]) -> Any:
    """What a call returns in a process of its own; one that hangs fails the test."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(call, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(WATCHDOG):
            pytest.fail(f"{call.__name__} hangs")
        value = ours.recv()
    except EOFError:
        pytest.fail(f"{call.__name__} died")
    finally:
        process.kill()
        process.join()
    if isinstance(value, BaseException):
        raise value
    return value


def _answer(call: Callable[[], Any], pipe: Connection) -> None:
    try:
        pipe.send(call())
    except BaseException as error:
        pipe.send(AssertionError(f"{type(error).__name__}: {error}"))


class Visitor:
    """One connection to a server of the test."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = connected.makefile("rb")

    def say(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def line(self) -> bytes:
        """The next command; none once the client has gone."""
        return self._lines.readline()

    def greet(self, *extensions: bytes) -> None:
        self.say(b"220 mx.test\r\n")
        _ = self.line()
        self.offer(*extensions)

    def offer(self, *extensions: bytes) -> None:
        self.say(b"".join(b"250-%b\r\n" % word for word in (b"mx.test", *extensions)))
        self.say(b"250 HELP\r\n")

    def serve(self, *, pause: float = 0) -> None:
        """Be a good server, if a slow one, from behind EHLO on."""
        while line := self.line():
            time.sleep(pause)
            match line.split()[0].upper():
                case b"DATA":
                    self.say(b"354 go ahead\r\n")
                    while self.line() not in (b".\r\n", b""):
                        pass
                    time.sleep(pause)
                    self.say(b"250 taken\r\n")
                case b"QUIT":
                    self.say(b"221 bye\r\n")
                    return
                case _:
                    self.say(b"250 ok\r\n")

    def keep(self) -> None:
        """Say nothing, until the client goes."""
        while self.line():
            pass


@contextmanager
def serving(visited: Callable[[int, Visitor], None]) -> Iterator[str]:
    """A server that is told of each connection, and which it is; its URL."""

    def visit(number: int, connected: socket.socket) -> None:
        with connected:
            try:
                visited(number, Visitor(connected))
            except OSError:
                pass  # The client has gone.

    def accept() -> None:
        number = 0
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return  # It is closed.
            threading.Thread(target=visit, args=(number, connected), daemon=True).start()
            number += 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"smtp://127.0.0.1:{listener.getsockname()[1]}"


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What came of a call, and its seconds."""
    began = time.monotonic()
    try:
        value = call()
    except smtpx.SMTPError as error:
        value = error
    return value, time.monotonic() - began


async def each(client: AsyncClient, messages: Any, **options: Any) -> list[SendResult]:
    return [result async for result in client.send_many(messages, **options)]


# One slow session, and five that end before they send anything.


def one_slow_five_that_end(number: int, visitor: Visitor) -> None:
    visitor.greet()
    if number:
        visitor.say(b"421 too busy\r\n")
        return
    time.sleep(1)
    visitor.serve()


def blocking_with_one_slow_session() -> int:
    with serving(one_slow_five_that_end) as url, Client(url, pool=PoolLimits(open=6)) as client:
        try:
            return len(list(client.send_many([ITEM] * 200, connections=6)))
        except smtpx.SMTPError:
            return 0


def asynchronous_with_one_slow_session() -> int:
    async def main(url: str) -> int:
        async with AsyncClient(url, pool=PoolLimits(open=6)) as client:
            try:
                return len(await each(client, [ITEM] * 200, connections=6))
            except smtpx.SMTPError:
                return 0

    with serving(one_slow_five_that_end) as url:
        return asyncio.run(main(url))


@pytest.mark.parametrize(
    "call", [blocking_with_one_slow_session, asynchronous_with_one_slow_session]
)
def test_who_still_sends_ends_when_hope_is_lost(call: Callable[[], int]) -> None:
    assert in_child(call) >= 0


# Ctrl-C within `logging`.


def interrupted_within_logging() -> int:
    """Interrupt at every call within `logging` while a session is opened; the value is how many."""

    class Interrupted(BaseException):
        pass

    def interrupt() -> None:
        raise Interrupted

    def is_of_logging(frame: FrameType) -> bool:
        return frame.f_globals.get("__name__") == "logging"

    def open_interrupted(at: int, url: str) -> bool:
        session = Session(url)
        try:
            Points(at, interrupt, is_of_logging).run(session.open)
        except Interrupted:
            return True
        session.close()
        return False

    def others_can_log() -> None:
        thread = threading.Thread(target=logging.getLogger, args=("others",), daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive(), "logging's lock is lost"

    def visited(_: int, visitor: Visitor) -> None:
        visitor.greet()
        visitor.serve()

    with serving(visited) as url:
        Session(url).open()  # Whatever is done once for all is done.
        at = 1
        while open_interrupted(at, url):
            others_can_log()
            at += 1
    return at - 1


def test_an_interruption_leaves_loggings_lock_alone() -> None:
    _ = in_child(interrupted_within_logging)


# `send_many` with an extra connection that is never answered.


def first_alone_is_answered(number: int, visitor: Visitor) -> None:
    if number:
        visitor.keep()
    else:
        visitor.greet()
        visitor.serve(pause=0.01)


SOON = Timeouts(greeting=1)


def test_an_extra_connection_that_is_not_answered_holds_nobody_up() -> None:
    with serving(first_alone_is_answered) as url, Client(url, timeouts=SOON) as client:
        began = time.monotonic()
        results: list[SendResult] = []
        for result in client.send_many([ITEM] * 12, connections=2):
            results.append(result)
            if time.monotonic() > began + 4:
                break
    assert [result.error for result in results] == [None] * 12


async def sent_beside_an_extra_connection(url: str, timeouts: Timeouts) -> list[SendResult]:
    async with AsyncClient(url, timeouts=timeouts) as client:
        return await each(client, [ITEM] * 12, connections=2)


def test_an_extra_connection_that_is_not_answered_fails_nothing() -> None:
    with serving(first_alone_is_answered) as url:
        results = asyncio.run(sent_beside_an_extra_connection(url, Timeouts(greeting=4)))
    assert [result.error for result in results] == [None] * 12


def test_who_has_sent_everything_does_not_wait_for_an_extra_connection() -> None:
    with serving(first_alone_is_answered) as url:
        sent = sent_beside_an_extra_connection(url, Timeouts(greeting=7))
        results, seconds = timed(lambda: asyncio.run(sent))
    assert [result.error for result in results] == [None] * 12
    assert seconds < 5


# A server that half-closes while it is written to.


def written_to_half_closed() -> float:
    """Send to a server that reads no more and has closed its side; the processor's seconds."""

    def visited(_: int, visitor: Visitor) -> None:
        visitor.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        visitor.greet()
        while visitor.line() != b"DATA\r\n":
            visitor.say(b"250 ok\r\n")
        visitor.say(b"354 go ahead\r\n")
        time.sleep(0.3)  # The client waits for room by now.
        visitor.socket.shutdown(socket.SHUT_WR)
        time.sleep(WATCHDOG)

    content = b"Subject: hi\r\n\r\n" + b"x\r\n" * 5_000_000
    with serving(visited) as url, Client(url, timeouts=Timeouts(data_block=2)) as client:
        began = time.process_time()
        try:
            next(client.send_many([(content, ENVELOPE)]), None)
        except smtpx.SMTPError:
            pass
        return time.process_time() - began


def test_a_write_to_a_half_closed_connection_waits_without_work() -> None:
    assert in_child(written_to_half_closed) < 0.4


# An asynchronous iterable without end, and no hope.


def read_without_hope() -> int:
    """Send what never ends where hope is lost; the value is how much was read."""
    read = 0

    async def without_end() -> AsyncIterator[tuple[bytes, Envelope]]:
        nonlocal read
        while True:
            read += 1
            yield ITEM

    async def main(url: str) -> None:
        async with AsyncClient(url, pool=PoolLimits(open=6)) as client:
            try:
                _ = await each(client, without_end(), connections=6)
            except smtpx.SMTPError:
                pass

    def visited(number: int, visitor: Visitor) -> None:
        visitor.greet()
        if number:
            visitor.say(b"421 too busy\r\n")
        else:
            time.sleep(1)  # At work, for as long as it takes the others to end, and no longer.

    with serving(visited) as url:
        asyncio.run(main(url))
    return read


def test_nothing_is_read_any_more_when_hope_is_lost() -> None:
    assert in_child(read_without_hope) < 1000


# The pool's lock.


def good(_: int, visitor: Visitor) -> None:
    visitor.greet()
    visitor.serve()


# Not at each point in the time that there is.
_STEP = 17


def at_each_point(client: Client, call: Callable[[], object], at: int) -> bool:
    """Send, and call at the so-manieth point where CPython may run others; False if it has fewer.

    So are handlers of signals run, and the collector, whoever is in the middle of what.
    """

    def handle() -> None:
        try:
            _ = call()
        except smtpx.SMTPError:
            pass  # It is refused, and said so.

    points = Points(at, handle)
    try:
        _ = points.run(lambda: client.send(*ITEM))
    except smtpx.SMTPError:
        pass  # It may have been closed under its feet.
    return points.happened


def collected_at_any_moment() -> int:
    """Have the collector find an abandoned iterator; the value is at how many points."""

    def abandon() -> None:
        circle: list[object] = []
        sending = client.send_many([ITEM] * 3)
        _ = next(sending)
        circle += [sending, circle]

    at = 1
    with serving(good) as url:
        gc.disable()
        while True:
            with Client(url, pool=PoolLimits(open=3)) as client:
                abandon()
                if not at_each_point(client, gc.collect, at):
                    return at // _STEP
            at += _STEP


def test_an_abandoned_iterator_is_collected_at_any_moment() -> None:
    assert in_child(collected_at_any_moment) > 10


def _called_by_a_handler(called: Callable[[Client], object]) -> int:
    """Call wherever a signal's handler may run, one point after the other; how many there were."""
    at = 1
    with serving(good) as url:
        while True:
            with Client(url, pool=PoolLimits(open=2, wait=0.01)) as client:
                _ = client.send(*ITEM)
                if not at_each_point(client, lambda: called(client), at):
                    return at // _STEP
            at += _STEP


def statistics_in_a_handler() -> int:
    return _called_by_a_handler(lambda client: client.statistics())


def close_in_a_handler() -> int:
    return _called_by_a_handler(lambda client: client.close())


def send_in_a_handler() -> int:
    return _called_by_a_handler(lambda client: client.send(*ITEM))


@pytest.mark.parametrize("call", [statistics_in_a_handler, close_in_a_handler, send_in_a_handler])
def test_a_handler_may_call_the_client(call: Callable[[], int]) -> None:
    assert in_child(call) > 10


def statistics_in_a_forked_child() -> int:
    """Fork while other threads are busy with the pool; how many children got no answer."""

    def work() -> None:
        while not over.is_set():
            _ = client.statistics()

    over = threading.Event()
    held = 0
    client = Client("smtp://127.0.0.1:1")
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        child = os.fork()
        if not child:
            _ = signal.alarm(2)
            _ = client.statistics()
            os._exit(0)
        held += bool(os.waitpid(child, 0)[1])
    over.set()
    return held


@unix_only
def test_statistics_in_a_forked_child() -> None:
    assert in_child(statistics_in_a_forked_child) == 0


# Sessions that nobody needs any more, and a server that does not answer QUIT.


def mute_at_quit(_: int, visitor: Visitor) -> None:
    visitor.greet()
    while line := visitor.line():
        if line == b"QUIT\r\n":
            visitor.keep()
        elif line == b"DATA\r\n":
            visitor.say(b"354 go ahead\r\n")
            while visitor.line() not in (b".\r\n", b""):
                pass
            visitor.say(b"250 taken\r\n")
        else:
            visitor.say(b"250 ok\r\n")


def with_idle_sessions(client: Client, count: int) -> None:
    """Have so many sessions that are not used."""
    barrier = threading.Barrier(count)

    def content() -> Iterator[bytes]:
        _ = barrier.wait(WATCHDOG)
        yield CONTENT

    senders = [
        threading.Thread(target=lambda: client.send(content(), ENVELOPE)) for _ in range(count)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert client.statistics().idle == count


def test_no_send_is_held_by_the_farewells_of_others() -> None:
    pool = PoolLimits(open=5, idle_time=0.2)
    timeouts = Timeouts.each(20, total=2)
    with serving(mute_at_quit) as url:
        client = Client(url, pool=pool, timeouts=timeouts)
        with_idle_sessions(client, 4)
        time.sleep(0.3)
        told, seconds = timed(lambda: client.send(*ITEM))
        client.close(abort=True)
    assert isinstance(told, SendResult)
    assert seconds < 2 + 1.5


def test_all_are_bidden_farewell_together() -> None:
    with serving(mute_at_quit) as url:
        client = Client(url, timeouts=Timeouts(quit=2))
        with_idle_sessions(client, 5)
        _, seconds = timed(client.close)
    assert seconds < 2 + 1.5


# One deadline over the whole call.

TOTAL = 4.0
LATE = 1.5
"""What the whole call may take, and what each reply takes: it opens in time, and sends too late."""


def late(_: int, visitor: Visitor) -> None:
    time.sleep(LATE)
    visitor.say(b"220 mx.test\r\n")
    assert visitor.line()
    time.sleep(LATE)
    visitor.offer(b"LIMITS RCPTDOMAINMAX=1")
    visitor.serve(pause=LATE)


def by_send(url: str, timeouts: Timeouts) -> object:
    return smtpx.send(CONTENT, url, envelope=ENVELOPE, timeouts=timeouts)


def by_client(url: str, timeouts: Timeouts) -> object:
    client = Client(url, timeouts=timeouts)
    try:
        return client.send(*ITEM)
    finally:
        client.close(abort=True)


def by_asend(url: str, timeouts: Timeouts) -> object:
    return asyncio.run(smtpx.asend(CONTENT, url, envelope=ENVELOPE, timeouts=timeouts))


def by_async_client(url: str, timeouts: Timeouts) -> object:
    async def main() -> object:
        client = AsyncClient(url, timeouts=timeouts)
        try:
            return await client.send(*ITEM)
        finally:
            await client.close(abort=True)

    return asyncio.run(main())


@pytest.mark.parametrize("call", [by_send, by_client, by_asend, by_async_client])
def test_total_is_for_the_whole_call(call: Callable[[str, Timeouts], object]) -> None:
    with serving(late) as url:
        told, seconds = timed(lambda: call(url, Timeouts.each(20, total=TOTAL)))
    assert isinstance(told, smtpx.TimedOut)
    assert seconds < TOTAL + 1.5


def test_total_is_for_all_sessions_of_a_divided_message() -> None:
    everybody = Envelope("ann@example.org", [f"r@{i}.test" for i in range(4)])

    def visited(_: int, visitor: Visitor) -> None:
        visitor.greet(b"LIMITS RCPTDOMAINMAX=1")
        visitor.serve(pause=0.4)

    def call() -> SendResult:
        with Client(url, timeouts=Timeouts.each(20, total=2.4)) as client:
            return client.send(CONTENT, everybody)

    with serving(visited) as url:
        told, seconds = timed(call)
    assert isinstance(told, SendResult)
    assert len(told.accepted) < 4
    assert seconds < 2.4 + 1.5


def test_total_is_for_the_wait_for_a_place() -> None:
    over = threading.Event()

    def content() -> Iterator[bytes]:
        yield CONTENT
        _ = over.wait(WATCHDOG)

    timeouts = Timeouts(total=2)
    with serving(good) as url, Client(url, pool=PoolLimits(open=1), timeouts=timeouts) as client:
        holder = threading.Thread(target=lambda: timed(lambda: client.send(content(), ENVELOPE)))
        holder.start()
        while not client.statistics().busy:
            time.sleep(0.01)
        # Who holds the only place waits for nothing but its own content, which has no timeout.
        watchdog = threading.Timer(6, over.set)
        watchdog.start()
        told, seconds = timed(lambda: client.send(*ITEM))
        over.set()
        holder.join()
        watchdog.cancel()
    assert isinstance(told, smtpx.TimedOut)
    assert seconds < 2 + 1.5


def hanging_resolver() -> float:
    """Send by `asyncio.run`, to a name that nobody resolves; how long all of it takes."""
    found = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        if host == "mx.test" and not options.get("flags"):
            time.sleep(8)
        return found(host, *args, **options)

    socket.getaddrinfo = resolve
    began = time.monotonic()
    try:
        _ = by_asend("smtp://mx.test?tls=none", Timeouts(connect=0.5))
    except smtpx.TimedOut:
        pass
    return time.monotonic() - began


def test_asyncio_run_does_not_wait_for_a_resolver_that_hangs() -> None:
    assert in_child(hanging_resolver) < 4
