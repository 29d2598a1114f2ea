"""The plugin that looks for secrets finds them where they are (T26)."""

from __future__ import annotations

import asyncio
import base64
import pprint
import reprlib
from collections.abc import Callable

import pytest

from smtpx import (
    AsyncClient,
    AsyncSession,
    Client,
    ClientCertificate,
    Credentials,
    Envelope,
    LocalProtocolError,
    Session,
    SMTPError,
    asend,
    send,
)
from smtpx._core.authentication import authenticate
from smtpx._core.connection import Connection
from smtpx._secrecy import Hidden, redacted
from smtpx._wire.commands import Phase, command
from smtpx.sasl.oauth import XOAuth2
from smtpx.testing import Server
from tests import secrecy

SECRET = "hunter2-of-ann"
PLAIN = base64.b64encode(f"\0ann\0{SECRET}".encode()).decode()


def noted(*errors: BaseException, logged: str = "") -> list[str]:
    notes = secrecy.Notes()
    notes.keep(SECRET)
    notes.errors.extend(errors)
    notes.logged.append(logged)
    return list(secrecy.leaks(notes))


@pytest.mark.parametrize(
    "text", [SECRET, f"AUTH PLAIN {PLAIN}", base64.b64encode(SECRET.encode()).decode()]
)
def test_a_leak_is_found(text: str) -> None:
    assert noted(logged=text)
    assert noted(ValueError(text))
    assert noted(with_note(text))
    error = ValueError("x")
    error.__dict__["reply"] = text
    assert noted(error)
    assert noted(chained(text))


def with_note(text: str) -> BaseException:
    error = ValueError("x")
    error.add_note(text)
    return error


def chained(text: str) -> BaseException:
    try:
        try:
            raise ValueError(text)
        except ValueError as cause:
            raise ValueError("x") from cause
    except ValueError as error:
        return error


def test_a_secret_in_a_local_of_ours_is_found() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        _ = command(Phase.AUTH, f"{SECRET}\n", secret=False)
    assert any("the traceback" in leak for leak in noted(caught.value))


def test_what_is_no_leak_is_none() -> None:
    assert not noted(SMTPError("wrong password for ann"), logged="C: AUTH PLAIN [redacted]")


BEFORE = Credentials("ann", f"{SECRET}-before")
GIVEN: dict[str, Callable[[], object]] = {
    "credentials": lambda: Credentials("ann", SECRET),
    "a token": lambda: Credentials("ann", token=SECRET),
    "a URL": lambda: Session(f"smtp://ann:{SECRET}@mx.test"),
    "a proxy": lambda: Session("smtp://mx.test", proxy=f"socks5://ann:{SECRET}@proxy.test"),
    "a client certificate": lambda: ClientCertificate("me.pem", password=SECRET),
    "what a server knows": lambda: Server(users={"ann": SECRET}),
    "what was made before": lambda: Session("smtp://mx.test", credentials=BEFORE),
}


@pytest.mark.parametrize("given", GIVEN)
def test_the_plugin_runs_and_knows_what_this_test_has_given(given: str) -> None:
    _ = GIVEN[given]()
    error = SMTPError("x")
    assert any(secret.startswith(SECRET) for secret in secrecy._notes.secrets)
    assert error in secrecy._notes.errors


# Each with a mistake beside it.
FACES: dict[str, Callable[..., object]] = {
    "Session": Session,
    "AsyncSession": AsyncSession,
    "Client": Client,
    "AsyncClient": AsyncClient,
    "send": lambda *given, **options: send(b"hi", *given, **options),
    "asend": lambda *given, **options: asyncio.run(asend(b"hi", *given, **options)),
}
PROXY = f"socks5://ann:{SECRET}@127.0.0.1:1"


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"smtp://ann:{SECRET}@mx.test", {"client_name": "no name"}),
        (f"smtp://ann:{SECRET}@mx.test", {"client_nam": "no option"}),
        ("smtp://mx.test", {"proxy": PROXY, "timeout": "long"}),
        ("smtp://mx.test", {"proxy": f"{PROXY}\0"}),
        ("lmtp+unix:///socket", {"proxy": PROXY}),
        ("nowhere", {"proxy": PROXY}),
    ],
)
def test_a_mistake_shows_no_password_that_stands_beside_it(
    face: str, url: str, options: dict[str, str]
) -> None:
    with pytest.raises((TypeError, SMTPError)) as caught:
        _ = FACES[face](url, **options)
    assert not noted(caught.value)


