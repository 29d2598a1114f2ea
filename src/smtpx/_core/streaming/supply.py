"""Messages waiting to be sent, and what is told of each (used by `stream`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

from smtpx._core.connection import Connection
from smtpx._core.division import Share, Whole, divide, is_undivided, session_full
from smtpx._core.failures import NO_ROOM, SESSION_OVER
from smtpx._core.given import Message, addressed
from smtpx._core.marking import Marker, mark_refused, marked
from smtpx._core.sending import check_repeatable, written
from smtpx._core.steps import More, Steps
from smtpx._core.telling import Ended
from smtpx._core.transaction import transaction
from smtpx._core.verdicts import (
    interrupted,
    parted_before_the_content,
    unfinished,
    untried,
    was_interrupted,
)
from smtpx._wire.commands import Phase
from smtpx._wire.content import Content
from smtpx.envelope import Envelope
from smtpx.errors import (
    ConnectionLost,
    LocalProtocolError,
    MarkRefused,
    RemoteProtocolError,
    SessionFull,
    SMTPError,
)
from smtpx.results import Outcome, SendResult, Status, Verdict, outcomes_of


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message on its way."""

    message: Message
    envelope: Envelope | None
    attempts: int = 0
    """How many sessions have ended over it, the first message that they tried."""
    doubt: SMTPError | None = None
    """Why it is in doubt: one of them had written it, and the reply was not seen (RFC 1047)."""
    part: tuple[Whole, Share] | None = None
    """Of which message it is a part, and which one."""
    mended: Message | None = None
    """What is sent in its place: the same in each attempt and for each part."""
    ended: Ended | None = None
    """Tells whoever observes the session in which it was begun."""
    is_written: bool = False
    """The end of its content is written, or about to be."""
    is_told: bool = False
    """What became of it has been told, as far as it is this message or part."""
    result: SendResult | None = None
    """What the caller is told, of all of its parts."""
    root: Outgoing | None = None
    """The message, if it is another part of one."""
    others: tuple[Outgoing, ...] = ()
    """The other parts, if it is a message."""


class Supply:
    """What is to be sent next; shared by the sessions that send it.

    Filled when a session asks for `More`.
    """

    __slots__ = ("check", "exhausted", "mark", "ready", "resend_doubtful", "untold")

    def __init__(
        self,
        resend_doubtful: bool = False,
        check: Callable[[Message, Envelope | None], Message] | None = None,
        *,
        mark: Marker | None = None,
        ready: Iterable[Outgoing] = (),
        exhausted: bool = False,
    ) -> None:
        self.resend_doubtful = resend_doubtful
        """Send a message again that is in doubt, at the price of a possible duplicate."""
        self.check = check
        """Returns the message to send, or raises why it is not sent."""
        self.mark = mark
        """Asked before the last octet of messages may leave: one boolean for each."""
        self.ready = deque(ready)
        self.exhausted = exhausted
        """Nothing will be added any more."""
        self.untold: dict[Outgoing, None] = {}
        """What was added, and not told of yet, wherever it is: whatever interrupts, it is here."""

    def put_back(self, *again: Outgoing) -> None:
        """Keep messages for another session, before all others, in their order."""
        for outgoing in reversed(again):
            outgoing.ended = None
            outgoing.is_written = False
            self.ready.appendleft(outgoing)


@dataclass(frozen=True, slots=True)
class Window:
    """How much may be in flight: written and not yet answered."""

    messages: int = 64
    octets: int = 4 * 2**20
    """Of commands and content."""


class Budget:
    """What a session may still send, and what came of what it sent."""

    __slots__ = ("answered", "first", "granted", "has_refused", "left")

    def __init__(self, granted: int) -> None:
        self.granted = granted
        self.left = granted
        """Mail transactions that may still be begun."""
        self.answered = 0
        """Messages that the server has accepted or refused."""
        self.has_refused = False
        """The server has refused something."""
        self.first: Outgoing | None = None
        """The first message that was begun."""

    @property
    def begun(self) -> int:
        """Mail transactions that were begun."""
        return self.granted - self.left

    def count_unmarked(self) -> None:
        """A message that the mark keeps back is no failure of the session, nor the server's."""
        self.answered += 1
        self.has_refused = True


