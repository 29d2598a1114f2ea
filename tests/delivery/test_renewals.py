"""Policies are fetched once for all who ask; no mail waits for one while another protects it."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from smtpx import Envelope
from smtpx.delivery import Level, _renewals
from smtpx.delivery._deadline import NEVER
from smtpx.delivery._renewals import Renewals, TaskRenewals
from smtpx.delivery._steps import Renew
from smtpx.delivery._worlds import current_world
from smtpx.delivery.mta_sts import MemoryPolicies, Policy, StoredPolicy
from tests.delivery.conftest import Asynchronous
from tests.delivery.https_host import HTTPSHost
from tests.delivery.policy_lab import ENFORCE, Lab
from tests.delivery.test_mta_sts import zone

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(60)


class HeldHost(HTTPSHost):
    """A policy host that says nothing until it may."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.gate = threading.Event()
        self.is_asked = threading.Event()
        self._said = b""
        super().__init__(context)

    def open_when_asked(self) -> None:
        assert self.is_asked.wait(30)
        self.gate.set()

    @property
    def answer(self) -> bytes:
        self.is_asked.set()
        assert self.gate.wait(30)
        return self._said

    @answer.setter
    def answer(self, said: bytes) -> None:
        self._said = said


class HeldLab(Lab):
    policy_host: HeldHost

    def __init__(self, world: Any, folder: Path) -> None:
        super().__init__(world, folder, ("mx.example.net",), True)
        self.policy_host.close()
        authority = trustme.CA()
        # Both are trusted: that of the mail exchanger, and that of the policy host.
        pem = self.ca_file.read_bytes() + authority.cert_pem.bytes()
        self.ca_file.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("mta-sts.example.net").configure_cert(context)
        self.policy_host = HeldHost(context)
        self.policy_host.says(ENFORCE)


@contextmanager
def lab(world: Any, folder: Path) -> Iterator[HeldLab]:
    made = HeldLab(world, folder)
    try:
        with made.server:
            yield made
    finally:
        made.policy_host.gate.set()
        made.policy_host.close()


def send_and_wait(delivery: Any, then: Callable[[], object], until: Callable[[], bool]) -> Any:
    """Send, do what comes then, and wait in the same run until something has come true."""
    if not isinstance(delivery, Asynchronous):
        result = delivery.send(CONTENT, BOB)
        then()
        while not until():
            time.sleep(0.01)
        return result

    async def call() -> Any:
        result = await delivery._delivery.send(CONTENT, BOB)
        then()
        while not until():
            await current_world().pause(0.01)
        return result

    return delivery._run(call)


def cached(id: str = "1", text: str = ENFORCE) -> MemoryPolicies:
    policies = MemoryPolicies()
    policies.put("example.net", StoredPolicy(id, time.time(), Policy.parse(text)))
    return policies


def id_of(policies: MemoryPolicies) -> str:
    stored = policies.get("example.net")
    return "" if stored is None else stored.id


def test_mail_does_not_wait_for_a_new_policy_while_the_old_one_protects_it(world, tmp_path):
    policies = cached()
    with lab(world, tmp_path) as here, zone(id="2") as dns:
        delivery = here.made(dns, policies=policies)
        result = send_and_wait(delivery, here.policy_host.gate.set, lambda: id_of(policies) == "2")
        # The policy host had said nothing when the message was sent.
        assert result.outcomes[0].terms.level is Level.VERIFIED
        assert here.policy_host.asked == 1


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_mail_waits_for_a_new_policy_where_the_old_one_does_not_protect_it(
    world, tmp_path, mode: str
):
    """Else it would go in plain text, by what its domain has just replaced (RFC 8461 §3.1)."""
    policies = cached(text=ENFORCE.replace("enforce", mode))
    with lab(world, tmp_path) as here, zone(id="2") as dns:
        opening = threading.Thread(target=here.policy_host.open_when_asked)
        opening.start()
        (outcome,) = here.made(dns, policies=policies).send(CONTENT, BOB).outcomes
        opening.join()
        assert outcome.terms.level is Level.VERIFIED
        assert here.policy_host.asked == 1


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_mail_waits_no_longer_for_it_than_for_the_first(world, tmp_path, monkeypatch, mode: str):
    monkeypatch.setattr(_renewals, "WITHIN", 0.3)
    policies = cached(text=ENFORCE.replace("enforce", mode))
    with lab(world, tmp_path) as here, zone(id="2") as dns:
        delivery = here.made(dns, policies=policies)
        result = send_and_wait(delivery, here.policy_host.gate.set, lambda: id_of(policies) == "2")
        assert result.outcomes[0].terms.level is Level.OPPORTUNISTIC
        assert delivery.send(CONTENT, BOB).outcomes[0].terms.level is Level.VERIFIED
        assert here.policy_host.asked == 1


