"""The rows of the decision, over scripted answers: no socket, no name server."""

from __future__ import annotations

import pytest

from smtpx import Envelope
from smtpx.delivery import AddressPolicy, Delivery, DeliveryFailed, Failure, Level, Plan, Terms
from smtpx.delivery.dane import TLSA
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question, Record, ScriptedResolver

FAILED = Answer(AnswerState.FAILED, detail="SERVFAIL")
ADDRESS, OTHER = "8.8.8.8", "8.8.4.4"


def found(*records: Record, secure: bool = False, name: str = "") -> Answer:
    return Answer(AnswerState.FOUND, records, secure, name)


def planned(answers: dict[tuple[str, str], Answer], **options: object) -> Plan:
    script = {Question(*question): answer for question, answer in answers.items()}
    with Delivery(
        "mail.example.org",
        resolver=ScriptedResolver(script),
        **options,  # type: ignore[arg-type] # of the test's own
    ) as delivery:
        return delivery.plan("example.net")


def failure(plan: Plan) -> Failure:
    assert plan.failure is not None
    return plan.failure.failure


def with_mx(*records: MX, **answers: Answer) -> Plan:
    hosts = {(f"{name}.example.net", "A"): answer for name, answer in answers.items()}
    return planned({("example.net", "MX"): found(*records), **hosts})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(AnswerState.NXDOMAIN), Failure.NO_SUCH_DOMAIN),
        (FAILED, Failure.LOOKUP_FAILED),
        (found(MX(0, "")), Failure.NULL_MX),
        (found(MX(10, "")), Failure.NULL_MX),
        (found(MX(1, "192.0.2.1")), Failure.NO_ADDRESS),
        (found(MX(1, "2001:db8::1")), Failure.NO_ADDRESS),
        (found(MX(1, "a b"), MX(2, "")), Failure.NO_ADDRESS),
        (found(MX(1, "mail.example.org")), Failure.LOOPS),
        (found(MX(1, "MAIL.example.org."), MX(1, "a.example.net")), Failure.LOOPS),
        (found(MX(1, "nowhere.example.net")), Failure.NO_ADDRESS),
        (found(MX(1, "nowhere.example.net"), MX(2, "mail.example.org")), Failure.NO_ROUTE),
    ],
)
def test_a_domain_whose_exchangers_are_not_to_be_had(answer: Answer, expected: Failure):
    assert failure(planned({("example.net", "MX"): answer})) is expected


def test_hosts_go_by_preference_and_equals_by_the_seed():
    records = [MX(20, "d.example.net"), *(MX(10, f"{name}.example.net") for name in "abc")]
    orders = set()
    for seed in range(20):
        plan = planned({("example.net", "MX"): found(*records)}, seed=seed)
        names = [one.name[0] for one in plan.exchangers]
        assert names[3] == "d"
        orders.add("".join(names[:3]))
    assert len(orders) > 2
    assert plan.row == "MX records (RFC 5321 §5.1)"


@pytest.mark.requirement("D49")
def test_of_many_records_a_hundred_are_kept():
    plan = planned(
        {("example.net", "MX"): found(*(MX(n, f"m{n}.example.net") for n in range(2000)))}
    )
    assert [one.preference for one in plan.exchangers] == list(range(100))
    assert "more than 100" in plan.notes[0]


@pytest.mark.requirement("D7")
def test_those_as_bad_as_we_and_worse_are_left_out():
    records = [MX(1, "a.example.net"), MX(2, "b.example.net"), MX(2, "mail.example.org")]
    plan = with_mx(*records, MX(3, "c.example.net"), a=found(ADDRESS))
    assert [one.name for one in plan.exchangers] == ["a.example.net"]
    assert "ourselves" in plan.notes[0]


