"""Plays a dialogue to a procedure, without a socket and without a loop.

A script is text. Each line says who speaks, and stands for one line on the wire::

    S: 220 mail.test ESMTP
    C: EHLO me.example
    S: 250-mail.test
    S: 250 PIPELINING
    C: QUIT
    S: 221 Bye
    S: <close>

- A line without a speaker goes on for the last one. Blank lines and lines with ``#`` are ignored.
- Escapes: ``\\x00``, ``\\0``, ``\\t``, ``\\r``, ``\\n``, ``\\\\``. A backslash at the end of the
  line: no CRLF here.
- ``S: <close>`` ends the stream; ``S: <reset>`` fails the next step with ConnectionResetError;
  ``S: <silence>`` answers the next Receive with TimeoutError.
- ``--tls--`` is a StartTLS step; ``--tls failure--`` is one that fails with ssl.SSLError.
- ``S!:`` says what the server says unasked: a Glance finds it; a client that does not look gets it
  with its next Receive.

Consecutive ``C:`` lines are what the client must write before the server goes on, in any number of
Send steps.
"""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, NoReturn, TypeVar, assert_never

from smtpx import _checks
from smtpx._core.steps import Glance, Mark, More, Obtain, Receive, Send, StartTLS, Step, Steps
from smtpx.tls import Protection

from ._transcript import Entry, Event, Happening, Said, read_script, shown, write_entry

T = TypeVar("T")


class Mode(Enum):
    """How much of what the server says comes with one Receive."""

    WHOLE = "whole"
    """All it says before the client speaks again."""
    LINE = "line"
    BYTE = "byte"


class TranscriptMismatch(AssertionError):
    """The procedure did not do what the script says."""


@dataclass(frozen=True, slots=True)
class Played(Generic[T]):
    """What came of playing a script."""

    value: T
    """What the procedure returned."""

    writes: int
    """How many Send steps it took."""

    round_trips: int
    """How many times it waited for the server after it had written."""

    sent: bytes


def play(procedure: Steps[T], script: str, mode: Mode = Mode.WHOLE) -> Played[T]:
    """Run `procedure` against `script`.

    What the procedure raises goes through; a note says what was left of the script then.

    Raises:
        TranscriptMismatch: the procedure spoke out of turn, said something else, waited while the
            script waits for it, or returned before the end of the script.
        ValueError: the script cannot be read.
    """
    _checks.instance("procedure", procedure, Generator)
    _checks.text("script", script)
    _checks.instance("mode", mode, Mode)
    player = _Player(read_script(script), mode)
    try:
        value = _run(procedure, player)
    except TranscriptMismatch as mismatch:
        _close(procedure, mismatch)
        raise
    except BaseException as error:
        if rest := player.rest():
            error.add_note("The script was not finished:\n" + "\n".join(rest))
        raise
    player.finish()
    return Played(value, player.writes, player.round_trips, bytes(player.sent))


def _run(procedure: Steps[T], player: _Player) -> T:
    failure: OSError | None = None
    answer: bytes | None = None
    while True:
        try:
            if failure is not None:
                step = procedure.throw(failure)
            else:
                step = procedure.send(answer)
        except StopIteration as result:
            value: T = result.value
            return value
        failure = answer = None
        try:
            answer = player.perform(step)
        except OSError as error:
            failure = error


def _close(procedure: Steps[T], mismatch: TranscriptMismatch) -> None:
    try:
        procedure.close()
    except RuntimeError as error:
        mismatch.add_note(f"and then, when it was told to stop: {error}")


