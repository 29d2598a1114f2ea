"""Accounting: what a client was told of its messages against what the server kept of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import smtpx
from smtpx import Envelope, SendResult, Status


@dataclass(frozen=True, slots=True)
class Mail:
    """A message, its sender and recipients; no two have the same content or the same sender."""

    content: bytes
    sender: str
    recipients: tuple[str, ...]

    @property
    def envelope(self) -> Envelope:
        return Envelope(self.sender, self.recipients)

    @property
    def item(self) -> tuple[bytes, Envelope]:
        return self.content, self.envelope


@dataclass(frozen=True, slots=True)
class Kept:
    """What the server took responsibility for."""

    digest: bytes
    sender: str
    recipients: tuple[str, ...]


Verdicts = Mapping[str, Status]
"""By recipient."""

_PIECES = (b".", b"..", b"\r\n", b"\r\n.\r\n", b".\r\n", b"x" * 70, b"RSET\r\n", b"MAIL FROM:<")


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def mail(number: int, recipients: int = 2) -> Mail:
    """The message of that number: of any size, full of what looks like the protocol's own."""
    random = Random(number)
    pieces = b"".join(random.choices(_PIECES, k=random.choice((0, 3, 30))))
    content = b"Subject: %d\r\n\r\n%b\r\n" % (number, pieces)
    names = tuple(f"r{number}-{i}@y.test" for i in range(recipients))
    return Mail(content, f"s{number}@x.test", names)


def mails(count: int, recipients: int = 2) -> list[Mail]:
    return [mail(number, recipients) for number in range(count)]


def verdicts_of(outcome: SendResult | smtpx.SMTPError, mail: Mail) -> Verdicts:
    """What the caller was told; an error without a result is one before anything was sent."""
    result = outcome.result if isinstance(outcome, smtpx.SMTPError) else outcome
    if result is None:
        return dict.fromkeys(mail.recipients, Status.NOT_TRIED)
    return {str(outcome.recipient): outcome.status for outcome in result.outcomes}


def account(
    sent: Sequence[Mail],
    told: Iterable[tuple[Mail, Verdicts]],
    kept: Iterable[Kept],
    *,
    copies: int = 1,
) -> Counter[Status]:
    """Hold every verdict against what the server kept; count the recipients by verdict.

    `copies` is how many of an accepted message there may be: more than one only where the caller
    has doubtful ones sent again.
    """
    told = list(told)
    assert Counter(mail.sender for mail, _ in told) == Counter(mail.sender for mail in sent)
    there: Counter[str] = Counter()
    by_digest = {digest(mail.content): mail for mail in sent}
    for message in kept:
        mail = by_digest.get(message.digest)
        assert mail is not None, f"damaged on its way: a message of {message.sender}"
        assert message.sender == mail.sender, "sent under another's envelope"
        assert set(message.recipients) <= set(mail.recipients), "sent to another's recipients"
        there.update(message.recipients)
    tally: Counter[Status] = Counter()
    for mail, verdicts in told:
        assert set(verdicts) == set(mail.recipients)
        for recipient, status in verdicts.items():
            tally[status] += 1
            least, most = {
                Status.ACCEPTED: (1, copies),
                Status.IN_DOUBT: (0, copies),
                Status.REFUSED: (0, 0),
                Status.NOT_TRIED: (0, 0),
            }[status]
            assert least <= there[recipient] <= most, f"{recipient}: {status}, {there[recipient]}"
    return tally
