"""MTA-STS (RFC 8461): what is a policy, what it asks for, how it is fetched and kept."""

from __future__ import annotations

import sqlite3
import ssl
from contextlib import closing
from typing import Any

import pytest
import trustme

from smtpx import Envelope
from smtpx.delivery import DeliveryFailed, Failure, Level
from smtpx.delivery.mta_sts import (
    MemoryPolicies,
    Mode,
    Policy,
    PolicyError,
    SQLitePolicies,
    StoredPolicy,
    policy_id,
)
from smtpx.testing import Misanswer, NameFault, NameServer
from tests.delivery.policy_lab import ENFORCE, lab

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (ENFORCE, Policy(Mode.ENFORCE, 604800, ("mx.example.net",))),
        (ENFORCE.replace("\r\n", "\n"), Policy(Mode.ENFORCE, 604800, ("mx.example.net",))),
        (
            ENFORCE + "mx: *.Example.COM.\r\nx-key: 1\r\nmode: none\r\n",
            Policy(Mode.ENFORCE, 604800, ("mx.example.net", "*.example.com")),
        ),
        ("version: STSv1\nmode: none\nmax_age: 1\n", Policy(Mode.NONE, 1, ())),
        (
            ENFORCE.replace("604800", "9999999999"),
            Policy(Mode.ENFORCE, 31557600, ("mx.example.net",)),
        ),
        (
            ENFORCE + "mx: 192.0.2.1\nmx: ::1\nmx: a b\nmx: *\n",
            Policy(Mode.ENFORCE, 604800, ("mx.example.net",)),
        ),
    ],
)
def test_a_policy_is_read(text: str, policy: Policy):
    assert Policy.parse(text) == policy
    assert Policy.parse(text.encode()) == policy


@pytest.mark.parametrize(
    "text",
    [
        *("", "version: STSv2\nmode: none\nmax_age: 1", "mode: none\nmax_age: 1", "\x00"),
        *(ENFORCE.replace("enforce", "x"), ENFORCE.replace("mx: mx.example.net\r\n", "")),
        *(ENFORCE.replace("604800", "-1"), ENFORCE.replace("604800", "1e3"), b"version: STSv1\xff"),
        *(ENFORCE + "x" * 65536, b"x" * 65537, ENFORCE.replace("mx.example.net", "192.0.2.1")),
        ENFORCE.replace("604800", "\u0663"),
    ],
)
def test_what_is_no_policy_is_refused(text: str):
    with pytest.raises(PolicyError):
        Policy.parse(text)


@pytest.mark.parametrize(
    ("host", "matches"),
    [
        *(("a.example.net", True), ("A.EXAMPLE.NET", True), ("b.a.example.net", False)),
        *(("example.net", False), ("mx.example.com", True), ("b.mx.example.com", False)),
    ],
)
def test_a_pattern_stands_for_one_label(host: str, matches: bool):
    assert Policy(Mode.ENFORCE, 1, ("*.example.net", "mx.example.com")).matches(host) == matches


@pytest.mark.parametrize(
    ("records", "id"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["other", "v=STSv1; x=1; id=a"], "a"),
        *(
            ([record], None)
            for record in ("v=STSv1", "v=STSv1;", "v=STSv1; id=", "v=STSv1; id=a-b")
        ),
        (["v=STSv1; id=a", "v=STSv1; id=b"], None),
        (["v=STSv1; id=" + "a" * 33], None),
        (["v=STSv2; id=a"], None),
        ([], None),
    ],
)
def test_the_id_of_a_policy(records: list[str], id: str | None):
    assert policy_id(records) == id


def text_of(*lines: str, id: str = "1") -> str:
    known = [
        *("example.net MX 1 mx.example.net.", "mx.example.net A 127.0.0.1"),
        *(f'_mta-sts.example.net TXT "v=STSv1; id={id};"', "mta-sts.example.net A 127.0.0.1"),
    ]
    return "\n".join([*known, *lines])


def zone(*lines: str, id: str = "1", **options: Any) -> NameServer:
    return NameServer(text_of(*lines, id=id), **options)


