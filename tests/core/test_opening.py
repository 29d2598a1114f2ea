"""From the greeting to a session (RFC 5321 §3.1, §3.2, §4.1.1.1; RFC 3207)."""

from __future__ import annotations

import pytest

from smtpx._core.connection import Connection
from smtpx._core.opening import hello, open_session, start_tls
from smtpx.errors import (
    ConnectionLost,
    ExtensionMissing,
    GreetingRefused,
    HelloRefused,
    LocalProtocolError,
    RemoteProtocolError,
    TimedOut,
    TLSPolicyError,
    TLSRefused,
)
from smtpx.tls import TLSMode

from .transcripts import connected, fails, plays

ME = "me.example"


def test_ehlo_teaches_the_extensions():
    connection = Connection()
    plays(
        lambda: open_session(connection, ME, TLSMode.NONE),
        """
        S: 220-mx.test ESMTP
        S: 220 at your service
        C: EHLO me.example
        S: 250-mx.test
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-X-ODD a=b
        S: 250-AUTH=LOGIN
        S: 250 AUTH PLAIN LOGIN
        """,
    )
    assert connection.greeting is not None
    assert connection.greeting.lines == ("mx.test ESMTP", "at your service")
    assert connection.extensions.pipelining
    assert connection.extensions.size == 1000
    assert connection.extensions.auth == ("LOGIN", "PLAIN")
    assert connection.extensions.keywords["X-ODD"] == "a=b"


def test_5321_3_2_helo_where_ehlo_is_unknown():
    connection = connected("PIPELINING")
    plays(
        lambda: hello(connection, ME),
        """
        C: EHLO me.example
        S: 502 5.5.1 what?
        C: HELO me.example
        S: 250 mx.test
        """,
    )
    assert not connection.extensions.keywords


@pytest.mark.parametrize("code", [421, 450, 454])
def test_no_helo_after_a_transient_refusal(code):
    error = fails(
        lambda: hello(connected(), ME),
        f"""
        C: EHLO me.example
        S: {code} later
        """,
        HelloRefused,
    )
    assert isinstance(error, HelloRefused)
    assert error.transient


def test_both_refused():
    error = fails(
        lambda: hello(connected(), ME),
        """
        C: EHLO me.example
        S: 550 go away
        C: HELO me.example
        S: 550 I said go away
        """,
        HelloRefused,
    )
    assert "I said go away" in str(error)


def test_2033_lmtp_says_lhlo_and_never_helo():
    fails(
        lambda: hello(connected(lmtp=True), ME),
        """
        C: LHLO me.example
        S: 500 this is SMTP
        """,
        HelloRefused,
    )


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("S: 554 no service here", GreetingRefused),
        ("S: 421 too many connections", GreetingRefused),
        ("S: <close>", ConnectionLost),
        ("S: 220 mx\\\nS: <close>", ConnectionLost),
        ("S: 220-mx\nS: <close>", ConnectionLost),
        ("S: <reset>", ConnectionLost),
        ("S: <silence>", TimedOut),
        ("S: 354 go on", RemoteProtocolError),
        ("S: 199 hello", RemoteProtocolError),
        ("S: SSH-2.0-OpenSSH_9.2", RemoteProtocolError),
        ("S: 220-mx\nS: 250 mx", RemoteProtocolError),
    ],
)
def test_no_greeting(script, kind):
    _ = fails(lambda: open_session(Connection(), ME, TLSMode.NONE), script, kind)


def test_unsolicited_reply_before_ehlo_ends_the_session():
    error = fails(
        lambda: open_session(Connection(), ME, TLSMode.NONE),
        """
        S: 220 mx.test
        S!: 250 and again
        """,
        RemoteProtocolError,
    )
    assert "nobody asked" in str(error)


