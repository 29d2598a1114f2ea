"""TLS policies as `ssl` sees them, and what one client keeps of its handshakes."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from smtpx._drivers.contexts import context_for
from smtpx._drivers.resumption import Handshakes
from smtpx.pins import Pin, PinKind
from smtpx.tls import TLSMode, TLSPolicy, TLSVersion

PIN = Pin(PinKind.CERTIFICATE, bytes(32))
STARTTLS = TLSPolicy(TLSMode.STARTTLS)


@pytest.mark.requirement("T14")
@pytest.mark.parametrize(
    ("options", "verified", "minimum"),
    [
        ({}, True, ssl.TLSVersion.TLSv1_2),
        ({"pins": PIN}, True, ssl.TLSVersion.TLSv1_2),
        ({"server_hostname": "mx.example"}, True, ssl.TLSVersion.TLSv1_2),
        ({"minimum_version": TLSVersion.TLS_1_2}, True, ssl.TLSVersion.TLSv1_2),
        ({"minimum_version": TLSVersion.TLS_1_3}, True, ssl.TLSVersion.TLSv1_3),
        ({"pins": PIN, "pins_suffice": True}, False, ssl.TLSVersion.TLSv1_2),
    ],
)
@pytest.mark.parametrize("mode", [mode for mode in TLSMode if mode is not TLSMode.NONE])
def test_verified_unless_pins_suffice(
    mode: TLSMode, options: dict[str, Any], verified: bool, minimum: ssl.TLSVersion
):
    if mode is TLSMode.OPPORTUNISTIC and "pins" in options:
        return  # It takes none.
    context = context_for(TLSPolicy(mode, **options))
    assert context.verify_mode == (ssl.CERT_REQUIRED if verified else ssl.CERT_NONE)
    assert context.check_hostname is verified
    assert context.minimum_version == minimum


def test_the_callers_context_is_taken_as_it_is():
    context = ssl.create_default_context()
    before = (context.verify_mode, context.minimum_version, context.options)
    assert context_for(TLSPolicy(TLSMode.STARTTLS, context=context)) is context
    assert (context.verify_mode, context.minimum_version, context.options) == before


@pytest.mark.requirement("T46")
@pytest.mark.parametrize(
    ("host", "server_hostname", "name"),
    [
        ("mail.example.org", None, "mail.example.org"),
        ("mail.example.org.", None, "mail.example.org"),
        ("192.0.2.1", None, "192.0.2.1"),
        ("2001:db8::1", None, "2001:db8::1"),
        ("", None, "localhost"),
        ("127.0.0.1", "mail.example.org", "mail.example.org"),
        ("", "mail.example.org", "mail.example.org"),
    ],
)
def test_the_name_that_is_verified(host: str, server_hostname: str | None, name: str):
    policy = TLSPolicy(TLSMode.STARTTLS, server_hostname=server_hostname)
    handshake = Handshakes(policy, host).begin(policy)
    assert handshake is not None
    assert handshake.server_hostname == name


def test_no_context_is_made_for_nothing():
    handshakes = Handshakes(TLSPolicy(TLSMode.NONE), "localhost")
    assert handshakes.begin(TLSPolicy(TLSMode.NONE)) is None


def test_a_handshake_that_was_not_done_leaves_nothing():
    handshakes = Handshakes(STARTTLS, "localhost")
    handshake = handshakes.begin(STARTTLS)
    assert handshake is not None
    assert handshake.resumable is None
    handshakes.keep(handshake)
    handshakes.keep(None)
