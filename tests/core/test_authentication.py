"""The AUTH exchange (RFC 4954 §4)."""

from __future__ import annotations

import base64

import pytest

from smtpx._core.authentication import authenticate, log_in
from smtpx._core.connection import Connection
from smtpx.errors import (
    AuthenticationRefused,
    ExtensionMissing,
    LocalProtocolError,
    RemoteProtocolError,
    TLSPolicyError,
)
from smtpx.sasl import CramMD5, Credentials, Login, Plain

from .transcripts import connected, fails, plays

BOB = Credentials("bob", "s3cret")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_4616_plain_with_its_initial_response():
    connection = connected("AUTH PLAIN", tls=True)
    plays(
        lambda: log_in(connection, BOB),
        f"""
        C: AUTH PLAIN {b64(chr(0) + "bob" + chr(0) + "s3cret")}
        S: 235 2.7.0 welcome
        """,
    )
    assert connection.authenticated


def test_4954_4_a_long_initial_response_waits_for_the_challenge():
    credentials = Credentials("bob", "p" * 400)
    plays(
        lambda: authenticate(connected(), Plain(credentials)),
        f"""
        C: AUTH PLAIN
        S: 334\x20
        C: {b64(chr(0) + "bob" + chr(0) + "p" * 400)}
        S: 235 ok
        """,
    )


def test_login_answers_two_prompts():
    plays(
        lambda: authenticate(connected(), Login(BOB)),
        f"""
        C: AUTH LOGIN
        S: 334 {b64("Username:")}
        C: {b64("bob")}
        S: 334 {b64("Password:")}
        C: {b64("s3cret")}
        S: 235 ok
        """,
    )


def test_2195_cram_md5_example_of_the_rfc():
    credentials = Credentials("tim", "tanstaaftanstaaf")
    plays(
        lambda: authenticate(connected(), CramMD5(credentials)),
        f"""
        C: AUTH CRAM-MD5
        S: 334 {b64("<1896.697170952@postoffice.reston.mci.net>")}
        C: {b64("tim b913a602c7eda7a495b4e6e7334d3890")}
        S: 235 ok
        """,
    )


def test_credentials_are_utf_8():
    plays(
        lambda: authenticate(connected(), Plain(Credentials("jörg", "pässwörd"))),
        f"""
        C: AUTH PLAIN {b64(chr(0) + "jörg" + chr(0) + "pässwörd")}
        S: 235 ok
        """,
    )


@pytest.mark.requirement("T25")
def test_nul_is_refused_before_anything_is_sent():
    with pytest.raises(LocalProtocolError):
        _ = Credentials("bob", "s3\0cret")


@pytest.mark.requirement("T23")
def test_a_definite_refusal_is_not_tried_by_another_mechanism():
    error = fails(
        lambda: log_in(connected("AUTH CRAM-MD5 PLAIN LOGIN", tls=True), BOB),
        f"""
        C: AUTH CRAM-MD5
        S: 334 {b64("<1@x>")}
        C: {b64("bob 2c8f4a2d0a0f1ee0c7f6e4a8c1ab9a0b")}
        S: 535 5.7.8 no
        """.replace(
            b64("bob 2c8f4a2d0a0f1ee0c7f6e4a8c1ab9a0b"),
            base64.b64encode(CramMD5(BOB).respond(b"<1@x>")).decode(),
        ),
        AuthenticationRefused,
    )
    assert isinstance(error, AuthenticationRefused)
    assert error.reply.code == 535


@pytest.mark.requirement("T23")
@pytest.mark.parametrize("code", [504, 534])
def test_a_mechanism_that_will_not_do_is_followed_by_the_next(code):
    plays(
        lambda: log_in(connected("AUTH CRAM-MD5 PLAIN", tls=True), BOB),
        f"""
        C: AUTH CRAM-MD5
        S: {code} not this one
        C: AUTH PLAIN {b64(chr(0) + "bob" + chr(0) + "s3cret")}
        S: 235 ok
        """,
    )


@pytest.mark.requirement("T22")
def test_no_password_in_plain_text_to_a_remote_host():
    error = fails(lambda: log_in(connected("AUTH PLAIN LOGIN"), BOB), "", TLSPolicyError)
    assert "submission://" in str(error)


def test_loopback_may_be_plain():
    plays(
        lambda: log_in(connected("AUTH PLAIN", local=True), BOB),
        f"""
        C: AUTH PLAIN {b64(chr(0) + "bob" + chr(0) + "s3cret")}
        S: 235 ok
        """,
    )


@pytest.mark.requirement("T24")
def test_no_credentials_for_mechanisms_we_do_not_have():
    error = fails(
        lambda: log_in(connected("AUTH GSSAPI NTLM", tls=True), BOB), "", ExtensionMissing
    )
    assert "GSSAPI, NTLM" in str(error)


def test_no_auth_offered():
    _ = fails(lambda: log_in(connected(tls=True), BOB), "", ExtensionMissing)


@pytest.mark.requirement("T27")
@pytest.mark.parametrize("challenge", ["!!!!", "YQ", "Y Q = ="])
def test_a_challenge_that_is_no_base64_cancels_the_exchange(challenge):
    _ = fails(
        lambda: authenticate(connected(), Login(BOB)),
        f"""
        C: AUTH LOGIN
        S: 334 {challenge}
        C: *
        S: 501 cancelled
        """,
        RemoteProtocolError,
    )


@pytest.mark.requirement("T27")
def test_challenges_that_do_not_end():
    rounds = "".join(f"S: 334 {b64('more')}\nC: {{}}\n" for _ in range(10))
    answers = [b64("bob"), b64("s3cret")] + [""] * 8
    _ = fails(
        lambda: authenticate(connected(), Login(BOB)),
        "C: AUTH LOGIN\n" + rounds.format(*answers) + f"S: 334 {b64('more')}\nC: *\nS: 501 bye\n",
        RemoteProtocolError,
    )


@pytest.mark.requirement("T26")
@pytest.mark.parametrize(
    "echo",
    ["you said s3cret", b64("\0bob\0s3cret"), "AUTH PLAIN " + b64("\0bob\0s3cret") + " is wrong"],
)
def test_an_echoed_secret_is_in_no_error_and_no_line(echo):
    lines: list[str] = []
    connection = Connection(observer=lambda line: lines.append(str(line)))
    from smtpx.testing import play

    with pytest.raises(AuthenticationRefused) as caught:
        _ = play(
            authenticate(connection, Plain(BOB)),
            f"C: AUTH PLAIN {b64(chr(0) + 'bob' + chr(0) + 's3cret')}\nS: 535 {echo}",
        )
    assert lines[0] == "C: AUTH PLAIN [redacted]"
    everything = "\n".join([*lines, str(caught.value), repr(caught.value.reply.raw)])
    assert "s3cret" not in everything
    assert b64("\0bob\0s3cret") not in everything


def test_a_challenge_that_happens_to_hold_the_password_is_answered_as_it_came():
    challenge = base64.b64encode(b"<1@x>").decode()
    credentials = Credentials("bob", challenge[:3])
    answer = base64.b64encode(CramMD5(credentials).respond(b"<1@x>")).decode()
    plays(
        lambda: authenticate(connected(), CramMD5(credentials)),
        f"C: AUTH CRAM-MD5\nS: 334 {challenge}\nC: {answer}\nS: 235 ok\n",
    )
