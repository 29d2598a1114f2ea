"""Whom the core trusts, and what it makes of a handshake that failed."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime

import pytest

from smtpx._core.connection import Connection
from smtpx._core.opening import hello, open_session
from smtpx._core.steps import Glance, StartTLS
from smtpx._core.trust import explained
from smtpx.errors import RemoteProtocolError, TLSFailure, TLSPolicyError
from smtpx.pins import Pin, PinKind
from smtpx.tls import Presented, Protection, TLSMode

from .transcripts import connected, fails

CERTIFICATE = b"\x30\x15what a peer has shown"  # As DER has it.
PIN = Pin(PinKind.CERTIFICATE, hashlib.sha256(CERTIFICATE).digest())
OTHER = Pin(PinKind.CERTIFICATE, bytes(32))


def said(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL] words of OpenSSL")
    error.reason = reason
    return error


def disbelieved(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed: words of OpenSSL")
    error.verify_code = code
    return error


def presented(names: tuple[str, ...] = ("mx.example",), issuer: str = "Acme") -> Presented:
    begins, expires = (datetime(year, 1, 2, 3, 4, tzinfo=UTC) for year in (2020, 2021))
    return Presented(names, issuer, begins, expires)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (disbelieved(9), TLSFailure.CERTIFICATE_NOT_YET_VALID),
        (disbelieved(10), TLSFailure.CERTIFICATE_EXPIRED),
        (disbelieved(18), TLSFailure.CERTIFICATE_SELF_SIGNED),
        (disbelieved(19), TLSFailure.UNKNOWN_AUTHORITY),
        (disbelieved(20), TLSFailure.UNKNOWN_AUTHORITY),
        (disbelieved(23), TLSFailure.CERTIFICATE_INVALID),
        (disbelieved(62), TLSFailure.CERTIFICATE_OF_ANOTHER_HOST),
        (disbelieved(64), TLSFailure.CERTIFICATE_OF_ANOTHER_HOST),
        (said("WRONG_VERSION_NUMBER"), TLSFailure.NOT_TLS),
        (said("TLSV1_ALERT_PROTOCOL_VERSION"), TLSFailure.NO_COMMON_VERSION),
        (said("SSLV3_ALERT_HANDSHAKE_FAILURE"), TLSFailure.NO_COMMON_CIPHER),
        (said("TLSV1_ALERT_UNKNOWN_CA"), TLSFailure.CLIENT_CERTIFICATE),
        (said("TLSV1_ALERT_INTERNAL_ERROR"), TLSFailure.OTHER),
        (ssl.SSLError(1, "nothing else is known"), TLSFailure.OTHER),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_every_failure_has_its_reason(error: ssl.SSLError, reason: TLSFailure, known: bool):
    # Some Pythons do not tell what the peer has shown.
    shown = [presented()] if known else []
    told = explained(error, shown, greeted=False)
    assert told.reason is reason
    assert reason is TLSFailure.NOT_TLS or str(error.strerror) in str(told)


def test_the_first_of_a_chain_to_expire_is_the_one():
    authority = Presented((), "Root", *(datetime(year, 1, 1, tzinfo=UTC) for year in (2010, 2019)))
    told = explained(disbelieved(10), [presented(), authority], greeted=False)
    assert "expired on 2019-01-01 at 00:00 UTC" in str(told)


def test_what_a_stranger_wrote_cannot_write_on_a_terminal():
    for told in (
        explained(disbelieved(62), [presented(names=("\x1b[2J\r\nevil",))], greeted=False),
        explained(disbelieved(20), [presented(issuer="\x1b]0;evil\x07\n" * 99)], greeted=False),
    ):
        assert str(told).isprintable()
        assert len(str(told)) < 600


def shaken(connection: Connection, protection: Protection | None) -> None:
    """Go on until the handshake has agreed on this."""
    procedure = open_session(connection, "me.example", TLSMode.IMPLICIT)
    assert next(procedure) == Glance()
    step = procedure.send(None)
    assert isinstance(step, StartTLS)
    step.protection = protection
    _ = procedure.send(b"")


class TestPins:
    @pytest.mark.parametrize("resumed", [True, False])
    @pytest.mark.parametrize("pins", [(), (PIN,), (OTHER, PIN)])
    def test_one_of_them_is_shown(self, pins, resumed):
        connection = Connection(pins=pins)
        shaken(connection, Protection("TLSv1.3", "X", CERTIFICATE, is_resumed=resumed))
        assert connection.tls

    @pytest.mark.parametrize(
        "protection",
        [
            Protection("TLSv1.3", "X", CERTIFICATE),
            Protection("TLSv1.3", "X", CERTIFICATE, is_resumed=True),
            Protection("TLSv1.3", "X"),
            None,
        ],
    )
    @pytest.mark.parametrize("kind", PinKind)
    def test_none_of_them_is_shown(self, protection, kind):
        # What is shown here is no certificate, so that its key cannot be read.
        connection = Connection(pins=(Pin(kind, bytes(32)),))
        with pytest.raises(TLSPolicyError) as caught:
            shaken(connection, protection)
        assert caught.value.reason is TLSFailure.PIN_MISMATCH
        assert not connection.usable
        assert not connection.tls


class TestPlainText:
    def test_a_greeting_that_comes_before_the_handshake(self):
        error = fails(
            lambda: open_session(Connection(), "me.example", TLSMode.IMPLICIT),
            "S!: 220 mx.test",
            TLSPolicyError,
        )
        assert isinstance(error, TLSPolicyError)
        assert error.reason is TLSFailure.NOT_TLS

    def test_a_tls_alert_in_place_of_a_greeting(self):
        error = fails(
            lambda: open_session(Connection(), "me.example", TLSMode.NONE),
            "S: \\x15\\x03\\",
            TLSPolicyError,
        )
        assert isinstance(error, TLSPolicyError)
        assert error.reason is TLSFailure.TLS_EXPECTED

    def test_a_tls_alert_later_is_only_a_broken_server(self):
        _ = fails(
            lambda: hello(connected(), "me.example"),
            """
            C: EHLO me.example
            S: \\x15\\x03\\
            """,
            RemoteProtocolError,
        )
