"""Every row of every table by which a delivery decides, over scripted answers.

The tables are those of the decision: MX, addresses, DANE, the policy that is kept, what a mode
asks for, and the walk. A row that no test holds fails here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from smtpx import Envelope, Outcome, SendResult, Status
from smtpx.delivery import DeliveryFailed, Failure, Level, Terms
from smtpx.delivery._settings import obeys_policies
from smtpx.delivery._steps import Renew, Said, Try
from smtpx.delivery.dane import TLSA
from smtpx.delivery.mta_sts import Mode, Policy, StoredPolicy
from smtpx.delivery.resolver import MX, Answer, Question
from smtpx.errors import (
    ConnectionLost,
    ContentRefused,
    ExtensionMissing,
    GreetingRefused,
    HelloRefused,
    LimitExceeded,
    LocalProtocolError,
    RecipientsRefused,
    ReplyError,
    SenderRefused,
    SMTPError,
    TimedOut,
    TLSFailure,
    TLSPolicyError,
    TLSRefused,
)
from smtpx.replies import Reply
from smtpx.tls import Protection

from .script import BOB, FAILED, NODATA, NXDOMAIN, Names, Script, found, replied, unreached

ROWS = {
    "MX": "records; null; none; no domain; failure; none usable",
    "addresses": "either family; neither; neither and one failed; ours; refused",
    "DANE": "insecure; secure alias; secure; failure; no records; usable; unusable; insecure MX",
    "policy": "no TXT; TXT failed; new; new and no fetch; same id; other id; "
    "other id and no fetch; TXT gone; expired",
    "mode": "enforce; testing; none",
    "walk": "no session; terms not met; 4yz; 5yz; 2yz; in doubt; extension missing",
}
ALL = {f"{table}: {row}" for table, rows in ROWS.items() for row in rows.split("; ")}
HELD: set[str] = set()


def row(name: str) -> pytest.MarkDecorator:
    """Mark the test that holds a row."""
    assert name in ALL, name
    HELD.add(name)
    return pytest.mark.requirement(name)


ONE, TWO, THREE = "8.8.8.8", "8.8.4.4", "9.9.9.9"
A, B = "a.example.net", "b.example.net"
MX_A = ("example.net", "MX")


def told(script: Script) -> tuple[Failure | None, str]:
    """What became of the one recipient: the failure, and its enhanced status code."""
    (outcome,) = script.deliver().outcomes
    return outcome.failure, str(outcome.enhanced)


def taken(step: Try) -> Said:
    return replied(step, 250)


# MX.


def hosts(*names: str, secure: bool = False) -> dict[tuple[str, str], Answer]:
    """A domain with these hosts, each of a preference and an address of its own."""
    records = [MX(place, name) for place, name in enumerate(names)]
    script: dict[tuple[str, str], Answer] = {MX_A: found(*records, secure=secure)}
    for name, address in zip(names, (ONE, TWO, THREE), strict=False):
        script[name, "A"] = found(address, secure=secure)
        script[name, "AAAA"] = Answer(NODATA.state, secure=secure)
    return script


@row("MX: records")
def test_hosts_are_tried_by_their_preference_and_what_is_none_is_dropped():
    records = [
        MX(2, B),
        MX(1, A),
        MX(1, A.upper()),
        MX(0, ""),
        MX(0, "192.0.2.1"),
        MX(3, "me.test"),
    ]
    names = hosts(A, B) | {MX_A: found(*records, MX(4, "after.test"))}
    script = Script(names, own_names=frozenset({"me.test"}))
    assert told(script)[0] is Failure.UNREACHABLE
    assert [step.host for step in script.tried] == [A, B]
    notes = " ".join(script.plan().notes)
    assert all(word in notes for word in ("null MX", "192.0.2.1", "me.test is ourselves"))


@row("MX: null")
@pytest.mark.parametrize("preference", [0, 10, 65535])
def test_a_null_mx_is_final_and_nothing_else_is_asked(preference: int):
    script = Script({MX_A: found(MX(preference, ""))})
    assert told(script) == (Failure.NULL_MX, "5.1.10")
    assert [kind for _, kind in script.asked] == ["MX", "TXT"]


@row("MX: none")
@pytest.mark.parametrize("secure", [True, False])
def test_a_domain_without_records_is_its_own_host(secure: bool):
    """And what DNSSEC vouches for is as good as a signed record."""
    names = {
        MX_A: Answer(NODATA.state, secure=secure, name="www.example.com"),
        ("example.net", "A"): found(ONE, secure=True, name="www.example.com"),
        ("example.net", "AAAA"): Answer(NODATA.state, secure=True, name="www.example.com"),
        ("_25._tcp.www.example.com", "TLSA"): found(TLSA(3, 1, 1, bytes(32)), secure=True),
    }
    script = Script(names, says=taken)
    (outcome,) = script.deliver().outcomes
    assert (outcome.host, outcome.address) == ("example.net", ONE)
    assert outcome.terms is not None
    assert outcome.terms.mx_insecure is not secure
    base = ("www.example.com",)
    assert outcome.terms.names == (*base, "example.net") * secure + base * (not secure)


@row("MX: none")
def test_a_domain_without_records_that_is_ourselves_loops():
    script = Script({(A, "A"): found(ONE)}, own_names=frozenset({A}), says=taken)
    (outcome,) = script.deliver(Envelope("ann@example.org", f"bob@{A}")).outcomes
    assert (outcome.failure, script.tried) == (Failure.LOOPS, [])


@pytest.mark.parametrize(
    ("literal", "own"),
    [
        ("[IPv6:2A00:0:0::1]", "2a00::1"),
        ("[IPv6:2a00:0:0:0:0:0:0:1]", "2a00::1"),
        ("[8.8.8.8]", "8.8.8.8"),
    ],
)
def test_an_address_of_ours_is_ours_however_it_is_spelt(literal: str, own: str):
    envelope = Envelope("ann@example.org", f"bob@{literal}")
    script = Script({}, own_addresses=frozenset({own}), says=taken)
    (outcome,) = script.deliver(envelope).outcomes
    assert (outcome.failure, script.tried) == (Failure.LOOPS, [])
    (outcome,) = Script({}, says=taken).deliver(envelope).outcomes
    assert outcome.address == own


@row("MX: no domain")
def test_a_domain_that_is_not_there_is_refused_for_good():
    script = Script({MX_A: NXDOMAIN})
    assert told(script) == (Failure.NO_SUCH_DOMAIN, "5.1.2")
    assert script.deliver().outcomes[0].status is Status.REFUSED


@row("MX: failure")
def test_what_is_not_known_is_never_taken_for_none():
    script = Script({MX_A: FAILED, ("example.net", "A"): found(ONE)}, says=taken)
    assert told(script) == (Failure.LOOKUP_FAILED, "4.4.3")
    assert not script.tried
    assert "SERVFAIL" in str(script.deliver().error)


@row("MX: none usable")
@pytest.mark.parametrize(
    ("records", "own", "failure"),
    [
        ([MX(1, "192.0.2.1"), MX(2, "a b"), MX(3, "")], "me.test", Failure.NO_ADDRESS),
        ([MX(1, "nowhere.test")], "me.test", Failure.NO_ADDRESS),
        # One that was dropped for a passing reason.
        ([MX(1, "nowhere.test"), MX(2, "fails.test")], "me.test", Failure.LOOKUP_FAILED),
        ([MX(1, "me.test"), MX(2, A)], "me.test", Failure.LOOPS),
    ],
)
def test_records_of_which_none_is_of_use(records: list[MX], own: str, failure: Failure):
    names = {MX_A: found(*records), ("fails.test", "A"): FAILED}
    assert told(Script(names, own_names=frozenset({own})))[0] is failure


# Addresses.


@row("addresses: either family")
@pytest.mark.parametrize("other", [NODATA, NXDOMAIN, FAILED])
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_one_family_is_enough(kind: str, other: Answer):
    address, missing = (ONE, "AAAA") if kind == "A" else ("2001:4860::8", "A")
    names = {MX_A: found(MX(1, A)), (A, kind): found(address), (A, missing): other}
    (outcome,) = Script(names, says=taken).deliver().outcomes
    assert outcome.address == address


@row("addresses: neither")
@pytest.mark.parametrize("nothing", [NODATA, NXDOMAIN])
def test_a_host_without_an_address_is_passed_over(nothing: Answer):
    names = hosts(A, B) | {(A, "A"): nothing, (A, "AAAA"): nothing}
    assert Script(names, says=taken).deliver().outcomes[0].host == B
    del names[B, "A"]
    assert told(Script(names)) == (Failure.NO_ADDRESS, "5.4.4")


@row("addresses: neither and one failed")
@pytest.mark.parametrize("lost", ["A", "AAAA"])
def test_a_host_that_may_have_one_is_another_time(lost: str):
    names = hosts(A, B) | {(A, "A"): NODATA, (A, "AAAA"): NODATA, (A, lost): FAILED}
    assert Script(names, says=taken).deliver().outcomes[0].host == B
    names[B, "A"] = NODATA
    assert told(Script(names)) == (Failure.LOOKUP_FAILED, "4.4.3")


@row("addresses: ours")
@pytest.mark.parametrize(
    ("best", "failure"), [(True, (Failure.LOOPS, "5.4.6")), (False, (Failure.NO_ROUTE, "4.4.4"))]
)
@pytest.mark.parametrize("known_by", ["own_names", "own_addresses"])
@pytest.mark.parametrize("better", [NODATA, NXDOMAIN, found("10.0.0.1")])
def test_a_host_that_is_we_ends_the_list(best: bool, failure: Any, known_by: str, better: Answer):
    """Whether it is known by its name or by its address."""
    names = hosts(A, B, "c.example.net")
    if not best:
        names |= {(A, "A"): better}
    name, address = (A, ONE) if best else (B, TWO)
    ours = name if known_by == "own_names" else address
    own: dict[str, Any] = {known_by: frozenset({ours})}
    script = Script(names, says=taken, **own)
    plan = script.plan()
    assert plan.failure is not None
    assert (plan.failure.failure, str(plan.failure.failure.enhanced)) == failure
    assert told(script) == failure
    assert not script.tried


@row("addresses: ours")
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_a_host_or_domain_that_is_an_alias_of_us_is_we(kind: str):
    alias = found(ONE, name="me.test")
    script = Script(hosts(A) | {(A, kind): alias}, own_names=frozenset({"me.test"}), says=taken)
    assert told(script) == (Failure.LOOPS, "5.4.6")
    names = {MX_A: Answer(NODATA.state, name="me.test"), ("example.net", kind): alias}
    script = Script(names, own_names=frozenset({"me.test"}), says=taken)
    assert told(script) == (Failure.LOOPS, "5.4.6")
    assert not script.tried


@row("addresses: refused")
def test_an_address_of_no_internet_is_skipped_and_the_host_where_it_has_no_other():
    names = hosts(A, B) | {
        (A, "A"): found("10.0.0.1", "127.0.0.1"),
        (B, "A"): found("10.0.0.2", TWO),
    }
    script = Script(names, says=taken)
    assert script.deliver().outcomes[0].address == TWO
    names[B, "A"] = found("192.168.0.1")
    script = Script(names)
    assert told(script) == (Failure.ADDRESS_REFUSED, "5.4.4")
    assert "10.0.0.1" in str(script.deliver().error)


# DANE.

USABLE, UNUSABLE = TLSA(3, 1, 1, bytes(32)), TLSA(1, 1, 1, bytes(32))
AT_A = (f"_25._tcp.{A}", "TLSA")
SIGNED = hosts(A, secure=True)


def of_host(names: Names, **options: Any) -> tuple[Terms, bool, set[str]]:
    """The terms of the host; whether it is skipped; where TLSA records were asked for."""
    script = Script(names, **options)
    (one,) = script.plan().exchangers
    asked = {name for name, kind in script.asked if kind == "TLSA"}
    return one.terms, one.skipped is not None, asked


@row("DANE: insecure")
@pytest.mark.parametrize("mx", [True, False])
def test_of_insecure_addresses_no_records_are_asked_for(mx: bool):
    names = SIGNED | {MX_A: found(MX(1, A), secure=mx), (A, "A"): found(ONE), AT_A: FAILED}
    assert of_host(names) == (Terms.OPPORTUNISTIC, False, set())


@row("DANE: secure")
@pytest.mark.parametrize("other", [NODATA, NXDOMAIN, FAILED, found("2001:4860::1")])
@pytest.mark.parametrize("kinds", [("A", "AAAA"), ("AAAA", "A")])
def test_secure_addresses_of_one_family_will_do(other: Answer, kinds: tuple[str, str]):
    """Whatever is said of the other one: there are zones whose denials do not hold."""
    one, another = kinds
    records = {(A, one): found("2606:4700::1", secure=True), (A, another): other}
    terms, _, asked = of_host(SIGNED | records | {AT_A: found(USABLE, secure=True)})
    assert (terms.level, asked) == (Level.DANE, {AT_A[0]})


ALIAS = {
    MX_A: found(MX(1, A), secure=True),
    (A, "A"): found(ONE, name=B),
    (A, "AAAA"): Answer(NODATA.state, name=B),
    (A, "CNAME"): found(B, secure=True),
}


@row("DANE: secure alias")
@pytest.mark.parametrize(
    ("alias", "base"),
    [(found(B, secure=True), A), (found(B), None), (NODATA, None)],
)
def test_a_secure_alias_of_what_is_insecure_is_the_base(alias: Answer, base: str | None):
    names = ALIAS | {(A, "CNAME"): alias, AT_A: found(USABLE, secure=True)}
    terms, skipped, asked = of_host(names)
    assert (terms.base or None, skipped) == (base, False)
    assert asked == ({AT_A[0]} if base else set())


@row("DANE: secure alias")
def test_an_alias_that_is_not_known_may_be_secure():
    """Whoever keeps the answer from us must not have switched DANE off by that."""
    names = ALIAS | {(A, "CNAME"): FAILED, AT_A: found(USABLE, secure=True)}
    script = Script(names, says=taken)
    assert told(script) == (Failure.TLS_POLICY, "4.7.5")
    assert not script.tried
    # Where nobody validates there is no DANE, and nothing is asked for it.
    script = Script(names, says=taken, validates=False)
    assert script.deliver().complete
    assert {kind for _, kind in script.asked} == {"MX", "TXT", "A", "AAAA"}


@row("DANE: secure")
@pytest.mark.parametrize(
    ("expanded", "base", "skipped"),
    [
        (found(USABLE, secure=True), B, False),
        (NODATA, A, False),
        (NXDOMAIN, A, False),
        (found(USABLE), A, False),
        # A failure goes on to nothing else.
        (FAILED, "", True),
    ],
)
def test_of_a_secure_alias_the_expanded_name_goes_first(expanded: Answer, base: str, skipped):
    names = ALIAS | {
        (A, "A"): found(ONE, secure=True, name=B),
        (A, "AAAA"): Answer(NODATA.state, secure=True, name=B),
        (f"_25._tcp.{B}", "TLSA"): expanded,
        AT_A: found(USABLE, secure=True),
    }
    terms, is_skipped, asked = of_host(names)
    assert (terms.base, is_skipped) == (base, skipped)
    assert asked == {f"_25._tcp.{B}", *([AT_A[0]] if base == A else [])}


@row("DANE: failure")
@pytest.mark.parametrize("mode", [None, "enforce", "testing"])
def test_records_that_are_not_known_stop_the_host_whatever_a_policy_says(mode: str | None):
    names = hosts(A, B, secure=True) | {AT_A: FAILED}
    script = with_policy(mode, names, says=taken) if mode else Script(names, says=taken)
    assert script.deliver().outcomes[0].host == B
    names[f"_25._tcp.{B}", "TLSA"] = FAILED
    script = with_policy(mode, names, says=taken) if mode else Script(names, says=taken)
    assert told(script) == (Failure.TLS_POLICY, "4.7.5")
    assert not script.tried


@row("DANE: no records")
@pytest.mark.parametrize(
    "answer",
    [NODATA, NXDOMAIN, Answer(NODATA.state, secure=True), found(USABLE), found(UNUSABLE)],
)
def test_where_there_are_none_or_nobody_vouches_for_them_there_is_no_dane(answer: Answer):
    assert of_host(SIGNED | {AT_A: answer})[:2] == (Terms.OPPORTUNISTIC, False)


@row("DANE: usable")
def test_one_usable_record_is_enough():
    terms, skipped, _ = of_host(SIGNED | {AT_A: found(UNUSABLE, USABLE, secure=True)})
    assert (terms.level, terms.records, skipped) == (Level.DANE, (USABLE,), False)
    assert terms.proves


@row("DANE: unusable")
@pytest.mark.parametrize(("mode", "level"), [(None, Level.ENCRYPTED), ("enforce", Level.VERIFIED)])
def test_records_of_which_none_is_usable_ask_for_tls(mode: str | None, level: Level):
    names = SIGNED | {AT_A: found(UNUSABLE, secure=True)}
    script = with_policy(mode, names) if mode else Script(names)
    assert script.plan().exchangers[0].terms.level is level


@row("DANE: insecure MX")
def test_records_behind_insecure_mx_records_are_obeyed_and_prove_nothing():
    names = SIGNED | {MX_A: found(MX(1, A)), AT_A: found(USABLE, secure=True)}
    terms, _, _ = of_host(names)
    assert (terms.level, terms.mx_insecure, terms.names) == (Level.DANE, True, (A,))
    assert not terms.proves


# The policy that is kept.

TXT = ("_mta-sts.example.net", "TXT")
AT_HOST = {("mta-sts.example.net", "A"): found(THREE)}
OLD = Policy(Mode.ENFORCE, 1000, ("old.example.net",))
NEW = Policy(Mode.ENFORCE, 1000, ("*.example.net",))
BODY = "version: STSv1\nmode: enforce\nmx: *.example.net\nmax_age: 1000\n"
NOW = 1e9
KEPT = StoredPolicy("1", NOW - 10, OLD)


def id_of(*ids: str) -> Answer:
    return found(*(f"v=STSv1; id={id};" for id in ids))


def with_policy(mode: str, names: Names, **options: Any) -> Script:
    """A domain with a policy that names its hosts."""
    body = BODY.replace("enforce", mode)
    return Script({**names, **AT_HOST, TXT: id_of("1")}, policy=body, **options)


def looked_at(txt: Answer, body: str | None, **options: Any) -> tuple[Policy | None, Script]:
    script = Script({**hosts(A), **AT_HOST, TXT: txt}, policy=body, now=NOW, **options)
    return script.plan().policy, script


@row("policy: no TXT")
@pytest.mark.parametrize(
    "txt", [NODATA, NXDOMAIN, id_of("1", "2"), id_of("a-b"), found("v=spf1 -all")]
)
def test_without_a_record_that_can_be_read_there_is_none(txt: Answer):
    policy, script = looked_at(txt, BODY)
    assert (policy, script.fetched, script.kept) == (None, 0, [])


@row("policy: TXT failed")
def test_a_record_that_is_not_known_stops_no_mail_and_is_counted():
    policy, script = looked_at(FAILED, BODY, counts=True)
    assert (policy, script.fetched, script.kept) == (None, 0, [])
    (count,) = script.counted
    assert count.failure is not None
    assert count.failure.result.value == "sts-policy-fetch-error"


@row("policy: new")
@pytest.mark.parametrize("age", [0, 1, 1000])
def test_a_new_policy_is_fetched_and_counts_at_once_however_short_it_holds(age: int):
    policy, script = looked_at(id_of("1"), BODY.replace("1000", str(age)))
    assert policy == Policy(Mode.ENFORCE, age, ("*.example.net",))
    assert script.fetched == 1
    assert [keep.id for keep in script.kept] == ["1"]


@row("policy: new and no fetch")
@pytest.mark.parametrize("body", [None, "nothing"])
def test_one_that_cannot_be_had_is_none_and_is_not_asked_for_at_once(body: str | None):
    policy, script = looked_at(id_of("1"), body, counts=True)
    assert policy is None
    assert [(keep.id, keep.stored) for keep in script.kept] == [("1", None)]
    assert "cannot be had" in str(script.plan())
    assert script.fetched <= 1
    # Another id is another policy.
    script.names[TXT], script.policy = id_of("2"), BODY
    assert script.plan().policy == NEW


@row("policy: new and no fetch")
def test_one_that_takes_too_long_is_told_of():
    """A host that says nothing holds up the mail for a while; whoever looks has to see why."""

    class Slow(Script):
        def _answer(self, step: object) -> Any:
            return None if isinstance(step, Renew) else super()._answer(step)

    plan = Slow(hosts(A) | {TXT: id_of("1")}).plan()
    assert plan.policy is None
    assert "still being fetched" in str(plan)


@row("policy: same id")
def test_what_is_kept_under_the_same_id_is_not_fetched():
    policy, script = looked_at(id_of("1"), BODY, stored={"example.net": KEPT})
    assert (policy, script.fetched) == (OLD, 0)


@row("policy: other id")
@pytest.mark.parametrize("mode", list(Mode))
def test_another_id_has_the_policy_be_fetched(mode: Mode):
    body = BODY.replace("enforce", mode.value)
    _, script = looked_at(id_of("2"), body, stored={"example.net": KEPT})
    assert script.fetched == 1
    assert script.stored["example.net"].policy.mode is mode
    assert script.stored["example.net"].id == "2"


class Beside(Script):
    """A policy that is fetched beside the mail is not there before the mail has gone."""

    def _answer(self, step: object) -> Any:
        if isinstance(step, Renew) and not step.waits:
            return None
        return super()._answer(step)


@row("policy: other id")
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("mode", list(Mode))
def test_mail_waits_for_another_policy_where_the_old_one_does_not_protect_it(
    mode: Mode, counts: bool
):
    kept = StoredPolicy("1", NOW - 10, Policy(mode, 1000, ("a.example.net",)))
    names = hosts(A) | AT_HOST | {TXT: id_of("2")}
    script = Beside(
        names, policy=BODY, now=NOW, stored={"example.net": kept}, says=taken, counts=counts
    )
    (outcome,) = script.deliver().outcomes
    assert outcome.terms == Terms.VERIFIED
    assert script.plan().policy == (kept.policy if mode is Mode.ENFORCE else NEW)


@row("policy: same id")
@pytest.mark.parametrize("mode", list(Mode))
def test_no_mail_waits_for_the_same_policy_to_be_renewed(mode: Mode):
    kept = StoredPolicy("1", NOW - 90000, Policy(mode, 1000000, ("a.example.net",)))
    names = hosts(A) | AT_HOST | {TXT: id_of("1")}
    script = Beside(names, policy=BODY, now=NOW, stored={"example.net": kept})
    assert script.plan().policy == kept.policy


@row("policy: other id and no fetch")
@pytest.mark.parametrize("mode", [Mode.TESTING, Mode.NONE])
def test_another_policy_that_takes_too_long_is_told_of(mode: Mode):
    class Slow(Script):
        def _answer(self, step: object) -> Any:
            return None if isinstance(step, Renew) else super()._answer(step)

    kept = StoredPolicy("1", NOW - 10, Policy(mode, 1000, ("a.example.net",)))
    script = Slow(hosts(A) | {TXT: id_of("2")}, now=NOW, stored={"example.net": kept})
    plan = script.plan()
    assert plan.policy == kept.policy
    assert "still being fetched" in str(plan)


@row("policy: other id and no fetch")
def test_what_cannot_be_renewed_goes_on():
    policy, script = looked_at(id_of("2"), None, stored={"example.net": KEPT})
    assert (policy, script.fetched) == (OLD, 1)
    assert script.stored["example.net"] is KEPT
    # And is left alone for a while.
    assert script.plan().policy == OLD
    assert script.fetched == 1


@row("policy: TXT gone")
@pytest.mark.parametrize("txt", [NODATA, NXDOMAIN, FAILED, id_of("1", "2"), id_of("a b")])
def test_what_is_kept_is_never_dropped_for_want_of_a_record(txt: Answer):
    policy, script = looked_at(txt, BODY, stored={"example.net": KEPT}, counts=True)
    assert (policy, script.fetched) == (OLD, 0)
    assert len(script.counted) == 1


@row("policy: expired")
@pytest.mark.parametrize("txt", [NODATA, FAILED, id_of("1"), id_of("2")])
def test_what_has_expired_is_none(txt: Answer):
    old = StoredPolicy("1", NOW - 2000, OLD)
    policy, _ = looked_at(txt, None, stored={"example.net": old})
    assert policy is None


# What a mode asks for.

NO_TLS = TLSPolicyError("no STARTTLS", TLSFailure.STARTTLS_MISSING)
BAD = TLSPolicyError("of another", TLSFailure.CERTIFICATE_OF_ANOTHER_HOST)


def as_asked(fault: Exception | None) -> Callable[[Try], Said]:
    """A host whose TLS has a fault, if anybody asks for TLS."""

    def says(step: Try) -> Said:
        if fault is not None and step.terms.level > Level.OPPORTUNISTIC:
            return Said(error=fault, address=step.addresses[0], begun=step.addresses)  # type: ignore[arg-type]
        return replied(step, 250, protection=Protection("TLSv1.3", "AES"))

    return says


WRONG = {"host not matched": None, "no STARTTLS": NO_TLS, "certificate": BAD}


def under(mode: str, why: str, **options: Any) -> Script:
    names = hosts(A)
    if why == "host not matched":
        names = {MX_A: found(MX(1, "mx.other.test")), ("mx.other.test", "A"): found(ONE)}
    return with_policy(mode, names, says=as_asked(WRONG[why]), **options)


@row("mode: enforce")
@pytest.mark.parametrize("why", WRONG)
def test_an_enforced_policy_stops_the_mail_after_a_fresh_look(why: str):
    script = under("enforce", why)
    assert told(script) == (Failure.TLS_POLICY, "4.7.5")
    assert script.asked.count(Question(*TXT)) == 2
    # The owner has changed it meanwhile.
    script = under("enforce", why, later={TXT: id_of("2")})
    script.policy = BODY
    plan = script.plan()
    assert plan.policy == NEW
    script.policy = BODY.replace("enforce", "none")
    assert script.deliver().complete


@row("mode: testing")
@pytest.mark.parametrize("why", WRONG)
@pytest.mark.parametrize("counts", [True, False])
def test_a_policy_in_testing_stops_nothing_and_is_told_of(why: str, counts: bool):
    script = under("testing", why, counts=counts)
    assert script.deliver().complete
    failures = [one.failure.result.value for one in script.counted if one.failure]
    expected = {
        "host not matched": "validation-failure",
        "no STARTTLS": "starttls-not-supported",
        "certificate": "certificate-host-mismatch",
    }
    assert failures == ([expected[why]] if counts else [])


@row("mode: none")
@pytest.mark.parametrize("why", WRONG)
def test_a_policy_of_mode_none_asks_for_nothing(why: str):
    script = under("none", why)
    assert script.deliver().complete
    assert script.tried[0].terms == Terms.OPPORTUNISTIC


# The walk.

GREETING_4 = GreetingRefused(None, Reply.of(450, "4.3.2 later"))
GREETING_5 = GreetingRefused(None, Reply.of(554, "5.7.1 no"))
HELLO_5 = HelloRefused("EHLO x", Reply.of(550, "5.7.1 no"))
PARTING = HelloRefused("EHLO x", Reply.of(421, "4.3.2 bye"))
LATE = TimedOut("silence", phase="greeting")


def first(answer: Callable[[Try], Said], then: Callable[[Try], Said] = taken) -> Script:
    """Two hosts; the first says this, the second that."""
    return Script(hosts(A, B), says=lambda step: (answer if step.host == A else then)(step))


def failing(error: Any) -> Callable[[Try], Said]:
    return lambda step: Said(error=error, address=step.addresses[0], begun=step.addresses)


NO_SESSION = {
    "no connection": unreached,
    "no greeting": failing(LATE),
    "4yz greeting": failing(GREETING_4),
    "5yz greeting": failing(GREETING_5),
    "5yz EHLO": failing(HELLO_5),
    "421": failing(PARTING),
    "cut in the greeting": failing(ConnectionLost("cut", phase="greeting")),
}


@row("walk: no session")
@pytest.mark.parametrize("why", NO_SESSION)
def test_where_there_is_no_session_the_next_host_has_all(why: str):
    script = first(NO_SESSION[why])
    (outcome,) = script.deliver().outcomes
    assert (outcome.host, outcome.status) == (B, Status.ACCEPTED)
    assert len(outcome.attempts) == 2
    # If there is no other host, a refusal for good is final, and all else is not.
    (outcome,) = Script(hosts(A), says=NO_SESSION[why]).deliver().outcomes
    assert outcome.retryable is not why.startswith("5yz")


@row("walk: no session")
def test_a_refusal_for_now_goes_before_one_for_good():
    (outcome,) = first(NO_SESSION["5yz greeting"], NO_SESSION["4yz greeting"]).deliver().outcomes
    assert outcome.retryable
    (outcome,) = first(NO_SESSION["4yz greeting"], NO_SESSION["5yz greeting"]).deliver().outcomes
    assert outcome.retryable


@row("addresses: neither and one failed")
@pytest.mark.parametrize("order", [(A, B), (B, A)])
@pytest.mark.parametrize("refusal", ["5yz greeting", "5yz EHLO"])
def test_a_refusal_is_not_final_while_the_dns_does_not_say_where_another_host_is(
    order: tuple[str, str], refusal: str
):
    names = hosts(*order) | {(A, "A"): FAILED}
    script = Script(names, says=NO_SESSION[refusal])
    assert told(script) == (Failure.LOOKUP_FAILED, "4.4.3")
    assert script.deliver().outcomes[0].retryable


@row("walk: no session")
@pytest.mark.parametrize("order", [(A, B), (B, A)])
@pytest.mark.parametrize("refusal", ["5yz greeting", "5yz EHLO"])
def test_a_refusal_is_not_final_while_another_host_was_not_asked(
    order: tuple[str, str], refusal: str
):
    """There was no place for another session with it, or another message was trying it."""

    def waiting(step: Try) -> Said:
        return Said(error=TimedOut("as many sessions as there may be", phase="connect"))

    says = {order[0]: NO_SESSION[refusal], order[1]: waiting}
    script = Script(hosts(A, B), says=lambda step: says[step.host](step))
    assert told(script) == (Failure.UNREACHABLE, "4.4.1")


@row("walk: terms not met")
@pytest.mark.parametrize("fault", [NO_TLS, BAD, TLSRefused("STARTTLS", Reply.of(502, "no"))])
def test_where_the_terms_are_not_met_the_next_host_has_all(fault: Any):
    script = first(failing(fault))
    script.rules = Script({}, minimum=Terms.ENCRYPTED).rules
    (outcome,) = script.deliver().outcomes
    assert (outcome.host, outcome.status) == (B, Status.ACCEPTED)
    script = Script(hosts(A), says=failing(fault), minimum=Terms.ENCRYPTED)
    assert told(script) == (Failure.TLS_POLICY, "4.7.5")


SAID: dict[str, Callable[[int], ReplyError]] = {
    "MAIL": lambda code: SenderRefused("MAIL", Reply.of(code, "no")),
    "RCPT": lambda code: RecipientsRefused("RCPT", Reply.of(code, "no")),
    "END-OF-DATA": lambda code: ContentRefused(None, Reply.of(code, "no")),
}
BOTH = Envelope("ann@example.org", ["bob@example.net", "eve@example.net"])


def refusing(command: str, code: int) -> Callable[[Try], Said]:
    return lambda step: replied(step, code, error=SAID[command](code))


@row("walk: 4yz")
@pytest.mark.parametrize("command", SAID)
def test_what_is_refused_for_now_goes_to_one_more_host(command: str):
    (outcome,) = first(refusing(command, 450)).deliver().outcomes
    assert (outcome.host, outcome.status) == (B, Status.ACCEPTED)
    # Two sessions at most, and the first word is told.
    names = hosts(A, B, "c.example.net")
    script = Script(names, says=lambda step: refusing(command, 450 + len(script.tried))(step))
    (outcome,) = script.deliver().outcomes
    assert [step.host for step in script.tried] == [A, B]
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.host, outcome.retryable) == (451, A, True)


@row("walk: 4yz")
def test_only_those_who_were_refused_for_now_go_on():
    script = first(lambda step: replied(step, 250, 450))
    bob, eve = script.deliver(BOTH).outcomes
    assert (bob.host, eve.host) == (A, B)
    assert [str(one.address) for one in script.tried[1].envelope.recipients] == ["eve@example.net"]


@row("walk: 5yz")
@pytest.mark.parametrize("command", SAID)
def test_what_is_refused_for_good_goes_to_no_other_host(command: str):
    script = first(refusing(command, 550))
    (outcome,) = script.deliver().outcomes
    assert (outcome.host, outcome.status, outcome.retryable) == (A, Status.REFUSED, False)
    assert len(script.tried) == 1


@row("walk: 2yz")
def test_who_is_taken_is_sent_to_no_other_host():
    script = first(taken)
    assert script.deliver(BOTH).complete
    assert len(script.tried) == 1


@row("walk: in doubt")
def test_who_is_in_doubt_is_sent_to_no_other_host():
    script = first(lambda step: replied(step, None))
    (outcome,) = script.deliver().outcomes
    assert outcome.status is Status.IN_DOUBT
    assert len(script.tried) == 1
    assert isinstance(script.deliver().error, ConnectionLost)


LACKING: dict[str, tuple[SMTPError, Failure]] = {
    "SMTPUTF8": (ExtensionMissing("SMTPUTF8", "needed"), Failure.NO_EXTENSION),
    "REQUIRETLS": (ExtensionMissing("REQUIRETLS", "needed"), Failure.NO_REQUIRETLS),
    "8BITMIME": (LimitExceeded("8BITMIME", "it takes ASCII"), Failure.NO_EXTENSION),
    "DELIVERBY": (LimitExceeded("DELIVERBY", "it is slow"), Failure.NO_EXTENSION),
    "SIZE": (LimitExceeded("SIZE", "it takes less"), Failure.TOO_LARGE),
}


def unsent(error: SMTPError) -> Callable[[Try], Said]:
    """As a session tells of what it did not begin: with a result, or without one."""

    def says(step: Try) -> Said:
        outcomes = [
            Outcome(one.address, Status.NOT_TRIED, None) for one in step.envelope.recipients
        ]
        return Said(
            SendResult(outcomes, None, error),
            error,
            address=step.addresses[0],
            begun=step.addresses,
        )

    return says


@row("walk: extension missing")
@pytest.mark.parametrize("keyword", LACKING)
@pytest.mark.parametrize("telling", [failing, unsent])
def test_what_a_host_lacks_another_may_have(keyword: str, telling: Any):
    error, failure = LACKING[keyword]
    assert first(telling(error)).deliver().outcomes[0].host == B
    for names in (hosts(A), hosts(A, B)):
        script = Script(names, says=telling(error))
        (outcome,) = script.deliver().outcomes
        assert (outcome.failure, outcome.status) == (failure, Status.REFUSED)
        assert not outcome.retryable
        assert isinstance(script.deliver().error, DeliveryFailed)


@row("walk: extension missing")
@pytest.mark.parametrize("keyword", LACKING)
@pytest.mark.parametrize("telling", [failing, unsent])
def test_hosts_that_lack_something_leave_the_sessions_to_others(keyword: str, telling: Any):
    lacking = telling(LACKING[keyword][0])
    script = Script(
        hosts(A, B, "c.example.net"),
        says=lambda step: (taken if step.host.startswith("c") else lacking)(step),
    )
    assert script.deliver().complete


@row("walk: extension missing")
@pytest.mark.parametrize("keyword", LACKING)
@pytest.mark.parametrize("order", [(A, B), (B, A)])
@pytest.mark.parametrize("why", ["no connection", "no greeting", "4yz greeting", "421"])
def test_what_a_host_lacks_is_not_final_while_another_may_have_it(
    keyword: str, order: tuple[str, str], why: str
):
    says = {order[0]: failing(LACKING[keyword][0]), order[1]: NO_SESSION[why]}
    (outcome,) = Script(hosts(A, B), says=lambda step: says[step.host](step)).deliver().outcomes
    assert outcome.retryable


@pytest.mark.parametrize("order", [(A, B), (B, A)])
@pytest.mark.parametrize("keyword", LACKING)
@pytest.mark.parametrize("address", [None, "10.0.0.1"])
def test_what_a_host_has_said_is_told_before_what_another_one_is(
    order: tuple[str, str], keyword: str, address: str | None
):
    error, failure = LACKING[keyword]
    names = hosts(*order) | {(A, "A"): NODATA if address is None else found(address)}
    assert told(Script(names, says=failing(error)))[0] is failure


def test_what_is_wrong_with_the_message_itself_is_asked_of_one_host():
    script = first(failing(LocalProtocolError("no content")))
    result = script.deliver()
    assert isinstance(result.error, LocalProtocolError)
    assert [step.host for step in script.tried] == [A]


# All together.


def expected(dane: str, mode: str, named: bool, required: bool) -> Level | None:
    """The terms of a host by the precedence of the RFCs; ``None`` where it is skipped."""
    if dane == "failed":
        return None
    if dane == "usable":
        level = Level.DANE
    elif mode == "enforce":
        if not named:
            return None
        level = Level.VERIFIED
    else:
        level = Level.ENCRYPTED if dane == "unusable" else Level.OPPORTUNISTIC
    return None if required and level < Level.VERIFIED else level


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
def test_precedence(mode: str, required: bool):
    """DANE before a policy, a policy before the minimum (RFC 8461 §2, RFC 8689 §4.2.1)."""
    dane = {
        "usable": found(USABLE, secure=True),
        "unusable": found(UNUSABLE, secure=True),
        "none": NODATA,
        "failed": FAILED,
    }
    for state, named in product(dane, (True, False)):
        names = SIGNED | {AT_A: dane[state]}
        script = with_policy(mode, names, says=taken)
        if not named:
            script.policy = (script.policy or "").replace("*.", "other.")
        envelope = Envelope("a@example.org", "b@example.net", require_tls=required)
        (outcome,) = script.deliver(envelope).outcomes
        level = expected(state, mode, named, required)
        assert (outcome.terms and outcome.terms.level) == level, (state, named)
        assert len(script.tried) == (level is not None)


@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
@pytest.mark.parametrize("named", [True, False])
def test_who_forges_mx_records_gets_past_no_policy_by_records_of_his_own(mode: str, named: bool):
    """TLSA records say who a host is, and not that it is one of the domain's."""
    names = SIGNED | {MX_A: found(MX(1, A)), AT_A: found(USABLE, secure=True)}
    script = with_policy(mode, names, says=taken)
    if not named:
        script.policy = (script.policy or "").replace("*.", "other.")
    (outcome,) = script.deliver().outcomes
    if mode == "enforce" and not named:
        assert (outcome.failure, script.tried) == (Failure.TLS_POLICY, [])
        return
    assert outcome.terms is not None
    assert outcome.terms.level is Level.DANE
    # A host that an enforced policy names is not forged, and keeps REQUIRETLS.
    is_vouched = mode == "enforce"
    assert outcome.terms.proves is is_vouched
    assert outcome.terms.mx_insecure is not is_vouched
    (outcome,) = script.deliver(BOB.replace(require_tls=True)).outcomes
    assert outcome.failure is (None if is_vouched else Failure.NO_REQUIRETLS)


