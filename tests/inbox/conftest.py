"""An inbox, its API without a socket, and a real server that fills it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

import smtpx
from smtpx.inbox import Inbox
from smtpx.testing import Mailbox, ReceivedMessage, Server, Via

if find_spec("starlette") is None:  # pragma: no cover
    collect_ignore_glob = ["test_*.py"]


def message(content: bytes, *to: str, sender: str = "ann@example.org") -> ReceivedMessage:
    return ReceivedMessage(
        sender=sender,
        recipients=to or ("bob@example.net",),
        content=content,
        mail_parameters={},
        recipient_parameters=tuple({} for _ in to or ("",)),
        tls=False,
        user=None,
        smtputf8=False,
        helo="localhost",
        via=Via.DATA,
        session=1,
        queue_id="059E3779B1",
    )


class Taken:
    """An inbox that is read at once, so that tests need not wait for its thread."""

    def __init__(self, inbox: Inbox) -> None:
        from starlette.testclient import TestClient

        from smtpx.inbox import app

        self.inbox = inbox
        self.client = TestClient(app(inbox), base_url="http://localhost:8025")

    def take(self, content: bytes, *to: str) -> int:
        assert self.inbox.take(message(content, *to)) is None
        number = self.inbox.store.newest
        self.inbox._describe(number)
        return number

    def get(self, path: str, status: int = 200, **params: Any):
        answer = self.client.get(path, params=params)
        assert answer.status_code == status, answer.text
        return answer


@pytest.fixture
def taken() -> Iterator[Taken]:
    with Inbox() as inbox:
        yield Taken(inbox)


@pytest.fixture
def caught(taken: Taken) -> Iterator[Server]:
    """A server whose mail goes into the inbox."""
    with Server(refuse_content=taken.inbox.take, mailbox=Mailbox(keep=0)) as server:
        taken.inbox.watch(server)
        yield server


def send(server: Server, **parts: object) -> smtpx.SendResult:
    arguments = {"sender": "Ann <ann@example.org>", "to": "bob@example.net", "text": "hi", **parts}
    return smtpx.send(smtpx.compose(**arguments), server.url)  # type: ignore[arg-type] # as given
