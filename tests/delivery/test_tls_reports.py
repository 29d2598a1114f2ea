"""TLS reports (RFC 8460): what is counted, what a report says, and how it gets there."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smtpx
from smtpx import Envelope, LocalProtocolError
from smtpx.delivery import DeliveryFailed, SentReport, Terms, TLSReports, _settings, _tallies
from smtpx.delivery._report_mail import zipped
from smtpx.delivery._tallies import Due, Tallies
from smtpx.delivery.tls_reports import (
    AppliedPolicy,
    PolicyReport,
    PolicyType,
    Report,
    ReportError,
    ResultType,
    SessionFailure,
    destinations,
)
from smtpx.testing import Close, Misanswer, NameFault, NameServer, Refuse, Server, ServerTLS
from tests.delivery.policy_lab import ENFORCE, Lab, lab

pytestmark = pytest.mark.timeout(60)
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")
DAY = 86400.0
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
TODAY = date(2026, 11, 30)
jsonschema: Any = import_module("jsonschema")
SCHEMA = json.loads(Path(__file__).with_name("tls_report.schema.json").read_text("utf-8"))

# The record.


@pytest.mark.requirement("D42")
@pytest.mark.parametrize(
    ("record", "places"),
    [
        ("v=TLSRPTv1; rua=mailto:tls@example.net", ["mailto:tls@example.net"]),
        ("v=TLSRPTv1;rua=mailto:tls%2Brpt@example.net;", ["mailto:tls+rpt@example.net"]),
        (
            "v=TLSRPTv1; x=1; rua=https://r.example.net/v1?a=b , mailto:a@b.test",
            ["https://r.example.net/v1?a=b", "mailto:a@b.test"],
        ),
        ("v=TLSRPTv1; rua=https://R.Example.net:443", ["https://r.example.net/"]),
        ("v=TLSRPTv1 ; rua=mailto:a@b.test?subject=x&bcc=c@d.test", ["mailto:a@b.test"]),
        ("v=TLSRPTv1; rua=mailto:a@b.test,mailto:a@b.test", ["mailto:a@b.test"]),
        (
            "v=TLSRPTv1; rua = mailto:a@b.test; rua=https://r.test/x",
            ["mailto:a@b.test", "https://r.test/x"],
        ),
        ("v=TLSRPTv1; rua=" + ",".join(f"mailto:{n}@b.test" for n in range(9)), 4),
        *(
            (f"v=TLSRPTv1; rua={each}", [])
            for each in [
                *("", "mailto:", "mailto:a", "mailto:a@localhost", "mailto:a@b.test%2Cc@d.test"),
                *("mailto:a%0d%0aRCPT@b.test", "http://r.test/", "ftp://r.test/", "//r.test"),
                *("https://r.test:25/", "https://u:p@r.test/", "https://127.0.0.1/"),
                *("https://[::1]/", "https://2130706433/", "https://localhost/", "https:///x"),
                *("https://r.test/ x", "https://r.test/\x7f", "https://r.test/#x", "https://[x/"),
                *("https://r.test/é", "https://r.test:x/", "https://" + "r" * 2000),
            ]
        ),
        *((each, []) for each in ["", "v=TLSRPTv1", "v=TLSRPTv2; rua=mailto:a@b.test", "rua=x"]),
        ("V=tlsrptv1; rua=mailto:a@b.test", []),
    ],
)
def test_where_reports_go(record: str, places: Any):
    found = destinations([record, "other"])
    assert (len(found) if isinstance(places, int) else list(found)) == places


def test_two_records_are_none():
    record = "v=TLSRPTv1; rua=mailto:a@b.test"
    assert destinations([record, record]) == ()
    assert destinations([]) == ()
    with pytest.raises(TypeError):
        destinations(record)


# The report.

REPORT = Report(
    *("Example", "tls@example.org", "1.x"),
    *(datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)),
    (
        PolicyReport(
            AppliedPolicy(PolicyType.TLSA, "example.net", ("3 1 1 ab",), ("mx.example.net",)),
            5,
            ((SessionFailure(ResultType.VALIDATION_FAILURE, "mx.example.net", "192.0.2.1"), 2),),
        ),
        PolicyReport(AppliedPolicy(PolicyType.NONE, "example.net"), 1),
    ),
)


@pytest.mark.requirement("D41")
@pytest.mark.requirement("D60")
def test_a_report_is_as_the_rfc_has_it():
    told = json.loads(REPORT.to_json())
    jsonschema.validate(told, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert told["date-range"]["start-datetime"] == "2026-11-30T00:00:00Z"
    assert told["policies"][0]["summary"] == {
        "total-successful-session-count": 5,
        "total-failure-session-count": 2,
    }
    assert told["policies"][0]["policy"]["mx-host"] == ["mx.example.net"]
    assert {each["policy"]["policy-domain"] for each in told["policies"]} == {"example.net"}
    assert Report.parse(REPORT.to_json()) == REPORT


def test_the_example_of_the_rfc_is_read():
    """RFC 8460, appendix B."""
    report = Report.parse(
        """{"organization-name": "Company-X", "date-range": {
        "start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"},
        "contact-info": "sts-reporting@company-x.example",
        "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be", "policies": [{"policy": {
        "policy-type": "sts", "policy-string": ["version: STSv1", "mode: testing",
        "mx: *.mail.company-y.example", "max_age: 86400"],
        "policy-domain": "company-y.example", "mx-host": ["*.mail.company-y.example"]},
        "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
        "failure-details": [{"result-type": "certificate-expired",
        "sending-mta-ip": "2001:db8:abcd:0012::1",
        "receiving-mx-hostname": "mx1.mail.company-y.example", "failed-session-count": 100},
        {"result-type": "starttls-not-supported", "sending-mta-ip": "2001:db8:abcd:0013::1",
        "receiving-mx-hostname": "mx2.mail.company-y.example",
        "receiving-ip": "203.0.113.56", "failed-session-count": 200,
        "additional-information": "https://reports.company-x.example/"}]}]}"""
    )
    (one,) = report.policies
    assert one.successes == 5326
    assert [count for _, count in one.failures] == [100, 200]
    assert one.policy.mx_hosts == ("*.mail.company-y.example",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"organization-name": "Example"', '"x": 1'),
        ("2026-11-30T00:00:00Z", "yesterday"),
        ('"policies": [', '"policies": [1, '),
        ("no-policy-found", "none"),
        ('"failed-session-count": 2', '"failed-session-count": -2'),
        ('"failed-session-count": 2', '"failed-session-count": true'),
        ('"total-successful-session-count": 5', '"total-successful-session-count": "5"'),
        ("{", ""),
    ],
)
def test_what_is_no_report_is_refused(old: str, new: str):
    text = REPORT.to_json().decode()
    assert old in text
    with pytest.raises(ReportError):
        Report.parse(text.replace(old, new, 1))


def test_what_others_leave_out_is_no_obstacle():
    """Reports as they are seen (dmarc-report-viewer#57, #71; tlsrpt-reporter#51)."""
    report = Report.parse(
        """{"organization-name": "x", "date-range": {"start-datetime": "2026-01-11T00:00:00Z",
        "end-datetime": "2026-01-12T00:00:00Z"}, "contact-info": null, "report-id": "1+",
        "policies": [{"policy": {"policy-type": "no-policy-found"}, "failure-details": null,
        "summary": {"total-successful-session-count": 0, "total-failure-session-count": 3}},
        {"policy": {"policy-type": "sts", "policy-domain": "x.test", "mx-host": "*.x.test"},
        "summary": {"total-successful-session-count": 0, "total-failure-session-count": 3},
        "failure-details": [{"result-type": "sts-policy-fetch-error", "failed-session-count": 3},
        {"result-type": "unheard-of", "failed-session-count": 1}]}]}"""
    )
    assert report.contact == ""
    none, sts = report.policies
    assert none == PolicyReport(AppliedPolicy(PolicyType.NONE, ""))
    assert sts.policy.mx_hosts == ("*.x.test",)
    assert [(one.result.value, one.reason) for one, _ in sts.failures] == [
        ("sts-policy-fetch-error", ""),
        ("validation-failure", "unheard-of"),
    ]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists) | st.binary())
