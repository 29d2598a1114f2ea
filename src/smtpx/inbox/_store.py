"""Where kept messages are: SQLite, in memory or in a file, with an index of their texts.

Contents are apart from what is listed: nobody who lists waits for one that is written. In memory
they are kept as they came; a file is read by a connection of its own.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

from smtpx._turns import Turns
from smtpx.inbox._reading import Reading
from smtpx.inbox._search import Condition, condition_of, folded
from smtpx.testing import ReceivedMessage

__all__ = ["Kept", "Page", "Store"]

_VERSION = 4
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
    seen INTEGER NOT NULL DEFAULT 0,
    tags TEXT NOT NULL DEFAULT '',
    breaches INTEGER NOT NULL DEFAULT 0,
    subject TEXT NOT NULL DEFAULT '',
    author TEXT NOT NULL DEFAULT '',
    addressed TEXT NOT NULL DEFAULT '',
    bcc TEXT NOT NULL DEFAULT '[]',
    message_id TEXT NOT NULL DEFAULT '',
    attachments INTEGER NOT NULL DEFAULT 0,
    has_html INTEGER NOT NULL DEFAULT 0,
    findings INTEGER NOT NULL DEFAULT 0,
    described INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE contents (id INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE epoch (name TEXT NOT NULL);
"""
# Apart from what is listed, too: a row is small.
_INDEX = "CREATE VIRTUAL TABLE texts USING fts5(words, tokenize='trigram')"
_NO_INDEX = "CREATE TABLE texts (rowid INTEGER PRIMARY KEY, words TEXT NOT NULL)"
_ROW = (
    "id, taken, queue_id, session, sender, recipients, user, tls, size, seen, tags, breaches, "
    "subject, author, bcc, attachments, findings"
)
_INDEXED = 20_000
# What `described` says of a message that nobody has to wait for any longer.
_READ, _LEFT_UNREAD, _BEGINNING_READ = 1, 2, 3
_SHOWN = 200
# Matches are counted as far as that.
_COUNTED = 1000
# In one go so many are deleted: who brings a message waits no longer.
_DOOMED = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """A message, all but its content."""

    row: dict[str, Any]
    recipients: tuple[str, ...]
    parameters: dict[str, str]
    helo: str
    via: str
    is_described: bool
    """True where nobody has to wait any longer for what it says."""


class Page(NamedTuple):
    """A page of the list."""

    rows: list[Any]
    next: int | None
    """Before which number the next page begins; None of the last."""
    total: int
    """How many match; of a query that says something, as far as 1000 are counted."""


