"""Struck twice, and the exception is kept, as an interactive session does: nothing is lost by it.

With its frames it keeps whatever these had. So nothing here is left to the collector.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from smtpx import Client, Envelope, PoolLimits, SendResult
from tests.interruptions.noting import Noting, Ways
from tests.interruptions.points import Points

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ENVELOPE = Envelope("ann@example.org", ["bob@one.test", "eve@two.test"])
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
_POOLING = {"pool.py", "leasing.py", "state.py", "decisions.py"}


class Interruption(BaseException):
    """What a signal handler raises."""


def interrupt() -> None:
    raise Interruption


def is_pooling(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).name in _POOLING


def send(client: Client) -> None:
    _ = client.send(CONTENT, ENVELOPE)


def send_twice(client: Client) -> None:
    send(client)
    send(client)


def send_many(client: Client) -> None:
    _ = [*client.send_many([(CONTENT, ENVELOPE)] * 4, connections=2, window=1)]


@pytest.mark.parametrize("again", [0, 1, 4])
@pytest.mark.parametrize("call", [send, send_twice, send_many])
def test_the_pool_loses_nothing(call: Callable[[Client], None], again: int) -> None:
    at, wrong = 1, list[str]()
    with Noting(Ways(session_max=3)) as server:
        while True:
            client = Client(server.url, pool=PoolLimits(open=2, wait=5))
            points = Points(at, interrupt, is_pooling, again)
            kept: BaseException | None = None
            try:
                points.run(lambda: call(client))  # noqa: B023 - called at once
            except Interruption as error:
                kept = error
            statistics = client.statistics()
            if statistics.opening or statistics.busy or statistics.waiting:
                wrong.append(f"at {at}: {statistics}")
            send_many(client)
            client.close()
            server.wait_for_the_end()
            assert (kept is not None) == points.happened
            if not points.happened:
                break
            at += 5
    assert wrong == []
    assert at > 50


@pytest.mark.parametrize("extensions", [("CHUNKING", "PIPELINING"), ("PIPELINING",), ("SIZE",)])
def test_what_is_told_of_messages_keeps_no_frame_of_the_call(extensions: tuple[str, ...]) -> None:
    """Else whoever keeps results would keep the sockets and the places of what was interrupted."""
    at, told = 1, list[SendResult]()
    with Noting(Ways(extensions)) as server:
        while True:
            client = Client(server.url)
            points = Points(at, interrupt)
            try:
                points.run(lambda: send_many(client))  # noqa: B023 - called at once
            except Interruption as interruption:
                told += vars(interruption).get("results", [])
            client.close()
            if not points.happened:
                break
            at += 37
    assert any(result.error is not None for result in told)
    for result in told:
        error: BaseException | None = result.error
        while error is not None:
            assert not isinstance(error, Interruption)
            error = error.__context__
