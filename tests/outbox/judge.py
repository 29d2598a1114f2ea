"""A mail server that knows what it has accepted, and shares no line with smtpx.

It writes down each message that it takes before it says so: whose Message-ID, for which recipients.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

_ID = re.compile(rb"^message-id:\s*(<[^>]*>)", re.IGNORECASE | re.MULTILINE)
_PATH = re.compile(rb"<([^>]*)>")


class Judge:
    """Takes mail on a port of this machine, as a context."""

    def __init__(
        self,
        *,
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "CHUNKING"),
        lmtp: bool = False,
        delay: float = 0.0,
        answer: Callable[[str, str], bytes | None] | None = None,
    ) -> None:
        """`delay`: seconds before each content is answered. `answer` may answer RCPT (the word and
        the recipient) or a content ("END" and the Message-ID) in place of a yes."""
        self.extensions = extensions
        self.lmtp = lmtp
        self.delay = delay
        self._answer = answer or (lambda word, of: None)
        self._lock = threading.Lock()
        self.taken: list[tuple[str, str]] = []
        """Message-ID and recipient, of each that was accepted."""
        self.contents: dict[str, bytes] = {}
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def url(self) -> str:
        scheme = "lmtp" if self.lmtp else "smtp"
        return f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        # A blocked accept keeps a closed socket open.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            left = [*self._open]
        for connected in left:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def count(self) -> Counter[tuple[str, str]]:
        """How often each message was accepted for each recipient."""
        with self._lock:
            return Counter(self.taken)

    def _listen(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connected)
            threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connected, connected.makefile("rb") as reader:
                self._talk(connected, reader)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(connected)

    def _talk(self, connected: socket.socket, reader) -> None:
        say = connected.sendall
        say(b"220 judge ready\r\n")
        recipients: list[str] = []
        chunks = b""
        while line := reader.readline():
            verb = line[:4].upper()
            if verb in (b"EHLO", b"LHLO"):
                words = ["judge", *self.extensions]
                say("".join(f"250{'-' if w != words[-1] else ' '}{w}\r\n" for w in words).encode())
            elif verb == b"MAIL":
                recipients, chunks = [], b""
                say(b"250 2.1.0 ok\r\n")
            elif verb == b"RCPT":
                found = _PATH.search(line)
                recipient = found[1].decode() if found else ""
                refused = self._answer("RCPT", recipient)
                if refused is None:
                    recipients.append(recipient)
                say(refused or b"250 2.1.5 ok\r\n")
            elif verb == b"DATA":
                if not recipients:
                    say(b"503 5.5.1 nobody\r\n")
                    continue
                say(b"354 go on\r\n")
                content = bytearray()
                while (piece := reader.readline()) not in (b".\r\n", b""):
                    content += piece[1:] if piece.startswith(b".") else piece
                if not piece:
                    return  # Half a content is none.
                say(self._end(bytes(content), recipients))
                recipients = []
            elif verb == b"BDAT":
                _, size, *last = line.split()
                octets = reader.read(int(size))
                if len(octets) < int(size):
                    return
                chunks += octets
                if not recipients:
                    say(b"503 5.5.1 nobody\r\n")
                elif not last:
                    say(b"250 2.0.0 more\r\n")
                else:
                    say(self._end(chunks, recipients))
                    recipients, chunks = [], b""
            elif verb == b"RSET":
                recipients, chunks = [], b""
                say(b"250 2.0.0 ok\r\n")
            elif verb == b"QUIT":
                say(b"221 2.0.0 bye\r\n")
                return
            else:
                say(b"250 2.0.0 ok\r\n")

    def _end(self, content: bytes, recipients: list[str]) -> bytes:
        if self.delay:
            time.sleep(self.delay)
        found = _ID.search(content)
        message_id = found[1].decode() if found else ""
        refused = self._answer("END", message_id)
        if refused is not None:
            return refused * (len(recipients) if self.lmtp else 1)
        with self._lock:
            self.taken += [(message_id, recipient) for recipient in recipients]
            self.contents[message_id] = content
        return b"250 2.0.0 taken\r\n" * (len(recipients) if self.lmtp else 1)
