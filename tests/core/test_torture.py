"""Every step of a whole session fails once, in every way that a transport can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smtpx._core.authentication import log_in
from smtpx._core.connection import Connection
from smtpx._core.housekeeping import quit_session
from smtpx._core.opening import open_session
from smtpx._core.steps import Glance, Receive, Send, StartTLS, Step, Steps
from smtpx._core.transaction import transaction
from smtpx._wire.content import Content
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, RemoteProtocolError, TimedOut
from smtpx.results import SendResult, Status
from smtpx.sasl import Credentials
from smtpx.tls import Protection, TLSMode

ENVELOPE = Envelope("ann@example.org", ["bob@example.net", "carol@example.net"])
FAILURES: dict[str, Callable[[], BaseException | bytes]] = {
    "reset": lambda: ConnectionResetError(104, "reset"),
    "broken pipe": lambda: BrokenPipeError(32, "broken pipe"),
    "time up": lambda: TimeoutError("timed out"),
    "unreachable": lambda: OSError(113, "no route to host"),
    "end": lambda: b"",
}
OVER = (ConnectionLost, TimedOut, RemoteProtocolError)


class Willing:
    """A server that says yes to all, whose transport fails at one step and ever after."""

    def __init__(self, extensions: str, fails_at: int, failure: Callable[[], object]) -> None:
        self._extensions = ["mail.test", *extensions.split("|")]
        self._fails_at = fails_at
        self._failure = failure
        self._said = b"220 hi\r\n"
        self._heard = b""
        self._content = False
        self.steps = 0
        self.took_the_message = False
        self.said_so = False

    def perform(self, step: Step) -> bytes | None:
        self.steps += 1
        if self.steps > self._fails_at:
            failure = self._failure()
            if isinstance(failure, BaseException):
                raise failure
            if isinstance(step, (Receive, Glance)):
                return b""
            raise BrokenPipeError(32, "broken pipe")
        match step:
            case Send(data=data):
                self._hear(bytes(data))
                return b""
            case Receive():
                assert self._said, "the client waits for what will not come"
                said, self._said = self._said, b""
                self.said_so = self.took_the_message
                return said
            case StartTLS():
                step.protection = Protection("TLSv1.3", "TLS_AES_256_GCM_SHA384")
                return b""
            case _:
                return None

    def _hear(self, data: bytes) -> None:
        self._heard += data
        while self._heard:
            if self._content:
                _, end, rest = self._heard.partition(b"\r\n.\r\n")
                if not end:
                    return
                self._content, self._heard = False, rest
                self._take()
                continue
            line, end, rest = self._heard.partition(b"\r\n")
            if not end:
                return
            verb, *arguments = line.split()
            if verb == b"BDAT":
                if len(rest) < int(arguments[0]):
                    return
                rest = rest[int(arguments[0]) :]
                if arguments[-1] == b"LAST":
                    self._take()
                else:
                    self._say(250)
            elif verb == b"EHLO":
                *lines, last = self._extensions
                self._said += b"".join(b"250-%s\r\n" % line.encode() for line in lines)
                self._say(250, last)
            else:
                self._content = verb == b"DATA"
                codes = {b"DATA": 354, b"AUTH": 235, b"STARTTLS": 220, b"QUIT": 221}
                self._say(codes.get(verb, 250))
            self._heard = rest

    def _take(self) -> None:
        self.took_the_message = True
        self._say(250)

    def _say(self, code: int, text: str = "ok") -> None:
        self._said += b"%d %s\r\n" % (code, text.encode())


def whole_session(content: Content) -> Steps[SendResult]:
    connection = Connection()
    yield from open_session(connection, "me.example", TLSMode.STARTTLS)
    _ = yield from log_in(connection, Credentials("ann", "secret"))
    result = yield from transaction(connection, ENVELOPE, content)
    _ = yield from quit_session(connection)
    return result


def run(server: Willing, procedure: Steps[SendResult]) -> SendResult:
    try:
        step = next(procedure)
        while True:
            try:
                answer = server.perform(step)
            except OSError as error:
                step = procedure.throw(error)
            else:
                step = procedure.send(answer)
    except StopIteration as stop:
        value: SendResult = stop.value
        return value


@pytest.mark.requirement("T33")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("size", [20, 100_000, 1_200_000])
@pytest.mark.parametrize(
    "extensions", ["PIPELINING|CHUNKING", "PIPELINING", "CHUNKING", "8BITMIME"]
)
def test_every_step_fails_once(extensions: str, size: int, failure: str) -> None:
    extensions = f"STARTTLS|AUTH PLAIN|{extensions}"
    statuses: list[Status] = []
    content = b".line\r\n" * (size // 7)
    for source in (bytes, iter_of):
        for at in range(1000):
            server = Willing(extensions, at, FAILURES[failure])
            try:
                result = run(server, whole_session(Content(source(content))))
            except OVER:
                assert not server.took_the_message
                continue
            assert result.error is None or isinstance(result.error, OVER)
            (status,) = {outcome.status for outcome in result.outcomes}
            if server.took_the_message:
                assert status in (Status.ACCEPTED, Status.IN_DOUBT)
            if status is Status.ACCEPTED:
                assert server.said_so
            statuses.append(status)
            if server.steps <= at:
                break
        else:
            raise AssertionError("it does not end")
        assert status is Status.ACCEPTED
    assert set(statuses) == {Status.NOT_TRIED, Status.IN_DOUBT, Status.ACCEPTED}


def iter_of(data: bytes):
    return iter([data[i : i + 30_000] for i in range(0, len(data), 30_000)])
