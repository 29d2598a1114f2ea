"""What is asked about the content of mail that was accepted, and that nobody has read yet."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from smtpx.inbox import app

from .conftest import Taken, message

OLD = b"From: Ann <ann@example.org>\r\nSubject: old\r\n\r\nyore\r\n"
MIXED = (
    b"From: Kim <kim@example.com>\r\nSubject: keepme\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>treasure\r\n"
    b"--b\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nx\r\n--b--\r\n"
)


@pytest.fixture
def released(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """One message that was read, and one that is not read before this is set."""
    event, begun, describe = threading.Event(), threading.Event(), taken.inbox._describe

    def late(number: int) -> None:
        if number > 1:
            begun.set()
            _ = event.wait(30)
        describe(number)

    assert taken.take(OLD) == 1
    monkeypatch.setattr(taken.inbox, "_describe", late)
    assert taken.inbox.take(message(MIXED)) is None
    assert begun.wait(30)
    yield event
    event.set()


def client(taken: Taken) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app(taken.inbox))
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost:8025")


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("DELETE", "?query=-subject:keepme", {"removed": 1}),
        ("GET", "?query=subject:keepme", {"total": 1}),
        ("GET", "?query=-subject:keepme", {"total": 1}),
        ("GET", "/2", {"attachments": 1}),
    ],
)
def test_it_is_read_before_it_is_asked_about(
    method: str, path: str, says: dict[str, Any], taken: Taken, released: threading.Event
) -> None:
    timer = threading.Timer(0.1, released.set)
    timer.start()
    answer = taken.client.request(method, f"/api/messages{path}").json()
    timer.join()
    assert answer.items() >= says.items()


def test_a_list_has_what_was_read(taken: Taken, released: threading.Event) -> None:
    timer = threading.Timer(0.1, released.set)
    timer.start()
    row = taken.get("/api/messages").json()["messages"][0]
    timer.join()
    assert (row["subject"], row["attachments"]) == ("keepme", 1)


def test_a_program_that_removes_waits_as_well(taken: Taken, released: threading.Event) -> None:
    timer = threading.Timer(0.1, released.set)
    timer.start()
    assert taken.inbox.remove("subject:keepme") == 1
    timer.join()


NOT = ["-subject:keepme", "-from:kim", "-treasure", "-tr", "-has:attachment", "-has:html"]


@pytest.mark.parametrize("query", [*NOT, "-has:breach", "to:bob -treasure"])
@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.usefixtures("released")
def test_what_is_not_known_of_it_deletes_nothing(
    query: str, indexed: bool, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpx.inbox._keeping._PATIENCE", 0.01)
    taken.inbox.store.is_indexed = indexed
    assert taken.client.delete(f"/api/messages?query={query}").json() == {"removed": 1}
    # Its envelope is known.
    assert taken.client.delete("/api/messages?query=to:bob").json() == {"removed": 1}


@pytest.mark.parametrize("query", NOT)
def test_what_could_not_be_read_is_not_known_either(
    query: str, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(taken.inbox, "_describe", fails)
    assert taken.inbox.take(message(MIXED)) is None
    assert taken.client.get("/api/messages/wait?timeout=20").status_code == 200
    assert taken.client.delete(f"/api/messages?query={query}").json() == {"removed": 0}


@pytest.mark.parametrize("indexed", [True, False])
def test_a_word_beyond_what_is_looked_up_is_not_known(indexed: bool, taken: Taken) -> None:
    long = (
        b"From: Kim <kim@example.com>\r\nSubject: long\r\n\r\n"
        + b"word \r\n" * 3000
        + b"treasure\r\n"
    )
    assert taken.take(OLD) == 1
    assert taken.take(long) == 2
    taken.inbox.store.is_indexed = indexed
    for query in ("-treasure", "-tr", "-yore", "word -treasure", "word -tr", "subject:long -zz"):
        found = taken.get("/api/messages", query=query).json()["messages"]
        assert not [each["id"] for each in found if each["id"] == 2], query
    # What is known of it is.
    assert taken.get("/api/messages", query="-subject:keepme").json()["total"] == 2
    assert taken.get("/api/messages", query="word -has:attachment").json()["total"] == 1


@pytest.mark.parametrize("query", ["-treasure", "-tr", "-has:attachment", "-has:html"])
def test_what_is_too_much_to_be_read_is_not_known(query: str, taken: Taken) -> None:
    field = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n"
    nested = b"".join(field % each + b"--b%d\r\n" % each for each in range(1000))
    assert taken.take(b"From: Kim <kim@example.com>\r\nSubject: deep\r\n" + nested) == 1
    assert taken.get("/api/messages/1").json()["problem"]
    assert taken.client.delete(f"/api/messages?query={query}").json() == {"removed": 0}


def test_who_waits_for_it_holds_up_nobody(taken: Taken, released: threading.Event) -> None:
    asyncio.run(_more_wait_than_there_are_threads_for_answers(taken, released))


async def _more_wait_than_there_are_threads_for_answers(
    taken: Taken, released: threading.Event
) -> None:
    async with client(taken) as ours:
        lists = [asyncio.create_task(ours.get("/api/messages")) for _ in range(50)]
        while taken.inbox._to_read.qsize() < len(lists):
            await asyncio.sleep(0)
        assert (await ours.get("/api/messages/1/text")).text.strip() == "yore"
        assert not any(each.done() for each in lists)
        released.set()
        assert {(await each).json()["total"] for each in lists} == {2}


def test_what_comes_while_it_is_read_is_not_deleted(
    taken: Taken, released: threading.Event
) -> None:
    asyncio.run(_mail_comes_while_it_is_read(taken, released))
    assert taken.inbox.store.count("") == 1


async def _mail_comes_while_it_is_read(taken: Taken, released: threading.Event) -> None:
    async with client(taken) as ours:
        asked = asyncio.create_task(ours.delete("/api/messages?query=to:bob"))
        while taken.inbox._to_read.empty():
            await asyncio.sleep(0)
        assert taken.inbox.take(message(OLD)) is None
        released.set()
        assert (await asked).json() == {"removed": 2}
