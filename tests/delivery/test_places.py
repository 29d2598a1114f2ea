"""How many sessions there may be at an address and for a site."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import smtpx
from smtpx import Status
from smtpx.delivery import (
    Delivery,
    DeliveryFailed,
    DeliveryLimits,
    Failure,
    NameServers,
    Terms,
)
from smtpx.delivery._places import Kept, Lease, Places
from smtpx.observing import Event, Line, SessionBegun, SessionClosed
from smtpx.testing import NameServer, Server, Stall
from tests.delivery.conftest import LOOPBACK
from tests.delivery.test_many import to

pytestmark = pytest.mark.timeout(60)
A, B = "192.0.2.1", "192.0.2.2"
SITE, OTHER = frozenset(["a.test"]), frozenset(["b.test"])


def anything(kept: Kept[Any]) -> bool:
    return True


def nothing(kept: Kept[Any]) -> bool:
    return False


def taken(
    places: Places[str], addresses: list[str], site: frozenset[str], suits: Any, now: float
) -> Lease[str] | None:
    lease: Lease[str] = Lease(addresses, site)
    return lease if places.take(lease, suits, now) else None


def given_back(places: Places[str], lease: Lease[str], kept: Kept[str] | None, now: float) -> None:
    lease.kept = kept
    places.give_back(lease, now)


def kept_at(address: str) -> Kept[str]:
    return Kept(f"session at {address}", "a.test", address, Terms.OPPORTUNISTIC, None)


def test_an_address_has_room_for_so_many():
    places: Places[str] = Places(DeliveryLimits(address=2))
    leases = [taken(places, [A], frozenset([str(n)]), anything, 0.0) for n in range(3)]
    assert [lease is None for lease in leases] == [False, False, True]
    # Where it is full, the others of the host are dialled.
    lease = taken(places, [A, B], OTHER, anything, 0.0)
    assert lease is not None
    assert lease.addresses == (B,)
    assert leases[0] is not None
    given_back(places, leases[0], None, 1.0)
    assert taken(places, [A], SITE, anything, 1.0) is not None


@pytest.mark.requirement("D59")
def test_a_site_has_room_for_so_many_whatever_its_addresses():
    places: Places[str] = Places(DeliveryLimits(site=2))
    first = taken(places, [A], SITE, anything, 0.0)
    assert taken(places, [B], SITE, anything, 0.0) is not None
    assert taken(places, ["192.0.2.3"], SITE, anything, 0.0) is None
    assert taken(places, ["192.0.2.3"], OTHER, anything, 0.0) is not None
    assert first is not None
    given_back(places, first, None, 1.0)
    assert taken(places, ["192.0.2.3"], SITE, anything, 1.0) is not None


def test_of_addresses_that_race_one_stays():
    places: Places[str] = Places(DeliveryLimits(address=1, site=1))
    lease = taken(places, [A, B], SITE, anything, 0.0)
    assert lease is not None
    assert taken(places, [B], OTHER, anything, 0.0) is None
    places.settle(lease, A)
    assert taken(places, [B], OTHER, anything, 0.0) is not None
    assert taken(places, [A], frozenset(), anything, 0.0) is None


def test_what_was_kept_is_used_again_if_it_suits():
    places: Places[str] = Places(DeliveryLimits(address=2, messages=3, idle=5.0))
    lease = taken(places, [A], SITE, anything, 0.0)
    assert lease is not None
    one = kept_at(A)
    given_back(places, lease, one, 10.0)
    unsuited = taken(places, [A, B], OTHER, nothing, 11.0)
    assert unsuited is not None
    assert (unsuited.kept, unsuited.addresses) == (None, (A, B))
    again = taken(places, [B, A], OTHER, anything, 11.0)
    assert again is not None
    assert (again.kept, again.addresses) == (one, (A,))
    one.messages = 3
    given_back(places, again, one, 12.0)
    assert places.parting(12.0) == [one.session]
    assert places.parting(12.0) == []


def test_what_was_kept_makes_room_for_what_it_does_not_suit():
    places: Places[str] = Places(DeliveryLimits(address=1))
    lease = taken(places, [A], SITE, anything, 0.0)
    assert lease is not None
    given_back(places, lease, kept_at(A), 1.0)
    fresh = taken(places, [A], OTHER, nothing, 2.0)
    assert fresh is not None
    assert fresh.kept is None
    assert places.parting(2.0) == [f"session at {A}"]


def test_nothing_is_kept_for_longer_than_it_may_be():
    places: Places[str] = Places(DeliveryLimits(idle=5.0))
    lease = taken(places, [A], SITE, anything, 0.0)
    assert lease is not None
    given_back(places, lease, kept_at(A), 1.0)
    assert places.expires() == 6.0
    assert places.parting(5.9) == []
    late = taken(places, [A], SITE, anything, 6.0)
    assert late is not None
    assert late.kept is None
    assert places.parting(6.0) == [f"session at {A}"]
    assert places.expires() is None


@pytest.mark.parametrize("name", ["address", "site", "messages", "idle", "wait"])
def test_limits_are_looked_at(name: str):
    options: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=name):
        DeliveryLimits(**options)
    assert repr(DeliveryLimits(site=3)).startswith("DeliveryLimits(address=10, site=3, ")


class Open:
    """An observer that counts the sessions that are open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self.most = 0
        self.opened = 0

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, SessionBegun):
                self._open.add(event.session)
                self.opened += 1
                self.most = max(self.most, len(self._open))
            elif isinstance(event, SessionClosed):
                self._open.discard(event.session)


