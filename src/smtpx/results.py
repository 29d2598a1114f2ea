"""What became of a message, recipient by recipient."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from smtpx.addresses import Address
from smtpx.errors import RecipientsRefused, SMTPError
from smtpx.replies import EnhancedStatusCode, Reply

__all__ = ["Outcome", "SendResult", "Status"]


class Status(Enum):
    """What became of the message for one recipient."""

    ACCEPTED = "accepted"
    """The server has taken responsibility for it (RFC 5321 §6.1)."""
    REFUSED = "refused"
    """The server said no; `Outcome.reply` says why, and whether for now or for good."""
    IN_DOUBT = "in doubt"
    """The end of data was sent, its reply not seen (RFC 1047): a second try may deliver twice."""
    NOT_TRIED = "not tried"
    """The content did not go out: sending again is safe."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the message for one recipient."""

    recipient: Address
    status: Status
    reply: Reply | None
    """The reply that decided it; ``None`` where there was none."""

    @property
    def enhanced(self) -> EnhancedStatusCode | None:
        """The reply's enhanced status code."""
        return None if self.reply is None else self.reply.enhanced

    @property
    def retryable(self) -> bool:
        """True if sending again later is safe and may succeed."""
        refused_for_now = self.reply is not None and self.reply.transient
        return self.status is Status.NOT_TRIED or (
            self.status is Status.REFUSED and refused_for_now
        )

    def __str__(self) -> str:
        reply = "" if self.reply is None else f": {self.reply}"
        return f"{self.recipient} {self.status.value}{reply}"


# How servers name a message they queued, in the text of their reply to the end of data.
_QUEUE_IDS = tuple(
    re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern in (
        r"queued as <?([\w.+/=-]+)",  # Postfix, Momentum, Amavis, James
        r"\bid=([\w-]+)",  # Exim
        r"\[InternalId=(\d+)",  # Exchange
        r"message (?:queued|accepted) \(([\w.-]+)\)",  # Haraka
        r"\bqp (\d+)",  # qmail
        r"\b([0-9A-F-]{16,}\.\d+) message queued",  # Haraka's older form
        r"^(?:2\.\d\.\d )?(\w{8,}) message accepted",  # Sendmail, OpenSMTPD
        r"^(?:2\.\d\.\d )?ok:? +\d{9,} +([\w.-]+) - gsmtp$",  # Gmail
        r"^(?:2\.\d\.\d )?ok:? +([0-9a-f]{16}-[\w-]+)$",  # Amazon SES
    )
)


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one message."""

    outcomes: tuple[Outcome, ...]
    """One for each recipient of the envelope, in its order."""
    reply: Reply | None
    """The reply to the end of data; LMTP has one for each recipient, see `outcomes`."""
    error: SMTPError | None
    """Why nobody accepted, or why someone's outcome is unknown; ``None`` if all went its way."""

    @property
    def accepted(self) -> tuple[Outcome, ...]:
        """The recipients the server has taken responsibility for."""
        return self._of(Status.ACCEPTED)

    @property
    def refused(self) -> tuple[Outcome, ...]:
        """The recipients the server refused, each with its reply."""
        return self._of(Status.REFUSED)

    @property
    def in_doubt(self) -> tuple[Outcome, ...]:
        """The recipients who may or may not get it: sending again may deliver twice."""
        return self._of(Status.IN_DOUBT)

    @property
    def not_tried(self) -> tuple[Outcome, ...]:
        """The recipients for whom nothing was sent: sending again is safe."""
        return self._of(Status.NOT_TRIED)

    @property
    def queue_id(self) -> str | None:
        """The server's name for the message, where the text of its reply shows one."""
        if self.reply is None or not self.reply.positive:
            return None
        text = " ".join(self.reply.lines)
        return next((match[1] for known in _QUEUE_IDS if (match := known.search(text))), None)

    def raise_for_refused(self) -> None:
        """Raise unless every recipient was accepted.

        Raises:
            SMTPError: `error` where there is one, else `RecipientsRefused` for the first refusal.
        """
        if self.error is not None:
            raise self.error
        for outcome in self.refused:
            if outcome.reply is not None:
                error = RecipientsRefused(f"RCPT TO:<{outcome.recipient}>", outcome.reply)
                error.result = self
                raise error

    def _of(self, status: Status) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)
