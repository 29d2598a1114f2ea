"""The inbox's JSON: what people and tests ask of it (U13 to U23)."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.inbox import Inbox, app
from smtpx.testing import Mailbox, ReceivedMessage, Server

from .conftest import Taken, message, send

PLAIN = b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: hello\r\n\r\nhi\r\n"


def wait(taken: Taken, count: int = 1, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = taken.get(
        "/api/messages/wait", count=count, timeout=20, **params
    ).json()["messages"]
    return found


def test_what_came_is_there(taken: Taken, caught: Server) -> None:
    assert send(caught, subject="Grüße", bcc="carol@example.net").complete
    (row,) = wait(taken)
    assert (row["subject"], row["from"]) == ("Grüße", "Ann <ann@example.org>")
    assert caught.messages == []  # the inbox keeps it, and nobody else


def test_u13_the_dialogue_with_times_and_breaches(taken: Taken, caught: Server) -> None:
    _ = send(caught)
    (row,) = wait(taken)
    session = taken.get(f"/api/sessions/{row['session']}").json()
    lines = session["dialogue"]
    assert lines[0]["who"] == "S"
    assert [line["ms"] for line in lines] == sorted(line["ms"] for line in lines)
    assert "C: EHLO [127.0.0.1]\n" in session["test"]


def test_u14_bcc_is_what_the_header_does_not_name(taken: Taken) -> None:
    number = taken.take(PLAIN, "Bob@example.net", "carol@example.net")
    found = taken.get(f"/api/messages/{number}").json()
    assert found["recipients"] == ["Bob@example.net", "carol@example.net"]
    assert found["bcc"] == ["carol@example.net"]


def test_u15_a_row_is_small_whatever_the_mail(taken: Taken) -> None:
    to = [f"{'x' * 60}{n}@example.net" for n in range(500)]
    mail = smtpx.compose(
        sender="Ann <ann@example.org>",
        to=to,
        subject="long " * 2000,
        text="x" * 100_000,
        attachments=[smtpx.Attachment(bytes(3_000_000), "n" * 200)],
    )
    _ = taken.take(mail.as_bytes(), *to)
    (row,) = taken.get("/api/messages").json()["messages"]
    assert len(json.dumps(row)) < 1024


def test_u16_paging(taken: Taken) -> None:
    numbers = [taken.take(PLAIN) for _ in range(7)]
    first = taken.get("/api/messages", limit=3).json()
    assert [row["id"] for row in first["messages"]] == numbers[:-4:-1]
    assert first["total"] == 7
    second = taken.get("/api/messages", limit=5, before=first["next"]).json()
    assert [row["id"] for row in second["messages"]] == numbers[3::-1]
    assert second["next"] is None


def test_u16_retention_bounds_count_and_octets() -> None:
    with Inbox(keep=3) as inbox:
        for _ in range(5):
            assert inbox.take(message(PLAIN)) is None
        assert inbox.store.count("") == 3
    with Inbox(keep_octets=10_000) as inbox:
        for _ in range(5):
            assert inbox.take(message(PLAIN + b"x" * 4000)) is None
        assert inbox.store.count("") == 2


MAILS = {
    "bob": PLAIN,
    "file": smtpx.compose(
        sender="kim@example.com",
        to="lee@example.net",
        subject="Übersicht",
        text="Umsa\u0308tze, 会議 ﾃｽﾄ",
        attachments=[smtpx.Attachment(b"x", "a.bin")],
    ).as_bytes(),
}


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["file", "bob"]),
        ("to:bob", ["bob"]),
        ("from:kim", ["file"]),
        ("subject:hello", ["bob"]),
        ('subject:"hello"', ["bob"]),
        ("has:attachment", ["file"]),
        ("-has:attachment", ["bob"]),
        ("is:unread", ["file", "bob"]),
        ("Umsätze", ["file"]),
        ("msätz", ["file"]),
        ("übersicht", ["file"]),
        ("UMSÄTZE", ["file"]),
        ("ÜB", ["file"]),
        ("üb", ["file"]),
        ("-üb", ["bob"]),
        ("会議", ["file"]),
        ("会", ["file"]),
        ("テス", ["file"]),
        ("subject:über", ["file"]),
        ("user:ö", []),
        ("hi", ["bob"]),
        ("-hello", ["file"]),
        ("to:b_b", []),
        ("%", []),
        ("to:bob from:ann", ["bob"]),
        ("' OR 1=1 --", []),
    ],
)
def test_u18_search(query: str, found: list[str], indexed: bool, taken: Taken) -> None:
    numbers = {
        taken.take(MAILS["bob"]): "bob",
        taken.take(MAILS["file"], "lee@example.net"): "file",
    }
    if not indexed:
        taken.inbox.store.is_indexed = False  # as where SQLite has no FTS5
    rows = taken.get("/api/messages", query=query).json()["messages"]
    assert [numbers[row["id"]] for row in rows] == found


@pytest.mark.parametrize(
    "query", ['"', "to:", "-to:", "subject:", '-""', "-", 'from:""', "hello -to:"]
)
def test_u18_a_term_that_is_empty_is_a_mistake(query: str, taken: Taken) -> None:
    """Passed over, it would match all, and delete all."""
    number = taken.take(PLAIN)
    assert "nothing" in taken.get("/api/messages", 400, query=query).json()["error"]
    assert taken.client.delete("/api/messages", params={"query": query}).status_code == 400
    assert taken.get(f"/api/messages/{number}")


def test_u18_to_is_what_the_header_says_too(taken: Taken) -> None:
    """A list's mail is to the list, whoever's mailbox it is for."""
    _ = taken.take(b"To: Readers <news@example.org>\r\nCc: kim@x.test\r\n\r\nhi\r\n", "bob@x.test")
    for query in ("to:bob", "to:news@example.org", "to:Readers", "to:kim"):
        assert taken.get("/api/messages", query=query).json()["total"] == 1, query
    assert taken.get("/api/messages", query="-to:readers").json()["total"] == 0


def test_why_a_message_is_not_kept_is_told(taken: Taken) -> None:
    taken.inbox.store._writer.connection().execute("PRAGMA query_only=ON")
    refused = taken.inbox.take(message(PLAIN))
    assert refused == "452 4.3.1 It cannot be kept: attempt to write a readonly database"


def test_u18_a_mistake_is_told(taken: Taken) -> None:
    assert "has:attachment" in taken.get("/api/messages", 400, query="has:wings").json()["error"]


def test_u19_wait(taken: Taken, caught: Server) -> None:
    before = taken.inbox.store.newest
    thread = threading.Timer(0.3, lambda: [send(caught, subject=f"n{n}") for n in range(3)])
    thread.start()
    rows = wait(taken, 2, query="subject:n", after=before)
    thread.join()
    assert len(rows) == 2
    assert taken.client.get("/api/messages/wait?query=subject:never&timeout=0.2").status_code == 408


def test_u19_what_is_waited_for_says_what_it_is(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large message is in the list before anybody has read it, and worth no answer yet."""
    released, describe = threading.Event(), taken.inbox._describe

    def late(number: int) -> None:
        _ = released.wait(30)
        describe(number)

    monkeypatch.setattr(taken.inbox, "_describe", late)
    assert taken.inbox.take(message(PLAIN)) is None
    assert taken.inbox.store.count("") == 1
    assert taken.client.get("/api/messages/wait?timeout=0.1").status_code == 408
    released.set()
    assert wait(taken)[0]["subject"] == "hello"


