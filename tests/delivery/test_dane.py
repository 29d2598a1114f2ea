"""TLSA records against certificates (RFC 7671, 7672), and hosts that have such records."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from smtpx import Envelope, TLSFailure, TLSPolicyError
from smtpx.delivery import DeliveryFailed, Failure, Level, NameServers
from smtpx.delivery.dane import TLSA, mismatch, usable
from smtpx.testing import (
    USUAL_EXTENSIONS,
    Extension,
    Misanswer,
    NameFault,
    NameServer,
    Server,
    ServerTLS,
)
from tests.certificates import rsa_key, serving
from tests.network import one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MX = "mx.example.net"

pytestmark = pytest.mark.timeout(60)


class Issued:
    """A certificate and its key."""

    def __init__(
        self,
        name: str,
        *,
        by: Issued | None = None,
        is_authority: bool = False,
        names: tuple[str, ...] = (),
        begins: datetime = NOW - DAY,
        ends: datetime = NOW + DAY,
        key: Any = None,
        constraints: x509.NameConstraints | None = None,
        path_length: int | None = None,
        padding: Any = None,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = by or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )
        if is_authority:
            basic = x509.BasicConstraints(ca=True, path_length=path_length)
            builder = builder.add_extension(basic, critical=True)
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
            builder = builder.add_extension(alternatives, critical=False)
        if constraints is not None:
            builder = builder.add_extension(constraints, critical=True)
        algorithm = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        certificate = builder.sign(issuer.key, algorithm)
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.spki = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def record(usage: int, selector: int, matching: int, issued: Issued) -> TLSA:
    data = issued.spki if selector else issued.der
    digest: dict[int, Callable[[bytes], bytes]] = {
        0: bytes,
        1: lambda octets: hashlib.sha256(octets).digest(),
        2: lambda octets: hashlib.sha512(octets).digest(),
    }
    return TLSA(usage, selector, matching, digest[matching](data))


ROOT = Issued("root", is_authority=True)
BETWEEN = Issued("between", by=ROOT, is_authority=True)
LEAF = Issued("leaf", by=BETWEEN, names=(MX,))
CHAIN = [LEAF.der, BETWEEN.der, ROOT.der]
EXPIRED = Issued("x", by=BETWEEN, names=(MX,), begins=NOW - 3 * DAY, ends=NOW - DAY)
STAR = Issued("x", by=BETWEEN, names=("*.example.net",))
COMMON = Issued(MX, by=BETWEEN)
OTHER = Issued("x", by=BETWEEN, names=("other.example",))
ALONE = Issued("x", names=("other.example",), ends=NOW - DAY / 2)
FORGED = Issued("x", names=(MX,))
ED = Issued("x", key=ed25519.Ed25519PrivateKey.generate())
RSA = Issued("x", key=rsa_key())
SHORT = Issued("short", is_authority=True, path_length=0)
LONG = Issued("long", by=SHORT, is_authority=True)
TOO_DEEP = Issued("x", by=LONG, names=(MX,))
NARROW = Issued(
    "narrow",
    is_authority=True,
    constraints=x509.NameConstraints([x509.DNSName("example.com")], None),
)
OUTSIDE = Issued("x", by=NARROW, names=(MX,))
LATE = Issued("late", is_authority=True, ends=NOW - DAY / 2)
BY_LATE = Issued("x", by=LATE, names=(MX,))
NEAR = Issued("x", by=NARROW, names=("mx.example.com",))
PLAIN = Issued("plain")
BY_PLAIN = Issued("x", by=PLAIN, names=(MX,))
# The same key and name, vouched for by another root: each path leads to an anchor of its own.
OTHER_ROOT = Issued("other root", is_authority=True)
CROSS = Issued("between", by=OTHER_ROOT, is_authority=True, key=BETWEEN.key)
STAR_DEEP = Issued("x", by=BETWEEN, names=("*.net",))
STAR_PART = Issued("x", by=BETWEEN, names=("m*.example.net",))
SHOUTED = Issued("x", by=BETWEEN, names=("MX.EXAMPLE.NET",))
BOTH = Issued(MX, by=BETWEEN, names=("other.example",))
NOT_YET = Issued("x", by=BETWEEN, names=(MX,), begins=NOW + DAY / 2)
STRANGER = Issued("stranger", is_authority=True)
JUNK = hashlib.sha256(b"junk").digest()
MATCHES = [
    *(
        pytest.param(
            [record(3, selector, matching, LEAF)], CHAIN, True, id=f"3 {selector} {matching}"
        )
        for selector in (0, 1)
        for matching in (0, 1, 2)
    ),
    *(
        pytest.param(
            [record(2, selector, matching, anchor)],
            CHAIN,
            True,
            id=f"2 {selector} {matching} {name}",
        )
        for selector in (0, 1)
        for matching in (0, 1, 2)
        for name, anchor in (("root", ROOT), ("between", BETWEEN))
    ),
    pytest.param([record(2, 0, 0, ROOT)], CHAIN[:2], True, id="2 0 0, root not sent"),
    pytest.param([record(2, 0, 1, ROOT)], CHAIN[:2], False, id="2 0 1, root not sent"),
    pytest.param([record(2, 1, 0, ROOT)], CHAIN[:2], False, id="2 1 0, root not sent"),
    pytest.param([record(2, 0, 1, LEAF)], CHAIN, False, id="the leaf as its own anchor"),
    pytest.param([record(2, 0, 0, FORGED)], [FORGED.der], False, id="a full leaf as anchor"),
    pytest.param([record(3, 1, 1, BETWEEN)], CHAIN, False, id="an authority as leaf"),
    pytest.param([record(3, 1, 1, ALONE)], [ALONE.der], True, id="expired, foreign, self-signed"),
    pytest.param([record(3, 1, 1, FORGED)], CHAIN, False, id="another key"),
    pytest.param(
        [record(3, 1, 1, FORGED), record(3, 1, 1, LEAF)], CHAIN, True, id="roll-over of the leaf"
    ),
    pytest.param(
        [record(3, 1, 1, FORGED), record(2, 1, 1, ROOT)], CHAIN, True, id="the anchor suffices"
    ),
    pytest.param(
        [record(2, 1, 1, ROOT)], [EXPIRED.der, *CHAIN[1:]], False, id="expired under an anchor"
    ),
    pytest.param([record(2, 1, 1, ROOT)], [STAR.der, *CHAIN[1:]], True, id="one label by *"),
    pytest.param([record(2, 1, 1, ROOT)], [COMMON.der, *CHAIN[1:]], True, id="a common name"),
    pytest.param([record(2, 1, 1, ROOT)], [OTHER.der, *CHAIN[1:]], False, id="another's name"),
    pytest.param(
        [record(2, 1, 1, ROOT)], [FORGED.der, *CHAIN[1:]], False, id="forged leaf, true root (D27)"
    ),
    pytest.param([record(2, 1, 1, SHORT)], [TOO_DEEP.der, LONG.der, SHORT.der], False, id="depth"),
    pytest.param([record(2, 1, 1, NARROW)], [OUTSIDE.der, NARROW.der], False, id="constraints"),
    pytest.param([record(2, 1, 1, NARROW)], [NEAR.der, NARROW.der], False, id="not of ours"),
    pytest.param([record(2, 1, 1, LATE)], [BY_LATE.der, LATE.der], False, id="expired anchor"),
    pytest.param([record(2, 1, 1, PLAIN)], [BY_PLAIN.der, PLAIN.der], False, id="no authority"),
    pytest.param([record(2, 1, 1, ROOT)], [NOT_YET.der, *CHAIN[1:]], False, id="not valid yet"),
    pytest.param([record(2, 1, 1, ROOT)], [STAR_DEEP.der, *CHAIN[1:]], False, id="two labels by *"),
    pytest.param([record(2, 1, 1, ROOT)], [STAR_PART.der, *CHAIN[1:]], False, id="a part by *"),
    pytest.param([record(2, 1, 1, ROOT)], [SHOUTED.der, *CHAIN[1:]], True, id="in capitals"),
    pytest.param(
        [record(2, 1, 1, ROOT)], [BOTH.der, *CHAIN[1:]], False, id="a common name beside others"
    ),
    pytest.param(
        [record(2, 1, 1, OTHER_ROOT)],
        [LEAF.der, BETWEEN.der, CROSS.der, OTHER_ROOT.der],
        True,
        id="cross-signed",
    ),
    pytest.param(
        [record(2, 1, 1, ROOT)], [LEAF.der, ROOT.der, BETWEEN.der], True, id="out of order"
    ),
    pytest.param(
        [record(2, 1, 1, ROOT)],
        [LEAF.der, *[STRANGER.der] * 12, BETWEEN.der, ROOT.der],
        False,
        id="over-long",
    ),
    pytest.param(
        [record(3, 1, 1, LEAF)], [LEAF.der, *[STRANGER.der] * 12], True, id="over-long, and its own"
    ),
    pytest.param([record(3, 1, 1, ED)], [ED.der], True, id="Ed25519"),
    pytest.param([record(3, 1, 2, RSA)], [RSA.der], True, id="RSA"),
    pytest.param([TLSA(3, 0, 1, JUNK)], [b"junk"], True, id="3 0 1 junk"),
    pytest.param([TLSA(3, 1, 1, JUNK)], [b"junk"], False, id="3 1 1 junk"),
    pytest.param([record(2, 1, 1, ROOT)], [b"junk", *CHAIN[1:]], False, id="junk under an anchor"),
    pytest.param([record(3, 1, 1, LEAF)], [], False, id="no certificate"),
]


@pytest.mark.requirement("D25")
@pytest.mark.requirement("D26")
@pytest.mark.requirement("D27")
@pytest.mark.requirement("D63")
@pytest.mark.parametrize(("records", "chain", "is_match"), MATCHES)
def test_a_record_matches_what_the_rfcs_say(records, chain, is_match: bool):
    assert usable(records) == tuple(records)
    reason = mismatch(records, chain, [MX, "example.net"], NOW)
    assert (reason is None) == is_match, reason


def test_the_names_that_count_are_those_that_are_given():
    records = [record(2, 1, 1, ROOT)]
    assert mismatch(records, CHAIN, ["example.net"], NOW) is not None
    assert mismatch(records, [STAR.der, *CHAIN[1:]], ["a.mx.example.net"], NOW) is not None
    assert mismatch(records, [STAR.der, *CHAIN[1:]], ["example.net"], NOW) is not None


@pytest.mark.parametrize("name", ["x\r\n250 ok", "x" * 30_000])
def test_whatever_name_a_certificate_has_is_told_in_a_line(name: str):
    """It comes into logs, and into what is told of each recipient."""
    odd = Issued("leaf", by=BETWEEN, names=(name,))
    said = mismatch([record(2, 1, 1, BETWEEN)], [odd.der, BETWEEN.der], [MX], NOW)
    assert said is not None
    assert said.isprintable()
    assert len(said) < 200


def test_the_chain_holds_when_it_is_looked_at():
    records = [record(2, 1, 1, ROOT)]
    assert mismatch(records, CHAIN, [MX], NOW + 2 * DAY) is not None


@pytest.mark.requirement("D28")
@pytest.mark.parametrize(
    "text",
    [
        *("0 0 1 " + "ab" * 32, "1 1 1 " + "ab" * 32, "4 1 1 " + "ab" * 32),
        *("3 2 1 " + "ab" * 32, "3 1 3 " + "ab" * 32, "3 1 1 " + "ab" * 31, "3 1 2 " + "ab" * 32),
        *("3 0 0 3003020101", "3 1 0 30", "3 1 1 "),
    ],
)
def test_what_smtp_has_no_use_for_is_not_usable(text: str):
    assert usable([TLSA.parse(text)]) == ()


@pytest.mark.requirement("D62")
def test_a_weaker_digest_counts_only_where_there_is_no_stronger_one():
    strong, weak = record(3, 1, 2, LEAF), record(3, 1, 1, FORGED)
    elsewhere, full = record(3, 0, 1, FORGED), record(3, 1, 0, FORGED)
    assert usable([weak, strong, elsewhere, full]) == (strong, elsewhere, full)
    assert usable([weak, elsewhere]) == (weak, elsewhere)


@pytest.mark.parametrize("text", ["", "3 1 1 xy", "3 1", "x 1 1 ab", "300 1 1 ab", "3 1 1 a"])
def test_what_is_no_record_is_refused(text: str):
    with pytest.raises(ValueError, match="TLSA"):
        TLSA.parse(text)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str, str]:
    """A server's context, and the digests of its key and of its authority's certificate."""
    authority = trustme.CA()
    leaf = authority.create_child_ca().issue_cert("other.example")
    first = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    second = x509.load_pem_x509_certificate(leaf.cert_chain_pems[1].bytes())
    spki = first.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    anchor = second.public_bytes(serialization.Encoding.DER)
    return serving(leaf), hashlib.sha256(spki).hexdigest(), hashlib.sha256(anchor).hexdigest()


WRONG = "ab" * 32


class Lab:
    """A host with TLSA records, and the name server that says so."""

    def __init__(self, world: Any, context: ssl.SSLContext | None, port: int = 0) -> None:
        self._world = world
        tls = ServerTLS.NONE if context is None else ServerTLS.STARTTLS
        self.server = Server(port=port, tls=tls, server_context=context)

    def __enter__(self) -> Lab:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def names(self, *lines: str, **options: Any) -> NameServer:
        port = self.server.port
        zone = [line.replace("_25.", f"_{port}.") for line in lines]
        insecure = tuple(name.replace("_25.", f"_{port}.") for name in options.pop("insecure", ()))
        return NameServer("\n".join(zone), insecure=insecure, **options)

    def deliver(self, dns: NameServer, envelope: Envelope = BOB, **options: Any) -> Any:
        return self._world(dns, port=self.server.port, **options).send(CONTENT, envelope)


HOST = ("example.net MX 1 mx.example.net.", "mx.example.net A 127.0.0.1")
TLSA_AT = "_25._tcp.mx.example.net"


@pytest.mark.parametrize("usage", [3, 2])
def test_a_host_whose_certificate_matches_gets_the_mail(world, issued, usage: int):
    context, key, anchor = issued
    data = f"3 1 1 {key}" if usage == 3 else f"2 0 1 {anchor}"
    with Lab(world, context) as lab, lab.names(*HOST, f"{TLSA_AT} TLSA {data}") as dns:
        if usage == 3:
            (outcome,) = lab.deliver(dns).outcomes
            assert (outcome.terms.level, outcome.terms.base) == (Level.DANE, MX)
            assert not outcome.terms.mx_insecure
            assert lab.server.sessions[0].server_name == MX
        else:
            # The chain holds; the certificate has the name of another.
            with pytest.raises(DeliveryFailed, match=r"other\.example"):
                lab.deliver(dns)


def test_a_host_whose_certificate_matches_nothing_hears_no_mail(world, issued):
    context, _, _ = issued
    with Lab(world, context) as lab:
        zone = (*HOST, f"{TLSA_AT} TLSA 3 1 1 {WRONG}")
        with lab.names(*zone) as dns, pytest.raises(DeliveryFailed) as caught:
            lab.deliver(dns)
        assert caught.value.failure is Failure.TLS_POLICY
        assert caught.value.result is not None
        (outcome,) = caught.value.result.outcomes
        assert outcome.retryable
        error = outcome.attempts[0].error  # type: ignore[attr-defined] # a DeliveryOutcome
        assert isinstance(error, TLSPolicyError)
        assert error.reason is TLSFailure.DANE_MISMATCH
        (session,) = lab.server.wait_until_idle()
        assert not [each for each in session.commands if each.startswith("MAIL")]


def test_a_host_with_records_that_offers_no_tls_hears_no_mail(world):
    with Lab(world, None) as lab, lab.names(*HOST, f"{TLSA_AT} TLSA 3 1 1 {WRONG}") as dns:
        with pytest.raises(DeliveryFailed) as caught:
            lab.deliver(dns)
        assert caught.value.failure is Failure.TLS_POLICY
        assert not lab.server.messages


@pytest.mark.requirement("D28")
@pytest.mark.parametrize("offers", [True, False])
def test_records_of_which_none_is_usable_ask_for_encryption_alone(world, issued, offers: bool):
    zone = (*HOST, f"{TLSA_AT} TLSA 1 1 1 {WRONG}")
    with Lab(world, issued[0] if offers else None) as lab, lab.names(*zone) as dns:
        if offers:
            assert lab.deliver(dns).outcomes[0].terms.level is Level.ENCRYPTED
        else:
            with pytest.raises(DeliveryFailed):
                lab.deliver(dns)


@pytest.mark.requirement("D21")
@pytest.mark.parametrize("fault", [Misanswer.SERVFAIL, Misanswer.REFUSED, Misanswer.NOTIMP])
def test_records_that_cannot_be_looked_up_are_not_taken_for_none(world, issued, fault: Misanswer):
    faults = [NameFault(fault, type="TLSA")]
    with Lab(world, issued[0]) as lab, lab.names(*HOST, faults=faults) as dns:
        with pytest.raises(DeliveryFailed, match="TLSA") as caught:
            lab.deliver(dns)
        assert caught.value.failure is Failure.TLS_POLICY
        assert not lab.server.sessions


@pytest.mark.requirement("D20")
@pytest.mark.requirement("D22")
def test_records_of_a_host_with_insecure_addresses_are_not_asked_for(world, issued):
    with Lab(world, issued[0]) as lab:
        zone = (*HOST, f"{TLSA_AT} TLSA 3 1 1 {WRONG}")
        with lab.names(*zone, insecure=[MX]) as dns:
            assert lab.deliver(dns).outcomes[0].terms.level is Level.OPPORTUNISTIC
            assert "TLSA" not in {kind for _, kind in dns.packets}


def test_records_that_nobody_vouches_for_are_none(world, issued):
    with Lab(world, issued[0]) as lab:
        zone = (*HOST, f"{TLSA_AT} TLSA 3 1 1 {WRONG}")
        with lab.names(*zone, insecure=[TLSA_AT]) as dns:
            assert lab.deliver(dns).outcomes[0].terms.level is Level.OPPORTUNISTIC


@pytest.mark.requirement("D55")
def test_a_resolver_that_does_not_validate_knows_of_no_records(world, issued):
    with Lab(world, issued[0]) as lab, lab.names(*HOST, f"{TLSA_AT} TLSA 3 1 1 {WRONG}") as dns:
        servers = NameServers("127.0.0.1", port=dns.port)
        result = world(servers, port=lab.server.port).send(CONTENT, BOB)
        assert result.outcomes[0].terms.level is Level.OPPORTUNISTIC


@pytest.mark.requirement("D29")
def test_records_behind_insecure_mx_records_are_obeyed_and_marked(world, issued):
    context, key, _ = issued
    for data, is_match in ((key, True), (WRONG, False)):
        with Lab(world, context) as lab:
            zone = (*HOST, f"{TLSA_AT} TLSA 3 1 1 {data}")
            with lab.names(*zone, insecure=["example.net"]) as dns:
                if is_match:
                    terms = lab.deliver(dns).outcomes[0].terms
                    assert (terms.level, terms.mx_insecure) == (Level.DANE, True)
                    assert terms.names == (MX,)
                else:
                    with pytest.raises(DeliveryFailed):
                        lab.deliver(dns)


ALIAS = (
    "example.net MX 1 mx.example.net.",
    "mx.example.net CNAME real.example.com.",
    "real.example.com A 127.0.0.1",
)


@pytest.mark.requirement("D24")
@pytest.mark.parametrize(
    ("at", "insecure", "base"),
    [
        ("_25._tcp.real.example.com", (), "real.example.com"),
        (TLSA_AT, (), MX),
        (TLSA_AT, ("real.example.com",), MX),
        ("_25._tcp.real.example.com", ("real.example.com",), ""),
        (TLSA_AT, (MX,), ""),
    ],
)
def test_records_of_an_alias(world, issued, at: str, insecure: tuple[str, ...], base: str):
    context, key, _ = issued
    zone = (*ALIAS, f"{at} TLSA 3 1 1 {key}")
    with Lab(world, context) as lab, lab.names(*zone, insecure=insecure) as dns:
        terms = lab.deliver(dns).outcomes[0].terms
        assert terms.base == base
        if base:
            assert lab.server.sessions[0].server_name == base


def test_the_next_host_takes_it_where_the_first_does_not_match(world, issued):
    context, key, _ = issued
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Lab(world, context, port) as lab,
        Server(
            host="127.0.0.2",
            port=port,
            tls=ServerTLS.STARTTLS,
            server_context=context,
        ) as other,
        lab.names(
            *HOST,
            "example.net MX 2 b.example.net.",
            "b.example.net A 127.0.0.2",
            f"{TLSA_AT} TLSA 3 1 1 {WRONG}",
            f"_25._tcp.b.example.net TLSA 3 1 1 {key}",
        ) as dns,
    ):
        assert lab.deliver(dns).outcomes[0].host == "b.example.net"
        assert (len(lab.server.messages), len(other.messages)) == (0, 1)


def test_dane_can_be_turned_off(world, issued):
    with Lab(world, issued[0]) as lab, lab.names(*HOST, f"{TLSA_AT} TLSA 3 1 1 {WRONG}") as dns:
        assert lab.deliver(dns, dane=False).complete


def test_a_message_may_say_that_it_does_without(world, issued):
    """RFC 8689 §5."""
    with Lab(world, issued[0]) as lab, lab.names(*HOST, f"{TLSA_AT} TLSA 3 1 1 {WRONG}") as dns:
        delivery = world(dns, port=lab.server.port)
        assert delivery.send(b"TLS-Required: No\r\n" + CONTENT, BOB).complete
        with pytest.raises(DeliveryFailed):
            delivery.send(CONTENT + b"TLS-Required: No\r\n", BOB)


REQUIRING = BOB.replace(require_tls=True)


@pytest.mark.parametrize("announced", [True, False])
def test_requiretls_goes_to_a_proven_host_that_keeps_it(world, issued, announced: bool):
    context, key, _ = issued
    extensions = USUAL_EXTENSIONS | ({Extension.REQUIRETLS} if announced else set())
    with Lab(world, context) as lab:
        lab.server.close()
        with Server(
            tls=ServerTLS.STARTTLS, server_context=context, extensions=extensions
        ) as server:
            lab.server = server
            with lab.names(*HOST, f"{TLSA_AT} TLSA 3 1 1 {key}") as dns:
                if announced:
                    assert lab.deliver(dns, REQUIRING).complete
                    assert "REQUIRETLS" in server.sessions[0].commands[3]
                else:
                    with pytest.raises(DeliveryFailed) as caught:
                        lab.deliver(dns, REQUIRING)
                    assert caught.value.failure is Failure.NO_REQUIRETLS


@pytest.mark.parametrize("insecure", [(), ("example.net",)])
def test_requiretls_goes_to_no_host_that_is_not_proven(world, issued, insecure):
    context, key, _ = issued
    zone = [*HOST, *([f"{TLSA_AT} TLSA 3 1 1 {key}"] if insecure else [])]
    with Lab(world, context) as lab, lab.names(*zone, insecure=insecure) as dns:
        with pytest.raises(DeliveryFailed) as caught:
            lab.deliver(dns, REQUIRING)
        assert str(caught.value.failure.enhanced) == "5.7.30"
        assert not caught.value.transient
        assert not lab.server.sessions
