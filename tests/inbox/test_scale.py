"""What a page of the list costs does not grow with what is kept (U16)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smtpx.inbox import Inbox
from smtpx.inbox._reading import read

from .conftest import Taken, message

FEW, MANY = 120, 1200


def filled(count: int, store: Path | None = None) -> Inbox:
    inbox = Inbox(keep=MANY, store=store)
    for n in range(count):
        content = (
            f"From: ann@example.org\r\nTo: bob@example.net\r\nSubject: number {n}\r\n\r\n"
            f"alpha no{n}\r\n"
        ).encode()
        number = inbox.store.add(message(content))
        inbox.store.describe(number, read(content), 0, 0)
    return inbox


@pytest.fixture(scope="module")
def inboxes() -> Iterator[tuple[Inbox, Inbox]]:
    with filled(FEW) as few, filled(MANY) as many:
        yield few, many


def steps(inbox: Inbox, act: Callable[[], object]) -> int:
    """How many steps of SQLite's machine it takes, in tens."""
    counted: list[None] = []
    connection = inbox.store._reader.connection()
    connection.set_progress_handler(lambda: counted.append(None), 10)
    try:
        _ = act()
    finally:
        connection.set_progress_handler(None, 0)
    return len(counted)


@pytest.mark.parametrize(
    "query", ["", "alpha", "alpha number", "no is:unread", "is:unread", "to:bob", "subject:number"]
)
@pytest.mark.parametrize("before", [None, 100])
def test_u16_a_page_takes_no_longer_however_many_there_are(
    query: str,
    before: int | None,
    inboxes: tuple[Inbox, Inbox],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smtpx.inbox._store._COUNTED", 20)
    few, many = (
        steps(inbox, lambda: inbox.store.page(query, before=before, limit=20))  # noqa: B023
        for inbox in inboxes
    )
    assert many <= 1.2 * few + 5


def test_matches_are_counted_as_far_as_1000(inboxes: tuple[Inbox, Inbox]) -> None:
    few, many = inboxes
    assert few.store.page("alpha", limit=20).total == FEW
    assert many.store.page("alpha", limit=20).total == 1000
    assert many.store.page("", limit=20).total == MANY
    # One that is found on one page needs no second look.
    assert many.store.page("no77", limit=20).total == 11


@pytest.mark.parametrize("query", ["-alpha", "alpha -alpha", "-alpha -number", "zz", "-alpha zz"])
def test_what_must_not_be(query: str, inboxes: tuple[Inbox, Inbox]) -> None:
    assert inboxes[0].store.page(query, limit=20).total == 0


@pytest.mark.parametrize("query", ["-no7", "alpha -no7", "-no7 lp", "a -no7"])
def test_what_must_not_be_beside_others(query: str, inboxes: tuple[Inbox, Inbox]) -> None:
    assert inboxes[0].store.count(query) == FEW - 11


def test_a_row_is_small_whatever_the_text(inboxes: tuple[Inbox, Inbox]) -> None:
    """Who looks through rows does not read what is written in the messages."""
    columns = (
        inboxes[0]
        .store._writer.connection()
        .execute("SELECT name FROM pragma_table_info('messages')")
    )
    assert not {"body", "content"} & {name for (name,) in columns}


@pytest.mark.parametrize("query", ["number", ""])
def test_who_brings_mail_does_not_wait_for_a_large_deletion(
    query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpx.inbox._store._DOOMED", 10)
    with filled(25, tmp_path / "mail.db") as inbox:
        said: list[str] = []
        inbox.store._writer.connection().set_trace_callback(said.append)
        assert inbox.remove(query) == 25
        assert said.count("COMMIT") == (3 if query else 1)
        assert inbox.store.count("") == 0
        deleted = [line for line in said if line.startswith("DELETE FROM texts")]
        assert len(deleted) == (25 if query else 0)
        # It goes on, and numbers are not given again.
        assert Taken(inbox).take(b"Subject: another\r\n\r\nx\r\n") == 26
        assert inbox.store.count("another") == 1


def test_a_recipient_is_found_as_it_is_written(taken: Taken) -> None:
    number = taken.take(b"From: ann@example.org\r\n\r\nx\r\n", "grüße@bücher.example")
    for query in ("to:grüße", "to:bücher", "grüße@"):
        (row,) = taken.get("/api/messages", query=query).json()["messages"]
        assert row["id"] == number
