"""The words of the outbox: its states, what it tells of them, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from smtpx.errors import SMTPError
from smtpx.replies import Reply

__all__ = [
    "Counts",
    "Delivery",
    "Event",
    "IdempotencyConflict",
    "LedgerCorrupt",
    "LedgerMisconfigured",
    "LedgerTooNew",
    "LedgerUnavailable",
    "NotInOutbox",
    "OutboxError",
    "State",
    "Submission",
]


class State(Enum):
    """What has become of a message for one recipient; exactly one of these is true."""

    WAITING = "waiting"
    """It will be sent when it is due; what is not `doubted` cannot have been accepted."""
    SENDING = "sending"
    """It may be on its way: from the mark before its last octet until the reply is noted."""
    ACCEPTED = "accepted"
    """The server has taken responsibility for it (RFC 5321 §6.1)."""
    REFUSED = "refused"
    """The server said no for good, or no server can take it, and none can have taken it."""
    IN_DOUBT = "in doubt"
    """Whether it was accepted is unknown, and it is not sent again until it is resolved.

    So it is kept by `on_doubt="hold"`. By ``"resend"`` it comes of a doubt where no later attempt
    was accepted either.
    """
    EXPIRED = "expired"
    """It was not accepted in time, and is not tried any more."""
    CANCELLED = "cancelled"
    """It was cancelled before any of it could be accepted."""


class Counts(dict[State, int]):
    """How many recipients are in each state; each state is a key."""

    def __init__(self, counts: Mapping[State, int], doubted: int) -> None:
        super().__init__(counts)
        self.doubted = doubted
        """Of those that wait, or are on their way, how many are `Delivery.doubted`."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to one recipient."""

    recipient: str
    state: State
    attempts: int
    """How often a server has answered it, or may have; or it could not be made or signed here."""
    due: datetime | None
    """When it is tried; ``None`` unless it is waiting."""
    reply: Reply | None
    """The last reply that decided anything."""
    reason: str
    """Why it is so, where no reply says it; else empty."""
    message_id: str
    """The Message-ID field's value: the same in every attempt."""
    host: str
    """The server that answered last; empty before one has."""
    submission: str
    """The id of what it is a part of."""
    doubted: bool = False
    """An earlier attempt may have been accepted, and ``"resend"`` has it sent again."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What was put into the outbox by one call."""

    id: str
    key: str | None
    campaign: str | None
    sender: str
    """The reverse-path; empty for the null one."""
    created: datetime
    expires: datetime
    deliveries: tuple[Delivery, ...]
    """One for each recipient."""

    @property
    def is_over(self) -> bool:
        """True if nothing more will happen by itself."""
        return all(
            delivery.state not in (State.WAITING, State.SENDING) for delivery in self.deliveries
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has become of a message for one recipient."""

    cursor: int
    """Its place in the stream: `Outbox.events` goes on after it."""
    submission: str
    recipient: str
    state: State
    """ACCEPTED, REFUSED, IN_DOUBT, EXPIRED or CANCELLED."""
    reply: Reply | None
    reason: str
    at: datetime


class OutboxError(SMTPError):
    """The outbox cannot do what it was asked for; nothing that it holds was lost."""


class IdempotencyConflict(OutboxError):
    """The key was used before, for another message."""


class NotInOutbox(OutboxError, LookupError):
    """The outbox has nothing of that id, or that recipient."""


class LedgerUnavailable(OutboxError):
    """The database cannot be used now: locked, full, read-only, or out of reach."""


class LedgerMisconfigured(LedgerUnavailable):
    """It will not be usable later either: no such directory, no permission, a login refused."""


class LedgerTooNew(OutboxError):
    """The tables were made by a later version of smtpx."""


class LedgerCorrupt(OutboxError):
    """What the ledger has is not what was written: a damaged file, or tables of somebody else."""
