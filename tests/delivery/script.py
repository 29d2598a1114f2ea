"""Answers the steps of delivery from a script: no socket, no clock, no thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from smtpx import Envelope, Outcome, SendResult, Status
from smtpx.delivery import DeliveryResult, Plan
from smtpx.delivery._policy import renewing
from smtpx.delivery._resolving import Rules
from smtpx.delivery._steps import (
    Away,
    Begin,
    Count,
    Fetch,
    Keep,
    Known,
    LookUps,
    Marked,
    Recall,
    Renew,
    Said,
    Steps,
    Try,
)
from smtpx.delivery._walking import Course, planned
from smtpx.delivery.mta_sts import FetchFailed, StoredPolicy
from smtpx.delivery.resolver import Answer, AnswerState, Question, Record
from smtpx.errors import ConnectionLost, SMTPError
from smtpx.replies import Reply

__all__ = ["BOB", "FAILED", "NODATA", "NXDOMAIN", "Script", "found", "replied", "unreached"]

T = TypeVar("T")
Names: TypeAlias = Mapping[tuple[str, str], Answer]
Saying: TypeAlias = Callable[[Try], Said]

FAILED = Answer(AnswerState.FAILED, detail="SERVFAIL")
NODATA, NXDOMAIN = Answer(AnswerState.NODATA), Answer(AnswerState.NXDOMAIN)
BOB = Envelope("ann@example.org", "bob@example.net")


def found(*records: Record, secure: bool = False, name: str = "") -> Answer:
    return Answer(AnswerState.FOUND, records, secure, name)


def unreached(step: Try) -> Said:
    """Nobody answers at any of the addresses."""
    lost = ConnectionLost("nobody answers", phase="connect")
    return Said(begun=step.addresses, unreached=tuple((each, lost) for each in step.addresses))


def replied(step: Try, *verdicts: int | None, error: SMTPError | None = None, **said: Any) -> Said:
    """A session in which each recipient has this reply; ``None`` is a doubt."""
    codes = verdicts * len(step.envelope.recipients) if len(verdicts) == 1 else verdicts
    outcomes = [
        Outcome(recipient.address, *_verdict(code))
        for recipient, code in zip(step.envelope.recipients, codes, strict=True)
    ]
    reply = Reply.of(250, "2.0.0 ok") if 250 in codes else None
    if error is None and None in codes:
        error = ConnectionLost("lost", phase="end of data")
    result = SendResult(outcomes, reply, error)
    address = step.addresses[0]
    return Said(result, error, address=address, begun=(address,), **said)


def _verdict(code: int | None) -> tuple[Status, Reply | None]:
    if code is None:
        return Status.IN_DOUBT, None
    return (Status.ACCEPTED if code < 300 else Status.REFUSED), Reply.of(code, f"{code // 100}.0.0")


class Script:
    """What the DNS, the hosts and the policy host say; and what was asked of them."""

    def __init__(
        self,
        names: Names,
        *,
        says: Saying = unreached,
        policy: str | None = None,
        stored: Mapping[str, StoredPolicy] | None = None,
        now: float = 1e9,
        failed_id: str = "",
        later: Names | None = None,
        away: Iterable[str] = (),
        **rules: Any,
    ) -> None:
        self.names = dict(names)
        self.says = says
        self.policy = policy
        """The body that the policy host has; without one it cannot be reached."""
        self.stored = dict(stored or {})
        self.now = now
        self.failed_id = failed_id
        self.later = dict(later or {})
        """What is answered to a question that is asked anew."""
        self.away = frozenset(away)
        self.rules = Rules(**rules)
        self.asked: list[Question] = []
        self.waits = 0
        self.tried: list[Try] = []
        self.fetched = 0
        self.kept: list[Keep] = []
        self.counted: list[Count] = []

    def plan(self, domain: str = "example.net") -> Plan:
        return self._run(planned(domain, self.rules, 0))

    def deliver(
        self, envelope: Envelope = BOB, *, obeys_policies: bool = True, turn: int = 0
    ) -> DeliveryResult:
        course = Course(envelope, self.rules, 0, turn, obeys_policies=obeys_policies)
        return self._run(course.steps())

    def _run(self, procedure: Steps[T]) -> T:
        try:
            step = next(procedure)
            while True:
                try:
                    answer = self._answer(step)
                except FetchFailed as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _answer(self, step: object) -> Any:
        match step:
            case LookUps(questions, fresh):
                self.asked += questions
                self.waits += 1
                return self._looked_up(questions, fresh=fresh)
            case Try():
                self.tried.append(step)
                return self.says(step)
            case Away(addresses):
                return self.away & set(addresses)
            case Recall(domain):
                return Known(self.now, self.stored.get(domain), self.failed_id)
            case Renew(domain, id, _):
                self._run(renewing(domain, id, self.rules))
            case Fetch():
                self.fetched += 1
                if self.policy is None:
                    raise FetchFailed("nobody answers")
                return self.policy.encode()
            case Keep(domain, id, stored):
                self.kept.append(step)
                if stored is None:
                    self.failed_id = id
                else:
                    self.stored[domain] = stored
            case Count():
                self.counted.append(step)
            case Begin() | Marked():
                pass
            case _:
                raise AssertionError(step)
        return None

    def _looked_up(self, questions: Sequence[Question], *, fresh: bool) -> list[Answer]:
        names = self.names | self.later if fresh else self.names
        known = {name for name, _ in names}
        return [names.get(one, NODATA if one.name in known else NXDOMAIN) for one in questions]
