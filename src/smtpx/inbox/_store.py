"""Where kept messages are: SQLite, in memory or in a file, with an index of their texts.

One connection, used under a lock: the server's thread adds, others ask.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smtpx.inbox._reading import Reading
from smtpx.inbox._search import condition_of
from smtpx.testing import ReceivedMessage

__all__ = ["Kept", "Store"]

_VERSION = 1
_TABLES = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    taken REAL NOT NULL,
    queue_id TEXT NOT NULL,
    session INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    parameters TEXT NOT NULL,
    helo TEXT NOT NULL,
    user TEXT,
    tls INTEGER NOT NULL,
    via TEXT NOT NULL,
    size INTEGER NOT NULL,
    content BLOB NOT NULL,
    seen INTEGER NOT NULL DEFAULT 0,
    tags TEXT NOT NULL DEFAULT '',
    breaches INTEGER NOT NULL DEFAULT 0,
    subject TEXT NOT NULL DEFAULT '',
    author TEXT NOT NULL DEFAULT '',
    bcc TEXT NOT NULL DEFAULT '[]',
    message_id TEXT NOT NULL DEFAULT '',
    attachments INTEGER NOT NULL DEFAULT 0,
    has_html INTEGER NOT NULL DEFAULT 0,
    findings INTEGER NOT NULL DEFAULT 0,
    body TEXT NOT NULL DEFAULT ''
);
"""
_INDEX = "CREATE VIRTUAL TABLE texts USING fts5(words, tokenize='trigram')"
_ROW = (
    "id, taken, queue_id, session, sender, recipients, user, tls, size, seen, tags, breaches, "
    "subject, author, bcc, attachments, findings"
)
_INDEXED = 20_000
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """A message, whole."""

    row: dict[str, Any]
    recipients: tuple[str, ...]
    content: bytes
    parameters: dict[str, str]
    helo: str
    via: str