def test_an_enforced_policy_has_its_hosts_be_verified(world, tmp_path):
    with lab(world, tmp_path) as here, zone() as dns:
        delivery = here.made(dns)
        for _ in range(2):
            (outcome,) = delivery.send(CONTENT, BOB).outcomes
            assert outcome.terms.level is Level.VERIFIED
        assert here.policy_host.asked == 1
        request = here.policy_host.requests[0]
        assert request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
        assert b"\r\nhost: mta-sts.example.net\r\n" in request.lower()
        assert delivery.plan("example.net").policy == Policy.parse(ENFORCE)


@pytest.mark.parametrize("why", ["another name", "no TLS", "another host"])
@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
def test_what_is_not_as_the_policy_says(world, tmp_path, why: str, mode: str):
    names = ("other.example",) if why == "another name" else ("mx.example.net",)
    with lab(world, tmp_path, names=names, tls=why != "no TLS") as here, zone() as dns:
        text = ENFORCE.replace("enforce", mode)
        if why == "another host":
            text = text.replace("mx: mx.", "mx: other.")
        here.policy_host.says(text)
        delivery = here.made(dns)
        if mode != "enforce":
            assert delivery.send(CONTENT, BOB).complete
            return
        with pytest.raises(DeliveryFailed) as caught:
            delivery.send(CONTENT, BOB)
        assert caught.value.failure is Failure.TLS_POLICY
        assert caught.value.transient
        assert not here.server.messages


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        ("404 Not Found", "text/plain", ENFORCE),
        ("301 Moved", "text/plain", ENFORCE),
        ("200 OK", "text/html", ENFORCE),
        ("200 OK", "text/plain", "hello"),
        ("200 OK", "text/plain", ENFORCE + "x" * 70000),
        ("200 OK\r\nX: " + "x" * 200000, "text/plain", ENFORCE),
    ],
)
def test_a_policy_that_cannot_be_had_is_none_and_is_not_asked_for_at_once(
    world, tmp_path, status: str, kind: str, text: str
):
    with lab(world, tmp_path, names=("other.example",)) as here, zone() as dns:
        here.policy_host.says(text, kind, status)
        delivery = here.made(dns)
        for _ in range(2):
            assert delivery.send(CONTENT, BOB).outcomes[0].terms.level is Level.OPPORTUNISTIC
        assert here.policy_host.asked == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("parts", [True, False])
def test_a_policy_that_ends_with_its_connection_is_whole_if_tls_says_so(
    world, tmp_path, version: str, parts: bool
):
    """RFC 9112 §9.8: else anybody on the way may have cut it."""
    with lab(world, tmp_path) as here, zone() as dns:
        here.policy_host.parts = parts
        head = f"HTTP/{version} 200 OK\r\nContent-Type: text/plain\r\n\r\n"
        here.policy_host.answer = f"{head}{ENFORCE}".encode()
        plan = here.made(dns).plan("example.net")
        assert plan.policy == (Policy.parse(ENFORCE) if parts else None)
        assert parts or "hung up before" in str(plan)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_policy_that_has_come_whole_is_taken_whatever_comes_after(world, tmp_path, version: str):
    """Its length says where it ends (RFC 9112 §9.8); then the connection is reset."""
    with lab(world, tmp_path) as here, zone() as dns:
        here.policy_host.context.maximum_version = ssl.TLSVersion[version]
        here.policy_host.resets = True
        delivery = here.made(dns)
        assert delivery.send(CONTENT, BOB).outcomes[0].terms.level is Level.VERIFIED
        assert delivery.plan("example.net").policy == Policy.parse(ENFORCE)


@pytest.mark.requirement("D35")
@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "TEXT/PLAIN;x=y"])
def test_parameters_of_the_content_type_do_not_matter(world, tmp_path, kind: str):
    with lab(world, tmp_path) as here, zone() as dns:
        here.policy_host.says(ENFORCE, kind)
        assert here.made(dns).plan("example.net").policy == Policy.parse(ENFORCE)


def test_a_policy_host_that_cannot_be_verified_has_none(world, tmp_path):
    with lab(world, tmp_path) as here, zone() as dns:
        here.ca_file = here.server_ca = tmp_path / "other.pem"  # type: ignore[attr-defined]
        trustme.CA().cert_pem.write_to_path(str(here.ca_file))
        plan = here.made(dns).plan("example.net")
        assert plan.policy is None
        assert "MTA-STS" in str(plan)


