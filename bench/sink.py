"""A lean SMTP sink in a process of its own: takes everything, keeps it, hashes it when asked.

`python -m bench.sink [--without KEYWORD]… [--tls implicit|starttls --certificate PEM]` prints its
port, and serves until its standard input ends. A line ``report`` there is answered by one of JSON:
how many messages were taken, a digest of all their envelopes and contents in whatever order they
came, and this process's CPU time in seconds; then it begins anew.

It is Python, so it must do little to stay ahead of a client: a whole command group is one match,
its replies are one write, and nothing is hashed while a client waits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

READ = 1 << 18
KEYWORDS = ("PIPELINING", "8BITMIME", "SIZE", "CHUNKING", "AUTH PLAIN", "DSN")
# A command group as a client that pipelines writes it.
GROUP = re.compile(
    rb"(?P<reset>RSET\r\n)?"
    rb"MAIL FROM:(?P<sender><[^>\r]*>)[^\r]*\r\n"
    rb"(?P<recipients>(?:RCPT TO:<[^>\r]*>[^\r]*\r\n)+)"
    rb"(?:BDAT (?P<size>\d+) LAST|DATA)\r\n"
)
PATH = re.compile(rb"<[^>\r]*>")
OK = b"250 ok\r\n"
GO_AHEAD = b"354 go ahead\r\n"
END = b"\r\n.\r\n"


def digest(messages: Iterable[tuple[bytes, bytes]]) -> str:
    """Of envelopes, ``<sender><recipient>…``, and contents, in whatever order they come."""
    total = 0
    for envelope, content in messages:
        whole = hashlib.sha256(envelope + hashlib.sha256(content).digest()).digest()
        total += int.from_bytes(whole)
    return f"{total % 2**128:032x}"


@dataclass(slots=True)
class Taken:
    """A message as it came: its RCPT commands whole, its content in pieces.

    Content that came by DATA is dot-stuffed, and has the line end of DATA before it and its own
    end after it.
    """

    sender: bytes
    recipients: bytes
    pieces: list[bytes]
    by_data: bool

    def plain(self) -> tuple[bytes, bytes]:
        envelope = b"".join([self.sender, *PATH.findall(self.recipients)])
        content = b"".join(self.pieces)
        if self.by_data:  # RFC 5321 §4.5.2
            content = content[: -len(b".\r\n")].replace(b"\r\n.", b"\r\n")[len(b"\r\n") :]
        return envelope, content


@dataclass
class Tally:
    """What all connections have taken since the last report."""

    taken: list[Taken] = field(default_factory=list)
    cpu: float = field(default_factory=time.process_time)

    def report(self) -> str:
        cpu = time.process_time() - self.cpu
        report = {
            "messages": len(self.taken),
            "digest": digest(message.plain() for message in self.taken),
            "cpu": cpu,
        }
        self.taken.clear()
        self.cpu = time.process_time()
        return json.dumps(report)


class Connection:
    """One client, served in a thread of its own by blocking calls: the fewest system calls."""

    def __init__(self, channel: socket.socket, keywords: bytes, tls: ssl.SSLContext | None) -> None:
        self.channel = channel
        self.keywords = keywords
        self.tls = tls
        self.buffer = b""
        self.replies: list[bytes] = []
        self.sender = b""
        self.recipients = b""
        self.chunks: list[bytes] = []

    def serve(self, taken: list[Taken]) -> None:
        self.replies.append(b"220 sink.test ESMTP\r\n")
        try:
            while True:
                self.read()
                self.take(taken)
        except (EOFError, OSError):
            self.channel.close()

    def flush(self) -> None:
        if self.replies:
            replies, self.replies = self.replies, []
            self.channel.sendall(b"".join(replies))

    def read(self, most: int = READ) -> None:
        """Add what comes next to the buffer; what was said so far is answered before."""
        self.flush()
        octets = self.channel.recv(most)
        if not octets:
            raise EOFError
        self.buffer = self.buffer + octets if self.buffer else octets

    def take(self, taken: list[Taken]) -> None:
        """Take whole command groups and commands, as far as the buffer has them."""
        at = 0
        while True:
            buffer = self.buffer
            group = GROUP.match(buffer, at)
            if group is None:
                end = buffer.find(b"\r\n", at)
                if end < 0:
                    self.buffer = buffer[at:]
                    return
                self.buffer = buffer[end + 2 :]
                self.command(buffer[at:end], taken)
                at = 0
                continue
            reset, sender, recipients, size = group.groups()
            replies = OK * (recipients.count(b"\n") + (2 if reset else 1))
            at = group.end()
            if size is None:
                self.replies.append(replies + GO_AHEAD)
                self.buffer = buffer[at:]
                taken.append(Taken(sender, recipients, self.dotted(), True))
                at = 0
            else:
                end = at + int(size)
                if end <= len(buffer):
                    pieces = [buffer[at:end]]
                    at = end
                else:
                    self.replies.append(replies)
                    replies = b""
                    self.buffer = buffer[at:]
                    pieces = self.counted(int(size))
                    at = 0
                taken.append(Taken(sender, recipients, pieces, False))
                self.replies.append(replies + OK)

    def command(self, line: bytes, taken: list[Taken]) -> None:
        """Take a command that did not come in a whole group."""
        verb = line[:4].upper()
        reply = OK
        if verb in (b"EHLO", b"HELO"):
            reply = self.keywords
        elif verb == b"MAIL":
            path = PATH.search(line)
            assert path is not None
            self.sender, self.recipients, self.chunks = path[0], b"", []
        elif verb == b"RCPT":
            self.recipients += line + b"\r\n"
        elif verb == b"DATA":
            self.replies.append(GO_AHEAD)
            taken.append(Taken(self.sender, self.recipients, self.dotted(), True))
            return
        elif verb == b"BDAT":
            _, size, *last = line.split()
            self.chunks += self.counted(int(size))
            if last:
                taken.append(Taken(self.sender, self.recipients, self.chunks, False))
        elif verb == b"AUTH":
            reply = b"235 2.7.0 welcome\r\n"
        elif verb == b"STAR" and self.tls is not None:
            self.replies.append(b"220 go ahead\r\n")
            self.flush()
            self.channel = self.tls.wrap_socket(self.channel, server_side=True)
            self.keywords = self.keywords.replace(b"250-STARTTLS\r\n", b"")
            return
        elif verb == b"QUIT":
            self.replies.append(b"221 bye\r\n")
            self.flush()
            raise EOFError
        self.replies.append(reply)

    def counted(self, size: int) -> list[bytes]:
        """So many octets of content."""
        pieces = [self.buffer[:size]]
        self.buffer = self.buffer[size:]
        missing = size - len(pieces[0])
        while missing:
            self.read(min(missing, READ))
            pieces.append(self.buffer)
            missing -= len(self.buffer)
            self.buffer = b""
        return pieces

    def dotted(self) -> list[bytes]:
        """Content with its end (RFC 5321 §4.1.1.4), from the line end of DATA on."""
        tail = b"\r\n"
        pieces = [tail]
        while True:
            buffer = self.buffer
            end = end_of_data(tail, buffer)
            if end:
                pieces.append(buffer[:end])
                self.buffer = buffer[end:]
                self.replies.append(OK)
                return pieces
            pieces.append(buffer)
            tail = (tail + buffer[-4:])[-4:]
            self.buffer = b""
            self.read()


def end_of_data(tail: bytes, buffer: bytes) -> int:
    """How many octets of the buffer belong to the content and its end; 0 if that has not come.

    The end may lie across two reads: `tail` is what the one before ended with.
    """
    across = (tail + buffer[:4]).find(END)
    if across >= 0:
        return across + len(END) - len(tail)
    within = buffer.find(END)
    return within + len(END) if within >= 0 else 0


def keywords_of(without: list[str], starttls: bool) -> bytes:
    names = [name for name in KEYWORDS if name not in without]
    if starttls:
        names.append("STARTTLS")
    return b"".join(
        [b"250-sink.test\r\n", *[b"250-%b\r\n" % name.encode() for name in names], b"250 HELP\r\n"]
    )


def accept(
    listener: socket.socket,
    keywords: bytes,
    tls: ssl.SSLContext | None,
    implicit: bool,
    tally: Tally,
) -> None:
    def serve(channel: socket.socket) -> None:
        try:
            if tls is not None and implicit:
                channel = tls.wrap_socket(channel, server_side=True)
            Connection(channel, keywords, tls).serve(tally.taken)
        except OSError:
            channel.close()

    while True:
        channel, _ = listener.accept()
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(channel,), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    _ = parser.add_argument("--without", action="append", default=[])
    _ = parser.add_argument("--tls", choices=["implicit", "starttls"])
    _ = parser.add_argument("--certificate")
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
    implicit = options.tls == "implicit"
    keywords = keywords_of(options.without, options.tls == "starttls")
    tally = Tally()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        threading.Thread(
            target=accept, args=(listener, keywords, context, implicit, tally), daemon=True
        ).start()
        print(listener.getsockname()[1], flush=True)
        for line in sys.stdin:
            assert line == "report\n", line
            print(tally.report(), flush=True)


if __name__ == "__main__":
    main()
