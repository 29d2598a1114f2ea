"""The table of docs/waiting.md says how long a call can take, and a server can take as long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from smtpx import Envelope, Limits, Session, Timeouts
from tests.held.longest import Longest
from tests.held.table import table
from tests.held.test_reported import Visitor, serving

PAGE = Path(__file__).parents[2] / "docs" / "waiting.md"


def test_the_page_has_the_table_of_the_code() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), table()


def test_the_replies_of_lmtp_share_one_time() -> None:
    times = Timeouts.each(1)
    of_one = Longest(times, lmtp=True).send()
    of_ten = Longest(times, lmtp=True).send(recipients=10)
    assert of_ten - of_one == 9  # for as many more replies to RCPT


@pytest.mark.parametrize("rate", [500.0, 5000.0])
def test_content_has_its_time_by_the_rate(rate: float) -> None:
    slow = Longest(Timeouts.each(1), Limits(data_rate=rate)).send(1_000_000)
    fast = Longest(Timeouts.each(1), Limits(data_rate=1e15)).send(1_000_000)
    assert slow - fast == pytest.approx(1_000_000 / rate, rel=0.001)


def test_a_server_can_take_as_long() -> None:
    seconds, late = 0.5, 0.4

    def visited(_: int, visitor: Visitor) -> None:
        visitor.greet()
        visitor.serve(pause=late)

    longest = Longest(Timeouts.each(seconds), extensions=()).send()
    with serving(visited) as url, Session(url, timeouts=Timeouts.each(seconds)) as session:
        began = time.monotonic()
        result = session.send(b"hi\r\n", Envelope("ann@example.org", "bob@example.net"))
        taken = time.monotonic() - began
    assert len(result.accepted) == 1
    assert longest * late / seconds <= taken <= longest + 0.5
