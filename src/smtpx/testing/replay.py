"""A server that plays recorded sessions again: what it says, and what it expects to hear.

The script is one of `smtpx.Transcript`'s, or written by hand in the same form (see
`smtpx.testing.script`). Each line that begins ``# session`` begins a session, and each session is
played to one connection. What differs from run to run may differ here: the EHLO name, sizes and
the content. So may a secret: ``[redacted]`` stands for it.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
from pathlib import Path
from types import TracebackType
from typing import Self, assert_never

from smtpx import _checks
from smtpx._starting import Joined
from smtpx.transcripts import Transcript

from ._tls import Authority
from ._transcript import Entry, Event, Happening, Said, read_script, shown, write_entry
from .script import TranscriptMismatch

_SESSION = re.compile(r"^# session\b.*$", re.MULTILINE)
# What a command may differ in: the rest is compared as it is.
_FREE = re.compile(
    r"\[redacted\]|(?<= SIZE=)\d+|(?<=^BDAT )\d+|(?<=^EHLO )\S+|(?<=^HELO )\S+|(?<=^LHLO )\S+"
)
_CHUNK = re.compile(rb"BDAT (\d{1,15})( LAST)?\r\n")
_BUFFER = 65536
_TLS = Happening(Event.TLS)
_LONGEST_LINE = 1 << 20


class Replay:
    """Listens on the loopback interface while its context is open.

    ::

        with Replay(Path("dialogue.smtp")) as server:
            smtpx.send(message, server.url)

    Leaving the context raises `TranscriptMismatch` where a client said something else, or not all
    sessions were played.
    """

    def __init__(self, script: str | Transcript | Path, *, patience: float = 10.0) -> None:
        """Read the script: a text, a `Transcript`, or a file of one.

        A client that says nothing for `patience` seconds has not done what the script says.

        Raises:
            ValueError: it cannot be read, or is empty.
        """
        if not isinstance(script, (str, Transcript, Path)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("script", script, "a str, a smtpx.Transcript or a Path")
        _checks.amount("patience", patience, "seconds")
        text = script.read_text("utf-8") if isinstance(script, Path) else str(script)
        parts = [read_script(part) for part in _SESSION.split(text)]
        self._sessions = [entries for entries in parts if entries]
        if not self._sessions:
            raise ValueError("there is no session in the script")
        self._patience = patience
        self._text = text
        self._played = 0
        self._mismatch: TranscriptMismatch | None = None
        self._authority: Authority | None = None
        self._listener: socket.socket | None = None
        self._port = 0
        self._thread: Joined | None = None
        self._stopping = False

    def __enter__(self) -> Self:
        if any(_TLS in entries for entries in self._sessions):
            self._authority = Authority(("localhost", "127.0.0.1"), expired=False)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._thread = Joined(self._play_all, "smtpx.testing.replay")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        mismatch = self._mismatch
        if mismatch is None and self._played < len(self._sessions):
            mismatch = TranscriptMismatch(
                f"{self._played} of {len(self._sessions)} sessions were played"
            )
        if mismatch is None:
            return
        if error is None:
            raise mismatch
        error.add_note(str(mismatch))

    @property
    def url(self) -> str:
        """Where it listens, for `smtpx.Client` and its kin."""
        if self._listener is None:
            raise RuntimeError("it listens while its context is open")
        port = self._port
        first = self._sessions[0]
        if first[0] == _TLS:
            return f"smtps://localhost:{port}"
        scheme = "lmtp" if re.search(r"^C: LHLO ", self._text, re.MULTILINE) else "smtp"
        starttls = "?tls=starttls" if _TLS in first else ""
        return f"{scheme}://127.0.0.1:{port}{starttls}"

    @property
    def ca_file(self) -> Path | None:
        """The authority of its certificate, where the script has TLS."""
        return None if self._authority is None else self._authority.ca_file

    def _stop(self) -> None:
        if self._listener is None or self._thread is None:
            return
        self._stopping = True
        # A connection of our own ends the wait for another one.
        if self._played < len(self._sessions):
            try:
                socket.create_connection(("127.0.0.1", self._port), self._patience).close()
            except OSError:
                pass  # It has just ended.
        self._thread.join()
        if self._authority is not None:
            self._authority.close()

    def _play_all(self) -> None:
        listener = self._listener
        if listener is None:
            raise AssertionError("who plays listens")
        # Closed as soon as nothing is left to play: a client too many would wait for a greeting.
        with listener:
            for entries in self._sessions:
                connection, _ = listener.accept()
                if self._stopping:
                    connection.close()
                    return
                playing = _Playing(connection, entries, self._patience, self._authority)
                try:
                    playing.play()
                except TranscriptMismatch as mismatch:
                    self._mismatch = mismatch
                    return
                finally:
                    playing.close()
                self._played += 1


class _Playing:
    """One session with one connection."""

    def __init__(
        self,
        connection: socket.socket,
        entries: list[Entry],
        patience: float,
        authority: Authority | None,
    ) -> None:
        connection.settimeout(min(patience, _checks.LONGEST_WAIT))
        self._connection = connection
        self._entries = entries
        self._authority = authority
        self._arrived = b""
        self._dialogue: list[str] = []

    def close(self) -> None:
        self._connection.close()

    def play(self) -> None:
        """Play the entries.

        Raises:
            TranscriptMismatch: the client said something else, or nothing.
        """
        for entry in self._entries:
            try:
                if self._perform(entry):
                    return
            except OSError as error:
                self._differs(entry, f"({error})")
            self._dialogue.append(write_entry(entry))

    def _perform(self, entry: Entry) -> bool:
        """Do what the entry says; True if the connection is closed then."""
        if isinstance(entry, Said):
            if entry.client:
                self._hear(entry)
            else:
                self._connection.sendall(entry.data)
            return False
        match entry.event:
            case Event.TLS:
                self._start_tls()
                return False
            case Event.SILENCE:
                while self._connection.recv(_BUFFER):
                    pass  # Until the client has had enough.
                return True
            case Event.RESET:
                linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return True
            case Event.CLOSE | Event.TLS_FAILURE:
                return True
            case _:
                assert_never(entry.event)

    def _hear(self, entry: Said) -> None:
        line = self._line()
        while entry.data == b".\r\n" and line not in (b".\r\n", b""):
            line = self._line()
        if not _agrees(entry.data, line):
            self._differs(entry, f"C: {shown(line)}" if line else "(hangs up)")
        if chunk := _CHUNK.fullmatch(line):
            self._skip(int(chunk[1]))

    def _line(self) -> bytes:
        while b"\n" not in self._arrived and len(self._arrived) < _LONGEST_LINE:
            octets = self._connection.recv(_BUFFER)
            if not octets:
                break
            self._arrived += octets
        end = self._arrived.find(b"\n") + 1 or len(self._arrived)
        line, self._arrived = self._arrived[:end], self._arrived[end:]
        return line

    def _skip(self, octets: int) -> None:
        while len(self._arrived) < octets:
            octets -= len(self._arrived)
            self._arrived = self._connection.recv(_BUFFER)
            if not self._arrived:
                return
        self._arrived = self._arrived[octets:]

    def _start_tls(self) -> None:
        if self._authority is None:
            raise AssertionError("a script with TLS has an authority")
        context: ssl.SSLContext = self._authority.server_context
        self._connection = context.wrap_socket(self._connection, server_side=True)

    def _differs(self, expected: Entry, got: str) -> None:
        said = "\n".join(f"  {line}" for line in self._dialogue)
        raise TranscriptMismatch(
            "the client does otherwise (- the script, + the client)\n"
            f"{said}\n- {write_entry(expected)}\n+ {got}"
        )


def _agrees(expected: bytes, line: bytes) -> bool:
    """True if a line is what the script has, but for what may differ."""
    text = expected.decode("utf-8", "surrogateescape")
    parts: list[str] = []
    start = 0
    for free in _FREE.finditer(text):
        parts += [re.escape(text[start : free.start()]), r"[^\r\n]*"]
        start = free.end()
    pattern = "".join([*parts, re.escape(text[start:])])
    return re.fullmatch(pattern, line.decode("utf-8", "surrogateescape")) is not None
