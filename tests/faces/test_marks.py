"""The mark of `send_many`: nothing of a message's end leaves before it, whatever the way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, MarkRefused, SendResult, Status
from smtpx.testing import USUAL_EXTENSIONS, Close, Extension, Server
from tests.faces.conftest import Face
from tests.faces.test_send_many import WAYS, check, numbered

pytestmark = pytest.mark.timeout(60)

WINDOW = 4


class Marks:
    """A mark that keeps what it was asked, and what had been taken by then."""

    def __init__(self, server: Server, refused: Sequence[bytes] = ()) -> None:
        self._server = server
        self._refused = refused
        self.marked: list[bytes] = []
        self.told: set[int] = set()
        self.most = 0

    def __call__(self, messages: Sequence[Any], results: Sequence[SendResult]) -> list[bool]:
        taken = {message.content for message in self._server.messages}
        assert not taken & set(messages), "taken before it was marked"
        assert not any(refused in taken for refused in self._refused)
        self.marked += messages
        self.told |= {id(result.message) for result in results}
        self.most = max(self.most, len(self.marked) - len(self.told))
        return [message not in self._refused for message in messages]


def send_all(face: Face, server: Server, messages: Any, mark: Any, **options: Any) -> Any:
    results = []
    with face.client(server.url, **options) as client:
        for result in client.send_many(messages, window=WINDOW, mark=mark):
            mark.told.add(id(result.message))
            results.append(result)
    return results


@pytest.mark.parametrize("way", WAYS)
def test_each_message_is_marked_before_it_can_be_taken(face: Face, way: str) -> None:
    with Server(extensions=WAYS[way]) as server:
        messages = numbered(40, recipients=2)
        marks = Marks(server)
        results = send_all(face, server, messages, marks)
        check(server, messages, results)
        assert all(result.complete for result in results)
        assert marks.marked == [content for content, _ in messages]
        assert marks.most <= WINDOW + 1, "more may be in doubt than the window has"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [0, 1, 7, 19])
def test_what_the_mark_forbids_is_not_sent_and_all_else_is(
    face: Face, way: str, place: int
) -> None:
    with Server(extensions=WAYS[way]) as server:
        messages = numbered(20)
        forbidden = messages[place][0]
        results = send_all(face, server, messages, Marks(server, [forbidden]))
        check(server, messages, results)
        assert forbidden not in {message.content for message in server.messages}
        (result,) = [result for result in results if not result.complete]
        assert result.message == forbidden
        assert isinstance(result.error, MarkRefused)
        assert [outcome.status for outcome in result.outcomes] == [Status.NOT_TRIED]


@pytest.mark.parametrize("way", WAYS)
def test_a_mark_that_forbids_everything_ends_the_call_in_peace(face: Face, way: str) -> None:
    with Server(extensions=WAYS[way]) as server:
        messages = numbered(20)
        results = send_all(face, server, messages, Marks(server, [c for c, _ in messages]))
        assert [type(result.error) for result in results] == [MarkRefused] * 20
        assert server.messages == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [300, 200_000])
def test_large_messages_are_marked_too(face: Face, way: str, size: int) -> None:
    with Server(extensions=WAYS[way]) as server:
        messages = [
            (b"Subject: %d\r\n\r\n" % n + b"0123456789\r\n" * (size // 12), envelope)
            for n, (_, envelope) in enumerate(numbered(3))
        ]
        marks = Marks(server, [messages[1][0]])
        results = send_all(face, server, messages, marks)
        check(server, messages, results)
        assert set(marks.marked) == {content for content, _ in messages}
        assert len(server.messages) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_mark_that_fails_ends_the_call_before_anything_was_sent(face: Face, way: str) -> None:
    class Full(Exception):
        pass

    def fail(messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
        raise Full

    with Server(extensions=WAYS[way]) as server, face.client(server.url) as client:
        with pytest.raises(Full):
            list(client.send_many(numbered(3), mark=fail))
        assert server.messages == []
        assert next(client.send_many(numbered(1))).complete  # the client goes on


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "wrong",
    [
        smtpx.LocalProtocolError("no"),
        smtpx.ConnectionLost("no", phase="mail"),
        smtpx.RemoteProtocolError("no"),
        OSError("no"),
        StopIteration("no"),
        ZeroDivisionError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_mark_raises_is_not_taken_for_the_servers(
    face: Face, way: str, wrong: Exception
) -> None:
    """The session, which may be in the middle of a content, is not used again."""
    asked: list[object] = []

    def fail(messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
        asked.extend(messages)
        if len(asked) > 2:
            raise wrong
        return [True] * len(messages)

    with Server(extensions=WAYS[way]) as server, face.client(server.url) as client:
        with pytest.raises((type(wrong), RuntimeError), match="no"):
            list(client.send_many(numbered(6), window=1, mark=fail))
        assert len(server.messages) == 2
        assert next(client.send_many(numbered(1))).complete
        assert len(server.messages) == 3
        assert server.breaches == []


def test_a_wrong_answer_of_the_mark_is_named(face: Face) -> None:
    with Server() as server, face.client(server.url) as client:
        for wrong in (None, True, [True, True], [1], ["no"]):
            with pytest.raises(TypeError, match="mark: return a list of 1 booleans"):
                list(client.send_many(numbered(1), mark=lambda *_: wrong))  # noqa: B023
        with pytest.raises(TypeError, match="mark: give a function"):
            client.send_many(numbered(1), mark=7)
        assert server.messages == []


def test_the_connection_keeps_no_mark(face: Face) -> None:
    extensions = USUAL_EXTENSIONS - {Extension.PIPELINING, Extension.CHUNKING}
    with Server(extensions=extensions) as server, face.client(server.url) as client:
        asked: list[object] = []

        def mark(messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
            asked.extend(messages)
            return [True] * len(messages)

        list(client.send_many(numbered(1), mark=mark))
        content, envelope = numbered(1)[0]
        client.send(content, envelope)
        assert len(asked) == 1
        assert len(server.messages) == 2


def test_a_message_that_goes_by_another_connection_is_marked_again(face: Face) -> None:
    with Server(extensions=WAYS["DATA"]) as server:
        server.add_fault(Close("DATA", nth=2, session=1))
        messages = numbered(5)
        marks = Marks(server)
        results = send_all(face, server, messages, marks)
        check(server, messages, results)
        assert set(marks.marked) == {content for content, _ in messages}


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_a_mark_may_be_awaited(world: str, request: pytest.FixtureRequest) -> None:
    from tests.faces.conftest import runner_of

    runner = runner_of(world)
    assert runner is not None
    with Server() as server:
        asked: list[object] = []

        async def mark(messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
            asked.extend(messages)
            return [True] * len(messages)

        async def main() -> int:
            async with smtpx.AsyncClient(server.url) as client:
                return len(
                    [r async for r in client.send_many(numbered(9), mark=mark) if r.complete]
                )

        try:
            assert runner.run(main) == 9
        finally:
            runner.close()
        assert len(asked) == 9


def test_a_blocking_client_says_that_it_cannot_await(face: Face) -> None:
    async def mark(messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
        return [True] * len(messages)

    with Server() as server, smtpx.Client(server.url) as client:
        with pytest.raises(smtpx.LocalProtocolError, match="the mark is asynchronous"):
            list(client.send_many([(b"x\r\n", Envelope("a@x.test", ["b@y.test"]))], mark=mark))
        assert server.messages == []


class Hasty:
    """Says yes to a content while the client still asks its mark, and no to the end of it."""

    def __init__(self, *extensions: str) -> None:
        self._extensions = extensions
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._asked, self.has_said = threading.Event(), threading.Event()
        self.url = f"smtp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Hasty:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)

    def mark(self, messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
        self._asked.set()
        assert self.has_said.wait(10)
        return [True] * len(messages)

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        self._listening.close()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # It is there when said.
        with suppress(ConnectionError), connection, connection.makefile("rb") as lines:
            connection.sendall(b"220 hasty.test\r\n")
            while line := lines.readline():
                verb = line.split(b" ")[0].strip().upper()
                if verb == b"EHLO":
                    offers = "".join(f"250-{each}\r\n" for each in self._extensions)
                    connection.sendall(f"250-hasty.test\r\n{offers}250 HELP\r\n".encode())
                elif verb == b"DATA":
                    connection.sendall(b"354 go ahead\r\n")
                elif verb in (b"MAIL", b"RCPT", b"RSET"):
                    connection.sendall(b"250 ok\r\n")
                if verb == (b"EHLO" if "CHUNKING" in self._extensions else b"DATA"):
                    assert self._asked.wait(10)
                    connection.sendall(b"250 hasty\r\n")
                    self.has_said.set()
                elif verb == b"QUIT":  # It takes its time over the content.
                    connection.sendall(b"554 no\r\n")


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")], ids=str)
def test_what_comes_while_the_mark_is_asked_is_no_reply_to_the_content(
    extensions: tuple[str, ...],
) -> None:
    item = (b"Subject: hi\r\n\r\nhello\r\n", Envelope("a@x.test", ["b@y.test"]))
    results: list[SendResult] = []
    with (
        Hasty(*extensions) as server,
        smtpx.Client(server.url, timeouts=smtpx.Timeouts.each(3)) as client,
        suppress(smtpx.SMTPError),
    ):
        results += client.send_many([item], mark=server.mark)
    assert server.has_said.is_set()
    assert not any(result.accepted for result in results)
