"""Exim's own DANE cases, scripts 5800 to 5803 and 5840 to 5842 of its test suite, told anew.

Left out: 5800, which prints a record; 5841, which chooses ciphers; and what asks for DANE of one
domain by an option (`REQUIRE_DANE`), for which there is none here.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from smtpx import Envelope
from smtpx.delivery import DeliveryFailed, Failure, Level
from smtpx.testing import Misanswer, NameFault
from tests.certificates import serving
from tests.delivery.test_dane import Issued, Lab
from tests.delivery.test_many import to

CONTENT = b"Subject: hi\r\n\r\nTesting\r\n"

pytestmark = pytest.mark.timeout(60)


class Certificates:
    """What the host shows, and the data of records for it."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        leaf = self.authority.create_child_ca().issue_cert("dane256ta.ex.test")
        self.context = serving(leaf)
        first, anchor = (
            x509.load_pem_x509_certificate(one.bytes()) for one in leaf.cert_chain_pems[:2]
        )
        spki = first.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        whole = anchor.public_bytes(serialization.Encoding.DER)
        self.ee256 = f"3 1 1 {hashlib.sha256(spki).hexdigest()}"
        self.ee512 = f"3 1 2 {hashlib.sha512(spki).hexdigest()}"
        self.ta256 = f"2 0 1 {hashlib.sha256(whole).hexdigest()}"


@pytest.fixture(scope="module")
def shown() -> Certificates:
    return Certificates()


def send(lab: Lab, dns: Any, *domains: str) -> list[Any]:
    """What became of one message after the other, in one run."""
    delivery = lab._world(dns, port=lab.server.port)
    return list(delivery.send_many([to(one)[0] for one in domains], connections=1, window=1))


def levels(results: list[Any]) -> list[Level | None]:
    return [one.outcomes[0].terms and one.outcomes[0].terms.level for one in results]


DANE, OPPORTUNISTIC = Level.DANE, Level.OPPORTUNISTIC


@pytest.mark.parametrize(
    ("zone", "record"),
    [
        # The host is the domain itself; then one of MX records.
        (["dane.ex.test A 127.0.0.1", "_25._tcp.dane.ex.test TLSA {ee256}"], "3 1 1"),
        (
            [
                *("dane.ex.test MX 1 dane512ee.ex.test.", "dane512ee.ex.test A 127.0.0.1"),
                "_25._tcp.dane512ee.ex.test TLSA {ee512}",
            ],
            "3 1 2",
        ),
        (
            [
                *("dane.ex.test MX 1 dane256ta.ex.test.", "dane256ta.ex.test A 127.0.0.1"),
                "_25._tcp.dane256ta.ex.test TLSA {ta256}",
            ],
            "2 0 1",
        ),
    ],
)
def test_5840_general(world, shown: Certificates, zone: list[str], record: str):
    with Lab(world, shown.context) as lab:
        with lab.names(*(line.format(**vars(shown)) for line in zone)) as dns:
            (result,) = send(lab, dns, "dane.ex.test")
        assert result.complete
        (used,) = result.outcomes[0].terms.records
        assert str(used).startswith(record)


@pytest.mark.parametrize("is_verifying", [True, False])
def test_5840_no_records(world, is_verifying: bool):
    name = "thishost.ex.test" if is_verifying else "other.example"
    with Lab(world, serving(trustme.CA().issue_cert(name))) as lab:
        with lab.names("thishost.ex.test A 127.0.0.1") as dns:
            results = send(lab, dns, "thishost.ex.test")
        assert levels(results) == [OPPORTUNISTIC]
        assert lab.server.messages[0].tls


SELF_SIGNED = Issued("self.ex.test", names=("self.ex.test",), is_authority=True)


def self_signed() -> ssl.SSLContext:
    from tempfile import TemporaryDirectory

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = SELF_SIGNED.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with TemporaryDirectory() as folder:
        path = f"{folder}/both.pem"
        with open(path, "wb") as file:
            file.write(key + ssl.DER_cert_to_PEM_cert(SELF_SIGNED.der).encode())
        context.load_cert_chain(path)
    return context


