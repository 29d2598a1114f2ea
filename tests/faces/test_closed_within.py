"""What is closed at once by the caller's own code, inside a call: an observer, an iterable."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

import smtpx
from smtpx import ConnectionLost, Credentials, Envelope, TLSMode, TLSPolicy
from smtpx.testing import Extension, Server, ServerTLS

from .conftest import Face
from .test_called_off import raw

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
LINE = b"z" * 70 + b"\r\n"
OURS = "closed on our side"


def closed_at_once(opened: Any) -> None:
    if hasattr(opened, "abort"):
        opened.abort()
        return
    closing = opened.close(abort=True)
    if isinstance(closing, Coroutine):
        with suppress(StopIteration):
            closing.send(None)  # What it waits for afterwards is the loop's to do.
        closing.close()


class Closing:
    """Closes what it is given at one point of its calls, once."""

    def __init__(self, point: str) -> None:
        self.point = point
        self.opened: Any = None

    def reach(self, point: str) -> None:
        if point == self.point and self.opened is not None:
            opened, self.opened = self.opened, None
            closed_at_once(opened)

    def observe(self, event: smtpx.Event) -> None:
        self.reach(event.text[:3] if isinstance(event, smtpx.Line) else type(event).__name__)

    def content(self) -> Iterator[bytes]:
        yield b"Subject: hi\r\n\r\n"
        self.reach("content")
        for _ in range(20):
            yield LINE * 1000

    def password(self) -> str:
        self.reach("password")
        return "secret"


POINTS = ["220", "Protected", "password", "MessageBegun", "MAI", "354", "content"]


@pytest.mark.parametrize("is_protected", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("extensions", [{Extension.PIPELINING, Extension.CHUNKING}, set()], ids=len)
@pytest.mark.parametrize("kind", ["session", "client"])
@pytest.mark.parametrize("point", POINTS)
def test_it_is_a_lost_connection_which_we_have_closed(
    face: Face, point: str, kind: str, extensions: set[Extension], is_protected: bool
) -> None:
    if (point == "Protected" and not is_protected) or (point == "354" and extensions):
        pytest.skip("there is no such point")
    closing = Closing(point)
    with Server(
        extensions={*extensions, Extension.AUTH},
        users={"ann": "secret"},
        tls=ServerTLS.IMPLICIT if is_protected else ServerTLS.NONE,
    ) as server:
        options: dict[str, Any] = {
            "observer": closing.observe,
            "credentials": Credentials("ann", password=closing.password),
            "tls": TLSPolicy(TLSMode.IMPLICIT, ca_file=server.ca_file) if is_protected else None,
        }
        viewed = getattr(face, kind)(server.url, **options)
        closing.opened = raw(viewed)
        with pytest.raises(ConnectionLost, match=OURS) as caught:
            if kind == "session":
                viewed.open()
            viewed.send(closing.content(), ENVELOPE)
        viewed.close()
        assert not server.messages
    if caught.value.result is not None:
        assert not caught.value.result.in_doubt


def test_another_one_is_to_be_had_afterwards(face: Face) -> None:
    closing = Closing("content")
    with Server() as server:
        session = face.session(server.url)
        closing.opened = raw(session)
        session.open()
        with pytest.raises(ConnectionLost, match=OURS):
            session.send(closing.content(), ENVELOPE)
        with face.session(server.url) as another:
            assert another.send(b"Subject: hi\r\n\r\n", ENVELOPE).complete
