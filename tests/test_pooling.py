"""What a pool says of itself can be kept, copied and handed on, as every value can."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from types import MappingProxyType

import pytest

import smtpx
from smtpx.pooling import CloseReason


@pytest.mark.parametrize("copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy])
def test_statistics_are_copied_and_stay_what_nobody_changes(copied):
    figures = smtpx.Client("smtp://mail.example.com").statistics()
    figures = dataclasses.replace(figures, closed=MappingProxyType({CloseReason.AGE: 3}))
    twin = copied(figures)
    assert twin == figures
    with pytest.raises(TypeError, match="does not support item assignment"):
        twin.closed[CloseReason.AGE] = 4