def domains(count: int, *hosts: str) -> NameServer:
    lines = [f"d{n}.test MX 1 {hosts[n % len(hosts)]}.test." for n in range(count)]
    return NameServer("\n".join([*lines, "a.test A 127.0.0.1", "b.test A 127.0.0.1"]))


@pytest.mark.requirement("D59")
@pytest.mark.parametrize(("limits", "most"), [({"address": 3}, 3), ({"site": 2}, 4)])
def test_many_domains_of_one_host_open_no_more_than_they_may(world, limits, most: int):
    """Two sites at one address, so that each of the limits shows."""
    open_ = Open()
    with Server() as server, domains(60, "a", "b") as dns:
        delivery = world(dns, port=server.port, limits=DeliveryLimits(**limits), observer=open_)
        results = delivery.send_many(to(*(f"d{n}.test" for n in range(60))), connections=8)
        assert [one.complete for one in results] == [True] * 60
        assert len(server.messages) == 60
        assert 1 <= open_.most <= most
        # One session carries the mail of several domains.
        assert open_.opened < 60


def test_nobody_waits_for_a_host_that_turns_out_to_be_dead(world):
    """Those whose turn has not come are to be sent another time, at once."""
    with Server(faults=[Stall("GREETING", times=None)]) as server, domains(10, "a") as dns:
        delivery = world(
            dns,
            port=server.port,
            limits=DeliveryLimits(address=2),
            timeouts=smtpx.Timeouts(greeting=1.0),
        )
        messages = to(*(f"d{n}.test" for n in range(10)))
        results = list(delivery.send_many(messages, connections=10, window=1))
        assert [one.outcomes[0].retryable for one in results] == [True] * 10
        assert sum(bool(one.outcomes[0].attempts) for one in results) == 2
        assert len(server.sessions) == 2


def test_a_message_that_has_no_turn_in_time_may_have_another():
    """It is told apart from a host that cannot be reached, and nothing is held against it."""
    asked = threading.Event()

    def observe(event: Event) -> None:
        if isinstance(event, Line) and "MAIL" in event.text:
            asked.set()

    zone = "a.test MX 1 mx.test.\nb.test MX 1 mx.test.\nmx.test A 127.0.0.1"
    with (
        Server(faults=[Stall("MAIL", times=1)]) as server,
        NameServer(zone) as dns,
        Delivery(
            "mail.example.org",
            resolver=NameServers("127.0.0.1", port=dns.port),
            port=server.port,
            addresses=LOOPBACK,
            limits=DeliveryLimits(address=1, wait=0.2),
            observer=observe,
        ) as delivery,
    ):
        failures: list[smtpx.SMTPError] = []

        def send() -> None:
            with pytest.raises(smtpx.SMTPError) as caught:
                delivery.send(*to("a.test")[0])
            failures.append(caught.value)

        first = threading.Thread(target=send)
        first.start()
        assert asked.wait(30)
        with pytest.raises(DeliveryFailed, match="as many sessions") as caught:
            delivery.send(*to("b.test")[0])
        assert caught.value.failure is Failure.UNREACHABLE
        assert caught.value.result is not None
        (outcome,) = caught.value.result.outcomes
        assert (outcome.status, outcome.retryable) == (Status.NOT_TRIED, True)
        server.close()
        first.join()
        assert len(failures) == 1