def test_what_a_killed_program_left_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mail.db"
    with Inbox(store=path) as inbox:
        monkeypatch.setattr(inbox, "_describe", lambda _: None)  # It does not come to that.
        assert inbox.take(message(PLAIN)) is None
    with Inbox(store=path) as inbox:
        assert wait(Taken(inbox))[0]["subject"] == "hello"


def test_u19_delete_by_search(taken: Taken) -> None:
    mine, other = taken.take(PLAIN), taken.take(MAILS["file"])
    assert taken.client.delete("/api/messages").status_code == 400
    assert taken.client.delete("/api/messages?query=subject:hello").json() == {"removed": 1}
    assert taken.get(f"/api/messages/{mine}", 404)
    assert taken.get(f"/api/messages/{other}")
    assert taken.client.delete(f"/api/messages/{other}").json() == {"removed": 1}
    assert taken.client.delete(f"/api/messages/{other}").status_code == 404


@pytest.mark.parametrize("query", ["", "subject:hello", "hi -subject:keep"])
def test_a_deletion_has_a_bound(query: str, taken: Taken) -> None:
    """Who was shown two messages deletes those two, whatever comes before that is asked for."""
    shown = [taken.take(PLAIN) for _ in range(2)]
    late = taken.take(PLAIN)
    for before, removed in ((0, 0), (shown[0], 0), (late, 2), (late, 0)):
        answer = taken.client.delete("/api/messages", params={"query": query, "before": before})
        assert answer.json() == {"removed": removed}, before
    assert [row["id"] for row in taken.get("/api/messages").json()["messages"]] == [late]
    assert taken.client.delete("/api/messages?query=&before=x").status_code == 400
    assert taken.inbox.store.count("") == 1


