"""Whose turn it is among many messages, pure: a domain has its share, what is slow makes room."""

from __future__ import annotations

import pytest

from smtpx.delivery import _crowd
from smtpx.delivery._crowd import Crowd


def begun(crowd: Crowd[str], now: float = 0.0) -> list[str]:
    found: list[str] = []
    while (one := crowd.next(now)) is not None:
        found.append(one)
    return found


def test_a_domain_has_half_of_all_places_and_others_overtake_it():
    crowd: Crowd[str] = Crowd(4)
    for place in range(5):
        crowd.add(f"a{place}", {"a.test"}, 0)
    assert begun(crowd) == ["a0", "a1"]
    crowd.add("b", {"b.test"}, 0)
    crowd.add("both", {"a.test", "c.test"}, 0)
    crowd.add("c", {"c.test"}, 0)
    assert begun(crowd) == ["b", "c"]
    assert not crowd.wants_more(0.0)
    crowd.done("a1")
    assert begun(crowd) == ["a2"]
    crowd.done("a0")
    crowd.done("a2")
    assert begun(crowd) == ["a3", "a4"]
    crowd.done("never begun")


@pytest.mark.parametrize(("places", "share"), [(1, 1), (2, 1), (16, 8), (64, 32)])
def test_the_share_of_a_domain(places: int, share: int):
    crowd: Crowd[int] = Crowd(places)
    for place in range(100):
        crowd.add(place, {"a.test"}, 0)
    assert sum(crowd.next(0.0) is not None for _ in range(100)) == share


def test_what_is_slow_makes_room_but_not_for_its_own_domain():
    crowd: Crowd[str] = Crowd(2)
    for place in range(20):
        crowd.add(f"{place}", {f"{place}.test"}, 0)
    crowd.add("0 again", {"0.test"}, 0)
    found = [begun(crowd, now) for now in (0.0, 4.0, 5.0, 9.9, 10.0, 15.0, 20.0, 900.0)]
    assert [len(each) for each in found] == [2, 0, 2, 0, 2, 2, 0, 0]
    assert crowd.looks_again(900.0) is None
    for place in range(8):
        crowd.done(f"{place}")
    assert begun(crowd, 901.0) == ["8", "9"]
    assert crowd.looks_again(901.0) == 906.0


@pytest.mark.parametrize("octets", [0, 1 << 20])
def test_no_more_is_read_ahead_than_memory_has_room_for(octets: int):
    crowd: Crowd[str] = Crowd(4)
    count = 0
    while crowd.wants_more(0.0):
        crowd.add(f"{count}", {"a.test"}, octets)
        count += 1
        _ = begun(crowd)
    assert count == 2 + (32 if octets else _crowd._HELD)
    # Then nobody looks again for nothing.
    assert crowd.looks_again(0.0) is None
    assert crowd.looks_again(99.0) is None
