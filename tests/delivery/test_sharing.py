"""A session goes on with another domain's mail if what the server has shown meets its terms too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import smtpx
from smtpx import Envelope
from smtpx.delivery import DeliveryFailed, DeliveryLimits, Level, Terms
from smtpx.delivery._belief import meets
from smtpx.delivery._places import Kept
from smtpx.delivery.dane import TLSA
from smtpx.testing import NameServer, Refuse, Server, ServerTLS
from smtpx.tls import Protection
from tests.certificates import serving
from tests.delivery.test_many import to
from tests.network import one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
WRONG = "ab" * 32

pytestmark = pytest.mark.timeout(60)


def mail(domain: str) -> tuple[bytes, Envelope]:
    return to(domain)[0]


@pytest.fixture(scope="module")
def issued() -> tuple[Any, str]:
    """A server's context, and the digest of its key."""
    leaf = trustme.CA().issue_cert("mx.test", "*.star.test")
    certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return serving(leaf), hashlib.sha256(spki).hexdigest()


def in_one_run(delivery: Any, *domains: str) -> list[Any]:
    """What became of one message after the other, in one run of a loop."""
    return list(delivery.send_many([mail(one) for one in domains], connections=1, window=1))


ZONE = """
a.test MX 1 mx.test.
b.test MX 1 mx.test.
mx.test A 127.0.0.1
"""


def test_two_domains_of_one_host_share_a_session(world):
    with Server() as server, NameServer(ZONE) as dns:
        results = in_one_run(world(dns, port=server.port), "a.test", "b.test", "a.test")
        assert all(one.complete for one in results)
        (session,) = server.sessions
        assert len([one for one in session.commands if one.startswith("MAIL")]) == 3
        assert len(server.messages) == 3


def test_a_session_carries_no_more_messages_than_it_may(world):
    with Server() as server, NameServer(ZONE) as dns:
        delivery = world(dns, port=server.port, limits=DeliveryLimits(messages=2))
        assert all(one.complete for one in in_one_run(delivery, *["a.test"] * 5))
        assert len(server.sessions) == 3
        # They hear that it is over.
        delivery.__exit__(None, None, None)
        assert all(session.quit for session in server.wait_until_idle()[:2])


def test_a_session_that_has_ended_meanwhile_costs_nobody_a_message(world):
    with one_port("127.0.0.1") as port, NameServer(ZONE) as dns:
        servers: list[Server] = []

        def messages() -> Iterator[Any]:
            """Mail for a host that begins anew before each message."""
            for domain in ["a.test", "b.test"] * 2:
                for server in servers[-1:]:
                    server.close()
                servers.append(Server(port=port))
                servers[-1].start()
                yield mail(domain)

        delivery = world(dns, port=port)
        results = list(delivery.send_many(messages(), connections=1, window=1))
        servers[-1].close()
        assert [one.complete for one in results] == [True] * 4
        assert [len(one.outcomes[0].attempts) for one in results] == [1] * 4
        assert [len(one.messages) for one in servers] == [1] * 4


def test_a_host_that_says_goodbye_between_messages_gets_another_session(world):
    with Server(faults=[Refuse("MAIL", "421 4.4.2 idle", nth=2)]) as server:
        with NameServer(ZONE) as dns:
            results = in_one_run(world(dns, port=server.port), *["a.test", "b.test"] * 2)
        assert [one.complete for one in results] == [True] * 4
        assert [len(one.outcomes[0].attempts) for one in results] == [1] * 4
        assert len(server.sessions) == 4


@pytest.mark.parametrize("matches", [True, False])
def test_the_chain_that_was_kept_is_verified_anew(world, issued, matches: bool):
    """Both have a host at one address, by another name and with TLSA records of their own."""
    context, key = issued
    with Server(tls=ServerTLS.STARTTLS, server_context=context) as server:
        port = server.port
        zone = f"""
        a.test MX 1 mx.test.
        b.test MX 1 other.test.
        mx.test A 127.0.0.1
        other.test A 127.0.0.1
        _{port}._tcp.mx.test TLSA 3 1 1 {key}
        _{port}._tcp.other.test TLSA 3 1 1 {key if matches else WRONG}
        """
        with NameServer(zone) as dns:
            first, second = in_one_run(world(dns, port=port), "a.test", "b.test")
        assert first.complete
        if matches:
            assert second.complete
            assert second.outcomes[0].terms.base == "other.test"
            assert len(server.sessions) == 1
        else:
            # Not over the one that is there; and what a new one shows does not match either.
            assert isinstance(second.error, DeliveryFailed)
            assert len(server.sessions) == 2
            assert len(server.messages) == 1


