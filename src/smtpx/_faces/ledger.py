"""What is to be sent by one call of `send_many`, what became of it, and when there is no hope.

What the faces do alike; nothing here waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import TypeAlias

from smtpx._core.connection import Connection
from smtpx._core.delivery import Message
from smtpx._core.steps import Steps
from smtpx._core.stream import stream
from smtpx._core.supply import Budget, Emit, Outgoing, Supply, Window, not_sent, tell
from smtpx._faces.arguments import pair_of
from smtpx._faces.checked import checked
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, SMTPError
from smtpx.options import Check
from smtpx.results import SendResult

Item: TypeAlias = "Message | tuple[Message, Envelope]"

# Messages taken from the caller's iterable ahead of those that send them.
READ_AHEAD = 32
# Seconds after which the next message is waited for, not made.
_AT_ONCE = 0.01
# Mail transactions asked for with a session; the pool grants what its limits allow.
ASKED = 1_000_000
# A message that this many sessions could not send is not tried again, those not counted that end
# all together; and when so many sessions in a row sent nothing, there is no hope for the next.
_ATTEMPTS = 3


class Ledger:
    """Accounts for each message once."""

    def __init__(
        self, connections: int, window: Window, resend_doubtful: bool, check: Check
    ) -> None:
        self.results: deque[SendResult] = deque()
        """What the caller has not been told yet."""
        self.is_slow = False
        """The caller's iterator takes its time: nothing that was read waits for what is not."""
        self._supply = Supply(
            resend_doubtful, None if check is Check.PASS else partial(checked, check)
        )
        self._window = window
        self._attempts = _ATTEMPTS + connections - 1
        self._fruitless = 0
        self._hopeless: SMTPError | None = None
        self._source_error: BaseException | None = None

    @property
    def at_hand(self) -> int:
        """Messages that wait to be sent, and may be."""
        return len(self._supply.ready) if self._hopeless is None else 0

    @property
    def is_exhausted(self) -> bool:
        """True if no more messages will come."""
        return self._supply.exhausted or self._hopeless is not None

    def add(self, item: Item) -> None:
        """Take a message to be sent."""
        if isinstance(item, tuple):
            message, envelope = pair_of(item)
        else:
            message, envelope = item, None
        self._supply.ready.append(Outgoing(message, envelope))

    def exhaust(self, error: BaseException | None = None) -> None:
        """Note the end of the caller's iterable, or its failure.

        What was read before is sent before the caller hears of it.
        """
        self._source_error = error
        self._supply.exhausted = True

    def refill(self, source: Iterator[Item]) -> None:
        """Take some messages from the caller's iterator, as many as come at once."""
        self.is_slow = False
        try:
            asked = time.monotonic()
            for _ in range(READ_AHEAD):
                self.add(next(source))
                came = time.monotonic()
                if came - asked > _AT_ONCE:
                    self.is_slow = True
                    break
                asked = came
        except StopIteration:
            self.exhaust()
        except Exception as error:
            self.exhaust(error)

    def procedure(
        self, connection: Connection, budget: Budget, emit: Emit
    ) -> Steps[SMTPError | None]:
        """Send what is at hand over a connection."""
        return stream(connection, self._supply, emit, self._window, budget)

    def break_off(self) -> None:
        """Send nothing any more; what is in doubt from now on is reported."""
        self._supply.resend_doubtful = False

    def none_to_be_had(self, error: SMTPError) -> None:
        """No session can be opened, and none is at work."""
        self._hopeless = error

    def session_ended(self, reused: bool, error: SMTPError, at_work: int) -> None:
        """A session has ended by an error, and put back what it had not sent."""
        ready = self._supply.ready
        for outgoing in [outgoing for outgoing in ready if outgoing.attempts >= self._attempts]:
            ready.remove(outgoing)
            tell(self.results.append, outgoing, not_sent(outgoing, error))
        # A session from the pool that was closed while it was idle proves nothing.
        if not (reused and isinstance(error, ConnectionLost)):
            self._fruitless += 1
        if self._fruitless > _ATTEMPTS + at_work and not self.results:
            self._hopeless = error

    def told(self) -> None:
        """The caller is told of results: there is hope."""
        self._fruitless = 0

    def conclude(self) -> bool:
        """Account for what was not sent; False if nothing is left to tell.

        Raises:
            SMTPError: no session could be had any more.
            BaseException: what the caller's iterable raised.
        """
        if self._hopeless is not None:
            ready = self._supply.ready
            if not ready:
                raise self._hopeless
            while ready:
                outgoing = ready.popleft()
                tell(self.results.append, outgoing, not_sent(outgoing, self._hopeless))
            return True
        if self._source_error is not None:
            raise self._source_error
        return False
