"""Code of the caller's that raises what ends a generator: what was read is told of all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any, NoReturn

import pytest

import smtpx
from smtpx import Credentials, Envelope, SendResult
from smtpx.testing import ALL_EXTENSIONS, Extension, Server

from .conftest import Face

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENDS = [StopIteration, StopAsyncIteration, GeneratorExit]
EVENTS = ["Line", "SessionBegun", "SessionOpened", "SessionClosed", "MessageBegun", "MessageEnded"]
OF_MESSAGES = ["__next__", "read", "pieces", "header"]
OF_OPTIONS = [*EVENTS, "signer", "password", "mark"]


class Ending:
    """What raises it, wherever it is asked for something."""

    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind

    def __call__(self, *_: Any) -> NoReturn:
        raise self._kind("of the caller")

    def __iter__(self) -> NoReturn:
        self()


class File(Ending):
    def read(self, *_: Any) -> NoReturn:
        self()


class Headed(EmailMessage):
    ending: Callable[[], NoReturn]

    def get_all(self, *_: Any, **options: Any) -> NoReturn:
        self.ending()

    def items(self) -> NoReturn:
        self.ending()


def given(where: str, kind: type[BaseException]) -> Any:
    """A message that raises it."""
    if where == "read":
        return File(kind), ENVELOPE
    if where == "pieces":
        return Ending(kind), ENVELOPE
    message = Headed()
    message.ending = Ending(kind)
    return message


class Messages:
    """Three of them, the second of which may raise it; or the iterator does, in place of a fourth.

    A class, for a generator has a word of its own for what it raises.
    """

    def __init__(self, where: str, kind: type[BaseException]) -> None:
        self._where = where
        self._kind = kind
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.count == 3:
            raise (self._kind if self._where == "__next__" else StopIteration)
        self.count += 1
        if self.count == 2 and self._where in OF_MESSAGES[1:]:
            return given(self._where, self._kind)
        return CONTENT, ENVELOPE


def options_of(where: str, kind: type[BaseException]) -> dict[str, Any]:
    ending = Ending(kind)
    if where in EVENTS:
        event = getattr(smtpx, where)
        return {"observer": lambda seen: ending() if isinstance(seen, event) else None}
    if where == "password":
        return {"credentials": Credentials("user", ending)}
    return {"signer": ending} if where == "signer" else {}


def told_by(error: BaseException | None) -> list[SendResult]:
    """By `send_many`, or by `send`."""
    result = getattr(error, "result", None)
    return getattr(error, "results", []) or ([] if result is None else [result])


def serve(extensions: frozenset[Extension] = ALL_EXTENSIONS) -> Server:
    return Server(extensions=extensions, users={"user": "secret"})


@pytest.mark.parametrize("extensions", [ALL_EXTENSIONS, frozenset[Extension]()])
@pytest.mark.parametrize("where", [*OF_OPTIONS, *OF_MESSAGES])
@pytest.mark.parametrize("kind", ENDS)
def test_what_was_read_is_told(
    face: Face, where: str, kind: type[BaseException], extensions: frozenset[Extension]
) -> None:
    messages, told = Messages(where, kind), list[SendResult]()
    mark = Ending(kind) if where == "mark" else None
    ended: BaseException | None = None
    with serve(extensions) as server:
        try:
            with face.client(server.url, **options_of(where, kind)) as client:
                for result in client.send_many(messages, mark=mark):
                    told.append(result)
        except (Exception, GeneratorExit) as error:
            ended = error
            told += told_by(error)
        _ = server.wait_until_idle()
        accepted = len(server.messages)
    assert len(told) == messages.count
    assert sum(bool(one.accepted) for one in told) == accepted
    assert not isinstance(ended, (StopIteration, StopAsyncIteration))


@pytest.mark.parametrize("where", [*OF_OPTIONS[:-1], *OF_MESSAGES[1:]])
@pytest.mark.parametrize("kind", ENDS)
def test_what_became_of_one_message_is_told(
    face: Face, where: str, kind: type[BaseException]
) -> None:
    told: list[SendResult] = []
    message: Any = given(where, kind) if where in OF_MESSAGES else (CONTENT, ENVELOPE)
    pair: Any = message if isinstance(message, tuple) else (message, ENVELOPE)
    with serve() as server:
        try:
            with face.client(server.url, **options_of(where, kind)) as client:
                told.append(client.send(*pair))
        except (Exception, GeneratorExit) as error:
            told += told_by(error)
        _ = server.wait_until_idle()
        accepted = len(server.messages)
    assert any(one.accepted for one in told) == bool(accepted)


@pytest.mark.parametrize("kind", ENDS[:2])
def test_the_observer_is_named(face: Face, kind: type[BaseException]) -> None:
    with (
        serve() as server,
        pytest.raises(RuntimeError, match=f"^the observer raised {kind.__name__}: of the caller$"),
        face.client(server.url, **options_of("MessageEnded", kind)) as client,
    ):
        _ = client.send(CONTENT, ENVELOPE)