Emit = Callable[[SendResult], None]


# A message from the supply, as a server can take it. A plain tuple: there are many of them.
Drawn: TypeAlias = tuple[Outgoing, Envelope, Content]


class Drawing:
    """Draws messages from the supply for one session, as long as that may begin another."""

    __slots__ = ("_budget", "_connection", "_drawn", "_emit", "_supply", "full")

    def __init__(self, connection: Connection, supply: Supply, emit: Emit, budget: Budget) -> None:
        self._connection = connection
        self._supply = supply
        self._emit = emit
        self._budget = budget
        self._drawn: Outgoing | None = None
        self.full: SessionFull | None = None
        """Why the session may begin no other."""

    @property
    def has_ended(self) -> bool:
        """True if nothing will come any more."""
        supply = self._supply
        return (
            not self._budget.left
            or self.full is not None
            or (supply.exhausted and not supply.ready)
        )

    def next(self) -> Drawn | None:
        """The next message that may be begun; ``None`` if none is at hand.

        What cannot be sent at all is told of, and passed over.
        """
        supply, budget = self._supply, self._budget
        ready = supply.ready
        while ready and budget.left and self.full is None:
            outgoing = self._drawn = ready[0]
            del ready[0]
            try:
                drawn = draw(self._connection, supply, outgoing)
            except SessionFull as full:
                ready.appendleft(outgoing)
                self._drawn = None  # Another session may have it now.
                self.full = full
            except NO_ROOM:
                raise
            except Exception as error:
                tell(supply, self._emit, outgoing, not_sent(outgoing, error))
            else:
                budget.left -= 1
                if budget.first is None:
                    budget.first = outgoing
                return drawn
        return None

    def give_back(self, kept: Collection[Outgoing]) -> None:
        """Put back what was drawn last, if nobody has kept it or told of it."""
        drawn, self._drawn = self._drawn, None
        if drawn is None or drawn.is_told or drawn.is_written:
            return
        if not any(drawn is one for one in (*kept, *self._supply.ready)):
            self._supply.put_back(drawn)


def draw(connection: Connection, supply: Supply, outgoing: Outgoing) -> Drawn:
    """Write a message from the supply as this server can take it.

    Where the server wants it in several transactions, the rest goes back as another part of it.

    Raises:
        SessionFull: this session may not name any of its recipients, or begin a transaction.
        LocalProtocolError, AddressError, TypeError, Exception: it cannot be sent.
    """
    extensions = connection.extensions
    limits = extensions.limits
    if limits and connection.is_full:
        raise session_full(connection)
    message = outgoing.message
    if supply.check is not None:
        if outgoing.mended is None:
            outgoing.mended = supply.check(message, outgoing.envelope)
        message = outgoing.mended
    envelope, content = written(connection, message, outgoing.envelope)
    if outgoing.part is None and (not limits or is_undivided(extensions, envelope)):
        connection.transactions += 1
        if connection.telling is not None:
            outgoing.ended = connection.telling.begun(envelope)
        return outgoing, envelope, content
    whole, everyone = outgoing.part or (Whole(envelope), Share.of(envelope))
    share, rest = divide(connection, everyone)
    if share is None:
        raise session_full(connection)
    if rest is not None:
        check_repeatable(connection, content)
        left = _another_part(outgoing, whole, rest)
        left.doubt = outgoing.doubt
        outgoing.part = whole, share
        outgoing.envelope = share.envelope
        supply.ready.appendleft(left)
    connection.transactions += 1
    if connection.telling is not None:
        outgoing.ended = connection.telling.begun(share.envelope)
    return outgoing, share.envelope, content


