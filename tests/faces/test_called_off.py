"""A client that is closed at once, from elsewhere: whatever its calls wait for, they end."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

import smtpx
from smtpx import Endpoint, Envelope, PoolLimits, Status, Timeouts, TLSMode

from .conftest import Face, together

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
PATIENT = Timeouts.each(50)
# Seconds in which something happens, or the test fails.
IN_TIME = 20.0

pytestmark = pytest.mark.timeout(60)


class Mute:
    """A server that gives these replies, and is silent then, for ever."""

    def __init__(self, *replies: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._replies = replies
        self._connected: list[socket.socket] = []
        self.is_silent = threading.Event()
        self.was_left = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        with suppress(OSError):
            connected, _ = self._listener.accept()
            self._connected.append(connected)
            with connected, connected.makefile("rb") as said:
                for place, reply in enumerate(self._replies):
                    if place:
                        _ = said.readline()
                    connected.sendall(f"{reply}\r\n".encode())
                if self._replies:
                    _ = said.read(1)
                self.is_silent.set()
                while said.read(1):
                    pass
        self.was_left.set()

    def __enter__(self) -> Mute:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (*self._connected, self._listener):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(IN_TIME)


async def pause() -> None:
    await (trio.sleep(0.005) if trio.lowlevel.in_trio_task() else asyncio.sleep(0.005))


class Came:
    """What came of a call."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.error: Any = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        self.error = error
        if isinstance(error, smtpx.SMTPError) and error.result is not None:
            self.results.append(error.result)
        return isinstance(error, Exception)


class Calls:
    """Calls that wait, each in a thread or task, and what came of each."""

    def __init__(self, face: Face, *calls: Callable[[], Any]) -> None:
        self._face = face
        self._calls = calls
        self.came: list[Came] = []

    def end_by(self, is_waiting: Callable[[], Any], close: Callable[[], Any]) -> None:
        until = time.monotonic() + IN_TIME
        if self._face.runner is not None:

            async def closing() -> None:
                while not is_waiting():
                    assert time.monotonic() < until
                    await pause()
                await close()

            calls = [lambda call=call: self._in_task(call) for call in self._calls]
            self._face.runner.run(together([*calls, closing]))
        else:
            threads = [
                threading.Thread(target=self._in_thread, args=(call,), daemon=True)
                for call in self._calls
            ]
            for thread in threads:
                thread.start()
            while not is_waiting():
                assert time.monotonic() < until
                time.sleep(0.005)
            close()
            for thread in threads:
                thread.join(IN_TIME)
        assert len(self.came) == len(self._calls)

    def _in_thread(self, call: Callable[[], Any]) -> None:
        came = Came()
        with came:
            called = call()
            for result in called if isinstance(called, Iterator) else [called]:
                came.results.append(result)
        self.came.append(came)

    async def _in_task(self, call: Callable[[], Any]) -> None:
        came = Came()
        with came:
            called = call()
            if hasattr(called, "__aiter__"):
                async for result in called:
                    came.results.append(result)
            else:
                came.results.append(await called)
        self.came.append(came)


def raw(viewed: Any) -> Any:
    """The object behind a view."""
    return getattr(viewed, "target", viewed)


