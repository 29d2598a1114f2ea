"""The outbox as its users see it: what is put in, sent, asked and decided."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, Recipient, SMTPError
from smtpx.outbox import IdempotencyConflict, NotInOutbox, Outbox, State
from smtpx.outbox import _claiming as claiming
from smtpx.outbox import _queue as queue
from smtpx.outbox import _readers as readers
from smtpx.outbox._destinations import Claim
from smtpx.outbox._statements import Statements, Tell
from tests.outbox.judge import Judge

pytestmark = pytest.mark.timeout(60)

ENVELOPE = Envelope("a@example.org", "b@example.net")


def letter(subject: str = "hello", to: str = "b@example.net") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ann <a@example.org>", to, subject
    message.set_content("text\n")
    return message


def state(outbox: Outbox, id: str) -> State:
    (delivery,) = outbox.status(id).deliveries
    return delivery.state


def test_a_message_is_kept_sent_and_accounted_for(outbox: Outbox, judge: Judge) -> None:
    id = outbox.put(letter(to="b@example.net, c@example.com"))
    before = outbox.status(id)
    assert [(d.recipient, d.state, d.attempts) for d in before.deliveries] == [
        ("b@example.net", State.WAITING, 0),
        ("c@example.com", State.WAITING, 0),
    ]
    assert not before.is_over
    outbox.run(judge.url, until_empty=True)
    after = outbox.status(id)
    assert after.is_over
    assert [d.state for d in after.deliveries] == [State.ACCEPTED] * 2
    assert all(d.reply is not None and d.reply.code == 250 for d in after.deliveries)
    assert {d.host for d in after.deliveries} == {judge.url.removeprefix("smtp://")}
    message_id = before.deliveries[0].message_id
    assert judge.count() == {(message_id, "b@example.net"): 1, (message_id, "c@example.com"): 1}
    assert outbox.counts() == {**dict.fromkeys(State, 0), State.ACCEPTED: 2}


def test_what_is_added_and_what_is_left_out(outbox: Outbox, judge: Judge) -> None:
    message = letter()
    message["Bcc"] = "secret@example.com"
    outbox.put(message)
    header = b"Subject: x\r\nbcc: hidden@example.com,\r\n more@example.com\r\nTo: y@example.net\r\n"
    outbox.put(header + b"\r\nBcc: z\r\n", ENVELOPE)
    outbox.run(judge.url, until_empty=True)
    recipients = {recipient for _, recipient in judge.count()}
    assert recipients == {"b@example.net", "secret@example.com"}
    for content in judge.contents.values():
        header = content.partition(b"\r\n\r\n")[0]
        assert b"\nbcc:" not in b"\n" + header.lower()
        assert header.count(b"Message-ID: <") == 1
        assert header.count(b"Date: ") == 1
    assert any(content.endswith(b"\r\n\r\nBcc: z\r\n") for content in judge.contents.values())


def test_the_message_id_is_the_same_in_every_attempt(open_outbox: Callable[..., Outbox]) -> None:
    seen: list[str] = []

    def refuse_twice(word: str, of: str) -> bytes | None:
        if word == "END":
            seen.append(of)
            return b"451 4.3.0 later\r\n" if len(seen) < 3 else None
        return None

    outbox = open_outbox()
    with Judge(answer=refuse_twice) as judge:
        id = outbox.put(letter())
        while not outbox.status(id).is_over:
            outbox.run(judge.url, until_empty=True)
        assert len(seen) == 3
        assert len({*seen}) == 1
        (delivery,) = outbox.status(id).deliveries
        assert (delivery.state, delivery.attempts) == (State.ACCEPTED, 3)
        assert delivery.message_id == seen[0]


def test_each_recipient_has_its_own_outcome(open_outbox: Callable[..., Outbox]) -> None:
    greylisted: list[str] = []

    def answer(word: str, of: str) -> bytes | None:
        if of == "no@example.net":
            return b"550 5.1.1 nobody\r\n"
        if of == "later@example.net" and not greylisted:
            greylisted.append(of)
            return b"450 4.7.1 greylisted\r\n"
        return None

    outbox = open_outbox()
    with Judge(answer=answer) as judge:
        message = letter(to="yes@example.net, no@example.net, later@example.net")
        id = outbox.put(message)
        while not outbox.status(id).is_over:
            outbox.run(judge.url, until_empty=True)
        found = {d.recipient: (d.state, d.attempts) for d in outbox.status(id).deliveries}
        assert found == {
            "yes@example.net": (State.ACCEPTED, 1),
            "no@example.net": (State.REFUSED, 1),
            "later@example.net": (State.ACCEPTED, 2),
        }
        assert max(judge.count().values()) == 1
        (refused,) = outbox.find(state=State.REFUSED)
        assert refused.reply is not None
        assert refused.reply.lines == ("5.1.1 nobody",)


def test_a_key_is_used_once(outbox: Outbox, judge: Judge) -> None:
    id = outbox.put(letter(), key="order-42")
    again = letter()
    again["Message-ID"], again["Date"] = "<other@example.org>", "Thu, 1 Jan 2026 00:00:00 +0000"
    assert outbox.put(again, key="order-42") == id
    with pytest.raises(IdempotencyConflict, match="order-42"):
        outbox.put(letter("another"), key="order-42")
    with pytest.raises(IdempotencyConflict):
        outbox.put(letter(to="x@example.net"), key="order-42")
    outbox.run(judge.url, until_empty=True)
    assert outbox.put(letter(), key="order-42") == id, "it is known also when all is over"
    assert sum(judge.count().values()) == 1


def test_two_parts_composed_twice_say_the_same(outbox: Outbox) -> None:
    def with_parts(text: str) -> EmailMessage:
        message = letter()
        message.add_alternative(f"<p>{text}</p>", subtype="html")
        message.add_attachment(b"octets", maintype="application", subtype="x", filename="x")
        return message

    id = outbox.put(with_parts("x"), key="k")
    assert outbox.put(with_parts("x"), key="k") == id
    with pytest.raises(IdempotencyConflict):
        outbox.put(with_parts("y"), key="k")


def test_octets_and_a_message_that_say_the_same(outbox: Outbox) -> None:
    """Line ends are written anew on the way; in which order recipients are named says nothing."""
    message = letter(to="b@example.net")
    id = outbox.put(message, key="k")
    to = Envelope("a@example.org", "b@example.net")
    for octets in (message.as_bytes(), message.as_bytes(policy=policy.SMTP)):
        assert outbox.put(octets, to, key="k") == id
    everyone = ["b@example.net", "c@example.net", "b@EXAMPLE.net"]
    one = outbox.put(b"Subject: x\r\n\r\n", Envelope("a@example.org", everyone), key="l")
    again = Envelope("a@example.org", {*reversed(everyone)})
    assert outbox.put(b"Subject: x\n\n", again, key="l") == one
    with pytest.raises(IdempotencyConflict):
        outbox.put(b"Subject: x\r\n\r\n", to, key="l")


def test_nobody_gets_a_message_twice_for_being_named_twice(outbox: Outbox, judge: Judge) -> None:
    """A domain is the same in capitals (RFC 5321 §2.4); a local-part need not be."""
    named = ["b@example.net", "b@EXAMPLE.net", "B@example.net", "b@example.net"]
    id = outbox.put(b"Subject: x\r\n\r\n", Envelope("a@example.org", named))
    told = ["b@example.net", "B@example.net"]
    assert [each.recipient for each in outbox.status(id).deliveries] == told
    assert [each.recipient for each in outbox.find(recipient="b@Example.NET")] == told[:1]
    assert outbox.cancel(id, recipient="B@EXAMPLE.NET") == 1
    outbox.run(judge.url, until_empty=True)
    assert [recipient for _, recipient in judge.taken] == told[:1]
    assert outbox.retry(id, recipient="B@EXAMPLE.NET") == 1


def test_many_are_put_in_and_their_keys_hold(outbox: Outbox, judge: Judge) -> None:
    def many(count: int):
        for n in range(count):
            yield b"Subject: %d\r\n\r\n" % n, ENVELOPE, f"k{n}"

    first = list(outbox.put_many(many(700), campaign="spring"))
    assert len({*first}) == 700
    assert list(outbox.put_many(many(710), campaign="spring"))[:700] == first
    assert outbox.counts("spring")[State.WAITING] == 710
    assert outbox.counts("autumn")[State.WAITING] == 0
    outbox.run(judge.url, until_empty=True)
    assert outbox.counts("spring")[State.ACCEPTED] == 710
    assert max(judge.count().values()) == 1


def test_one_batch_with_one_key_twice(outbox: Outbox) -> None:
    first, second = outbox.put_many([(letter(), None, "k"), (letter(), None, "k")])
    assert first == second
    with pytest.raises(IdempotencyConflict):
        list(outbox.put_many([(letter("1"), None, "j"), (letter("2"), None, "j")]))
    assert outbox.counts()[State.WAITING] == 1


def test_what_fails_in_a_batch_leaves_nothing_of_it(outbox: Outbox) -> None:
    ids = outbox.put_many([(letter(), None), (b"no envelope",)])
    with pytest.raises(smtpx.LocalProtocolError, match="give an Envelope"):
        list(ids)
    assert outbox.counts() == dict.fromkeys(State, 0)


def template() -> smtpx.Template:
    message = EmailMessage()
    message["From"], message["To"] = "Shop <shop@example.org>", "{{name}} <{{address}}>"
    message["Subject"] = "{{name}}, your order"
    message.set_content("Dear {{name}}\n")
    return smtpx.Template(message)


def rows(count: int):
    for n in range(count):
        yield {"name": f"Name {n}", "address": f"r{n}@example.net", "other": n}


def test_a_template_is_stored_once_and_rendered_when_it_is_sent(
    outbox: Outbox, judge: Judge
) -> None:
    id = outbox.put_merge(template(), rows(250), campaign="spring")
    submission = outbox.status(id)
    assert len({d.message_id for d in submission.deliveries}) == 250
    outbox.run(judge.url, until_empty=True)
    assert outbox.counts("spring")[State.ACCEPTED] == 250
    assert judge.count() == {(d.message_id, d.recipient): 1 for d in submission.deliveries}
    content = judge.contents[submission.deliveries[7].message_id]
    assert b"Dear Name 7\r\n" in content
    assert b"Subject: Name 7, your order\r\n" in content
    assert content.count(b"Message-ID:") == 1


def test_a_merge_that_broke_off_goes_on(outbox: Outbox) -> None:
    def failing(count: int):
        yield from rows(count)
        raise RuntimeError("the application's own query failed")

    with pytest.raises(RuntimeError):
        outbox.put_merge(template(), failing(230), campaign="spring")
    begun = outbox.counts("spring")[State.WAITING]
    assert begun == 200
    id = outbox.put_merge(template(), rows(300), campaign="spring")
    assert outbox.counts("spring")[State.WAITING] == 300
    assert len({d.recipient for d in outbox.status(id).deliveries}) == 300
    assert outbox.put_merge(template(), rows(300), campaign="spring") == id
    assert outbox.counts("spring")[State.WAITING] == 300
    with pytest.raises(IdempotencyConflict, match="other rows"):
        outbox.put_merge(template(), list(rows(301))[1:], campaign="spring")


def test_a_row_that_cannot_be_sent_is_named(outbox: Outbox) -> None:
    with pytest.raises(smtpx.AddressError, match="row 1: "):
        outbox.put_merge(template(), [*rows(1), {"name": "x", "address": "no address"}])
    with pytest.raises(TypeError, match=r"row 0: .*JSON"):
        outbox.put_merge(template(), [{**next(rows(1)), "other": object()}])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"name": "Bob", "address": "b@example.net", 5: 6}, "row 1: the name of a field is 5"),
        (["b@example.net"], "row 1: give a dict"),
        ({"name": "Bob", "address": "b@example.net", "x": {1, 2}}, "row 1: .*set"),
    ],
)
def test_a_row_of_the_wrong_kind_is_named(outbox: Outbox, row: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        outbox.put_merge(template(), [*rows(1), row])


@pytest.mark.parametrize("item", ["x", [b"Subject: x\r\n\r\n", None, "key"], 5])
def test_what_is_no_message_is_named(outbox: Outbox, item: Any) -> None:
    with pytest.raises(TypeError, match="message: give"):
        outbox.put(item)
    with pytest.raises(TypeError, match="message: give"):
        list(outbox.put_many([item]))


def test_what_is_not_due_waits(outbox: Outbox, judge: Judge) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    id = outbox.put(letter(), not_before=later)
    outbox.run(judge.url, until_empty=True)
    (delivery,) = outbox.status(id).deliveries
    assert (delivery.state, delivery.attempts) == (State.WAITING, 0)
    assert delivery.due is not None
    assert abs(delivery.due - later) < timedelta(seconds=1)
    assert outbox.status(id).expires > later + timedelta(days=4)
    assert outbox.retry(id) == 1
    outbox.run(judge.url, until_empty=True)
    assert state(outbox, id) is State.ACCEPTED


def test_what_is_late_expires_and_is_not_sent(outbox: Outbox, judge: Judge) -> None:
    id = outbox.put(letter(), expires=timedelta(milliseconds=1))
    other = outbox.put(letter())
    time.sleep(0.01)
    outbox.run(judge.url, until_empty=True)
    assert state(outbox, id) is State.EXPIRED
    assert state(outbox, other) is State.ACCEPTED
    assert outbox.retry(id) == 1
    outbox.run(judge.url, until_empty=True)
    assert state(outbox, id) is State.ACCEPTED


def test_a_refusal_for_now_ends_when_its_time_is_over(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox()
    with Judge(answer=lambda *_: b"450 4.2.1 later\r\n") as judge:
        id = outbox.put(letter(), expires=timedelta(seconds=0.5))
        while not outbox.status(id).is_over:
            outbox.run(judge.url, until_empty=True)
        (delivery,) = outbox.status(id).deliveries
        assert delivery.state is State.EXPIRED
        assert delivery.attempts >= 1
        assert delivery.reply is not None
        assert delivery.reply.code == 450


def refuse(word: str, of: str) -> bytes | None:
    return b"550 5.1.1 no\r\n" if of == "b@example.net" else None


def late() -> Statements[None]:
    _ = yield Tell("UPDATE smtpx_delivery SET expires = ?", [(1.0,)])


class TestWhatWasDoubted:
    """The reply to the first attempt is lost, and the second comes to nothing."""

    @pytest.fixture
    def doubted(self, open_outbox: Callable[..., Outbox]) -> tuple[Outbox, str]:
        def hang_up(word: str, of: str) -> bytes | None:
            if word == "END":
                raise OSError
            return None

        outbox = open_outbox(bounces="postmaster@example.org")
        id = outbox.put(letter())
        with Judge(answer=hang_up) as judge, suppress(SMTPError):
            outbox.run(judge.url, connections=1, until_empty=True)
        (delivery,) = outbox.status(id).deliveries
        assert (delivery.state, delivery.doubted) == (State.WAITING, True)
        return outbox, id

    def test_is_in_doubt_when_it_is_refused(self, doubted: tuple[Outbox, str]) -> None:
        outbox, id = doubted
        with Judge(answer=refuse) as judge:
            while outbox.counts()[State.WAITING]:
                outbox.run(judge.url, until_empty=True)
            (said,) = judge.contents.values()
        (delivery,) = outbox.status(id).deliveries
        assert (delivery.state, delivery.doubted) == (State.IN_DOUBT, True)
        assert delivery.reply is not None
        assert delivery.reply.code == 550
        assert b"a copy may have arrived" in said
        with Judge(answer=refuse) as judge:
            outbox.resolve(id, "b@example.net", "resend")
            outbox.run(judge.url, until_empty=True)
        assert outbox.status(id).deliveries[0].state is State.IN_DOUBT, "the first may be there"

    def test_is_in_doubt_when_its_time_is_over(self, doubted: tuple[Outbox, str]) -> None:
        outbox, id = doubted
        outbox._store.transact(late)
        with Judge() as judge:
            while outbox.counts()[State.WAITING]:
                outbox.run(judge.url, until_empty=True)
        assert outbox.status(id).deliveries[0].state is State.IN_DOUBT
        assert next(iter(outbox.events())).state is State.IN_DOUBT

    def test_is_in_doubt_when_it_is_cancelled(self, doubted: tuple[Outbox, str]) -> None:
        outbox, id = doubted
        assert outbox.cancel(id) == 1
        with Judge() as judge:
            outbox.run(judge.url, until_empty=True)
            assert not judge.taken
        assert outbox.status(id).deliveries[0].state is State.IN_DOUBT


def test_the_higher_priority_goes_first(outbox: Outbox, judge: Judge) -> None:
    order = [0, 5, -3, 5, 9]
    ids = [outbox.put(letter(str(n)), priority=priority) for n, priority in enumerate(order)]
    names = {outbox.status(id).deliveries[0].message_id: n for n, id in enumerate(ids)}
    outbox.run(judge.url, connections=1, until_empty=True)
    assert [names[message_id] for message_id, _ in judge.taken] == [4, 1, 3, 0, 2]


def test_a_cancelled_message_is_not_sent(outbox: Outbox, judge: Judge) -> None:
    id = outbox.put(letter(to="b@example.net, c@example.net"))
    assert outbox.cancel(id) == 2
    assert outbox.cancel(id) == 0
    outbox.run(judge.url, until_empty=True)
    assert {d.state for d in outbox.status(id).deliveries} == {State.CANCELLED}
    assert not judge.taken
    assert outbox.retry(id) == 2
    outbox.run(judge.url, until_empty=True)
    assert outbox.cancel(id) == 0
    assert {d.state for d in outbox.status(id).deliveries} == {State.ACCEPTED}


def test_one_recipient_of_several_is_cancelled_and_tried_again(
    outbox: Outbox, judge: Judge
) -> None:
    id = outbox.put(letter(to="b@example.net, c@example.net"))
    assert outbox.cancel(id, recipient="c@example.net") == 1
    with pytest.raises(NotInOutbox):
        outbox.cancel(id, recipient="nobody@example.net")
    outbox.run(judge.url, until_empty=True)
    assert [recipient for _, recipient in judge.taken] == ["b@example.net"]
    assert outbox.cancel(outbox.put(letter()), recipient="b@example.net") == 1
    assert outbox.retry(id, recipient="b@example.net") == 0
    assert outbox.retry(id, recipient="c@example.net") == 1
    outbox.run(judge.url, until_empty=True)
    assert [recipient for _, recipient in judge.taken] == ["b@example.net", "c@example.net"]


def test_purging_forgets_what_is_over_and_nothing_else(outbox: Outbox, judge: Judge) -> None:
    over = [outbox.put(letter(str(n)), key=f"k{n}") for n in range(3)]
    outbox.run(judge.url, until_empty=True)
    waiting = outbox.put(letter())
    assert outbox.purge(older_than=timedelta(hours=1)) == 0
    time.sleep(0.01)
    assert outbox.purge(older_than=timedelta(milliseconds=1)) == 3
    for id in over:
        with pytest.raises(NotInOutbox, match=id):
            outbox.status(id)
    assert state(outbox, waiting) is State.WAITING
    assert outbox.counts() == {**dict.fromkeys(State, 0), State.WAITING: 1}
    assert outbox.put(letter("0"), key="k0") not in over


def test_events_are_a_stream_with_a_cursor(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox()
    with Judge(answer=lambda w, of: b"550 no\r\n" if of == "no@example.net" else None) as judge:
        outbox.put(letter(to="yes@example.net, no@example.net"))
        outbox.cancel(outbox.put(letter()))
        outbox.run(judge.url, until_empty=True)
    events = list(outbox.events())
    assert sorted((e.recipient, e.state.value) for e in events) == [
        ("b@example.net", "cancelled"),
        ("no@example.net", "refused"),
        ("yes@example.net", "accepted"),
    ]
    assert [e.cursor for e in events] == sorted({e.cursor for e in events})
    assert list(outbox.events(events[0].cursor)) == events[1:]
    assert list(outbox.events(events[-1].cursor)) == []


def test_a_callback_is_told_again_of_what_it_failed_on(outbox: Outbox) -> None:
    for n in range(3):
        outbox.cancel(outbox.put(letter(str(n))))
    told: list[int] = []

    def fail_once(event) -> None:
        told.append(event.cursor)
        if len(told) == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        outbox.report(fail_once)
    assert outbox.report(fail_once) == 2
    assert outbox.report(fail_once) == 0
    assert told[1] == told[2]
    assert len({*told}) == 3
    assert outbox.report(lambda event: None, name="another") == 3


def test_of_those_who_tell_by_one_name_one_does(open_outbox: Callable[..., Outbox]) -> None:
    first, second = open_outbox(), open_outbox()
    for n in range(3):
        first.cancel(first.put(letter(str(n))))
    told: list[int] = []

    def tell(event) -> None:
        told.append(event.cursor)
        assert second.report(tell) == 0
        assert second.report(lambda event: None, name=f"for {event.cursor}") == 3

    assert first.report(tell) == 3
    assert told == [event.cursor for event in first.events()]
    first.cancel(first.put(letter("later")))
    assert second.report(lambda event: None) == 1


def test_the_events_of_one_who_died_are_told_by_another(outbox: Outbox) -> None:
    outbox.cancel(outbox.put(letter()))
    store = outbox._store
    store.transact(claiming.register, "dead", 0.3, time.time() - 60)
    assert store.transact(readers._begin, "default", "dead") == 0
    assert outbox.report(lambda event: None) == 1
    assert not store.transact(readers._move, "default", "dead", 0), "it is too late"
    assert outbox.report(lambda event: None) == 0


def test_to_stop_what_has_not_begun(outbox: Outbox, judge: Judge) -> None:
    """Whoever stops a thread that he has begun cannot know how far it has come."""
    outbox.put(letter())
    outbox.stop()
    outbox.run(judge.url)
    assert judge.taken == []
    outbox.run(judge.url, until_empty=True)
    assert len(judge.taken) == 1


def test_options_of_the_envelope_come_through(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox()
    envelope = Envelope(
        "a@example.org",
        [Recipient("b@example.net", notify=smtpx.Notify.FAILURE, orcpt="rfc822;b@example.net")],
        ret=smtpx.Ret.HEADERS,
        envid="x-1",
        deliver_by=smtpx.DeliverBy(600),
        hold=datetime(2030, 1, 1, tzinfo=UTC),
        priority=3,
        require_tls=False,
    )
    from smtpx.testing import ALL_EXTENSIONS, Server

    outbox.put(b"Subject: x\r\n\r\n", envelope)
    with Server(extensions=ALL_EXTENSIONS) as server:
        outbox.run(server.url, until_empty=True)
        said = server.sessions[0].commands
        mail, rcpt = (line for line in said if line[:4] in ("MAIL", "RCPT"))
        for word in ("RET=HDRS", "ENVID=x-1", "BY=600;R", "MT-PRIORITY=3", "HOLDUNTIL=2030"):
            assert word in mail
        assert "NOTIFY=FAILURE" in rcpt
        assert "ORCPT=rfc822;b@example.net" in rcpt


def test_what_this_server_cannot_take_is_refused_with_the_reason(
    outbox: Outbox, judge: Judge
) -> None:
    bad = outbox.put(b"Subject: x\r\n\r\n", Envelope("a@example.org", "dörte@example.net"))
    good = outbox.put(letter())
    outbox.run(judge.url, until_empty=True)
    (delivery,) = outbox.status(bad).deliveries
    assert delivery.state is State.REFUSED
    assert "SMTPUTF8" in delivery.reason
    assert state(outbox, good) is State.ACCEPTED


def test_the_log_has_when_the_next_attempt_is_where_there_is_one(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "smtpx.outbox")  # Engines of other tests set that of all.
    with Judge() as first, Judge() as second:
        gone, others = first.url, second.url
    batch = outbox.put(letter())
    with pytest.raises(smtpx.ConnectionLost):
        outbox.deliver(batch, gone)
    with pytest.raises(smtpx.ConnectionLost):
        outbox.run(others, until_empty=True)
    assert caplog.records == []  # The errors say it.
    worker = threading.Thread(target=lambda: outbox.run(others))
    worker.start()
    end = time.monotonic() + 20
    while not caplog.records and time.monotonic() < end:
        time.sleep(0.02)
    outbox.stop()
    worker.join()
    (said,) = [record.message for record in caplog.records]
    assert said.endswith("; the next attempt is in 1 s")


def test_a_server_that_cannot_be_reached_loses_nothing(outbox: Outbox, judge: Judge) -> None:
    with Judge() as gone:
        url = gone.url
    ids = [outbox.put(letter(str(n))) for n in range(5)]
    with pytest.raises(smtpx.ConnectionLost):
        outbox.run(url, until_empty=True)
    deliveries = [outbox.status(id).deliveries[0] for id in ids]
    assert {(d.state, d.attempts) for d in deliveries} == {(State.WAITING, 0)}
    assert any("no connection" in d.reason for d in deliveries)
    outbox.run(judge.url, until_empty=True)
    assert outbox.counts()[State.ACCEPTED] == 5


def test_large_contents_are_kept_in_the_spool(
    open_outbox: Callable[..., Outbox], judge: Judge, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    outbox = open_outbox(spool=spool)
    large = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000
    first = outbox.put(large, ENVELOPE)
    second = outbox.put(large, Envelope("a@example.org", "c@example.net"))
    assert len(list(spool.iterdir())) == 1, "equal content is kept once"
    outbox.run(judge.url, until_empty=True)
    assert {state(outbox, id) for id in (first, second)} == {State.ACCEPTED}
    assert all(content.endswith(large) for content in judge.contents.values())
    time.sleep(0.01)
    outbox.purge(older_than=timedelta(milliseconds=1))
    assert list(spool.iterdir()) == []


def test_the_parts_of_a_message_that_are_marked_together_are_counted_once(outbox: Outbox) -> None:
    """Two sessions have a part each, and `send_many` asks the mark once for both."""
    outbox.put(letter(to="b@example.net, c@example.com"))
    store, now = outbox._store, time.time()
    store.transact(claiming.register, "owner", 30.0, now)
    claimed = store.transact(queue.claim, Claim("owner", 9, now)).deliveries
    tickets = [one.ticket for one in claimed]
    assert store.transact(claiming.mark, "owner", [tickets, tickets], now) == [True, True]
    assert outbox.counts() == {**dict.fromkeys(State, 0), State.SENDING: 2}


@pytest.mark.parametrize("extensions", ["8BITMIME", "PIPELINING", "LIMITS RCPTMAX=1"])
def test_a_large_content_is_signed_encoded_and_sent_in_parts(
    open_outbox: Callable[..., Outbox], tmp_path: Path, extensions: str
) -> None:
    """What is in the spool is sent as all else is."""

    def signer(octets: bytes) -> bytes:
        return b"Signed: yes\r\n" + octets

    outbox = open_outbox(spool=tmp_path / "spool")
    large = b"Subject: x\r\n\r\n" + "gr\u00f6\u00dfer\r\n".encode() * 40_000
    ids = [
        outbox.put(large, Envelope("a@example.org", ["b@example.net", "c@example.net"])),
        outbox.put(letter()),
    ]
    with Judge(extensions=[extensions]) as judge, smtpx.Client(judge.url, signer=signer) as client:
        outbox.run(client, until_empty=True)
    for id in ids:
        submission = outbox.status(id)
        assert {each.state for each in submission.deliveries} == {State.ACCEPTED}, submission
        assert b"Signed: yes" in judge.contents[submission.deliveries[0].message_id]
    with Judge(extensions=[extensions]) as judge:
        outbox.put(large, ENVELOPE)
        outbox.run(judge.url, until_empty=True)
        (content,) = judge.contents.values()
    assert content.isascii() is ("8BITMIME" not in extensions)


# What is read of these has no end, or does not begin.
NO_FILES: dict[str, Callable[[Path], object]] = {
    "directory": Path.mkdir,
    **(
        {}
        if sys.platform == "win32"
        else {
            "fifo": os.mkfifo,
            "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
            "device": lambda path: path.symlink_to("/dev/zero"),
        }
    ),
}


@pytest.mark.parametrize("damage", ["cut", "changed", *NO_FILES])
def test_a_damaged_spool_file_stops_its_message_alone(
    open_outbox: Callable[..., Outbox], judge: Judge, tmp_path: Path, damage: str
) -> None:
    spool = tmp_path / "spool"
    outbox = open_outbox(spool=spool)
    large = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000
    bad, good = outbox.put(large, ENVELOPE), outbox.put(letter())
    (file,) = spool.iterdir()
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[:-10_000])
    elif damage == "changed":
        file.write_bytes(whole.replace(b"9", b"8", 1))
    else:
        file.unlink()
        _ = NO_FILES[damage](file)
    outbox.run(judge.url, until_empty=True)
    (delivery,) = outbox.status(bad).deliveries
    assert delivery.state is State.REFUSED
    assert str(file) in delivery.reason
    assert state(outbox, good) is State.ACCEPTED
    assert len(judge.taken) == 1
    if damage in ("directory", "changed"):
        if damage == "directory":
            file.rmdir()
        file.write_bytes(whole)
    else:
        outbox.put(large, ENVELOPE)
        assert file.read_bytes() == whole, "what is put in again is whole"
    outbox.retry(bad)
    outbox.run(judge.url, until_empty=True)
    assert state(outbox, bad) is State.ACCEPTED


def test_deliver_sends_its_batch_and_no_other(outbox: Outbox, judge: Judge) -> None:
    first, second = outbox.put(letter("1")), outbox.put(letter("2"))
    outbox.deliver(first, judge.url)
    outbox.deliver(first, judge.url)  # twice
    outbox.deliver("unknown", judge.url)
    assert (state(outbox, first), state(outbox, second)) == (State.ACCEPTED, State.WAITING)
    assert outbox.reconcile() == []
    assert sum(judge.count().values()) == 1


def test_whoever_stops_reading_ids_has_put_in_whole_transactions(outbox: Outbox) -> None:
    read: list[int] = []

    def messages() -> Any:
        for n in range(1200):
            read.append(n)
            yield b"Subject: %d\r\n\r\n" % n, ENVELOPE

    for place, _ in enumerate(outbox.put_many(messages())):
        if place == 500:
            break
    assert len(read) == 1000
    assert outbox.counts()[State.WAITING] == 1000
