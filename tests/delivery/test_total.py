"""`Timeouts.total` is one deadline over a whole message, whatever takes the time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from smtpx import Envelope, Outcome, SMTPError, Status, TimedOut, Timeouts
from smtpx.delivery import DeliveryFailed, DeliveryLimits, DeliveryOutcome, Failure, Terms
from smtpx.testing import (
    USUAL_EXTENSIONS,
    Extension,
    Misanswer,
    NameFault,
    NameServer,
    Server,
    ServerTLS,
    Stall,
)
from tests.delivery.test_mta_sts import zone
from tests.delivery.test_renewals import lab
from tests.network import dead, one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
HOSTS = [f"127.0.0.{place}" for place in range(2, 6)]
TOTAL = Timeouts(total=1.0)

pytestmark = pytest.mark.timeout(60)


def to(*domains: str) -> Envelope:
    return Envelope("ann@example.org", [f"bob@{domain}" for domain in domains])


def outcomes_of(error: SMTPError) -> tuple[Outcome, ...]:
    assert error.result is not None
    return error.result.outcomes


def hosts(*addresses: str) -> str:
    """A domain with a host at each of these addresses, and another one with the last alone."""
    lines = [f"slow.test MX {place} h{place}.test." for place, _ in enumerate(addresses)]
    lines += [f"h{place}.test A {each}" for place, each in enumerate(addresses)]
    return "\n".join([*lines, "good.test MX 1 good.test.", f"good.test A {addresses[-1]}"])


@pytest.mark.parametrize("phase", ["GREETING", "EHLO", "STARTTLS"])
def test_a_host_that_says_nothing_leaves_time_for_the_next(world, phase: str):
    """Each has half of what is left, until it is said MAIL."""
    with one_port(*HOSTS) as port, ExitStack() as stack:
        tls = ServerTLS.STARTTLS
        for host in HOSTS[:2]:
            silent = Server(host=host, port=port, tls=tls, faults=[Stall(phase, times=None)])
            _ = stack.enter_context(silent)
        good = stack.enter_context(Server(host=HOSTS[2], port=port, tls=tls))
        with NameServer(hosts(*HOSTS[:3])) as dns:
            delivery = world(dns, port=port, timeouts=Timeouts(total=6.0), minimum=Terms.ENCRYPTED)
            result = delivery.send(CONTENT, to("slow.test", "good.test"))
    assert result.complete
    assert [each.address for each in result.outcomes[0].attempts] == HOSTS[:3]
    assert len(good.messages) == 2


def test_so_does_one_that_takes_no_connection(world):
    host, other = HOSTS[:2]
    with (
        dead(host, beside=[other]) as port,
        Server(host=other, port=port) as good,
        NameServer(hosts(host, other)) as dns,
    ):
        delivery = world(dns, port=port, timeouts=TOTAL)
        result = delivery.send(CONTENT, to("slow.test"))
    assert result.complete
    assert [each.address for each in result.outcomes[0].attempts] == [host, other]
    assert len(good.messages) == 1


def test_where_none_says_anything_it_is_told_of_each(world):
    with one_port(*HOSTS) as port, ExitStack() as stack:
        for host in HOSTS:
            silent = Server(host=host, port=port, faults=[Stall("GREETING", times=None)])
            _ = stack.enter_context(silent)
        with NameServer(hosts(*HOSTS)) as dns:
            delivery = world(dns, port=port, timeouts=Timeouts(total=3.0))
            with pytest.raises(DeliveryFailed) as caught:
                delivery.send(CONTENT, to("slow.test"))
    (outcome,) = outcomes_of(caught.value)
    assert isinstance(outcome, DeliveryOutcome)
    assert (outcome.status, outcome.retryable) == (Status.NOT_TRIED, True)
    assert outcome.failure is Failure.UNREACHABLE
    assert [each.address for each in outcome.attempts] == HOSTS


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
def test_a_host_that_is_said_mail_may_take_all_of_it(world, phase: str):
    """What ends the time is told of the others: which host, or which domain, had none."""
    faults = [Stall(phase, times=None)]
    by_data = USUAL_EXTENSIONS - {Extension.CHUNKING}
    with one_port(*HOSTS[:2]) as port, ExitStack() as stack:
        silent = Server(host=HOSTS[0], port=port, faults=faults, extensions=by_data)
        _ = stack.enter_context(silent)
        good = stack.enter_context(Server(host=HOSTS[1], port=port))
        with NameServer(hosts(*HOSTS[:2])) as dns:
            delivery = world(dns, port=port, timeouts=TOTAL)
            with pytest.raises(TimedOut, match=r"total.* to look up h1\.test") as caught:
                delivery.send(CONTENT, to("slow.test", "good.test"))
    outcomes = outcomes_of(caught.value)
    assert [one.retryable for one in outcomes] == [True, True]
    # Nobody says that mail is lost for which there was no time.
    assert [one.failure for one in outcomes if isinstance(one, DeliveryOutcome)] == [
        Failure.UNREACHABLE,
        Failure.UNREACHABLE,
    ]
    assert not good.messages


def test_a_host_that_took_most_of_it_comes_last_another_time(world):
    with one_port(*HOSTS) as port, ExitStack() as stack:
        silent = Server(host=HOSTS[0], port=port, faults=[Stall("GREETING", times=None)])
        _ = stack.enter_context(silent)
        good = stack.enter_context(Server(host=HOSTS[1], port=port))
        with NameServer(hosts(*HOSTS[:2])) as dns:
            delivery = world(dns, port=port, timeouts=TOTAL)
            # Each message has its own deadline, also among many.
            assert delivery.send(CONTENT, to("slow.test")).complete
            assert all(one.complete for one in delivery.send_many([(CONTENT, to("slow.test"))] * 3))
            assert len(good.messages) == 4
            assert len(silent.sessions) == 1


def test_a_domain_that_nobody_knows_leaves_time_for_the_next(world):
    faults = [NameFault(Misanswer.SILENCE, "slow.test", "MX")]
    with Server() as server, NameServer(hosts("127.0.0.1"), faults=faults) as dns:
        delivery = world(dns, port=server.port, timeouts=TOTAL)
        result = delivery.send(CONTENT, to("slow.test", "good.test"))
    slow, good = result.outcomes
    assert (slow.failure, good.status) == (Failure.LOOKUP_FAILED, Status.ACCEPTED)


@pytest.mark.parametrize("kind", ["MX", "A", "TXT"])
def test_so_do_the_questions_to_the_dns(world, kind: str):
    name = {"MX": "slow.test", "A": "h0.test", "TXT": "_mta-sts.slow.test"}[kind]
    faults = [NameFault(Misanswer.SILENCE, name, each) for each in (kind, "AAAA")]
    with Server() as server, NameServer(hosts("127.0.0.1"), faults=faults) as dns:
        delivery = world(dns, port=server.port, timeouts=TOTAL, resolver_timeout=200)
        if kind == "TXT":
            # What is not needed has half of it; there is time for the mail.
            assert delivery.send(CONTENT, to("slow.test")).complete
            return
        with pytest.raises((TimedOut, DeliveryFailed)) as caught:
            delivery.send(CONTENT, to("slow.test"))
        assert outcomes_of(caught.value)[0].retryable
        assert not server.messages


def test_a_policy_that_is_fetched_leaves_time_for_the_mail(world, tmp_path: Path):
    """It is as if there was none to be had: so it is where it takes ten seconds (RFC 8461 §3.3)."""
    with lab(world, tmp_path) as here, zone("good.test MX 1 mx.example.net.") as dns:
        delivery = here.made(dns, timeouts=TOTAL)
        result = delivery.send(CONTENT, to("example.net", "good.test"))
        assert result.complete
        assert here.policy_host.is_asked.is_set()
        assert not here.policy_host.gate.is_set()
        assert len(here.server.messages) == 2


def test_so_do_those_who_wait_for_a_place(world):
    with (
        Server(faults=[Stall("GREETING", times=None)]) as server,
        NameServer(hosts("127.0.0.1")) as dns,
    ):
        options: dict[str, Any] = {"timeouts": TOTAL, "limits": DeliveryLimits(address=1)}
        delivery = world(dns, port=server.port, **options)
        messages = [(CONTENT, to("slow.test")) for _ in range(3)]
        results = list(delivery.send_many(messages, connections=3))
        assert [one.outcomes[0].retryable for one in results] == [True] * 3
        # The place is free when their time is over, too.
        assert len(server.sessions) < 3


def test_only_what_may_have_been_taken_is_in_doubt(world):
    stalled = Server(faults=[Stall("END-OF-DATA", times=1)])
    with stalled as server, NameServer(hosts("127.0.0.1")) as dns:
        delivery = world(dns, port=server.port, timeouts=TOTAL)
        with pytest.raises(TimedOut) as caught:
            delivery.send(CONTENT, to("slow.test", "good.test"))
        statuses = [one.status for one in outcomes_of(caught.value)]
        assert statuses == [Status.IN_DOUBT, Status.NOT_TRIED]


def test_a_session_that_is_kept_has_no_other_message_s_deadline(world):
    with Server() as server, NameServer(hosts("127.0.0.1")) as dns:
        delivery = world(dns, port=server.port, timeouts=Timeouts(total=30.0))
        messages = [(CONTENT, to("slow.test")) for _ in range(4)]
        assert all(one.complete for one in delivery.send_many(messages, connections=1, window=1))
        assert len(server.sessions) == 1