def test_a_policy_is_renewed_once_a_day_though_its_id_is_the_same(world, tmp_path):
    policies = MemoryPolicies()
    yesterday = time.time() - 86401
    policies.put("example.net", StoredPolicy("1", yesterday, Policy.parse(ENFORCE)))
    with lab(world, tmp_path) as here, zone(id="1") as dns:

        def is_renewed() -> bool:
            stored = policies.get("example.net")
            return stored is not None and stored.fetched > yesterday

        delivery = here.made(dns, policies=policies)
        result = send_and_wait(delivery, here.policy_host.gate.set, is_renewed)
        assert result.complete
        # From then on there is nothing to do.
        assert delivery.send(CONTENT, BOB).complete
        assert here.policy_host.asked == 1


@pytest.mark.requirement("D38")
def test_many_messages_to_a_domain_have_its_policy_be_fetched_once(world, tmp_path):
    with lab(world, tmp_path) as here, zone() as dns:
        delivery = here.made(dns)
        opening = threading.Thread(target=here.policy_host.open_when_asked)
        opening.start()
        results = list(delivery.send_many([(CONTENT, BOB)] * 12, connections=12, window=1))
        opening.join()
        levels = [one.outcomes[0].terms.level for one in results]
        assert levels == [Level.VERIFIED] * 12
        assert here.policy_host.asked == 1


@pytest.mark.requirement("D38")
def test_the_first_mail_waits_for_a_moment_and_the_fetch_goes_on(world, tmp_path, monkeypatch):
    monkeypatch.setattr(_renewals, "WITHIN", 0.3)
    policies = MemoryPolicies()
    with lab(world, tmp_path) as here, zone() as dns:
        delivery = here.made(dns, policies=policies)
        result = send_and_wait(delivery, here.policy_host.gate.set, lambda: id_of(policies) == "1")
        assert result.outcomes[0].terms.level is Level.OPPORTUNISTIC
        assert delivery.send(CONTENT, BOB).outcomes[0].terms.level is Level.VERIFIED
        assert here.policy_host.asked == 1


@pytest.mark.requirement("D34")
def test_a_message_that_the_old_policy_stops_waits_for_the_new_one(world, tmp_path):
    """The owner has moved to another host, and the fetch is on its way already."""
    policies = cached(text=ENFORCE.replace("mx.example.net", "old.example.net"))
    with lab(world, tmp_path) as here, zone(id="2") as dns:
        opening = threading.Thread(target=here.policy_host.open_when_asked)
        opening.start()
        (outcome,) = here.made(dns, policies=policies).send(CONTENT, BOB).outcomes
        opening.join()
        assert outcome.terms.level is Level.VERIFIED
        assert here.policy_host.asked == 1
        assert id_of(policies) == "2"


def test_no_more_policies_are_fetched_at_once_than_may_be():
    """Of those that nobody waits for; the next message asks again."""
    gate, begun = threading.Event(), threading.Semaphore(0)
    fetched: list[str] = []

    def fetch(step: Renew) -> None:
        begun.release()
        assert gate.wait(30)
        fetched.append(step.domain)

    renewals = Renewals(fetch)
    for place in range(40):
        renewals.renew(Renew(f"d{place}.test", "1", False), NEVER)
    for _ in range(16):
        assert begun.acquire(timeout=30)
    waiting = threading.Thread(target=lambda: renewals.renew(Renew("first.test", "1", True), NEVER))
    waiting.start()
    assert begun.acquire(timeout=30)
    gate.set()
    waiting.join()
    assert "first.test" in fetched
    assert len(fetched) <= 17


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_the_end_of_a_delivery_ends_what_nobody_waits_for(run):
    """A domain whose mail waits has its policy all the same."""
    ended: list[str] = []

    async def go() -> None:
        world = current_world()
        gate = world.make_bell()

        def fetching(step: Renew) -> Any:
            async def fetch() -> None:
                try:
                    await gate.wait()
                finally:
                    ended.append(step.domain)

            return fetch

        renewals = TaskRenewals(fetching, world)
        await renewals.renew(Renew("unwaited.test", "1", waits=False), NEVER)
        waiting = world.spawn(lambda: renewals.renew(Renew("waited.test", "1", waits=True), NEVER))
        await world.pause(0.01)
        await renewals.close()
        assert ended == ["unwaited.test"]
        gate.ring()
        await waiting.ended()
        assert ended == ["unwaited.test", "waited.test"]

    run(go() if run is asyncio.run else go)


def test_what_keeps_policies_and_fails_fails_where_somebody_is_told():
    def fetch(step: Renew) -> None:
        raise OSError("the disk is full")

    renewals = Renewals(fetch)
    for _ in range(2):
        renewals.renew(Renew("a.test", "1", True), NEVER)
