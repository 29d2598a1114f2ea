"""A server that notes what it takes before it says so. It shares nothing with smtpx."""

from __future__ import annotations

import gc
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Self


@dataclass(frozen=True)
class Ways:
    """What a server offers, and what it does in the middle."""

    extensions: Sequence[str] = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE")
    rcpt_max: int = 1_000
    """Recipients that it takes in one transaction, as it announces."""
    refused: str = ""
    """The recipient that it refuses."""
    session_max: int = 1_000
    """Messages that it takes in one session; the next MAIL gets a 421, and then nothing."""
    closes_mutely: bool = False
    """It says no 421 then."""
    lmtp: bool = False
    """It answers the end of data once for each recipient."""
    tls: ssl.SSLContext | None = None
    """It begins with TLS."""


class Noting:
    """Listens on loopback, a thread for each session."""

    def __init__(self, ways: Ways) -> None:
        self.taken: list[tuple[bytes, str]] = []
        """The content and the recipient of everything that it has taken."""
        self._ways = ways
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sessions = 0
        self._lock = threading.Lock()
        scheme = "lmtp" if ways.lmtp else "smtp" if ways.tls is None else "smtps"
        self.url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def wait_for_the_end(self) -> None:
        """Wait until no session is left, but for what the collector has to close."""
        began, end = time.monotonic(), time.monotonic() + 30
        while not self._has_ended():
            assert time.monotonic() < end, "a session is left"
            time.sleep(0.0005)
            if time.monotonic() > began + 5:
                _ = gc.collect()
                began += 1  # What one collection ends may leave more to the next.

    def _has_ended(self) -> bool:
        with self._lock:
            return not self._sessions and not self._has_caller(0)

    def _has_caller(self, seconds: float | None) -> bool:
        return bool(select.select([self._listening], [], [], seconds)[0])

    def _listen(self) -> None:
        while True:
            try:
                _ = self._has_caller(None)
                with self._lock:
                    connection, _ = self._listening.accept()
                    self._sessions += 1
            except (OSError, ValueError):  # The latter is what `select` says of a closed one.
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = self._ways.tls
        try:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as lines:
                self._converse(connection, lines)
        except OSError:
            connection.close()
        finally:
            with self._lock:
                self._sessions -= 1

    def _converse(self, connection: socket.socket, lines: BinaryIO) -> None:
        ways, messages, recipients = self._ways, 0, list[str]()

        def say(*said: str) -> None:
            connection.sendall("".join(f"{line}\r\n" for line in said).encode())

        def take(content: bytes) -> None:
            self.taken.extend((content, recipient) for recipient in recipients)
            say(*["250 2.0.0 taken"] * (len(recipients) if ways.lmtp else 1))

        say("220 noting.test")
        while line := lines.readline().decode():
            verb = line.split()[0].upper()
            if verb in ("EHLO", "LHLO"):
                offers = [*ways.extensions, f"LIMITS RCPTMAX={ways.rcpt_max}"]
                say("250-noting.test", *[f"250-{offer}" for offer in offers], "250 HELP")
            elif verb == "MAIL":
                if messages == ways.session_max:
                    if not ways.closes_mutely:
                        say("421 4.4.5 enough")
                    return
                messages += 1
                recipients = []
                say("250 2.1.0 ok")
            elif verb == "RCPT":
                recipient = line.partition("<")[2].partition(">")[0]
                if recipient == ways.refused:
                    say("550 5.1.1 no")
                    continue
                recipients.append(recipient)
                say("250 2.1.5 ok")
            elif verb == "DATA":
                if not recipients:
                    say("503 5.5.1 nobody")
                    continue
                say("354 go ahead")
                content = b""
                while (octets := lines.readline()) != b".\r\n":
                    if not octets:
                        return
                    content += octets
                take(content)
                recipients = []
            elif verb == "BDAT":
                size = int(line.split()[1])
                content = lines.read(size)
                if len(content) < size:
                    return
                if not recipients:
                    say("503 5.5.1 nobody")
                    continue
                take(content)
                recipients = []
            elif verb == "RSET":
                recipients = []
                say("250 2.0.0 reset")
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("500 5.5.2 what")
