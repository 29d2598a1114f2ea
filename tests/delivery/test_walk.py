"""The walk over hosts as a model: whatever they say, nobody is lost, and nobody has it twice."""

from __future__ import annotations

import errno
from random import Random

import pytest

from smtpx import Envelope, Status
from smtpx.delivery._steps import Said, Try
from smtpx.delivery.resolver import MX, Answer
from smtpx.errors import (
    ConnectionLost,
    ExtensionMissing,
    GreetingRefused,
    SMTPError,
    TimedOut,
    TLSFailure,
    TLSPolicyError,
    TLSRefused,
)
from smtpx.replies import Reply

from .script import Names, Script, found, replied, unreached

ERRORS = [
    ConnectionLost("cut", phase="greeting"),
    ConnectionLost("cut", phase="tls"),
    TimedOut("silence", phase="mail"),
    GreetingRefused(None, Reply.of(421, "later")),
    GreetingRefused(None, Reply.of(554, "no")),
    TLSRefused("STARTTLS", Reply.of(454, "no")),
    TLSPolicyError("bad", TLSFailure.CERTIFICATE_EXPIRED),
    TLSPolicyError("none", TLSFailure.STARTTLS_MISSING),
    ExtensionMissing("SMTPUTF8", "needed"),
]
CODES = [250, 250, 450, 421, 550, None]


