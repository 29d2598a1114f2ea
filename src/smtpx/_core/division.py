"""A message in several mail transactions, where the server limits its recipients (RFC 9422 §4)."""

from __future__ import annotations

from copy import copy

from smtpx._core.connection import Connection
from smtpx._values import Value
from smtpx._wire.extensions import Extensions
from smtpx.envelope import Envelope
from smtpx.errors import SessionFull, SMTPError
from smtpx.results import Outcome, SendResult, Status


class Share(Value):
    """Some of a message's recipients, and their places among all."""

    envelope: Envelope
    places: tuple[int, ...]

    @classmethod
    def of(cls, envelope: Envelope) -> Share:
        """All of them."""
        return cls(envelope, tuple(range(len(envelope.recipients))))

    def part(self, chosen: list[int]) -> Share:
        """Those at some indexes."""
        if len(chosen) == len(self.places):
            return self
        recipients = [self.envelope.recipients[i] for i in chosen]
        return Share(
            self.envelope.replace(recipients=recipients), tuple(self.places[i] for i in chosen)
        )


def is_undivided(extensions: Extensions, envelope: Envelope) -> bool:
    """True if an envelope goes in one transaction in any session, as nearly every one does."""
    most = extensions.rcpt_max
    return extensions.rcpt_domain_max is None and (most is None or len(envelope.recipients) <= most)


def divide(connection: Connection, share: Share) -> tuple[Share | None, Share | None]:
    """Those whom this session may name in its next transaction, and the rest.

    RCPTMAX bounds a transaction, RCPTDOMAINMAX the session; the domains of the former count as
    named from now on.
    """
    extensions, named = connection.extensions, connection.domains
    most = extensions.rcpt_max or len(share.places)
    most_domains = extensions.rcpt_domain_max
    taken: list[int] = []
    left: list[int] = []
    for i, recipient in enumerate(share.envelope.recipients):
        domain = recipient.address.domain.lower()
        if most_domains is not None and domain not in named:
            if len(taken) == most or len(named) >= most_domains:
                left.append(i)
                continue
            named.add(domain)
        (taken if len(taken) < most else left).append(i)
    return (share.part(taken) if taken else None), (share.part(left) if left else None)


def session_full(connection: Connection) -> SessionFull:
    """The error of those whom this session may not name any more."""
    limits = connection.extensions.limits
    if connection.is_full:
        full = f"{limits['MAILMAX']} mail transactions in a session (MAILMAX)"
    else:
        full = f"{limits['RCPTDOMAINMAX']} recipient domains in a session (RCPTDOMAINMAX)"
    return SessionFull(f"the server takes {full}, and this one has had them: use another")


def left_over(envelope: Envelope, result: SendResult) -> Share:
    """Those whom a full session could not name any more, for another one."""
    return Share.of(envelope).part(
        [i for i, outcome in enumerate(result.outcomes) if outcome.status is Status.NOT_TRIED]
    )


def resumed(result: SendResult, share: Share, rest: SendResult) -> SendResult:
    """What became of a message of which another session had the rest."""
    outcomes = list(result.outcomes)
    for place, outcome in zip(share.places, rest.outcomes, strict=True):
        outcomes[place] = outcome
    joined = SendResult(outcomes, result.reply or rest.reply)
    joined.server = rest.server
    if rest.error is not None and (rest.in_doubt or rest.not_tried or not joined.accepted):
        joined.error = copy(rest.error)
        joined.error.result = joined
    return joined


class Whole:
    """What becomes of a divided message, as its parts are done one after the other."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self._outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        self._parts: list[SendResult] = []

    def add(self, share: Share, result: SendResult) -> SendResult | None:
        """Note what became of a part; return the result for all, once it is known of all."""
        self._parts.append(result)
        for place, outcome in zip(share.places, result.outcomes, strict=True):
            self._outcomes[place] = outcome
        outcomes = [outcome for outcome in self._outcomes if outcome is not None]
        if len(outcomes) < len(self._outcomes):
            return None
        reply = next((part.reply for part in self._parts if part.reply is not None), None)
        joined = SendResult(outcomes, reply, message=result.message)
        error = self._error(nobody=not joined.accepted)
        if error is not None:
            joined.error = copy(error)
            joined.error.result = joined
        return joined

    def as_far_as_known(self, otherwise: SendResult) -> SendResult:
        """The result for all, of whom `otherwise` says what holds of those not known of."""
        outcomes = [
            known or outcome
            for known, outcome in zip(self._outcomes, otherwise.outcomes, strict=True)
        ]
        reply = next((part.reply for part in self._parts if part.reply is not None), None)
        joined = SendResult(outcomes, reply, otherwise.error)
        if joined.error is not None:
            joined.error.result = joined
        return joined

    def _error(self, *, nobody: bool) -> SMTPError | None:
        """A doubt, or why something was not tried; a refusal only if nobody gets the message."""
        errors = [part.error for part in self._parts if part.error is not None]
        for part in self._parts:
            if part.error is not None and (part.in_doubt or part.not_tried):
                return part.error
        return errors[0] if nobody and errors else None
