"""A slow reader holds a writer no longer than the octets take at the least rate, and once more.

The clock is scripted; what a driver does by it is in `tests/faces/test_slow_readers.py`.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx._core.steps import Send
from smtpx._drivers.waiting import Pace

TIMEOUT, RATE = 180.0, 500.0


class Clock:
    """A peer that takes octets as a script says; every second that passes is the peer's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.pace = Pace()

    def write(self, size: int, script: list[tuple[float, int]], rate: float | None = RATE) -> int:
        """Write `size` octets; the peer takes `octets` after `seconds`. Returns what it took."""
        step = Send(bytes(size), TIMEOUT, rate)
        self.pace.begin(step)
        taken = 0
        for seconds, octets in script:
            left = self.pace.left
            assert left is not None
            if seconds > left:
                self.now += left
                raise TimeoutError
            self.now += seconds
            octets = min(octets, size - taken)
            taken += octets
            self.pace.advance(octets)
            if taken == size:
                self.pace.end()
                break
        return taken


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_peer_that_stalls_has_the_timeout(clock: Clock) -> None:
    with pytest.raises(TimeoutError):
        _ = clock.write(10**6, [(9e9, 0)])
    assert clock.now == 1000 + TIMEOUT


def test_a_peer_that_stalls_after_it_took_much_has_no_more(clock: Clock) -> None:
    with pytest.raises(TimeoutError):
        _ = clock.write(10**9, [(1, 10**8), (9e9, 0)])
    assert clock.now == 1001 + TIMEOUT


def test_a_peer_above_the_rate_has_all_the_time_it_needs(clock: Clock) -> None:
    assert clock.write(10**6, [(1, 501)] * 2000) == 10**6


def test_octets_that_trickle_do_not_extend_the_time(clock: Clock) -> None:
    with pytest.raises(TimeoutError):
        _ = clock.write(10**6, [(1, 1)] * 10**6)
    assert clock.now <= 1000 + TIMEOUT + 200 / RATE + 1


def test_without_a_rate_the_whole_write_has_the_timeout(clock: Clock) -> None:
    with pytest.raises(TimeoutError):
        _ = clock.write(10**6, [(1, 5000)] * 10**6, rate=None)
    assert clock.now == 1000 + TIMEOUT


def test_a_reply_fills_the_time_up(clock: Clock) -> None:
    _ = clock.write(10, [(179, 10)])
    assert clock.pace.left is not None
    clock.pace.refill()
    _ = clock.write(10, [(179, 10)])


def test_between_writes_no_time_passes(clock: Clock) -> None:
    _ = clock.write(10, [(100, 10)])
    clock.now += 10_000  # The caller's file was slow, not the peer.
    _ = clock.write(10, [(79, 10)])
    with pytest.raises(TimeoutError):
        _ = clock.write(10, [(2, 10)])


@pytest.mark.requirement("T30a")
@given(
    writes=st.lists(
        st.tuples(
            st.integers(1, 600_000),
            st.lists(st.tuples(st.floats(0, 200), st.integers(0, 100_000)), min_size=1),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_nobody_is_held_longer_than_the_size_at_the_rate_and_the_timeout(
    writes: list[tuple[int, list[tuple[float, int]]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        taken = 0
        for size, script in writes:
            ready = [*script, (0.0, size)]
            try:
                taken += clock.write(size, ready)
            except TimeoutError:
                taken += size
                break
        assert clock.now - 1000 <= TIMEOUT + taken / RATE + 1e-6
