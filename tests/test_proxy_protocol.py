"""PROXY protocol headers, octet by octet as HAProxy's document has them."""

from __future__ import annotations

from typing import Any

import pytest

from smtpx import ProxyHeader

FOUR = ("192.0.2.7", 40000), ("198.51.100.1", 25)
SIX = ("2001:db8::7", 40000), ("2001:db8::1", 25)
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def test_version_1() -> None:
    assert bytes(ProxyHeader(1, *FOUR)) == b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"
    assert bytes(ProxyHeader(1, *SIX)) == b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n"


def test_version_2() -> None:
    assert bytes(ProxyHeader(2, *FOUR)) == SIGNATURE + bytes.fromhex(
        "21 11 000c c0000207 c6336401 9c40 0019"
    )
    assert bytes(ProxyHeader(2, *SIX)) == SIGNATURE + bytes.fromhex(
        "21 21 0024 20010db8000000000000000000000007 20010db8000000000000000000000001 9c40 0019"
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ((3, *FOUR), "version=3: give 1 to 2"),
        ((1, FOUR[0], SIX[0]), "one family"),
        ((2, ("mx.test", 1), FOUR[1]), "mx.test"),
        ((2, ("192.0.2.7", 65536), FOUR[1]), "65536"),
        ((2, ("192.0.2.7", -1), FOUR[1]), "-1"),
        ((1, ("fe80::1%eth0", 1), SIX[1]), "zone"),
        ((1, ("192.0.2.7\r\n", 1), FOUR[1]), "192"),
        ((1, ("192.0.2.7", "1\r\nQUIT"), FOUR[1]), "source: port: give an int"),
        ((1, ("192.0.2.7", 2.5), FOUR[1]), "source: port: give an int"),
        ((True, *FOUR), "version: give an int"),
        ((2, FOUR[0], ["192.0.2.7", 1]), "destination: give a tuple"),
    ],
)
def test_a_mistake_is_named(fields: Any, why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        _ = ProxyHeader(*fields)