@pytest.mark.requirement("D37")
@pytest.mark.parametrize("txt", ["gone", "failed", "twice", "new id, no policy"])
def test_a_policy_is_kept_though_it_cannot_be_seen_any_more(world, tmp_path, txt: str):
    policies = MemoryPolicies()
    policies.put("example.net", StoredPolicy("1", 4e9, Policy.parse(ENFORCE)))
    record = ("_mta-sts.example.net", "TXT")
    with lab(world, tmp_path, names=("other.example",)) as here:
        here.policy_host.says("nothing")
        names = {
            "gone": lambda: zone(id="-"),
            "failed": lambda: zone(faults=[NameFault(Misanswer.SERVFAIL, *record)]),
            "twice": lambda: zone('_mta-sts.example.net TXT "v=STSv1; id=2;"'),
            "new id, no policy": lambda: zone(id="2"),
        }[txt]()
        with names as dns, pytest.raises(DeliveryFailed) as caught:
            here.made(dns, policies=policies).send(CONTENT, BOB)
        assert caught.value.failure is Failure.TLS_POLICY
        assert not here.server.messages


def test_a_policy_that_has_expired_is_none(world, tmp_path):
    policies = MemoryPolicies()
    policies.put("example.net", StoredPolicy("1", 1e9, Policy.parse(ENFORCE)))
    with lab(world, tmp_path, names=("other.example",)) as here:
        here.policy_host.says("nothing")
        with zone() as dns:
            assert here.made(dns, policies=policies).send(CONTENT, BOB).complete


@pytest.mark.requirement("D34")
def test_a_new_policy_counts_in_the_same_run(world, tmp_path):
    with lab(world, tmp_path, names=("other.example",)) as here, zone() as dns:
        delivery = here.made(dns)
        assert delivery.plan("example.net").policy == Policy.parse(ENFORCE)
        here.policy_host.says(ENFORCE.replace("enforce", "none"))
        dns.load(text_of(id="2"))
        (outcome,) = delivery.send(CONTENT, BOB).outcomes
        assert outcome.terms.level is Level.OPPORTUNISTIC
        assert len(outcome.attempts) == 2


@pytest.mark.requirement("D32")
def test_a_policy_outlives_the_process(world, tmp_path):
    path = tmp_path / "policies.db"
    with lab(world, tmp_path) as here:
        with zone() as dns:
            assert here.made(dns, policies=SQLitePolicies(path)).plan("example.net").policy
        here.policy_host.says("nothing")
        with zone(id="-") as dns:
            plan = here.made(dns, policies=SQLitePolicies(path)).plan("example.net")
            assert plan.policy == Policy.parse(ENFORCE)


@pytest.mark.requirement("D33")
def test_an_older_fetch_does_not_replace_a_later_one(tmp_path):
    policies = SQLitePolicies(tmp_path / "policies.db")
    assert policies.get("example.net") is None
    later = StoredPolicy("2", 200.0, Policy(Mode.NONE, 1))
    policies.put("example.net", later)
    policies.put("example.net", StoredPolicy("1", 100.0, Policy.parse(ENFORCE)))
    assert policies.get("example.net") == later


@pytest.mark.requirement("D30")
def test_dane_goes_before_a_policy(world, tmp_path):
    with lab(world, tmp_path) as here:
        tlsa = f"_{here.server.port}._tcp.mx.example.net TLSA 3 1 1 " + "ab" * 32
        with zone(tlsa) as dns, pytest.raises(DeliveryFailed, match="TLSA"):
            here.made(dns).send(CONTENT, BOB)


def test_requiretls_may_rest_on_an_enforced_policy(world, tmp_path):
    with lab(world, tmp_path) as here, zone() as dns:
        with pytest.raises(DeliveryFailed, match="REQUIRETLS") as caught:
            here.made(dns).send(CONTENT, BOB.replace(require_tls=True))
        # The host is proven, and heard; it does not announce REQUIRETLS.
        assert len(here.server.sessions) == 1
        assert caught.value.failure is Failure.NO_REQUIRETLS


def test_policies_can_be_turned_off(world, tmp_path):
    with lab(world, tmp_path, names=("other.example",)) as here, zone() as dns:
        assert here.made(dns, mta_sts=False).send(CONTENT, BOB).complete
        assert ("_mta-sts.example.net", "TXT") not in dns.packets


