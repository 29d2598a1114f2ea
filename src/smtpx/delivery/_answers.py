"""Answers that were given, for as long as they hold."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from threading import Lock
from time import monotonic

from .dane import TLSA
from .resolver import MX, Answer, Question

__all__ = ["Answers"]

_MOST = 10_000
_OCTETS = 8 << 20
# What an entry takes besides its texts, and a record.
_ENTRY, _RECORD = 400, 100


class Answers:
    """Answers, bounded by their number and by their octets; for several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Question, tuple[float, Answer, int]] = OrderedDict()
        self._octets = 0
        self._servers: object = None
        self._lock = Lock()

    def forget(self, questions: Iterable[Question]) -> None:
        """Have these be asked anew."""
        with self._lock:
            for question in questions:
                self._drop(question)

    def belong_to(self, servers: object) -> None:
        """Forget what others than these name servers have said."""
        with self._lock:
            if self._servers is not servers:
                self._servers = servers
                self._kept.clear()
                self._octets = 0

    def get(self, question: Question) -> Answer | None:
        """What was answered to this, if that still holds."""
        kept = self._kept.get(question)
        return kept[1] if kept is not None and kept[0] > monotonic() else None

    def all_of(self, questions: Sequence[Question]) -> list[Answer] | None:
        """What was answered to these, if that is known of each of them."""
        now, found = monotonic(), list[Answer]()
        for question in questions:
            kept = self._kept.get(question)
            if kept is None or kept[0] <= now:
                return None
            found.append(kept[1])
        return found

    def keep(self, question: Question, answer: Answer) -> None:
        """Keep an answer; the oldest make room."""
        octets = _octets_of(question, answer)
        with self._lock:
            self._drop(question)
            if answer.ttl <= 0:
                return
            self._kept[question] = monotonic() + answer.ttl, answer, octets
            self._octets += octets
            self._make_room()

    def _make_room(self) -> None:
        while len(self._kept) > _MOST or self._octets > _OCTETS:
            self._drop(next(iter(self._kept)))

    def _drop(self, question: Question) -> None:
        kept = self._kept.pop(question, None)
        if kept is not None:
            self._octets -= kept[2]


def _octets_of(question: Question, answer: Answer) -> int:
    """About how much memory it takes."""
    octets = _ENTRY + len(question.name) + len(answer.name) + len(answer.detail)
    for record in answer.records:
        match record:
            case str():
                octets += _RECORD + len(record)
            case MX():
                octets += _RECORD + len(record.exchanger)
            case TLSA():
                octets += _RECORD + len(record.data)
    return octets
