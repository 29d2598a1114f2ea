"""Timeouts and limits: every field a phase, nothing that never ends by mistake."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from smtpx._wire.commands import Phase
from smtpx.options import Limits, PoolLimits, Timeouts

NAMES = [field.name for field in fields(Timeouts)]


def test_every_phase_has_its_timeout() -> None:
    assert {phase.field for phase in Phase} == set(NAMES) - {"total"}


@pytest.mark.requirement("T30")
def test_by_default_no_phase_waits_for_ever() -> None:
    given = Timeouts()
    assert all(getattr(given, name) for name in NAMES if name != "total")


@pytest.mark.requirement("RFC 5321 §4.5.3.2.6")
def test_the_end_of_data_is_waited_for_as_long_as_the_rfc_says() -> None:
    assert Timeouts().data_termination == 600


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seconds", [0, -1, 0.0, float("nan"), float("-inf"), float("inf")])
def test_a_time_is_above_zero_and_finite(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: seconds})


@pytest.mark.parametrize("name", NAMES)
def test_none_waits_for_ever_and_a_fraction_is_fine(name: str) -> None:
    assert getattr(Timeouts(**{name: None}), name) is None
    assert getattr(Timeouts(**{name: 0.001}), name) == 0.001


@pytest.mark.parametrize("seconds", [2.5, None])
def test_each_phase_can_have_the_same(seconds: float | None) -> None:
    same = Timeouts.each(seconds, total=9)
    assert {getattr(same, name) for name in NAMES if name != "total"} == {seconds}
    assert same.total == 9
    assert Timeouts.each(1).total is None


def test_each_refuses_what_the_fields_refuse() -> None:
    with pytest.raises(ValueError, match="connect"):
        Timeouts.each(0)


@pytest.mark.requirement("T29")
def test_replies_are_bounded_by_default() -> None:
    assert Limits().reply_line <= Limits().reply_size <= 65536
    assert Limits().reply_lines <= 1000


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf")])
def test_a_rate_of_content_is_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match="data_rate"):
        Limits(data_rate=rate)


@pytest.mark.parametrize("value", [Timeouts(), Limits(), PoolLimits()])
def test_they_are_values(value: Timeouts | Limits | PoolLimits) -> None:
    assert value == type(value)()
    assert len({value, type(value)()}) == 1
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"open": 0}, {"open": -1}, {"idle": -1}, {"messages": 0}, {"burst": 0},
        {"idle_time": 0}, {"age": -1.0}, {"rate": 0}, {"rate": float("nan")},
        {"wait": float("inf")}, {"recovery": 0.0},
    ],
    ids=repr,
)  # fmt: skip
def test_a_pool_has_room_for_one_and_times_above_zero(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PoolLimits(**wrong)


def test_a_pool_may_be_without_limits_and_keep_nothing() -> None:
    limits = PoolLimits(idle=0, idle_time=None, age=None, messages=None, rate=None, wait=None)
    assert limits.idle == 0
    assert PoolLimits().open >= 1


def test_a_rate_lets_one_message_go_before_its_caller_gives_up() -> None:
    assert PoolLimits(rate=0.1, wait=10).rate == 0.1
    assert PoolLimits(rate=0.001, wait=None).rate == 0.001
    with pytest.raises(ValueError, match="lets no message go"):
        PoolLimits(rate=0.1, wait=9)