@pytest.mark.parametrize("face", ["Client", "AsyncClient"])
def test_a_mistake_in_the_pool_shows_no_password(face: str) -> None:
    with pytest.raises(TypeError) as caught:
        _ = FACES[face](f"smtp://ann:{SECRET}@mx.test", pool=5, proxy=PROXY)
    assert not noted(caught.value)


@pytest.mark.parametrize("face", ["send", "asend"])
def test_what_fails_later_shows_no_password_of_a_proxy(face: str) -> None:
    envelope = Envelope("ann@x.test", ["bob@y.test"])
    with pytest.raises(SMTPError) as caught:
        _ = FACES[face]("smtp://mx.test", envelope, proxy=PROXY)
    assert not noted(caught.value)


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "%s".__mod__,
        pprint.pformat,
        reprlib.repr,
        lambda octets: repr(octets[:80]),
        lambda octets: repr(octets[2:][1:]),
        lambda octets: str(octets[::2]),
        lambda octets: repr({"octets": [octets[-80:]]}),
    ],
)
def test_hidden_octets_are_shown_by_nobody(show: Callable[[Hidden], str]) -> None:
    shown = show(Hidden(b"a" * 200))
    assert "aaa" not in shown
    assert "hidden octets>" in shown


def test_hidden_octets_are_octets() -> None:
    assert Hidden(b"abc")[1:] == b"bc"
    assert Hidden(b"abc")[1] == ord("b")


@pytest.mark.parametrize("name", ["XOAUTH2", "XOAUTH2\0"])
def test_what_cannot_be_said_to_log_in_shows_no_token(name: str) -> None:
    """A token that is too long for any line, and a name that is none."""
    token = SECRET * 8000
    mechanism = XOAuth2(Credentials("ann", token=token))
    mechanism.name = name
    with pytest.raises(LocalProtocolError) as caught:
        for _ in authenticate(Connection(), mechanism):
            pass
    assert not noted(caught.value)


REDACTED = b"[redacted]"


@pytest.mark.parametrize("secret", [b"e", b"on", b"ti", b"auth", b"ntica"])
def test_a_short_secret_takes_no_letters_out_of_words(secret: bytes) -> None:
    said = b"5.7.8 Authentication credentials invalid"
    assert redacted(said, [secret]) == said


@pytest.mark.parametrize("secret", [b"e", b"x1", b"pass1", b"#", b"!1", b"hunter2-of-ann"])
@pytest.mark.parametrize(
    "said",
    [b"no: %s", b"no <%s>", b"'%s' is wrong", b"ann:%s@mx", b"%s", b"\xe2\x80\x9c%s\xe2\x80\x9d"],
)
def test_a_secret_by_itself_is_not_shown(secret: bytes, said: bytes) -> None:
    assert redacted(said % secret, [secret]) == said % REDACTED


@pytest.mark.parametrize("secret", [b"e", b"x1", b"pass1", b"hunter2-of-ann"])
def test_a_secret_in_base64_is_not_shown(secret: bytes) -> None:
    for form in (secret, b"\0ann\0" + secret, b"ann " + secret):
        said = b"no: " + base64.b64encode(form) + b" is wrong"
        assert base64.b64encode(secret) not in redacted(said, [secret])
        assert base64.b64encode(form) not in redacted(said, [secret])


def test_a_long_secret_is_not_shown_within_a_word() -> None:
    assert redacted(b"no: xhunter2-of-annx", [SECRET.encode()]) == b"no: x[redacted]x"


def test_the_longest_secret_is_cut_out_first() -> None:
    assert redacted(b"no: ann hunter2", [b"ann", b"ann hunter2"]) == b"no: [redacted]"
