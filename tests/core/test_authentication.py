"""The AUTH exchange (RFC 4954 §4)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from smtpx._core.authentication import authenticate, log_in
from smtpx._core.connection import Connection
from smtpx._core.steps import Receive, Send, Steps
from smtpx.errors import (
    AuthenticationRefused,
    ExtensionMissing,
    LocalProtocolError,
    RemoteProtocolError,
    TLSPolicyError,
)
from smtpx.replies import Reply
from smtpx.sasl import MUTUAL, Channel, CramMD5, Credentials, Login, Mechanism, Plain, XOAuth2
from smtpx.testing import play
from smtpx.tls import Protection

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


@pytest.mark.parametrize(
    "prompts", [("Username:", "Password:"), ("User Name", "Password"), ("", ""), ("ü!", "=")]
)
def test_login_takes_prompts_that_are_no_base64(prompts):
    user, password = prompts
    plays(
        lambda: authenticate(connected(), Login(BOB)),
        f"""
        C: AUTH LOGIN
        S: 334 {user}
        C: {b64("bob")}
        S: 334 {password}
        C: {b64("s3cret")}
        S: 235 ok
        """,
    )


@pytest.mark.requirement("T27")
@pytest.mark.parametrize("challenge", ["!!!!", "YQ", "Y Q = ="])
def test_a_challenge_that_is_no_base64_cancels_the_exchange(challenge):
    _ = fails(
        lambda: authenticate(connected(), CramMD5(BOB)),
        f"""
        C: AUTH CRAM-MD5
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


TOKENS = Credentials("bob", token="t0ken-of-bob")
BEARER = b64("user=bob\x01auth=Bearer {}\x01\x01".replace("{}", "t0ken-of-bob"))
EXPIRED = '{"status":"401","schemes":"bearer","scope":"https://mail.example.com/"}'


def source(*tokens: str) -> Callable[[], str]:
    """Gives one after the other, and fails when it is asked too often."""
    left = list(tokens)
    return lambda: left.pop(0)


def message(token: str) -> str:
    return b64(f"user=bob\x01auth=Bearer {token}\x01\x01")


def refusal(token: str, reply: str = "535 5.7.8 no") -> str:
    return f"""
        C: AUTH XOAUTH2 {message(token)}
        S: 334 {b64(EXPIRED)}
        C:
        S: {reply}
        """


def with_token(token: str | Callable[[], str]) -> Steps[Reply]:
    return log_in(connected("AUTH XOAUTH2", tls=True), Credentials("bob", token=token))


def test_what_the_server_says_of_a_token_is_in_the_error():
    error = fails(
        lambda: with_token("t0ken-of-bob"), refusal("t0ken-of-bob"), AuthenticationRefused
    )
    assert isinstance(error, AuthenticationRefused)
    assert error.details == {
        "status": "401",
        "schemes": "bearer",
        "scope": "https://mail.example.com/",
    }
    assert "scope: https://mail.example.com/" in str(error)


def test_a_token_that_has_a_source_is_renewed_once():
    played = plays(
        lambda: with_token(source("old-token-of-bob", "new-token-of-bob")),
        refusal("old-token-of-bob")
        + f"""
        C: AUTH XOAUTH2 {message("new-token-of-bob")}
        S: 235 ok
        """,
    )
    assert played.value.positive
    _ = fails(
        lambda: with_token(source("old-token-of-bob", "bad-token-of-bob")),
        refusal("old-token-of-bob") + refusal("bad-token-of-bob"),
        AuthenticationRefused,
    )


@pytest.mark.requirement("T23")
def test_the_same_token_is_not_said_twice():
    same = "old-token-of-bob"
    _ = fails(lambda: with_token(source(same, same)), refusal(same), AuthenticationRefused)


@pytest.mark.parametrize("reply", ["454 4.7.0 later", "421 4.7.0 closing"])
def test_a_server_that_is_busy_says_nothing_of_the_token(reply):
    _ = fails(
        lambda: with_token(source("old-token-of-bob")),
        refusal("old-token-of-bob", reply),
        AuthenticationRefused,
    )


