"""Wherever a list is taken, what is one thing is refused, though Python would iterate over it."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import smtpx
from smtpx.delivery import AddressPolicy
from smtpx.inbox import Inbox

ONE = {
    "bytes": lambda: b"bob@y.test",
    "bytearray": lambda: bytearray(b"bob@y.test"),
    "memoryview": lambda: memoryview(b"bob@y.test"),
    "Path": lambda: Path("bob@y.test"),
    "StringIO": lambda: io.StringIO("bob@y.test"),
    "BytesIO": lambda: io.BytesIO(b"bob@y.test"),
    "a reader of text": lambda: codecs.getreader("utf-8")(io.BytesIO(b"bob@y.test")),
    "a message": EmailMessage,
    "an int": lambda: 3,
}


def composed(argument: str) -> Callable[[Any], object]:
    def call(given: Any) -> object:
        options: dict[str, Any] = {"sender": "ann@x.test", "to": "bob@y.test", "text": "hi"}
        return smtpx.compose(**(options | {argument: given}))

    return call


def put_many(given: Any) -> object:
    with TemporaryDirectory() as folder, smtpx.Outbox(f"sqlite:///{folder}/mail.db") as outbox:
        return list(outbox.put_many(given))


TAKERS: dict[str, Callable[[Any], object]] = {
    **{
        name: composed(name)
        for name in ("to", "cc", "bcc", "reply_to", "references", "list_unsubscribe", "headers")
    },
    "inline": composed("inline"),
    "recipients": lambda given: smtpx.Envelope("ann@x.test", given),
    "send_many": lambda given: smtpx.Client("smtp://localhost").send_many(given),
    "put_many": put_many,
    "pins": lambda given: smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, pins=given),
    "allow": AddressPolicy,
    "release_allow": lambda given: Inbox(release_allow=given),
}


@pytest.mark.parametrize("kind", ONE)
@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_one_thing_is_no_list(taker: str, kind: str) -> None:
    with pytest.raises(TypeError):
        _ = TAKERS[taker](ONE[kind]())
