"""A window of messages in flight by BDAT (RFC 3030 §2, §4.2; RFC 2920)."""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import NamedTuple

from smtpx._core.connection import Connection
from smtpx._core.sending import SESSION_OVER
from smtpx._core.steps import Steps, octets_written
from smtpx._core.supply import (
    Budget,
    Drawn,
    Emit,
    Outgoing,
    Supply,
    Window,
    ask_for_more,
    draw,
    not_sent,
    send_alone,
    tell,
)
from smtpx._core.transaction import (
    body_of,
    broken_off,
    check_reset,
    judge,
    parameters_of,
    plan_of,
    result_of,
)
from smtpx._wire import commands
from smtpx._wire.commands import RSET, Command, Phase
from smtpx._wire.content import Content
from smtpx.envelope import BodyType, Envelope
from smtpx.errors import ConnectionLost, SessionFull, SMTPError, TimedOut
from smtpx.replies import Reply
from smtpx.results import SendResult

_LAST = Phase.DATA_TERMINATION
# What is composed goes to the transport in writes of about this size.
_WRITE = 65536


class _InFlight(NamedTuple):
    """A message written by BDAT, its replies still to come."""

    outgoing: Outgoing
    envelope: Envelope
    content: Content
    group: Command
    replies: int
    octets: int


