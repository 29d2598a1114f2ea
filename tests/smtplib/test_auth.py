"""`login` and `auth`, and that no secret is shown anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from smtpx import smtplib
from smtpx.testing import CRAM_MD5, LOGIN, PLAIN, Refuse, Server, ServerMechanism
from tests.smtplib.scripted import CLOSE, ScriptedServer, serving
from tests.tracebacks import told_by

USER, PASSWORD = "jo", "s3cr3t-påss"


def client_of(server: Any) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", server.port, "client.example.org", timeout=10)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("mechanism", [PLAIN, LOGIN, CRAM_MD5], ids=lambda m: m.name)
@pytest.mark.parametrize("initial_response_ok", [True, False])
def test_login(mechanism: ServerMechanism, initial_response_ok: bool) -> None:
    with (
        Server(users={USER: PASSWORD}, mechanisms=[mechanism]) as server,
        client_of(server) as client,
    ):
        code, _ = client.login(USER, PASSWORD, initial_response_ok=initial_response_ok)
        assert code == 235
        assert (client.user, client.password) == (USER, PASSWORD)
    assert not server.breaches


def test_the_order_is_the_old_one_and_the_next_follows_a_refusal() -> None:
    with Server(users={USER: PASSWORD}) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login(USER, "wrong")
        assert caught.value.smtp_code == 535
        auths = [c.split()[1] for c in server.sessions[0].commands if c.startswith("AUTH")]
        assert auths == ["CRAM-MD5", "PLAIN", "LOGIN"]
        assert client.login(USER, PASSWORD)[0] == 235


def test_a_mechanism_that_does_not_work_is_passed_over() -> None:
    refuse = Refuse("AUTH", "504 not that one", nth=1)
    with Server(users={USER: PASSWORD}, faults=[refuse]) as server, client_of(server) as client:
        assert client.login(USER, PASSWORD)[0] == 235


def test_auth_is_not_offered() -> None:
    with (
        Server() as server,
        client_of(server) as client,
        pytest.raises(smtplib.SMTPNotSupportedError),
    ):
        client.login(USER, PASSWORD)


@pytest.mark.requirement("T24")
def test_no_mechanism_suits() -> None:
    with serving(extensions=["AUTH GSSAPI"]) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPException, match=r"No suitable .* GSSAPI") as caught:
            client.login(USER, PASSWORD)
        assert type(caught.value) is smtplib.SMTPException
        assert not any(command.startswith("AUTH") for command in server.commands)


def test_cram_md5_is_skipped_without_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtplib, "_have_cram_md5_support", False)
    with Server(users={USER: PASSWORD}) as server, client_of(server) as client:
        assert client.login(USER, PASSWORD)[0] == 235
        with pytest.raises(smtplib.SMTPException, match="CRAM-MD5"):
            client.auth_cram_md5(b"challenge")
    with (
        Server(users={USER: PASSWORD}, mechanisms=[CRAM_MD5]) as server,
        client_of(server) as client,
        pytest.raises(smtplib.SMTPException, match=r"No suitable authentication method found\."),
    ):
        client.login(USER, PASSWORD)


def test_503_means_that_it_was_done_before() -> None:
    answers = {"AUTH": b"503 already\r\n"}
    with serving(answers, extensions=["AUTH PLAIN"]) as server, client_of(server) as client:
        assert client.login(USER, PASSWORD) == (503, b"already")


@pytest.mark.parametrize("code", [b"421 bye\r\n", b"garbage\r\n"])
def test_a_server_that_is_gone_is_not_asked_again(code: bytes) -> None:
    with serving({"AUTH": code}, extensions=["AUTH PLAIN LOGIN"]) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(USER, PASSWORD)
        assert client.sock is None


def test_a_mechanism_of_the_callers_own() -> None:
    heard: list[bytes | None] = []

    def token(challenge: bytes | None = None) -> str:
        heard.append(challenge)
        return "user=jo" if challenge is None else ""

    answers = {"AUTH": f"334 {b64('{}')}\r\n".encode(), "": b"535 no\r\n"}
    with serving(answers) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.auth("xoauth2", token)
        assert caught.value.args == (535, b"no")
        assert server.commands == [f"AUTH XOAUTH2 {b64('user=jo')}", ""]
    assert heard == [None, b"{}"]


def test_an_empty_initial_response_is_an_equals_sign() -> None:
    with serving({"AUTH": b"235 hi\r\n"}) as server, client_of(server) as client:
        assert client.auth("EXTERNAL", lambda _=None: "") == (235, b"hi")
        assert server.commands == ["AUTH EXTERNAL ="]


@pytest.mark.requirement("T27")
def test_challenges_that_do_not_end() -> None:
    again = b"334 " + b64("again").encode() + b"\r\n"
    answers = {"AUTH": again, b64("x").upper(): again, "*": b"501 cancelled\r\n"}
    with serving(answers) as server, client_of(server) as client:
        server.answers[b64("x").upper()] = again
        with pytest.raises(smtplib.SMTPException, match=r"^Server AUTH mechanism infinite loop"):
            client.auth("BUGGY", lambda _=None: "x", initial_response_ok=False)
        assert server.commands == ["AUTH BUGGY", *[b64("x")] * 6, "*"]
        assert client.noop()[0] == 250


def test_challenges_that_do_not_even_end_when_cancelled() -> None:
    again = b"334 " + b64("again").encode() + b"\r\n"
    with serving({"AUTH": again, b64("x").upper(): again, "*": again}) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPException):
            client.auth("BUGGY", lambda _=None: "x")
        assert client.sock is None


@pytest.mark.requirement("T27")
def test_a_challenge_that_is_no_base64() -> None:
    answers = {"AUTH": b"334 a\r\n", "*": b"501 cancelled\r\n"}
    with serving(answers) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPException, match="no base64"):
            client.auth("LOGIN", client.auth_login, initial_response_ok=False)
        assert server.commands == ["AUTH LOGIN", "*"]


def test_an_authobject_that_fails_ends_the_exchange() -> None:
    def fail(challenge: bytes | None = None) -> str | None:
        if challenge is None:
            return None
        raise LookupError("no ticket")

    with serving({"AUTH": b"334 \r\n"}) as server, client_of(server) as client:
        with pytest.raises(LookupError):
            client.auth("GSSAPI", fail)
        assert server.commands == ["AUTH GSSAPI", "*"]
        assert client.noop()[0] == 250


@pytest.mark.requirement("T1")
@pytest.mark.requirement("T25")
@pytest.mark.parametrize("control", ["\0", "\r", "\n", "\x7f"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_control_characters_in_credentials(mechanism: str, control: str) -> None:
    with serving(extensions=[f"AUTH {mechanism}"]) as server, client_of(server) as client:
        for user, password in ((f"a{control}b", "c"), ("a", f"b{control}c")):
            with pytest.raises(ValueError, match="NUL"):
                client.login(user, password)
        assert server.commands == []


SECRETS = [
    PASSWORD,
    repr(PASSWORD.encode())[2:-1],
    b64(PASSWORD),
    b64(f"\0{USER}\0{PASSWORD}"),
]


@pytest.mark.parametrize(
    "echo",
    [
        b"hm %b\r\n",
        b"334-%b\r\n335 %b\r\n",
        b"235 ok\r\n334 %b\r\n",
        b"334 %b\r\n250 %b\r\n",
        b"535 %b" + b"x" * 9000 + b"\r\n",
    ],
)
def test_an_echo_that_is_no_reply_or_one_too_many_shows_no_secret(echo: bytes) -> None:
    said = b64(f"\0{USER}\0{PASSWORD}").encode()
    answer = echo.replace(b"%b", b"AUTH PLAIN " + said)
    with (
        ScriptedServer({"AUTH": answer}, extensions=["AUTH PLAIN"]) as server,
        pytest.raises(smtplib.SMTPException) as raised,
        client_of(server) as client,
    ):
        _ = client.login(USER, PASSWORD)
    link: BaseException | None = raised.value
    while link is not None:
        told = told_by(link) + repr(link)
        assert said.decode() not in told
        assert PASSWORD not in told
        link = link.__cause__ or link.__context__


def echoing(mechanism: str, initial: bool) -> ScriptedServer:
    """Says back whatever it hears, as some do for the sake of support."""
    plain = b64(f"\0{USER}\0{PASSWORD}")
    echo = f"535-you said {plain}\r\n535 that is {b64(PASSWORD)} or {PASSWORD}\r\n".encode()
    ask = b"334 " + b64("Password:").encode() + b"\r\n"
    return ScriptedServer(
        {
            "AUTH": echo if mechanism == "PLAIN" and initial else ask,
            plain.upper(): echo,
            b64(USER).upper(): ask,
            b64(PASSWORD).upper(): echo.replace(plain.encode(), b""),
        },
        extensions=[f"AUTH {mechanism}"],
    )


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial_response_ok", [True, False])
def test_secrets_are_shown_nowhere(
    mechanism: str, initial_response_ok: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with echoing(mechanism, initial_response_ok) as server, client_of(server) as client:
        client.set_debuglevel(1)
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login(USER, PASSWORD, initial_response_ok=initial_response_ok)
        client.noop()
    shown = capsys.readouterr().err + str(caught.value) + repr(caught.value)
    assert "[redacted]" in shown
    assert not [secret for secret in SECRETS if secret in shown]
    assert "send: 'noop" in shown


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("answer", [b"535 no\r\n", b"hm\r\n", b"334 a\r\n", b"421 bye\r\n", CLOSE])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_traceback_that_shows_variables_shows_no_secret(mechanism: str, answer: bytes) -> None:
    secrets = [PASSWORD, b64(PASSWORD), b64(f"\0{USER}\0{PASSWORD}")]
    answers = {
        "AUTH": answer if mechanism == "PLAIN" else b"334 \r\n",
        b64(PASSWORD).upper(): answer,
    }
    answers[b64(USER).upper()] = b"334 \r\n"
    with serving(answers, extensions=[f"AUTH {mechanism}"]) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPException) as caught:
            client.login(USER, PASSWORD)
        client.close()
    told = told_by(caught.value)
    assert "mechanism" in told
    assert not [secret for secret in secrets if secret in told]


@pytest.fixture
def quiet() -> Iterator[ScriptedServer]:
    with ScriptedServer({"AUTH": [b"334 \r\n", b"235 ok\r\n"]}) as server:
        yield server


def test_secrets_said_by_hand_are_not_shown(
    quiet: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with client_of(quiet) as client:
        client.set_debuglevel(2)
        client.docmd("auth", "PLAIN")
        client.docmd(SECRETS[-1])
        client.send(f"AUTH PLAIN {SECRETS[-1]}\r\n".encode())
        client.getreply()
        with pytest.raises(ValueError, match="prohibited") as caught:
            client.docmd("AUTH", f"PLAIN {SECRETS[-1]}\n")
    shown = capsys.readouterr().err + str(caught.value)
    assert r"send: 'auth PLAIN\r\n'" in shown
    assert r"send: '[redacted]\r\n'" in shown
    assert r"send: b'AUTH PLAIN [redacted]\r\n'" in shown
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_short_password_does_not_spoil_the_challenge() -> None:
    with Server(users={USER: "P"}, mechanisms=[CRAM_MD5]) as server, client_of(server) as client:
        assert client.login(USER, "P")[0] == 235


def test_lost_in_the_middle() -> None:
    with serving({"AUTH": CLOSE}, extensions=["AUTH PLAIN"]) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.login(USER, PASSWORD)
        assert client.sock is None
