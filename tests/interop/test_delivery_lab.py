"""Delivery over real DNSSEC to a real Postfix: nsd, ldns, unbound and named as Debian has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from smtpx import Envelope
from smtpx.delivery import AsyncDelivery, Delivery, DeliveryFailed, DeliveryOutcome, Failure
from tests.interop.delivery_lab import CASES, WALKS, Case, DeliveryLab, delivery_lab, missing
from tests.interop.postfix import added
from tests.interop.sender import Sender, Sent

pytestmark = [
    pytest.mark.interop,
    pytest.mark.xdist_group("delivery-lab"),
    pytest.mark.timeout(120),
]
CONTENT = b"From: ann@example.org\r\nSubject: lab\r\n\r\nhi\r\n"
LARGE = CONTENT + b"hello\r\n" * 1000
UTF_8 = CONTENT.replace(b"Subject: lab", "Subject: l\u00e4b".encode())
CONTENTS = {"small.signed.lab": LARGE, "ascii.signed.lab": UTF_8, "refused.signed.lab": CONTENT}


@pytest.fixture(scope="module")
def lab() -> Iterator[DeliveryLab]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with delivery_lab() as running:
        yield running


def in_thread(
    lab: DeliveryLab, envelope: Envelope, content: bytes = CONTENT, **options: Any
) -> Any:
    with lab.delivery(Delivery, **options) as delivery:
        return delivery.send(content, envelope)


async def in_task(
    lab: DeliveryLab, envelope: Envelope, content: bytes = CONTENT, **options: Any
) -> Any:
    async with lab.delivery(AsyncDelivery, **options) as delivery:
        return await delivery.send(content, envelope)


WORLDS: dict[str, Callable[..., Any]] = {
    "thread": in_thread,
    "asyncio": lambda *args, **options: asyncio.run(in_task(*args, **options)),
    "trio": lambda *args, **options: trio.run(lambda: in_task(*args, **options)),
}


def outcome_of(send: Callable[[], Any]) -> DeliveryOutcome:
    try:
        result = send()
    except DeliveryFailed as error:
        result = error.result
    (outcome,) = result.outcomes
    assert isinstance(outcome, DeliveryOutcome)
    return outcome


def told(outcome: DeliveryOutcome) -> str:
    return outcome.failure.name if outcome.failure else str(outcome.terms)


@pytest.mark.parametrize("resolver", ["unbound", "named"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.domain)
def test_what_becomes_of_mail(lab: DeliveryLab, case: Case, resolver: str):
    recipient = f"{resolver}@{case.domain}"
    envelope = Envelope("ann@example.org", recipient)
    outcome = outcome_of(lambda: in_thread(lab, envelope, second=resolver == "named"))
    assert (told(outcome), outcome.host or "") == (case.terms, case.host)
    if not outcome.failure:
        (message,) = lab.postfix.messages(recipient)
        assert b" with ESMTPS " in added(message)


@pytest.fixture(scope="module")
def by_postfix(lab: DeliveryLab) -> Iterator[dict[str, Sent]]:
    """What Postfix's smtp(8) makes of a message to each domain."""
    reason = Sender.missing()
    if reason is not None:
        pytest.skip(reason)
    resolv_conf = lab.names.directory / "resolv.conf"
    _ = resolv_conf.write_text(lab.names.resolv_conf())
    with Sender(lab.postfix.port, resolv_conf) as sender:
        sent = sender.send([f"smtp8@{case.domain}" for case in CASES], CONTENT)
        for domain, content in CONTENTS.items():
            sent |= sender.send([f"smtp8@{domain}"], content)
        yield {recipient.partition("@")[2]: one for recipient, one in sent.items()}


