"""What is known of each recipient of a message, and what is told of all in the end; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from smtpx.envelope import Recipient
from smtpx.errors import (
    AddressError,
    ConnectionLost,
    ExtensionMissing,
    GreetingRefused,
    HelloRefused,
    LimitExceeded,
    LocalProtocolError,
    RecipientsRefused,
    ReplyError,
    SessionFull,
    SMTPError,
    TimedOut,
    TLSPolicyError,
    TLSRefused,
)
from smtpx.replies import Reply
from smtpx.results import SendResult, Status

from ._terms import Level
from .outcomes import Attempt, DeliveryFailed, DeliveryOutcome, DeliveryResult, Failure

__all__ = ["HANDSHAKE_FAILED", "LACKS", "Standings", "interrupted", "looping", "reason_of", "told"]

HANDSHAKE_FAILED = (TLSPolicyError, TLSRefused)
"""An attack may make any of these; a host that is in earnest makes them, too."""
LACKS = (ExtensionMissing, LimitExceeded)
"""A host cannot take the message; another one may."""
# What is wrong with the message, so that no other host would take it.
_FAULTS = (LocalProtocolError, AddressError)
_NO_FAULTS = (SessionFull, LimitExceeded)
_LACKING = {"REQUIRETLS": Failure.NO_REQUIRETLS, "SIZE": Failure.TOO_LARGE}
# Of why each host was not used the first of these is told: what may pass goes before what does not,
# and what a host has said before what is known of it otherwise.
_TOLD = (
    *(Failure.TLS_POLICY, Failure.LOOKUP_FAILED, Failure.UNREACHABLE, Failure.NO_ROUTE),
    *(Failure.NO_REQUIRETLS, Failure.TOO_LARGE, Failure.NO_EXTENSION),
    *(Failure.ADDRESS_REFUSED, Failure.NO_ADDRESS, Failure.LOOPS),
)


@dataclass(slots=True)
class _Standing:
    """What is known of one recipient so far."""

    outcome: DeliveryOutcome
    is_final: bool = False
    attempts: list[Attempt] = field(default_factory=list[Attempt])


class Standings:
    """Where the recipients stand, each by its place in the envelope."""

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        self._all = [
            _Standing(DeliveryOutcome(each.address, Status.NOT_TRIED, None)) for each in recipients
        ]
        self._reasons: list[DeliveryFailed] = []
        self._refused: tuple[ReplyError, Attempt] | None = None
        self._is_postponed = False
        """A host was not asked, and may be another time."""
        self.reply: Reply | None = None
        self.server: str | None = None
        self.error: SMTPError | None = None
        """Why somebody was neither taken nor refused."""

    @property
    def remaining(self) -> list[int]:
        """Who has no final word yet."""
        return [place for place, one in enumerate(self._all) if not one.is_final]

    @property
    def lacks_protection(self) -> bool:
        """True if a host was left out, or did not serve, for want of the TLS that is asked for."""
        return any(one.failure is Failure.TLS_POLICY for one in self._reasons)

    @property
    def _is_open(self) -> bool:
        """True if a host may take it that was not asked: a refusal by another one is not final."""
        unknown = any(one.failure is Failure.LOOKUP_FAILED for one in self._reasons)
        return self._is_postponed or self.lacks_protection or unknown

    def skip(self, why: DeliveryFailed) -> None:
        """A host is left out."""
        self._reasons.append(why)

    def begin_anew(self) -> None:
        """Another policy holds: why hosts were left out by the old one is not told."""
        self._reasons.clear()

    def attempted(self, attempt: Attempt, those: Sequence[int]) -> None:
        """There was an attempt for these."""
        for place in those:
            self._all[place].attempts.append(attempt)

    def hear(self, result: SendResult, those: Sequence[int], attempt: Attempt) -> None:
        """Take what a server has made of the message for these.

        Raises:
            SMTPError: it is the fault of the message.
        """
        self.reply = self.reply or (result.reply if result.accepted else None)
        self.server = result.server or self.server
        for place, outcome in zip(those, result.outcomes, strict=True):
            standing = self._all[place]
            final = outcome.status in (Status.ACCEPTED, Status.IN_DOUBT) or (
                outcome.status is Status.REFUSED
                and outcome.reply is not None
                and outcome.reply.permanent
            )
            # The first word that is not final is kept, for it is told if there is no other.
            if final or standing.outcome.reply is None:
                standing.outcome = DeliveryOutcome(
                    outcome.recipient,
                    outcome.status,
                    outcome.reply,
                    *(attempt.host, attempt.address, attempt.terms),
                )
            standing.is_final = standing.is_final or final
        if result.in_doubt and result.error is not None:
            self.error = self.error or result.error
        if result.error is not None:
            self.note(result.error, attempt)

    def note(self, error: SMTPError, attempt: Attempt) -> None:
        """Remember why nothing came of an attempt.

        Raises:
            SMTPError: it is the fault of the message.
        """
        if isinstance(error, _FAULTS) and not isinstance(error, _NO_FAULTS):
            raise error
        where = f"{attempt.host} [{attempt.address}]"
        if isinstance(error, LACKS):
            failure = _LACKING.get(error.keyword, Failure.NO_EXTENSION)
            self._reasons.append(DeliveryFailed(f"{where}: {error}", failure))
        elif isinstance(error, (GreetingRefused, HelloRefused)):
            known = self._refused
            # A passing refusal goes before one for good: the message may be taken yet.
            if known is None or (known[0].reply.permanent and error.transient):
                self._refused = error, attempt
        elif isinstance(error, HANDSHAKE_FAILED) and attempt.terms.level > Level.OPPORTUNISTIC:
            self._reasons.append(DeliveryFailed(f"{where}: {error}", Failure.TLS_POLICY))
        elif not isinstance(error, ReplyError) or isinstance(error, TLSRefused):
            self._reasons.append(DeliveryFailed(f"{where}: {error}", Failure.UNREACHABLE))

    def postpone(self, error: SMTPError, attempt: Attempt) -> None:
        """A host is not asked this time, for this reason."""
        self._is_postponed = True
        self.note(error, attempt)

    def fail(self, error: SMTPError) -> None:
        """Nobody who is left can be served, for this reason."""
        self.error = error
        failure = error.failure if isinstance(error, DeliveryFailed) else None
        if isinstance(error, TimedOut):
            # Hosts were left that nobody asked, whatever is known of the others.
            unasked = DeliveryFailed(str(error), Failure.UNREACHABLE)
            failure = reason_of([*self._reasons, unasked], "").failure
        refused = failure is not None and not failure.transient
        for place in self.remaining:
            standing = self._all[place]
            if standing.outcome.reply is None:
                standing.outcome = DeliveryOutcome(
                    standing.outcome.recipient,
                    Status.REFUSED if refused else Status.NOT_TRIED,
                    None,
                    failure=failure,
                )

    def break_off(self) -> None:
        """It is interrupted: those who are left are not tried any more."""
        left = [self._all[place].outcome.status for place in self.remaining]
        if self.error is None and Status.NOT_TRIED in left:
            self.error = interrupted()

    def give_up(self, next_hop: str) -> None:
        """Say why nobody took it for those who are left."""
        if self._refused is not None and (self._refused[0].transient or not self._is_open):
            error, attempt = self._refused
            for place in self.remaining:
                standing = self._all[place]
                if standing.outcome.reply is None:
                    standing.outcome = DeliveryOutcome(
                        standing.outcome.recipient,
                        Status.REFUSED,
                        error.reply,
                        *(attempt.host, attempt.address, attempt.terms),
                    )
            return
        if all(self._all[place].outcome.reply is not None for place in self.remaining):
            return
        self.fail(reason_of(self._reasons, next_hop))

    def outcomes(self) -> list[DeliveryOutcome]:
        """What became of each recipient."""
        return [
            DeliveryOutcome(
                one.outcome.recipient,
                one.outcome.status,
                one.outcome.reply,
                *(one.outcome.host, one.outcome.address, one.outcome.terms),
                tuple(one.attempts),
                one.outcome.failure,
            )
            for one in self._all
        ]


def told(places: Iterable[Sequence[int]], standings: Sequence[Standings]) -> DeliveryResult:
    """What became of everybody so far; each next hop has its places in the envelope."""
    found: dict[int, DeliveryOutcome] = {}
    for those, each in zip(places, standings, strict=True):
        found.update(zip(those, each.outcomes(), strict=True))
    outcomes = [found[place] for place in sorted(found)]
    error = next((one.error for one in standings if one.error is not None), None)
    refused = [one for one in outcomes if one.status is Status.REFUSED and one.reply is not None]
    if error is None and refused and not any(one.status is Status.ACCEPTED for one in outcomes):
        first = refused[0]
        if first.reply is not None:
            error = RecipientsRefused(
                None, first.reply, refused=f"the message to {first.recipient}"
            )
    reply = next((one.reply for one in standings if one.reply is not None), None)
    result = DeliveryResult(outcomes, reply, error)
    result.server = next((one.server for one in standings if one.server is not None), None)
    if error is not None:
        # One session's may have been its own; this is the whole message's.
        error.result = result
    return result


def interrupted(status: Status = Status.NOT_TRIED) -> ConnectionLost:
    """Why nothing is known of those who have this status, as far as it was told."""
    is_tried = status is not Status.NOT_TRIED
    what = ", and it is not known what became of this" if is_tried else " before this was sent"
    return ConnectionLost(f"the delivery was interrupted{what}", phase="other")


def looping(error: DeliveryFailed, better: Sequence[object]) -> DeliveryFailed:
    """We are a mail exchanger ourselves: for good where we are the best."""
    if not better:
        return error
    return DeliveryFailed(f"{error}; the better mail exchangers did not take it", Failure.NO_ROUTE)


def reason_of(reasons: Sequence[DeliveryFailed], next_hop: str) -> DeliveryFailed:
    """Of why each host was not used, what is told."""
    if not reasons:
        return DeliveryFailed(f"{next_hop}: nobody was asked", Failure.UNREACHABLE)
    return min(reasons, key=lambda one: _TOLD.index(one.failure))