def test_nothing_but_that_is_raised(said: Any):
    for text in (said if isinstance(said, bytes) else json.dumps(said), "[" * 100_000):
        with pytest.raises(ReportError):
            Report.parse(text)


# What is counted.


class Clock:
    now = NOON

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_settings, "time", made.time)
    return made


@pytest.fixture
def reports(tmp_path: Path) -> TLSReports:
    return TLSReports(
        tmp_path / "reports.db", organization="Example", contact="tls@mail.example.org"
    )


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Callable[[str], Tallies]]:
    """Makes tallies in a file of that name."""
    with ExitStack() as stack:

        def make(name: str) -> Tallies:
            made = Tallies(tmp_path / name)
            _ = stack.callback(made.close)
            return made

        yield make


def due_of(reports: TLSReports, now: float) -> Due | None:
    with closing(Tallies(reports.path)) as tallies:
        return tallies.due(now)


def told(reports: TLSReports) -> list[tuple[str, str | None, int]]:
    """What was counted of today: the policy's type, what went wrong, how often."""
    due = due_of(reports, NOON + 2 * DAY)
    found: list[tuple[str, str | None, int]] = []
    for each in due.policies if due else ():
        assert each.policy.domain == "example.net"
        if each.successes:
            found.append((each.policy.type.value, None, each.successes))
        found += [
            (each.policy.type.value, failure.result.value, count)
            for failure, count in each.failures
        ]
    return found