@pytest.mark.parametrize("secure", [True, False])
def test_a_minimum_keeps_requiretls_where_the_mx_records_cannot_be_forged(secure: bool):
    """RFC 8689 §8.2: a certificate of the host is worth no more than the host's name."""
    script = Script(hosts(A, secure=secure), minimum=Terms.VERIFIED, says=taken)
    (outcome,) = script.deliver().outcomes
    assert outcome.terms == Terms(Level.VERIFIED, mx_insecure=not secure)
    assert str(outcome.terms) == "VERIFIED" + " (MX insecure)" * (not secure)
    (outcome,) = script.deliver(BOB.replace(require_tls=True)).outcomes
    assert outcome.failure is (None if secure else Failure.NO_REQUIRETLS)


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("minimum", [Terms.OPPORTUNISTIC, Terms.ENCRYPTED, Terms.VERIFIED])
def test_records_of_a_host_that_may_be_forged_do_not_stand_for_a_verified_one(
    minimum: Terms, secure: bool
):
    """What REQUIRETLS does not believe, `minimum=Terms.VERIFIED` does not either."""
    names = SIGNED | {MX_A: found(MX(1, A), secure=secure), AT_A: found(USABLE, secure=True)}
    script = Script(names, minimum=minimum, says=taken)
    (outcome,) = script.deliver().outcomes
    assert outcome.terms is not None
    is_verified = minimum == Terms.VERIFIED and not secure
    assert outcome.terms.level is (Level.VERIFIED if is_verified else Level.DANE)
    assert outcome.terms.proves is secure
    (outcome,) = script.deliver(BOB.replace(require_tls=True)).outcomes
    assert outcome.failure is (None if secure else Failure.NO_REQUIRETLS)