def accounted(
    connection: Connection, procedure: Steps[None], account: Callable[[SMTPError], None]
) -> Steps[None]:
    """Run a procedure; if it breaks off, `account` says of what it had drawn what that means."""
    try:
        yield from procedure
    except SESSION_OVER as error:
        account(_looked_through(connection, error))
        raise
    except BaseException:
        account(_looked_through(connection, interrupted()))
        raise


def _looked_through(connection: Connection, error: SMTPError) -> SMTPError:
    """Why a session ended, if it was interrupted: nobody has looked at what had come by then."""
    if was_interrupted(error) and not connection.rest_is_due():
        return RemoteProtocolError("the call was interrupted, with a reply that nobody asked for")
    return error


def _another_part(outgoing: Outgoing, whole: Whole, share: Share) -> Outgoing:
    root = outgoing.root or outgoing
    another = Outgoing(
        outgoing.message, share.envelope, part=(whole, share), mended=outgoing.mended, root=root
    )
    root.others += (another,)
    return another


def ask_for_more(connection: Connection, supply: Supply) -> Steps[bool]:
    """Ask for more messages; False if none is there, or none yet: nothing is asked again then.

    Raises:
        ConnectionLost: the caller was interrupted meanwhile.
    """
    try:
        _ = yield More()
    except OSError as error:
        connection.broken = True
        raise ConnectionLost(str(error), phase=Phase.OTHER.field) from error
    return bool(supply.ready)


def send_alone(
    connection: Connection, supply: Supply, emit: Emit, budget: Budget, message: Drawn
) -> Steps[None]:
    """Send one message with nothing else in flight.

    Raises:
        ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
    """
    outgoing, envelope, content = message
    connection.content_ended = False
    outgoing.is_written = True  # Where nobody can say any more how far it has come.
    try:
        procedure = transaction(connection, envelope, content)
        result = yield from marked(connection, supply.mark, outgoing.message, procedure)
        if parted_before_the_content(connection, result):
            result = untried(envelope, connection.over())
        budget.has_refused |= bool(result.refused)
        if isinstance(result.error, MarkRefused):
            budget.count_unmarked()
        again = settle(supply, emit, budget, message, result)
        if again is not None:
            supply.put_back(again)
    except BaseException as why:
        if isinstance(why, Exception) and not isinstance(why, NO_ROOM):
            # It cannot be sent to this server, or its file cannot be read.
            if not outgoing.is_told:
                tell(supply, emit, outgoing, not_sent(outgoing, why))
        else:
            outgoing.is_written = connection.content_ended  # Even if we are interrupted again.
            if not outgoing.is_told and connection.content_ended:
                tell(supply, emit, outgoing, unfinished(connection, envelope))
            raise
    else:
        if isinstance(result.error, SESSION_OVER):
            raise result.error
    if not connection.usable:  # A refusal in the middle of the content leaves no way back.
        raise connection.over()


def settle(
    supply: Supply, emit: Emit, budget: Budget, message: Drawn, result: SendResult
) -> Outgoing | None:
    """Tell what became of a message, unless another session is to send it: that is returned."""
    outgoing, envelope, content = message
    error = result.error
    if content.is_repeatable and isinstance(error, SESSION_OVER):
        if result.in_doubt and supply.resend_doubtful:
            if len(result.in_doubt) < len(result.outcomes):
                outgoing = _in_doubt(outgoing, envelope, result)
            outgoing.doubt = error
            return outgoing
        if result.not_tried and not (result.in_doubt or result.accepted):
            return outgoing
    if not (result.in_doubt or result.not_tried):
        budget.answered += 1
    tell(supply, emit, outgoing, result)
    return None


def _in_doubt(outgoing: Outgoing, envelope: Envelope, result: SendResult) -> Outgoing:
    """Of a message those recipients who are in doubt, as a part of it: the others are decided."""
    whole, share = outgoing.part = outgoing.part or (Whole(envelope), Share.of(envelope))
    outgoing.is_told = True
    places: dict[bool, list[int]] = {True: [], False: []}
    for place, outcome in enumerate(result.outcomes):
        places[outcome.status is Status.IN_DOUBT].append(place)
    decided = SendResult([result.outcomes[place] for place in places[False]], result.reply)
    if outgoing.doubt is not None:
        decided = _still_in_doubt(decided, outgoing.doubt)
    _ = whole.add(share.part(places[False]), decided)
    return _another_part(outgoing, whole, share.part(places[True]))