class Store:
    """The messages that are kept: the newest, so many and so large at most."""

    def __init__(self, path: Path | None, *, keep: int, keep_octets: int) -> None:
        """Open or make the file; without one, keep them in memory.

        Raises:
            sqlite3.Error: the file is no such store, or cannot be written.
            OSError: it cannot be made.
        """
        if path is not None:
            # What stands beside the file goes by its own name, whatever link leads there.
            path = path.resolve()
            # Mail is for who caught it; what SQLite puts beside the file is like the file.
            path.touch(mode=0o600)
            _refuse_names(path)
        self._path = path
        self._contents: dict[int, bytes] = {}
        """Those that are kept in memory."""
        self._keep = keep
        self._keep_octets = keep_octets
        # Who counts for itself what is there has to be alone.
        self._claim = None if path is None else _claimed(path)
        self._writer = _File(path)
        self._reader = self._writer if path is None else _File(path)
        try:
            with self._writer.lock:
                connection = self._writer.connection()
                self.is_indexed = self._prepare(connection)
                self.epoch: str = connection.execute("SELECT name FROM epoch").fetchone()[0]
                """Numbers of messages mean one message each within it: in memory each store has
                its own, and a file keeps its own.
                """
                self._octets, self._count = _totals(connection)
                self.newest = _newest(connection)
                """The number of the newest message there ever was."""
        except sqlite3.Error:
            self._writer.close()
            self._disclaim()
            raise

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """All that is done in it, or nothing."""
        with self._writer.lock:
            connection = self._writer.connection()
            _ = connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                _ = connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.rollback()
                self._octets, self._count = _totals(connection)
                raise

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        with self._reader.lock:
            yield self._reader.connection()

    def _prepare(self, connection: sqlite3.Connection) -> bool:
        run = connection.execute
        version = run("PRAGMA user_version").fetchone()[0]
        _refuse_another(version, {row["name"] for row in run("SELECT name FROM sqlite_master")})
        _ = run("PRAGMA journal_mode=WAL")
        if version == 0:
            _ = connection.executescript(_TABLES)
            _ = run("INSERT INTO epoch VALUES (?)", (secrets.token_hex(8),))
            try:
                _ = run(_INDEX)
            except sqlite3.OperationalError:
                _ = run(_NO_INDEX)  # This SQLite has no such index: words are compared instead.
            _ = run(f"PRAGMA user_version={_VERSION}")
        # Sessions are of the server that was there then; another one has the same numbers.
        _ = run("UPDATE messages SET session=0 WHERE session<>0")
        made = run("SELECT sql FROM sqlite_master WHERE name='texts'").fetchone()[0]
        return bool(made == _INDEX)

    def close(self) -> None:
        """Close the file."""
        self._reader.close_for_good()
        self._writer.close_for_good()
        self._disclaim()

    def _disclaim(self) -> None:
        if self._claim is not None:
            self._claim.close()

    # What comes in.

    def add(self, message: ReceivedMessage) -> int:
        """Keep a message; return its number. The oldest make room for it.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        size = len(message.content)
        with self._writing() as connection:
            cursor = connection.execute(
                "INSERT INTO messages (taken, queue_id, session, sender, recipients, parameters, "
                "helo, user, tls, via, size) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (
                    *(time.time(), message.queue_id, message.session, message.sender),
                    # As they are searched for.
                    json.dumps(message.recipients, ensure_ascii=False),
                    json.dumps(message.mail_parameters),
                    *(message.helo, message.user, message.tls, message.via.value, size),
                ),
            )
            number = cursor.lastrowid or 0
            if self._path is None:
                self._contents[number] = message.content
            else:
                _ = connection.execute(
                    "INSERT INTO contents (id, content) VALUES (?, ?)", (number, message.content)
                )
            self._delete(connection, self._surplus(connection, size))
            self._octets += size
            self._count += 1
        self.newest = number
        return number

    def describe(self, number: int, reading: Reading, findings: int, breaches: int) -> None:
        """Add what a message says to its row, and to the index."""
        with self._writing() as connection:
            row = connection.execute(
                "SELECT recipients FROM messages WHERE id=?", (number,)
            ).fetchone()
            if row is None:
                return
            recipients: list[str] = json.loads(row["recipients"])
            bcc = [each for each in recipients if each.lower() not in reading.to]
            body = reading.text or reading.html or ""
            described = _READ if len(body) <= _INDEXED else _BEGINNING_READ
            if reading.problem is not None:
                described = _LEFT_UNREAD
            _ = connection.execute(
                "UPDATE messages SET subject=?, author=?, addressed=?, bcc=?, message_id=?, "
                "attachments=?, has_html=?, findings=?, breaches=?, described=? WHERE id=?",
                (
                    *map(_storable, (reading.subject, reading.author, reading.addressed)),
                    json.dumps(bcc),
                    *(_storable(reading.message_id), reading.attachments),
                    *(reading.html is not None, findings, breaches, described, number),
                ),
            )
            words = " ".join((reading.subject, reading.author, *recipients, body[:_INDEXED]))
            _ = connection.execute(
                "INSERT OR REPLACE INTO texts (rowid, words) VALUES (?, ?)",
                (number, _storable(folded(words))),
            )

    def leave_undescribed(self, number: int) -> None:
        """Wait no longer for what a message says; it is not known."""
        with self._writing() as connection:
            _ = connection.execute(
                "UPDATE messages SET described=? WHERE id=?", (_LEFT_UNREAD, number)
            )

    def undescribed(self) -> list[int]:
        """Those that nobody has read yet, as a program left them that was killed."""
        with self._reading() as connection:
            found = connection.execute("SELECT id FROM messages WHERE NOT described ORDER BY id")
            return [row["id"] for row in found]

    def _surplus(self, connection: sqlite3.Connection, size: int) -> list[tuple[int, int]]:
        """The oldest, as many as have to go for one of `size`; the newest always stays."""
        count, octets = self._count + 1 - self._keep, self._octets + size - self._keep_octets
        doomed: list[tuple[int, int]] = []
        if count > 0 or octets > 0:
            for row in connection.execute("SELECT id, size FROM messages ORDER BY id"):
                if (count <= 0 and octets <= 0) or len(doomed) == self._count:
                    break
                doomed.append((row["id"], row["size"]))
                count, octets = count - 1, octets - row["size"]
        return doomed

    def _delete(self, connection: sqlite3.Connection, doomed: Sequence[tuple[int, int]]) -> None:
        numbers = [(number,) for number, _ in doomed]
        for table in ("messages WHERE id", "contents WHERE id", "texts WHERE rowid"):
            _ = connection.executemany(f"DELETE FROM {table}=?", numbers)
        for number, size in doomed:
            _ = self._contents.pop(number, None)
            self._count -= 1
            self._octets -= size

    # What is asked for.

    def rows(
        self,
        query: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
        described: bool = False,
    ) -> list[Any]:
        """The newest messages that match, without their contents; only those `described`.

        Raises:
            ValueError: the query has a mistake.
        """
        condition = condition_of(query, indexed=self.is_indexed)
        with self._reading() as connection:
            return _rows(connection, condition, before, after, limit, described=described)

    def page(
        self, query: str, *, before: int | None = None, after: int | None = None, limit: int
    ) -> Page:
        """The newest messages that match, and how many there are; `after` a number, the oldest.

        Raises:
            ValueError: the query has a mistake.
        """
        condition = condition_of(query, indexed=self.is_indexed)
        with self._reading() as connection:
            if after is None:
                found = _rows(connection, condition, before, None, limit + 1)
            else:
                found = _rows(connection, condition, before, after, limit, oldest=True)
                limit = len(found)
                found += _rows(connection, condition, after + 1, None, min(limit, 1))
            if condition.is_all:
                total = self._count
            elif before is after is None and len(found) <= limit:
                total = len(found)
            else:
                total = _count(connection, condition)
        rows, more = found[:limit], found[limit:]
        return Page(rows, rows[-1]["id"] if more else None, total)

    def count(self, query: str) -> int:
        """How many match; of a query that says something, as far as 1000 are counted."""
        condition = condition_of(query, indexed=self.is_indexed)
        with self._reading() as connection:
            return self._count if condition.is_all else _count(connection, condition)

    def get(self, number: int) -> Kept | None:
        """A message; None where it is no longer kept."""
        with self._reading() as connection:
            found = connection.execute(
                f"SELECT {_ROW}, parameters, helo, via, described FROM messages WHERE id=?",
                (number,),
            ).fetchone()
        if found is None:
            return None
        return Kept(
            row=_row(found),
            recipients=tuple(json.loads(found["recipients"])),
            parameters=json.loads(found["parameters"]),
            helo=found["helo"],
            via=found["via"],
            is_described=bool(found["described"]),
        )

    def content(self, number: int) -> bytes:
        """The octets of a message; none where it is no longer kept."""
        if self._path is None:
            return self._contents.get(number, b"")
        with self._writer.lock:  # Whoever lists does not wait for it.
            found = (
                self._writer.connection()
                .execute("SELECT content FROM contents WHERE id=?", (number,))
                .fetchone()
            )
        return b"" if found is None else bytes(found["content"])

    def mark(self, number: int, *, seen: bool | None = None, tags: str | None = None) -> bool:
        """Note that a message was seen, or what it is tagged with; False where there is none."""
        with self._writing() as connection:
            changed = connection.execute(
                "UPDATE messages SET seen=coalesce(?, seen), tags=coalesce(?, tags) WHERE id=?",
                (seen, tags, number),
            )
            return changed.rowcount > 0

    def remove(self, query: str, *, number: int | None = None, newest: int) -> int:
        """Forget what matches, up to the number `newest`; return how many that were.

        Raises:
            ValueError: the query has a mistake, or says nothing and is not empty.
        """
        condition = condition_of(query, indexed=self.is_indexed)
        if condition.is_all and number is None:
            if query:
                raise ValueError(f"{query!r} asks for nothing: an empty query means all")
            if (removed := self._clear(newest)) is not None:
                return removed
        where, values = condition.sql, [*condition.parameters]
        if number is not None:
            where += f" AND {condition.key} = {number:d}"
        removed = 0
        while True:
            with self._writing() as connection:
                doomed = connection.execute(
                    f"SELECT id, size FROM {condition.source} "
                    f"WHERE {where} AND {condition.key} <= ? LIMIT ?",
                    (*values, newest, _DOOMED),
                ).fetchall()
                self._delete(connection, [(each["id"], each["size"]) for each in doomed])
            removed += len(doomed)
            if len(doomed) < _DOOMED:
                return removed

    def _clear(self, newest: int) -> int | None:
        """Forget all at once; None where one is there that is newer than the number `newest`.

        One by one, their words would have to be looked up in the index.
        """
        with self._writing() as connection:
            if connection.execute("SELECT 1 FROM messages WHERE id > ?", (newest,)).fetchone():
                return None
            removed, self._count, self._octets = self._count, 0, 0
            for statement in (
                *("DELETE FROM messages", "DELETE FROM contents", "DROP TABLE texts"),
                _INDEX if self.is_indexed else _NO_INDEX,
            ):
                _ = connection.execute(statement)
            self._contents.clear()
        return removed


class _File(Turns):
    """A connection to the file, or to what is in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.is_in_memory = path is None
        self._is_over = False
        super().__init__()

    def close_for_good(self) -> None:
        with self.lock:
            self._is_over = True
            self.close()

    def _connect(self) -> sqlite3.Connection:
        if self._is_over:
            raise sqlite3.ProgrammingError("the inbox is closed")
        path = ":memory:" if self._path is None else str(self._path)
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.create_function("folded", 1, folded, deterministic=True)
            _ = connection.execute("PRAGMA synchronous=NORMAL")
            # What is deleted of a mail shall not stay in the file.
            _ = connection.execute(f"PRAGMA secure_delete={'OFF' if self.is_in_memory else 'ON'}")
        except BaseException:
            connection.close()
            raise
        return connection


