"""Reports to the sender, made by the outbox and read back by `smtpx.bounces`; limits and order."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smtpx import Envelope, Notify, Recipient, bounces
from smtpx.outbox import Limit, Outbox, Retries, State
from smtpx.outbox import _claiming as claiming
from smtpx.outbox import _destinations as destinations
from smtpx.outbox import _queue as queue
from smtpx.outbox._destinations import Claim
from smtpx.outbox._notices import Concerned, Reported, notice
from smtpx.outbox._preparing import prepared
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import letter

pytestmark = pytest.mark.timeout(60)


def refuse(word: str, of: str) -> bytes | None:
    return b"550 5.1.1 no such user\r\n" if of.startswith("no") and word == "RCPT" else None


def test_the_sender_is_told_of_what_was_given_up(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox(bounces="postmaster@example.org")
    with Judge(answer=refuse) as judge:
        message = letter(to="yes@example.net, no-1@example.net, no-2@example.net")
        id = outbox.put(message)
        outbox.put(letter(to="late@example.net"), expires=timedelta(milliseconds=1))
        outbox.put(letter("null"), Envelope(None, "no-3@example.net"))
        time.sleep(0.01)
        outbox.run(judge.url, until_empty=True)
        reports = [content for content in judge.contents.values() if b"multipart/report" in content]
        assert len(reports) == 2, "none to the null sender, and one of a message"
        message_id = outbox.status(id).deliveries[0].message_id
        by_recipient: dict[str, bounces.RecipientReport] = {}
        for content in reports:
            found = bounces.parse(content)
            assert isinstance(found, bounces.DeliveryReport)
            by_recipient |= {each.recipient or "": each for each in found.recipients}
        assert sorted(by_recipient) == ["late@example.net", "no-1@example.net", "no-2@example.net"]
        first = by_recipient["no-1@example.net"]
        assert str(first.status) == "5.1.1"
        assert str(by_recipient["late@example.net"].status) == "4.4.7"
        (report,) = [content for content in reports if b"no-1@example.net" in content]
        assert f"Message-ID: {message_id}".encode() in report
        assert b"From: Ann <a@example.org>" in report
        assert ("a@example.org") in {r for m, r in judge.count() if m.encode() in report}
        outbox.run(judge.url, until_empty=True)
        assert len(judge.contents) == 3, "nothing is told twice"


def test_a_spool_that_is_out_of_reach_holds_up_no_report(
    open_outbox: Callable[..., Outbox], tmp_path: Path, judge: Judge
) -> None:
    """What was given up is told without its header, and so is all that was given up after it."""
    outbox = open_outbox(bounces="postmaster@example.org", spool=tmp_path / "spool")
    large = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000
    briefly = timedelta(milliseconds=1)
    outbox.put(large, Envelope("a@example.org", "large@example.net"), expires=briefly)
    outbox.put(letter(to="small@example.net"), expires=briefly)
    (file,) = (tmp_path / "spool").iterdir()
    file.unlink()
    time.sleep(0.01)
    outbox.run(judge.url, until_empty=True)
    told: list[str] = []
    for content in judge.contents.values():
        found = bounces.parse(content)
        assert isinstance(found, bounces.DeliveryReport)
        told += [each.recipient or "" for each in found.recipients]
    assert sorted(told) == ["large@example.net", "small@example.net"]


def test_the_sender_is_told_while_there_is_more_to_send(
    open_outbox: Callable[..., Outbox],
) -> None:
    """Where mail comes in all the time, no worker ever has nothing to do."""
    outbox = open_outbox(bounces="postmaster@example.org")
    most, put, told = 40, 0, 0

    def answer(word: str, of: str) -> bytes | None:
        nonlocal put, told
        if word == "RCPT" and of.startswith("nobody"):
            return b"550 5.1.1 nobody\r\n"
        if of == "a@example.org":
            told = put
        elif word == "END" and put < most and not told:
            put += 1
            outbox.put(b"Subject: x\r\n\r\n", Envelope(None, "b@example.net"))
        return None

    outbox.put(b"Subject: x\r\n\r\n", Envelope(None, "b@example.net"))
    outbox.put(b"Subject: x\r\n\r\n", Envelope("a@example.org", "nobody@example.net"))
    with Judge(answer=answer, delay=0.1) as judge:
        outbox.run(judge.url, until_empty=True)
    assert 0 < told < most


@pytest.mark.parametrize(
    ("header", "encoding"), [(b"Subject: x\r\n", "7bit"), ("Subject: é\r\n".encode(), "8bit")]
)
@pytest.mark.parametrize(
    ("host", "remote"),
    [
        ("mx.example.net", "mx.example.net"),
        ("192.0.2.1:25", "[192.0.2.1]"),
        ("[2001:db8::1]:25", "[IPv6:2001:db8::1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
    ],
)
def test_a_report_names_the_host_and_what_its_header_is_encoded_as(
    header: bytes, encoding: str, host: str, remote: str
) -> None:
    refused = Concerned("b@example.net", None, State.REFUSED, None, "no", host, 0.0)
    report = notice("p@example.org", Reported("a@example.org", "", None, header), [refused])
    *_, returned = report.iter_parts()
    assert returned["Content-Transfer-Encoding"] == encoding
    found = bounces.parse(report.as_bytes())
    assert isinstance(found, bounces.DeliveryReport)
    assert found.recipients[0].remote_mta == remote
    assert header in returned.as_bytes()


def test_what_programs_read_is_not_encoded() -> None:
    """RFC 3464 §2.1.1 knows no encoded words in `message/delivery-status`."""
    recipient, word = f"{'b' * 64}@{'c' * 60}.example", f"https://example.org/{'x' * 150}"
    why = f"see {word}{' or call us' * 20}"
    refused = Concerned(recipient, None, State.REFUSED, None, why, "", 0.0)
    report = notice("p@example.org", Reported("a@example.org", "", None, b""), [refused])
    octets = prepared(report, Envelope(None, "a@example.org"), None).octets
    assert b"=?" not in octets
    status = octets[octets.index(b"message/delivery-status") :]
    long = [line for line in status.split(b"\r\n") if len(line) > 78]
    assert all(line.count(b" ") <= 1 for line in long), "folded where there is white space"
    found = bounces.parse(octets)
    assert isinstance(found, bounces.DeliveryReport)
    assert found.recipients[0].final_recipient == recipient
    assert found.recipients[0].diagnostic is not None
    assert found.recipients[0].diagnostic.text == why


def test_there_are_no_reports_unless_somebody_asks(outbox: Outbox) -> None:
    with Judge(answer=refuse) as judge:
        outbox.put(letter(to="no@example.net"))
        outbox.run(judge.url, until_empty=True)
        assert judge.contents == {}
        assert outbox.counts()[State.REFUSED] == 1


def test_a_sender_is_told_once_that_a_message_waits(open_outbox: Callable[..., Outbox]) -> None:
    def busy(word: str, of: str) -> bytes | None:
        return b"451 4.3.2 try later\r\n" if of.startswith("busy") and word == "RCPT" else None

    late = Retries(first=3600, jitter=0)
    outbox = open_outbox(
        bounces="postmaster@example.org", warn_after=timedelta(milliseconds=1), retries=late
    )
    with Judge(extensions=("PIPELINING", "DSN"), answer=busy) as judge:
        everyone = [
            Recipient("yes@example.net"),
            Recipient("busy-1@example.net", orcpt="first@example.com"),
            Recipient("busy-2@example.net", notify=Notify.FAILURE),
            Recipient("busy-3@example.net", notify=Notify.DELAY | Notify.FAILURE),
        ]
        id = outbox.put(letter(), Envelope("a@example.org", everyone, envid="order 42"))
        outbox.put(letter("null"), Envelope(None, "busy-4@example.net"))
        time.sleep(0.01)
        for _ in range(2):
            outbox.run(judge.url, until_empty=True)
            outbox.reconcile()
        (content,) = [each for each in judge.contents.values() if b"multipart/report" in each]
        warning = bounces.parse(content)
        assert isinstance(warning, bounces.DeliveryReport)
        assert {each.action for each in warning.recipients} == {bounces.Action.DELAYED}
        by_recipient = {each.final_recipient: each for each in warning.recipients}
        assert sorted(map(str, by_recipient)) == ["busy-1@example.net", "busy-3@example.net"]
        first = by_recipient["busy-1@example.net"]
        assert first.original_recipient == "first@example.com"
        assert str(first.status) == "4.3.2"
        assert first.retried_until == outbox.status(id).expires.replace(microsecond=0)
        assert warning.envid == "order 42"
        assert b"It is given up if it waits still on " in content
        assert outbox.counts()[State.WAITING] == 4, "three of the message, and that of nobody"


def test_a_message_that_is_not_due_yet_is_not_late(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox(bounces="postmaster@example.org", warn_after=timedelta(milliseconds=1))
    outbox.put(letter(), not_before=datetime.now(UTC) + timedelta(hours=1))
    time.sleep(0.01)
    outbox.reconcile()
    assert outbox.counts()[State.WAITING] == 1


def test_nobody_is_told_who_said_that_he_need_not_be(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox(bounces="postmaster@example.org")
    with Judge(extensions=("PIPELINING", "DSN"), answer=refuse) as judge:
        never = [Recipient(f"no-{n.value}@example.net", notify=n) for n in NOT_OF_FAILURE]
        outbox.put(letter(), Envelope("a@example.org", never))
        outbox.run(judge.url, until_empty=True)
        assert outbox.counts()[State.REFUSED] == len(never)
        assert judge.contents == {}


NOT_OF_FAILURE = (Notify.NEVER, Notify.SUCCESS, Notify.DELAY)


def test_warnings_need_somebody_who_gives_them(open_outbox: Callable[..., Outbox]) -> None:
    with pytest.raises(ValueError, match=r"^warn_after: give bounces, too"):
        open_outbox(warn_after=timedelta(hours=4))
    with pytest.raises(TypeError, match=r"^warn_after"):
        open_outbox(bounces="postmaster@example.org", warn_after=4)


A_LETTER_AN_HOUR = 1 / 3600


def test_a_destination_is_sent_to_no_faster_than_it_may(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox(limits={"slow.example.net": Limit(rate=A_LETTER_AN_HOUR, burst=2)})
    with Judge() as judge:
        for n in range(8):
            outbox.put(letter(str(n), to="x@slow.example.net"))
        for n in range(30):
            outbox.put(letter(str(n), to="x@fast.example.net"))
        outbox.run(judge.url, until_empty=True)
        taken = Counter(recipient for _, recipient in judge.taken)
    assert taken == {"x@fast.example.net": 30, "x@slow.example.net": 2}
    assert outbox.counts()[State.WAITING] == 6


def test_the_limit_of_the_next_hop_is_for_all_domains(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox(limits={"*": Limit(rate=A_LETTER_AN_HOUR, burst=1)})
    with Judge() as judge:
        for n in range(5):
            outbox.put(letter(str(n), to=f"x@{n}.example.net"))
        outbox.run(judge.url, until_empty=True)
        assert len(judge.taken) == 1
    assert outbox.counts()[State.WAITING] == 4


def test_a_run_until_all_is_sent_waits_for_a_rate(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox(limits={"*": Limit(rate=50)})
    with Judge() as judge:
        list(outbox.put_many((letter(str(n)), None) for n in range(10)))
        outbox.run(judge.url, until_empty=True)
        assert len(judge.taken) == 10


def taken_at(outbox: Outbox, moments: list[float], hop: str | None) -> list[int]:
    """How many deliveries can be claimed at some moments, in seconds from now."""
    outbox._store.transact(claiming.register, "owner", 30.0, 0.0)
    start, taken = time.time() + 1, []
    for moment in moments:
        limits = outbox._core.policy.limits
        wanted = Claim("owner", 100, start + moment, limits=limits, hop=hop)
        taken.append(len(outbox._store.transact(queue.claim, wanted).deliveries))
    return taken


def test_a_rate_is_kept_by_the_clock(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox(limits={"example.net": Limit(rate=10, burst=3)})
    list(outbox.put_many((letter(str(n)), None) for n in range(30)))
    assert taken_at(outbox, [0, 0.05, 0.1, 0.15, 0.55, 10, 10.1], None) == [3, 0, 1, 0, 3, 3, 1]


def test_where_each_domain_is_its_own_next_hop_each_has_the_limit(
    open_outbox: Callable[..., Outbox],
) -> None:
    outbox = open_outbox(limits={"*": Limit(rate=10)})
    several = [(letter(str(n), f"x@{n % 2}.example.net"), None) for n in range(9)]
    list(outbox.put_many(several))
    assert taken_at(outbox, [0, 0.1, 0.3], None) == [2, 2, 2]


def test_so_many_are_taken_at_once(open_outbox: Callable[..., Outbox], judge: Judge) -> None:
    outbox = open_outbox(limits={"example.net": Limit(at_once=4)})
    list(outbox.put_many((letter(str(n)), None) for n in range(9)))
    assert taken_at(outbox, [0, 100], None) == [4, 0]
    outbox._store.transact(claiming.retire, "owner", time.time())
    outbox.run(judge.url, until_empty=True)
    assert outbox.counts()[State.ACCEPTED] == 9


def test_new_mail_is_not_held_up_by_what_was_deferred(open_outbox: Callable[..., Outbox]) -> None:
    def busy(word: str, of: str) -> bytes | None:
        if of.startswith("busy") and word == "RCPT":
            return b"451 4.3.0 later\r\n"
        return None

    outbox = open_outbox(retries=Retries(first=1.0, factor=1000, most=1000, jitter=0))
    asked: list[str] = []

    def ask(word: str, of: str) -> bytes | None:
        asked.append(of)
        return busy(word, of)

    with Judge(answer=ask) as judge:
        list(outbox.put_many((letter(str(n), f"busy-{n}@example.net"), None) for n in range(250)))
        outbox.run(judge.url, until_empty=True)
        time.sleep(1.1)  # All of them are due again.
        outbox.put(letter(to="new@example.net"))
        asked.clear()
        outbox.run(judge.url, until_empty=True)
        assert len(judge.taken) == 1
        assert asked.index("new@example.net") < 150, "one claim at the most goes before it"


HELD, FREE = 1.0, 10.0
"""Seconds until what was held back once, or limited to a letter in ten seconds, may go."""


@pytest.mark.parametrize(
    ("hop", "limits", "held", "domains", "seconds"),
    [
        (None, {}, "down.test", ["down.test"], HELD),
        (None, {}, "down.test", ["down.test", "b.test"], 0),
        ("relay", {}, "relay", ["b.test"], HELD),
        (None, {"*": Limit(rate=0.1)}, None, ["b.test"], FREE),
        (None, {"*": Limit(rate=0.1)}, None, ["b.test", "c.test"], 0),
        (None, {"*": Limit(rate=0.1)}, "down.test", ["b.test", "down.test"], HELD),
        ("relay", {"*": Limit(rate=0.1)}, None, ["b.test", "c.test"], FREE),
        ("relay", {"*": Limit(rate=0.1), "c.test": Limit(rate=1)}, None, ["b.test", "c.test"], 0),
        ("relay", {"*": Limit(rate=0.1), "c.test": Limit(rate=1)}, None, ["b.test"], FREE),
    ],
)
def test_a_worker_waits_for_what_is_held_back_and_does_not_ask_for_it_all_the_time(
    open_outbox: Callable[..., Outbox],
    hop: str | None,
    limits: dict[str, Limit],
    held: str | None,
    domains: list[str],
    seconds: float,
) -> None:
    outbox = open_outbox()
    transact, start = outbox._store.transact, time.time() + 1
    transact(claiming.register, "owner", 30.0, 0.0)
    wanted = Claim("owner", 1, start, limits=limits, hop=hop)
    outbox.put(letter(to="x@b.test"))
    if limits:
        assert len(transact(queue.claim, wanted).deliveries) == 1
    if held is not None:
        transact(destinations.hold_back, [held], start)
    for domain in domains:
        outbox.put(letter(to=f"x@{domain}"))
    if domains == ["down.test"]:
        outbox.cancel(next(one.submission for one in outbox.find(recipient="x@b.test")))
    assert len(transact(queue.claim, wanted).deliveries) == (seconds == 0)
    if seconds:
        found = outbox._store.look(queue.wait_until, wanted)
        assert found == pytest.approx(start + seconds, abs=0.001)
