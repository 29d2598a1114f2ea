"""SASL mechanisms: PLAIN (RFC 4616), CRAM-MD5 (2195), LOGIN; who is chosen, what is shown."""

from __future__ import annotations

import pickle

import pytest

from smtpx.errors import LocalProtocolError
from smtpx.sasl import CramMD5, Credentials, Login, Mechanism, Plain, usable

TIM = Credentials("tim", "tanstaaftanstaaf")


@pytest.mark.requirement("RFC 4616 §4")
def test_plain_is_identity_user_and_password_between_nuls() -> None:
    plain = Plain(TIM)
    assert plain.initial() == b"\0tim\0tanstaaftanstaaf"
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


@pytest.mark.requirement("T25")
@pytest.mark.parametrize(("user", "password"), [("a\0b", "pw"), ("ann", "p\0w")])
def test_nul_cannot_change_what_plain_means(user: str, password: str) -> None:
    with pytest.raises(LocalProtocolError, match="NUL") as caught:
        Credentials(user, password)
    assert password not in str(caught.value)


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("control", ["\r", "\n", "\t", "\x1b", "\x7f", "\x85"])
def test_no_control_character_is_part_of_a_name_or_a_password(control: str) -> None:
    for user, password in ((f"ann{control}", "hunter2"), ("ann", f"hunter2{control}")):
        with pytest.raises(LocalProtocolError, match="control character") as caught:
            Credentials(user, password)
        assert "hunter2" not in str(caught.value)


@pytest.mark.requirement("T4")
@pytest.mark.parametrize(("user", "password"), [("ann\ud800", "hunter2"), ("ann", "hunter2\udcff")])
def test_surrogates_are_refused_before_anything_is_encoded(user: str, password: str) -> None:
    with pytest.raises(LocalProtocolError, match="surrogates") as caught:
        Credentials(user, password)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.requirement("T26")
def test_no_repr_shows_the_password() -> None:
    for value in (TIM, *(kind(TIM) for kind in (Plain, Login, CramMD5))):
        assert "tanstaaf" not in f"{value} {value!r}"


def test_credentials_are_a_value() -> None:
    assert pickle.loads(pickle.dumps(TIM)) == TIM == Credentials("tim", "tanstaaftanstaaf")


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
    ("offered", "protected", "chosen"),
    [
        (["LOGIN", "PLAIN", "CRAM-MD5"], True, ["CRAM-MD5", "PLAIN", "LOGIN"]),
        (["LOGIN", "PLAIN", "CRAM-MD5"], False, ["CRAM-MD5"]),
        (["LOGIN", "PLAIN"], True, ["PLAIN", "LOGIN"]),
        (["LOGIN"], True, ["LOGIN"]),
        (["LOGIN", "PLAIN"], False, []),
        (["GSSAPI", "XOAUTH2"], True, []),
        ([], True, []),
    ],
)
def test_the_strongest_that_is_offered_and_safe_here_comes_first(
    offered: list[str], protected: bool, chosen: list[str]
) -> None:
    assert [mechanism.name for mechanism in usable(offered, TIM, protected=protected)] == chosen


@pytest.mark.requirement("T22")
def test_nothing_that_reveals_the_secret_is_used_unprotected() -> None:
    every = ["LOGIN", "PLAIN", "CRAM-MD5"]
    assert not [m for m in usable(every, TIM, protected=False) if m.reveals_secret]


def test_cram_md5_is_left_out_where_md5_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    def no_md5(*_: object) -> None:
        raise ValueError("disabled for FIPS")

    assert CramMD5.works_here()
    monkeypatch.setattr(hmac, "new", no_md5)
    assert not CramMD5.works_here()
    assert [m.name for m in usable(["CRAM-MD5", "PLAIN"], TIM, protected=True)] == ["PLAIN"]


def test_each_try_is_a_new_mechanism() -> None:
    [first] = usable(["LOGIN"], TIM, protected=True)
    [second] = usable(["LOGIN"], TIM, protected=True)
    assert first.respond(b"") == second.respond(b"") == b"tim"
