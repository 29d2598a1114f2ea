"""What the pool's decisions are made of: slots, tickets, and what a caller or a face is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from smtpx import _checks
from smtpx._values import Value, draft_of

C = TypeVar("C")


class SlotState(Enum):
    """OPENING → BUSY ⇄ IDLE → CLOSED; from each straight to CLOSED, from there nowhere."""

    OPENING = "opening"
    BUSY = "busy"
    IDLE = "idle"
    CLOSED = "closed"


class Refusal(Enum):
    """Why a caller gets nothing."""

    CLOSED = "closed"
    """The pool is closed."""
    TIMED_OUT = "timed out"
    """`PoolLimits.wait` is over."""
    CANCELLED = "cancelled"
    """The caller itself withdrew."""


class Holder(Protocol):
    """A caller, as far as the pool knows it."""

    def claims(self, place: Slot[Any] | Ticket[Any]) -> bool:
        """True if it knows that it has this slot, or this place in the queue."""
        ...


Reference: TypeAlias = "Callable[[], Holder | None]"
"""A weak reference: a holder that is no more holds nothing."""


class Slot(Generic[C]):
    """The place of one connection, from the decision to open it until it is closed.

    `PoolState` alone writes to it, but for what its holder is about to open.
    """

    __slots__ = (
        "aged_at",
        "expires_at",
        "granted",
        "held",
        "holder",
        "messages",
        "messages_max",
        "state",
    )

    def __init__(
        self,
        messages_max: float,
        state: SlotState = SlotState.OPENING,
        *,
        granted: int = 0,
        holder: Reference | None = None,
    ) -> None:
        self.messages_max = messages_max
        """Mail transactions that it may carry in all."""
        self.state = state
        self.aged_at = math.inf
        """When it has been open for long enough, from `opened` on."""
        self.expires_at = math.inf
        """When it has been idle, or open, for long enough; kept while it is idle."""
        self.messages = 0
        """Mail transactions that earlier holders began on it."""
        self.granted = granted
        """Messages that its present holder may send."""
        self.held: C | None = None
        self.holder = holder

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<Slot {self.state.value}, {self.messages} messages>"

    @property
    def connection(self) -> C:
        """What `opened` was given, or is being opened."""
        if self.held is None:
            raise AssertionError("a slot has a connection from `opened` on")
        return self.held

    def left(self) -> float:
        """Messages that can still be granted."""
        return self.messages_max - self.messages - self.granted


class Ticket(Generic[C]):
    """A caller's place in the queue. To be read under the lock."""

    __slots__ = ("deadline", "decision", "holder", "messages", "order")

    decision: Decision[C]
    """What holds now: a `Wait`, or the answer."""

    def __init__(
        self, order: int, messages: int, deadline: float, holder: Reference | None = None
    ) -> None:
        self.order = order
        self.messages = messages
        self.deadline = deadline
        self.holder = holder


class Use(Value, Generic[C]):
    """The slot is the caller's until `release`; up to `messages` may go over it now."""

    slot: Slot[C]
    messages: int


_UseDraft = draft_of(Use)


def use(slot: Slot[C], messages: int) -> Use[C]:
    """A `Use` that was made without a call for each field: there is one for every message."""
    draft = _UseDraft()
    draft.slot, draft.messages = slot, messages
    draft.__class__ = Use
    return draft  # type: ignore[no-any-return]


class Open(Value, Generic[C]):
    """The caller opens a connection for this slot and says how that went: `opened` or `failed`."""

    slot: Slot[C]
    messages: int


class Wait(Value, Generic[C]):
    """The caller waits for its ticket's answer, and calls `evict` at `until` (``None``: never)."""

    ticket: Ticket[C]
    until: float | None


class Refused(Value):
    """The caller gets nothing."""

    refusal: Refusal


Decision: TypeAlias = Use[C] | Open[C] | Wait[C] | Refused


class Changes(Value, Generic[C]):
    """What the face carries out after a call."""

    close: tuple[Slot[C], ...]
    """Slots whose connections the face closes; each is named once, and is the pool's no more."""
    answered: tuple[Ticket[C], ...]
    """Tickets with a new decision: wake their holders."""


NO_CHANGES: Changes[Any] = Changes((), ())
