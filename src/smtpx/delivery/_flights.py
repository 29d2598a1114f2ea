"""Questions on their way: each is asked once for all who wait, and not too many at a time; pure.

Nobody's leaving harms another: a question is given up when nobody waits for it any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Generic, Self, TypeVar

from ._answers import Answers
from .resolver import Answer, AnswerState, Question

__all__ = ["Flight", "Flights", "Waiter", "unheard"]

W = TypeVar("W")

# Asked at once; a question that is not answered after half a second makes room for another.
_WIDTH, _YOUNG = 64, 0.5
# Asked at once in all, whatever their age: each takes a descriptor. Where it is too many, the
# oldest makes room, and is asked anew when there is some. And for one call, so that a domain whose
# hosts nobody knows holds up no other.
_MOST, _OF_A_CALL = 256, 8


class Flight(Generic[W]):
    """One question, and who waits for its answer."""

    __slots__ = ("began", "question", "waiting")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.waiting: set[W] = set()
        self.began: float | None = None
        """When it was sent off; ``None`` while it stands in the queue."""


class Waiter:
    """A call, its answers, and the questions that it still waits for.

    It has so many `seconds` for those that are `needed`. The others have half of them, so that
    there is time for what comes after.
    """

    def __init__(
        self,
        questions: Iterable[Question],
        needed: Collection[Question],
        now: float,
        seconds: float,
    ) -> None:
        self.needed = needed
        self._ends = now + seconds
        self._seconds = seconds
        self.answers: dict[Question, Answer] = {}
        self.flights: dict[Question, Flight[Self]] = {}
        """Questions that are on their way, or in the queue."""
        self._left = deque(dict.fromkeys(questions))

    @property
    def is_served(self) -> bool:
        """True if there is nothing more to wait for."""
        return not (self.flights or self._left)

    @property
    def until(self) -> float:
        """When it waits no more."""
        is_lacking = any(question not in self.answers for question in self.needed)
        return self._ends if is_lacking else self._ends - self._seconds / 2

    def answer(self, question: Question) -> Answer:
        """What is known of a question in the end."""
        share = self._seconds if question in self.needed else self._seconds / 2
        return self.answers.get(question) or unheard(share)

    def go_on(self, flights: Flights[Self], answers: Answers) -> None:
        """Have the next questions be asked, of those that nobody knows the answer to."""
        while self._left and len(self.flights) < _OF_A_CALL:
            question = self._left.popleft()
            known = answers.get(question)
            if known is None:
                self.flights[question] = flights.join(question, self)
            else:
                self.answers[question] = known

    def hear(self, question: Question, answer: Answer) -> None:
        """One is answered."""
        self.answers[question] = answer
        del self.flights[question]

    def is_to_look(self, question: Question) -> bool:
        """True if the answer to a question changes how long it waits."""
        return self.is_served or question in self.needed


class Flights(Generic[W]):
    """All questions on their way, of those who share a cache of answers."""

    def __init__(self) -> None:
        self._known: dict[Question, Flight[W]] = {}
        self._queue: deque[Flight[W]] = deque()
        self._set_back: deque[Flight[W]] = deque()
        """These have made room for others, and are asked when nobody else wants to be."""
        self._air: dict[Flight[W], None] = {}

    def join(self, question: Question, who: W) -> Flight[W]:
        """Wait for the answer to a question, whoever else does."""
        flight = self._known.get(question)
        if flight is None:
            flight = self._known[question] = Flight(question)
            self._queue.append(flight)
        flight.waiting.add(who)
        return flight

    def leave(self, flights: Iterable[Flight[W]], who: W) -> list[Flight[W]]:
        """Wait no more; the value is what was sent off, and is not waited for by anybody else."""
        forsaken: list[Flight[W]] = []
        for flight in flights:
            flight.waiting.discard(who)
            if not flight.waiting and self._known.get(flight.question) is flight:
                del self._known[flight.question]
                if flight in self._air:
                    del self._air[flight]
                    forsaken.append(flight)
        return forsaken

    def due(self, now: float) -> tuple[list[Flight[W]], list[Flight[W]]]:
        """What is to be sent off now, and what makes room for that: it is on its way no more."""
        begun: list[Flight[W]] = []
        set_back: list[Flight[W]] = []
        young = sum(1 for one in self._air if (one.began or now) > now - _YOUNG)
        while young < _WIDTH:
            is_full = len(self._air) >= _MOST
            flight = self._following(is_full=is_full)
            if flight is None:
                break
            if is_full:
                oldest = next(iter(self._air))
                del self._air[oldest]
                oldest.began = None
                self._set_back.append(oldest)
                set_back.append(oldest)
            flight.began = now
            self._air[flight] = None
            begun.append(flight)
            young += 1
        return begun, set_back

    def _following(self, *, is_full: bool) -> Flight[W] | None:
        """Whose turn it is; nobody makes room for what has made room itself."""
        for queue in (self._queue,) if is_full else (self._queue, self._set_back):
            while queue:
                flight = queue.popleft()
                if flight.waiting:
                    return flight
        return None

    def looks_again(self) -> float | None:
        """When `due` may have more, if nothing is answered until then."""
        if not self._queue and (not self._set_back or len(self._air) >= _MOST):
            return None
        began = sorted(one.began or 0.0 for one in self._air)
        return began[-_WIDTH] + _YOUNG if len(began) >= _WIDTH else 0.0

    def again(self, flight: Flight[W]) -> None:
        """Have one be sent off anew, first of all."""
        if flight in self._air:
            del self._air[flight]
            flight.began = None
            self._queue.appendleft(flight)

    def landed(self, flight: Flight[W]) -> set[W]:
        """It is answered: the value is who has waited for it."""
        _ = self._air.pop(flight, None)
        if self._known.get(flight.question) is flight:
            del self._known[flight.question]
        return flight.waiting


def unheard(seconds: float) -> Answer:
    """What is known of a question for which there was no time."""
    return Answer(AnswerState.FAILED, detail=f"the DNS did not say within {seconds:.3g} s")
