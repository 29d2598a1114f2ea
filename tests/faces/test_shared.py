"""A session is one call's at a time: another one is refused at once, and disturbs nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, LocalProtocolError, MessageBegun, Timeouts
from smtpx.testing import ALL_EXTENSIONS, Extension, Latency, Server

from .conftest import Face, together
from .test_called_off import raw

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
REFUSED = "another call is under way"

pytestmark = pytest.mark.timeout(30)


def side_by_side(face: Face, calls: list[Callable[[], Any]]) -> list[Any]:
    """What comes of calls that begin in this order, each in a thread or task."""
    came: list[Any] = []
    if face.runner is not None:

        async def noted(call: Callable[[], Any]) -> None:
            try:
                came.append(await call())
            except Exception as error:
                came.append(error)

        face.runner.run(together([partial(noted, call) for call in calls]))
        return came

    def note(call: Callable[[], Any]) -> None:
        try:
            came.append(call())
        except Exception as error:
            came.append(error)

    threads = [threading.Thread(target=note, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came


def is_refusal(one: Any) -> bool:
    return isinstance(one, LocalProtocolError) and REFUSED in str(one) and one.result is None


@pytest.mark.parametrize("extensions", [ALL_EXTENSIONS, {Extension.AUTH}], ids=len)
@pytest.mark.parametrize("second", ["send", "noop", "reset", "close"])
def test_the_second_call_is_refused_and_the_first_goes_on(
    face: Face, extensions: set[Extension], second: str
) -> None:
    with (
        Server(extensions=extensions, faults=[Latency(0.1)]) as server,
        face.session(server.url, timeouts=Timeouts.each(10)) as viewed,
    ):
        session = raw(viewed)
        arguments = (CONTENT, ENVELOPE) if second == "send" else ()
        came = side_by_side(
            face,
            [
                lambda: session.send(CONTENT, ENVELOPE),
                lambda: getattr(session, second)(*arguments),
                lambda: getattr(session, second)(*arguments),
            ],
        )
        results = [one for one in came if isinstance(one, smtpx.SendResult)]
        refused = [one for one in came if is_refusal(one)]
        if face.runner is not None:  # One thread may begin when another has ended.
            assert len(refused) == 2
            assert not any(isinstance(one, Exception) for one in came if one not in refused)
        assert all(result.complete for result in results)
        if second != "close":
            assert viewed.send(CONTENT, ENVELOPE).complete
        assert len(server.messages) == len(results) + (second != "close")


def test_it_is_opened_by_one_call(face: Face) -> None:
    with Server(faults=[Latency(0.1)]) as server:
        viewed = face.session(server.url)
        session = raw(viewed)
        came = side_by_side(face, [session.open, session.open, lambda: session.send(b"", ENVELOPE)])
        assert came.count(None) == 1
        assert all(isinstance(one, LocalProtocolError) for one in came if one is not None)
        assert viewed.send(CONTENT, ENVELOPE).complete
        viewed.close()


class Within:
    """The caller's code, which makes another call in the middle of one."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.refused = 0

    def again(self) -> None:
        with pytest.raises(LocalProtocolError, match=REFUSED):
            self.call()
        self.refused += 1

    def observe(self, event: smtpx.Event) -> None:
        if isinstance(event, MessageBegun):
            self.again()

    def content(self) -> Iterator[bytes]:
        yield b"Subject: hi\r\n\r\n"
        self.again()
        yield b"hello\r\n"


def called(session: Any, name: str) -> Any:
    """Call it; what an asynchronous call raises, it raises at its first step."""
    arguments = (CONTENT, ENVELOPE) if name == "send" else ()
    value = getattr(session, name)(*arguments)
    return value.send(None) if hasattr(value, "send") else value


@pytest.mark.parametrize("name", ["send", "noop", "close", "open"])
def test_the_callers_own_code_within_a_call_is_refused(face: Face, name: str) -> None:
    within = Within(lambda: called(session, name))
    with Server() as server, face.session(server.url, observer=within.observe) as viewed:
        session = raw(viewed)
        if name == "open":
            with pytest.raises(LocalProtocolError, match="opened once"):
                viewed.open()
            return
        assert viewed.send(within.content(), ENVELOPE).complete
        assert within.refused == 2
        assert viewed.send(CONTENT, ENVELOPE).complete
        assert len(server.messages) == 2


def test_a_refusal_that_the_content_lets_through_ends_the_call(face: Face) -> None:
    """It is an error of the caller's content, and half of that is nobody's message."""
    with Server() as server, face.session(server.url) as viewed:
        session = raw(viewed)

        def content() -> Iterator[bytes]:
            yield b"Subject: hi\r\n\r\n"
            called(session, "noop")
            yield b"hello\r\n"

        with pytest.raises(LocalProtocolError, match=REFUSED):
            viewed.send(content(), ENVELOPE)
        assert not server.messages
        assert not viewed.is_open