def looks_up_for_ever(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve, is_over = socket.getaddrinfo, threading.Event()

    def found(host: Any, *args: Any, **options: Any) -> Any:
        if host != "mx.test":
            return resolve(host, *args, **options)
        if not options.get("flags"):
            _ = is_over.wait(IN_TIME)
        raise socket.gaierror(socket.EAI_NONAME, "no address")

    monkeypatch.setattr(socket, "getaddrinfo", found)
    _ = stack.callback(is_over.set)


def full(stack: ExitStack, listener: socket.socket, address: Any) -> None:
    """Fill the queue of a listener: whoever connects now waits."""
    for _ in range(4):
        waiting = stack.enter_context(socket.socket(listener.family, socket.SOCK_STREAM))
        waiting.setblocking(False)
        with suppress(BlockingIOError):
            waiting.connect(address)


PHASES = {
    "greeting": (),
    "hello": ("220 mx.test",),
    "starttls": ("220 mx.test", "250-mx.test\r\n250 STARTTLS", "220 go"),
    "sender": ("220 mx.test", "250 mx.test"),
    "end of data": ("220 mx.test", "250 mx.test", "250 ok", "250 ok", "354 go"),
}


@contextmanager
def held_up(
    phase: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[Any, dict[str, Any], Callable[[], bool], Mute | None]]:
    """Where a call is held up: the endpoint, the options, if it is so by now, and the server."""
    begun = threading.Event()
    options: dict[str, Any] = {"timeouts": PATIENT}
    telling = {**options, "observer": lambda _: begun.set()}
    with ExitStack() as stack:
        if phase == "look-up":
            looks_up_for_ever(stack, monkeypatch)
            yield "smtp://mx.test:25?tls=none", telling, begun.is_set, None
        elif phase == "unix":
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(str(tmp_path / "s"))
            listener.listen(0)
            full(stack, listener, str(tmp_path / "s"))
            endpoint = Endpoint("", 0, TLSMode.NONE, path=str(tmp_path / "s"))
            yield endpoint, telling, begun.is_set, None
        elif phase == "connect":
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            address = listener.getsockname()
            full(stack, listener, address)
            yield f"smtp://127.0.0.1:{address[1]}?tls=none", telling, begun.is_set, None
        else:
            mute = stack.enter_context(Mute(*PHASES.get(phase, ())))
            tls = "starttls" if phase == "starttls" else "none"
            url = f"smtp://127.0.0.1:{mute.port}?tls={tls}"
            if phase == "proxy":
                url, options["proxy"] = (
                    "smtp://mx.test:25?tls=none",
                    f"http://127.0.0.1:{mute.port}",
                )
            if phase == "tls":
                url = f"smtps://127.0.0.1:{mute.port}"
            yield url, options, mute.is_silent.is_set, mute


ALL_PHASES = [*PHASES, "tls", "proxy", "look-up"]
if sys.platform == "linux":  # Elsewhere no queue is as short.
    ALL_PHASES += ["unix", "connect"]


@pytest.mark.parametrize("call", ["send", "send_many"])
@pytest.mark.parametrize("phase", ALL_PHASES)
def test_a_call_ends_when_the_client_is_closed_at_once(
    face: Face, phase: str, call: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with held_up(phase, monkeypatch, tmp_path) as (endpoint, options, is_waiting, mute):
        client = raw(face.client(endpoint, **options))
        if call == "send":
            calls = Calls(face, lambda: client.send(CONTENT, ENVELOPE))
        else:
            calls = Calls(face, lambda: client.send_many([(CONTENT, ENVELOPE)] * 2))
        calls.end_by(is_waiting, lambda: client.close(abort=True))
        if mute is not None:
            assert mute.was_left.wait(IN_TIME)
    (came,) = calls.came
    statuses = {id(one): one.outcomes[0].status for one in came.results}
    in_doubt = [Status.IN_DOUBT] if phase == "end of data" else []
    count = 2 if call == "send_many" else len(statuses)
    assert [*statuses.values()] == (in_doubt + [Status.NOT_TRIED] * 2)[:count]
    said = str(came.error or came.results[0].error)
    assert "closed on our side" in said or "the client is closed" in said
    assert came.error is None or isinstance(came.error, smtpx.SMTPError)


def test_who_waits_for_a_place_ends_with_who_has_it(face: Face) -> None:
    with Mute() as mute:
        client = raw(
            face.client(
                f"smtp://127.0.0.1:{mute.port}?tls=none",
                timeouts=PATIENT,
                pool=PoolLimits(open=1, wait=50),
            )
        )
        calls = Calls(face, *[lambda: client.send(CONTENT, ENVELOPE)] * 2)
        calls.end_by(
            lambda: mute.is_silent.is_set() and client.statistics().waiting,
            lambda: client.close(abort=True),
        )
    assert sorted(type(came.error).__name__ for came in calls.came) == [
        "ConnectionLost",
        "LocalProtocolError",
    ]


@pytest.mark.parametrize("phase", ALL_PHASES)
def test_a_session_is_aborted_from_elsewhere(
    face: Face, phase: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with held_up(phase, monkeypatch, tmp_path) as (endpoint, options, is_waiting, mute):
        session = raw(face.session(endpoint, **options))

        def send() -> Any:
            session.open()
            return session.send(CONTENT, ENVELOPE)

        async def asend() -> Any:
            await session.open()
            return await session.send(CONTENT, ENVELOPE)

        async def abort() -> None:
            session.abort()

        is_blocking = face.runner is None
        calls = Calls(face, send if is_blocking else asend)
        calls.end_by(is_waiting, session.abort if is_blocking else abort)
        if mute is not None:
            assert mute.was_left.wait(IN_TIME)
        assert not session.is_open
    (came,) = calls.came
    assert isinstance(came.error, smtpx.ConnectionLost)
    assert "closed on our side" in str(came.error)
