"""Name servers that are dead, or know no EDNS: what a look-up costs, by a clock of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from smtpx import LocalProtocolError
from smtpx.delivery import AddressPolicy, NameServers, _dnspython
from smtpx.delivery._dnspython import Ask, Asking, Pause, asking
from smtpx.delivery._manners import Manners
from smtpx.delivery.resolver import Answer, AnswerState, Question
from smtpx.testing import NameServer
from tests.network import one_port

FOUND, FAILED = AnswerState.FOUND, AnswerState.FAILED
NAME = Question("mx.test", "A")
Says = Callable[[dns.message.Message], dns.message.Message | None]


def answers(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA | dns.flags.AD
    response.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "A", "192.0.2.1"))
    return response


def silent(query: dns.message.Message) -> None:
    return None


def only(code: dns.rcode.Rcode) -> Says:
    def says(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(code)
        return response

    return says


def without_edns(says: Says, *, echoes: bool = False) -> Says:
    """Answers what has no EDNS; to what has it, it says something else."""

    def respond(query: dns.message.Message) -> dns.message.Message | None:
        if query.edns < 0:
            return answers(query)
        response = says(query)
        if response is not None and not echoes:
            response.use_edns(False)
        return response

    return respond


class Asked(NamedTuple):
    """One query."""

    server: str
    edns: bool
    tcp: bool


class Lab:
    """Name servers by script, and the time that it takes them."""

    def __init__(self, *, validating: bool = False, **says: Says) -> None:
        self.says = {f"192.0.2.{name[1:]}": one for name, one in says.items()}
        self.now = 1000.0
        self.servers = NameServers(list(self.says), validating=validating)
        self.manners = Manners(lambda: self.now)
        self.asked: list[Asked] = []
        self.took = 0.0

    def look_up(self) -> Answer:
        """Ask once; what it has cost is in `asked` and `took`."""
        self.asked, began = [], self.now
        procedure = asking(NAME, self.servers, self.manners)
        try:
            step = next(procedure)
            while True:
                step = self._after(procedure, step)
        except StopIteration as stop:
            self.took = self.now - began
            answer: Answer = stop.value
            return answer

    def _after(self, procedure: Asking, step: Ask | Pause) -> Ask | Pause:
        if isinstance(step, Pause):
            self.now += step.seconds
            return procedure.send(None)
        self.asked.append(Asked(step.server, step.query.edns >= 0, step.tcp))
        response = self.says[step.server](step.query)
        if response is None:
            self.now += step.timeout
            return procedure.throw(TimeoutError("it did not answer in time"))
        return procedure.send(dns.message.from_wire(response.to_wire()))


def test_a_dead_server_is_known_to_all_calls(world: Any, monkeypatch: pytest.MonkeyPatch):
    """Also where each has a loop of its own."""
    monkeypatch.setattr(_dnspython, "_WAIT", 0.1)
    zone = "a.test MX 1 mx.test.\nb.test MX 1 mx.test.\nmx.test A 127.0.0.1"
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        NameServer(zone, port=port),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead,
    ):
        dead.bind(("127.0.0.2", port))
        dead.setblocking(False)
        delivery = world(NameServers(["127.0.0.2", "127.0.0.1"], port=port))
        for domain in ("a.test", "b.test"):
            assert delivery.plan(domain).exchangers
        asked = 0
        with suppress(BlockingIOError):
            while dead.recv(4096):
                asked += 1
    # The first ones, which were on their way together.
    assert asked == 3


A, B, C = (f"192.0.2.{place}" for place in (1, 2, 3))
FORMERR, NOTIMP, BADVERS = dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS
SERVFAIL = dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    "says",
    [
        without_edns(only(FORMERR)),
        without_edns(only(FORMERR), echoes=True),
        without_edns(only(NOTIMP)),
        without_edns(only(BADVERS), echoes=True),
        without_edns(only(SERVFAIL)),
    ],
)
def test_a_server_that_knows_no_edns_is_asked_without_it_at_once(says: Says):
    """And from then on for a while, so that only the first question is asked twice."""
    lab = Lab(s1=says)
    assert lab.look_up().state is FOUND
    assert lab.asked == [Asked(A, True, False), Asked(A, False, False)]
    assert lab.took == 0
    lab.look_up()
    assert lab.asked == [Asked(A, False, False)]
    lab.now += 61
    lab.look_up()
    assert len(lab.asked) == 2


def test_a_server_that_drops_edns_is_waited_for_once_a_minute():
    lab = Lab(s1=without_edns(silent))
    assert lab.look_up().state is FOUND
    assert lab.asked == [Asked(A, True, False), Asked(A, False, False)]
    assert lab.took == 5.5
    lab.look_up()
    assert (lab.asked, lab.took) == ([Asked(A, False, False)], 0)


@pytest.mark.parametrize("says", [only(FORMERR), only(SERVFAIL), only(NOTIMP), silent])
def test_dnssec_is_never_given_up_for_a_server_without_edns(says: Says):
    """Its answers would look like those of unsigned zones, and DANE would be off."""
    lab = Lab(s1=without_edns(says), validating=True)
    answer = lab.look_up()
    assert answer.state is FAILED
    assert {one.edns for one in lab.asked} == {True}
    assert len(lab.asked) == 3


def test_a_failure_that_comes_by_edns_is_asked_for_with_it():
    """Else the reason would be lost, which only EDNS has room for (RFC 8914)."""
    lab = Lab(s1=only(SERVFAIL))
    assert lab.look_up().state is FAILED
    assert [one.edns for one in lab.asked] == [True, True, True]
    assert lab.took == 0.5


@pytest.mark.parametrize("validating", [False, True])
def test_a_dead_server_costs_one_question_a_minute(validating: bool):
    lab = Lab(s1=silent, s2=answers, validating=validating)
    assert lab.look_up().state is FOUND
    assert ([one.server for one in lab.asked], lab.took) == ([A, B], 5.0)
    for _ in range(3):
        assert lab.look_up().secure is validating
        assert ([one.server for one in lab.asked], lab.took) == ([B], 0)
    lab.now += 61
    # One question finds out whether it is back, and no other waits with it.
    step = next(asking(NAME, lab.servers, lab.manners))
    assert isinstance(step, Ask)
    assert step.server == A
    lab.look_up()
    assert lab.took == 0
    lab.now += 61
    lab.says[A] = answers
    for _ in range(2):
        lab.look_up()
        assert [one.server for one in lab.asked] == [A]


def test_of_three_servers_of_which_one_lives_that_one_is_found():
    lab = Lab(s1=silent, s2=silent, s3=answers)
    assert lab.look_up().state is FOUND
    assert ([one.server for one in lab.asked], lab.took) == ([A, B, C], 10)
    lab.look_up()
    assert (lab.asked, lab.took) == ([Asked(C, True, False)], 0)


def test_a_dead_server_is_asked_all_the_same_where_the_others_do_not_know():
    """A zone can make any server silent about itself; that must not be the end of other mail."""
    lab = Lab(s1=silent, s2=answers)
    lab.look_up()
    lab.says = {A: answers, B: only(SERVFAIL)}
    assert lab.look_up().state is FOUND
    assert [one.server for one in lab.asked] == [B, A]


def test_what_failed_at_a_living_server_is_asked_for_by_tcp_there():
    lab = Lab(s1=silent, s2=only(SERVFAIL))
    assert lab.look_up().state is FAILED
    assert [(one.server, one.tcp) for one in lab.asked] == [(A, False), (B, False), (B, True)]


def test_the_systems_name_servers_are_those_that_it_has_now(
    world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A network may come and go while a worker runs; what the old ones said is asked anew."""
    file = tmp_path / "resolv.conf"

    def system() -> NameServers:
        port, *others = file.read_text().split() or [""]
        if not port:
            raise LocalProtocolError("the system names no name server")
        return NameServers("127.0.0.1", port=int(port), validating="trust-ad" in others)

    monkeypatch.setattr(_dnspython, "_CONFIGURATION", file)
    monkeypatch.setattr(_dnspython, "_LOOK", 0.0)
    monkeypatch.setattr(NameServers, "system", system)
    zone = "a.test MX 1 mx.a.test.\nmx.a.test A 192.0.2."
    with NameServer(f"{zone}1") as one, NameServer(f"{zone}2") as other:
        file.write_text(f"{one.port}")
        delivery = world(None, addresses=AddressPolicy("192.0.2.0/24"))

        def planned() -> tuple[tuple[str, ...], bool]:
            plan = delivery.plan("a.test")
            return plan.exchangers[0].addresses, plan.is_validated

        assert [planned() for _ in range(3)] == [(("192.0.2.1",), False)] * 3
        assert one.packets["a.test", "MX"] == 1
        file.write_text(f"{other.port} trust-ad")
        assert [planned() for _ in range(3)] == [(("192.0.2.2",), True)] * 3
        assert other.packets["a.test", "MX"] == 1
        for nothing in ("", None):
            # Somebody is just writing it, or has moved it.
            file.write_text(nothing) if nothing is not None else file.unlink()
            assert planned() == (("192.0.2.2",), True)
        file.write_text(f"{one.port}  ")
        assert planned() == (("192.0.2.1",), False)
