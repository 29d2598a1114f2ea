"""The connection pool's decisions as one state; no I/O, no lock, no clock.

A face calls it under its one lock and does all I/O outside. Whoever asks (`acquire`, `opened`,
`reopen`) is told by value what to do, and that is recorded before it returns. A caller
that is cancelled at any later moment still gives its slot back: by `failed`, `release` or `cancel`.

Every method returns `Changes`, and the face carries them out: it closes the connections named,
once each, outside the lock, and wakes the holders of the tickets that were answered. A slot that
gets free goes straight to the caller who has waited longest: none of the others wakes up, and no
wake-up is lost, for the answer stands in the ticket. A `Wait` names the moment at which its holder
calls `evict`, unless it is answered before; only the first in the queue waits for less than its
whole time, and `Changes` name it when that moment moves.

Idle connections are reused last in, first out; waiting callers are served first in, first out.

An interruption may end a method anywhere. So what is decided stands in the slots and the tickets
alone, each written in an order in which nothing gets lost; `mend` makes everything else anew.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from smtpx._core.pool.bucket import Bucket
from smtpx._core.pool.decisions import (
    NO_CHANGES,
    Changes,
    Decision,
    Open,
    Reference,
    Refusal,
    Refused,
    Slot,
    SlotState,
    Ticket,
    Use,
    Wait,
    use,
)
from smtpx.options import PoolLimits
from smtpx.pooling import CloseReason, PoolStatistics

C = TypeVar("C")

# An Enum's attributes are slow to look up until Python 3.12, and these are needed all the time.
_BUSY = SlotState.BUSY
_IDLE = SlotState.IDLE


class PoolState(Generic[C]):
    """The connections `C` to one server, all alike: whoever is given one may have any.

    `now` is in seconds of a monotonic clock; one that is behind the last is taken for the last.
    """

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self._limits = limits or PoolLimits()
        self._wait = _or_infinity(self._limits.wait)
        self._idle_time = _or_infinity(self._limits.idle_time)
        self._age = _or_infinity(self._limits.age)
        self._bucket = Bucket(self._limits.rate, self._limits.burst)
        self._now = -math.inf
        self._bound = self._limits.open
        self._raise_at = math.inf
        self._changes_at = math.inf
        """By time alone nothing changes before; where several moments are near, maybe not then."""
        self._closing = False
        self._slots: list[Slot[C]] = []
        self._waiting: OrderedDict[Ticket[C], None] = OrderedDict()
        _ = self.forget()

    def forget(self) -> list[C]:
        """Drop all slots, callers and figures; close nothing, and return the connections.

        After `fork` they are the parent's, and after a run of a loop they are of no use. What is
        still reported about a forgotten slot changes nothing.
        """
        forgotten = [slot.held for slot in self._slots if slot.held is not None]
        for slot in self._slots:
            slot.state = SlotState.CLOSED
        for ticket in self._waiting:
            ticket.decision = Refused(Refusal.CANCELLED)
        self._slots = []
        self._idle: list[Slot[C]] = []  # the most recently used is last
        self._waiting = OrderedDict()
        self._doomed: list[Slot[C]] = []
        self._answered: dict[Ticket[C], None] = {}
        self._told: Changes[C] = NO_CHANGES
        self._asked = self._acquired = self._opened = self._reused = self._loads = 0
        self._closed: Counter[CloseReason] = Counter()
        self._refused: Counter[Refusal] = Counter()
        self._connection_seconds = self._rate_seconds = 0.0
        return forgotten

    def acquire(
        self, now: float, messages: int = 1, holder: Reference | None = None
    ) -> tuple[Decision[C], Changes[C]]:
        """Ask for a connection over which up to `messages` go, at least one.

        Less is granted where the rate or the connection gives less; a caller with more to send then
        asks again, behind those who wait. What is granted is the `holder`'s.
        """
        self._advance(now)
        if self._closing:
            self._refused[Refusal.CLOSED] += 1
            return self._refuse(Refusal.CLOSED)
        if not self._waiting and self._can_grant():
            return self._grant(messages, holder), self._changes()
        ticket: Ticket[C] = Ticket(self._asked, messages, self._now + self._wait, holder)
        ticket.decision = _wait(ticket)
        self._asked += 1
        self._waiting[ticket] = None
        changes = self._settle(ticket)
        return ticket.decision, changes

    def opened(
        self, slot: Slot[C], now: float, *, connection: C, mail_max: int | None = None
    ) -> tuple[Use[C] | Refused, Changes[C]]:
        """The connection is there; `mail_max` is the server's MAILMAX (RFC 9422 §4.1).

        Refused means that the pool was aborted meanwhile: the caller closes the connection.
        """
        self._advance(now)
        if not _is_still(slot, SlotState.OPENING):
            return self._refuse(Refusal.CLOSED)
        slot.state, slot.held, slot.aged_at = _BUSY, connection, self._now + self._age
        self._opened += 1  # At once: no interruption comes between.
        slot.messages_max = min(slot.messages_max, _or_infinity(mail_max))
        self._spare(slot, int(max(0, -slot.left())))
        # What the server has accepted, it can bear.
        self._bound = max(self._bound, self._count(SlotState.BUSY, SlotState.IDLE))
        return Use(slot, slot.granted), self._settle()

    def failed(self, slot: Slot[C], now: float) -> Changes[C]:
        """The connection could not be opened, or its opening was cancelled."""
        self._advance(now)
        if _is_still(slot, SlotState.OPENING):
            self._close(slot, CloseReason.FAILED)
        return self._settle()

    def reopen(self, slot: Slot[C], now: float) -> tuple[Open[C] | Refused, Changes[C]]:
        """A slot just acquired was found dead, nothing accepted: open another in its place.

        The caller keeps its turn and its messages. `Changes` name the dead one, to be closed.
        """
        self._advance(now)
        if not _is_still(slot, _BUSY):
            return self._refuse(Refusal.CLOSED)
        fresh = self._slot(slot.holder)
        fresh.granted, slot.granted = slot.granted, 0
        self._close(slot, CloseReason.STALE)
        return Open(fresh, fresh.granted), self._settle()

    def release(
        self, slot: Slot[C], now: float, usable: bool = True, messages: int = 1
    ) -> Changes[C]:
        """Give a slot back, `messages` mail transactions having been begun on it by this holder.

        `usable` says that its procedures are finished, and the dialogue is in step (R10).
        """
        self._advance(now)
        if _is_still(slot, _BUSY):
            # A divided message takes several, whatever was granted for it.
            unused = slot.granted - messages
            slot.messages += messages
            slot.granted = unused if unused > 0 else 0
            if unused > 0:
                self._spare(slot, unused)
            reason = self._reason(slot) if usable else CloseReason.BROKEN
            if reason is None:
                self._rest(slot)
            else:
                self._close(slot, reason)
        return self._settle()

    def cancel(self, ticket: Ticket[C], now: float) -> Changes[C]:
        """A caller stops waiting; an answer that it has not acted upon yet is taken back."""
        self._advance(now)
        _ = self._answered.pop(ticket, None)
        match ticket.decision:
            case Wait():
                self._turn_away(ticket, Refusal.CANCELLED)
                _ = self._answered.pop(ticket, None)
            case Open(slot):
                ticket.decision = Refused(Refusal.CANCELLED)
                return self.failed(slot, now)
            case Use(slot):
                ticket.decision = Refused(Refusal.CANCELLED)
                return self.release(slot, now, messages=0)
            case Refused():
                pass
        return self._settle()

    def evict(self, now: float) -> Changes[C]:
        """Let time do what it does: idle connections expire, callers get their turn or give up."""
        self._advance(now)
        return self._settle()

    def give_up(self, slot: Slot[C], now: float) -> Changes[C]:
        """Give a slot back, whatever it is: its holder was interrupted."""
        if slot.state is SlotState.OPENING:
            return self.failed(slot, now)
        return self.release(slot, now, usable=False, messages=0)

    def mend(self, now: float, *, torn: bool) -> Changes[C]:
        """Take back slots, and places in the queue, that nobody claims any more.

        If the last call was `torn` by an interruption, before its changes were carried out, they
        are told again, and what is known elsewhere is worked out anew from slots and tickets.
        """
        if torn:
            closed = [slot for slot in self._slots if slot.state is SlotState.CLOSED]
            doomed = [slot for slot in closed if slot.held is not None]
            self._doomed = [*dict.fromkeys([*self._told.close, *self._doomed, *doomed])]
            self._answered |= dict.fromkeys([*self._told.answered, *self._waiting])
            self._slots = [slot for slot in self._slots if slot.state is not SlotState.CLOSED]
            known = [slot for slot in self._idle if slot.state is _IDLE]
            self._idle = [s for s in self._slots if s.state is _IDLE and s not in known] + known
            for ticket in [*self._waiting]:
                if not isinstance(ticket.decision, Wait):
                    del self._waiting[ticket]
            self._changes_at = -math.inf
        for slot in [slot for slot in self._slots if slot.state is not _IDLE]:
            if not _is_claimed(slot):
                was_open = slot.state is _BUSY
                self._close(slot, CloseReason.BROKEN if was_open else CloseReason.FAILED)
        for ticket in [ticket for ticket in self._waiting if not _is_claimed(ticket)]:
            self._turn_away(ticket, Refusal.CANCELLED)
        return self.evict(now)

    def refused_for_load(self, slot: Slot[C], now: float) -> None:
        """The server said "too many connections" (421, 454) to this slot's holder.

        It says so just before it gives the slot back, under the same lock. For
        `PoolLimits.recovery` seconds no more are opened than are open besides; then one more in
        each such time.
        """
        self._advance(now)
        others = self._count(SlotState.BUSY, SlotState.IDLE) - (slot.state is SlotState.BUSY)
        self._bound = max(1, others)
        self._raise_at = self._now + self._limits.recovery
        self._changes_at = min(self._changes_at, self._raise_at)
        self._loads += 1

    def close(self, now: float, *, abort: bool = False) -> Changes[C]:
        """Hand nothing out any more, and turn away the callers that wait.

        Idle connections are closed at once, busy ones at their release; with `abort` all at once,
        and their holders' reports change nothing.
        """
        self._advance(now)
        self._closing = True
        for ticket in [*self._waiting]:
            self._turn_away(ticket, Refusal.CLOSED)
        for slot in [*self._slots] if abort else [*self._idle]:
            self._close(slot, CloseReason.SHUTDOWN)
        return self._settle()

    def has_room(self) -> bool:
        """True unless whoever asks now has to wait for another one's connection."""
        return bool(self._idle) or len(self._slots) < self._bound

    def statistics(self) -> PoolStatistics:
        """The figures as of the last call."""
        return PoolStatistics(
            open=len(self._slots),
            opening=self._count(SlotState.OPENING),
            busy=self._count(SlotState.BUSY),
            idle=len(self._idle),
            bound=self._bound,
            waiting=len(self._waiting),
            acquired=self._acquired,
            opened=self._opened,
            reused=self._reused,
            closed=MappingProxyType(dict(self._closed)),
            refused=self._refused[Refusal.CLOSED],
            timed_out=self._refused[Refusal.TIMED_OUT],
            cancelled=self._refused[Refusal.CANCELLED],
            refused_for_load=self._loads,
            connection_seconds=self._connection_seconds,
            rate_seconds=self._rate_seconds,
        )

    def _advance(self, now: float) -> None:
        """What the time since the last call has brought."""
        self._told = NO_CHANGES  # They have been carried out.
        if now > self._now:
            if self._waiting:
                self._count_waiting(now - self._now)
            self._now = now
        if self._changes_at <= self._now:
            self._change()
        if self._waiting:
            self._serve()
            while self._waiting and (ticket := next(iter(self._waiting))).deadline <= self._now:
                self._turn_away(ticket, Refusal.TIMED_OUT)

    def _count_waiting(self, seconds: float) -> None:
        seconds *= len(self._waiting)
        if self.has_room():
            self._rate_seconds += seconds
        else:
            self._connection_seconds += seconds

    def _change(self) -> None:
        """What time alone does: the bound rises, idle connections expire."""
        while self._bound < self._limits.open and self._raise_at <= self._now:
            self._bound += 1
            self._raise_at += self._limits.recovery
        for slot in [slot for slot in self._idle if slot.expires_at <= self._now]:
            reason = CloseReason.AGE if slot.aged_at <= self._now else CloseReason.IDLE_TIME
            self._close(slot, reason)
        rise = self._raise_at if self._bound < self._limits.open else math.inf
        self._changes_at = min([rise, *(slot.expires_at for slot in self._idle)])

    def _settle(self, asking: Ticket[C] | None = None) -> Changes[C]:
        """Serve the callers that can be served, and tell what the face has to do."""
        if self._waiting:
            self._serve()
        while len(self._idle) > self._limits.idle:
            self._close(self._idle[0], CloseReason.SURPLUS)
        if self._waiting:
            self._appoint()
        if asking is not None:
            _ = self._answered.pop(asking, None)
        return self._changes()

    def _changes(self) -> Changes[C]:
        """Tell what the face has to do, once."""
        if not self._doomed and not self._answered:
            return NO_CHANGES
        self._told = Changes(tuple(self._doomed), tuple(self._answered))
        self._doomed, self._answered = [], {}
        return self._told

    def _serve(self) -> None:
        """Grant while there is something to grant, to the caller who has waited longest."""
        while self._waiting and self._can_grant():
            ticket = next(iter(self._waiting))
            ticket.decision = self._grant(ticket.messages, ticket.holder)
            self._answered[ticket] = None
            del self._waiting[ticket]

    def _can_grant(self) -> bool:
        return self._bucket.ready_at <= self._now and self.has_room()

    def _grant(self, wanted: int, holder: Reference | None) -> Use[C] | Open[C]:
        is_reused = bool(self._idle)
        slot = self._idle[-1] if is_reused else self._slot(holder)
        left = slot.left()
        messages = self._bucket.take(self._now, wanted if wanted <= left else int(left))
        granted = use(slot, messages) if is_reused else Open(slot, messages)
        # No call of ours follows: near the recursion limit a slot stays idle, or is granted.
        self._acquired += 1
        if is_reused:
            self._reused += 1
            slot.holder = holder
            slot.state = _BUSY
            del self._idle[-1]
        slot.granted += messages
        return granted

    def _appoint(self) -> None:
        """Tell the first in the queue when its turn may come, if that is news."""
        ticket = next(iter(self._waiting))
        room = self._raise_at if self._bound < self._limits.open else math.inf
        wait = _wait(ticket, self._bucket.ready_at if self.has_room() else room)
        if ticket.decision != wait:
            ticket.decision = wait
            self._answered[ticket] = None

    def _turn_away(self, ticket: Ticket[C], refusal: Refusal) -> None:
        self._refused[refusal] += 1
        ticket.decision = Refused(refusal)
        self._answered[ticket] = None
        del self._waiting[ticket]

    def _refuse(self, refusal: Refusal) -> tuple[Refused, Changes[C]]:
        return Refused(refusal), self._settle()

    def _slot(self, holder: Reference | None) -> Slot[C]:
        slot: Slot[C] = Slot(_or_infinity(self._limits.messages), holder=holder)
        self._slots.append(slot)
        return slot

    def _rest(self, slot: Slot[C]) -> None:
        slot.holder = None
        slot.state = _IDLE
        idle_until = self._now + self._idle_time
        slot.expires_at = idle_until if idle_until < slot.aged_at else slot.aged_at
        if slot.expires_at < self._changes_at:
            self._changes_at = slot.expires_at
        self._idle.append(slot)

    def _close(self, slot: Slot[C], reason: CloseReason) -> None:
        was, slot.state = slot.state, SlotState.CLOSED
        slot.holder = None
        self._spare(slot, slot.granted)
        if was is SlotState.IDLE:
            self._idle.remove(slot)
        # One that is being opened is closed by its holder, which may be told, or be gone.
        if was is not SlotState.OPENING or slot.held is not None:
            self._doomed.append(slot)
        self._slots.remove(slot)
        self._closed[reason] += 1

    def _spare(self, slot: Slot[C], messages: int) -> None:
        """Take back what was granted and not used."""
        slot.granted -= messages
        self._bucket.put_back(messages)

    def _reason(self, slot: Slot[C]) -> CloseReason | None:
        """Why a slot that comes back is not kept, if it is not."""
        if self._closing:
            return CloseReason.SHUTDOWN
        if slot.left() < 1:
            return CloseReason.MESSAGES
        if slot.aged_at <= self._now:
            return CloseReason.AGE
        return CloseReason.SURPLUS if len(self._slots) > self._bound else None

    def _count(self, *states: SlotState) -> int:
        return sum(slot.state in states for slot in self._slots)


def _wait(ticket: Ticket[C], moment: float = math.inf) -> Wait[C]:
    until = min(ticket.deadline, moment)
    return Wait(ticket, None if until == math.inf else until)


def _is_claimed(place: Slot[Any] | Ticket[Any]) -> bool:
    holder = None if place.holder is None else place.holder()
    return holder is not None and holder.claims(place)


def _or_infinity(limit: float | None) -> float:
    return math.inf if limit is None else limit


def _is_still(slot: Slot[C], state: SlotState) -> bool:
    """False if it was closed while its holder was away."""
    if slot.state is state:
        return True
    if slot.state is SlotState.CLOSED:
        return False
    raise AssertionError(f"a slot is reported {slot.state.value} that is to be {state.value}")
