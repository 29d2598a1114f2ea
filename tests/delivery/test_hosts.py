"""Addresses that were not reached lately: they come last, and one message at a time tries them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from smtpx import Envelope
from smtpx.delivery import Delivery, DeliveryFailed, Failure, NameServers
from smtpx.delivery._hosts import Hosts
from smtpx.observing import Event, SessionBegun
from smtpx.testing import NameServer, Server, Stall
from tests.delivery.conftest import LOOPBACK
from tests.network import one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")
ONE, OTHER = "192.0.2.1", "192.0.2.2"

pytestmark = pytest.mark.timeout(60)


def test_what_failed_is_away_for_a_minute():
    hosts = Hosts()
    hosts.failed(ONE, 0.0)
    assert hosts.away([ONE, OTHER], 59.9) == {ONE}
    assert hosts.away([ONE, OTHER], 60.0) == frozenset()


def test_the_time_doubles_up_to_ten_minutes():
    hosts, now, pauses = Hosts(), 0.0, []
    for _ in range(6):
        assert hosts.claim([ONE]) == (ONE,)
        hosts.failed(ONE, now)
        later = now
        while hosts.away([ONE], later):
            later += 60.0
        pauses.append(later - now)
        now = later
    assert pauses == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


def test_those_who_were_on_their_way_together_count_as_one():
    hosts = Hosts()
    for moment in (0.0, 1.0, 2.0):
        hosts.failed(ONE, moment)
    assert hosts.away([ONE], 59.0)
    assert not hosts.away([ONE], 60.0)


@pytest.mark.requirement("D14")
def test_a_success_clears_it():
    hosts = Hosts()
    hosts.failed(ONE, 0.0)
    hosts.answered(ONE)
    assert not hosts.away([ONE], 1.0)
    hosts.failed(ONE, 2.0)
    assert not hosts.away([ONE], 62.0)


def test_one_at_a_time_tries_what_is_away():
    hosts = Hosts()
    hosts.failed(ONE, 0.0)
    assert hosts.claim([ONE, OTHER]) == (ONE, OTHER)
    assert hosts.claim([ONE]) == ()
    hosts.untried([ONE])
    assert hosts.claim([ONE]) == (ONE,)
    hosts.failed(ONE, 1.0)
    assert hosts.claim([ONE]) == (ONE,)


def test_what_is_remembered_is_bounded():
    hosts = Hosts()
    for place in range(11_000):
        hosts.failed(f"host {place}", 0.0)
    assert not hosts.away(["host 999"], 1.0)
    assert hosts.away(["host 1000", "host 10999"], 1.0) == {"host 1000", "host 10999"}


ZONE = """
example.net MX 1 a.example.net.
example.net MX 2 b.example.net.
a.example.net A 127.0.0.8
b.example.net A 127.0.0.1
"""


def tried(outcome: Any) -> list[str]:
    return [one.address for one in outcome.attempts]


def test_the_next_message_goes_to_the_host_that_answers_first(world):
    with Server() as server, NameServer(ZONE) as dns:
        delivery = world(dns, port=server.port)
        first, second = (delivery.send(CONTENT, BOB).outcomes[0] for _ in range(2))
        assert tried(first) == ["127.0.0.8", "127.0.0.1"]
        assert tried(second) == ["127.0.0.1"]


def test_the_last_candidate_is_tried_whatever_is_known_of_it(world):
    zone = "example.net MX 1 a.example.net.\na.example.net A 127.0.0.1"
    with one_port("127.0.0.1") as port, NameServer(zone) as dns:
        delivery = world(dns, port=port)
        for _ in range(2):
            with pytest.raises(DeliveryFailed) as caught:
                delivery.send(CONTENT, BOB)
            assert caught.value.failure is Failure.UNREACHABLE
            assert caught.value.result is not None
            assert tried(caught.value.result.outcomes[0]) == ["127.0.0.1"]
        with Server(port=port):
            assert delivery.send(CONTENT, BOB).complete


@pytest.mark.parametrize("greeting", ["421 4.3.2 not now", "554 5.7.1 go away"])
def test_a_host_that_takes_no_session_comes_last_next_time(world, greeting: str):
    zone = ZONE.replace("127.0.0.8", "127.0.0.2")
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(port=port) as server,
        Server(host="127.0.0.2", port=port, greeting=greeting) as no,
    ):
        with NameServer(zone) as dns:
            delivery = world(dns, port=server.port)
            assert all(delivery.send(CONTENT, BOB).complete for _ in range(3))
        assert len(no.sessions) == 1


@pytest.mark.requirement("D14")
def test_a_host_that_refuses_a_recipient_is_not_held_for_dead(world):
    zone = ZONE.replace("127.0.0.8", "127.0.0.2")
    refusals = {"bob@example.net": "450 4.2.0 greylisted"}
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(port=port) as server,
        Server(host="127.0.0.2", port=port, refuse_recipients=refusals) as no,
        NameServer(zone) as dns,
    ):
        delivery = world(dns, port=server.port)
        firsts = [tried(delivery.send(CONTENT, BOB).outcomes[0])[0] for _ in range(2)]
        assert firsts == ["127.0.0.2"] * 2
        assert no.sessions


def test_while_one_message_tries_a_silent_host_others_do_not_wait_for_it():
    """A thousand messages to a dead domain cost one wait at a time, not a thousand."""
    begun = threading.Event()

    def observe(event: Event) -> None:
        if isinstance(event, SessionBegun):
            begun.set()

    def fails() -> Any:
        with pytest.raises(DeliveryFailed) as caught:
            delivery.send(CONTENT, BOB)
        assert caught.value.failure is Failure.UNREACHABLE
        assert caught.value.result is not None
        return caught.value.result.outcomes[0]

    zone = "example.net MX 1 a.example.net.\na.example.net A 127.0.0.1"
    with one_port("127.0.0.1") as port, NameServer(zone) as dns:
        delivery = Delivery(
            "mail.example.org",
            resolver=NameServers("127.0.0.1", port=dns.port),
            port=port,
            addresses=LOOPBACK,
            observer=observe,
        )
        assert len(fails().attempts) == 1
        with Server(port=port, faults=[Stall("GREETING", times=None)]) as server, delivery:
            trying = threading.Thread(target=fails)
            trying.start()
            assert begun.wait(30)
            for _ in range(8):
                outcome = fails()
                assert outcome.retryable
                assert not outcome.attempts
            assert len(server.sessions) <= 1
            server.close()
            trying.join()