@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
def test_a_message_that_does_without_policies_is_stopped_by_none(mode: str):
    for answer in (found(USABLE, secure=True), FAILED):
        script = with_policy(mode, SIGNED | {AT_A: answer}, says=taken)
        (outcome,) = script.deliver(obeys_policies=False).outcomes
        assert outcome.terms == Terms.OPPORTUNISTIC


@pytest.mark.parametrize(
    ("content", "obeys"),
    [
        (b"TLS-Required: No\r\n\r\nx\r\n", False),
        (b"Subject: x\r\ntls-required:NO \r\n\r\nx\r\n", False),
        (b"TLS-Required: No\n\nx\n", False),
        # Folded, as any field may be.
        (b"TLS-Required:\r\n No\r\n\r\nx\r\n", False),
        (b"TLS-Required:\n\tNo\nSubject: x\n\nx\n", False),
        (b"TLS-Required: No,\r\n thanks\r\n\r\nx\r\n", True),
        (b"TLS-Required:\r\nNo: No\r\n\r\nx\r\n", True),
        (b"TLS-Required: Yes\r\n\r\nx\r\n", True),
        (b"Subject: x\r\n\r\nTLS-Required: No\r\n", True),
        # A message without a header: what follows is its body.
        (b"\r\nTLS-Required: No\r\n\r\nx\r\n", True),
        (b"\nTLS-Required: No\n", True),
        (b"X-TLS-Required: No\r\n\r\n", True),
    ],
)
def test_the_field_is_one_of_the_header(content: bytes, obeys: bool):
    assert obeys_policies(content, BOB) is obeys
    assert obeys_policies(content, BOB.replace(require_tls=True))