def test_what_comes_while_all_is_deleted_stays(taken: Taken) -> None:
    asked = taken.take(PLAIN)
    late = taken.take(PLAIN)
    assert taken.inbox.store.remove("", newest=asked) == 1
    assert taken.inbox.store.get(late) is not None
    assert taken.inbox.store.count("") == 1


def test_u21_faults_by_the_api(taken: Taken, caught: Server) -> None:
    text = "RCPT bob@*: 451 4.3.0 later x1"
    answer = taken.client.put("/api/faults", json={"faults": [text]})
    assert answer.json() == {"faults": [{"fault": text, "struck": 0}]}
    with pytest.raises(smtpx.RecipientsRefused):
        _ = send(caught)
    assert send(caught).complete
    assert taken.get("/api/faults").json()["faults"][0]["struck"] == 1
    assert "RCPT bob@*" in taken.client.put("/api/faults", json={"faults": ["x"]}).json()["error"]
    assert taken.get("/api/faults").json()["faults"]  # what was armed still is
    assert taken.client.delete("/api/faults").json() == {"faults": []}


def test_sessions_that_brought_no_mail(taken: Taken, caught: Server) -> None:
    with smtpx.Session(caught.url) as session:
        _ = session.noop()
    _ = caught.wait_until_idle()
    (row,) = taken.get("/api/sessions").json()["sessions"]
    assert row["quit"] is True
    assert taken.get("/api/sessions/99", 404)


def test_u22_release_goes_to_allowed_recipients_alone() -> None:
    with Server(refuse_recipients={"gone@example.net": "550 5.1.1 No"}) as real:

        async def release(content: bytes, envelope: smtpx.Envelope) -> smtpx.SendResult:
            return await smtpx.asend(content, real.url, envelope)

        with Inbox(release=release, release_allow=["*@example.net"]) as inbox:
            taken = Taken(inbox)
            number = taken.take(PLAIN, "boss@example.com")
            path = f"/api/messages/{number}/release"
            for to in (["boss@example.com"], ["bob@example.net", "x@example.com"]):
                assert taken.client.post(path, json={"to": to}).status_code == 403
            assert real.messages == []
            answer = taken.client.post(path, json={"to": ["bob@example.net", "gone@example.net"]})
            assert [each["status"] for each in answer.json()["outcomes"]] == ["accepted", "refused"]
            (received,) = real.messages
            assert received.recipients == ("bob@example.net",)  # never the original recipient
            assert received.content == PLAIN
            wrong: list[Any] = [{"to": []}, {"to": "x"}, [], "x"]
            for bad in wrong:
                assert taken.client.post(path, json=bad).status_code == 400


def released(content: bytes, to: list[str]) -> ReceivedMessage:
    """What a real server gets of a message that is sent on."""
    with Server() as real:

        async def release(content: bytes, envelope: smtpx.Envelope) -> smtpx.SendResult:
            return await smtpx.asend(content, real.url, envelope)

        with Inbox(release=release, release_allow=["*"]) as inbox:
            taken = Taken(inbox)
            path = f"/api/messages/{taken.take(content)}/release"
            assert taken.client.post(path, json={"to": to}).status_code == 200
        (received,) = real.messages
    return received


def test_a_release_tells_no_bcc() -> None:
    folded = b"Bcc: eve@example.com,\r\n carol@example.com\r\nResent-Bcc : kim@example.com\r\n"
    received = released(folded + PLAIN, ["bob@example.net"])
    assert received.content == PLAIN


def test_a_release_names_everybody_once() -> None:
    received = released(PLAIN, ["bob@example.net", "bob@EXAMPLE.net", "Bob@example.net"])
    # Only a domain is the same in capitals (RFC 5321 §2.4).
    assert received.recipients == ("bob@example.net", "Bob@example.net")


