"""SCRAM (RFC 5802, RFC 7677): the examples of the RFCs, and servers that are not what they say."""

from __future__ import annotations

import base64
import sys

import pytest

from smtpx._core.authentication import authenticate, log_in
from smtpx._core.steps import Steps
from smtpx.errors import (
    AuthenticationRefused,
    LocalProtocolError,
    RemoteProtocolError,
)
from smtpx.sasl import (
    Channel,
    Credentials,
    Mechanism,
    ScramSHA1,
    ScramSHA256,
    ScramSHA256Plus,
)
from smtpx.tls import Protection

from .transcripts import connected, fails, plays

USER = Credentials("user", "pencil")
NONCE1, NONCE256 = "fyko+d2lbbFgONRv9qkxdawL", "rOprNGfwEbeRWgbNEkqO"
FIRST = f"n,,n=user,r={NONCE256}"
SERVER_NONCE = f"{NONCE256}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
SERVER_FIRST = f"r={SERVER_NONCE},s={SALT},i=4096"
PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
FINAL = f"c=biws,r={SERVER_NONCE},p={PROOF}"
SERVER_FINAL = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def run(kind: type[ScramSHA1 | ScramSHA256] = ScramSHA256, nonce: str = NONCE256) -> Steps[object]:
    return authenticate(connected(), kind(USER, nonce=nonce))


@pytest.mark.requirement("RFC 5802 §5")
def test_5802_5_the_example() -> None:
    nonce = f"{NONCE1}3rfcNHYJY1ZVvWVs7j"
    plays(
        lambda: run(ScramSHA1, NONCE1),
        f"""
        C: AUTH SCRAM-SHA-1 {b64(f"n,,n=user,r={NONCE1}")}
        S: 334 {b64(f"r={nonce},s=QSXCR+Q6sek8bf92,i=4096")}
        C: {b64(f"c=biws,r={nonce},p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")}
        S: 334 {b64("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")}
        C:
        S: 235 2.7.0 welcome
        """,
    )


@pytest.mark.requirement("RFC 7677 §3")
def test_7677_3_the_example() -> None:
    plays(
        run,
        f"""
        C: AUTH SCRAM-SHA-256 {b64(FIRST)}
        S: 334 {b64(SERVER_FIRST)}
        C: {b64(FINAL)}
        S: 334 {b64(SERVER_FINAL)}
        C:
        S: 235 2.7.0 welcome
        """,
    )


@pytest.mark.requirement("RFC 5802 §5.1")
def test_a_refusal_says_why() -> None:
    error = fails(
        run,
        f"""
        C: AUTH SCRAM-SHA-256 {b64(FIRST)}
        S: 334 {b64(SERVER_FIRST)}
        C: {b64(FINAL)}
        S: 334 {b64("e=invalid-proof")}
        C:
        S: 535 5.7.8 no
        """,
        AuthenticationRefused,
    )
    assert isinstance(error, AuthenticationRefused)
    assert error.details == {"error": "invalid-proof"}
    assert "invalid-proof" in str(error)


LIES = {
    "a nonce that does not extend ours": SERVER_FIRST.replace(NONCE256, NONCE256[:-1] + "X"),
    "our nonce alone": f"r={NONCE256},s={SALT},i=4096",
    "too few iterations": SERVER_FIRST.replace("4096", "1"),
    "iterations without end": SERVER_FIRST.replace("4096", "2147483647"),
    "more than ours": SERVER_FIRST.replace("4096", "1000001"),
    "no number": SERVER_FIRST.replace("4096", "many"),
    "no salt": f"r={SERVER_NONCE},s=,i=4096",
    "an extension we must know": f"m=new,{SERVER_FIRST}",
    "nothing": "",
    "noise": "\x00\x01,,=",
}


@pytest.mark.requirement("T27")
@pytest.mark.parametrize("lie", LIES)
def test_a_first_message_that_no_honest_server_sends_gets_no_proof(lie: str) -> None:
    _ = fails(
        run,
        f"""
        C: AUTH SCRAM-SHA-256 {b64(FIRST)}
        S: 334 {b64(LIES[lie])}
        C: *
        S: 501 cancelled
        """,
        RemoteProtocolError,
    )


@pytest.mark.requirement("T23")
@pytest.mark.parametrize("said", ["v=" + b64("x" * 32), "v=", "what?", SERVER_FINAL + "x"])
def test_a_server_with_another_signature_does_not_know_the_password(said: str) -> None:
    _ = fails(
        run,
        f"""
        C: AUTH SCRAM-SHA-256 {b64(FIRST)}
        S: 334 {b64(SERVER_FIRST)}
        C: {b64(FINAL)}
        S: 334 {b64(said)}
        C: *
        S: 501 cancelled
        """,
        RemoteProtocolError,
    )


