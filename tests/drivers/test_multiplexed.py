"""Many procedures in one thread, each on its socket, with a deadline of its own."""

from __future__ import annotations

import socket

from smtpx._core.steps import Receive, Steps
from smtpx._drivers.blocking import BlockingDriver
from smtpx._drivers.multiplexed import Lane, Multiplexer
from smtpx._drivers.waiting import Deadline


def test_a_total_that_is_used_up_is_the_procedure_s_to_hear() -> None:
    """It was raised as it is where the lane was made: out of `send_many`, with no result."""
    ours, theirs = socket.socketpair()

    def waiting() -> Steps[OSError | None]:
        try:
            _ = yield Receive(None, True)
        except OSError as error:
            return error
        return None

    with ours, theirs:
        driver = BlockingDriver(ours, None)
        lane = Lane(driver, waiting(), lambda: True, Deadline(-1))
        multiplexer: Multiplexer[OSError | None] = Multiplexer()
        multiplexer.add(lane)
        while not lane.finished:
            _ = multiplexer.turn()
        multiplexer.close()
        driver.close()
        assert isinstance(lane.value, TimeoutError)
