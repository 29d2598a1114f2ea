"""What became of a message, recipient by recipient."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import TypeAlias

from smtpx import _checks
from smtpx._message.rendered import Rendered
from smtpx._values import Value
from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.errors import RecipientsRefused, SMTPError
from smtpx.replies import EnhancedStatusCode, Reply

__all__ = ["Outcome", "SendResult", "Status"]

# A repr shows so many outcomes: messages can have thousands of recipients.
_SHOWN = 20


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


class Outcome(Value):
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

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<Outcome {self}>"


Verdict: TypeAlias = tuple[Status, Reply | None]
"""A status, and the reply that decided it."""


# How servers name a message they queued, in the text of their reply to the end of data.
@cache
def _queue_ids() -> tuple[re.Pattern[str], ...]:
    return tuple(
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


class SendResult:
    """What became of one message. Not to be changed."""

    __slots__ = ("_outcomes", "_reply", "error", "message", "server")

    error: SMTPError | None
    """Why nobody accepted, or why someone's outcome is unknown; ``None`` if all went its way."""
    message: object
    """The message as it was given to `send_many`; ``None`` from `send`, and when unpickled."""
    server: str | None
    """The server that it was sent to, as `SMTPError.server` has it; ``None`` before there is one.
    """

    def __init__(
        self,
        outcomes: Sequence[Outcome] | Envelope,
        reply: Reply | bytes | None,
        error: SMTPError | None = None,
        *,
        message: object = None,
    ) -> None:
        """Take the outcomes, or the envelope to all of whose recipients `reply` is a yes.

        The reply may be given as its octets.
        """
        self._outcomes = outcomes
        self._reply = reply
        self.error = error
        self.message = message
        self.server = None

    def __getstate__(self) -> tuple[None, dict[str, object]]:
        # The message stays here: it may be an open file, or a generator.
        state = {name: getattr(self, name) for name in SendResult.__slots__}
        return None, {**state, "message": None}

    @property
    def reply(self) -> Reply | None:
        """The reply to the end of data; LMTP has one for each recipient, see `outcomes`."""
        reply = self._reply
        if isinstance(reply, bytes):
            # As with the outcomes: it is made when somebody asks for it.
            self._reply = reply = Reply(reply)
        return reply

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each recipient of the envelope, in its order."""
        outcomes = self._outcomes
        if isinstance(outcomes, Envelope):
            # A plain success is told in full only when somebody asks: nearly every result is one.
            self._outcomes = outcomes = outcomes_of(
                outcomes, [(Status.ACCEPTED, self.reply)] * len(outcomes.recipients)
            )
        return tuple(outcomes)

    @property
    def complete(self) -> bool:
        """True if every recipient was accepted."""
        if isinstance(self._outcomes, Envelope):
            return True
        return bool(self._outcomes) and len(self.accepted) == len(self._outcomes)

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
    def values(self) -> Mapping[str, object] | None:
        """What `Template.render` was given for the message; ``None`` if it made no copy of it."""
        return self.message.values if isinstance(self.message, Rendered) else None

    @property
    def queue_id(self) -> str | None:
        """The server's name for the message, where the text of its reply shows one."""
        if self.reply is None or not self.reply.positive:
            return None
        text = " ".join(self.reply.lines)[:1000]  # no server has more to say, a hostile one does
        return next((match[1] for known in _queue_ids() if (match := known.search(text))), None)

    def raise_for_refused(self) -> None:
        """Raise unless every recipient was accepted.

        Raises:
            SMTPError: `error` where there is one, else `RecipientsRefused` for the first refusal.
        """
        if self.error is not None:
            raise self.error
        for outcome in self.refused:
            if outcome.reply is not None:
                error = RecipientsRefused(
                    None, outcome.reply, refused=f"the message to {outcome.recipient}"
                )
                error.result, error.server = self, self.server
                raise error

    def __str__(self) -> str:
        """Each outcome; and the error, where an outcome does not say why."""
        outcomes = self.outcomes
        told = [str(outcome) for outcome in outcomes[:_SHOWN]]
        if len(outcomes) > _SHOWN:
            told.append(f"and {len(outcomes) - _SHOWN} more")
        if self.error is not None and not (
            outcomes and all(outcome.reply is not None for outcome in outcomes)
        ):
            told.append(str(self.error))
        return "; ".join(told)

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<SendResult {self}>"

    def _of(self, status: Status) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)


def accepted(result: SendResult) -> SendResult:
    """The result, if somebody gets the message.

    Raises:
        SMTPError: its error, if nobody does.
    """
    if result.error is not None and not result.accepted:
        raise result.error
    return result


def outcomes_of(envelope: Envelope, verdicts: Sequence[Verdict]) -> tuple[Outcome, ...]:
    """Say each verdict of its recipient."""
    return tuple(
        [
            Outcome(recipient.address, status, reply)
            for recipient, (status, reply) in zip(envelope.recipients, verdicts, strict=True)
        ]
    )
