"""The soak in small; ``make soak`` runs it in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpx import Status
from tests.scale.soak import by_send, by_send_many, run

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc"),
]


@pytest.mark.parametrize("send_all", [by_send_many, by_send])
def test_soak(send_all):
    report = run(send_all, 2000)
    assert report.verdicts[Status.ACCEPTED] > 1000