@pytest.mark.requirement("T28")
def test_a_password_may_come_from_elsewhere():
    plays(
        lambda: log_in(
            connected("AUTH PLAIN", tls=True), Credentials("bob", source("s3cret-of-bob"))
        ),
        f"C: AUTH PLAIN {b64(chr(0) + 'bob' + chr(0) + 's3cret-of-bob')}\nS: 235 ok",
    )


@pytest.mark.requirement("T23")
def test_a_password_from_elsewhere_is_not_asked_for_again():
    _ = fails(
        lambda: log_in(
            connected("AUTH PLAIN", tls=True), Credentials("bob", source("s3cret-of-bob"))
        ),
        f"C: AUTH PLAIN {b64(chr(0) + 'bob' + chr(0) + 's3cret-of-bob')}\nS: 535 no",
        AuthenticationRefused,
    )


@pytest.mark.requirement("T22")
@pytest.mark.parametrize(
    ("keywords", "kind"), [("AUTH PLAIN", TLSPolicyError), ("AUTH X", ExtensionMissing)]
)
def test_no_source_is_asked_for_what_cannot_be_used(keywords, kind):
    _ = fails(lambda: log_in(connected(keywords), Credentials("bob", source())), "", kind)


def test_what_is_no_text_is_refused():
    odd = Credentials("bob", lambda: b"s3cret-of-bob")  # type: ignore[return-value, arg-type]
    error = fails(lambda: log_in(connected("AUTH PLAIN", tls=True), odd), "", LocalProtocolError)
    assert "bytes" in str(error)


@pytest.mark.requirement("T22")
def test_no_token_in_plain_text_to_a_remote_host():
    _ = fails(lambda: log_in(connected("AUTH XOAUTH2"), TOKENS), "", TLSPolicyError)


@pytest.mark.requirement("T23")
@pytest.mark.parametrize(
    ("keywords", "kind"),
    [("AUTH PLAIN LOGIN", ExtensionMissing), ("AUTH CRAM-MD5 PLAIN", ExtensionMissing)],
)
def test_a_minimum_holds_whatever_the_server_offers(keywords, kind):
    _ = fails(lambda: log_in(connected(keywords, tls=True), BOB, mechanisms=MUTUAL), "", kind)


def test_the_order_is_the_callers():
    plays(
        lambda: log_in(
            connected("AUTH CRAM-MD5 PLAIN", tls=True), BOB, mechanisms=["PLAIN", "CRAM-MD5"]
        ),
        f"C: AUTH PLAIN {b64(chr(0) + 'bob' + chr(0) + 's3cret')}\nS: 235 ok",
    )


@pytest.mark.requirement("T23")
@pytest.mark.parametrize("code", [454, 432, 530, 538, 500])
def test_no_other_refusal_is_followed_by_another_mechanism(code):
    _ = fails(
        lambda: log_in(connected("AUTH CRAM-MD5 PLAIN", tls=True), BOB),
        f"C: AUTH CRAM-MD5\nS: {code} no",
        AuthenticationRefused,
    )


BOUND = Protection("TLSv1.2", "", channel_bindings=(("tls-unique", b"finished"),))


def bound_log_in(**options: Any) -> Steps[Reply]:
    connection = connected("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS PLAIN")
    connection.protection = BOUND
    # The nonce is drawn anew, so that only the beginning is known.
    return log_in(connection, BOB, **options)


@pytest.mark.requirement("RFC 5802 §6")
@pytest.mark.parametrize(
    ("mechanisms", "told", "goes_on"),
    [
        (None, ["334 " + b64("e=unsupported-channel-binding-type"), "535 no", "235 ok"], True),
        (None, ["501 what?", "235 ok"], True),
        (["SCRAM-SHA-256-PLUS"], ["501 what?"], False),
        (None, ["334 " + b64("e=unknown-user"), "535 no"], False),
        (None, ["454 later"], False),
    ],
)
def test_a_binding_the_server_does_not_know_is_no_word_on_the_password(mechanisms, told, goes_on):
    steps = bound_log_in(mechanisms=mechanisms)
    written: list[bytes] = []
    step: object = next(steps)
    with pytest.raises(StopIteration if goes_on else AuthenticationRefused):
        while True:
            answer: bytes | None = None
            match step:
                case Send(data=data):
                    written.append(bytes(data))
                    answer = b""
                case Receive():
                    answer = told.pop(0).encode() + b"\r\n"
                case _:
                    pass
            step = steps.send(answer)
    assert told == []
    assert written[0].startswith(b"AUTH SCRAM-SHA-256-PLUS cD10bHMtdW5pcXVl")  # p=tls-unique
    others = [line[:11] for line in written[1:] if line != b"\r\n"]
    assert others == [b"AUTH PLAIN "] * goes_on


