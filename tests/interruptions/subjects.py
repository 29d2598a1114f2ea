"""Calls to be interrupted, and what must be so afterwards, however they ended."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import smtpx
from smtpx import Client, Envelope, PoolLimits, Session

ENVELOPE = Envelope("s1@x.test", ["bob@y.test", "eve@y.test"])
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
MANY = [(b"Subject: %d\r\n\r\nhello\r\n" % number, ENVELOPE) for number in range(12)]
# Long after any that could be had, and soon enough to see that none can.
_PATIENCE = 3.0


class Subject:
    """Something that is called: prepared, called, looked at and cleared away."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        """What came of an interruption that is none."""

    def prepare(self, url: str) -> None:
        """Make what is called."""

    def call(self) -> object:
        """What is interrupted."""

    def faults(self) -> list[str]:
        """What was lost, once it is cleared away."""
        raise NotImplementedError


class _OfClient(Subject):
    places = 1
    is_used = False

    def prepare(self, url: str) -> None:
        limits = PoolLimits(open=self.places, idle=self.places, wait=_PATIENCE)
        self.client = Client(url, pool=limits)
        if self.is_used:
            _ = self.client.send(CONTENT, ENVELOPE)

    def faults(self) -> list[str]:
        # Of each place at once, for one that is lost shows only when all are wanted.
        lost = in_time(lambda: list(self.client.send_many(MANY, connections=self.places)))
        lost += in_time(lambda: self.client.send(CONTENT, ENVELOPE))
        told: list[smtpx.PoolStatistics] = []
        lost += in_time(lambda: told.append(self.client.statistics()))
        lost += [
            f"a place: {statistics.busy} busy, {statistics.opening} opening"
            for statistics in told
            if statistics.busy
            or statistics.opening
            or statistics.waiting
            or statistics.open > self.places
        ]
        lost += in_time(self.client.close)
        return lost


class SendAnew(_OfClient):
    """`Client.send`, which opens a connection."""

    def call(self) -> object:
        return self.client.send(CONTENT, ENVELOPE)


class Send(SendAnew):
    """`Client.send` over a connection that is there."""

    is_used = True


class SendInTurn(_OfClient):
    """`Client.send` that waits for the only connection, which another thread has for a while."""

    is_used = True

    def prepare(self, url: str) -> None:
        super().prepare(url)
        begun = threading.Event()

        def content() -> Iterator[bytes]:
            begun.set()
            time.sleep(0.01)
            yield CONTENT

        self.holder = threading.Thread(target=lambda: self.client.send(content(), ENVELOPE))
        self.holder.start()
        _ = begun.wait(_PATIENCE)

    def call(self) -> object:
        return self.client.send(CONTENT, ENVELOPE)

    def faults(self) -> list[str]:
        self.holder.join()
        return super().faults()


class SendMany(_OfClient):
    """`Client.send_many` over two connections, to its end."""

    places = 2

    def call(self) -> object:
        return list(self.client.send_many(MANY, connections=2, window=3))


class SendManyLeft(_OfClient):
    """`Client.send_many` that is left in the middle, and its release."""

    places = 2
    is_used = True

    def call(self) -> object:
        sending: Any = self.client.send_many(MANY, connections=2, window=3)
        _ = next(sending)
        sending.close()
        return None


class CloseClient(_OfClient):
    """`Client.close`, which says goodbye; afterwards another client has its turn."""

    is_used = True

    def prepare(self, url: str) -> None:
        self.url = url
        super().prepare(url)

    def call(self) -> object:
        self.client.close()
        return None

    def faults(self) -> list[str]:
        lost = in_time(self.client.close)
        super().prepare(self.url)
        return lost + super().faults()


class OpenSession(Subject):
    """`Session.open`; what was not opened needs no closing."""

    def prepare(self, url: str) -> None:
        self.session = Session(url)

    def call(self) -> object:
        self.session.open()
        return None

    def faults(self) -> list[str]:
        if not self.session.is_open:
            return in_time(_nothing)
        return in_time(self.session.noop) + in_time(self.session.close)


class UseSession(Subject):
    """A message over a session of its own, from dialling to QUIT."""

    def prepare(self, url: str) -> None:
        self.url = url

    def call(self) -> object:
        return smtpx.send(CONTENT, self.url, envelope=ENVELOPE)

    def faults(self) -> list[str]:
        return in_time(lambda: smtpx.send(CONTENT, self.url, envelope=ENVELOPE))


SUBJECTS: list[type[Subject]] = [
    SendAnew,
    Send,
    SendInTurn,
    SendMany,
    SendManyLeft,
    CloseClient,
    OpenSession,
    UseSession,
]


def in_time(call: Callable[[], object]) -> list[str]:
    """Call in another thread, as somebody else would; what was wrong with it."""
    wrong: list[str] = []

    def run() -> None:
        try:
            # logging's own lock belongs to everybody in the process.
            _ = logging.getLogger("smtpx.tests.interruptions")
            _ = call()
        except BaseException as error:
            wrong.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2 * _PATIENCE)
    if thread.is_alive():
        raise Hung
    return wrong


def _nothing() -> None:
    """Somebody else's turn."""


class Hung(Exception):
    """A lock was lost: nothing that follows would tell more."""


def left_behind(files: int, threads: int) -> list[str]:
    """What is still there of all that was opened."""
    left: list[str] = []
    if open_files() > files:
        left.append("an open file")
    if threading.active_count() > threads:
        left.append("a thread")
    return left


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
