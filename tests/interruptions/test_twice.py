"""Struck twice, as by who presses Ctrl-C again, in every blocking face: all is told, nothing lost.

The second strike hits what the first one had us do. The server shares nothing with smtpx.
"""

from __future__ import annotations

import gc
import os
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import pytest
import trustme

import smtpx
import smtpx.smtplib
from smtpx import Client, Envelope, PoolLimits, SendResult, Session, Status, TLSMode, TLSPolicy
from smtpx.outbox import Outbox, Retries, State
from tests.certificates import ca_file_of, serving
from tests.interruptions.noting import Noting, Ways
from tests.interruptions.points import Points
from tests.interruptions.subjects import open_files

DATA = ("PIPELINING", "8BITMIME", "SIZE")
SENDER, BOB, EVE = "ann@example.org", "bob@one.test", "eve@two.test"
ENVELOPE = Envelope(SENDER, [BOB, EVE])
MESSAGES = 5
AFTER = b"after\r\n"
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc"),
]


class Interruption(BaseException):
    """What a signal handler raises."""


def interrupt() -> None:
    raise Interruption


def content(number: int) -> bytes:
    return b"Subject: %d\r\n\r\nhello\r\n" % number


class Face:
    """One way of sending, which keeps what it is told of each message."""

    messages = 1

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url
        self.options = options
        self.told: list[SendResult] = []

    def call(self) -> None:
        """What is struck."""
        raise NotImplementedError

    def ended(self, error: BaseException) -> None:
        """Take what hangs on whatever has ended the call."""
        result = vars(error).get("result")
        self.told += [] if result is None else [result]
        self.told += vars(error).get("results", [])

    def faults(self) -> Iterable[str]:
        """What it has lost."""
        return ()

    def close(self) -> None:
        """Close what is left."""

    def untrue(self, taken: Sequence[tuple[bytes, str]]) -> Iterable[str]:
        """What it has told that does not hold at the server, or not told, or told twice."""
        had = Counter(taken)
        states: Counter[tuple[bytes, str]] = Counter()
        for result in self.told:
            assert isinstance(result.message, bytes | None)
            for outcome in result.outcomes:
                key = result.message or content(0), str(outcome.recipient)
                states[key] += 1
                if (outcome.status is Status.ACCEPTED and not had[key]) or (
                    outcome.status in (Status.REFUSED, Status.NOT_TRIED) and had[key]
                ):
                    yield f"{outcome}, taken {had[key]} times"
        yield from [
            f"{key} was told of {times} times" for key, times in states.items() if times > 1
        ]
        yield from [
            f"{key} is told of nowhere" for key in had if key[0] != AFTER and not states[key]
        ]


class OfClient(Face):
    def __init__(self, url: str, options: dict[str, Any]) -> None:
        super().__init__(url, options)
        self.client = Client(url, pool=PoolLimits(open=2, wait=5), **options)

    def faults(self) -> Iterable[str]:
        statistics = self.client.statistics()
        if statistics.opening or statistics.busy or statistics.waiting:
            yield f"a place is lost: {statistics}"
        if not self.client.send(AFTER, ENVELOPE).accepted:
            yield "the next call failed"

    def close(self) -> None:
        self.client.close()


class ClientSend(OfClient):
    """`Client.send`."""

    def call(self) -> None:
        self.told.append(self.client.send(content(0), ENVELOPE))


class ClientSendMany(OfClient):
    """`Client.send_many` over two connections."""

    messages = MESSAGES

    def call(self) -> None:
        given = [(content(number), ENVELOPE) for number in range(MESSAGES)]
        for result in self.client.send_many(given, connections=2, window=2):
            self.told.append(result)


class SessionSend(Face):
    """`Session.send`, from dialling to QUIT."""

    def call(self) -> None:
        with Session(self.url, **self.options) as session:
            self.told.append(session.send(content(0), ENVELOPE))


OLD = {
    "smtp": smtpx.smtplib.SMTP,
    "smtps": smtpx.smtplib.SMTP_SSL,
    "lmtp": smtpx.smtplib.LMTP,
}


