"""Many messages over one session: what is in flight, and what goes back."""

from __future__ import annotations

from collections import deque
from textwrap import dedent

import pytest

from smtpx._core.connection import Connection
from smtpx._core.steps import Glance, Send, Step, Steps, with_octets_written
from smtpx._core.streaming.stream import stream
from smtpx._core.streaming.supply import Budget, Outgoing, Supply, Window
from smtpx.envelope import Envelope, Notify, Recipient
from smtpx.errors import ConnectionLost, SMTPError
from smtpx.marking import Alone
from smtpx.results import SendResult
from smtpx.testing import play

from .transcripts import connected, plays

PIPELINED = ("PIPELINING", "CHUNKING")
CONTENT = b"hi\r\n"
SIZE = 61
"""Octets of a message with its commands."""
RSET = len("RSET\r\n")


def numbered(count: int) -> Supply:
    ready = [Outgoing(CONTENT, Envelope(f"s{i}@x.test", f"r{i}@y.test")) for i in range(count)]
    return Supply(ready=deque(ready), exhausted=True)


def streaming(
    connection: Connection,
    supply: Supply,
    results: list[SendResult],
    window: Window = Window(),  # noqa: B008 - it is frozen
) -> Steps[SMTPError | None]:
    return stream(connection, supply, results.append, window, Budget(100))


def proven(*keywords: str) -> Connection:
    """Connected to a server of which it is known that it takes messages by BDAT, and RSET."""
    connection = connected(*keywords)
    connection.learnt.takes_chunks = connection.learnt.takes_reset = True
    return connection


def written(i: int, *, reset: bool) -> str:
    return f"""
        {"C: RSET" if reset else ""}
        C: MAIL FROM:<s{i}@x.test>
        C: RCPT TO:<r{i}@y.test>
        C: BDAT 4 LAST
        C: hi
        """


def taken(*, reset: bool) -> str:
    return "        S: 250 ok\n" * (3 + reset)


@pytest.mark.parametrize(
    ("window", "turns"),
    [
        (Window(messages=4), [(4, 4), (2, 2)]),
        (Window(messages=2), [(2, 1), (1, 1), (1, 2)]),  # refilled when half is answered
        (Window(octets=1), [(1, 1), (1, 1), (1, 1)]),
        (
            Window(octets=SIZE + RSET + 1),
            [(2, 1), (1, 1), (1, 2)],
        ),  # the last is begun within the bound
        (Window(octets=2 * (SIZE + RSET)), [(3, 3), (3, 3)]),
    ],
)
def test_no_more_is_in_flight_than_the_window_has(
    window: Window, turns: list[tuple[int, int]]
) -> None:
    """Turns are how many messages are written, and how many then answered.

    RSET goes before those that follow one whose fate is not known.
    """
    script, count = "", 0
    flight: list[bool] = []
    for messages, answered in turns:
        for _ in range(messages):
            reset = bool(flight)
            script += written(count, reset=reset)
            flight.append(reset)
            count += 1
        script += "".join(taken(reset=reset) for reset in flight[:answered])
        del flight[:answered]
    results: list[SendResult] = []
    procedure = streaming(proven(*PIPELINED), numbered(count), results, window)
    assert play(procedure, dedent(script)).value is None
    assert [len(result.accepted) for result in results] == [1] * count


def test_what_goes_alone_shares_no_window() -> None:
    """All before it is answered first, and it is before anything else is written."""
    script = "".join(written(i, reset=False) + taken(reset=False) for i in range(4))
    supply = numbered(4)
    for place in (1, 2):
        supply.ready[place].message = Alone(CONTENT)
    results: list[SendResult] = []
    assert play(streaming(proven(*PIPELINED), supply, results), dedent(script)).value is None
    assert [len(result.accepted) for result in results] == [1] * 4


def test_nothing_is_asked_along_with_a_content_that_goes_alone() -> None:
    """A message whose commands were on their way would wait for the reply to that content."""

    def asked(i: int, *, reset: bool) -> str:
        return f"""
        {"C: RSET" if reset else ""}
        C: MAIL FROM:<s{i}@x.test>
        C: RCPT TO:<r{i}@y.test>
        C: DATA
        """

    def answers(*, reset: bool) -> str:
        return "        S: 250 ok\n" * (2 + reset) + "        S: 354 go\n"

    content = "        C: hi\n        C: .\n"
    taken = "        S: 250 ok\n"
    script = asked(0, reset=False) + answers(reset=False)
    script += content + asked(1, reset=True) + taken + answers(reset=True)
    script += content + taken  # It goes alone.
    script += asked(2, reset=False) + answers(reset=False)
    script += content + asked(3, reset=True) + taken + answers(reset=True)
    script += content + taken
    supply = numbered(4)
    supply.ready[1].message = Alone(CONTENT)
    results: list[SendResult] = []
    assert play(streaming(connected("PIPELINING"), supply, results), dedent(script)).value is None
    assert [len(result.accepted) for result in results] == [1] * 4


@pytest.mark.requirement("RFC 3030 §4.2")
def test_rset_goes_before_every_mail_with_options_too() -> None:
    """Refused as a whole, the first leaves its transaction open."""
    script = """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test> NOTIFY=NEVER
        C: BDAT 4 LAST
        C: hi
        C: RSET
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test> NOTIFY=NEVER
        C: BDAT 4 LAST
        C: hi
        S: 250 ok
        S: 550 no
        S: 554 nobody
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 250 ok
        """
    results: list[SendResult] = []

    def make() -> Steps[SMTPError | None]:
        results.clear()
        envelope = Envelope("a@x.test", Recipient("b@y.test", notify=Notify.NEVER))
        ready = [Outgoing(CONTENT, envelope), Outgoing(CONTENT, envelope)]
        supply = Supply(ready=deque(ready), exhausted=True)
        return streaming(proven(*PIPELINED, "DSN"), supply, results)

    assert plays(make, script).value is None
    assert [len(result.accepted) for result in results] == [0, 1]


@pytest.mark.requirement("T39")
@pytest.mark.parametrize(
    ("taken", "doubtful"),
    [
        (0, 0),
        (SIZE - 1, 0),
        (SIZE, 1),
        (2 * SIZE + RSET - 1, 1),
        (2 * SIZE + RSET, 2),
        (3 * SIZE + 2 * RSET, 3),
    ],
)
def test_what_was_not_written_whole_goes_by_another_session(taken: int, doubtful: int) -> None:
    results: list[SendResult] = []
    supply = numbered(3)
    messages = list(supply.ready)
    procedure = streaming(proven(*PIPELINED), supply, results)
    step: Step = next(procedure)
    assert isinstance(step, Glance)
    step = procedure.send(None)
    assert isinstance(step, Send)
    assert len(step.data) == 3 * SIZE + 2 * RSET
    with pytest.raises(StopIteration) as ended:
        _ = procedure.throw(with_octets_written(ConnectionResetError("gone"), taken))
    assert isinstance(ended.value.value, ConnectionLost)
    assert [len(result.in_doubt) for result in results] == [1] * doubtful
    assert list(supply.ready) == messages[doubtful:]
