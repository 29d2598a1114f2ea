"""A server that holds its clients as long as it can, in a process of its own.

It shares nothing with smtpx. At one phase of the dialogue it stops to behave; whatever it does
then it does for `HOLD` seconds, so that who is held comes back at last, and late.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path

import trustme

from tests.held.records import HELLO_REQUESTS, Writer, server_secret

HOLD = 4.0
_PAUSE = 0.02
# Until the client waits for room to write, or has its reply.
_UNREAD = 0.2
_KEY_UPDATES = 50_000


class Phase(Enum):
    """Where the server stops to behave."""

    CONNECT = "connect"
    """Its queue is full, and whoever comes is not let in: so Linux does it."""
    GREETING = "greeting"
    HELLO = "EHLO"
    STARTTLS = "STARTTLS"
    HANDSHAKE = "handshake"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "content"
    END = "end of data"
    RSET = "RSET"
    OTHER = "NOOP"
    XCLIENT = "XCLIENT"
    QUIT = "QUIT"
    IDLE = "idle"
    """Right after its reply to NOOP, or to the end of data."""


class Manner(Enum):
    """What it does there. It reads nothing any more, but where it drips in the content."""

    SILENCE = "silence"
    DRIP = "one octet at a time"
    HALF_CLOSE = "half-close"
    FLOOD = "flood of replies"
    LINES = "endless lines"
    KEY_UPDATES = "key updates"
    TICKETS = "session tickets"
    PARTING = "421, and silence"


class Protection(Enum):
    """When TLS begins."""

    NONE = "plain"
    STARTTLS = "STARTTLS"
    IMPLICIT = "TLS"


@dataclass(frozen=True)
class Plan:
    """How a server treats those who come."""

    phase: Phase
    manner: Manner
    protection: Protection = Protection.NONE
    extensions: tuple[str, ...] = ()
    lmtp: bool = False


class _Over(Exception):
    """The client has been held for long enough, or has gone."""


class _Wire:
    """A connection, as plain text or under TLS."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, keylog: Path) -> None:
        self.socket = connected
        self._context = context
        self._keylog = keylog
        self._unread = b""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._client_random = b""
        self._written = 0
        self._key_updates = b""

    def protect(self, *, pause: float = 0, key_updates: int = 0) -> None:
        """Do the handshake, an octet at a time if there is a pause between them.

        Key updates are made before the client is answered: made as they go, they would not come
        as fast as it takes them.
        """
        self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if self._client_random and key_updates:
                    following = self.writer().following()
                    updates = [following.key_update() for _ in range(key_updates)]
                    self._key_updates = b"".join(updates)
                self._flush(pause)
                octets = self._receive()
                self._client_random = self._client_random or octets[11:43]
                _ = self._incoming.write(octets)
        self._flush(pause)

    @property
    def key_updates(self) -> bytes:
        """Those that were made, and the one that goes before them."""
        return self.writer().key_update() + self._key_updates

    def _flush(self, pause: float = 0) -> None:
        octets = self._outgoing.read()
        if not pause:
            return self.socket.sendall(octets)
        for octet in octets:
            self.socket.sendall(bytes([octet]))
            time.sleep(pause)
        return None

    def _receive(self) -> bytes:
        octets = self.socket.recv(65536)
        if not octets:
            raise _Over
        return octets

    def say(self, octets: bytes) -> None:
        if self._tls is None:
            return self.socket.sendall(octets)
        _ = self._tls.write(octets)
        self._written += 1
        return self._flush()

    def read(self, size: int = 65536) -> bytes:
        """What comes next; so much of it at most."""
        while not self._unread:
            if self._tls is None:
                self._unread = self._receive()
                break
            try:
                self._unread = self._tls.read(65536)
                if not self._unread:
                    raise _Over
            except ssl.SSLWantReadError:
                _ = self._incoming.write(self._receive())
        octets, self._unread = self._unread[:size], self._unread[size:]
        return octets

    def until(self, mark: bytes) -> bytes:
        """What comes up to a mark, and with it."""
        octets = b""
        while mark not in octets:
            octets += self.read()
        before, _, after = octets.partition(mark)
        self._unread = after + self._unread
        return before + mark

    def take(self, size: int) -> None:
        while size:
            size -= len(self.read(size))

    def writer(self) -> Writer:
        """Writes the records that follow."""
        assert self._tls is not None
        suite, *_ = self._tls.cipher() or ("",)
        secret = server_secret(self._keylog.read_text(), self._client_random)
        return Writer(suite, secret, self._written)


