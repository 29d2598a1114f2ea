"""What the DNS says, as values: questions, answers, and whether DNSSEC vouches for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from .dane import TLSA

__all__ = [
    "MX",
    "Answer",
    "AnswerState",
    "AsyncResolver",
    "Question",
    "Record",
    "Resolver",
    "ScriptedResolver",
]


class Question(NamedTuple):
    """A name, and what is asked of it."""

    name: str
    """A-labels in lower case, without a dot at the end. It is always absolute."""
    type: str
    """``MX``, ``A``, ``AAAA``, ``CNAME``, ``TLSA`` or ``TXT``."""


class MX(NamedTuple):
    """A mail exchanger of a domain (RFC 5321 §5.1)."""

    preference: int
    """The lowest is tried first."""
    exchanger: str
    """A host name, or the empty string for the root: no mail is taken (RFC 7505)."""


Record: TypeAlias = str | MX | TLSA
"""Of A and AAAA the address, of CNAME the name, of TXT all its strings as one."""


class AnswerState(Enum):
    """What became of a question."""

    FOUND = "found"
    NODATA = "nodata"
    """The name exists, and has nothing of this type."""
    NXDOMAIN = "nxdomain"
    """There is no such name."""
    FAILED = "failed"
    """Nobody knows: it was not answered, or by what is no answer. It may be another time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a question."""

    state: AnswerState
    records: tuple[Record, ...] = ()
    secure: bool = False
    """DNSSEC vouches for the whole of it, for what is not there too (RFC 7672 §2.1.1)."""
    name: str = ""
    """What the name expanded to, where it is an alias; else the empty string."""
    detail: str = ""
    """For people: why it has failed."""
    ttl: float = 0.0
    """Seconds for which it may be kept."""


class Resolver(Protocol):
    """Looks names up, in the thread that asks."""

    def look_up(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Answer them all, in their order; a question that cannot be answered is `FAILED`."""
        ...


class AsyncResolver(Protocol):
    """Looks names up, in the task that asks."""

    async def look_up(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Answer them all, in their order; a question that cannot be answered is `FAILED`."""
        ...


class ScriptedResolver:
    """A `Resolver` that knows what it is given, for tests: other names do not exist.

    `asked` has every question so far.
    """

    def __init__(self, answers: Mapping[Question, Answer]) -> None:
        self._answers = dict(answers)
        self.asked: list[Question] = []

    def look_up(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Answer from what was given."""
        self.asked += questions
        names = {question.name for question in self._answers}
        return [
            self._answers.get(
                question,
                Answer(AnswerState.NODATA if question.name in names else AnswerState.NXDOMAIN),
            )
            for question in questions
        ]
