"""A server that stops, or drips, at one point takes that phase's time, by a scripted clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest

from smtpx._core.authentication import log_in
from smtpx._core.connection import Connection
from smtpx._core.housekeeping import quit_session, reset
from smtpx._core.opening import open_session
from smtpx._core.sending import deliver
from smtpx._core.steps import Receive, Send, StartTLS, Steps
from smtpx.envelope import Envelope
from smtpx.errors import TimedOut
from smtpx.options import Limits, Timeouts
from smtpx.sasl import Credentials
from smtpx.tls import Protection, TLSMode

# Each its own, so that the time that passed says which it was; none is a sum of others.
SECONDS = {
    field.name: 1000.0 * 2**number for number, field in enumerate(fields(Timeouts))
    if field.name != "total"
}  # fmt: skip
TIMEOUTS = Timeouts(**SECONDS)
CONTENT = b"Subject: hi\r\n\r\n" + b"hello\r\n" * 1000

EHLO = "250-mx.test\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250{}\r\n"
REPLIES = {
    "STARTTLS": "220 go\r\n",
    "AUTH": "235 hello ann\r\n",
    "MAIL": "250 ok\r\n",
    "RCPT": "250 ok\r\n",
    "DATA": "354 go on\r\n",
    "END-OF-DATA": "250 queued\r\n",
    "RSET": "250 ok\r\n",
    "QUIT": "221 bye\r\n",
    "BDAT": "250 ok\r\n",
}


class Peer:
    """A server that answers each command until it comes to `point`, where it stalls or drips."""

    def __init__(self, point: str, keywords: str, *, drips: bool) -> None:
        self.time = 0.0
        self._point = point
        self._drips = drips
        self._replies = {**REPLIES, "EHLO": EHLO.format(keywords)}
        self._said = b""
        self._heard = b""
        self._in_data = False
        self._chunk = 0
        self._is_stuck = False
        self._due = 0.0
        self._say("GREETING", "220 mx.test\r\n")

    def _say(self, command: str, reply: str) -> None:
        if command == self._point:
            self._is_stuck = True
        if not self._is_stuck:
            self._said += reply.encode()

    def _hear(self, octets: bytes) -> None:
        self._heard += octets
        while self._heard:
            if self._chunk:
                taken = min(self._chunk, len(self._heard))
                self._heard, self._chunk = self._heard[taken:], self._chunk - taken
                if not self._chunk:
                    self._say("BDAT", self._replies["BDAT"])
                continue
            if self._in_data:
                end = self._heard.find(b"\r\n.\r\n")
                if end < 0:
                    return
                self._heard, self._in_data = self._heard[end + 5 :], False
                self._say("END-OF-DATA", self._replies["END-OF-DATA"])
                continue
            line, end_of_line, self._heard = self._heard.partition(b"\r\n")
            assert end_of_line
            verb, *arguments = line.decode().split()
            if verb == "BDAT":
                self._chunk = int(arguments[0])
                continue
            self._say(verb, self._replies[verb])
            self._in_data = verb == "DATA"

    def _time_out(self, seconds: float | None) -> TimeoutError:
        assert seconds is not None
        self.time += seconds
        return TimeoutError("timed out")

    def _answer(self, step: object) -> bytes | None:
        match step:
            case Send(data, timeout):
                if self._point == "CONTENT" and len(data) > 3000:
                    raise self._time_out(timeout)
                self._hear(bytes(data))
                return b""
            case Receive(timeout, fresh):
                assert timeout is not None
                if fresh:
                    self._due = self.time + timeout
                if self._said:
                    said, self._said = self._said, b""
                    return said
                assert self._is_stuck, "it waits for what nobody will say"
                if self._drips and self.time + 300 < self._due:
                    self.time += 300
                    return b"2"
                raise self._time_out(self._due - self.time)
            case StartTLS() if self._point == "TLS-HANDSHAKE":
                raise self._time_out(step.timeout)
            case StartTLS():
                step.protection = Protection("TLSv1.3", "TLS_AES_256_GCM_SHA384")
                return b""
            case _:
                return None

    def run(self, procedure: Steps[object]) -> object:
        answer: bytes | None = None
        failure: OSError | None = None
        try:
            while True:
                step = procedure.throw(failure) if failure else procedure.send(answer)
                failure = None
                try:
                    answer = self._answer(step)
                except OSError as error:
                    failure = error
        except StopIteration as stop:
            return stop.value


def whole_session(connection: Connection) -> Steps[None]:
    """Everything one after the other, until it fails."""
    yield from open_session(connection, "me.example", TLSMode.STARTTLS)
    _ = yield from log_in(connection, Credentials("ann", "secret"))
    envelope = Envelope("ann@example.org", "bob@example.net")
    result = yield from deliver(connection, CONTENT, envelope, all_or_nothing=False)
    if result.error is not None:
        raise result.error
    _ = yield from reset(connection)
    _ = yield from quit_session(connection)


def phases() -> Iterator[object]:
    for keywords, group in [(" X", ["rcpt"]), ("-PIPELINING\r\n250 X", ["rcpt", "mail"])]:
        for point, names in {
            "GREETING": ["greeting"], "EHLO": ["hello"], "STARTTLS": ["tls"],
            "TLS-HANDSHAKE": ["tls"], "AUTH": ["auth"], "MAIL": ["mail"], "RCPT": group,
            "DATA": ["data_initiation"], "CONTENT": ["data_block"],
            "END-OF-DATA": ["data_termination"], "RSET": ["other"], "QUIT": ["quit"],
        }.items():  # fmt: skip
            yield pytest.param(keywords, point, names, id=f"{point}-{len(keywords)}")
    chunking = "-PIPELINING\r\n250 CHUNKING"
    for point in ("MAIL", "RCPT", "BDAT"):  # What goes out as one has one time.
        yield pytest.param(chunking, point, ["data_termination"], id=f"{point}-chunking")


@pytest.mark.requirement("T30a")
@pytest.mark.parametrize("drips", [False, True], ids=["stalls", "drips"])
@pytest.mark.parametrize(("keywords", "point", "names"), list(phases()))
def test_a_phase_takes_its_time_and_no_more(
    keywords: str, point: str, names: list[str], drips: bool
) -> None:
    connection = Connection(timeouts=TIMEOUTS, limits=Limits(reply_line=10**9, reply_size=10**9))
    peer = Peer(point, keywords, drips=drips)
    if point == "QUIT":  # What was accepted stays so: QUIT fails without a word.
        _ = peer.run(whole_session(connection))
    else:
        with pytest.raises(TimedOut) as caught:
            _ = peer.run(whole_session(connection))
        assert caught.value.phase in names
    assert peer.time in [SECONDS[name] for name in names]
    assert not connection.usable