HOST = ("example.net MX 1 mx.example.net.", "mx.example.net A 127.0.0.1")


def test_sessions_without_a_policy(world, clock, reports):
    with Server(tls=ServerTLS.STARTTLS) as server, NameServer("\n".join(HOST)) as dns:
        delivery = world(dns, port=server.port, reports=reports)
        for _ in range(3):
            assert delivery.send(CONTENT, BOB).complete
        # Sessions are counted, and not messages.
        assert told(reports) == [("no-policy-found", None, len(server.sessions))]


def test_a_session_that_is_shared_is_counted_once_for_each_domain(world, clock, reports):
    """Each of them asks what became of the sessions that carried its own mail (RFC 8460 §4)."""
    zone = "\n".join([*HOST, "other.test MX 1 mx.example.net."])
    other = Envelope("ann@example.org", "bob@other.test")
    envelopes = [BOB, other, BOB, other]
    with Server(tls=ServerTLS.STARTTLS) as server, NameServer(zone) as dns:
        delivery = world(dns, port=server.port, reports=reports)
        messages = [(CONTENT, each) for each in envelopes]
        assert all(one.complete for one in delivery.send_many(messages, connections=1, window=1))
        assert len(server.sessions) == 1
    with closing(Tallies(reports.path)) as tallies:
        found = [tallies.due(NOON + 2 * DAY) for _ in range(3)]
    counted = [due.policies for due in found if due is not None]
    assert sorted(counted, key=str) == [
        (PolicyReport(AppliedPolicy(PolicyType.NONE, domain), 1),)
        for domain in ("example.net", "other.test")
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("no-policy-found", "starttls-not-supported", 1)]),
        (
            {"tls": ServerTLS.STARTTLS, "faults": [Refuse("STARTTLS", "454 4.7.0 no")]},
            [("no-policy-found", "starttls-not-supported", 1)],
        ),
        (
            {"tls": ServerTLS.STARTTLS, "faults": [Close("EHLO", nth=2)]},
            [("no-policy-found", "validation-failure", 1)],
        ),
        ({"faults": [Refuse("GREETING", "554 5.0.0 no")]}, []),
    ],
)
def test_sessions_that_have_no_tls(world, clock, reports, options: Any, expected: Any):
    with Server(**options) as server, NameServer("\n".join(HOST)) as dns:
        delivery = world(dns, port=server.port, reports=reports)
        if expected:
            assert delivery.send(CONTENT, BOB).complete
        else:
            with pytest.raises(smtpx.SMTPError):
                delivery.send(CONTENT, BOB)
    assert told(reports) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("3 1 1 " + "ab" * 32, "validation-failure"),
        ("0 0 1 " + "ab" * 32, "tlsa-invalid"),
    ],
)
def test_sessions_under_dane(world, clock, reports, record: str, expected: str):
    with Server(tls=ServerTLS.STARTTLS) as server:
        tlsa = f"_{server.port}._tcp.mx.example.net TLSA {record}"
        with NameServer("\n".join([*HOST, tlsa])) as dns:
            delivery = world(dns, port=server.port, reports=reports)
            if expected == "tlsa-invalid":
                assert delivery.send(CONTENT, BOB).complete
            else:
                with pytest.raises(DeliveryFailed):
                    delivery.send(CONTENT, BOB)
    assert told(reports) == [("tlsa", expected, 1)]


def test_records_that_cannot_be_looked_up_are_told_of(world, clock, reports):
    fault = NameFault(Misanswer.BOGUS, type="TLSA")
    with NameServer("\n".join(HOST), faults=[fault]) as dns, pytest.raises(DeliveryFailed):
        world(dns, reports=reports).send(CONTENT, BOB)
    assert told(reports) == [("tlsa", "dnssec-invalid", 1)]


def sts_zone(**options: Any) -> NameServer:
    lines = [
        *HOST,
        '_mta-sts.example.net TXT "v=STSv1; id=1;"',
        "mta-sts.example.net A 127.0.0.1",
    ]
    return NameServer("\n".join(lines), **options)


