"""A window of messages in flight by BDAT (RFC 3030 §2, §4.2; RFC 2920)."""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TypeAlias

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
    broken_off,
    check_reset,
    judge,
    plain_group,
    plan_of,
    result_of,
)
from smtpx._wire.commands import RSET
from smtpx._wire.content import Content
from smtpx.envelope import BodyType, Envelope
from smtpx.errors import ConnectionLost, SessionFull, SMTPError, TimedOut
from smtpx.replies import Reply
from smtpx.results import SendResult

_BINARY = BodyType.BINARY
# What is composed goes to the transport in writes of about this size.
_WRITE = 65536


# A message written by BDAT, its replies still to come: how many, and how many octets it has.
# A plain tuple: there are many of them.
_InFlight: TypeAlias = tuple[Outgoing, Envelope, Content, int, int]


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
                self._supply.ready.appendleft(self._alone[0])
            if self._supply.resend_doubtful:
                while self._flight:
                    outgoing, *_ = self._flight.pop()
                    self._supply.put_back(outgoing, error)
            heard = self._heard[1:]
            for outgoing, envelope, content, *_ in self._flight:
                heard = heard[: len(envelope.recipients) + 1]
                plan = plan_of(self._connection, envelope, content)
                # Each has its own error: what hangs on it is its own result.
                performed = broken_off(plan, heard, copy(error))
                tell(self._emit, outgoing, result_of(envelope, performed))
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
        connection, supply, budget = self._connection, self._supply, self._budget
        ready = supply.ready
        parts: list[bytes] = []
        composed: list[_InFlight] = []
        room = self._window.messages - len(self._flight)
        octets_left = self._window.octets - self._octets
        size = 0
        while room > 0 and octets_left > 0 and budget.left and self._full is None:
            if not ready:
                if supply.exhausted or not (yield from ask_for_more(connection)):
                    break
                continue
            outgoing = ready.popleft()
            budget.left -= 1
            try:
                drawn = draw(connection, supply, outgoing)
                _, envelope, content = drawn
                data = content.whole
                if data is None or envelope.body is _BINARY:
                    self._alone = drawn
                    break
                wire = self._commands(envelope, content, len(data))
            except SessionFull as full:
                self._full = full
                budget.left += 1
                break
            except (SMTPError, TypeError) as error:
                tell(self._emit, outgoing, not_sent(outgoing, error))
                continue
            parts += (wire, data)
            octets = len(wire) + len(data)
            replies = len(envelope.recipients) + 3
            composed.append((outgoing, envelope, content, replies, octets))
            room -= 1
            size += octets
            octets_left -= octets
            if size >= _WRITE:
                yield from self._write(parts, composed)
                size = 0
        if composed:
            yield from self._write(parts, composed)

    def _commands(self, envelope: Envelope, content: Content, size: int) -> bytes:
        """What goes before a content of so many octets."""
        connection = self._connection
        last = f"BDAT {size} LAST\r\n"
        if envelope.is_plain:
            return plain_group(connection, envelope, content, reset=True, then=last)
        plan = plan_of(connection, envelope, content)
        lines = [RSET.wire, plan.mail.wire, *[rcpt.wire for rcpt in plan.rcpt], last.encode()]
        return b"".join(lines)

    def _write(self, parts: list[bytes], composed: list[_InFlight]) -> Steps[None]:
        """Write what was composed; from then on it is in flight."""
        connection, flight = self._connection, self._flight
        octets = b"".join(parts)
        self._octets += len(octets)
        connection.expect_group(b"".join(parts[::2]), sum([due for _, _, _, due, _ in composed]))
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
                unsent, _, _, _, size = flight.pop()
                missing -= size
                self._supply.put_back(unsent)
            raise

    def _settle(self, leaving: int) -> Steps[None]:
        """Read replies until only `leaving` messages are in flight, and what more has come."""
        connection, flight, emit = self._connection, self._flight, self._emit
        result: SendResult | None
        while True:
            successes = connection.settle_successes(due for _, _, _, due, _ in flight)
            self._check_in_step()
            for taken in successes:
                outgoing, envelope, _, _, octets = flight.popleft()
                self._octets -= octets
                tell(emit, outgoing, SendResult(envelope, taken))
            if not flight or (
                len(flight) <= leaving and not connection.has_unread and connection.usable
            ):
                break
            outgoing, envelope, content, replies, octets = flight[0]
            if (last := (yield from connection.settle_success(replies))) is not None:
                result = SendResult(envelope, last)
            else:
                following = connection.unanswered - replies
                said = yield from connection.settle(leaving=following, heard=self._heard)
                if connection.parting in said[:2] and not said[-1].positive:
                    result = None
                else:
                    check_reset(connection, said[0])
                    result = self._judged(envelope, content, said)
            self._check_in_step()
            _ = flight.popleft()
            self._heard.clear()
            self._octets -= octets
            if result is None:
                # After a 421 it was not looked at, and can go by another session.
                self._supply.put_back(outgoing)
            else:
                tell(emit, outgoing, result)
        if connection.parting is not None:
            raise connection.over()

    def _check_in_step(self) -> None:
        """Once nothing is due, make sure that nothing is left over.

        A reply too many may have come at any place, and the last of them then was not the last
        content's. Nobody who has not been told yet can be told that it was accepted.
        """
        if not self._connection.unanswered:
            self._connection.check_in_step()

    def _judged(self, envelope: Envelope, content: Content, said: list[Reply]) -> SendResult:
        plan = plan_of(self._connection, envelope, content)
        _, mail, *rcpt, final = said
        return result_of(envelope, judge(plan, mail, rcpt, final))