class OldSendmail(Face):
    """`smtpx.smtplib`, which has no result to tell: who is interrupted knows nothing."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        super().__init__(url, options)
        self._taken_by = set[str]()

    def call(self) -> None:
        scheme, host, port = self.url.replace("//", "").split(":")
        kind: Any = OLD[scheme]
        context = {"context": ssl._create_unverified_context()} if self.options else {}
        with kind(host, int(port), **context) as smtp:
            refused = smtp.sendmail(SENDER, [BOB, EVE], content(0))
            self._taken_by = {BOB, EVE} - set(refused)

    def untrue(self, taken: Sequence[tuple[bytes, str]]) -> Iterable[str]:
        return [f"{name} has not got it" for name in self._taken_by - {name for _, name in taken}]


class OutboxRun(Face):
    """The worker of an `Outbox`; another one brings its work to its end."""

    messages = MESSAGES

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        super().__init__(url, options)
        self._folder = TemporaryDirectory()
        self._outbox = self._opened()
        self._client = Client(url, **options)
        names = [(f"bob{number}@one.test", f"eve{number}@two.test") for number in range(MESSAGES)]
        given = [(content(0), Envelope(SENDER, pair)) for pair in names]
        assert len([*self._outbox.put_many(given, on_doubt="hold")]) == MESSAGES

    def _opened(self) -> Outbox:
        soon = Retries(first=0.05, most=0.2, greylisted=0.05)
        return Outbox(f"sqlite:///{self._folder.name}/mail.db", retries=soon, lease=0.3)

    def call(self) -> None:
        self._outbox.run(self._client, connections=2, until_empty=True)

    def faults(self) -> Iterable[str]:
        with self._opened() as another:
            end = time.monotonic() + 5
            while any(another.counts()[state] for state in (State.WAITING, State.SENDING)):
                if time.monotonic() > end:
                    yield f"it goes no further: {another.counts()}"
                    break
                another.run(self._client, until_empty=True)
            self._states = {one.recipient: one.state for one in another.find()}

    def close(self) -> None:
        self._outbox.close()
        self._client.close()
        self._folder.cleanup()

    def untrue(self, taken: Sequence[tuple[bytes, str]]) -> Iterable[str]:
        had = {name for _, name in taken}
        for name, state in self._states.items():
            if (state is State.ACCEPTED and name not in had) or (
                state not in (State.ACCEPTED, State.IN_DOUBT) and name in had
            ):
                yield f"{name} is {state}, {had=}"


class OneShot(Face):
    """`smtpx.send`."""

    def call(self) -> None:
        self.told.append(smtpx.send(content(0), self.url, ENVELOPE, **self.options))


BLOCKING: list[type[Face]] = [
    ClientSend,
    ClientSendMany,
    SessionSend,
    OneShot,
    OldSendmail,
    OutboxRun,
]
WAYS = {
    "plain": Ways(),
    "TLS": Ways(),
    "LMTP": Ways(lmtp=True),
    "LMTP, refused": Ways(DATA, lmtp=True, refused=EVE),
    "divided": Ways(rcpt_max=1),
    "divided, TLS": Ways(DATA, rcpt_max=1),
    "closed": Ways(DATA, session_max=1, closes_mutely=True),
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def serve(authority: trustme.CA, tmp_path: Path) -> Callable[[str], tuple[Noting, dict[str, Any]]]:
    """Make a server, and the options of its clients."""

    def make(way: str) -> tuple[Noting, dict[str, Any]]:
        ways = WAYS[way]
        if "TLS" not in way:
            return Noting(ways), {}
        context = serving(authority.issue_cert("127.0.0.1"))
        ways = Ways(**{**vars(ways), "tls": context})
        return Noting(ways), {
            "tls": TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file_of(authority, tmp_path))
        }

    return make


def strike(face: Face, at: int, again: int) -> bool:
    """Call, and strike twice; False if the call has fewer points."""
    points = Points(at, interrupt, _is_not_the_callers, again)
    try:
        points.run(face.call)
    except (Interruption, smtpx.SMTPError) as error:
        face.ended(error)
    return points.happened


def _is_not_the_callers(frame: FrameType) -> bool:
    # Who is struck in a loop of his own leaves it, and what it would have had next.
    return frame.f_code is not ClientSendMany.call.__code__


def faults_of(face: Face, server: Noting, files: int, threads: int) -> Iterator[str]:
    """What is lost, or told wrongly."""
    _ = gc.collect()
    yield from face.faults()
    face.close()
    server.wait_for_the_end()
    had = Counter(server.taken)
    yield from [f"{key} was taken {times} times" for key, times in had.items() if times > 1]
    yield from face.untrue(server.taken)
    if open_files() > files:
        _ = gc.collect()  # What has come into a circle since would be, by and by.
    if open_files() > files:
        yield "an open file"
    if not ends_in_time(threads):
        yield "a thread"


def ends_in_time(threads: int) -> bool:
    """True once there are no more threads than that."""
    end = time.monotonic() + 5
    while running_threads() > threads and time.monotonic() < end:
        time.sleep(0.005)
    return running_threads() <= threads


def running_threads() -> int:
    """How many there are. `threading` also counts one whose start was interrupted, for ever."""
    return len(os.listdir("/proc/self/task"))


# What is passed each time. `make interruptions` passes the others, too.
SHORT: set[tuple[str, type[Face]]] = {
    ("TLS", ClientSend),
    ("divided", ClientSend),
    ("LMTP, refused", ClientSendMany),
    ("divided, TLS", ClientSendMany),
    ("LMTP", SessionSend),
    ("closed", OneShot),
    ("plain", OldSendmail),
}


@pytest.mark.parametrize(
    ("way", "kind", "again"),
    [
        pytest.param(
            *(way, kind, again),
            marks=[] if again == 3 and (way, kind) in SHORT else pytest.mark.slow,
        )
        for way in WAYS
        for kind in BLOCKING
        for again in (3, 1, 2, 5, 9, 17, 33, 65)
    ],
)
def test_struck_twice(
    way: str,
    kind: type[Face],
    again: int,
    serve: Callable[[str], tuple[Noting, dict[str, Any]]],
) -> None:
    step = 421 * kind.messages - again
    server, options = serve(way)
    wrong: list[str] = []
    with server:
        face = kind(server.url, options)
        face.call()
        face.close()
        server.wait_for_the_end()
        _ = gc.collect()
        files, threads = open_files(), running_threads()
        at, happened = 1, True
        while happened:
            server.taken.clear()
            face = kind(server.url, options)
            happened = strike(face, at, again)
            wrong += [f"at {at}: {fault}" for fault in faults_of(face, server, files, threads)]
            at += step
    assert wrong == []
    assert at > 50
