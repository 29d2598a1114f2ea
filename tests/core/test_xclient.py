"""XCLIENT, as Postfix documents it."""

from __future__ import annotations

from typing import Any

import pytest

from smtpx._core.housekeeping import say
from smtpx._core.xclient import xclient
from smtpx.errors import (
    ConnectionLost,
    ExtensionMissing,
    HelloRefused,
    LocalProtocolError,
    ReplyError,
)

from .transcripts import connected, fails, plays

OFFER = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME"


def ready(*keywords: str) -> Any:
    connection = connected(*(keywords or (OFFER,)))
    connection.client_name = "me.example"
    return connection


def test_the_session_starts_anew() -> None:
    connections = []

    def make() -> Any:
        connection = ready(OFFER, "SIZE 1000")
        connection.authenticated = connection.open_transaction = True
        connections.append(connection)
        return xclient(connection, {"name": "spike.example.org", "addr": "192.0.2.7"})

    plays(
        make,
        """
        C: XCLIENT NAME=spike.example.org ADDR=192.0.2.7
        S: 220 mx.test ESMTP for spike
        C: EHLO me.example
        S: 250-mx.test
        S: 250 PIPELINING
        """,
    )
    for connection in connections:
        assert connection.greeting.lines == ("mx.test ESMTP for spike",)
        assert connection.extensions.pipelining
        assert connection.extensions.size is None
        assert not connection.authenticated
        assert not connection.open_transaction


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"addr": "2001:db8::7"}, "ADDR=IPV6:2001:db8::7"),
        ({"addr": "IPV6:2001:db8::7"}, "ADDR=IPV6:2001:db8::7"),
        ({"destaddr": "2001:db8::7", "destport": 25}, "DESTADDR=IPV6:2001:db8::7 DESTPORT=25"),
        ({"port": 40000, "proto": "ESMTP"}, "PORT=40000 PROTO=ESMTP"),
        ({"name": None, "helo": "x"}, "NAME=[UNAVAILABLE] HELO=x"),
        ({"reverse_name": "[TEMPUNAVAIL]"}, "REVERSE_NAME=[TEMPUNAVAIL]"),
        ({"login": "a+b=c d"}, "LOGIN=a+2Bb+3Dc+20d"),
    ],
)
def test_attributes(attributes: Any, said: str) -> None:
    plays(
        lambda: xclient(ready(), attributes),
        f"""
        C: XCLIENT {said}
        S: 220 mx.test
        C: EHLO me.example
        S: 250 mx.test
        """,
    )


def test_only_what_is_offered_is_said() -> None:
    error = fails(
        lambda: xclient(ready("XCLIENT NAME ADDR"), {"addr": "192.0.2.7", "login": "ann"}),
        "",
        ExtensionMissing,
    )
    assert "LOGIN" in str(error)
    _ = fails(lambda: xclient(ready("SIZE"), {"addr": "192.0.2.7"}), "", ExtensionMissing)


@pytest.mark.parametrize(
    "attributes", [{}, {"name": "a\r\nMAIL FROM:<x@y>"}, {"helo": "ü"}, {"login": "a\0"}]
)
def test_nothing_illegal_is_said(attributes: Any) -> None:
    _ = fails(lambda: xclient(ready(), attributes), "", LocalProtocolError)


def test_refusals() -> None:
    error = fails(
        lambda: xclient(ready(), {"addr": "192.0.2.7"}),
        """
        C: XCLIENT ADDR=192.0.2.7
        S: 550 5.7.0 Error: insufficient authorization
        """,
        ReplyError,
    )
    assert "insufficient" in str(error)
    _ = fails(
        lambda: xclient(ready(), {"addr": "192.0.2.7"}),
        """
        C: XCLIENT ADDR=192.0.2.7
        S: 220 mx.test
        C: EHLO me.example
        S: 421 4.7.0 not that one
        """,
        HelloRefused,
    )
    _ = fails(
        lambda: xclient(ready(), {"addr": "192.0.2.7"}),
        """
        C: XCLIENT ADDR=192.0.2.7
        S: <close>
        """,
        ConnectionLost,
    )


def test_it_is_no_command_that_stands_alone() -> None:
    _ = fails(lambda: say(ready(), "XCLIENT ADDR=192.0.2.7"), "", LocalProtocolError)
