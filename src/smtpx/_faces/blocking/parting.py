"""Several sessions say goodbye together: servers that do not answer QUIT cost their time once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpx._drivers.waiting import Deadline

if TYPE_CHECKING:
    from smtpx._drivers.multiplexed import Lane
    from smtpx._faces.blocking.session import Session


def part(sessions: Sequence[Session], deadline: Deadline) -> None:
    """Say QUIT over each, and wait for the replies; never fail. Who owns them closes them."""
    listening = [session for session in sessions if session.is_open]
    if len(listening) == 1:
        listening[0]._close_by(deadline)
    elif listening:
        _part_together(listening, deadline)


def _part_together(sessions: Sequence[Session], deadline: Deadline) -> None:
    try:
        from smtpx._core.housekeeping import quit_session
        from smtpx._drivers.multiplexed import Lane, Multiplexer

        multiplexer: Multiplexer[object] = Multiplexer()
    except OSError:
        return  # No descriptor is left for it.
    try:
        lanes: list[Lane[object]] = []
        for session in sessions:
            connection, driver = session._parts
            lanes.append(Lane(driver, quit_session(connection), lambda: True, deadline))
            multiplexer.add(lanes[-1])
        while True:
            _part_finished(lanes)
            if not multiplexer.lanes:
                break
            lanes = [*multiplexer.lanes]
            _ = multiplexer.turn()
    except OSError:
        pass  # What is left is closed without a word.
    finally:
        multiplexer.close()


def _part_finished(lanes: Sequence[Lane[object]]) -> None:
    for lane in lanes:
        if lane.finished:
            lane.driver.part()
