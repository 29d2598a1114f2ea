"""What is decided about a large campaign is many small transactions, between which others go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from smtpx import Envelope, Template, compose
from smtpx.outbox import NotInOutbox, Outbox, State
from smtpx.outbox import _claiming as claiming
from smtpx.outbox import _queue as queue
from smtpx.outbox._destinations import Claim
from smtpx.outbox._statements import Statements

pytestmark = pytest.mark.timeout(60)

LETTER = compose(sender="a@example.org", to="{{address}}", subject="Hello", text="Hello\n")
MANY, PART = 1_234, 500


class Counted:
    """Counts the rows of each transaction, and has something done between two of them."""

    def __init__(self, outbox: Outbox, between: Callable[[], object]) -> None:
        self.rows: list[int] = []
        transact = outbox._store.transact

        def counting(operation: Callable[..., Statements[Any]], *args: Any) -> Any:
            _ = between()
            self.rows.append(0)
            return transact(self._counted, operation(*args))

        outbox._store.transact = counting  # type: ignore[method-assign, assignment]

    def _counted(self, operation: Statements[Any]) -> Statements[Any]:
        rows: Any = None
        try:
            while True:
                rows = yield operation.send(rows)
                self.rows[-1] = max(self.rows[-1], len(rows))
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def campaign(outbox: Outbox) -> str:
    rows = ({"address": f"r{n}@example.net"} for n in range(MANY))
    return outbox.put_merge(Template(LETTER), rows, campaign="spring")


def test_a_large_campaign_is_cancelled_and_retried_in_parts(
    outbox: Outbox, open_outbox: Callable[..., Outbox], campaign: str
) -> None:
    another = open_outbox()
    envelope = Envelope("a@example.org", "b@example.net")
    counted = Counted(outbox, lambda: another.put(b"Subject: x\r\n\r\n", envelope))
    for call, becomes in ((outbox.cancel, State.CANCELLED), (outbox.retry, State.WAITING)):
        counted.rows.clear()
        assert call(campaign) == MANY
        assert counted.rows == [PART, PART, MANY - 2 * PART]
        assert another.counts("spring")[becomes] == MANY
    assert outbox.cancel(campaign) == MANY
    assert outbox.cancel(campaign) == 0
    assert another.counts()[State.WAITING] == 3 * 4


def test_one_recipient_of_a_large_campaign_is_found_in_parts(outbox: Outbox, campaign: str) -> None:
    counted = Counted(outbox, lambda: None)
    last = f"r{MANY - 1}@EXAMPLE.net"
    assert outbox.cancel(campaign, recipient=last) == 1
    assert outbox.retry(campaign, recipient=last) == 1
    assert max(counted.rows) == 1
    assert len(counted.rows) == 6
    for call in (outbox.cancel, outbox.retry):
        with pytest.raises(NotInOutbox, match="for nobody"):
            call(campaign, recipient="nobody@example.net")
    with pytest.raises(NotInOutbox, match="is in doubt for"):
        outbox.resolve(campaign, last, "accepted")


def test_a_campaign_without_rows_has_nothing_to_decide(outbox: Outbox) -> None:
    id = outbox.put_merge(Template(LETTER), [], campaign="empty")
    assert (outbox.cancel(id), outbox.retry(id)) == (0, 0)


@pytest.mark.parametrize("hold", [False, True])
def test_a_claim_that_was_withdrawn_is_never_valid_again(outbox: Outbox, hold: bool) -> None:
    """The same worker claims it once more, and has what it claimed at first still at hand."""
    store, now = outbox._store, time.time() + 1
    letter = b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net")
    id = outbox.put(*letter, on_doubt="hold" if hold else "resend")
    wanted = Claim("owner", 9, now)
    store.transact(claiming.register, "owner", 30.0, now)
    (before,) = store.transact(queue.claim, wanted).deliveries
    assert (outbox.cancel(id), outbox.retry(id)) == (1, 1)
    assert store.transact(claiming.mark, "owner", [[before.ticket]], now) == [False]
    (after,) = store.transact(queue.claim, wanted).deliveries
    assert store.transact(claiming.mark, "owner", [[before.ticket]], now) == [False]
    store.transact(claiming.release, "owner", [before.ticket])
    given_back = claiming.Noted(before.ticket, State.WAITING, 0.0, False, None, "", "")
    store.transact(claiming.note, "owner", [given_back], now)
    assert store.transact(queue.claim, wanted).deliveries == []
    assert store.transact(claiming.mark, "owner", [[after.ticket]], now) == [True]
    refused = claiming.Noted(before.ticket, State.REFUSED, 0.0, True, None, "", "")
    store.transact(claiming.note, "owner", [refused], now)
    assert outbox.status(id).deliveries[0].state is State.SENDING
