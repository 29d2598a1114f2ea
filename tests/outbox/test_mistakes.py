"""Mistakes of callers: each is told where it is made, and nothing is sent or lost by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import Envelope
from smtpx.outbox import AsyncOutbox, Limit, NotInOutbox, Outbox, State
from smtpx.outbox import _claiming as claiming
from smtpx.outbox import _queue as queue
from smtpx.outbox._destinations import Claim
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import letter, rows, template

pytestmark = pytest.mark.timeout(60)


def test_a_key_is_never_a_campaigns(outbox: Outbox) -> None:
    """Whatever somebody has thought of for either."""
    first = outbox.put(letter(), key="campaign:spring")
    merged = outbox.put_merge(template(), rows(2), campaign="spring")
    assert outbox.put_merge(template(), rows(2), campaign="spring") == merged
    second = outbox.put(letter("other"), key="spring")
    assert len({first, merged, second}) == 3
    assert outbox.status(merged).key is None
    assert outbox.counts("spring")[State.WAITING] == 2


def test_a_campaign_that_two_processes_begin_at_once_is_one(
    open_outbox: Callable[..., Outbox],
) -> None:
    first, second = open_outbox(), open_outbox()

    def meanwhile() -> Any:
        second.put_merge(template(), rows(2), campaign="spring")
        yield from reversed([*rows(2)])

    with pytest.raises(smtpx.outbox.IdempotencyConflict, match="by another call"):
        first.put_merge(template(), meanwhile(), campaign="spring")
    assert first.counts("spring")[State.WAITING] == 2
    assert {each.recipient for each in first.find()} == {row["address"] for row in rows(2)}


@pytest.mark.parametrize("call", [Outbox.cancel, Outbox.retry])
def test_a_recipient_that_a_message_does_not_have_is_told(outbox: Outbox, call: Any) -> None:
    id = outbox.put(letter(to="b@example.net, c@example.net"))
    with pytest.raises(NotInOutbox, match=r"for d@example\.net"):
        call(outbox, id, recipient="d@example.net")
    assert call(outbox, id, recipient="c@EXAMPLE.net") == 1


@pytest.mark.parametrize("text", ["\ud800", "x\udfff"])
def test_a_row_of_what_no_database_takes_names_it(outbox: Outbox, text: str) -> None:
    row = {**next(iter(rows(1))), "unused": text}
    with pytest.raises(ValueError, match=r"^rows: row 0: give text without halves of surrogate"):
        outbox.put_merge(template(), [row])


def test_what_is_of_the_other_face_is_refused_at_once(outbox: Outbox, judge: Judge) -> None:
    id = outbox.put(letter())
    for via in (smtpx.AsyncClient(judge.url), smtpx.AsyncDelivery("mail.example.org")):
        with pytest.raises(TypeError, match=r"^via: an Outbox sends by blocking clients"):
            outbox.run(via, until_empty=True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"^via: an Outbox sends by blocking clients"):
            outbox.deliver(id, via)  # type: ignore[arg-type]

    async def main() -> None:
        async with AsyncOutbox(str(outbox._store)) as own:
            for via in (smtpx.Client(judge.url), smtpx.Delivery("mail.example.org")):
                with pytest.raises(TypeError, match=r"^via: an AsyncOutbox sends by asynchronous"):
                    await own.run(via, until_empty=True)  # type: ignore[arg-type]
                with pytest.raises(TypeError, match=r"^via: an AsyncOutbox sends by asynchronous"):
                    await own.deliver(id, via)  # type: ignore[arg-type]

    if str(outbox._store).startswith("sqlite"):
        asyncio.run(main())
    assert outbox.counts()[State.WAITING] == 1


def test_a_lease_longer_than_any_clock_counts_is_a_lease(
    open_outbox: Callable[..., Outbox], judge: Judge
) -> None:
    outbox = open_outbox(lease=1e18)
    outbox.put(letter())
    outbox.run(judge.url, until_empty=True)
    assert outbox.counts()[State.ACCEPTED] == 1


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda outbox: outbox.find(state="waiting"), r"^state: give a smtpx\.outbox\.State"),
        (lambda outbox: outbox.find(recipient="a b"), r"^recipient: not an address"),
        (lambda outbox: outbox.find(older_than=5), r"^older_than: give a datetime\.timedelta"),
        (lambda outbox: outbox.events(-1), r"^after=-1"),
        (lambda outbox: outbox.events("1"), r"^after: give an int"),
    ],
)
def test_what_is_looked_for_is_looked_at_by_the_call_itself(
    call: Callable[[Any], Any], complaint: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with Outbox(url) as outbox:
        for either in (outbox, AsyncOutbox(url)):
            with pytest.raises((TypeError, ValueError), match=complaint):
                call(either)


@pytest.mark.parametrize(
    ("name", "recipient"),
    [
        ("b\u00fccher.example", "x@xn--bcher-kva.example"),
        ("B\u00dcCHER.example.", "x@b\u00fccher.example"),
        ("XN--BCHER-KVA.example", "\u00fc@b\u00fccher.example"),
        ("Example.NET.", "x@example.net"),
    ],
)
def test_a_limit_is_for_a_domain_however_it_is_written(
    open_outbox: Callable[..., Outbox], name: str, recipient: str
) -> None:
    outbox = open_outbox(limits={name: Limit(at_once=1)})
    for _ in range(2):
        outbox.put(b"Subject: x\r\n\r\n", Envelope("a@example.org", recipient))
    store, now = outbox._store, time.time()
    store.transact(claiming.register, "owner", 30.0, now)
    limits = outbox._core.policy.limits
    taken = store.transact(queue.claim, Claim("owner", 9, now, limits=limits))
    assert len(taken.deliveries) == 1


@pytest.mark.parametrize(
    "name",
    ["", "@example.net", "a@example.net", "exa mple", "*.example.net", "smtp://mx:25", "a.."],
)
def test_a_limit_that_is_for_nobody_is_refused(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path}/mail.db"
    with pytest.raises(ValueError, match=r"^limits: '.*' is no domain of recipients"):
        Outbox(url, limits={name: Limit(rate=1)})
    with pytest.raises(ValueError, match="is there twice"):
        Outbox(url, limits={"example.net": Limit(rate=1), "EXAMPLE.net.": Limit(rate=2)})
