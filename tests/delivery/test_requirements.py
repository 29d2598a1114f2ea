"""What went wrong elsewhere, where no other test names it."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trustme

from smtpx import Envelope, SMTPError
from smtpx.delivery import AddressPolicy, Delivery, DeliveryFailed, Failure, Level, NameServers
from smtpx.delivery._dnspython import Ask, Pause, _configured, asking
from smtpx.delivery._manners import Manners
from smtpx.delivery.dane import TLSA, mismatch
from smtpx.delivery.mta_sts import Policy
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question, ScriptedResolver
from smtpx.testing import NameServer, Refuse, Server, ServerTLS
from tests.certificates import serving
from tests.delivery.policy_lab import ENFORCE, lab
from tests.delivery.test_dane import NOW
from tests.delivery.test_delivery import outcomes_of
from tests.delivery.test_exchangers import failure, found
from tests.delivery.test_many import to
from tests.delivery.test_mta_sts import zone
from tests.network import one_port
from tests.test_pins import KEYS, openssl

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")
ADDRESS = "8.8.8.8"
THREE = ["192.0.2.0", "192.0.2.1", "192.0.2.2"]

pytestmark = pytest.mark.timeout(60)


@pytest.mark.requirement("D6")
@pytest.mark.parametrize("literal", ["192.0.2.1", "2001:db8::1"])
def test_an_address_in_place_of_a_name_is_not_looked_up(literal: str):
    resolver = ScriptedResolver({Question("example.net", "MX"): found(MX(1, literal))})
    with Delivery("mail.example.org", resolver=resolver) as delivery:
        plan = delivery.plan("example.net")
    assert failure(plan) is Failure.NO_ADDRESS
    assert literal in str(plan.failure)
    assert {question.type for question in resolver.asked} == {"MX", "TXT"}


def response_to(question: Question, rcode: str, authority: str = "") -> Answer:
    """What is made of a response; a failure is asked for again, and fails each time."""
    procedure = asking(question, NameServers("127.0.0.1"), Manners())
    step: Any = next(procedure)
    try:
        while True:
            if isinstance(step, Pause):
                step = procedure.send(None)
                continue
            assert isinstance(step, Ask)
            response = dns.message.make_response(step.query)
            response.set_rcode(dns.rcode.from_text(rcode))
            if authority:
                response.authority.append(
                    dns.rrset.from_text("test.", 86400, "IN", "SOA", authority)
                )
            step = procedure.send(dns.message.from_wire(response.to_wire()))
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer


@pytest.mark.requirement("D12")
def test_a_refusal_names_the_address_that_was_refused(world):
    """Whoever reads that a PTR record is missing has to know of which address."""
    refusal = {"bob@example.net": "550 5.7.25 there is no PTR record"}
    names = "example.net MX 1 mx.example.net.\nmx.example.net A 127.0.0.1"
    with (
        Server(refuse_recipients=refusal) as server,
        NameServer(names) as dns_,
        pytest.raises(SMTPError) as caught,
    ):
        world(dns_, port=server.port).send(CONTENT, BOB)
    (outcome,) = outcomes_of(caught.value)
    assert outcome.source == outcome.attempts[-1].source == "127.0.0.1"
    assert "[127.0.0.1] from 127.0.0.1: 550 5.7.25" in str(outcome)
    assert "from 127.0.0.1" in str(outcome.attempts[-1])


@pytest.mark.requirement("D15")
@pytest.mark.parametrize(
    ("rcode", "minimum", "state", "seconds"),
    [
        ("NXDOMAIN", 60, AnswerState.NXDOMAIN, 60),
        ("NXDOMAIN", 7200, AnswerState.NXDOMAIN, 900),
        ("NOERROR", 60, AnswerState.NODATA, 60),
        ("SERVFAIL", 7200, AnswerState.FAILED, 5),
        ("REFUSED", 7200, AnswerState.FAILED, 5),
    ],
)
def test_how_long_it_is_kept_that_nothing_is_there(rcode: str, minimum, state, seconds: float):
    authority = f"ns.test. hostmaster.test. 1 2 3 4 {minimum}"
    answer = response_to(Question("a.test", "A"), rcode, authority)
    assert (answer.state, answer.ttl) == (state, seconds)


@pytest.mark.requirement("D19")
def test_a_plan_tells_that_nobody_validates(world):
    names = "example.net MX 1 mx.example.net.\nmx.example.net A 127.0.0.1"
    with NameServer(names) as server:
        for validating in (True, False):
            servers = NameServers("127.0.0.1", port=server.port, validating=validating)
            plan = world(servers).plan("example.net")
            assert ("not believed to validate" in str(plan)) != validating
            assert ("not believed" in str(world(servers, dane=False).plan("example.net"))) is False


@pytest.mark.requirement("D23")
def test_records_are_asked_for_at_the_host_and_its_port():
    answers = {
        Question("example.net", "MX"): found(MX(1, "mx.example.com"), secure=True),
        Question("mx.example.com", "A"): found(ADDRESS, secure=True),
        Question("mx.example.com", "AAAA"): Answer(AnswerState.NODATA, secure=True),
    }
    for port in (25, 2525):
        resolver = ScriptedResolver(answers)
        with Delivery("mail.example.org", resolver=resolver, port=port) as delivery:
            assert delivery.plan("example.net").failure is None
        asked = [question.name for question in resolver.asked if question.type == "TLSA"]
        assert asked == [f"_{port}._tcp.mx.example.com"]


@pytest.mark.requirement("D31")
def test_a_policy_of_one_domain_is_none_of_another_with_the_same_host(world, tmp_path: Path):
    shared = zone("b.test MX 1 mx.example.net.")
    with lab(world, tmp_path, names=("other.example",)) as here, shared as server:
        messages = to("example.net", "b.test", "example.net")
        results = list(here.made(server).send_many(messages, connections=1, window=1))
    assert [one.complete for one in results] == [False, True, False]
    assert results[0].error.failure is Failure.TLS_POLICY


@pytest.mark.requirement("D36")
def test_addresses_in_a_policy_are_passed_over():
    text = ENFORCE.replace("mx: ", "mx: 192.0.2.1\r\nmx: 2001:db8::1\r\nmx: [192.0.2.1]\r\nmx: ")
    assert Policy.parse(text).mx == ("mx.example.net",)


@pytest.mark.requirement("D39")
def test_a_host_that_no_pattern_names_is_told_with_all_patterns(world, tmp_path: Path):
    with lab(world, tmp_path) as here, zone() as server:
        here.policy_host.says(ENFORCE.replace("mx: mx.", "mx: *.other.example\r\nmx: mail."))
        with pytest.raises(DeliveryFailed) as caught:
            here.made(server).send(CONTENT, BOB)
        for said in ("mx.example.net", "*.other.example", "mail.example.net", "4.7.5"):
            assert said in str(caught.value)
        assert outcomes_of(caught.value)[0].retryable
        assert not here.server.sessions


@pytest.mark.requirement("D47")
@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_what_stands_in_the_certificate(kind: str, tmp_path: Path):
    key, certificate = str(tmp_path / "key.pem"), tmp_path / "certificate.der"
    _ = openssl("genpkey", *KEYS[kind], "-out", key)
    spki = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    _ = openssl(
        *("req", "-x509", "-new", "-key", key, "-subj", "/CN=mail.example.org"),
        *("-outform", "DER", "-out", str(certificate)),
    )
    chain = [certificate.read_bytes()]
    records = [TLSA(3, 1, 1, hashlib.sha256(spki).digest())]
    assert mismatch(records, chain, ["mx.test"], NOW) is None
    assert mismatch([TLSA(3, 1, 0, spki)], chain, ["mx.test"], NOW) is None


@pytest.mark.requirement("D48")
def test_the_address_that_was_checked_is_the_one_that_is_dialled(world):
    """A zone that says something else the next time is not asked again."""
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(port=port) as server,
        Server(host="127.0.0.2", port=port) as other,
    ):
        names = "example.net MX 1 mx.example.net.\nmx.example.net A 127.0.0.1"
        with NameServer(names) as first:
            delivery = world(first, port=server.port, addresses=AddressPolicy("127.0.0.1"))
            assert delivery.plan("example.net").exchangers[0].addresses == ("127.0.0.1",)
            first.load(names.replace("127.0.0.1", "127.0.0.2"))
            assert delivery.send(CONTENT, BOB).outcomes[0].address == "127.0.0.1"
            assert first.packets["mx.example.net", "A"] == 1
        assert not other.sessions
    with NameServer(names.replace("127.0.0.1", "127.0.0.2")) as dns_:
        delivery = world(dns_, port=25, addresses=AddressPolicy("127.0.0.1"))
        with pytest.raises(DeliveryFailed) as caught:
            delivery.send(CONTENT, BOB)
        assert caught.value.failure is Failure.ADDRESS_REFUSED


@pytest.mark.requirement("D51")
def test_the_same_mail_goes_to_the_same_host_first_and_other_mail_to_others(world):
    """Hosts that greylist count by who writes to whom; and equal hosts share the load."""
    hosts = [f"m{place}.test" for place in range(4)]
    lines = [f"a.test MX 1 {host}." for host in hosts]
    lines += [f"{host} A 127.0.0.{place + 1}" for place, host in enumerate(hosts)]
    addresses = [f"127.0.0.{place + 1}" for place in range(4)]
    with one_port(*addresses) as port, Server(port=port) as one:
        others = [Server(host=address, port=port) for address in addresses[1:]]
        for other in others:
            other.start()
        with NameServer("\n".join(lines)) as server:
            first: dict[str, set[str]] = {}
            delivery = world(server, port=one.port)
            for _ in range(2):
                for user in range(12):
                    envelope = Envelope("ann@x.test", f"u{user}@a.test")
                    (outcome,) = delivery.send(CONTENT, envelope).outcomes
                    first.setdefault(str(user), set()).add(outcome.host)
        for other in others:
            other.close()
    assert [len(taken) for taken in first.values()] == [1] * 12
    assert len(set.union(*first.values())) > 1


@pytest.mark.requirement("D57")
def test_old_ciphers_are_better_than_plain_text_where_nobody_is_verified(world):
    context = serving(trustme.CA().issue_cert("mx.example.net", key_type=trustme.KeyType.RSA))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    # Key exchange by RSA alone: Python's own list has none of these.
    context.set_ciphers("AES128-GCM-SHA256")
    names = "example.net MX 1 mx.example.net.\nmx.example.net A 127.0.0.1"
    with Server(tls=ServerTLS.STARTTLS, server_context=context) as server:
        with NameServer(names) as dns_:
            (outcome,) = world(dns_, port=server.port).send(CONTENT, BOB).outcomes
        assert outcome.terms.level is Level.OPPORTUNISTIC
        assert server.messages[0].tls


@pytest.mark.requirement("D58")
def test_who_refuses_starttls_for_good_does_not_refuse_the_message(world, tmp_path: Path):
    with lab(world, tmp_path) as here, zone() as server:
        here.server.add_fault(Refuse("STARTTLS", "502 5.5.1 not implemented", times=None))
        with pytest.raises(DeliveryFailed) as caught:
            here.made(server).send(CONTENT, BOB)
        assert caught.value.failure is Failure.TLS_POLICY
        assert outcomes_of(caught.value)[0].retryable
        assert not here.server.messages


@pytest.mark.requirement("D55")
@pytest.mark.requirement("D61")
@pytest.mark.parametrize(
    ("text", "servers", "trusted"),
    [
        ("nameserver 127.0.0.1\noptions trust-ad\n", ["127.0.0.1"], True),
        ("nameserver 127.0.0.53 # local\noptions edns0 trust-ad", ["127.0.0.53"], True),
        ("nameserver 127.0.0.1\n", ["127.0.0.1"], False),
        ("; trust-ad\nsearch example.org\nnameserver ::1\n", ["::1"], False),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(5)), THREE, False),
        ("nameserver dns.test\nnameserver 0x7f.1\nnameserver ::1\n", ["::1"], False),
        ("", [], False),
    ],
)
def test_what_the_system_says_of_its_name_servers(tmp_path: Path, text: str, servers, trusted):
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    assert _configured(path) == (servers, trusted)


@pytest.mark.requirement("D61")
def test_how_a_question_is_put():
    step = next(asking(Question("example.net", "MX"), NameServers("127.0.0.1"), Manners()))
    assert isinstance(step, Ask)
    query = step.query
    assert (query.payload, query.edns) == (1232, 0)
    assert query.ednsflags & dns.flags.DO
    assert query.flags & dns.flags.AD
    assert not query.flags & dns.flags.CD
    assert query.question[0].name.is_absolute()


def test_one_name_server_after_the_other_is_asked():
    """And the last time by TCP."""
    asked: list[tuple[str, bool]] = []
    procedure = asking(Question("a.test", "A"), NameServers(["192.0.2.1", "192.0.2.2"]), Manners())
    step: Any = next(procedure)
    with pytest.raises(StopIteration):
        while True:
            if isinstance(step, Ask):
                asked.append((step.server, step.tcp))
                step = procedure.throw(TimeoutError())
            else:
                step = procedure.send(None)
    assert asked == [("192.0.2.1", False), ("192.0.2.2", False), ("192.0.2.1", True)]