@pytest.mark.requirement("D7")
@pytest.mark.parametrize(("first", "expected"), [(True, Failure.LOOPS), (False, Failure.NO_ROUTE)])
def test_an_address_of_ours_is_ourselves(first: bool, expected: Failure):
    ours = {("us.example.net", "A"): found(ADDRESS)}
    records = [MX(5, "us.example.net"), *([] if first else [MX(1, "gone.example.net")])]
    plan = planned({("example.net", "MX"): found(*records), **ours}, own_addresses=[ADDRESS])
    assert failure(plan) is expected


@pytest.mark.requirement("D9")
@pytest.mark.requirement("D10")
@pytest.mark.parametrize(
    ("four", "six", "addresses"),
    [
        (found(ADDRESS), found("2001:4860::8"), ("2001:4860::8", ADDRESS)),
        (found(ADDRESS, OTHER), found("2001:4860::8"), ("2001:4860::8", ADDRESS, OTHER)),
        (Answer(AnswerState.NODATA), found("2001:4860::8"), ("2001:4860::8",)),
        (found(ADDRESS), FAILED, (ADDRESS,)),
        (found(ADDRESS), found("fe80::1", "::1", "::ffff:127.0.0.1"), (ADDRESS,)),
    ],
)
def test_either_family_is_enough(four: Answer, six: Answer, addresses: tuple[str, ...]):
    plan = planned(
        {
            ("example.net", "MX"): found(MX(1, "a.example.net")),
            ("a.example.net", "A"): four,
            ("a.example.net", "AAAA"): six,
        }
    )
    assert plan.exchangers[0].addresses == addresses
    assert plan.failure is None


@pytest.mark.requirement("D12")
@pytest.mark.parametrize("prefers", [False, True])
def test_addresses_of_ipv4_may_go_first(prefers: bool):
    answers = {
        ("example.net", "MX"): found(MX(1, "a.example.net")),
        ("a.example.net", "A"): found(ADDRESS, OTHER),
        ("a.example.net", "AAAA"): found("2001:4860::8"),
    }
    first, second = (ADDRESS, "2001:4860::8") if prefers else ("2001:4860::8", ADDRESS)
    plan = planned(answers, prefer_ipv4=prefers)
    assert plan.exchangers[0].addresses == (first, second, OTHER)


@pytest.mark.parametrize("lost", ["A", "AAAA"])
def test_a_host_of_which_nothing_is_known_may_have_an_address(lost: str):
    answers = {
        ("example.net", "MX"): found(MX(1, "a.example.net")),
        ("a.example.net", lost): FAILED,
    }
    assert failure(planned(answers)) is Failure.LOOKUP_FAILED


def test_what_may_pass_is_told_before_what_does_not():
    plan = with_mx(MX(1, "gone.example.net"), MX(2, "a.example.net"), a=FAILED)
    assert failure(plan) is Failure.LOOKUP_FAILED


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "169.254.1.1",
            "0.0.0.0",
            "224.0.0.1",
            "192.168.0.1",
            "100.64.0.1",
        ),
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "::7f00:1", "::ffff:10.0.0.1", "2001::1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::1", "fec0::1", "3fff::1", "5f00::1"),
        *("fe80::1%eth0", "2001:db8::1", "nonsense", "", "8.8.8.8 "),
        # Whatever the registries of special addresses say, and what is given out to nobody.
        *("192.0.0.8", "192.0.0.192", "192.0.0.11", "192.0.2.1", "198.51.100.1", "203.0.113.1"),
        *("::ffff:192.0.0.192", "64:ff9b::192.0.0.192", "2002:c000:c0::1", "::192.0.0.192"),
        *(
            "1::1",
            "4000::1",
            "8000::1",
            "e000::1",
            "2001:2::1",
            "2001:10::1",
            "2001:1::4",
            "100::1",
        ),
    ],
)
def test_an_address_that_is_not_of_the_internet_is_refused(address: str):
    assert not AddressPolicy().allows(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "8.8.8.8",
            "2001:4860:4860::8888",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
        ),
        *("192.0.0.9", "::ffff:192.0.0.10", "192.0.1.1", "192.31.196.1", "2001:1::1", "2001:3::1"),
        *("2001:20::1", "2001:200::1", "2620:4f:8000::1", "2a00::1", "3ffe::1"),
    ],
)
def test_an_address_of_the_internet_is_dialled(address: str):
    assert AddressPolicy().allows(address)


