"""What resuming saves is what docs/tls.md says: counted, not timed."""

from __future__ import annotations

import ssl

import pytest

from bench import resumption
from smtpx import TLSMode

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("mode", "version", "saved"),
    [
        (TLSMode.STARTTLS, TLS_1_2, 1),
        (TLSMode.STARTTLS, TLS_1_3, 0),
        (TLSMode.IMPLICIT, TLS_1_2, 0),
        (TLSMode.IMPLICIT, TLS_1_3, 0),
    ],
)
def test_round_trips_and_octets(mode: TLSMode, version: ssl.TLSVersion, saved: int):
    prices = resumption.measure(resumption.Kind(mode, version), rounds=1, each=1)
    assert prices[False].round_trips - prices[True].round_trips == saved
    assert prices[False].octets - prices[True].octets > 500
