"""Every fault of a name server at every question of a delivery: the word of the table, no other.

All at once, a domain for each: what is wrong with one holds up no other, and costs no more than
the time that the DNS has.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from smtpx import Status
from smtpx.delivery import Failure
from smtpx.testing import Misanswer, NameFault, NameServer, Server
from tests.delivery.test_many import to
from tests.network import one_port

pytestmark = pytest.mark.timeout(120)

M = Misanswer
# The right answer comes after all.
PASSING = {M.LATE, M.TRUNCATED, M.GARBAGE_FIRST, M.WRONG_ID_FIRST}
# Nothing is wrong that could be seen.
LIES = {M.NXDOMAIN, M.NODATA, M.STRIPPED}
# Until the time is up that a name server has for each of three answers.
SILENT = {M.SILENCE, M.GARBAGE, M.WRONG_QUESTION, M.WRONG_ID, M.CUT}
FAULTS = [fault for fault in Misanswer if fault not in LIES]
QUESTIONS = ["MX", "TXT", "A", "AAAA", "TLSA"]
WORDS: dict[str, Failure | None] = {
    "MX": Failure.LOOKUP_FAILED,
    "TXT": None,
    "A": Failure.LOOKUP_FAILED,
    "AAAA": None,
    "TLSA": Failure.TLS_POLICY,
}


def zone(faults: list[Misanswer], port: int) -> tuple[NameServer, dict[str, Failure | None]]:
    """A domain for each fault at each question, and what is to become of its mail."""
    lines: list[str] = []
    wrong: list[NameFault] = []
    expected: dict[str, Failure | None] = {}
    for fault in faults:
        for question in QUESTIONS:
            domain = f"{question.lower()}-{fault.name.lower().replace('_', '-')}.test"
            names = {
                "MX": domain,
                "TXT": f"_mta-sts.{domain}",
                "A": f"mx.{domain}",
                "AAAA": f"mx.{domain}",
                "TLSA": f"_{port}._tcp.mx.{domain}",
            }
            lines += [f"{domain} MX 1 mx.{domain}.", f"mx.{domain} A 127.0.0.1"]
            wrong.append(NameFault(fault, names[question], question))
            expected[domain] = None if fault in PASSING else WORDS[question]
    return NameServer("\n".join(lines), faults=wrong), expected


@pytest.mark.requirement("D1")
@pytest.mark.requirement("D16")
@pytest.mark.requirement("D17")
@pytest.mark.requirement("D21")
@pytest.mark.parametrize(
    "faults",
    [
        [fault for fault in FAULTS if fault not in SILENT],
        pytest.param(FAULTS, marks=pytest.mark.slow),
    ],
    ids=["that are heard", "all"],
)
def test_every_fault_at_every_question(world: Any, faults: list[Misanswer]):
    deadline = 20.0
    with Server() as server:
        dns, expected = zone(faults, server.port)
        with dns:
            delivery = world(dns, port=server.port, resolver_timeout=deadline)
            began = monotonic()
            results = list(delivery.send_many(to(*expected), connections=16))
            took = monotonic() - began
    outcomes = [one.outcomes[0] for one in results]
    said = {str(one.recipient).partition("@")[2]: one.failure for one in outcomes}
    assert said == expected
    assert all((one.status is Status.ACCEPTED) == (one.failure is None) for one in outcomes)
    assert all(one.retryable for one in outcomes if one.failure is not None)
    assert len(server.messages) == sum(word is None for word in expected.values())
    # The watchdog: far more than the time that they had together, as each had it by itself.
    assert took < 3 * deadline


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_that_is_never_answered_leaves_time_for_the_others(world: Any, question: str):
    """And costs no more than all of the time; the watchdog has ten times that."""
    with Server() as server:
        dns, expected = zone([M.SILENCE], server.port)
        domain = f"{question.lower()}-silence.test"
        with dns:
            began = monotonic()
            delivery = world(dns, port=server.port, resolver_timeout=1.5)
            (result,) = delivery.send_many(to(domain))
            assert monotonic() - began < 15
            # Nobody has left out what protects the mail.
            assert (f"_{server.port}._tcp.mx.{domain}", "TLSA") in dns.packets or question in "MX A"
    (outcome,) = result.outcomes
    assert outcome.failure is expected[domain]
    assert outcome.retryable is (outcome.failure is not None)


@pytest.mark.parametrize("name", ["_mta-sts.a.test", "_smtp._tls.a.test"])
def test_what_a_plan_can_do_without_leaves_time_for_the_rest(world: Any, name: str):
    silent = NameFault(M.SILENCE, name, "TXT")
    with NameServer("a.test MX 1 mx.a.test.\nmx.a.test A 127.0.0.1", faults=[silent]) as dns:
        plan = world(dns, resolver_timeout=1.5).plan("a.test")
    assert plan.failure is None
    assert [one.addresses for one in plan.exchangers] == [("127.0.0.1",)]


@pytest.mark.parametrize("kind", ["A", "AAAA", "TLSA"])
def test_a_host_of_silent_name_servers_leaves_time_for_the_next(world: Any, kind: str):
    with one_port("127.0.0.1", "127.0.0.2") as port, Server(host="127.0.0.2", port=port):
        name = f"_{port}._tcp.a.test" if kind == "TLSA" else "a.test"
        lines = ["x.test MX 1 a.test.", "x.test MX 2 b.test.", "b.test A 127.0.0.2"]
        lines += ["a.test AAAA ::1"] if kind == "A" else ["a.test A 127.0.0.1"]
        silent = NameFault(M.SILENCE, name, kind)
        with NameServer("\n".join(lines), faults=[silent]) as dns:
            delivery = world(dns, port=port, resolver_timeout=3.0)
            (result,) = delivery.send_many(to("x.test"))
    assert result.outcomes[0].host == "b.test"


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_fault_ends_within_the_time_and_half_a_second(world: Any, question: str):
    """All faults at once, so that the whole is as slow as the slowest of them.

    A machine that is busy is slow now and then. What waits for too long does so each time, and one
    more try of a name server alone would be five seconds.
    """
    deadline = 1.0
    taken: list[float] = []
    with Server() as server:
        dns, expected = zone(FAULTS, server.port)
        domains = [one for one in expected if one.startswith(f"{question.lower()}-")]
        assert len(domains) == len(FAULTS)
        with dns:
            while len(taken) < 6 and min(taken, default=60.0) > deadline + 0.5:
                delivery = world(dns, port=server.port, resolver_timeout=deadline)
                began = monotonic()
                results = list(delivery.send_many(to(*domains), connections=16))
                taken.append(monotonic() - began)
                outcomes = [one.outcomes[0] for one in results]
                assert all(one.retryable for one in outcomes if one.failure is not None)
    assert min(taken) <= deadline + 0.5, taken
