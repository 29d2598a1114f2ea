"""Contents and command groups in one write (RFC 2920 §3.1), where the content is answered early."""

from __future__ import annotations

import pytest

from smtpx._core.streaming.stream import stream
from smtpx._core.streaming.supply import Budget, Outgoing, Supply, Window
from smtpx._wire.content import PIECE
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, RemoteProtocolError, SMTPError
from smtpx.results import SendResult, Status

from .transcripts import connected, plays

GROUP = """
    C: MAIL FROM:<a@x.test>
    C: RCPT TO:<b@y.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 354 go ahead
    """
SMALL, LARGE = b"hi\r\n", b"x" * (2 * PIECE)


def run(
    script: str, *contents: bytes, keywords: tuple[str, ...] = ("PIPELINING",)
) -> tuple[SMTPError | None, list[SendResult], int]:
    """Stream these contents; return why the session is over, the results, and how many are left."""
    supply, results = Supply(), list[SendResult]()

    def make():
        nonlocal supply
        supply = Supply(exhausted=True)
        for content in contents:
            supply.ready.append(Outgoing(content, Envelope("a@x.test", ["b@y.test"])))
        results.clear()
        return stream(connected(*keywords), supply, results.append, Window(), Budget(len(contents)))

    return plays(make, script).value, results, len(supply.ready)


@pytest.mark.requirement("T32")
@pytest.mark.parametrize(
    ("ending", "kind"),
    [("S!: 250 queued", RemoteProtocolError), ("S!: <close>", ConnectionLost)],
)
def test_what_comes_before_the_content_is_not_its_reply(ending, kind):
    over, results, left = run(GROUP + ending, SMALL, SMALL)
    assert isinstance(over, kind)
    assert results == []
    assert left == 2


@pytest.mark.requirement("T34")
@pytest.mark.parametrize("keywords", [("PIPELINING",), ()])
@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_an_early_refusal_is_of_one_message_and_ends_the_session(keywords, content):
    script = GROUP
    if not keywords:
        script = """
            C: MAIL FROM:<a@x.test>
            S: 250 ok
            C: RCPT TO:<b@y.test>
            S: 250 ok
            C: DATA
            S: 354 go ahead
            """
    over, results, left = run(script + "S!: 552 5.3.4 too big", content, SMALL, keywords=keywords)
    assert isinstance(over, ConnectionLost)
    assert [result.outcomes[0].status for result in results] == [Status.REFUSED]
    assert left == 1