class TestSTARTTLS:
    def test_3207_4_2_everything_is_forgotten_and_asked_again(self):
        connection = Connection()

        def opened():
            nonlocal connection
            connection = Connection()
            return open_session(connection, ME, TLSMode.STARTTLS)

        plays(
            opened,
            """
            S: 220 mx.test
            C: EHLO me.example
            S: 250-mx.test
            S: 250-STARTTLS
            S: 250 SIZE 1
            C: STARTTLS
            S: 220 2.0.0 go ahead
            --tls--
            C: EHLO me.example
            S: 250-mx.test
            S: 250 AUTH PLAIN
            """,
        )
        assert connection.tls
        assert connection.extensions.size is None
        assert connection.extensions.auth == ("PLAIN",)

    @pytest.mark.requirement("T13")
    def test_a_stripped_starttls_never_means_plaintext(self):
        error = fails(
            lambda: open_session(Connection(), ME, TLSMode.STARTTLS),
            """
            S: 220 mx.test
            C: EHLO me.example
            S: 250-mx.test
            S: 250 AUTH PLAIN
            """,
            TLSPolicyError,
        )
        assert "STARTTLS" in str(error)

    @pytest.mark.requirement("T13")
    def test_a_helo_only_server_never_means_plaintext(self):
        _ = fails(
            lambda: open_session(Connection(), ME, TLSMode.STARTTLS),
            """
            S: 220 mx.test
            C: EHLO me.example
            S: 500 what?
            C: HELO me.example
            S: 250 mx.test
            """,
            TLSPolicyError,
        )

    def test_refused(self):
        _ = fails(
            lambda: start_tls(connected("STARTTLS")),
            """
            C: STARTTLS
            S: 454 4.7.0 not now
            """,
            TLSRefused,
        )

    @pytest.mark.requirement("T12")
    @pytest.mark.parametrize("injected", ["250 mx.evil", "250-mx.evil", "2\\", "\\n\\"])
    def test_octets_behind_the_220_end_the_session(self, injected):
        connection = connected("STARTTLS")
        error = fails(
            lambda: start_tls(connected("STARTTLS")),
            f"""
            C: STARTTLS
            S: 220 go ahead
            S!: {injected}
            """,
            RemoteProtocolError,
        )
        assert "plain text" in str(error)
        assert not connection.tls

    def test_octets_in_the_same_segment_as_the_220(self):
        from smtpx.testing import Mode, play

        connection = connected("STARTTLS")
        with pytest.raises(RemoteProtocolError, match="plain text"):
            _ = play(
                start_tls(connection), "C: STARTTLS\nS: 220 go ahead\nS: 250 injected", Mode.WHOLE
            )
        assert connection.broken

    def test_a_reset_behind_the_220(self):
        error = fails(
            lambda: start_tls(connected("STARTTLS")),
            """
            C: STARTTLS
            S: 220 go ahead
            S!: <reset>
            """,
            ConnectionLost,
        )
        assert isinstance(error, ConnectionLost)
        assert error.phase == "tls"

    def test_failed_handshake(self):
        error = fails(
            lambda: start_tls(connected("STARTTLS")),
            """
            C: STARTTLS
            S: 220 go ahead
            --tls failure--
            """,
            TLSPolicyError,
        )
        assert "the handshake failed" in str(error)

    def test_asked_for_where_it_is_not_offered_or_already_on(self):
        _ = fails(lambda: start_tls(connected()), "", ExtensionMissing)
        _ = fails(lambda: start_tls(connected("STARTTLS", tls=True)), "", LocalProtocolError)

    def test_opportunistic_goes_on_without(self):
        connection = Connection()
        plays(
            lambda: open_session(connection, ME, TLSMode.OPPORTUNISTIC),
            """
            S: 220 mx.test
            C: EHLO me.example
            S: 250 mx.test
            """,
        )
        assert not connection.tls

    def test_8314_implicit_tls_comes_before_the_greeting(self):
        connection = Connection()
        plays(
            lambda: open_session(connection, ME, TLSMode.IMPLICIT),
            """
            --tls--
            S: 220 mx.test
            C: EHLO me.example
            S: 250 mx.test
            """,
        )
        assert connection.tls