@pytest.mark.requirement("T23")
@pytest.mark.parametrize(
    "script",
    [
        f"C: AUTH SCRAM-SHA-256 {b64(FIRST)}\nS: 235 welcome",
        f"""
        C: AUTH SCRAM-SHA-256 {b64(FIRST)}
        S: 334 {b64(SERVER_FIRST)}
        C: {b64(FINAL)}
        S: 235 welcome
        """,
        f"""
        C: AUTH SCRAM-SHA-256 {b64(FIRST)}
        S: 334 {b64("e=other-error")}
        C:
        S: 235 welcome all the same
        """,
    ],
)
def test_a_yes_without_a_signature_is_none(script: str) -> None:
    error = fails(run, script, RemoteProtocolError)
    assert "without having proved itself" in str(error)


def test_it_ends_where_it_ends() -> None:
    _ = fails(
        run,
        f"""
        C: AUTH SCRAM-SHA-256 {b64(FIRST)}
        S: 334 {b64(SERVER_FIRST)}
        C: {b64(FINAL)}
        S: 334 {b64(SERVER_FINAL)}
        C:
        S: 334 {b64("more?")}
        C: *
        S: 501 cancelled
        """,
        RemoteProtocolError,
    )


UNIQUE = Protection("TLSv1.2", "", channel_bindings=(("tls-unique", b"finished"),))
NOT_UNIQUE = Protection("TLSv1.3", "", channel_bindings=(("tls-unique", b"finished"),))


def flag_of(mechanism: Mechanism) -> bytes:
    return (mechanism.initial() or b"").partition(b",")[0]


@pytest.mark.requirement("RFC 5802 §6")
@pytest.mark.parametrize(
    ("protection", "offered", "flag"),
    [
        (None, ["SCRAM-SHA-256"], b"n"),
        (UNIQUE, ["SCRAM-SHA-256"], b"y"),
        # Who offers -PLUS must not hear that we think he does not: the caller wants it so.
        (UNIQUE, ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], b"n"),
        # RFC 9266 §3: what Python calls tls-unique is none in TLS 1.3.
        (NOT_UNIQUE, ["SCRAM-SHA-256"], b"n"),
    ],
)
def test_without_binding_the_server_is_told_why(
    protection: Protection | None, offered: list[str], flag: bytes
) -> None:
    channel = Channel(protection=protection, offered=frozenset(offered))
    assert flag_of(ScramSHA256(USER, channel)) == flag


def test_plus_binds_to_the_channel_or_cannot_begin() -> None:
    assert flag_of(ScramSHA256Plus(USER, Channel(protection=UNIQUE))) == b"p=tls-unique"
    with pytest.raises(LocalProtocolError, match="channel binding"):
        _ = ScramSHA256Plus(USER, Channel(protection=NOT_UNIQUE))


@pytest.mark.requirement("RFC 4013 §3")
@pytest.mark.parametrize(
    ("typed", "prepared"),
    [("I\u00adX", "IX"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_passwords_are_prepared(typed: str, prepared: str) -> None:
    one, other = (ScramSHA256(Credentials("u", p), nonce=NONCE256) for p in (typed, prepared))
    assert one.respond(SERVER_FIRST.encode()) == other.respond(SERVER_FIRST.encode())


@pytest.mark.parametrize("password", ["\ue000-private-use", "\u0627-mixed-1"])
def test_what_saslprep_prohibits_is_said_before_anything_is_sent(password: str) -> None:
    with pytest.raises(LocalProtocolError, match="SASLprep") as caught:
        _ = ScramSHA256(Credentials("u", password))
    assert caught.value.__context__ is None


def test_without_scramp_another_mechanism_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scramp", None)
    plays(
        lambda: log_in(connected("AUTH SCRAM-SHA-256 PLAIN", tls=True), USER),
        f"C: AUTH PLAIN {b64(chr(0) + 'user' + chr(0) + 'pencil')}\nS: 235 ok",
    )
    error = fails(
        lambda: log_in(connected("AUTH SCRAM-SHA-256", tls=True), USER), "", LocalProtocolError
    )
    assert "smtpx[scram]" in str(error)


def test_who_acts_for_another_goes_by_a_mechanism_that_can_say_so() -> None:
    other = Credentials("user", "pencil", authzid="postmaster")
    plays(
        lambda: log_in(connected("AUTH SCRAM-SHA-256 PLAIN", tls=True), other),
        f"C: AUTH PLAIN {b64('postmaster' + chr(0) + 'user' + chr(0) + 'pencil')}\nS: 235 ok",
    )
