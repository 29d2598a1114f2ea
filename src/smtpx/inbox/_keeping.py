"""The inbox itself: it takes messages from a server, reads them apart, and keeps them."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import smtpx
from smtpx import _checks
from smtpx._headers import BCC, without
from smtpx._starting import Joined
from smtpx._uncopied import Uncopied
from smtpx.inbox._changes import Changes
from smtpx.inbox._dkim import Signature, signatures
from smtpx.inbox._reading import Reading, read
from smtpx.inbox._store import Kept, Store
from smtpx.testing import ReceivedMessage, Server

__all__ = ["Inbox", "Release"]

Release: TypeAlias = Callable[[bytes, smtpx.Envelope], Awaitable[smtpx.SendResult]]
"""Sends a message on to a real server."""

_MOST_READINGS = 8
_CHECKED = 2 * 1024**2
# Whoever asks what mail says waits so long for what is not read.
_PATIENCE = 5.0


class Inbox(Uncopied):
    """Messages that were caught: kept within bounds, read within bounds, searched and shown.

    Give `take` to the server as its ``refuse_content``; `watch` it, for its sessions and faults.
    """

    __module__ = "smtpx.inbox"

    def __init__(
        self,
        *,
        store: str | PathLike[str] | None = None,
        keep: int = 1000,
        keep_octets: int = 256 * 1024**2,
        release: Release | None = None,
        release_allow: Iterable[str] = (),
        dkim_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Keep them in memory, or in the file `store`, which is SQLite's.

        The oldest go when there are more than `keep`, or more than `keep_octets`. `release` sends
        a message on, to those alone whose address one of the patterns of `release_allow` has.
        DKIM signatures are verified by `dkim_keys`: TXT records, such as ``v=DKIM1; p=…``, by
        their names, ``selector._domainkey.domain``. No key is looked up.

        Raises:
            TypeError, ValueError: an argument is of another kind, or out of its range.
            OSError: the file cannot be used.
        """
        _checks.count("keep", keep, 1)
        _checks.count("keep_octets", keep_octets, 1)
        if _checks.is_one(release_allow) or not isinstance(release_allow, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("release_allow", release_allow, "several patterns")
        self._allow = tuple(release_allow)
        _checks.each("release_allow", self._allow, "patterns such as '*@x.test'", str)
        if release is not None and not callable(release):  # pyright: ignore[reportUnnecessaryComparison] - callers
            raise _checks.complaint("release", release, "what can be called")
        if store is not None and not isinstance(store, (str, PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"store={store!r}: give the path of a file")
        self._dkim_keys = _dkim_keys(dkim_keys)
        try:
            self.store = Store(
                None if store is None else Path(store), keep=keep, keep_octets=keep_octets
            )
        except sqlite3.Error as error:
            raise OSError(f"store={str(store)!r}: {error}: give another file") from error
        self.changes = Changes()
        self.server: Server | None = None
        """The server whose sessions and faults are shown."""
        self._release = release
        self._readings: OrderedDict[int, Reading] = OrderedDict()
        self._readings_lock = threading.Lock()
        self._to_read: queue.SimpleQueue[int | Future[None] | None] = queue.SimpleQueue()
        for number in self.store.undescribed():
            self._to_read.put(number)
        self._reader = Joined(self._read_all, "smtpx.inbox")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what watches it, and close the file."""
        self.changes.close()
        self._to_read.put(None)
        self._reader.join()
        self.store.close()

    def watch(self, server: Server) -> None:
        """Show the sessions and the faults of a server."""
        if not isinstance(server, Server):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("server", server, "a smtpx.testing.Server")
        self.server = server

    # Messages.

    def take(self, message: ReceivedMessage) -> str | None:
        """Keep a message; return the reply that refuses it where there is no room.

        Its octets are written, and nothing of it is read here: a server can call it in its loop.
        """
        try:
            number = self.store.add(message)
        except sqlite3.Error as error:
            return f"452 4.3.1 It cannot be kept: {error}"
        self._to_read.put(number)
        return None

    def _read_all(self) -> None:
        while (number := self._to_read.get()) is not None:
            if isinstance(number, Future):
                if number.set_running_or_notify_cancel():
                    number.set_result(None)
                continue
            try:
                self._describe(number)
            except Exception:
                # It stays without a subject. Whatever it was, the next one is read.
                with contextlib.suppress(sqlite3.Error):
                    self.store.leave_undescribed(number)
            self.changes.tell("message")

    def _so_far(self) -> Future[None]:
        """Done when all that is taken by now has been read, for it is read in order."""
        done: Future[None] = Future()
        self._to_read.put(done)
        return done

    async def read_so_far(self) -> int:
        """Wait until the messages taken by now have been read; return the newest one's number.

        After five seconds it returns all the same.
        """
        newest = self.store.newest
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await asyncio.wrap_future(self._so_far())
        return newest

    def _describe(self, number: int) -> None:
        kept = self.store.get(number)
        if kept is None:
            return
        reading = self.reading(kept)
        findings = len(self.findings(kept))
        self.store.describe(number, reading, findings, len(self._breaches(kept)))

    def _breaches(self, kept: Kept) -> Sequence[str]:
        if self.server is None:
            return ()
        session = self.server.session(kept.row["session"])
        return () if session is None else session.breaches

    def reading(self, kept: Kept) -> Reading:
        """What a message says; the last few are remembered."""
        number: int = kept.row["id"]
        with self._readings_lock:
            known = self._readings.get(number)
            if known is not None:
                self._readings.move_to_end(number)
                return known
        reading = read(self.store.content(number))
        with self._readings_lock:
            self._readings[number] = reading
            if len(self._readings) > _MOST_READINGS:
                _ = self._readings.popitem(last=False)
        return reading

    def findings(self, kept: Kept) -> tuple[smtpx.Finding, ...]:
        """What is wrong with a message, as far as it is small enough to be looked at."""
        if kept.row["size"] > _CHECKED or self.reading(kept).problem is not None:
            return ()
        try:
            return smtpx.check(self.store.content(kept.row["id"]))
        except (
            Exception
        ):  # The parser of the standard library fails in many ways on what is hostile.
            return ()

    def signatures(self, kept: Kept) -> tuple[Signature, ...]:
        """What its DKIM signatures come to, as far as it is small enough to be looked at."""
        reading = self.reading(kept)
        if kept.row["size"] > _CHECKED or reading.problem is not None:
            return ()
        content = self.store.content(kept.row["id"])
        return signatures(content, reading.fields, self._dkim_keys)

    def remove(self, query: str, *, number: int | None = None) -> int:
        """Forget messages; return how many.

        With a query it waits until the messages taken by now have been read, or five seconds.
        What is not read then matches no term with a minus.

        Raises:
            ValueError: the query has a mistake.
        """
        newest = self.store.newest
        if query:
            with contextlib.suppress(TimeoutError):
                self._so_far().result(_PATIENCE)
        return self._remove_known(query, number=number, newest=newest)

    def _remove_known(self, query: str, *, number: int | None = None, newest: int) -> int:
        """Forget messages up to the number `newest`, by what is known of them; return how many.

        Raises:
            ValueError: the query has a mistake.
        """
        removed = self.store.remove(query, number=number, newest=newest)
        if removed:
            self.changes.tell("removed")
        return removed

    # Release.

    @property
    def _can_release(self) -> bool:
        """True where there is a server to send messages on to."""
        return self._release is not None

    async def release(self, kept: Kept, recipients: list[str]) -> smtpx.SendResult:
        """Send a message on, to allowed recipients alone.

        Raises:
            PermissionError: one of them is not allowed, or there is no release.
            smtpx.SMTPError: nobody gets it.
        """
        if self._release is None:
            raise PermissionError("there is nowhere to release to: serve with --release-to URL")
        sender = kept.row["sender"] or None
        parsed = [smtpx.Address.parse(each) for each in recipients]
        # A mailbox gets it once: a domain is the same in capitals (RFC 5321 §2.4).
        once = {(each.local_part, each.domain.lower()): each for each in reversed(parsed)}
        envelope = smtpx.Envelope(sender, list(once.values())[::-1])
        for recipient in envelope.recipients:
            # The final envelope is what counts, as it is said to the server.
            address = str(recipient).lower()
            if not any(fnmatchcase(address, pattern.lower()) for pattern in self._allow):
                raise PermissionError(
                    f"{recipient} is not allowed: serve with --release-allow '{address}'"
                )
        # To whom it was copied blindly is told to nobody.
        return await self._release(without(BCC, self.store.content(kept.row["id"])), envelope)

    def _settings(self) -> dict[str, Any]:
        """What the page tells about the server."""
        server = self.server
        return {
            "smtp": None if server is None else server.url,
            "tls": None if server is None else server.tls.value,
            "release": self._can_release,
            "indexed": self.store.is_indexed,
        }


def _dkim_keys(given: Mapping[str, str] | None) -> dict[str, str]:
    if given is None:
        return {}
    _checks.instance("dkim_keys", given, Mapping)
    for name, record in given.items():
        _checks.text("dkim_keys", name)
        _checks.text("dkim_keys", record)
        if "._domainkey." not in name or not record.isascii():
            raise ValueError(
                f"dkim_keys={name!r}: give TXT records of ASCII by selector._domainkey.domain"
            )
    return {name.lower(): record for name, record in given.items()}
