"""Messages to be sent: each has its own content, sender and recipients, all from a seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from io import BytesIO
from random import Random
from typing import Any

from smtpx import Envelope

DOMAINS = ("a.test", "b.test", "c.test")
DATE = "Thu, 26 Nov 2026 00:00:00 +0000"
DATED = b"Date: %b\r\nMessage-ID: <%%d@sender.test>\r\n" % DATE.encode()
LINES = (b".", b"..", b".x", b"", b"x" * 70, b"250 2.0.0 queued", b"Dear friend,")
# What a server that does not know content from commands would do.
COMMANDS = (
    b"RSET",
    b"QUIT",
    b"MAIL FROM:<boss@boss.test>",
    b"RCPT TO:<victim@boss.test>",
    b"DATA",
    b"BDAT 3 LAST",
)


@dataclass(slots=True)
class Mail:
    """One message, and what must come of it if anything does."""

    number: int
    how: str
    """What is handed over: ``bytes``, ``file``, ``pieces``, ``header`` (an `EmailMessage` alone)
    or ``message`` (one with its envelope)."""
    content: bytes
    sender: str
    recipients: tuple[str, ...]
    digest: str = ""
    """Of the content as a server gets it; with unfolded fields if it `is_written`."""
    envelope: Envelope | None = None
    given: Any = field(default=None, repr=False)
    """The object that was handed over."""
    dated: bool = False
    """An `EmailMessage` has its date."""

    @property
    def is_written(self) -> bool:
        """True if smtpx makes octets of it."""
        return self.how in ("header", "message")

    def item(self) -> tuple[Any, Envelope | None]:
        """The message and its envelope, as `send` takes them."""
        match self.how:
            case "bytes":
                self.given = self.content
            case "file":
                self.given = BytesIO(self.content)
            case "pieces":
                self.given = pieces(self.content)
            case _:
                self.given = written(self)
        return self.given, self.envelope


def pieces(content: bytes) -> Any:
    """The content from an iterator, which can be read once."""
    for start in range(0, len(content), 7000):
        yield content[start : start + 7000]


def written(mail: Mail) -> EmailMessage:
    message = EmailMessage()
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.recipients[:1])
    if mail.recipients[1:]:
        message["Cc"] = ", ".join(mail.recipients[1:])
    message["Subject"] = str(mail.number)
    message["Message-ID"] = f"<{mail.sender}>"
    if mail.dated:
        message["Date"] = DATE
    message.set_content(mail.content.decode())
    return message


def canonical(content: bytes) -> bytes:
    """Every line ended by CRLF, the last one too."""
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    if lines[-1] == b"":
        del lines[-1]
    return b"".join(line + b"\r\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Kind:
    """What the messages of a round may be like."""

    hows: tuple[str, ...]
    most: int
    """Recipients."""
    sizes: tuple[int, ...] = (0, 200, 200, 200, 500, 500, 3_000, 8_000)
    large: float = 0.08
    """How many are larger than a buffer."""
    commands: bool = False
    """Some of their lines are commands."""
    utf8: bool = False
    eight_bit: bool = False
    complete: bool = False
    """They have the fields that an outbox would add."""


def mails(count: int, chance: Random, kind: Kind) -> list[Mail]:
    """So many messages."""
    return [mail(number, chance, kind) for number in range(count)]


def mail(number: int, chance: Random, kind: Kind) -> Mail:
    how = chance.choice(kind.hows)
    size = chance.choice(kind.sizes)
    if chance.random() < kind.large:
        size = chance.choice((40_000, 70_000, 140_000, 400_000))
    known = (*LINES, *COMMANDS) if kind.commands else LINES
    lines = list(chance.choices(known, k=min(40, size // 12)))
    block = lines or [b"x"]
    lines += block * ((size - sum(map(len, lines))) // sum(len(line) + 2 for line in block))
    if kind.eight_bit and how not in ("header", "message") and chance.random() < 0.2:
        lines.append("Grüße".encode())
    end = chance.choice((b"\r\n",) * 8 + (b"\n",))
    fields = DATED % number if kind.complete else b""
    content = b"%bSubject: %d\r\n\r\n%b" % (fields, number, end.join(lines))
    if chance.random() < 0.9:
        content += end
    sender = f"s{number}@sender.test"
    recipients = tuple(
        f"r{number}-{i}@{chance.choice(DOMAINS)}" for i in range(chance.randint(1, kind.most))
    )
    if kind.utf8 and how not in ("header", "message") and chance.random() < 0.1:
        recipients = (*recipients, f"ü{number}@a.test")
    made = Mail(number, how, content, sender, recipients)
    octets = canonical(content)
    if made.is_written:
        made.dated = kind.complete
        made.content = b"\n".join(lines).replace(b"\r", b"") + b"\n"
        header, between, body = written(made).as_bytes(policy=SMTP).partition(b"\r\n\r\n")
        octets = header.replace(b"\r\n ", b" ") + between + body
    if how != "header":
        # Made here, for where it is handed over an interruption would be ours.
        made.envelope = Envelope(sender, recipients)
    made.digest = hashlib.sha256(octets).hexdigest()
    return made
