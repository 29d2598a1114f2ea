"""SASL mechanisms: PLAIN (RFC 4616), CRAM-MD5 (2195), LOGIN; who is chosen, what is shown."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx.errors import LocalProtocolError, RemoteProtocolError
from smtpx.sasl import (
    HASHED,
    MUTUAL,
    NTLM,
    STRONGEST_FIRST,
    Anonymous,
    Channel,
    CramMD5,
    Credentials,
    External,
    Login,
    Mechanism,
    OAuthBearer,
    Plain,
    ScramSHA256,
    Spnego,
    XOAuth2,
)
from smtpx.sasl.choice import allowed, check

TIM = Credentials("tim", "tanstaaftanstaaf")


@pytest.mark.requirement("RFC 4616 §4")
def test_plain_is_identity_user_and_password_between_nuls() -> None:
    plain = Plain(TIM)
    assert plain.initial() == b"\0tim\0tanstaaftanstaaf"
    assert plain.respond(b"go ahead") == plain.initial()  # It took no initial response.
    assert plain.respond(b"anything") == b""


@pytest.mark.requirement("RFC 4616 §2")
def test_plain_is_utf8() -> None:
    assert Plain(Credentials("jürgen", "päss 漢")).initial() == "\0jürgen\0päss 漢".encode()


@pytest.mark.requirement("RFC 2195 §2")
def test_cram_md5_answers_as_the_rfcs_example() -> None:
    mechanism = CramMD5(TIM)
    answer = mechanism.respond(b"<1896.697170952@postoffice.reston.mci.net>")
    assert answer == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_cram_md5_takes_a_password_longer_than_a_block_and_an_empty_challenge() -> None:
    assert CramMD5(Credentials("tim", "x" * 100)).respond(b"").startswith(b"tim ")


def test_login_gives_user_then_password_whatever_the_prompts_say() -> None:
    login = Login(TIM)
    assert login.respond(b"Password:") == b"tim"
    assert login.respond(b"") == b"tanstaaftanstaaf"
    assert login.respond(b"Again:") == b""


@pytest.mark.parametrize("kind", [Login, CramMD5])
def test_where_the_server_speaks_first_there_is_no_initial_response(
    kind: type[Login | CramMD5],
) -> None:
    mechanism: Mechanism = kind(TIM)
    assert mechanism.initial() is None


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("kind", [Plain, Login, CramMD5])
def test_every_mechanism_names_what_must_appear_nowhere(
    kind: type[Plain | Login | CramMD5],
) -> None:
    mechanism: Mechanism = kind(TIM)
    assert b"tanstaaftanstaaf" in mechanism.secrets
    if kind is Plain:
        assert b"\0tim\0tanstaaftanstaaf" in mechanism.secrets


@pytest.mark.requirement("T23")
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["LOGIN", "PLAIN", "CRAM-MD5"], ["CRAM-MD5", "PLAIN", "LOGIN"]),
        (
            ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512"],
            ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"],
        ),
        (["LOGIN"], ["LOGIN"]),
        # Neither unknown, nor without a token, nor used by who does not name them.
        (["GSSAPI", "XOAUTH2", "NTLM", "ANONYMOUS", "EXTERNAL"], []),
        ([], []),
    ],
)
def test_the_strongest_that_is_offered_comes_first(offered: list[str], chosen: list[str]) -> None:
    assert [mechanism.name for mechanism in allowed(offered, TIM)] == chosen


@pytest.mark.parametrize(
    ("credentials", "chosen"),
    [
        (Credentials("tim", token="t0ken-of-tim"), ["OAUTHBEARER", "XOAUTH2"]),
        (Credentials("tim"), ["EXTERNAL"]),
        (Credentials(), ["EXTERNAL"]),
    ],
)
def test_the_credentials_decide_what_is_possible(
    credentials: Credentials, chosen: list[str]
) -> None:
    offered = ["PLAIN", "XOAUTH2", "EXTERNAL", "OAUTHBEARER", "SCRAM-SHA-256", "ANONYMOUS"]
    assert [mechanism.name for mechanism in allowed(offered, credentials)] == chosen


def test_the_caller_decides_on_the_order_and_on_mechanisms_of_his_own() -> None:
    class Own(Plain):
        name = "X-OWN"

    offered = ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "X-OWN", "NTLM"]
    named = allowed(offered, TIM, ["PLAIN", "LOGIN", Own, "NTLM", "CRAM-MD5"])
    assert [mechanism.name for mechanism in named] == ["PLAIN", "X-OWN", "NTLM", "CRAM-MD5"]
    assert named[1] is Own


def test_minima_hold_nothing_that_shows_a_secret() -> None:
    everything = allowed(STRONGEST_FIRST, TIM, STRONGEST_FIRST)
    assert [m.name for m in everything if not m.reveals_secret] == list(HASHED)
    assert set(MUTUAL) == {m.name for m in everything if m.name.startswith("SCRAM")}


@pytest.mark.parametrize(
    ("mechanisms", "complaint"),
    [("PLAIN", "sequence"), (["PLAIN", "SCRAM"], "'SCRAM'"), ([], "empty")],
)
def test_names_that_do_not_exist_are_refused(mechanisms: list[str], complaint: str) -> None:
    with pytest.raises(LocalProtocolError, match=complaint):
        check(mechanisms)


def test_cram_md5_cannot_begin_where_md5_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    def no_md5(*_: object) -> None:
        raise ValueError("disabled for FIPS")

    monkeypatch.setattr(hmac, "new", no_md5)
    with pytest.raises(LocalProtocolError, match="no MD5"):
        _ = CramMD5(TIM)


def test_each_try_is_a_new_mechanism() -> None:
    [login] = allowed(["LOGIN"], TIM)
    for _ in range(2):
        assert login(TIM, Channel()).respond(b"") == b"tim"


def test_authorization_identities_and_traces() -> None:
    tim = Credentials("tim", "tanstaaftanstaaf", authzid="postmaster")
    assert Plain(tim).initial() == b"postmaster\0tim\0tanstaaftanstaaf"
    assert External(Credentials("tim", authzid="postmaster")).initial() == b"postmaster"
    assert External(Credentials()).initial() == b""
    assert Anonymous(Credentials("sirhc")).initial() == b"sirhc"


@pytest.mark.parametrize("kind", [Login, CramMD5, ScramSHA256, XOAuth2, NTLM, Spnego])
def test_nobody_acts_for_himself_who_was_to_act_for_another(kind: Any) -> None:
    given: Any = {"token": "t0ken-of-tim"} if kind is XOAuth2 else {"password": "pencil-of-tim"}
    with pytest.raises(LocalProtocolError, match="no authorization identity"):
        _ = kind(Credentials("tim", authzid="postmaster", **given), Channel("mx.test"))


@pytest.mark.parametrize("kind", [Plain, Login, CramMD5, ScramSHA256])
def test_a_token_is_no_password(kind: type[Plain]) -> None:
    with pytest.raises(LocalProtocolError, match="needs a password"):
        _ = kind(Credentials("tim", token="t0ken-of-tim"))


@pytest.mark.parametrize("kind", [OAuthBearer, XOAuth2])
def test_a_password_is_no_token(kind: type[OAuthBearer]) -> None:
    with pytest.raises(LocalProtocolError, match="needs a token"):
        _ = kind(TIM)


# The examples of RFC 7628 §4.1 and of Google's documentation.
RFC7628 = Credentials("user@example.com", token="vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
GOOGLE = Credentials("someuser@example.com", token="ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")


@pytest.mark.requirement("RFC 7628 §4.1")
def test_oauthbearer_says_what_the_rfcs_example_says() -> None:
    channel = Channel(host="server.example.com", port=143)
    assert b64encode(OAuthBearer(RFC7628, channel).initial()).decode() == (
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyI"
        "HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )


@pytest.mark.requirement("RFC 5801 §4")
def test_a_name_cannot_end_its_field() -> None:
    odd = Credentials("a=b,c", token="t0ken-of-tim")
    assert OAuthBearer(odd).initial().startswith(b"n,a=a=3Db=2Cc,\x01auth=Bearer ")
    assert OAuthBearer(Credentials(token="t0ken-of-tim")).initial().startswith(b"n,,\x01")


def test_xoauth2_says_what_googles_example_says() -> None:
    assert b64encode(XOAuth2(GOOGLE).initial()).decode() == (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhk"
        "SFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )


@pytest.mark.parametrize(
    ("challenge", "details"),
    [
        (
            b'{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}',
            {"status": "401", "schemes": "bearer", "scope": "https://mail.google.com/"},
        ),
        (b'{"status":401}', {"status": "401"}),
        (b"", {}),
        (b"[1]", {}),
        (b"not json", {}),
        (b"\xff\xfe", {}),
        (b"[" * 100_000, {}),
    ],
)
def test_what_a_server_says_of_a_token_is_read_whatever_it_is(
    challenge: bytes, details: dict[str, str]
) -> None:
    for mechanism, ending in ((XOAuth2(GOOGLE), b""), (OAuthBearer(GOOGLE), b"\x01")):
        assert mechanism.respond(challenge) == ending
        assert mechanism.details == details


EVERY = [
    *(ScramSHA256, CramMD5, Plain, Login, NTLM, Spnego),
    *(OAuthBearer, XOAuth2, External, Anonymous),
]


@pytest.mark.requirement("T27")
@pytest.mark.parametrize("kind", EVERY)
@given(challenges=st.lists(st.binary(max_size=200), max_size=4))
@example(challenges=[b"NTLMSSP\0\2\0\0\0" + b"\xff" * 60])
@example(challenges=[b"r=,s=,i="])
def test_whatever_a_server_says_is_answered_or_refused(
    kind: Callable[[Credentials, Channel], Mechanism], challenges: list[bytes]
) -> None:
    token = kind in (OAuthBearer, XOAuth2)
    ann = Credentials("ann", token="t0ken-of-ann") if token else Credentials("ann", "hunter2-ann")
    mechanism = kind(ann, Channel(host="mail.example.com"))
    with suppress(RemoteProtocolError):
        for challenge in challenges:
            assert isinstance(mechanism.respond(challenge), bytes)
