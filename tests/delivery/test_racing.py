"""The addresses of a host race each other (RFC 8305): a silent one costs a quarter of a second."""

from __future__ import annotations

from typing import Any

import pytest

from smtpx import Envelope, SMTPError, Timeouts
from smtpx.delivery import DeliveryFailed
from smtpx.testing import NameServer, Refuse, Server, ServerTLS
from tests.delivery.test_delivery import outcomes_of
from tests.network import dead, one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(60)


def zone(*addresses: str, more: str = "") -> NameServer:
    lines = [f"a.example.net {'AAAA' if ':' in one else 'A'} {one}" for one in addresses]
    return NameServer("\n".join(["example.net MX 1 a.example.net.", *lines, more]))


@pytest.mark.requirement("D9")
@pytest.mark.parametrize("silent", ["127.0.0.8", "::1"])
def test_a_silent_address_does_not_hold_up_the_other(world, silent: str):
    with (
        dead(silent, beside=["127.0.0.1"]) as port,
        Server(port=port) as server,
        zone(silent, "127.0.0.1") as dns,
    ):
        # Whoever waited for the silent one would wait for ever.
        delivery = world(dns, port=port, timeouts=Timeouts(connect=None))
        (outcome,) = delivery.send(CONTENT, BOB).outcomes
        assert (outcome.host, outcome.address) == ("a.example.net", "127.0.0.1")
        assert [one.address for one in outcome.attempts] == ["127.0.0.1"]
        assert len(server.messages) == 1


def test_addresses_that_are_overtaken_are_tried_where_the_first_takes_nothing(world):
    """And the silent one has its time after all; then it is another time for the message."""
    refusal = Refuse("EHLO", "421 4.3.2 later")
    with (
        dead("127.0.0.8", beside=["127.0.0.1"]) as port,
        Server(port=port, faults=[refusal]) as server,
    ):
        with zone("127.0.0.8", "127.0.0.1") as dns, pytest.raises(SMTPError) as caught:
            world(dns, port=port, timeouts=Timeouts(connect=0.6)).send(CONTENT, BOB)
        (outcome,) = outcomes_of(caught.value)
        assert {one.address for one in outcome.attempts} == {"127.0.0.1", "127.0.0.8"}
        assert outcome.retryable
        assert len(server.sessions) == 1


def test_no_more_than_five_addresses_are_dialled(world):
    gone = [f"127.0.1.{place}" for place in range(1, 9)]
    with Server() as server, zone(*gone) as dns, pytest.raises(DeliveryFailed) as caught:
        world(dns, port=server.port).send(CONTENT, BOB)
    assert len(outcomes_of(caught.value)[0].attempts) == 5


@pytest.mark.requirement("D11")
def test_a_source_of_one_family_leaves_out_the_other(world):
    with Server() as server, zone("::1", "127.0.0.1") as dns:
        delivery = world(dns, port=server.port, source_address=("127.0.0.1", 0))
        (outcome,) = delivery.send(CONTENT, BOB).outcomes
        assert [one.address for one in outcome.attempts] == ["127.0.0.1"]
    with Server() as server, zone("::1") as dns, pytest.raises(DeliveryFailed, match="family"):
        world(dns, port=server.port, source_address=("127.0.0.1", 0)).send(CONTENT, BOB)


def test_what_is_broken_is_tried_without_tls_at_the_same_address(world):
    fault = Refuse("STARTTLS", "454 4.7.0 not now", times=None)
    with one_port("127.0.0.1", "127.0.0.2") as port:
        options: dict[str, Any] = {"tls": ServerTLS.STARTTLS, "faults": [fault], "port": port}
        with (
            Server(**options),
            Server(host="127.0.0.2", **options),
            zone("127.0.0.1", "127.0.0.2") as dns,
        ):
            (outcome,) = world(dns, port=port).send(CONTENT, BOB).outcomes
            assert [one.address for one in outcome.attempts] == [outcome.address] * 2
