"""What the blocking driver tells of a write that fails."""

from __future__ import annotations

import socket

import pytest

from smtpx._core.steps import Send, Steps, octets_written
from smtpx._drivers.blocking import BlockingDriver
from smtpx._drivers.waiting import Deadline

SIZE = 8 * 2**20


def written(error: type[OSError], seconds: float | None) -> Steps[int]:
    """How many of `SIZE` octets were taken, when the write has failed."""
    with pytest.raises(error) as caught:
        yield Send(b"x" * SIZE, seconds)
    return octets_written(caught.value, SIZE)


def test_a_write_that_takes_too_long_tells_how_far_it_came() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        taken = BlockingDriver(ours, None).run(written(TimeoutError, 0.05), Deadline(None))
        assert 0 < taken < SIZE
        theirs.setblocking(False)
        arrived = 0
        while arrived < taken:
            arrived += len(theirs.recv(65536))
        with pytest.raises(BlockingIOError):
            _ = theirs.recv(1)


def test_a_write_to_nobody_took_nothing() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        assert BlockingDriver(ours, None).run(written(OSError, 1), Deadline(None)) == 0


def test_a_write_after_the_deadline_took_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        driver = BlockingDriver(ours, None)
        assert driver.run(written(TimeoutError, None), Deadline(0.0)) == 0
