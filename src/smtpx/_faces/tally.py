"""What is to be sent by one call of `send_many`, what became of it, and when there is no hope.

What the faces do alike; nothing here waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, cast

from smtpx._core.connection import Connection
from smtpx._core.given import Message
from smtpx._core.steps import Steps
from smtpx._core.streaming.stream import stream
from smtpx._core.streaming.supply import (
    Budget,
    Emit,
    Outgoing,
    Supply,
    Window,
    as_far_as_known,
    not_sent,
    tell,
)
from smtpx._faces.checked import checked
from smtpx._wire.commands import Phase
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, SMTPError
from smtpx.marking import Mark
from smtpx.options import Check
from smtpx.pausing import NOTHING_YET, PAUSE, NothingYet
from smtpx.results import SendResult

Item: TypeAlias = "Message | tuple[Message, Envelope]"
Source: TypeAlias = "Iterator[Item | NothingYet]"

# Messages taken from the caller's iterable ahead of those that send them.
READ_AHEAD = 32
# Seconds after which the next message is waited for, not made.
_AT_ONCE = 0.01
# Mail transactions asked for with a session; the pool grants what its limits allow.
ASKED = 1_000_000
# So many sessions may end over a message that was the first they tried; the next is tried then.
_ATTEMPTS = 3
# So many sessions in a row that got nothing done are the server's fault, not a message's.
_FRUITLESS = 2 * _ATTEMPTS


class Tally:
    """Accounts for each message once."""

    def __init__(
        self, window: Window, resend_doubtful: bool, check: Check, mark: Mark | None
    ) -> None:
        self.results: deque[SendResult] = deque()
        """What the caller has not been told yet."""
        self._next: Outgoing | None = None
        """What waited to be sent when it was looked for the last time, and since when."""
        self._next_since = 0.0
        self._asked_again = 0.0
        """When the caller's iterator is asked again, which has nothing, or takes its time."""
        self._supply = Supply(
            resend_doubtful,
            None if check is Check.PASS else partial(checked, check),
            mark=None if mark is None else lambda messages: mark(messages, tuple(self.results)),
        )
        self._window = window
        self._fruitless = 0
        self._hopeless: SMTPError | None = None
        self._source_error: BaseException | None = None
        self._read: object = None
        """What was taken from the caller's iterable, until the supply has it."""

    @property
    def at_hand(self) -> int:
        """Messages that wait to be sent."""
        return len(self._supply.ready)

    @property
    def is_exhausted(self) -> bool:
        """True if no more messages will be taken."""
        return self._supply.exhausted

    @property
    def patience(self) -> float | None:
        """Seconds for which those at work are waited for, and no longer, where there may be one
        more: they may all be held up. ``None`` if nothing waits.

        Then the caller's iterator is asked again, which took so long the last time; or what is at
        hand goes to another one.
        """
        if self.at_hand:
            end = self._next_since + PAUSE
        elif self.is_exhausted:
            return None
        else:
            end = self._asked_again
        left = end - time.monotonic()
        return left if left > 0.0 else PAUSE

    def is_held_up(self) -> bool:
        """True if something waits for longer than those at work should take."""
        ready, now = self._supply.ready, time.monotonic()
        first = ready[0] if ready else None
        if first is self._next and now - self._next_since < PAUSE:
            return False
        is_late = first is self._next is not None
        self._next, self._next_since = first, now
        return is_late

    @property
    def is_slow(self) -> bool:
        """True if nothing that was read may wait for what is not."""
        return time.monotonic() < self._asked_again

    def add(self, item: Item) -> None:
        """Take a message to be sent. It, and its envelope, are looked at when their turn comes.

        Raises:
            TypeError: it is a tuple, and no pair.
        """
        if isinstance(item, tuple):
            pair: tuple[Any, ...] = item
            if len(pair) != 2:
                self._read = None
                raise TypeError(
                    f"messages: give tuples of message and envelope, not of {len(pair)}"
                )
            message, envelope = pair
            outgoing = Outgoing(message, envelope)
        else:
            outgoing = Outgoing(item, None)
        supply = self._supply
        # No signal handler runs between these: until then it is an item, from then on untold.
        supply.untold[outgoing] = None
        self._read = None
        supply.ready.append(outgoing)

    def exhaust(self, error: BaseException | None = None) -> None:
        """Note the end of the caller's iterable, or its failure.

        What was read before is sent before the caller hears of it.
        """
        self._source_error = error
        self._supply.exhausted = True

    def refill(self, source: Source) -> None:
        """Take some messages from the caller's iterator, as many as come at once."""
        left = READ_AHEAD
        asked = time.monotonic()
        try:
            # Whatever interrupts, what was read is held: CPython runs no signal handler between
            # the iterator and the name that a loop gives to its item.
            for self._read in source:
                if self._read is NOTHING_YET:
                    self._read = None
                    self._asked_again = time.monotonic() + PAUSE
                    return
                self.add(self._read)
                left -= 1
                came = time.monotonic()
                if came - asked > _AT_ONCE:
                    self._asked_again = came + came - asked
                    return
                if not left:
                    return
                asked = came
        except Exception as error:
            self.exhaust(error)
        else:
            self.exhaust()

    def procedure(
        self, connection: Connection, budget: Budget, emit: Emit
    ) -> Steps[SMTPError | None]:
        """Send what is at hand over a connection."""
        return stream(connection, self._supply, emit, self._window, budget)

    def break_off(self) -> None:
        """Send nothing any more; what is in doubt from now on is reported."""
        self._supply.resend_doubtful = False
        self._supply.exhausted = True

    def none_to_be_had(self, error: SMTPError) -> None:
        """No session can be opened, and none is at work."""
        self._give_up(error)

    def session_ended(
        self,
        connection: Connection,
        budget: Budget,
        error: SMTPError | None,
        *,
        reused: bool,
        at_work: int,
    ) -> None:
        """A session has ended, and has put back what it had not sent."""
        if budget.answered:
            # Whatever ended it, the next one gets as far, and further.
            self._fruitless = 0
            if isinstance(error, ConnectionLost) and not budget.has_refused:
                done = connection.transactions - budget.begun + budget.answered
                connection.learnt.session_ended(done, connection.parting)
            return
        if error is None:
            return
        if reused and (budget.first is None or isinstance(error, ConnectionLost)):
            return  # It was closed while it was idle: that proves nothing.
        self._fruitless += 1
        ready = self._supply.ready
        if ready and ready[0] is budget.first:
            ready[0].attempts += 1
            if ready[0].attempts >= _ATTEMPTS:
                self._tell_first(error)
        if self._fruitless >= _FRUITLESS + at_work:
            self._give_up(error)

    def _give_up(self, error: SMTPError) -> None:
        """Account for what was not sent, and take no more."""
        if self._tell_unsent(error) or not self._supply.exhausted:
            self._hopeless = error
        self._supply.exhausted = True

    def _tell_unsent(self, error: SMTPError) -> bool:
        """Tell what waits to be sent that it will not be; False if nothing does."""
        ready = self._supply.ready
        untold = bool(ready)
        while ready:
            self._tell_first(error)
        return untold

    def _tell_first(self, error: SMTPError) -> None:
        outgoing = self._supply.ready.popleft()
        tell(self._supply, self.results.append, outgoing, not_sent(outgoing, error))

    def interrupted(self) -> None:
        """Account for everything that was read from the caller, wherever it was just then."""
        read, untold, results = self._read, self._supply.untold, self.results
        if read is not None:
            with suppress(TypeError):  # What is no pair is nobody's message.
                self.add(cast("Item", read))
        why = "send_many was interrupted before this message was sent"
        error = ConnectionLost(why, phase=Phase.OTHER.field)
        _ = self._tell_unsent(error)
        emitted = {id(result) for result in results}
        for message in untold:
            if message.result is None:
                message.result = as_far_as_known(message, error)
            if id(message.result) not in emitted:
                results.append(message.result)
        untold.clear()

    def conclude(self) -> bool:
        """Account for what sessions have put back after hope was lost; False if there is nothing.

        Raises:
            SMTPError: no session could be had any more.
            BaseException: what the caller's iterable raised.
        """
        if self._hopeless is not None:
            if self._tell_unsent(self._hopeless):
                return True
            raise self._hopeless
        if self._source_error is not None:
            raise self._source_error
        return False