@pytest.mark.parametrize(
    "to", ["bob@example.net\r\nRCPT TO:<eve@example.org>", "bob@example.net>\nDATA", "b\0@x.test"]
)
def test_u33_a_release_injects_nothing(to: str) -> None:
    with Server() as real:

        async def release(content: bytes, envelope: smtpx.Envelope) -> smtpx.SendResult:
            return await smtpx.asend(content, real.url, envelope)

        with Inbox(release=release, release_allow=["*"]) as inbox:
            taken = Taken(inbox)
            number = taken.take(PLAIN)
            answer = taken.client.post(f"/api/messages/{number}/release", json={"to": [to]})
            assert answer.status_code == 400
            assert real.sessions == []


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\\\x", 'a"; x=', "..", "%2e%2e%2f", "con"]
)
def test_u31_a_name_in_a_mail_is_no_path(name: str, taken: Taken) -> None:
    mail = smtpx.compose(
        sender="ann@example.org",
        to="bob@example.net",
        text="x",
        attachments=[smtpx.Attachment(b"x", "NAME.bin")],
    )
    number = taken.take(mail.as_bytes().replace(b"NAME.bin", name.encode()))
    part = taken.get(f"/api/messages/{number}/parts/1")
    shown = part.headers["content-disposition"].partition("filename=")[2]
    assert not set(shown.strip('"')) & set('/\\":;%')
    assert not shown.strip('"').startswith(".")


def test_u36_there_is_no_release_of_its_own(taken: Taken) -> None:
    number = taken.take(PLAIN)
    answer = taken.client.post(f"/api/messages/{number}/release", json={"to": ["b@example.net"]})
    assert answer.status_code == 403


def test_parts_links_and_codes(taken: Taken) -> None:
    mail = smtpx.compose(
        sender="ann@example.org",
        to="bob@example.net",
        subject="Your code",
        text="Your code is 483920. See https://example.com/a?b=1, or call 5550100999.",
        html='<a href="https://example.com/b?x=1&amp;y=2">b</a>',
        attachments=[smtpx.Attachment(b"%PDF", "passwd.pdf")],
    )
    content = mail.as_bytes()
    number = taken.take(content)
    path = f"/api/messages/{number}"
    assert taken.get(f"{path}/codes").json() == {"codes": ["483920"]}
    links = taken.get(f"{path}/links").json()["links"]
    assert links == ["https://example.com/a?b=1", "https://example.com/b?x=1&y=2"]
    part = taken.get(f"{path}/parts/2")
    assert part.content == b"%PDF"
    source = taken.get(f"{path}/source")
    assert (source.content, source.headers["content-length"]) == (content, str(len(content)))
    assert taken.get(f"{path}/source", limit=10).content == content[:10]
    assert taken.get(f"{path}/headers").json()["headers"][0][0] == "From"
    assert taken.get(f"{path}/parts/9", 404)


def test_a_large_part_comes_whole(taken: Taken) -> None:
    octets = bytes(range(256)) * 10_000
    mail = smtpx.compose(
        sender="ann@example.org",
        to="bob@example.net",
        text="x",
        attachments=[smtpx.Attachment(octets, "large.bin")],
    )
    number = taken.take(mail.as_bytes())
    assert taken.get(f"/api/messages/{number}").json()["parts"][1]["size"] == len(octets)
    assert taken.get(f"/api/messages/{number}/parts/1").content == octets


def test_seen_and_tags(taken: Taken) -> None:
    number = taken.take(PLAIN)
    path = f"/api/messages/{number}"
    assert taken.client.patch(path, json={"seen": True, "tags": "signup"}).status_code == 200
    assert taken.get("/api/messages", query="is:unread").json()["messages"] == []
    assert len(taken.get("/api/messages", query="tag:signup").json()["messages"]) == 1
    assert taken.client.patch(path, json={"seen": "yes"}).status_code == 400
    assert taken.client.patch("/api/messages/999", json={"seen": True}).status_code == 404