class Chunks:
    """``RSET MAIL RCPT… BDAT n LAST`` of a window of messages at once (RFC 3030 §4.2).

    RSET is the first of each, since the one before it may fail: a server that refused all of its
    recipients keeps the transaction open, and would take the next content under its sender.
    """

    __slots__ = (
        "_alone",
        "_budget",
        "_connection",
        "_emit",
        "_flight",
        "_full",
        "_heard",
        "_octets",
        "_supply",
        "_window",
    )

    def __init__(
        self,
        connection: Connection,
        supply: Supply,
        emit: Emit,
        window: Window,
        budget: Budget,
    ) -> None:
        self._connection = connection
        self._supply = supply
        self._emit = emit
        self._window = window
        self._budget = budget
        self._flight: deque[_InFlight] = deque()
        self._heard: list[Reply] = []  # Of the replies to the first in flight, what has come.
        self._octets = 0
        self._alone: Drawn | None = None  # What has to be sent with nothing else in flight.
        self._full: SessionFull | None = None

    def run(self) -> Steps[None]:
        try:
            yield from self._run()
        except SESSION_OVER as error:
            if self._alone is not None:  # It has not had its turn.
                self._supply.ready.appendleft(self._alone.outgoing)
            if self._supply.resend_doubtful:
                while self._flight:
                    self._supply.put_back(self._flight.pop().outgoing, error)
            heard = self._heard[1:]
            for message in self._flight:
                heard = heard[: len(message.envelope.recipients) + 1]
                plan = plan_of(self._connection, message.envelope, message.content)
                # Each has its own error: what hangs on it is its own result.
                performed = broken_off(plan, heard, copy(error))
                result = result_of(message.envelope, performed)
                tell(self._emit, message.outgoing, result)
                heard = []
            raise

    def _run(self) -> Steps[None]:
        connection, supply, window = self._connection, self._supply, self._window
        flight = self._flight
        while True:
            yield from self._fill()
            if self._alone is not None:
                yield from self._settle(leaving=0)
                message, self._alone = self._alone, None
                yield from send_alone(connection, supply, self._emit, message)
            elif flight:
                # Refilled when half empty, so that messages go out by the dozen.
                more_to_come = (
                    self._budget.left
                    and self._full is None
                    and (supply.ready or not supply.exhausted)
                )
                leaving = window.messages // 2 if more_to_come else 0
                # One at least, if the window is small in octets, or nothing more is there yet.
                yield from self._settle(leaving=min(leaving, len(flight) - 1))
            elif self._full is not None:
                raise self._full
            else:
                return

    def _fill(self) -> Steps[None]:
        """Write messages until the window is full, or there is one that has to go alone."""
        supply, window = self._supply, self._window
        flight, ready = self._flight, supply.ready
        parts: list[bytes] = []
        composed: list[_InFlight] = []
        size = 0
        while (
            len(flight) + len(composed) < window.messages
            and self._octets < window.octets
            and self._budget.left
            and self._full is None
        ):
            if not ready:
                if supply.exhausted:
                    break
                if not (yield from ask_for_more(self._connection)):
                    break
                continue
            outgoing = ready.popleft()
            self._budget.left -= 1
            try:
                drawn = draw(self._connection, supply, outgoing)
                data = drawn.content.whole
                if data is None or drawn.envelope.body is BodyType.BINARY:
                    self._alone = drawn
                    break
                message = self._compose(drawn, data, parts)
            except SessionFull as full:
                self._full = full
                self._budget.left += 1
                break
            except (SMTPError, TypeError) as error:
                tell(self._emit, outgoing, not_sent(outgoing, error))
                continue
            composed.append(message)
            size += message.octets
            self._octets += message.octets
            if size >= _WRITE:
                yield from self._write(parts, composed)
                size = 0
        if composed:
            yield from self._write(parts, composed)

    def _compose(self, message: Drawn, data: bytes, parts: list[bytes]) -> _InFlight:
        """Append a message's octets to `parts`."""
        connection = self._connection
        outgoing, envelope, content = message
        last = f"BDAT {len(data)} LAST\r\n"
        if envelope.is_plain:
            body = body_of(connection, envelope, content)
            wire = commands.envelope_commands(
                envelope.sender,
                parameters_of(connection, envelope, content, body),
                [str(recipient.address) for recipient in envelope.recipients],
                reset=True,
                then=last,
            )
        else:
            plan = plan_of(connection, envelope, content)
            lines = [RSET.wire, plan.mail.wire, *[rcpt.wire for rcpt in plan.rcpt], last.encode()]
            wire = b"".join(lines)
        parts += (wire, data)
        group = Command(wire, _LAST)
        replies = len(envelope.recipients) + 3
        return _InFlight(outgoing, envelope, content, group, replies, len(wire) + len(data))

    def _write(self, parts: list[bytes], composed: list[_InFlight]) -> Steps[None]:
        """Write what was composed; from then on it is in flight."""
        connection, flight = self._connection, self._flight
        octets = b"".join(parts)
        for message in composed:
            connection.expect(message.group, message.replies)
        flight.extend(composed)
        parts.clear()
        composed.clear()
        connection.open_transaction = True
        try:
            yield from connection.send(octets)
        except (ConnectionLost, TimedOut) as error:
            # What the transport did not take whole, the server cannot have accepted.
            missing = len(octets) - octets_written(error.__cause__, len(octets))
            while missing > 0 and flight:
                unsent = flight.pop()
                missing -= unsent.octets
                self._supply.put_back(unsent.outgoing)
            raise

    def _settle(self, leaving: int) -> Steps[None]:
        """Read replies until only `leaving` messages are in flight, and what more has come."""
        connection, flight, emit = self._connection, self._flight, self._emit
        while flight:
            message = flight[0]
            last = connection.settle_positives(message.replies)
            if last is None:
                if len(flight) <= leaving and not connection.has_unread and connection.usable:
                    return
                last = yield from connection.settle_success(message.replies)
            result: SendResult | None
            if last is not None:
                result = SendResult(message.envelope, last)
            else:
                following = connection.unanswered - message.replies
                replies = yield from connection.settle(leaving=following, heard=self._heard)
                if connection.parting in replies[:2] and not replies[-1].positive:
                    result = None
                else:
                    check_reset(connection, replies[0])
                    result = self._judged(message, replies)
            _ = flight.popleft()
            self._heard.clear()
            self._octets -= message.octets
            if result is None:
                # After a 421 it was not looked at, and can go by another session.
                self._supply.put_back(message.outgoing)
            else:
                tell(emit, message.outgoing, result)
        if connection.parting is not None:
            raise connection.over()

    def _judged(self, message: _InFlight, replies: list[Reply]) -> SendResult:
        plan = plan_of(self._connection, message.envelope, message.content)
        _, mail, *rcpt, final = replies
        return result_of(message.envelope, judge(plan, mail, rcpt, final))