def test_huge_policies_are_bounded_and_drive_out_nobody_elses():
    """Each of 64 kB, from as many domains as somebody cares to register."""
    policies = MemoryPolicies()
    small = StoredPolicy("1", 1e9, Policy(Mode.ENFORCE, 1000, ("mx.example.net",)))
    for n in range(1000):
        policies.put(f"d{n}.test", small)
    huge = tuple(f"*.h{n}.example.net" for n in range(3000))
    for n in range(1000):
        policies.put(f"e{n}.test", StoredPolicy("1", 1e9, Policy(Mode.ENFORCE, 1000, huge)))
    assert all(policies.get(f"d{n}.test") == small for n in range(1000))
    kept = sum(policies.get(f"e{n}.test") is not None for n in range(1000))
    assert 50 < kept < 200
    assert policies.get("e999.test") is not None
    # What is smaller than before makes room.
    policies.put("e999.test", small)
    policies.put("e1000.test", StoredPolicy("1", 1e9, Policy(Mode.ENFORCE, 1000, huge)))
    assert policies.get("e1000.test") is not None
    assert policies.get("e999.test") == small


class Failing(MemoryPolicies):
    """Keeps policies on a disk that is full, or broken."""

    def __init__(self, *fails: str) -> None:
        super().__init__()
        self._fails = fails

    def get(self, domain: str) -> StoredPolicy | None:
        if "get" in self._fails:
            raise OSError("Input/output error")
        return super().get(domain)

    def put(self, domain: str, stored: StoredPolicy) -> None:
        if "put" in self._fails:
            raise OSError("No space left on device")
        super().put(domain, stored)


def test_where_what_is_kept_cannot_be_read_mail_waits_and_only_that_mail(world, tmp_path):
    """Without the policy nobody knows what the domain asks for. It is no error of the caller."""
    broken = tmp_path / "policies.db"
    broken.write_bytes(b"no database" * 100)
    for policies in (SQLitePolicies(broken), Failing("get")):
        with lab(world, tmp_path) as here, NameServer(text_of()) as dns:
            delivery = here.made(dns, policies=policies)
            assert delivery.plan("example.net").failure.failure is Failure.TLS_POLICY
            literal = Envelope("ann@example.org", "bob@[127.0.0.1]")
            found = {
                str(one.outcomes[0].recipient): one.outcomes[0]
                for one in delivery.send_many([(CONTENT, BOB), (CONTENT, literal)])
            }
            outcome = found["bob@example.net"]
            assert (outcome.failure, outcome.retryable) == (Failure.TLS_POLICY, True)
            assert found["bob@[127.0.0.1]"].reply.code == 250
            assert type(policies).__name__ in str(delivery.plan("example.net").failure)


@pytest.mark.parametrize("why", ["full", "locked"])
def test_a_policy_that_cannot_be_kept_holds_all_the_same(world, tmp_path, caplog, why: str):
    """As long as the process lives: it is no reason to send without its protection."""
    path = tmp_path / "policies.db"
    policies: Any = SQLitePolicies(path) if why == "locked" else Failing("put")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        if why == "locked":
            assert policies.get("example.net") is None
            _ = other.execute("BEGIN IMMEDIATE")
        with lab(world, tmp_path, names=("other.example",)) as here, zone() as dns:
            delivery = here.made(dns, policies=policies)
            for _ in range(2):
                with pytest.raises(DeliveryFailed) as caught:
                    delivery.send(CONTENT, BOB)
                assert caught.value.failure is Failure.TLS_POLICY
            assert not here.server.messages
            assert here.policy_host.asked == 1
            # Nor does it end where nobody knows what is kept.
            policies.get = Failing("get").get
            assert delivery.plan("example.net").policy == Policy.parse(ENFORCE)
    assert "No space left" in caplog.text if why == "full" else "locked" in caplog.text


def test_a_file_that_stays_locked_is_waited_for_once(tmp_path):
    policies = SQLitePolicies(tmp_path / "policies.db")
    stored = StoredPolicy("1", 1e9, Policy.parse(ENFORCE))
    policies.put("a.test", stored)
    waits: list[float] = []
    with closing(sqlite3.connect(policies.path, isolation_level=None)) as other:
        _ = other.execute("BEGIN EXCLUSIVE")
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                policies.get("a.test")
            assert policies._patience is not None
            waits.append(policies._patience.seconds)
    assert policies.get("a.test") == stored
    assert policies._patience is not None
    waits.append(policies._patience.seconds)
    assert waits[0] == waits[1] == waits[2] < waits[3]
