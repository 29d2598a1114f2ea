"""A window of messages in flight by BDAT (RFC 3030 §2, §4.2; RFC 2920)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy
from operator import itemgetter
from typing import TypeAlias

from smtpx._core.connection import Connection
from smtpx._core.housekeeping import leave_in_step
from smtpx._core.marking import Marker, allowed
from smtpx._core.plan import plain_group, plan_of
from smtpx._core.steps import Steps, octets_written
from smtpx._core.streaming.supply import (
    Budget,
    Drawing,
    Drawn,
    Emit,
    Outgoing,
    Supply,
    Window,
    accounted,
    ask_for_more,
    not_sent,
    send_alone,
    settle,
    tell,
    tell_unmarked,
)
from smtpx._core.verdicts import (
    broken_off,
    is_unanswered,
    judge,
    no_to_reset,
    reset_refused,
    result_of,
    untried,
    was_interrupted,
    was_read_as_commands,
)
from smtpx._wire.commands import RSET
from smtpx._wire.content import Content
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, RemoteProtocolError, SMTPError, TimedOut
from smtpx.marking import Alone
from smtpx.replies import Reply
from smtpx.results import SendResult

# What is composed goes to the transport in writes of about this size.
_WRITE = 65536


# A message written by BDAT, its replies still to come: how many, and how many octets it has.
# A plain tuple: there are many of them.
_InFlight: TypeAlias = tuple[Drawn, int, int]
_DUE: Callable[[_InFlight], int] = itemgetter(1)


class Chunks:
    """``RSET MAIL RCPT… BDAT n LAST`` of a window of messages at once (RFC 3030 §4.2).

    RSET goes before a message whose predecessor in the session may fail: a server that refused all
    of its recipients keeps the transaction open, and would take the next content under its sender.

    Until one was accepted by BDAT, and RSET answered by yes, there is one in flight. Only then is
    it known that the server does not take contents for commands, nor one message for another's.
    """

    __slots__ = (
        "_alone",
        "_answered",
        "_budget",
        "_composed",
        "_connection",
        "_drawing",
        "_emit",
        "_flight",
        "_heard",
        "_is_probing",
        "_octets",
        "_refused",
        "_reset_refused",
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
        drawing: Drawing,
    ) -> None:
        self._connection = connection
        self._supply = supply
        self._emit = emit
        self._window = window
        self._budget = budget
        self._drawing = drawing
        self._composed: list[_InFlight] = []  # Not written yet.
        self._flight: deque[_InFlight] = deque()
        self._octets = 0
        self._heard: list[Reply] = []  # Of the replies to the first in flight, what has come.
        self._answered: deque[tuple[Drawn, SendResult]] = deque()
        """Told once nothing is left of what came with it: a reply too many shows then."""
        self._refused: Reply | None = None  # What was said to the last content, if that was no.
        self._reset_refused: SMTPError | None = None
        self._is_probing = False  # The reply to a RSET is due behind that to the message in flight.
        self._alone: Drawn | None = None  # What has to be sent with nothing else in flight.

    def run(self) -> Steps[None]:
        return accounted(self._connection, self._run(), self._account)

    def _run(self) -> Steps[None]:
        connection, supply, window = self._connection, self._supply, self._window
        flight, drawing = self._flight, self._drawing
        while True:
            yield from self._fill()
            if self._alone is not None:
                yield from self._settle(leaving=0)
                message, self._alone = self._alone, None
                yield from send_alone(connection, supply, self._emit, self._budget, message)
                yield from connection.check_quiet()  # A 354 too late, and it waits for a content.
            elif flight:
                # Refilled when half empty, so that messages go out by the dozen.
                leaving = 0 if drawing.has_ended else window.messages // 2
                # One at least, if the window is small in octets, or nothing more is there yet.
                yield from self._settle(leaving=min(leaving, len(flight) - 1))
            else:
                return

    def _fill(self) -> Steps[None]:
        """Write messages until the window is full, or there is one that has to go alone."""
        connection, drawing, composed = self._connection, self._drawing, self._composed
        parts: list[bytes] = []
        learnt = connection.learnt
        is_proven = learnt.takes_chunks and learnt.takes_reset
        room = (self._window.messages if is_proven else 1) - len(self._flight)
        if learnt.refuses_reset:
            room = 0  # Messages go one by one then, each when the one before it is accepted.
        octets_left = self._window.octets - self._octets
        size = 0
        reset = connection.open_transaction or bool(self._flight)
        while room > 0 and octets_left > 0:
            drawn = drawing.next()
            if drawn is None:
                if drawing.has_ended or not (yield from ask_for_more(connection, self._supply)):
                    break
                if not connection.unanswered:
                    yield from connection.check_quiet()  # What has come meanwhile answers nothing.
                continue
            outgoing, envelope, content = drawn
            data = content.whole
            if data is None or content.has_commands() or isinstance(outgoing.message, Alone):
                self._alone = drawn
                break
            last = f"BDAT {len(data)} LAST\r\n"
            try:
                if envelope.is_plain:
                    wire = plain_group(connection, envelope, content, reset, last)
                else:
                    wire = self._planned_group(envelope, content, reset, last)
            except SMTPError as error:
                tell(self._supply, self._emit, outgoing, not_sent(outgoing, error))
                continue
            parts += (wire, data)
            octets = len(wire) + len(data)
            composed.append((drawn, wire.count(b"\n"), octets))  # One reply to each command line.
            reset = True
            room -= 1
            size += octets
            octets_left -= octets
            if size >= _WRITE:
                yield from self._write(parts, probe=not is_proven)
                size = 0
        if composed:
            yield from self._write(parts, probe=not is_proven)

    def _planned_group(self, envelope: Envelope, content: Content, reset: bool, last: str) -> bytes:
        """What goes before a content whose envelope has options."""
        plan = plan_of(self._connection, envelope, content)
        lines = [plan.mail.wire, *[rcpt.wire for rcpt in plan.rcpt], last.encode()]
        return b"".join([RSET.wire, *lines] if reset else lines)

    def _write(self, parts: list[bytes], *, probe: bool) -> Steps[None]:
        """Write what was composed; from then on it is in flight. With a `probe`, RSET follows."""
        connection, flight, composed = self._connection, self._flight, self._composed
        if (mark := self._supply.mark) is not None:
            yield from self._mark(mark, parts)
            if not composed:
                return
            if not connection.unanswered:
                yield from connection.check_quiet()  # What has come meanwhile answers nothing.
        octets = b"".join(parts)
        self._octets += len(octets)
        connection.expect_group(parts[::2], sum([due for _, due, _ in composed]))
        for (outgoing, _, _), _, _ in composed:
            outgoing.is_written = True
        flight.extend(composed)
        parts.clear()
        composed.clear()
        connection.open_transaction = True
        size = len(octets)
        if probe:
            self._is_probing = True
            connection.expect(RSET)
            octets += RSET.wire
        try:
            yield from connection.send(octets)
        except (ConnectionLost, TimedOut) as error:
            # What the transport did not take whole, the server cannot have accepted.
            missing = size - octets_written(error.__cause__, size)
            while missing > 0 and flight:
                unsent, _, size = flight.pop()
                missing -= size
                self._supply.put_back(unsent[0])
            raise

    def _mark(self, mark: Marker, parts: list[bytes]) -> Steps[None]:
        """Ask whether what was composed may be written; leave out what may not."""
        composed = self._composed
        outgoing = [drawn[0] for drawn, _, _ in composed]
        messages = [each.message for each in outgoing]
        words = yield from allowed(self._connection, mark, messages)
        for place in reversed(range(len(words))):
            if not words[place]:
                _ = composed.pop(place)
                del parts[2 * place : 2 * place + 2]
                tell_unmarked(self._supply, self._emit, self._budget, outgoing[place])

    def _settle(self, leaving: int) -> Steps[None]:
        """Read replies until only `leaving` messages are in flight, and what more has come."""
        connection, flight = self._connection, self._flight
        while True:
            if self._reset_refused is None:
                self._settle_successes()
            if not connection.unanswered:
                yield from self._look_behind()
            if self._reset_refused is not None:
                leaving = 0
            elif not (connection.has_unread or connection.parting or self._is_probing):
                self._tell()
            if not flight or (
                len(flight) <= leaving and not connection.has_unread and connection.usable
            ):
                break
            yield from self._settle_first()
        if self._is_probing:
            yield from self._settle_probe()
        if self._reset_refused is not None:
            # A refused RSET may be the sign of a reply too many: the 221 shows that it is none.
            yield from leave_in_step(connection)
            self._tell()
            raise self._reset_refused
        if not connection.usable:
            self._tell()
            raise connection.over()

    def _settle_probe(self) -> Steps[None]:
        """Read the reply to the RSET behind a message; those to come go without, if it is no."""
        connection = self._connection
        (reply,) = yield from connection.settle()
        yield from self._look_behind(reply)
        self._is_probing = False
        self._tell()
        if reply.positive:
            connection.open_transaction = False
            connection.learnt.takes_reset = True
        else:
            _ = reset_refused(connection, reply)

    def _settle_successes(self) -> None:
        """Take all that has come as long as every reply is positive: nearly all are."""
        connection, flight, answered = self._connection, self._flight, self._answered
        successes = connection.settle_successes(map(_DUE, flight))
        if not successes:
            return
        self._refused = None
        connection.open_transaction = False
        is_plain = not (connection.has_unread or answered or self._is_probing)
        if connection.unanswered and is_plain:
            # Nothing came with them that could be one too many.
            connection.learnt.takes_chunks = True
            self._budget.answered += len(successes)
            for taken in successes:
                (outgoing, envelope, _), _, octets = flight[0]
                tell(self._supply, self._emit, outgoing, SendResult(envelope, taken))
                _ = flight.popleft()
                self._octets -= octets
            return
        for taken in successes:
            drawn, _, octets = flight[0]
            result = SendResult(drawn[1], taken)
            del flight[0]
            self._octets -= octets
            answered.append((drawn, result))

    def _settle_first(self) -> Steps[None]:
        """Wait for the replies to the first in flight, whatever they are."""
        connection, flight = self._connection, self._flight
        drawn, due, octets = flight[0]
        _, envelope, _ = drawn
        last = None
        if self._reset_refused is None:
            last = yield from connection.settle_success(due)
        if last is not None:
            result = SendResult(envelope, last)
            self._refused = None
            connection.open_transaction = False
        else:
            following = connection.unanswered - due
            said = yield from connection.settle(leaving=following, heard=self._heard)
            connection.open_transaction = True
            result = self._judged(drawn, [*said], reset=_has_reset(flight[0]))
        # No signal handler runs between these: what was heard is of the first in flight.
        del flight[0]
        self._heard = []
        self._octets -= octets
        self._answered.append((drawn, result))

    def _judged(self, message: Drawn, said: list[Reply], *, reset: bool) -> SendResult:
        connection = self._connection
        _, envelope, content = message
        if connection.parting in said[:-1] and not said[-1].positive:
            mail, *rcpt = said[reset:-1]
            is_wanted = mail.positive and any(reply.positive for reply in rcpt)
            if not (is_wanted and is_unanswered(connection, said)):
                # After a 421 it was not looked at, and can go by another session.
                return untried(envelope, connection.over())
        if reset and not said[0].positive:
            self._reset_refused = reset_refused(connection, said[0])
        self._refused = None if said[-1].positive else said[-1]
        self._budget.has_refused |= not all(reply.positive for reply in said)
        plan = plan_of(connection, envelope, content)
        return result_of(envelope, judge(connection, plan, said, reset=reset))

    def _look_behind(self, reset: Reply | None = None) -> Steps[None]:
        """Once nothing is due, make sure that nothing is left over.

        A reply too many may have come at any place, and the last of them then was not the last
        content's. Nobody who has not been told yet can be told that it was accepted.
        """
        connection, refused = self._connection, self._refused
        try:
            if (yield from connection.look_behind()) and not self._believe(reset):
                raise RemoteProtocolError(f"it may answer what was sent: {connection.parting}")
        except RemoteProtocolError:
            if refused is not None and was_read_as_commands(connection, refused, reset):
                # Of those before the last it says nothing: a stray reply shifts theirs as well.
                self._tell_first([*self._answered][-1:])
            raise

    def _believe(self, reset: Reply | None) -> bool:
        """Tell what is right even if the 421 behind answers the last command; True if all is.

        With a reply too many before it, each reply is the one to the command before. A yes then
        holds if what follows it is a yes as well, and a no if that is a no.
        """
        answered = list(self._answered)
        if not answered or self._reset_refused is not None:
            return True
        is_reset = reset is not None and reset.positive
        following = [True] * (len(answered) - 1) + [is_reset]  # All but the last say yes to RSET.
        believed = [
            one
            for one, is_yes in zip(answered, following, strict=True)
            if not (one[1].refused if is_yes else one[1].accepted)
        ]
        self._tell_first(believed)
        return len(believed) == len(answered)

    def _tell_first(self, believed: list[tuple[Drawn, SendResult]]) -> None:
        """Tell of some of those that have been answered, and keep the others."""
        others = [each for each in self._answered if all(each is not one for one in believed)]
        self._answered = deque(believed)
        self._tell()
        self._answered.extend(others)

    def _tell(self) -> None:
        """Tell what has been answered; what was not looked at goes back."""
        answered, budget, learnt = self._answered, self._budget, self._connection.learnt
        supply, emit = self._supply, self._emit
        again: list[Outgoing] = []
        try:
            while True:
                if not answered:
                    break
                drawn, result = answered[0]
                outgoing = drawn[0]
                if outgoing.is_told:
                    pass  # We were interrupted just then.
                elif result.error is None:
                    budget.answered += 1
                    learnt.takes_chunks = True
                    tell(supply, emit, outgoing, result)
                elif left := settle(supply, emit, budget, drawn, result):
                    again.append(left)
                _ = answered.popleft()
        finally:
            supply.put_back(*again)

    def _account(self, error: SMTPError) -> None:
        """Say of everything that was drawn what it means that the session ended like this."""
        supply, flight = self._supply, self._flight
        unwritten = [drawn[0] for drawn, _, _ in self._composed]
        if self._alone is not None:  # It has not had its turn.
            unwritten.append(self._alone[0])
        untold: deque[tuple[Drawn, SendResult]] = deque()
        heard, is_misread = self._heard, isinstance(error, RemoteProtocolError)
        if self._is_probing and isinstance(error, TimedOut):
            # As where BDAT is passed over in silence: the yes before was RSET's.
            is_misread = True
        if flight and _has_reset(flight[0]) and no_to_reset(heard):
            is_misread = True
        if was_interrupted(error):
            heard = []  # What shows that they were in step was still to come.
        for drawn, result in self._answered:
            # What came with a reply that nobody asked for may be off by it.
            untold.append((drawn, self._doubtful(drawn, [], error) if is_misread else result))
        for message in flight:
            drawn, reset = message[0], _has_reset(message)
            outgoing, envelope, _ = drawn
            said = [] if is_misread else heard[reset : reset + len(envelope.recipients) + 1]
            if outgoing.is_told:
                continue
            untold.append((drawn, self._doubtful(drawn, said, error)))
            heard = []
        self._answered = untold
        kept = [*unwritten, *(outgoing for (outgoing, *_), _ in untold)]
        self._drawing.give_back(kept)
        supply.put_back(*unwritten)
        self._tell()

    def _doubtful(self, message: Drawn, heard: list[Reply], error: SMTPError) -> SendResult:
        _, envelope, content = message
        plan = plan_of(self._connection, envelope, content)
        # Each has its own error: what hangs on it is its own result.
        return result_of(envelope, broken_off(plan, heard, copy(error)))


def _has_reset(message: _InFlight) -> bool:
    """True if RSET is the first of its commands."""
    (_, envelope, _), due, _ = message
    return due > len(envelope.recipients) + 2