def test_every_row_has_a_test():
    assert HELD == ALL


def test_each_thing_that_went_wrong_elsewhere_has_a_test_that_names_it():
    named: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        named |= set(re.findall(r'requirement\("(D[0-9]+)"\)', path.read_text(encoding="utf-8")))
    assert named >= {f"D{number}" for number in range(1, 64)}


def test_the_failures_have_the_codes_of_the_rfcs():
    codes = {failure.name: str(failure.enhanced) for failure in Failure}
    assert codes == {
        "NO_SUCH_DOMAIN": "5.1.2",
        "NULL_MX": "5.1.10",
        "NO_ADDRESS": "5.4.4",
        "ADDRESS_REFUSED": "5.4.4",
        "LOOPS": "5.4.6",
        "NO_REQUIRETLS": "5.7.30",
        "NO_EXTENSION": "5.6.3",
        "TOO_LARGE": "5.3.4",
        "LOOKUP_FAILED": "4.4.3",
        "NO_ROUTE": "4.4.4",
        "UNREACHABLE": "4.4.1",
        "TLS_POLICY": "4.7.5",
    }


def in_portions(most: int, code: int = 452, text: str = "4.5.3 Too many recipients") -> Any:
    """A host that takes so many recipients in a transaction."""

    def says(step: Try) -> Said:
        count = len(step.envelope.recipients)
        outcomes = [
            Outcome(one.address, Status.ACCEPTED, Reply.of(250, "2.1.5 ok"))
            if place < most
            else Outcome(one.address, Status.REFUSED, Reply.of(code, text))
            for place, one in enumerate(step.envelope.recipients)
        ]
        assert len(outcomes) == count
        result = SendResult(outcomes, Reply.of(250, "2.0.0 ok") if most else None, None)
        return Said(result, address=step.addresses[0], begun=step.addresses[:1])

    return says