def tell(supply: Supply, emit: Emit, outgoing: Outgoing, result: SendResult) -> None:
    """Tell the caller what became of a message, once it is known of all of its parts."""
    if outgoing.is_told:
        return  # We were interrupted just then.
    result.message = outgoing.message
    told = result if outgoing.doubt is None else _still_in_doubt(result, outgoing.doubt)
    joined: SendResult | None = told
    if outgoing.part is not None:
        whole, share = outgoing.part
        joined = whole.add(share, told)
    outgoing.is_told = True
    if joined is not None:
        message = outgoing.root or outgoing
        message.result = joined
        emit(joined)
        _ = supply.untold.pop(message, None)
    if outgoing.ended is not None:
        _ = outgoing.ended(result)


def tell_unmarked(supply: Supply, emit: Emit, budget: Budget, outgoing: Outgoing) -> None:
    """Tell the caller that a message was not sent, as its mark wants it."""
    budget.count_unmarked()
    tell(supply, emit, outgoing, not_sent(outgoing, mark_refused()))


def _still_in_doubt(result: SendResult, doubt: SMTPError) -> SendResult:
    """A second try that fails does not undo the first."""
    if len(result.accepted) == len(result.outcomes):
        return result
    error = copy(doubt)
    outcomes = [
        outcome
        if outcome.status is Status.ACCEPTED
        else Outcome(outcome.recipient, Status.IN_DOUBT, None)
        for outcome in result.outcomes
    ]
    error.result = SendResult(outcomes, result.reply, error, message=result.message)
    return error.result


def not_sent(outgoing: Outgoing, error: Exception) -> SendResult:
    """The result of a message that could not be sent to this server, or to any, or not again."""
    cause = error if isinstance(error, SMTPError) else LocalProtocolError(str(error))
    cause = copy(cause)  # Each has its own: what hangs on it is its own result.
    cause.__cause__ = error.__cause__ if isinstance(error, SMTPError) else error
    verdict = (Status.NOT_TRIED if outgoing.doubt is None else Status.IN_DOUBT, None)
    envelope = _envelope_of(outgoing)
    outcomes = (
        ()
        if not isinstance(envelope, Envelope)  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        else outcomes_of(envelope, [verdict] * len(envelope.recipients))
    )
    cause.result = SendResult(outcomes, None, cause, message=outgoing.message)
    return cause.result


def as_far_as_known(message: Outgoing, error: SMTPError) -> SendResult:
    """What is true of a message, however far it has come; `error` says why no more is known."""
    result = not_sent(message, error)
    envelope = _envelope_of(message)
    if envelope is None or not result.outcomes:
        return result
    if message.part is None:
        message.part = (Whole(envelope), Share.of(envelope))
    whole, _ = message.part
    verdicts: list[Verdict] = [(Status.NOT_TRIED, None)] * len(whole.envelope.recipients)
    for each in (message, *message.others):
        if each.is_written or each.doubt is not None:
            _, share = each.part or message.part
            for place in share.places:
                verdicts[place] = Status.IN_DOUBT, None
    otherwise = SendResult(outcomes_of(whole.envelope, verdicts), None, result.error)
    known = whole.as_far_as_known(otherwise)
    known.message = message.message
    return known


def _envelope_of(outgoing: Outgoing) -> Envelope | None:
    """Who was to get it; ``None`` where the message does not say it either."""
    try:
        return outgoing.envelope or addressed(outgoing.message)
    except NO_ROOM:
        raise
    except (Exception, GeneratorExit):
        return None  # Whatever the message's own code raises, the message is accounted for.
