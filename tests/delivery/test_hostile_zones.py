"""What a zone can say to harm those who send mail there: a word of the table, and no more work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rrset
import pytest

from smtpx import Envelope, SMTPError
from smtpx.delivery import AddressPolicy, Delivery, Failure, NameServers
from smtpx.delivery._dnspython import Ask, Pause, asking
from smtpx.delivery._manners import Manners
from smtpx.delivery.dane import TLSA
from smtpx.delivery.mta_sts import Mode, Policy, StoredPolicy
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question, ScriptedResolver
from smtpx.testing import Server, ServerTLS

from .script import NODATA, Script, found, replied

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
pytestmark = pytest.mark.timeout(60)


RRset = tuple[str, int, str, str]


def answer_of(
    question: Question,
    *rrsets: RRset,
    flags: int = dns.flags.RA,
    authority: Sequence[RRset] = (),
    kind: str = "IN",
) -> Answer:
    """What is made of a response that has these records, whatever they belong to."""
    procedure = asking(question, NameServers("127.0.0.1", validating=True), Manners())
    try:
        step: Any = next(procedure)
        while True:
            if isinstance(step, Pause):
                step = procedure.send(None)
                continue
            assert isinstance(step, Ask)
            response = dns.message.make_response(step.query)
            response.flags |= flags
            for section, given in ((response.answer, rrsets), (response.authority, authority)):
                for name, ttl, type, text in given:
                    texts = text.split("|")
                    section.append(dns.rrset.from_text(f"{name}.", ttl, kind, type, *texts))
            wire = response.to_wire(max_size=65535)
            step = procedure.send(dns.message.from_wire(wire))
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer


D = "example.net"
LINKS = [(f"l{n}.test", 60, "CNAME", f"l{n + 1}.test.") for n in range(12)]


@pytest.mark.parametrize(
    ("rrsets", "state", "records"),
    [
        ([(D, 0, "MX", "1 a.test.")], AnswerState.FOUND, ["a.test"]),
        ([(D, 2**31 - 1, "MX", "1 a.test.")], AnswerState.FOUND, ["a.test"]),
        ([(D, 60, "MX", "1 A.Test.|2 B.TEST.")], AnswerState.FOUND, ["a.test", "b.test"]),
        ([(D, 60, "MX", "65535 .")], AnswerState.FOUND, [""]),
        ([(D, 60, "MX", r"1 a\000b.test.")], AnswerState.FOUND, [r"a\000b.test"]),
        # An alias beside other data, which no zone may have: whatever is taken, it is one of both.
        (
            [(D, 60, "CNAME", "l11.test."), (D, 60, "MX", "1 a.test.")],
            AnswerState.FOUND,
            ["a.test"],
        ),
        # What belongs to somebody else is not taken, and says nothing of what was asked for.
        (
            [(D, 60, "MX", "1 a.test."), ("other.test", 60, "MX", "1 evil.test.")],
            AnswerState.FOUND,
            ["a.test"],
        ),
        ([("other.test", 60, "MX", "1 evil.test.")], AnswerState.FAILED, []),
        ([(D, 60, "A", "192.0.2.1")], AnswerState.FAILED, []),
        ([(D, 60, "CNAME", "l4.test."), *LINKS[4:]], AnswerState.FAILED, []),
        ([(D, 60, "CNAME", f"{D}.")], AnswerState.FAILED, []),
        ([(D, 60, "CNAME", "b.test."), ("b.test", 60, "CNAME", f"{D}.")], AnswerState.FAILED, []),
    ],
)
def test_what_a_response_may_hold(rrsets: Any, state: AnswerState, records: list[str]):
    answer = answer_of(Question(D, "MX"), *rrsets)
    assert answer.state is state
    assert [one.exchanger for one in answer.records if isinstance(one, MX)] == records
    assert 0 <= answer.ttl <= 86400


NS = ("test", 300, "NS", "ns.test.")
SOA = ("test", 300, "SOA", "ns.test. hostmaster.test. 1 2 3 4 60")
RA, AA = dns.flags.RA, dns.flags.AA


@pytest.mark.parametrize(
    ("flags", "aliases", "authority", "state"),
    [
        # What a resolver says that has asked, and an authority of its own names.
        (RA, [], [], AnswerState.NODATA),
        (RA, [], [SOA], AnswerState.NODATA),
        (RA, [], [SOA, NS], AnswerState.NODATA),
        (RA, LINKS[:1], [SOA], AnswerState.NODATA),
        (RA, LINKS[:1], [], AnswerState.NODATA),
        (AA, [], [SOA], AnswerState.NODATA),
        (AA, [], [NS], AnswerState.NODATA),
        # What somebody says who has not asked.
        (0, [], [NS], AnswerState.FAILED),
        (RA, [], [NS], AnswerState.FAILED),
        (0, [], [], AnswerState.FAILED),
        (AA, LINKS[:1], [], AnswerState.FAILED),
        (AA, LINKS[:1], [NS], AnswerState.FAILED),
    ],
)
@pytest.mark.parametrize("kind", ["MX", "A", "TLSA"])
def test_a_server_that_refers_to_others_has_not_said_that_nothing_is_there(
    flags: int, aliases: Any, authority: Any, state: AnswerState, kind: str
):
    """It would be a word for good: a domain without hosts, or a host without addresses."""
    answer = answer_of(Question("l0.test", kind), *aliases, flags=flags, authority=authority)
    assert answer.state is state
    if state is AnswerState.FAILED:
        assert "refers to others" in answer.detail


DNAME = ("old.test", 60, "DNAME", "test.")
OF_DNAME = ("l0.old.test", 60, "CNAME", "l0.test.")
SIGNED = "5 2 60 20300101000000 20200101000000 1 test. AAAA"


def signature(name: str, covered: str) -> RRset:
    return name, 60, "RRSIG", f"{covered} {SIGNED}"


@pytest.mark.parametrize("kind", ["MX", "A", "TXT", "TLSA"])
@pytest.mark.parametrize("code", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
@pytest.mark.parametrize(
    ("asked", "rrsets", "is_honest"),
    [
        # What leads from the name that was asked for to one that has nothing.
        ("l0.test", [], True),
        ("l0.test", LINKS[:2], True),
        ("l0.test", LINKS[1::-1], True),
        ("l0.test", [*LINKS[:1], signature("l0.test", "CNAME")], True),
        ("l0.old.test", [DNAME, OF_DNAME], True),
        ("l0.old.test", [DNAME, signature("old.test", "DNAME"), OF_DNAME, *LINKS[:2]], True),
        # What has to do with another question.
        ("l0.test", [("other.test", 60, "TXT", "x")], False),
        ("l0.test", [("l0.test", 60, "HINFO", "x y")], False),
        ("l0.test", [("l1.test", 60, "CNAME", "l2.test.")], False),
        ("l0.test", [*LINKS[:1], ("other.test", 60, "HINFO", "x y")], False),
        ("l0.test", [*LINKS[:1], ("l1.test", 60, "HINFO", "x y")], False),
        ("l0.test", [signature("l0.test", "MX")], False),
        ("l0.test", [DNAME], False),
        ("l0.old.test", [DNAME], False),
        ("l0.test", [*LINKS[:1], DNAME], False),
    ],
)
def test_what_does_not_follow_from_the_question_says_nothing_of_it(
    kind: str, code: dns.rcode.Rcode, asked: str, rrsets: Any, is_honest: bool
):
    """Else a domain would be its own host, mail be refused for good, and DANE be off."""
    answer = answer_of(Question(asked, kind), *rrsets, flags=RA | int(code), authority=[SOA])
    said = AnswerState.NXDOMAIN if code else AnswerState.NODATA
    assert answer.state is (said if is_honest else AnswerState.FAILED)
    assert ("another question" in answer.detail) is not is_honest


def test_another_class_is_another_question():
    records = ("l0.test", 60, "TXT", "x")
    answer = answer_of(Question("l0.test", "TXT"), records, authority=[SOA], kind="CH")
    assert answer.state is AnswerState.FAILED


@pytest.mark.parametrize("authority", [[], [SOA]])
def test_dnssec_vouches_for_no_alias_of_whose_end_nothing_is_said(authority: Any):
    """A proof that something is not there comes with the zone's SOA (RFC 4035 §3.1.3)."""
    answer = answer_of(
        Question("l0.test", "TLSA"), *LINKS[:1], flags=RA | dns.flags.AD, authority=authority
    )
    assert answer.state is (AnswerState.NODATA if authority else AnswerState.FAILED)
    assert answer.secure is bool(authority)