CROWD = Envelope("ann@example.org", [f"b{place}@example.net" for place in range(950)])


@pytest.mark.parametrize("text", ["4.5.3 Too many recipients", "Too many recipients"])
def test_whom_a_transaction_has_no_room_for_has_another(text: str):
    """RFC 5321 §4.5.3.1.10."""
    script = Script(hosts(A, B), says=in_portions(100, text=text))
    result = script.deliver(CROWD)
    assert all(one.status is Status.ACCEPTED for one in result.outcomes)
    assert [len(step.envelope.recipients) for step in script.tried] == list(range(950, 0, -100))
    assert {step.host for step in script.tried} == {A}


@pytest.mark.parametrize(
    ("most", "code", "text"),
    [
        *((1, 452, "4.2.2 Mailbox full"), (1, 452, "4.3.1 No room"), (1, 451, "4.5.3 Slow down")),
        (0, 452, "4.5.3 Too many recipients"),
    ],
)
def test_another_refusal_is_no_question_of_room(most: int, code: int, text: str):
    """Those have the next host, as ever; no more than two sessions are tried."""
    script = Script(hosts(A, B), says=in_portions(most, code, text))
    statuses = [one.status for one in script.deliver(CROWD).outcomes]
    assert len(script.tried) == 2
    assert statuses.count(Status.ACCEPTED) == 2 * most