class _Dialogue:
    """One connection, from its beginning to where the server stops to behave."""

    def __init__(self, plan: Plan, wire: _Wire) -> None:
        self._plan = plan
        self._wire = wire
        self._end = time.monotonic() + HOLD

    def run(self) -> None:
        wire, plan = self._wire, self._plan
        if plan.protection is Protection.IMPLICIT:
            self._protect()
        self._at(Phase.GREETING)
        wire.say(b"220 hostile.test ESMTP\r\n")
        recipients = 0
        while True:
            line = wire.until(b"\r\n")
            verb, *arguments = line.split()
            match verb.upper():
                case b"EHLO" | b"LHLO" | b"HELO":
                    self._at(Phase.HELLO)
                    wire.say(self._offer())
                case b"STARTTLS":
                    self._at(Phase.STARTTLS)
                    wire.say(b"220 go ahead\r\n")
                    self._protect()
                case b"DATA":
                    self._at(Phase.DATA)
                    wire.say(b"354 go ahead\r\n")
                    self._at(Phase.CONTENT)
                    _ = wire.until(b"\r\n.\r\n")
                    self._end_of_data(recipients)
                case b"BDAT":
                    self._at(Phase.CONTENT)
                    wire.take(int(arguments[0]))
                    if arguments[1:]:
                        self._end_of_data(recipients)
                    else:
                        wire.say(b"250 ok\r\n")
                case b"MAIL":
                    recipients = 0
                    self._answer(Phase.MAIL)
                case b"RCPT":
                    recipients += 1
                    self._answer(Phase.RCPT)
                case b"AUTH":
                    self._answer(Phase.AUTH, b"235 welcome\r\n")
                case b"RSET":
                    self._answer(Phase.RSET)
                case b"XCLIENT":
                    self._answer(Phase.XCLIENT, b"220 hostile.test ESMTP\r\n")
                case b"QUIT":
                    self._answer(Phase.QUIT, b"221 bye\r\n")
                    raise _Over
                case _:
                    self._answer(Phase.OTHER)
                    self._at(Phase.IDLE)

    def _offer(self) -> bytes:
        words = ["hostile.test", "8BITMIME", "SIZE", "AUTH PLAIN", "XCLIENT NAME ADDR"]
        words += self._plan.extensions
        if self._plan.protection is Protection.STARTTLS:
            words.append("STARTTLS")
        return "".join(f"250-{word}\r\n" for word in words).encode() + b"250 HELP\r\n"

    def _answer(self, phase: Phase, reply: bytes = b"250 ok\r\n") -> None:
        self._at(phase)
        self._wire.say(reply)

    def _end_of_data(self, recipients: int) -> None:
        self._at(Phase.END)
        self._wire.say(b"250 taken\r\n" * (recipients if self._plan.lmtp else 1))
        self._at(Phase.IDLE)

    def _protect(self) -> None:
        if self._plan.phase is not Phase.HANDSHAKE:
            updates = _KEY_UPDATES if self._plan.manner is Manner.KEY_UPDATES else 0
            return self._wire.protect(key_updates=updates)
        if self._plan.manner is Manner.DRIP:
            return self._wire.protect(pause=_PAUSE)
        return self._at(Phase.HANDSHAKE)

    def _at(self, phase: Phase) -> None:
        """Go on, or stop to behave."""
        if phase is not self._plan.phase:
            return
        self._end = time.monotonic() + HOLD
        if phase is Phase.CONTENT and self._plan.manner is Manner.DRIP:
            while self._has_time():
                _ = self._wire.read(100)
        if phase in (Phase.CONTENT, Phase.IDLE):
            time.sleep(_UNREAD)
        for octets in self._octets():
            if phase is Phase.HANDSHAKE or self._plan.manner in (
                Manner.KEY_UPDATES,
                Manner.TICKETS,
            ):
                self._wire.socket.sendall(octets)
            else:
                self._wire.say(octets)
            if time.monotonic() > self._end:
                break
        while self._has_time():
            pass
        raise _Over

    def _has_time(self) -> bool:
        time.sleep(_PAUSE)
        return time.monotonic() < self._end

    def _octets(self) -> Iterator[bytes]:
        """What the server says instead."""
        match self._plan.manner:
            case Manner.DRIP:
                for octet in cycle((b"2", b"5", b"0", b"-", b"x", b"\r", b"\n")):
                    if not self._has_time():
                        return
                    yield octet
            case Manner.HALF_CLOSE:
                self._wire.socket.shutdown(socket.SHUT_WR)
            case Manner.FLOOD if self._plan.phase is Phase.HANDSHAKE:
                _ = self._wire.read()  # Before its ClientHello they would be an injection.
                while True:
                    yield HELLO_REQUESTS * 64
            case Manner.FLOOD:
                while True:
                    yield b"250 ok\r\n" * 32768
            case Manner.LINES:
                while True:
                    yield b"250-ok\r\n" * 32768
            case Manner.KEY_UPDATES:
                yield self._wire.key_updates
            case Manner.TICKETS:
                yield from self._wire.writer().tickets()
            case Manner.PARTING:
                yield b"421 4.3.2 closing\r\n"
            case Manner.SILENCE:
                pass