def _totals(connection: sqlite3.Connection) -> tuple[int, int]:
    octets, count = connection.execute(
        "SELECT coalesce(sum(size), 0), count(*) FROM messages"
    ).fetchone()
    return octets, count


def _newest(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
    return int(found[0] or 0)


def _claimed(path: Path) -> sqlite3.Connection:
    """Hold the file for ourselves, by a lock on one beside it that ends with the program.

    Raises:
        sqlite3.OperationalError: another program holds it.
    """
    beside = path.with_name(f"{path.name}-lock")
    beside.touch(mode=0o600)
    claim = sqlite3.connect(beside, timeout=0, check_same_thread=False, isolation_level=None)
    try:
        _ = claim.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        claim.close()
        raise sqlite3.OperationalError(
            "another program, which you may end, keeps its mail there"
        ) from None
    return claim


def _refuse_names(path: Path) -> None:
    """Refuse a file that has another name, a hard link: SQLite's own files go by the name.

    Raises:
        sqlite3.DatabaseError: it has two or more.
    """
    status = path.stat()
    if S_ISREG(status.st_mode) and status.st_nlink > 1:
        names = "two names" if status.st_nlink == 2 else f"{status.st_nlink} names"
        raise sqlite3.DatabaseError(f"it has {names}")


def _refuse_another(version: int, tables: set[str]) -> None:
    """Refuse a file that is no store of this version.

    Raises:
        sqlite3.DatabaseError: it is none.
    """
    if not tables:
        return
    if not {"messages", "texts"} <= tables:
        raise sqlite3.DatabaseError("it has tables of another program")
    if version != _VERSION:
        age = "an older" if version < _VERSION else "a newer"
        raise sqlite3.DatabaseError(
            f"{age} smtpx made it (version {version}, and this one has {_VERSION}), and it cannot "
            "be taken over"
        )


def _rows(
    connection: sqlite3.Connection,
    condition: Condition,
    before: int | None,
    after: int | None,
    limit: int,
    *,
    described: bool = False,
    oldest: bool = False,
) -> list[Any]:
    """The newest first; so many of the newest, or of the oldest."""
    where, values = condition.sql, [*condition.parameters]
    if described:
        where += " AND described"
    for sign, bound in (("<", before), (">", after)):
        if bound is not None:
            where += f" AND {condition.key} {sign} {bound:d}"
    found = connection.execute(
        f"SELECT {_ROW} FROM {condition.source} WHERE {where} "
        f"ORDER BY {condition.key} {'ASC' if oldest else 'DESC'} LIMIT {limit:d}",
        values,
    ).fetchall()
    return [_row(each) for each in (reversed(found) if oldest else found)]


def _count(connection: sqlite3.Connection, condition: Condition) -> int:
    found = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {condition.source} "
        f"WHERE {condition.sql} LIMIT {_COUNTED})",
        condition.parameters,
    )
    return int(found.fetchone()[0])


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