def test_a_store_outlives_the_inbox(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with Inbox(store=path) as inbox:
        _ = Taken(inbox).take(PLAIN)
    with Inbox(store=path) as inbox:
        (row,) = Taken(inbox).get("/api/messages", query="hello").json()["messages"]
        assert row["subject"] == "hello"
        assert Taken(inbox).take(PLAIN) == row["id"] + 1


@pytest.mark.skipif(os.name != "posix", reason="only POSIX says who may read a file")
def test_a_store_keeps_no_number_of_a_session(tmp_path: Path) -> None:
    """Another server's session of that number said something else."""
    for subject in ("first", "second"):
        with (
            Inbox(store=tmp_path / "mail.db") as inbox,
            Server(refuse_content=inbox.take, mailbox=Mailbox(keep=0)) as server,
        ):
            inbox.watch(server)
            _ = send(server, subject=subject)
            rows = Taken(inbox).get("/api/messages").json()["messages"]
            known = {row["subject"]: row["session"] for row in rows}
            assert known == {"first": 0, "second": 1} if subject == "second" else {"first": 1}
            assert Taken(inbox).get("/api/sessions/0", 404)


def test_a_store_is_of_one_inbox_at_a_time(tmp_path: Path) -> None:
    """What one counts, the other would not know of."""
    path = tmp_path / "mail.db"
    with Inbox(store=path) as inbox:
        with pytest.raises(
            OSError, match="another program, which you may end, keeps its mail there"
        ):
            _ = Inbox(store=path)
        assert inbox.take(message(PLAIN)) is None
    with Inbox(store=path) as inbox:
        assert inbox.store.count("") == 1


EPOCHS = [
    ("GET", "", None),
    ("GET", "/source", None),
    ("GET", "/html", None),
    ("GET", "/text", None),
    ("GET", "/headers", None),
    ("GET", "/parts/0", None),
    ("GET", "/findings", None),
    ("GET", "/links", None),
    ("GET", "/codes", None),
    ("PATCH", "", {"seen": True}),
    ("POST", "/release", {"to": ["bob@example.net"]}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "path", "body"), EPOCHS)
def test_a_number_of_another_epoch_is_no_message_of_this_one(
    method: str, path: str, body: Any, taken: Taken
) -> None:
    """Numbers begin at 1 again with each inbox that is kept in memory."""
    with Inbox() as before:
        epoch = Taken(before).get("/api/messages").json()["epoch"]
    number = taken.take(PLAIN)
    mine = taken.get("/api/messages").json()["epoch"]
    assert mine != epoch
    for given, status in ((epoch, 410), ("", 410), (mine, None)):
        answer = taken.client.request(
            method, f"/api/messages/{number}{path}", params={"epoch": given}, json=body
        )
        assert (answer.status_code == 410) is (status == 410), answer.text
    assert taken.client.delete("/api/messages?query=&epoch=" + epoch).status_code == 410
    assert taken.client.get("/api/messages/wait?after=0&epoch=" + epoch).status_code == 410
    assert taken.client.get("/api/messages?before=9&epoch=" + epoch).status_code == 410


def test_a_store_keeps_its_epoch(tmp_path: Path) -> None:
    with Inbox(store=tmp_path / "mail.db") as inbox:
        epoch = inbox.store.epoch
    with Inbox(store=tmp_path / "mail.db") as inbox:
        assert inbox.store.epoch == epoch
    with Inbox(store=tmp_path / "other.db") as inbox:
        assert inbox.store.epoch != epoch


def test_a_page_of_those_just_after_a_number(taken: Taken) -> None:
    numbers = [taken.take(PLAIN) for _ in range(6)]
    answer = taken.get("/api/messages", after=numbers[1], limit=2).json()
    assert [row["id"] for row in answer["messages"]] == [numbers[3], numbers[2]]
    assert answer["total"] == 6
    last = taken.get("/api/messages", after=numbers[5], limit=2).json()
    assert last["messages"] == []


def test_a_store_is_for_its_owner(tmp_path: Path) -> None:
    with Inbox(store=tmp_path / "mail.db") as inbox:
        _ = Taken(inbox).take(PLAIN)
        names = {path.name for path in tmp_path.iterdir()}
        assert {"mail.db", "mail.db-wal"} <= names
        assert not [path for path in tmp_path.iterdir() if path.stat().st_mode & 0o077]


@pytest.mark.skipif(os.name != "posix", reason="Windows has links for who may make them")
def test_a_store_by_another_name_is_the_same_store(tmp_path: Path) -> None:
    """Two that count for themselves what is there would lose mail of each other."""
    path, folder = tmp_path / "mail.db", tmp_path / "linked"
    (tmp_path / "link.db").symlink_to("mail.db")  # which is not there yet
    folder.symlink_to(tmp_path)
    for first, others in (
        (tmp_path / "link.db", (path, folder / "mail.db")),
        (path, (tmp_path / "link.db", folder / "link.db")),
    ):
        with Inbox(store=first) as inbox:
            _ = Taken(inbox).take(PLAIN)
            for other in others:
                with pytest.raises(OSError, match="another program, which you may end, keeps"):
                    _ = Inbox(store=other)
    with Inbox(store=path) as inbox:
        assert inbox.store.count("") == 2


@pytest.mark.skipif(os.name != "posix", reason="Windows has links for who may make them")
def test_a_store_has_one_name(tmp_path: Path) -> None:
    """What SQLite puts beside a file goes by its name, so that two names come to two states."""
    path = tmp_path / "mail.db"
    with Inbox(store=path) as inbox:
        _ = Taken(inbox).take(PLAIN)
        (tmp_path / "hard.db").hardlink_to(path)
        with pytest.raises(OSError, match="it has two names: give another file"):
            _ = Inbox(store=tmp_path / "hard.db")
    with pytest.raises(OSError, match="it has two names"):
        _ = Inbox(store=path)
    (tmp_path / "hard.db").unlink()
    with Inbox(store=path) as inbox:
        assert inbox.store.count("") == 1


def test_a_store_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        _ = Inbox(store=tmp_path / "nowhere" / "mail.db")


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    _ = path.write_bytes(b"this is no database" * 100)
    with pytest.raises(OSError, match=r"x\.db"):
        _ = Inbox(store=path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "CREATE TABLE messages (id); CREATE TABLE texts (w); PRAGMA user_version=3",
            "an older smtpx",
        ),
        (
            "CREATE TABLE messages (id); CREATE TABLE texts (w); PRAGMA user_version=5",
            "a newer smtpx",
        ),
        ("CREATE TABLE users (id)", "another program"),
        ("CREATE TABLE users (id); PRAGMA user_version=4", "another program"),
    ],
)
def test_a_store_of_another_kind_stays_as_it_is(script: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with closing(sqlite3.connect(path)) as connection:
        _ = connection.executescript(script)
    before = path.read_bytes()
    with pytest.raises(OSError, match=said):
        _ = Inbox(store=path)
    assert path.read_bytes() == before


def test_a_store_that_is_full_refuses_for_now(tmp_path: Path) -> None:
    with (
        Inbox(store=tmp_path / "mail.db") as inbox,
        Server(refuse_content=inbox.take, mailbox=Mailbox(keep=0)) as server,
    ):
        inbox.store._writer.connection().execute("PRAGMA max_page_count=30")
        with pytest.raises(smtpx.ContentRefused, match=r"452 4\.3\.1"):
            _ = send(server, text="x\n" * 100_000)
        assert send(server).complete
        assert inbox.store.count("") == 1  # nothing is left of the one that did not fit


def test_it_mounts_in_another_application(taken: Taken) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    outer = Starlette(routes=[Mount("/mail", app(taken.inbox, hosts=["intranet.example"]))])
    client = TestClient(outer, base_url="http://intranet.example")
    number = taken.take(PLAIN)
    assert "smtpx inbox" in client.get("/mail/").text
    assert client.get("/mail/api/messages").json()["total"] == 1
    answer = client.get(f"/mail/m/{number}", follow_redirects=False)
    assert answer.headers["location"] == f"/mail/#/m/{number}"


@pytest.mark.parametrize("prefix", ["", "/pre"], ids=["taken away", "left"])
def test_it_mounts_behind_a_proxy_with_a_prefix(prefix: str, taken: Taken) -> None:
    """Proxies take theirs away, as FastAPI's root_path has it, or leave it, as ASGI does."""
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    outer = Starlette(routes=[Mount("/mail", app(taken.inbox))])
    client = TestClient(outer, base_url="http://localhost", root_path="/pre")
    number = taken.take(PLAIN)
    assert "smtpx inbox" in client.get(f"{prefix}/mail/").text
    assert client.get(f"{prefix}/mail/api/messages").json()["total"] == 1
    answer = client.get(f"{prefix}/mail/m/{number}", follow_redirects=False)
    assert answer.headers["location"] == f"/pre/mail/#/m/{number}"


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=-1", "before=x", "limit=" + "9" * 40, "after=1.5"]
)
def test_numbers_that_are_none(query: str, taken: Taken) -> None:
    assert taken.client.get(f"/api/messages/wait?timeout=0&{query}").status_code in (400, 408)


def test_the_page_brings_everything_along() -> None:
    """No outside request ever: there is no address of another host in it."""
    for file in files("smtpx.inbox").joinpath("pages").iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, file.name
        assert "https://" not in text, file.name
        assert "innerHTML" not in text, file.name