@pytest.mark.parametrize(
    ("record", "is_taken"),
    [
        (f"3 1 1 {hashlib.sha256(SELF_SIGNED.spki).hexdigest()}", True),
        # Exim's own verifier takes these; OpenSSL's, and so Postfix's, does not, nor do we: a
        # trust anchor is another certificate than that which it vouches for.
        (f"2 0 1 {hashlib.sha256(SELF_SIGNED.der).hexdigest()}", False),
        (f"2 1 1 {hashlib.sha256(SELF_SIGNED.spki).hexdigest()}", False),
    ],
    ids=["3 1 1", "2 0 1", "2 1 1"],
)
def test_5842_self_signed(world, record: str, is_taken: bool):
    with Lab(world, self_signed()) as lab:
        zone = ("self.ex.test A 127.0.0.1", f"_25._tcp.self.ex.test TLSA {record}")
        with lab.names(*zone) as dns:
            (result,) = send(lab, dns, "self.ex.test")
        assert result.complete == is_taken
        if not is_taken:
            assert isinstance(result.error, DeliveryFailed)
            assert result.error.failure is Failure.TLS_POLICY


CONFLICT = [
    *("one.ex.test MX 1 dane.ex.test.", "two.ex.test MX 1 dane.ex.test."),
    *("none.ex.test MX 1 nondane.ex.test.", "dane.ex.test A 127.0.0.1"),
    *("nondane.ex.test A 127.0.0.1", "_25._tcp.dane.ex.test TLSA {ee512}"),
]


@pytest.mark.parametrize(
    ("domains", "expected", "sessions"),
    [
        (["one"], [DANE], 1),
        # Two domains of one host share a session.
        (["one", "two"], [DANE, DANE], 1),
        # What DANE vouches for is good enough for who asks for less, and not the other way round.
        (["one", "none"], [DANE, OPPORTUNISTIC], 1),
        (["none", "one"], [OPPORTUNISTIC, DANE], 2),
    ],
)
def test_5801_conflicting_domains(world, shown: Certificates, domains, expected, sessions: int):
    with Lab(world, shown.context) as lab:
        with lab.names(*(line.format(**vars(shown)) for line in CONFLICT)) as dns:
            results = send(lab, dns, *(f"{one}.ex.test" for one in domains))
        assert levels(results) == expected
        assert all(one.complete for one in results)
        assert len(lab.server.sessions) == sessions


def test_5801_two_recipients_of_one_message(world, shown: Certificates):
    with Lab(world, shown.context) as lab:
        with lab.names(*(line.format(**vars(shown)) for line in CONFLICT)) as dns:
            both = Envelope("ann@example.org", ["t00@one.ex.test", "t01@two.ex.test"])
            result = lab._world(dns, port=lab.server.port).send(CONTENT, both)
        assert [one.terms.level for one in result.outcomes] == [DANE, DANE]


CHAINS = [
    *("secure.ex.test MX 1 alias.ex.test.", "alias.ex.test CNAME dane.ex.test."),
    *("insecure.ex.test MX 1 loose.ex.test.", "loose.ex.test CNAME dane.ex.test."),
    *("plain.ex.test MX 1 nodane.ex.test.", "nodane.ex.test A 127.0.0.1"),
    *("dane.ex.test A 127.0.0.1", "_25._tcp.dane.ex.test TLSA {ee512}"),
    "two.ex.test MX 1 dane.ex.test.",
]


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        (["two", "plain"], [DANE, OPPORTUNISTIC]),
        (["secure"], [DANE]),
        (["insecure"], [OPPORTUNISTIC]),
        (["secure", "insecure"], [DANE, OPPORTUNISTIC]),
        (["insecure", "secure"], [OPPORTUNISTIC, DANE]),
    ],
)
def test_5802_names_and_chains(world, shown: Certificates, domains, expected):
    with Lab(world, shown.context) as lab:
        zone = (line.format(**vars(shown)) for line in CHAINS)
        with lab.names(*zone, insecure=("loose.ex.test",)) as dns:
            results = send(lab, dns, *(f"{one}.ex.test" for one in domains))
        assert levels(results) == expected
        # A secure alias is asked for by the name that it leads to.
        asked = [one.server_name for one in lab.server.sessions]
        assert ("dane.ex.test" in asked) == (DANE in expected)


def test_5803_records_that_cannot_be_looked_up(world, shown: Certificates):
    faults = [NameFault(Misanswer.SERVFAIL, type="TLSA")]
    with Lab(world, shown.context) as lab:
        with lab.names("fails.ex.test A 127.0.0.1", faults=faults) as dns:
            (result,) = send(lab, dns, "fails.ex.test")
        assert result.error.failure is Failure.TLS_POLICY
        assert result.error.transient
        assert not lab.server.sessions