@pytest.mark.requirement("D8")
def test_networks_that_are_allowed_are_dialled():
    policy = AddressPolicy(["10.0.0.0/8", "fd00::/8"])
    assert policy.allows("10.1.2.3")
    assert policy.allows("::ffff:10.1.2.3")
    assert policy.allows("fd00::1")
    assert not policy.allows("192.168.0.1")


SECURE = {
    ("example.net", "MX"): found(MX(1, "a.example.net"), secure=True),
    ("a.example.net", "A"): found(ADDRESS, secure=True),
    ("a.example.net", "AAAA"): Answer(AnswerState.NODATA, secure=True),
}
USABLE, UNUSABLE = TLSA(3, 1, 1, bytes(32)), TLSA(1, 1, 1, bytes(32))
AT = ("_25._tcp.a.example.net", "TLSA")


@pytest.mark.parametrize(
    ("changed", "level", "is_skipped"),
    [
        ({AT: found(USABLE, secure=True)}, Level.DANE, False),
        ({AT: found(USABLE)}, Level.OPPORTUNISTIC, False),
        ({AT: found(UNUSABLE, secure=True)}, Level.ENCRYPTED, False),
        ({AT: found(UNUSABLE, USABLE, secure=True)}, Level.DANE, False),
        ({AT: Answer(AnswerState.NODATA)}, Level.OPPORTUNISTIC, False),
        ({AT: FAILED}, Level.OPPORTUNISTIC, True),
        ({("a.example.net", "A"): found(ADDRESS), AT: FAILED}, Level.OPPORTUNISTIC, False),
        (
            {("a.example.net", "AAAA"): FAILED, AT: found(USABLE, secure=True)},
            Level.DANE,
            False,
        ),
    ],
)
def test_what_dane_comes_to(changed, level: Level, is_skipped: bool):
    (one,) = planned(SECURE | changed).exchangers
    assert (one.terms.level, one.skipped is not None) == (level, is_skipped)


def test_the_minimum_is_never_undercut():
    answers = SECURE | {AT: found(UNUSABLE, secure=True)}
    (one,) = planned(answers, minimum=Terms.VERIFIED).exchangers
    assert one.terms.level is Level.VERIFIED


@pytest.mark.requirement("D63")
@pytest.mark.parametrize("secure", [True, False])
def test_names_of_insecure_mx_records_are_not_believed(secure: bool):
    records = found(MX(1, "a.example.net"), secure=secure, name="expanded.example.com")
    answers = SECURE | {("example.net", "MX"): records, AT: found(USABLE, secure=True)}
    (one,) = planned(answers).exchangers
    names = ("a.example.net", "example.net", "expanded.example.com")
    assert one.terms.names == (names if secure else names[:1])
    assert one.terms.proves == secure


def test_a_plan_can_be_read():
    text = str(planned(SECURE | {AT: found(USABLE, secure=True)}))
    assert text == (
        "example.net: MX records (RFC 5321 §5.1)\n"
        "  1 a.example.net [8.8.8.8] DANE by a.example.net: DANE (RFC 7672 §2.2)"
    )


@pytest.mark.requirement("D54")
def test_a_domain_beyond_ascii_is_looked_up_by_its_a_labels():
    resolver = ScriptedResolver({})
    with Delivery("mail.example.org", resolver=resolver) as delivery:
        assert delivery.plan("BÜCHER.example.").next_hop == "xn--bcher-kva.example"
    assert resolver.asked[0] == ("xn--bcher-kva.example", "MX")


def test_a_name_without_a_dot_is_not_looked_up():
    resolver = ScriptedResolver({})
    with (
        Delivery("mail.example.org", resolver=resolver) as delivery,
        pytest.raises(DeliveryFailed, match="local name"),
    ):
        delivery.send(b"x", Envelope("a@example.org", ["root@localhost"]))
    assert not resolver.asked
