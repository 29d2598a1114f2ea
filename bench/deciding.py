"""`python -m bench deciding`: the CPU of a delivery's decision, where every answer is known.

Beside it, in turns, what reads one address: a ratio says more than a time of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import process_time

from smtpx.addresses import Address
from smtpx.delivery import Delivery, Plan
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question, ScriptedResolver

ROUNDS, TIMES = 15, 2000
"""Each round is so many decisions, and as many addresses."""

SCRIPT = {
    Question("example.net", "MX"): Answer(AnswerState.FOUND, (MX(10, "mx.example.net"),)),
    Question("mx.example.net", "A"): Answer(AnswerState.FOUND, ("8.8.8.8",)),
    Question("mx.example.net", "AAAA"): Answer(AnswerState.FOUND, ("2001:4860:4860::8888",)),
}


class Known(ScriptedResolver):
    """Knows every answer at once, as a cache does."""

    def look_up(self, questions: Sequence[Question]) -> Sequence[Answer]:
        return [SCRIPT.get(question, _NOTHING) for question in questions]


_NOTHING = Answer(AnswerState.NXDOMAIN)


def measure() -> tuple[float, float]:
    """CPU seconds of one decision, and of reading one address."""
    with Delivery("mail.example.org", resolver=Known(SCRIPT)) as delivery:
        rounds = [_round(delivery) for _ in range(ROUNDS)]
    return median(one for one, _ in rounds), median(other for _, other in rounds)


def _round(delivery: Delivery) -> tuple[float, float]:
    return (
        _seconds(lambda: delivery.plan("example.net")),
        _seconds(lambda: Address.parse("bob@example.net")),
    )


def _seconds(call: Callable[[], Plan | Address]) -> float:
    begun = process_time()
    for _ in range(TIMES):
        _ = call()
    return (process_time() - begun) / TIMES


def lines() -> Iterator[str]:
    """The figures, for people."""
    plan, address = measure()
    yield f"a decision: {plan * 1e6:.1f} µs of CPU, {plan / address:.1f} times an address"
