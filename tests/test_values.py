"""Values are what frozen dataclasses with slots are, to programs and to `dataclasses`."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys

import pytest

import smtpx
from smtpx import DeliverBy, Limits, Outcome, PoolLimits, Reply, Status, Timeouts
from smtpx._values import Value, field, replaced


class Point(Value):
    """A value of the test's own."""

    x: int
    y: int = 0
    label: str = field(default="", repr=False, compare=False)
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x")


class Nothing(Value):
    """One without fields."""


class Nought(Value):
    """Another."""


def test_it_is_made_by_place_by_name_and_by_default() -> None:
    assert repr(Point(1, y=2, label="a", scale=3.0)) == "Point(x=1, y=2, scale=3.0)"
    assert repr(Point(1)) == "Point(x=1, y=0, scale=1.0)"
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg] # the point
    with pytest.raises(TypeError, match="positional arguments"):
        Point(1, 2, "a", 3.0)  # type: ignore[call-arg] # the point
    with pytest.raises(ValueError, match="x"):
        Point(-1)


def test_it_is_compared_by_what_it_holds() -> None:
    assert Point(1, label="a") == Point(1, label="b") != Point(2)
    assert hash(Point(1, label="a")) == hash(Point(1, label="b"))
    assert Point(1) != (1, 0, 1.0)
    assert len({Reply.of(250, "ok"), Reply.of(250, "ok"), Reply.of(250)}) == 2
    assert Nothing() == Nothing() != Nought()
    assert len({Nothing(), Nothing(), Nought()}) == 2


def test_it_is_not_changed() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="x"):
        point.x = 2  # type: ignore[misc] # the point
    with pytest.raises(dataclasses.FrozenInstanceError, match="other"):
        point.other = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="x"):
        del point.x
    assert not hasattr(point, "__dict__")


@pytest.mark.parametrize(
    "value",
    [
        Timeouts(connect=3),
        Limits(window=7),
        PoolLimits(rate=1.5),
        DeliverBy(10),
        Outcome(smtpx.Address.parse("a@b.test"), Status.ACCEPTED, Reply.of(250, "ok")),
        smtpx.Envelope("a@b.test", ["c@d.test"]),
        smtpx.Endpoint.parse("smtp://localhost"),
    ],
)
def test_it_is_copied_and_pickled(value: Value) -> None:
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert twin == value
        assert repr(twin) == repr(value)


def test_it_is_matched_and_signed() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert str(inspect.signature(Point)) == (
        "(x: 'int', y: 'int' = 0, label: 'str' = '', *, scale: 'float' = 1.0) -> None"
    )


def test_dataclasses_take_it_for_one() -> None:
    assert dataclasses.is_dataclass(Timeouts())
    assert [each.name for each in dataclasses.fields(Point)] == ["x", "y", "label", "scale"]
    changed = dataclasses.replace(Timeouts(connect=3), total=60)
    assert changed == Timeouts(connect=3, total=60) == replaced(Timeouts(connect=3), total=60)
    assert dataclasses.asdict(Point(1, 2)) == {"x": 1, "y": 2, "label": "", "scale": 1.0}
    if sys.version_info >= (3, 13):
        assert copy.replace(Point(1), y=2) == Point(1, 2)


@pytest.mark.parametrize("code", ["smtpx.Client('smtp://localhost')", "smtpx.smtplib"])
def test_nothing_that_every_program_needs_loads_dataclasses(code: str) -> None:
    script = f"import sys, smtpx, smtpx.smtplib; {code}; print('dataclasses' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


def test_every_public_value_is_replaced_by_the_fields_it_is_made_of() -> None:
    """What `dataclasses.replace` gives to a value, its `__init__` takes."""
    public = [getattr(smtpx, name) for name in smtpx.__all__]
    values = [kind for kind in public if isinstance(kind, type) and issubclass(kind, Value)]
    values.remove(smtpx.DKIMKey)  # It is made of a key, which it does not keep.
    assert smtpx.Envelope in values
    for kind in values:
        taken = inspect.signature(kind).parameters
        assert [each for each, of in kind.__fields__.items() if of.init and each not in taken] == []
    envelope = smtpx.Envelope("a@x.test", ["b@y.test"], envid="7")
    assert dataclasses.replace(envelope, envid=None) == envelope.replace(envid=None)
    assert dataclasses.replace(envelope, envid=None).is_plain
    with pytest.raises(TypeError, match="colour"):
        envelope.replace(colour=1)  # type: ignore[call-arg] # the point