@pytest.mark.parametrize(
    ("mode", "why", "expected"),
    [
        ("enforce", "", [("sts", None, 1)]),
        ("testing", "", [("sts", None, 1)]),
        ("none", "", [("no-policy-found", None, 1)]),
        ("enforce", "another name", [("sts", "certificate-host-mismatch", 1)]),
        ("testing", "another name", [("sts", "certificate-host-mismatch", 1)]),
        ("enforce", "no TLS", [("sts", "starttls-not-supported", 1)]),
        ("testing", "no TLS", [("sts", "starttls-not-supported", 1)]),
        ("enforce", "another host", [("sts", "validation-failure", 1)]),
        ("testing", "another host", [("sts", "validation-failure", 1)]),
        ("enforce", "another authority", [("sts", "sts-webpki-invalid", 1)]),
    ],
)
def test_sessions_under_a_policy(
    world, clock, reports, tmp_path, mode: str, why: str, expected: Any
):
    names = ("other.example",) if why == "another name" else ("mx.example.net",)
    with lab(world, tmp_path, names=names, tls=why != "no TLS") as here, sts_zone() as dns:
        text = ENFORCE.replace("enforce", mode)
        if why == "another host":
            text = text.replace("mx: mx.", "mx: other.")
        here.policy_host.says(text)
        if why == "another authority":
            import trustme

            here.ca_file = tmp_path / "other.pem"
            trustme.CA().cert_pem.write_to_path(str(here.ca_file))
        delivery = here.made(dns, reports=reports)
        if mode == "enforce" and why not in ("", "another authority"):
            with pytest.raises(DeliveryFailed):
                delivery.send(CONTENT, BOB)
        else:
            assert delivery.send(CONTENT, BOB).complete
    counted = told(reports)
    if why == "another authority":  # Then there is no policy.
        assert ("no-policy-found", None, 1) in counted
        counted.remove(("no-policy-found", None, 1))
    if mode == "enforce" and why not in ("", "another authority"):
        # The policy is looked at anew, and is still the same.
        assert counted[0][:2] == expected[0][:2]
    else:
        assert counted == expected


def test_a_policy_in_testing_is_tried_first_and_stops_nothing(world, clock, reports, tmp_path):
    with lab(world, tmp_path, names=("other.example",)) as here, sts_zone() as dns:
        here.policy_host.says(ENFORCE.replace("enforce", "testing"))
        (outcome,) = here.made(dns, reports=reports).send(CONTENT, BOB).outcomes
        assert [each.terms for each in outcome.attempts] == [Terms.VERIFIED, Terms.OPPORTUNISTIC]
        assert outcome.status is smtpx.Status.ACCEPTED
        # Who reports nothing, tries nothing.
        (outcome,) = here.made(dns).send(CONTENT, BOB).outcomes
        assert [each.terms for each in outcome.attempts] == [Terms.OPPORTUNISTIC]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing", "sts-policy-invalid"),
        ("", "sts-policy-invalid"),
        (None, "sts-policy-fetch-error"),
    ],
)
def test_a_policy_that_is_not_to_be_had(world, clock, reports, tmp_path, text, expected: str):
    with lab(world, tmp_path) as here, sts_zone() as dns:
        if text is None:
            here.policy_host.says("", status="404 Not Found")
        else:
            here.policy_host.says(text)
        assert here.made(dns, reports=reports).send(CONTENT, BOB).complete
    assert set(told(reports)) == {("no-policy-found", None, 1), ("sts", expected, 1)}


@pytest.mark.requirement("D37")
def test_a_txt_record_that_is_not_to_be_seen_is_told_of(world, clock, reports, tmp_path):
    fault = NameFault(Misanswer.SERVFAIL, "_mta-sts.example.net")
    with lab(world, tmp_path) as here, sts_zone(faults=[fault]) as dns:
        assert here.made(dns, reports=reports).send(CONTENT, BOB).complete
    assert ("sts", "sts-policy-fetch-error", 1) in told(reports)


@pytest.mark.requirement("D40")
def test_what_says_that_no_policy_counts_is_not_counted(world, clock, reports):
    with Server() as server, NameServer("\n".join(HOST)) as dns:
        delivery = world(dns, port=server.port, reports=reports)
        assert delivery.send(b"TLS-Required: No\r\n" + CONTENT, BOB).complete
    assert told(reports) == []


# How it is kept.


def policy_of(domain: str) -> AppliedPolicy:
    return AppliedPolicy(PolicyType.NONE, domain)


@pytest.mark.requirement("D43")
@pytest.mark.requirement("D44")
def test_each_domain_has_its_time_after_midnight_and_an_id_of_its_own(kept):
    ids: set[str] = set()
    times: set[float] = set()
    for name in ("a.db", "b.db"):
        tallies = kept(name)
        for number in range(20):
            tallies.count(policy_of(f"d{number}.test"), None, NOON)
            tallies.count(policy_of(f"d{number}.test"), None, NOON + DAY)
        midnight = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
        assert tallies.due(midnight - 1) is None
        found = [tallies.due(midnight + 14400) for _ in range(21)]
        assert found[-1] is None
        for due in filter(None, found):
            assert due.day == TODAY
            assert midnight <= due.first < midnight + 14400
            ids.add(due.id)
            times.add(due.first)
    assert len(ids) == 40
    assert len(times) > 30


