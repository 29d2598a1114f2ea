"""TLS with a real server: pins, resumption, the wrong port."""

from __future__ import annotations

import pytest

import smtpx
from smtpx import Client, Pin, PinKind, PoolLimits, Session, TLSFailure, TLSMode, TLSPolicy
from smtpx.observing import Event, Protected

from .postfix import Postfix

# In one process, which starts one Postfix for all.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("postfix")]


@pytest.mark.parametrize("mode", [TLSMode.STARTTLS, TLSMode.IMPLICIT])
@pytest.mark.parametrize("kind", PinKind)
def test_a_pinned_server_is_resumed(postfix: Postfix, mode: TLSMode, kind: PinKind) -> None:
    port = postfix.port if mode is TLSMode.STARTTLS else postfix.tls_port
    url = f"smtp://localhost:{port}"
    with Session(url, tls=TLSPolicy(mode, ca_file=postfix.ca_file)) as session:
        assert session.protection is not None
        assert "localhost" in session.protection.names
        pin = Pin.of(kind, session.protection.certificate)
    policy = TLSPolicy(mode, ca_file=postfix.ca_file, pins=pin)
    seen: list[Event] = []
    envelope = smtpx.Envelope("ann@example.org", "user@example.test")
    pool = PoolLimits(messages=1)
    with Client(url, tls=policy, pool=pool, observer=seen.append) as client:
        for _ in range(3):
            _ = client.send(b"Subject: hi\r\n\r\nhello\r\n", envelope)
    resumed = [event.protection.is_resumed for event in seen if isinstance(event, Protected)]
    assert resumed == [False, True, True]


def test_the_wrong_port(postfix: Postfix) -> None:
    with pytest.raises(smtpx.TLSPolicyError) as caught:
        Session(f"smtps://localhost:{postfix.port}").open()
    assert caught.value.reason is TLSFailure.NOT_TLS
    timeouts = smtpx.Timeouts(greeting=0.2)
    with pytest.raises(smtpx.TimedOut, match="smtps://"):
        Session(f"smtp://localhost:{postfix.tls_port}", timeouts=timeouts).open()