class _Player:
    """Where the script has got to."""

    def __init__(self, entries: list[Entry], mode: Mode) -> None:
        self._entries = entries
        self._next = 0
        self._mode = mode
        self._dialogue: list[str] = []
        self._arrived = b""
        """Said unasked, and not looked at."""
        self._partial = b""
        """Said, but the mode held it back."""
        self._closed = False
        self._spoke = False
        self.writes = 0
        self.round_trips = 0
        self.sent = bytearray()

    def perform(self, step: Step) -> bytes | None:
        """Answer a step, or raise what it fails with."""
        match step:
            case Send(data=data):
                self._hear(bytes(data))
                return b""
            case Receive():
                return self._speak()
            case Glance():
                return self._show()
            case StartTLS():
                self._start_tls()
                step.protection = Protection("TLSv1.3", "TLS_AES_256_GCM_SHA384")
                return b""
            case Obtain():
                if step.ask() is not None:
                    raise TranscriptMismatch("a script cannot await the source of a secret")
                return b""
            case Mark():
                if step.ask() is not None:
                    raise TranscriptMismatch("a script cannot await a mark")
                return b""
            case More():
                raise TranscriptMismatch("a script has no more messages for the procedure")
            case _:
                assert_never(step)

    def finish(self) -> None:
        """Check that nothing is left."""
        if rest := self.rest():
            self._mismatch("the procedure returned too early", rest, [])

    def rest(self) -> list[str]:
        """Write down what has not been played."""
        unread = (self._partial + self._arrived).splitlines(keepends=True)
        return [f"S: {shown(line)}" for line in unread] + [
            write_entry(entry) for entry in self._entries[self._next :]
        ]

    # What the client does.

    def _hear(self, data: bytes) -> None:
        self._let_arrive()
        self._fail_if_reset()
        start, expected = self._next, bytearray()
        while self._next < len(self._entries) and len(expected) < len(data):
            entry = self._entries[self._next]
            if not isinstance(entry, Said) or not entry.client:
                break
            expected += entry.data
            self._next += 1
        lines = [f"C: {shown(line)}" for line in data.splitlines(keepends=True)]
        if self._partial or not data or not expected.startswith(data):
            self._next = start
            out_of_turn = self._partial or not expected
            what = "the client speaks out of turn" if out_of_turn else "the client says otherwise"
            self._mismatch(what, self._turn(), lines)
        if left := bytes(expected[len(data) :]):
            # The rest of a line that was sent in parts.
            self._next -= 1
            self._entries[self._next] = Said(client=True, data=left)
        self._dialogue += lines
        self.sent += data
        self.writes += 1
        self._spoke = True

    def _let_arrive(self) -> None:
        while (entry := self._peek()) is not None:
            if not isinstance(entry, Said) or not entry.unsolicited:
                return
            self._dialogue.append(write_entry(entry))
            self._arrived += entry.data
            self._next += 1

    # What the server does.

    def _speak(self) -> bytes:
        if not self._arrived and not self._partial:
            self._fail_if_reset()
            entry = self._peek()
            if isinstance(entry, Happening) and entry.event is Event.SILENCE:
                self._take(entry)
                raise TimeoutError("timed out")
            if isinstance(entry, Happening) and entry.event is Event.CLOSE:
                self._take(entry)
                self._closed = True
            if self._closed:
                return b""
        said = self._collect()
        if not said:
            self._mismatch("the client waits", self._turn(), ["(waits for the server)"])
        if self._spoke:
            self._spoke = False
            self.round_trips += 1
        return said

    def _collect(self) -> bytes:
        """Take as much of what the server says as the mode gives at once."""
        data = self._partial + self._arrived
        self._arrived = b""
        while isinstance(entry := self._peek(), Said) and not entry.client:
            if data and self._mode is not Mode.WHOLE:
                break
            self._take(entry)
            data += entry.data
        match self._mode:
            case Mode.WHOLE:
                size = len(data)
            case Mode.LINE:
                size = data.find(b"\n") + 1 or len(data)
            case Mode.BYTE:
                size = 1
            case _:
                assert_never(self._mode)
        self._partial = data[size:]
        return data[:size]

    def _show(self) -> bytes | None:
        self._let_arrive()
        if self._arrived:
            data, self._arrived = self._arrived, b""
            return data
        entry = self._peek()
        if isinstance(entry, Happening) and entry.unsolicited:
            self._fail_if_reset()
            if entry.event is Event.CLOSE:
                self._take(entry)
                self._closed = True
        return b"" if self._closed else None

    def _start_tls(self) -> None:
        self._fail_if_reset()
        entry = self._peek()
        if isinstance(entry, Happening):
            match entry.event:
                case Event.TLS:
                    self._take(entry)
                    return
                case Event.TLS_FAILURE:
                    self._take(entry)
                    raise ssl.SSLError(1, "the handshake failed")
                case Event.SILENCE:
                    self._take(entry)
                    raise TimeoutError("timed out")
                case _:
                    pass
        self._mismatch("the client starts TLS", self._turn(), [Event.TLS.value])

    # The script.

    def _peek(self) -> Entry | None:
        return self._entries[self._next] if self._next < len(self._entries) else None

    def _take(self, entry: Entry) -> None:
        self._dialogue.append(write_entry(entry))
        self._next += 1

    def _fail_if_reset(self) -> None:
        entry = self._peek()
        if isinstance(entry, Happening) and entry.event is Event.RESET and not self._partial:
            self._take(entry)
            # What had arrived can still be read, and then the end of the stream.
            self._closed = True
            raise ConnectionResetError("connection reset by peer")

    def _turn(self) -> list[str]:
        """Write down what the script says next, up to a change of speaker."""
        if unread := self._partial:
            return [f"S: {shown(unread)}"]
        turn: list[str] = []
        for entry in self._entries[self._next :]:
            if turn and (not isinstance(entry, Said) or write_entry(entry)[0] != turn[0][0]):
                break
            turn.append(write_entry(entry))
        return turn or ["(the end of the script)"]

    def _mismatch(self, what: str, expected: list[str], got: list[str]) -> NoReturn:
        # The first three lines name files and positions, which there are none of.
        difference = list(difflib.unified_diff(expected, got, lineterm="", n=len(expected)))[3:]
        raise TranscriptMismatch(
            "\n".join(
                [
                    f"{what} (- the script, + the procedure)",
                    *(f"  {line}" for line in self._dialogue),
                    *(f"{line[0]} {line[1:]}" for line in difference),
                ]
            )
        )