def test_what_is_counted_outlives_the_process_and_is_taken_by_one(kept):
    for _ in range(3):
        kept("a.db").count(policy_of("a.test"), None, NOON)
    one, other = kept("a.db"), kept("a.db")
    due = one.due(NOON + DAY)
    assert due is not None
    assert due.policies == (PolicyReport(policy_of("a.test"), 3),)
    assert other.due(NOON + DAY) is None
    # Whoever has taken it may have died.
    assert other.due(NOON + DAY + 3600) == due.__class__(
        *(due.day, due.domain, due.id, due.first, 1, due.told, due.policies)
    )
    one.end(due)
    assert other.due(NOON + 2 * DAY) is None


def test_what_fails_is_tried_for_a_day_with_pauses_that_grow(kept):
    tallies = kept("a.db")
    tallies.count(policy_of("a.test"), None, NOON)
    now, attempts = NOON + DAY / 2, 0
    pauses: list[float] = []
    last = 0.0
    while now < NOON + 4 * DAY:
        due = tallies.due(now)
        if due is not None:
            attempts += 1
            pauses.append(now - last)
            last = now
            if not tallies.postpone(due, ("mailto:a@b.test",), now):
                break
        now += 300
    assert 5 < attempts < 15
    assert pauses[1:5] == sorted(pauses[1:5])
    assert due is not None
    assert due.told == ("mailto:a@b.test",)
    assert tallies.due(NOON + 9 * DAY) is None


def test_a_domain_cannot_fill_the_file(kept):
    tallies = kept("a.db")
    for number in range(260):
        failure = SessionFailure(ResultType.VALIDATION_FAILURE, f"h{number}.test", reason="x")
        tallies.count(policy_of("a.test"), failure, NOON)
    due = tallies.due(NOON + DAY)
    assert due is not None
    (policy,) = due.policies
    assert len(policy.failures) == 101
    assert dict(policy.failures)[SessionFailure(ResultType.VALIDATION_FAILURE)] == 160


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_child_counts_on_a_connection_of_its_own(kept):
    tallies = kept("a.db")
    tallies.count(policy_of("a.test"), None, NOON)
    with tallies.lock:  # as another thread of the parent may have it
        child = os.fork()
        if not child:
            try:
                tallies.count(policy_of("a.test"), None, NOON)
                tallies.close()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    tallies.count(policy_of("a.test"), None, NOON)
    due = tallies.due(NOON + DAY)
    assert due is not None
    assert due.policies == (PolicyReport(policy_of("a.test"), 3),)


