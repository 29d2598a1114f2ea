"""The plugin that looks for secrets finds them where they are (T26)."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from smtpx import ClientCertificate, Credentials, LocalProtocolError, Session, SMTPError
from smtpx._secrecy import redacted
from smtpx._wire.commands import Phase, command
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