class _Server:
    """Treats all who come as planned, until it is closed."""

    def __init__(self, plan: Plan, context: ssl.SSLContext, keylog: Path) -> None:
        self._plan = plan
        self._context = context
        self._keylog = keylog
        self._listener = socket.socket()
        # What is accepted has a small window, so that the client feels what is not read.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0 if plan.phase is Phase.CONNECT else 16)
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        if plan.phase is Phase.CONNECT:
            self._fill_queue()
        else:
            threading.Thread(target=self._accept, daemon=True).start()

    def _fill_queue(self) -> None:
        is_full = False
        while not is_full:
            filler = socket.socket()
            filler.settimeout(_UNREAD)
            self._connections.append(filler)
            try:
                filler.connect(("127.0.0.1", self.port))
            except TimeoutError:
                is_full = True

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return  # It is closed.
            self._connections.append(connected)
            threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            connected.settimeout(HOLD)
            _Dialogue(self._plan, _Wire(connected, self._context, self._keylog)).run()
        except (OSError, _Over):
            pass  # The client has gone, or time is up.
        finally:
            _hang_up(connected)

    def close(self) -> None:
        for connected in [self._listener, *self._connections]:
            _hang_up(connected)


def _hang_up(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)  # Whoever waits for it is woken up.
        connected.close()
    except OSError:
        pass  # It has gone.


def main(pipe: Connection) -> None:
    """Serve one plan after the other: each is answered by a port and a file of authorities."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.num_tickets = 0  # So that what is written after the handshake is what is said.
    with tempfile.TemporaryDirectory() as folder:
        ca_file, keylog = Path(folder, "ca.pem"), Path(folder, "keys")
        authority.cert_pem.write_to_path(str(ca_file))
        context.keylog_filename = str(keylog)
        server: _Server | None = None
        while (plan := pipe.recv()) is not None:
            if server is not None:
                server.close()
            server = _Server(plan, context, keylog)
            pipe.send((server.port, str(ca_file)))