# What Postfix calls what our terms ask for; "Trusted" is DANE behind insecure MX records.
CALLED = {"DANE": "Verified", "ENCRYPTED": "Untrusted", "OPPORTUNISTIC": "Untrusted"}
# RFC 7505 §4.2 has a code for a null MX, and RFC 3463 §3.2 one for a domain that there is not.
OTHER_CODES = {"NULL_MX": "5.1.0", "NO_SUCH_DOMAIN": "5.4.4"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.domain)
def test_smtp8_comes_to_the_same(case: Case, by_postfix: dict[str, Sent]):
    sent = by_postfix[case.domain]
    if case.terms in Failure.__members__:
        failure = Failure[case.terms]
        assert sent.status == ("deferred" if failure.transient else "bounced")
        assert sent.enhanced == OTHER_CODES.get(case.terms, str(failure.enhanced))
    else:
        called = "Trusted" if "insecure" in case.terms else CALLED[case.terms.split()[0]]
        assert (sent.status, sent.host, sent.tls) == ("sent", case.host, called)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("domain", ["dane.signed.lab", "wrong.signed.lab"])
def test_every_world_comes_to_the_same(lab: DeliveryLab, world: str, domain: str):
    envelope = Envelope("ann@example.org", f"{world}@{domain}")
    outcome = outcome_of(lambda: WORLDS[world](lab, envelope))
    if domain == "dane.signed.lab":
        assert str(outcome.terms) == "DANE by mx.signed.lab"
        assert len(lab.postfix.messages(f"{world}@{domain}")) == 1
    else:
        assert outcome.failure is Failure.TLS_POLICY


def test_a_resolver_that_is_not_believed_proves_nothing(lab: DeliveryLab):
    envelope = Envelope("ann@example.org", "unbelieved@dane.signed.lab")
    with lab.delivery(Delivery) as delivery:
        delivery._settings.resolver.validating = False
        outcome = outcome_of(lambda: delivery.send(CONTENT, envelope))
    assert str(outcome.terms) == "OPPORTUNISTIC"


@pytest.mark.parametrize(
    ("mx", "authorities", "expected"),
    [
        ("mail.example.test", "both_ca", "VERIFIED"),
        ("mail.example.test", "policy_ca", "TLS_POLICY"),
        ("other.example.test", "both_ca", "TLS_POLICY"),
    ],
)
@pytest.mark.parametrize("world", WORLDS)
def test_mta_sts_over_real_tls(
    lab: DeliveryLab, world: str, mx: str, authorities: str, expected: str
):
    lab.policies.says(f"version: STSv1\nmode: enforce\nmx: {mx}\nmax_age: 86400\n")
    recipient = f"{world}-{mx.partition('.')[0]}-{authorities}@sts.signed.lab"
    envelope = Envelope("ann@example.org", recipient)
    ca_file = getattr(lab, authorities)
    outcome = outcome_of(lambda: WORLDS[world](lab, envelope, ca_file=ca_file))
    assert told(outcome) == expected
    if expected == "VERIFIED":
        assert len(lab.postfix.messages(recipient)) == 1


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", WALKS, ids=lambda case: case.domain)
def test_what_the_best_host_does_not_take(lab: DeliveryLab, case: Case, world: str):
    envelope = Envelope("ann@example.org", f"{world}@{case.domain}")
    outcome = outcome_of(lambda: WORLDS[world](lab, envelope, CONTENTS[case.domain]))
    assert (told(outcome), outcome.host or "") == (case.terms, case.host)


# It bounces what the best host says to be too large, and sends UTF-8 to a host that offers none.
BY_POSTFIX = {
    "small.signed.lab": ("bounced", "5.3.4", "small-mx.signed.lab"),
    "ascii.signed.lab": ("sent", "2.0.0", "small-mx.signed.lab"),
    "refused.signed.lab": ("deferred", "4.3.2", "refusing-mx.signed.lab"),
}


@pytest.mark.parametrize("domain", BY_POSTFIX)
def test_what_smtp8_makes_of_a_best_host_that_does_not_take_it(
    domain: str, by_postfix: dict[str, Sent]
):
    assert by_postfix[domain][:3] == BY_POSTFIX[domain]