class Store:
    """The messages that are kept: the newest, so many and so large at most."""

    def __init__(self, path: Path | None, *, keep: int, keep_octets: int) -> None:
        """Open or make the file; without one, keep them in memory.

        Raises:
            sqlite3.Error: the file is no such store, or cannot be written.
        """
        self._lock = threading.Lock()
        self._keep = keep
        self._keep_octets = keep_octets
        self._connection = sqlite3.connect(
            ":memory:" if path is None else str(path), check_same_thread=False, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        try:
            self.is_indexed = self._prepare()
        except sqlite3.Error:
            self._connection.close()
            raise
        self._octets, self._count = self._totals()

    def _prepare(self) -> bool:
        run = self._connection.execute
        _ = run("PRAGMA journal_mode=WAL")
        _ = run("PRAGMA synchronous=NORMAL")
        # What is deleted of a mail shall not stay in the file.
        _ = run("PRAGMA secure_delete=ON")
        version = run("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"it is of version {version}, and not of {_VERSION}")
        if version == 0:
            _ = self._connection.executescript(_TABLES)
            try:
                _ = run(_INDEX)
            except sqlite3.OperationalError:
                pass  # This SQLite has no such index: words are compared instead.
            _ = run(f"PRAGMA user_version={_VERSION}")
        return bool(run("SELECT count(*) FROM sqlite_master WHERE name='texts'").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _totals(self) -> tuple[int, int]:
        octets, count = self._connection.execute(
            "SELECT coalesce(sum(size), 0), count(*) FROM messages"
        ).fetchone()
        return octets, count

    # What comes in.

    def add(self, message: ReceivedMessage) -> int:
        """Keep a message; return its number. The oldest make room for it.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        with self._lock, self._connection:
            cursor = self._connection.execute(
                "INSERT INTO messages (taken, queue_id, session, sender, recipients, parameters, "
                "helo, user, tls, via, size, content) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    *(time.time(), message.queue_id, message.session, message.sender),
                    *(json.dumps(message.recipients), json.dumps(message.mail_parameters)),
                    *(message.helo, message.user, message.tls, message.via.value),
                    *(len(message.content), message.content),
                ),
            )
            self._octets += len(message.content)
            self._count += 1
            self._make_room()
        return cursor.lastrowid or 0

    def describe(self, number: int, reading: Reading, findings: int, breaches: int) -> None:
        """Add what a message says to its row, and to the index."""
        with self._lock, self._connection:
            row = self._connection.execute(
                "SELECT recipients FROM messages WHERE id=?", (number,)
            ).fetchone()
            if row is None:
                return
            recipients: list[str] = json.loads(row["recipients"])
            bcc = [each for each in recipients if each.lower() not in reading.to]
            body = (reading.text or reading.html or "")[:_INDEXED]
            body = body.encode("utf-8", "replace").decode()
            _ = self._connection.execute(
                "UPDATE messages SET subject=?, author=?, bcc=?, message_id=?, attachments=?, "
                "has_html=?, findings=?, breaches=?, body=? WHERE id=?",
                (
                    *(_storable(reading.subject), _storable(reading.author), json.dumps(bcc)),
                    *(_storable(reading.message_id), reading.attachments),
                    *(reading.html is not None, findings, breaches, body, number),
                ),
            )
            if self.is_indexed:
                words = " ".join((reading.subject, reading.author, *recipients, body))
                _ = self._connection.execute(
                    "INSERT OR REPLACE INTO texts (rowid, words) VALUES (?, ?)",
                    (number, _storable(words)),
                )

    def _make_room(self) -> None:
        while self._count > self._keep or (self._octets > self._keep_octets and self._count > 1):
            oldest = self._connection.execute("SELECT id, size FROM messages LIMIT 1").fetchone()
            self._delete([(oldest["id"], oldest["size"])])

    def _delete(self, doomed: Sequence[tuple[int, int]]) -> None:
        numbers = [(number,) for number, _ in doomed]
        _ = self._connection.executemany("DELETE FROM messages WHERE id=?", numbers)
        if self.is_indexed:
            _ = self._connection.executemany("DELETE FROM texts WHERE rowid=?", numbers)
        self._count -= len(doomed)
        self._octets -= sum(size for _, size in doomed)

    # What is asked for.

    def rows(self, query: str, *, before: int | None, after: int | None, limit: int) -> list[Any]:
        """The newest messages that match, without their contents.

        Raises:
            ValueError: the query has a mistake.
        """
        where, parameters = condition_of(query, indexed=self.is_indexed)
        values: list[object] = [*parameters]
        for sign, bound in (("<", before), (">", after)):
            if bound is not None:
                where += f" AND id {sign} ?"
                values.append(bound)
        with self._lock:
            found = self._connection.execute(
                f"SELECT {_ROW} FROM messages WHERE {where} ORDER BY id DESC LIMIT ?",
                (*values, limit),
            ).fetchall()
        return [_row(each) for each in found]

    def count(self, query: str) -> int:
        """How many match."""
        where, parameters = condition_of(query, indexed=self.is_indexed)
        with self._lock:
            found = self._connection.execute(
                f"SELECT count(*) FROM messages WHERE {where}", parameters
            )
            return int(found.fetchone()[0])

    def get(self, number: int) -> Kept | None:
        """A message, whole; None where it is no longer kept."""
        with self._lock:
            found = self._connection.execute(
                f"SELECT {_ROW}, content, parameters, helo, via FROM messages WHERE id=?", (number,)
            ).fetchone()
        if found is None:
            return None
        return Kept(
            row=_row(found),
            recipients=tuple(json.loads(found["recipients"])),
            content=found["content"],
            parameters=json.loads(found["parameters"]),
            helo=found["helo"],
            via=found["via"],
        )

    def mark(self, number: int, *, seen: bool | None = None, tags: str | None = None) -> bool:
        """Note that a message was seen, or what it is tagged with; False where there is none."""
        with self._lock, self._connection:
            changed = self._connection.execute(
                "UPDATE messages SET seen=coalesce(?, seen), tags=coalesce(?, tags) WHERE id=?",
                (seen, tags, number),
            )
            return changed.rowcount > 0

    def remove(self, query: str, *, number: int | None = None) -> int:
        """Forget what matches; return how many that were."""
        where, parameters = condition_of(query, indexed=self.is_indexed)
        values: list[object] = [*parameters]
        if number is not None:
            where += " AND id = ?"
            values.append(number)
        with self._lock, self._connection:
            doomed = self._connection.execute(
                f"SELECT id, size FROM messages WHERE {where}", values
            ).fetchall()
            self._delete([(each["id"], each["size"]) for each in doomed])
            return len(doomed)

    @property
    def newest(self) -> int:
        """The number of the newest message there ever was."""
        with self._lock:
            found = self._connection.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
        return int(found[0] or 0)


def _storable(text: str) -> str:
    """Without halves of surrogate pairs, which SQLite does not take."""
    return text.encode("utf-8", "replace").decode()


def _row(found: sqlite3.Row) -> dict[str, Any]:
    recipients: list[str] = json.loads(found["recipients"])
    bcc: list[str] = json.loads(found["bcc"])
    return {
        "id": found["id"],
        "taken": round(found["taken"], 3),
        "queue_id": found["queue_id"],
        "session": found["session"],
        "sender": found["sender"],
        # A row stays small, whatever the mail.
        "recipients": [each[:_SHOWN] for each in recipients[:3]],
        "recipient_count": len(recipients),
        "bcc": [each[:_SHOWN] for each in bcc[:3]],
        "user": found["user"],
        "tls": bool(found["tls"]),
        "size": found["size"],
        "seen": bool(found["seen"]),
        "tags": found["tags"],
        "breaches": found["breaches"],
        "subject": found["subject"][:_SHOWN],
        "from": found["author"][:_SHOWN],
        "attachments": found["attachments"],
        "findings": found["findings"],
    }