def test_no_mail_waits_for_a_file_that_others_lock_and_nothing_is_lost(kept, caplog):
    """It is counted in memory, by as many threads as there are, until the file is free."""
    tallies = kept("a.db")
    tallies.count(policy_of("a.test"), None, NOON)
    with closing(sqlite3.connect(tallies._path, isolation_level=None)) as other:
        _ = other.execute("BEGIN IMMEDIATE")

        def count() -> None:
            for _ in range(100):
                tallies.count(policy_of("a.test"), None, NOON)

        threads = [threading.Thread(target=count, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40)
        assert not any(thread.is_alive() for thread in threads)
        _ = other.execute("ROLLBACK")
    tallies.count(policy_of("a.test"), None, NOON)
    due = tallies.due(NOON + DAY)
    assert due is not None
    assert due.policies == (PolicyReport(policy_of("a.test"), 402),)
    assert caplog.text.count("counted in memory") == 1


def test_what_is_counted_in_memory_is_bounded_and_told(kept, caplog, monkeypatch):
    monkeypatch.setattr(_tallies, "_UNWRITTEN", 5)
    tallies = kept("a.db")
    tallies.count(policy_of("a.test"), None, NOON)
    with closing(sqlite3.connect(tallies._path, isolation_level=None)) as other:
        _ = other.execute("BEGIN IMMEDIATE")
        for _ in range(7):
            tallies.count(policy_of("a.test"), None, NOON)
        tallies.settle()
    assert caplog.text.count("not in the TLS report to a.test") == 2
    assert "5 sessions are in no TLS report" in caplog.text
    tallies.settle()
    due = tallies.due(NOON + DAY)
    assert due is not None
    assert due.policies == (PolicyReport(policy_of("a.test"), 6),)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_child_does_not_write_what_its_parent_has_counted(kept):
    tallies = kept("a.db")
    tallies.count(policy_of("a.test"), None, NOON)
    with closing(sqlite3.connect(tallies._path, isolation_level=None)) as other:
        _ = other.execute("BEGIN IMMEDIATE")
        tallies.count(policy_of("a.test"), None, NOON)
    child = os.fork()
    if not child:
        try:
            tallies.count(policy_of("a.test"), None, NOON)
            tallies.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    due = tallies.due(NOON + DAY)
    assert due is not None
    assert due.policies == (PolicyReport(policy_of("a.test"), 3),)


def test_what_nobody_has_sent_is_forgotten(kept):
    tallies = kept("a.db")
    tallies.count(policy_of("old.test"), None, NOON)
    tallies.count(policy_of("new.test"), None, NOON + 5 * DAY)
    found = [tallies.due(NOON + 7 * DAY) for _ in range(2)]
    assert [each and each.domain for each in found] == ["new.test", None]


def test_mail_goes_though_nothing_can_be_counted(world, clock, tmp_path, caplog):
    (tmp_path / "reports.db").write_bytes(b"this is no database" * 100)
    reports = TLSReports(tmp_path / "reports.db", organization="x", contact="a@example.org")
    with Server() as server, NameServer("\n".join(HOST)) as dns:
        assert world(dns, port=server.port, reports=reports).send(CONTENT, BOB).complete
    assert "not in the TLS report to example.net" in caplog.text


# How it gets there.


@pytest.fixture
def receiver(world, tmp_path: Path) -> Iterator[Lab]:
    with lab(world, tmp_path, names=("other.example",)) as here:
        here.policy_host.says("", status="201 Created")
        yield here


def rua_zone(rua: str, *lines: str, **options: Any) -> NameServer:
    known = [
        *(*HOST, f'_smtp._tls.example.net TXT "v=TLSRPTv1; rua={rua}"'),
        *("r.test MX 1 mx.r.test.", "mx.r.test A 127.0.0.1", "mta-sts.example.net A 127.0.0.1"),
    ]
    return NameServer("\n".join([*known, *lines]), **options)


def counted(reports: TLSReports) -> None:
    failure = SessionFailure(ResultType.STARTTLS_NOT_SUPPORTED, "mx.example.net", "192.0.2.1")
    with closing(Tallies(reports.path)) as tallies:
        tallies.count(policy_of("example.net"), None, NOON)
        tallies.count(policy_of("example.net"), failure, NOON)


def test_a_report_by_mail(receiver: Lab, clock, reports):
    counted(reports)
    with rua_zone("mailto:tls@r.test") as dns:
        delivery = receiver.made(dns, reports=reports)
        assert delivery.send_reports() == []
        clock.now += DAY
        (sent,) = delivery.send_reports()
        assert sent == SentReport("example.net", TODAY, ("mailto:tls@r.test",))
        assert delivery.send_reports() == []
    (received,) = receiver.server.messages
    assert received.sender == "tls@mail.example.org"
    mail = message_from_bytes(received.content, policy=policy.default)
    assert mail["TLS-Report-Domain"] == "example.net"
    assert mail["TLS-Report-Submitter"] == "mail.example.org"
    assert mail["TLS-Required"] == "No"
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "tlsrpt"
    text, file = mail.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert file.get_content_type() == "application/tlsrpt+gzip"
    report = json.loads(gzip.decompress(file.get_content()))
    jsonschema.validate(report, SCHEMA)
    named = f"Submitter: mail.example.org Report-ID: <{report['report-id']}@mail.example.org>"
    assert mail["Subject"] == f"Report Domain: example.net {named}"
    begin, end = 1795996800, 1796083199
    assert file.get_filename() == (
        f"mail.example.org!example.net!{begin}!{end}!{report['report-id']}.json.gz"
    )
    (told_of,) = Report.parse(gzip.decompress(file.get_content())).policies
    assert told_of.successes == 1
    assert [count for _, count in told_of.failures] == [1]
    assert smtpx.check(received.content, received_envelope(received)) == ()
    # The session of a report is in no report.
    assert due_of(reports, NOON + 9 * DAY) is None


def received_envelope(received: Any) -> Envelope:
    return Envelope(received.sender, received.recipients)


def test_a_report_by_https(receiver: Lab, clock, reports):
    counted(reports)
    with rua_zone("https://mta-sts.example.net/v1?x=y") as dns:
        clock.now += DAY
        (sent,) = receiver.made(dns, reports=reports).send_reports()
    assert sent.error is None
    (request,) = receiver.policy_host.requests
    head, _, content = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1?x=y HTTP/1.1\r\n")
    assert b"\r\ncontent-type: application/tlsrpt+gzip" in head.lower()
    report = json.loads(gzip.decompress(content))
    jsonschema.validate(report, SCHEMA)


def test_what_was_told_is_not_told_again(receiver: Lab, clock, reports):
    counted(reports)
    receiver.policy_host.says("", status="500 Oh")
    with rua_zone("mailto:tls@r.test,https://mta-sts.example.net/") as dns:
        clock.now += DAY
        delivery = receiver.made(dns, reports=reports)
        (sent,) = delivery.send_reports()
        assert sent.places == ("mailto:tls@r.test",)
        assert sent.error is not None
        assert "500" in sent.error
        receiver.policy_host.says("", status="200 OK")
        clock.now += 3600
        (sent,) = delivery.send_reports()
        assert sent.error is None
    assert len(receiver.server.messages) == 1
    assert receiver.policy_host.asked == 2


HOSTILE = [
    *(b"", b"HTTP/1.1 201 Created\r\n", b"SSH-2.0-x\r\n", b"\x00" * 3000),
    *(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",),
    *(b"HTTP/1.1 503 No\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    b"HTTP/1.1 201 Created\r\nX: " + b"x" * 300_000,
]


@pytest.mark.parametrize("said", HOSTILE, ids=lambda said: said[:20])
def test_a_host_that_does_not_take_it_is_asked_later(receiver, clock, reports, said: bytes):
    counted(reports)
    receiver.policy_host.answer = said
    with rua_zone("https://mta-sts.example.net/") as dns:
        clock.now += DAY
        (sent,) = receiver.made(dns, reports=reports).send_reports()
    assert sent.error is not None
    assert sent.places == ()
    assert receiver.policy_host.asked == 1


def test_a_host_that_takes_it_need_not_say_more(receiver, clock, reports):
    counted(reports)
    receiver.policy_host.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx"
    with rua_zone("https://mta-sts.example.net/") as dns:
        clock.now += DAY
        (sent,) = receiver.made(dns, reports=reports).send_reports()
    assert sent.error is None


@pytest.mark.parametrize(
    "address", ["%22a%20b%22@r.test", "a'b@r.test", "%C3%A9@r.test", "%22a%2Cb%22@r.test"]
)
def test_an_odd_address_is_told_once(receiver, clock, reports, address: str):
    counted(reports)
    receiver.policy_host.says("", status="500 Oh")
    with rua_zone(f"mailto:{address},https://mta-sts.example.net/") as dns:
        delivery = receiver.made(dns, reports=reports)
        for later in (DAY, 3600):
            clock.now += later
            (sent,) = delivery.send_reports()
            assert len(sent.places) == 1
    assert len(receiver.server.messages) == 1


@pytest.mark.parametrize(
    ("record", "options", "error"),
    [
        ('_smtp._tls.example.net TXT "v=spf1 -all"', {}, False),
        ("other.test A 127.0.0.1", {}, False),
        ("other.test A 127.0.0.1", {"faults": [NameFault(Misanswer.SERVFAIL, "_smtp*")]}, True),
    ],
)
def test_who_wants_none_gets_none(receiver, clock, reports, record, options, error: bool):
    counted(reports)
    with NameServer(record, **options) as dns:
        clock.now += DAY
        (sent,) = receiver.made(dns, reports=reports).send_reports()
    assert sent.places == ()
    assert (sent.error is not None) == error
    assert not receiver.server.sessions


def test_a_report_goes_where_no_mail_would(receiver: Lab, clock, reports):
    """RFC 8460 §3: it gets there despite any failure of TLS."""
    counted(reports)
    tlsa = f"_{receiver.server.port}._tcp.mx.r.test TLSA 3 1 1 " + "ab" * 32
    with rua_zone("mailto:tls@r.test", tlsa) as dns:
        clock.now += DAY
        (sent,) = receiver.made(dns, reports=reports).send_reports()
        assert sent.error is None
    assert len(receiver.server.messages) == 1


def test_a_place_that_is_behind_the_firewall_is_not_dialled(receiver: Lab, clock, reports):
    counted(reports)
    with rua_zone("https://mta-sts.example.net/,mailto:tls@r.test") as dns:
        clock.now += DAY
        public = smtpx.delivery.AddressPolicy()
        (sent,) = receiver.made(dns, reports=reports, addresses=public).send_reports()
        assert sent.error is not None
        assert sent.error.count("dialled") == 2
    assert receiver.policy_host.asked == len(receiver.server.sessions) == 0


def test_no_more_than_so_many(receiver: Lab, clock, reports):
    with closing(Tallies(reports.path)) as tallies:
        for number in range(3):
            tallies.count(policy_of(f"d{number}.test"), None, NOON)
    with rua_zone("mailto:tls@r.test") as dns:
        clock.now += DAY
        delivery = receiver.made(dns, reports=reports)
        assert [len(delivery.send_reports(most=2)) for _ in range(3)] == [2, 1, 0]


def test_a_place_that_many_domains_name_is_not_flooded(receiver: Lab, clock, reports, monkeypatch):
    """Whoever owns a thousand domains can name another's address for the reports of each."""
    monkeypatch.setattr(_tallies, "_TO_ONE", 2)
    monkeypatch.setattr(_tallies, "_A_DAY", 4)
    with closing(Tallies(reports.path)) as tallies:
        for number in range(5):
            tallies.count(policy_of(f"d{number}.test"), None, NOON)
    rua = [f'_smtp._tls.d{n}.test TXT "v=TLSRPTv1; rua=mailto:tls+{n}@r.test"' for n in range(5)]
    with rua_zone("mailto:x@r.test", *rua) as dns:
        clock.now += DAY
        sent = receiver.made(dns, reports=reports).send_reports()
        assert [one.error is None for one in sent].count(True) == 2
        assert any("enough reports" in str(one.error) for one in sent)
        # The rest may go the next day.
        clock.now = NOON + 1.6 * DAY
        again = receiver.made(dns, reports=reports).send_reports()
        assert [one.error is None for one in again] == [True, True, False], again
    assert len(receiver.server.messages) == 4


def test_no_more_reports_go_out_a_day_than_may(kept, monkeypatch):
    monkeypatch.setattr(_tallies, "_A_DAY", 3)
    one, other = kept("a.db"), kept("a.db")
    said = [tallies.allow(f"r{place}.test", NOON) for place in range(2) for tallies in (one, other)]
    assert said == [True, True, True, False]
    assert one.allow("r0.test", NOON + DAY)


def test_a_huge_report_leaves_out_what_others_have_said():
    """A hundred kinds of policies and failures, none of which can be compressed."""
    draw = Random(1)
    policies = tuple(
        PolicyReport(
            AppliedPolicy(PolicyType.STS, "d.test", (draw.randbytes(4000).hex(),), ("*.d.test",)),
            1,
            ((SessionFailure(ResultType.VALIDATION_FAILURE, reason=draw.randbytes(99).hex()), 2),),
        )
        for _ in range(100)
    )
    begin, end = datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    report = Report("Example", "tls@example.org", "1", begin, end, policies)
    file = zipped(report)
    assert len(file) < 100_000
    told = Report.parse(gzip.decompress(file))
    assert [(one.successes, one.failures[0][1]) for one in told.policies] == [(1, 2)] * 100
    jsonschema.validate(json.loads(gzip.decompress(file)), SCHEMA)


def test_without_reports_there_is_nothing_to_send(world, clock):
    delivery = world(smtpx.delivery.resolver.ScriptedResolver({}))
    with pytest.raises(LocalProtocolError, match="TLSReports"):
        delivery.send_reports()


def test_the_fields_of_a_report_are_signed():
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    signer = smtpx.DKIMSigner(smtpx.DKIMKey("example.org", "x", key))
    signed = signer(
        b"From: a@example.org\r\nTLS-Report-Domain: x\r\nTLS-Report-Submitter: y\r\n\r\nhi\r\n"
    )
    field = b"".join(signed.partition(b"From: a@")[0].split())
    assert b"tls-report-domain" in field.lower()
    assert b"tls-report-submitter" in field.lower()


def test_a_day_is_what_it_is_in_utc(kept):
    tallies = kept("a.db")
    tallies.count(
        policy_of("a.test"), None, datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp()
    )
    tallies.count(policy_of("a.test"), None, datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    found = [tallies.due(NOON + 3 * DAY) for _ in range(3)]
    assert {each.day for each in found if each} == {TODAY, TODAY + timedelta(days=1)}


def reasons_of(reports: TLSReports) -> list[str]:
    due = due_of(reports, NOON + 2 * DAY)
    assert due is not None
    return [failure.reason for each in due.policies for failure, _ in each.failures]


def test_a_report_says_what_tls_or_the_server_said_and_not_what_we_could_do(
    world, clock, reports, tmp_path
):
    with (
        lab(world, tmp_path, names=("other.example",)) as here,
        sts_zone() as dns,
        pytest.raises(DeliveryFailed, match="TLSPolicy"),
    ):
        here.made(dns, reports=reports).send(CONTENT, BOB)
    (reason,) = reasons_of(reports)
    assert "certificate verify failed" in reason
    assert "TLSPolicy" not in reason


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ""),
        (
            {"tls": ServerTLS.STARTTLS, "faults": [Refuse("STARTTLS", "454 4.7.0 no")]},
            "454 4.7.0 no",
        ),
    ],
)
def test_so_it_does_where_there_is_no_tls(world, clock, reports, options: Any, expected: str):
    with (
        Server(**options) as server,
        NameServer("\n".join(HOST)) as dns,
        pytest.raises(DeliveryFailed),
    ):
        delivery = world(dns, port=server.port, reports=reports, minimum=Terms.ENCRYPTED)
        delivery.send(CONTENT, BOB)
    assert reasons_of(reports) == [expected]