@pytest.mark.parametrize("links", range(7, 11))
def test_a_chain_of_eight_links_is_followed_and_no_longer_one(links: int):
    chain = [(D, 60, "CNAME", "l0.test."), *LINKS[: links - 1]]
    last = f"l{links - 1}.test"
    answer = answer_of(Question(D, "MX"), *chain, (last, 60, "MX", "1 a.test."))
    assert (answer.state is AnswerState.FOUND) == (links <= 8)
    assert answer.name == (last if links <= 8 else "")


ODD = {
    "a long label": "x" * 64 + ".test",
    "octets": r"\001" * 63 + ".test",
    "an empty label": "a..b.test",
    "a dot at the start": ".test",
    "a dot in a label": r"a\.b.test",
    "a blank": "a b.test",
    "NUL": r"\000.test",
    "beyond ASCII": "é.test",
    "a star": "*.test",
    "brackets": "[127.0.0.1]",
    "too long": "a." * 130 + "test",
    "a line end": "a\r\nb.test",
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("where", ["exchanger", "alias"])
def test_a_name_that_is_no_host_harms_nobody(what: str, where: str):
    """As an exchanger it is left out. What an alias leads to is no name to ask a server for."""
    odd, host = ODD[what], "mx.example.net"
    with Server(tls=ServerTLS.STARTTLS) as server:
        usable = found(TLSA(3, 1, 1, bytes(32)), secure=True)
        script = {
            Question(D, "MX"): found(MX(1, odd if where == "exchanger" else host), secure=True),
            Question(host, "A"): found("127.0.0.1", secure=True, name=odd),
            Question(host, "AAAA"): Answer(NODATA.state, secure=True, name=odd),
            Question(odd, "A"): found("127.0.0.1", secure=True),
            Question(f"_{server.port}._tcp.{odd}", "TLSA"): usable,
        }
        with Delivery(
            "mail.example.org",
            resolver=ScriptedResolver(script),
            port=server.port,
            addresses=AddressPolicy("127.0.0.0/8"),
        ) as delivery:
            if where == "exchanger":
                with pytest.raises(SMTPError) as caught:
                    delivery.send(CONTENT, Envelope("ann@example.org", f"bob@{D}"))
                assert str(caught.value).isprintable()
                assert not server.sessions
            else:
                result = delivery.send(CONTENT, Envelope("ann@example.org", f"bob@{D}"))
                assert result.complete


LOCAL = [
    *("127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "198.18.0.1", "240.0.0.1", "255.255.255.255", "224.0.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("2002:7f00:1::1", "2002:a00:1::1", "2001:0:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("64:ff9b:1::a00:1", "3fff::1", "5f00::1", "100::1"),
]


@pytest.mark.parametrize("address", LOCAL)
@pytest.mark.parametrize("host", ["mx.example.net", "localhost", "example.net"])
def test_no_zone_has_us_dial_what_is_near(host: str, address: str):
    """By a host, by localhost, by itself."""
    kind = "AAAA" if ":" in address else "A"
    script = Script({(D, "MX"): found(MX(1, host)), (host, kind): found(address)})
    (outcome,) = script.deliver().outcomes
    assert outcome.failure is Failure.ADDRESS_REFUSED
    assert not script.tried


def test_a_huge_set_of_hosts_costs_what_a_small_one_does():
    """All of one preference: a hundred are looked up, five addresses are dialled."""
    names = {(D, "MX"): found(*(MX(1, f"m{n}.test") for n in range(10_000)))}
    script = Script(names)
    (outcome,) = script.deliver().outcomes
    assert outcome.failure is Failure.NO_ADDRESS
    assert len(script.asked) == 2 + 2 * 100
    assert script.waits == 2
    names |= {(f"m{n}.test", "A"): found(f"8.8.{n % 250}.1") for n in range(10_000)}
    script = Script(names)
    (outcome,) = script.deliver().outcomes
    assert len(outcome.attempts) == 5
    assert len(script.asked) == 2 + 2 * 100


def test_a_policy_of_thousands_of_hosts_is_not_told_for_each_that_it_does_not_name():
    """A hundred times 64 kB for one message, and a thousand messages at a time."""
    names = {(D, "MX"): found(*(MX(1, f"m{n}.test") for n in range(100)))}
    names |= {(f"m{n}.test", "A"): found("8.8.8.8") for n in range(100)}
    policy = Policy(Mode.ENFORCE, 1000, tuple(f"mx{n}.example.net" for n in range(3000)))
    stored = {D: StoredPolicy("1", 1e9, policy)}
    plan = Script(names, stored=stored).plan()
    assert sum(len(str(one.skipped)) for one in plan.exchangers) < 100 * 300
    assert "mx0.example.net" in str(plan.failure)


def test_many_preferences_are_looked_up_as_far_as_they_are_tried():
    names: dict[tuple[str, str], Answer] = {
        (D, "MX"): found(*(MX(n, f"m{n}.test") for n in range(100)))
    }
    names |= {(f"m{n}.test", "A"): found(f"8.8.{n}.1") for n in range(100)}
    script = Script(names, says=lambda step: replied(step, 450))
    (outcome,) = script.deliver().outcomes
    assert outcome.retryable
    assert script.waits == 3


def test_hosts_that_lead_to_each_other_end_as_any_failure():
    loop = [("a.test", 60, "CNAME", "b.test."), ("b.test", 60, "CNAME", "a.test.")]
    for kind in ("A", "AAAA", "TLSA", "TXT"):
        assert answer_of(Question("a.test", kind), *loop).state is AnswerState.FAILED


@pytest.mark.parametrize(
    "text",
    [
        *("255 255 255 " + "ab" * 32, "3 0 0 " + "ab" * 30_000, "2 0 0 3082ffff"),
        "3 1 0 " + "30" * 100,
    ],
)
def test_odd_records_of_a_host_are_of_no_use(text: str):
    answer = answer_of(Question("_25._tcp.a.test", "TLSA"), ("_25._tcp.a.test", 60, "TLSA", text))
    assert answer.state is AnswerState.FOUND
    secure = Answer(answer.state, answer.records, True)
    names = {
        (D, "MX"): found(MX(1, "a.test"), secure=True),
        ("a.test", "A"): found("8.8.8.8", secure=True),
        ("a.test", "AAAA"): Answer(NODATA.state, secure=True),
        ("_25._tcp.a.test", "TLSA"): secure,
    }
    (one,) = Script(names).plan().exchangers
    assert one.terms.level.name == "ENCRYPTED"


@pytest.mark.parametrize("prefix", ["_25._tcp.", "_mta-sts.", "_smtp._tls."])
def test_a_name_that_is_too_long_to_be_is_not_there(prefix: str):
    """It is no failure, which would hold up the mail for a host of a long name for good."""
    host = ".".join(["y" * 60] * 4) + ".test"
    assert answer_of(Question(host, "A")).state is AnswerState.NODATA
    assert answer_of(Question(prefix + host, "TXT")).state is AnswerState.NXDOMAIN
    assert answer_of(Question("x" * 64 + ".test", "TXT")).state is AnswerState.FAILED