class World:
    """Hosts that say whatever chance has them say, and what each recipient has had by that."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.accepted: list[str] = []
        self.doubted: list[str] = []
        self.final: set[str] = set()
        self.dialled: list[str] = []
        self.greeted = 0

    def says(self, step: Try) -> Said:
        those = [str(each.address) for each in step.envelope.recipients]
        assert not self.final & set(those), "who has a final word is not sent to again"
        draw = self.chance.random()
        if draw < 0.2:
            self.dialled += step.addresses
            return unreached(step)
        self.dialled.append(step.addresses[0])
        if draw < 0.5:
            error = self.chance.choice(ERRORS)
            return Said(error=error, address=step.addresses[0], begun=step.addresses[:1])
        self.greeted += 1
        codes = [self.chance.choice(CODES) for _ in those]
        for name, code in zip(those, codes, strict=True):
            if code == 250:
                self.accepted.append(name)
            if code is None:
                self.doubted.append(name)
            if code in (250, 550, None):
                self.final.add(name)
        return replied(step, *codes)


def zone(chance: Random) -> Names:
    names = {}
    count = chance.randint(1, 5)
    hosts = [f"m{place}.test" for place in range(count)]
    names["example.net", "MX"] = found(*(MX(chance.randint(1, 3), host) for host in hosts))
    for place, host in enumerate(hosts):
        some = [f"8.8.{place}.{last}" for last in range(chance.randint(0, 3))]
        if some:
            names[host, "A"] = found(*some)
    return names


@pytest.mark.parametrize("block", range(4))
def test_nobody_is_lost_and_nobody_has_it_twice(block: int):
    for seed in range(block * 250, block * 250 + 250):
        chance, world = Random(seed), World(seed)
        everybody = [f"u{place}@example.net" for place in range(chance.randint(1, 4))]
        script = Script(zone(chance), says=world.says)
        result = script.deliver(Envelope("ann@example.org", everybody))
        assert [str(one.recipient) for one in result.outcomes] == everybody, seed
        assert len(set(world.accepted)) == len(world.accepted), seed
        by = {
            status: [str(one.recipient) for one in result.outcomes if one.status is status]
            for status in Status
        }
        assert sorted(by[Status.ACCEPTED]) == sorted(world.accepted), seed
        assert sorted(by[Status.IN_DOUBT]) == sorted(world.doubted), seed
        for one in result.outcomes:
            is_final = one.status in (Status.ACCEPTED, Status.IN_DOUBT)
            # What is for good has a reply that says so, or a failure.
            assert is_final or one.reply is not None or one.failure is not None, (seed, one)
            assert (one.host is None) == (one.reply is None and one.failure is not None), seed
        # What TLS had broken is dialled once more; each time it is the same address.
        assert len(set(world.dialled)) <= 5, seed
        assert world.greeted <= 2, seed
        assert result.error is not None or result.accepted, seed


DEAD = ConnectionLost("no answer", phase="connect")
NO_WAY = ConnectionLost("no way to IPv6 from here", phase="connect")
NO_WAY.__cause__ = OSError(errno.ENETUNREACH, "Network is unreachable")


def dialled(step: Try, dead: str) -> Said:
    """What dialling comes to where there is no IPv6, and some addresses are dead."""
    gone: list[tuple[str, SMTPError]] = []
    for address in step.addresses:
        if ":" not in address and not address.startswith(dead):
            begun = (*(one for one, _ in gone), address)
            said = replied(step, 250)
            return said._replace(address=address, begun=begun, unreached=tuple(gone))
        gone.append((address, NO_WAY if ":" in address else DEAD))
    return Said(begun=step.addresses, unreached=tuple(gone))


def at(place: int, count: int) -> dict[tuple[str, str], Answer]:
    """A host of so many addresses of each family."""
    return {
        (f"m{place}.test", "A"): found(*(f"8.8.{place}.{last}" for last in range(count))),
        (f"m{place}.test", "AAAA"): found(*(f"2600::{place}:{last}" for last in range(count))),
    }


@pytest.mark.requirement("D13")
@pytest.mark.parametrize("dead", [1, 2])
def test_a_host_of_many_dead_addresses_does_not_use_up_those_of_its_equals(dead: int):
    """It would be so each time: the same mail goes the same way."""
    names = {("example.net", "MX"): found(MX(1, "m1.test"), MX(1, "m2.test"))}
    names |= at(1, 8) | at(2, 8)
    script = Script(names, says=lambda step: dialled(step, f"8.8.{dead}."))
    (outcome,) = script.deliver().outcomes
    assert outcome.host == f"m{3 - dead}.test"


@pytest.mark.requirement("D13")
@pytest.mark.requirement("D51")
def test_of_many_equals_the_first_stays_and_the_second_is_another_one_each_time():
    """Who greylists wants to see the same mail again; but a third one may be who takes it."""
    hosts = [f"m{place}.test" for place in range(5)]
    names = {("example.net", "MX"): found(*(MX(1, host) for host in hosts))}
    names |= {(host, "A"): found(f"8.8.{place}.8") for place, host in enumerate(hosts)}
    script = Script(names, says=lambda step: replied(step, 451))
    for turn in range(50):
        script.deliver(turn=turn)
    tried = [step.host for step in script.tried]
    assert len(set(tried[::2])) == 1
    assert set(tried) == set(hosts)


@pytest.mark.requirement("D9")
@pytest.mark.requirement("D13")
def test_what_this_machine_has_no_way_to_is_no_attempt():
    """Most containers have no IPv6; each preference has its address all the same."""
    names = {("example.net", "MX"): found(*(MX(place, f"m{place}.test") for place in (1, 2, 3)))}
    names |= at(1, 8) | at(2, 1) | at(3, 1)
    script = Script(names, says=lambda step: dialled(step, "8.8.1."))
    (outcome,) = script.deliver().outcomes
    assert outcome.host == "m2.test"


def test_thousands_of_addresses_without_a_way_are_not_all_dialled():
    names = {("example.net", "MX"): found(*(MX(1, f"m{place}.test") for place in range(100)))}
    for place in range(100):
        names |= {(f"m{place}.test", "AAAA"): at(place, 100)[f"m{place}.test", "AAAA"]}
    script = Script(names, says=lambda step: dialled(step, "8.8."))
    (outcome,) = script.deliver().outcomes
    assert len(outcome.attempts) <= 25
