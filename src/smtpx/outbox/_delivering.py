"""From the ledger to the server: claim, mark, send, note. What the faces do alike; none waits here.

A message is marked in a transaction that is committed before its last octet leaves; the same
transaction notes what has become of earlier ones. What a worker that dies leaves in doubt is thus
what was marked last: at most a window of messages a connection.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from smtpx.errors import (
    AddressError,
    ExtensionMissing,
    ExtraMissing,
    LocalProtocolError,
    MarkRefused,
    SessionFull,
    SignerFailed,
    SMTPError,
)
from smtpx.replies import Reply
from smtpx.results import Outcome, SendResult, Status

from . import _claiming, _destinations, _queue
from ._claiming import Noted
from ._destinations import Claim
from ._loads import Item, Load, item_of, load_of, loads_of
from ._putting import AT_ONCE
from ._queue import Claimed
from ._schedule import Limit, Retries, pause
from ._spool import Spool
from ._store import Store
from ._stored import reply_text
from ._telling import doubt_of, host_of, is_broken_off, reason_of
from .states import LedgerCorrupt, LedgerUnavailable, OutboxError, State

__all__ = ["Policy", "Round"]

T = TypeVar("T")

_LOG = logging.getLogger("smtpx.outbox")
# Deliveries that are claimed at once, and results that wait for the next mark to be noted.
CLAIMED = 128
_UNNOTED = 128
# Seconds after which a result is noted, though there is nothing to be marked.
_NOTED_WITHIN = 0.5
# What is wrong with the message, and not with the server or the way to it.
_FAULTS = (LocalProtocolError, ExtensionMissing, AddressError, LedgerCorrupt)
_NO_FAULTS = (MarkRefused, SessionFull)
_ANSWERS = (Status.ACCEPTED, Status.REFUSED)
# What is wrong here: it says nothing of the message, which waits until that is mended.
_OURS = (SignerFailed, ExtraMissing, LedgerUnavailable)


class Policy(NamedTuple):
    """How an outbox delivers."""

    retries: Retries
    limits: Mapping[str, Limit]
    spool: Spool | None


class Round:
    """One call of `send_many`: what it is given, and what is made of what it tells."""

    def __init__(
        self,
        store: Store,
        owner: str,
        policy: Policy,
        *,
        alone: bool,
        hop: str | None,
        batch: str | None = None,
    ) -> None:
        self._store = store
        self._owner = owner
        self._policy = policy
        self._alone = alone
        """What is held where it is in doubt shares no window."""
        self._hop = hop
        self._batch = batch
        self._unnoted: list[Noted] = []
        self._noting = threading.Lock()
        """Results are heard while a thread notes earlier ones."""
        self._flushing = threading.Lock()
        """The last to flush does so when all others have: none of them may have failed."""
        self._unreached: set[str] = set()
        """Domains whose own servers could not be reached, and that are to be held back."""
        self._untried: list[tuple[Load, SendResult]] = []
        """Told as not tried: it depends on whether the round goes on what that means."""
        self._unread: dict[int, Load] = {}
        """Claimed, and not told of yet."""
        self._complaints: set[str] = set()
        """Of our own faults, those that the log has."""
        self._noted_at = time.monotonic()
        self.is_stopping = False
        """Nothing more is to be claimed."""
        self.claimed = 0
        """Deliveries so far."""
        self.answered = 0
        """Messages that a server has answered."""

    def more(self) -> list[Item]:
        """Claim what is due; nothing if there is nothing, or this round is to end."""
        while not self.is_stopping:
            wanted = Claim(
                owner=self._owner,
                most=CLAIMED,
                now=self._store.now(),
                batch=self._batch,
                limits=self._policy.limits,
                hop=self._hop,
            )
            taken = self._store.transact(_queue.claim, wanted)
            if not taken.deliveries:
                if taken.is_all:
                    break
                continue
            self.claimed += len(taken.deliveries)
            items: list[Item] = []
            for load in loads_of(taken.deliveries):
                self._unread[id(load)] = load
                try:
                    spool, alone = self._policy.spool, self._alone
                    items.append(item_of(load, taken.contents, spool, alone=alone))
                except Exception as error:
                    self._note(load, [self._unmade(one, error) for one in load.deliveries])
            if items:
                return items
            self.flush()
        return []

    def mark(self, messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
        """Note what was told, and mark what is to be sent, in one transaction."""
        for result in results:
            self.hear(result)
        groups = [load_of(message).tickets for message in messages]
        return self._with_noted(
            lambda noted: self._store.transact(
                _claiming.mark_and_note, self._owner, groups, noted, self._store.now()
            )
        )

    def hear(self, result: SendResult) -> None:
        """Take what became of a message; noted with the next mark, or by `flush`."""
        load = load_of(result.message)
        if load.is_noted:
            return
        if all(one.status is Status.NOT_TRIED for one in result.outcomes) and not isinstance(
            result.error, MarkRefused
        ):
            load.is_noted = True
            with self._noting:
                self._untried.append((load, result))
        else:
            self._answer(load, result)

    def go_on(self) -> None:
        """More is asked for: what was not tried is no sign that there is no way to the server."""
        for load, result in self._told_as_untried():
            self._answer(load, result)

    def _told_as_untried(self) -> list[tuple[Load, SendResult]]:
        with self._noting:
            untried, self._untried = self._untried, []
        return untried

    def _answer(self, load: Load, result: SendResult) -> None:
        outcomes = result.outcomes
        self.answered += any(one.status in _ANSWERS for one in outcomes)
        both = zip(load.deliveries, outcomes, strict=True)
        self._note(load, [self._noted(one, outcome, result) for one, outcome in both])

    def _note(self, load: Load, noted: Sequence[Noted]) -> None:
        load.is_noted = True
        _ = self._unread.pop(id(load), None)
        with self._noting:
            self._unnoted += noted

    def _with_noted(self, note: Callable[[list[Noted]], T]) -> T:
        """Have noted what is to be; if that fails, it is left for the next time."""
        noted: list[Noted] = []
        unreached: set[str] = set()
        try:
            with self._noting:
                noted, self._unnoted = self._unnoted, []
                unreached, self._unreached = self._unreached, set()
            if unreached:
                # Before what could not be sent is given back: else it would be taken at once.
                names, now = sorted(unreached), self._store.now()
                self._store.transact(_destinations.hold_back, names, now)
            return note(noted)
        except BaseException:
            with self._noting:
                self._unnoted = noted + self._unnoted
                self._unreached |= unreached
            raise

    def goes_on(self) -> bool:
        """True if it may claim more as long as what it has given is on its way. What was told is
        noted meanwhile.
        """
        if self.is_stopping or all(load.is_noted for load in [*self._unread.values()]):
            return False
        self.flush()  # It may be long until there is something to be marked.
        return True

    @property
    def has_to_note(self) -> bool:
        """True if something has waited for a mark for long enough."""
        return len(self._unnoted) >= _UNNOTED or time.monotonic() - self._noted_at > _NOTED_WITHIN

    def flush(self) -> None:
        """Note at once what was told."""
        with self._flushing:
            self._noted_at = time.monotonic()
            self._with_noted(self._note_alone)

    def _note_alone(self, noted: list[Noted]) -> None:
        if noted:
            self._store.transact(_claiming.note, self._owner, noted, self._store.now())

    def end(self, error: BaseException | None) -> None:
        """Note all that is known, and give back the rest. `error` is what ended `send_many`."""
        if error is not None:
            for result in vars(error).get("results", ()):
                self.hear(result)
        if self._batch is not None and self._hop is not None and _is_servers(error):
            self._leave(self._hop)  # A task does not wait, and others come after it.
        for load, result in self._told_as_untried():
            if _is_same(result.error, error):
                result.error = error if isinstance(error, SMTPError) else result.error
                self._note(load, [self._given_back(one, str(error)) for one in load.deliveries])
            else:
                self._answer(load, result)
        self.flush()
        unread = [ticket for load in self._unread.values() for ticket in load.tickets]
        self._unread.clear()
        if unread:
            self._store.transact(_claiming.release, self._owner, unread)

    def _noted(self, delivery: Claimed, outcome: Outcome, result: SendResult) -> Noted:
        host, reply, error = host_of(outcome, result), outcome.reply, result.error
        written = reply_text(reply)
        match outcome.status:
            case Status.ACCEPTED:
                noted = Noted(delivery.ticket, State.ACCEPTED, 0.0, True, written, "", host)
                return noted._replace(whose=(delivery.message, delivery.recipient))
            case Status.REFUSED if reply is None or reply.permanent:
                reason = "" if reply is not None else reason_of(outcome, result)
                return Noted(delivery.ticket, State.REFUSED, 0.0, True, written, reason, host)
            case Status.REFUSED:
                due = self._due(delivery, reply)
                return Noted(delivery.ticket, State.WAITING, due, True, written, "", host)
            case Status.IN_DOUBT:
                reason = doubt_of(outcome, result)
                if delivery.hold:
                    return Noted(delivery.ticket, State.IN_DOUBT, 0.0, True, written, reason, host)
                return self._put_off(delivery, reason, host)._replace(doubted=True)
            case Status.NOT_TRIED if isinstance(error, _NO_FAULTS):
                return self._given_back(delivery, "", host)
            case Status.NOT_TRIED if isinstance(error, _FAULTS):
                return self._unmade(delivery, error, host)
            case Status.NOT_TRIED if self._hop is None and not is_broken_off(outcome, result):
                self._leave(delivery.domain)
                return self._given_back(delivery, reason_of(outcome, result), host)
            case _:
                return self._put_off(delivery, reason_of(outcome, result), host)

    def _leave(self, destination: str) -> None:
        with self._noting:
            self._unreached.add(destination)

    def _put_off(self, delivery: Claimed, reason: str, host: str = "") -> Noted:
        due = self._due(delivery, None)
        return Noted(delivery.ticket, State.WAITING, due, True, None, reason, host)

    def _unmade(self, delivery: Claimed, error: Exception, host: str = "") -> Noted:
        """It cannot be made, signed, or sent as it is: for good, if that is the message's fault."""
        why = error.__cause__ if isinstance(error.__cause__, OutboxError) else error
        if isinstance(why, SMTPError) and not _is_ours(why):
            return Noted(delivery.ticket, State.REFUSED, 0.0, True, None, str(why), host)
        reason = str(why) if isinstance(why, SMTPError) else repr(why)
        if reason not in self._complaints:
            self._complaints.add(reason)
            _LOG.warning("message %s waits, and it is our fault: %s", delivery.message, reason)
        return self._put_off(delivery, reason, host)

    def _given_back(self, delivery: Claimed, reason: str, host: str = "") -> Noted:
        return Noted(delivery.ticket, State.WAITING, AT_ONCE, False, None, reason, host)

    def _due(self, delivery: Claimed, said: Reply | None) -> float:
        seconds = pause(self._policy.retries, delivery.attempts + 1, said, random.random())
        return min(self._store.now() + seconds, delivery.expires)


def _is_ours(error: SMTPError) -> bool:
    """True if the message is not at fault, though it could not be made into what is sent."""
    if isinstance(error, LedgerCorrupt):
        return False
    return isinstance(error, _OURS) or isinstance(error.__cause__, (OSError, MemoryError))


def _is_servers(error: BaseException | None) -> bool:
    return isinstance(error, SMTPError) and not isinstance(error, OutboxError)


def _is_same(told: SMTPError | None, error: BaseException | None) -> bool:
    """True if a message was not tried because there was no way to the server at all."""
    if told is None or error is None:
        return False
    if _is_servers(error):
        return type(told) is type(error) and told.args == error.args
    return not isinstance(told, (*_FAULTS, *_NO_FAULTS))