class Riddle(Mechanism):
    """A user's own mechanism."""

    name = "X-RIDDLE"
    reveals_secret = False

    def __init__(self, credentials: Credentials, channel: Channel) -> None:
        self._who = f"{credentials.user} at {channel.host}"
        self.heard: list[bytes] = []

    def respond(self, challenge: bytes) -> bytes:
        if challenge == b"?!":
            raise RuntimeError("no riddle")
        return f"{self._who}: {challenge.decode()[::-1]}".encode()


def riddled() -> Steps[Reply]:
    connection = connected("AUTH PLAIN X-RIDDLE")
    return log_in(connection, BOB, host="mx.test", mechanisms=[Riddle])


def test_a_mechanism_of_the_callers_own():
    plays(
        riddled,
        f"""
        C: AUTH X-RIDDLE
        S: 334 {b64("regal")}
        C: {b64("bob at mx.test: lager")}
        S: 235 ok
        """,
    )


def test_what_it_raises_cancels_the_exchange():
    connection = connected("AUTH X-RIDDLE")
    script = f"C: AUTH X-RIDDLE\nS: 334 {b64('?!')}\nC: *\nS: 501 cancelled"
    with pytest.raises(RuntimeError, match="no riddle"):
        _ = play(log_in(connection, BOB, mechanisms=[Riddle]), script)
    assert connection.broken


@pytest.mark.requirement("T26")
@pytest.mark.parametrize(
    "told",
    [
        '{"status":"401","scope":"t0ken-of-bob is bad"}',
        '{"t0ken-of-bob":"401"}',
        b64("user=bob\x01auth=Bearer t0ken-of-bob\x01\x01"),
        f'{{"status":"401","seen":"{b64("t0ken-of-bob")}"}}',
    ],
)
def test_details_that_echo_the_secret_are_left_out(told):
    lines: list[str] = []
    connection = Connection(observer=lambda line: lines.append(str(line)))
    with pytest.raises(AuthenticationRefused) as caught:
        _ = play(
            authenticate(connection, XOAuth2(TOKENS)),
            f"C: AUTH XOAUTH2 {BEARER}\nS: 334 {b64(told)}\nC:\nS: 535 no",
        )
    seen = "\n".join([*lines, str(caught.value), repr(caught.value.details)])
    assert "t0ken" not in seen
    assert b64("t0ken-of-bob") not in seen
    assert b64(told) not in seen


@pytest.mark.requirement("T26")
def test_what_a_password_can_be_guessed_from_is_not_shown_either():
    lines: list[str] = []
    connection = Connection(observer=lambda line: lines.append(str(line)))
    digest = CramMD5(BOB).respond(b"<1@x>").decode()
    with pytest.raises(AuthenticationRefused) as caught:
        _ = play(
            authenticate(connection, CramMD5(BOB)),
            f"""
            C: AUTH CRAM-MD5
            S: 334 {b64("<1@x>")}
            C: {b64(digest)}
            S: 535 not {b64(digest)}, {digest}
            """,
        )
    assert digest.split()[1] not in "\n".join([*lines, str(caught.value)])
    assert b64(digest) not in "\n".join([*lines, str(caught.value)])


def test_the_server_may_end_what_was_cancelled_by_hanging_up():
    with pytest.raises(RemoteProtocolError, match="no base64"):
        _ = play(
            authenticate(connected(), CramMD5(BOB)),
            "C: AUTH CRAM-MD5\nS: 334 !!!!\nC: *\nS: (closes)",
        )