def test_what_was_opened_under_weaker_terms_is_not_enough(world, issued):
    """Plain text, or TLS that anybody could have been at the other end of."""
    context, key = issued
    with Server(tls=ServerTLS.STARTTLS, server_context=context) as server:
        port = server.port
        zone = f"""
        a.test MX 1 plain.test.
        b.test MX 1 mx.test.
        plain.test A 127.0.0.1
        mx.test A 127.0.0.1
        _{port}._tcp.mx.test TLSA 3 1 1 {key}
        """
        with NameServer(zone) as dns:
            delivery = world(dns, port=port)
            results = in_one_run(delivery, "a.test", "b.test", "a.test", "b.test")
        assert [one.outcomes[0].terms.level for one in results] == [
            *(Level.OPPORTUNISTIC, Level.DANE) * 2
        ]
        # The other way round there is nothing against it.
        assert len(server.sessions) == 2


NOW = datetime.now(UTC)


def kept(terms: Terms, **shown: Any) -> Kept[None]:
    protection = Protection("TLSv1.3", "x", **shown) if shown.pop("tls", True) else None
    return Kept(None, "mx.test", "192.0.2.1", terms, protection)


def dane(*certificates: bytes, usage: int = 3) -> Terms:
    records = tuple(TLSA(usage, 0, 1, hashlib.sha256(one).digest()) for one in certificates)
    return Terms(Level.DANE, records, "mx.test", ("mx.test",))


VERIFIED: dict[str, Any] = {
    "is_verified": True,
    "names": ("mx.test", "*.star.test"),
    "expires": NOW + timedelta(days=1),
}


@pytest.mark.parametrize(
    ("session", "host", "terms", "is_met"),
    [
        (kept(Terms.OPPORTUNISTIC, tls=False), "b.test", Terms.OPPORTUNISTIC, True),
        (kept(Terms.OPPORTUNISTIC), "b.test", Terms.NONE, True),
        (kept(Terms.NONE, tls=False), "b.test", Terms.OPPORTUNISTIC, False),
        (kept(Terms.OPPORTUNISTIC), "b.test", Terms.ENCRYPTED, False),
        (kept(Terms.ENCRYPTED), "b.test", Terms.ENCRYPTED, True),
        (kept(dane(b"x"), certificate=b"x"), "b.test", Terms.ENCRYPTED, True),
        (kept(Terms.ENCRYPTED), "mx.test", Terms.VERIFIED, False),
        (kept(Terms.VERIFIED, **VERIFIED), "mx.test", Terms.VERIFIED, True),
        (kept(Terms.VERIFIED, **VERIFIED), "MX.test", Terms.VERIFIED, True),
        (kept(Terms.VERIFIED, **VERIFIED), "a.star.test", Terms.VERIFIED, True),
        (kept(Terms.VERIFIED, **VERIFIED), "a.b.star.test", Terms.VERIFIED, False),
        (kept(Terms.VERIFIED, **VERIFIED), "other.test", Terms.VERIFIED, False),
        (kept(Terms.VERIFIED, **VERIFIED | {"is_verified": 0}), "mx.test", Terms.VERIFIED, False),
        (kept(Terms.VERIFIED, **VERIFIED | {"is_resumed": 1}), "mx.test", Terms.VERIFIED, False),
        (kept(Terms.VERIFIED, **VERIFIED | {"expires": NOW}), "mx.test", Terms.VERIFIED, False),
        # DANE proves who it is, but by no authority that everybody trusts.
        (kept(dane(b"x"), certificate=b"x", names=("mx.test",)), "mx.test", Terms.VERIFIED, False),
        (kept(dane(b"x"), certificate=b"x", chain=(b"x",)), "b.test", dane(b"x"), True),
        (kept(dane(b"x"), certificate=b"x", chain=(b"x",)), "b.test", dane(b"y"), False),
        (kept(dane(b"x"), certificate=b"x", chain=(b"x",)), "b.test", dane(b"y", b"x"), True),
        (kept(Terms.VERIFIED, **VERIFIED, certificate=b"x"), "mx.test", dane(b"x"), False),
        (kept(dane(b"x"), certificate=b"x", is_resumed=True), "b.test", dane(b"x"), False),
    ],
)  # fmt: skip
@pytest.mark.requirement("D46")
def test_what_a_session_may_carry(session: Kept[None], host: str, terms: Terms, is_met: bool):
    assert meets(session, host, terms) == is_met


@pytest.mark.requirement("D45")
def test_a_policy_of_one_domain_does_not_weaken_the_other(world, issued):
    """A session of a domain that asks for nothing is not used for one that asks for much."""
    with Server() as server, NameServer(ZONE) as dns:
        delivery = world(dns, port=server.port)
        results = in_one_run(delivery, "a.test")
        assert results[0].complete
        strict = world(dns, port=server.port, minimum=Terms.ENCRYPTED)
        (result,) = in_one_run(strict, "b.test")
        assert isinstance(result.error, smtpx.delivery.DeliveryFailed)
        assert len(server.messages) == 1
