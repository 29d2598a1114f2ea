"""Logging in by every mechanism, over every face; and servers that would have the secret out."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import spnego
import trio
import trustme

import smtpx
from smtpx import Credentials, Envelope, Timeouts, TLSMode, TLSPolicy
from smtpx.sasl import HASHED, MUTUAL, STRONGEST_FIRST
from smtpx.testing import (
    ANONYMOUS,
    EXTERNAL,
    OAUTHBEARER,
    SCRAM_MECHANISMS,
    STANDARD_MECHANISMS,
    XOAUTH2,
    AppendToReply,
    AuthContext,
    Close,
    CutOutput,
    Endless,
    Fault,
    MechanismError,
    Refuse,
    ReplaceReply,
    Reset,
    Server,
    ServerMechanism,
    ServerTLS,
    Shutdown,
    Stall,
    TruncateReply,
    scram,
)
from smtpx.testing._mechanisms import Dialogue
from tests.faces.conftest import Face

PASSWORD, TOKEN = "Pa\u00dfw\u00f6rt-of-ann", "ya29.t0ken-of-ann"
ANN = Credentials("ann", PASSWORD)
ALL = (*SCRAM_MECHANISMS, *STANDARD_MECHANISMS, OAUTHBEARER, XOAUTH2, EXTERNAL, ANONYMOUS)
ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"

# A call that would hang is ended by this.
pytestmark = pytest.mark.timeout(20)


@contextmanager
def server_with(*mechanisms: ServerMechanism, **options: Any) -> Iterator[Server]:
    users = {"ann": PASSWORD, "tom": TOKEN}
    options.setdefault("tls", ServerTLS.IMPLICIT)
    with Server(users=users, mechanisms=mechanisms or ALL, **options) as server:
        yield server


def trusting(server: Server, version: ssl.TLSVersion | None = None) -> TLSPolicy:
    context = server.client_context()
    if version is not None:
        context.maximum_version = version
    return TLSPolicy(TLSMode.IMPLICIT, context=context)


TLS_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", TLS_VERSIONS)
@pytest.mark.parametrize("mechanism", STRONGEST_FIRST)
def test_every_mechanism_that_has_a_password(
    face: Face, mechanism: str, version: ssl.TLSVersion
) -> None:
    with server_with() as server:
        tls = trusting(server, version)
        with face.session(server.url, tls=tls, credentials=ANN, mechanisms=[mechanism]) as session:
            _ = session.send(CONTENT, ENVELOPE)
        assert server.messages[0].user == "ann"
        with pytest.raises(smtpx.AuthenticationRefused) as caught:
            face.session(
                server.url,
                tls=tls,
                credentials=Credentials("ann", "another-password"),
                mechanisms=[mechanism],
            ).open()
        assert caught.value.reply.code == 535
        assert caught.value.details == (
            {"error": "invalid-proof"} if mechanism.startswith("SCRAM") else {}
        )
        assert server.breaches == []


def test_the_strongest_is_chosen_from_the_url(face: Face) -> None:
    lines: list[str] = []
    with (
        server_with() as server,
        face.session(
            server.url.replace("://", "://ann:Pa%C3%9Fw%C3%B6rt-of-ann@"),
            tls=trusting(server),
            observer=lambda line: lines.append(str(line)),
        ),
    ):
        assert "C: AUTH SCRAM-SHA-512-PLUS [redacted]" in lines


@pytest.mark.requirement("RFC 5802 §6")
def test_a_downgrade_to_no_binding_is_noticed_by_the_server(face: Face) -> None:
    """Someone on the way removes -PLUS from the offer; the server hears that we saw none."""
    offer = b"250-mail.test\r\n250 AUTH SCRAM-SHA-256 PLAIN\r\n"
    with server_with(faults=[ReplaceReply("EHLO", offer)]) as server:
        with pytest.raises(smtpx.AuthenticationRefused) as caught:
            face.session(server.url, tls=trusting(server), credentials=ANN).open()
        assert caught.value.details == {"error": "server-does-support-channel-binding"}
        assert [
            name for name in server.sessions[-1].commands if name.startswith("AUTH PLAIN")
        ] == []


@pytest.mark.requirement("T23")
@pytest.mark.parametrize("minimum", [HASHED, MUTUAL])
def test_a_downgrade_to_plain_is_refused_by_whoever_sets_a_minimum(
    face: Face, minimum: tuple[str, ...]
) -> None:
    offer = b"250-mail.test\r\n250 AUTH PLAIN LOGIN\r\n"
    with server_with(faults=[ReplaceReply("EHLO", offer)]) as server:
        with pytest.raises(smtpx.ExtensionMissing, match="we may use none"):
            face.session(
                server.url, tls=trusting(server), credentials=ANN, mechanisms=minimum
            ).open()
        assert not any(command.startswith("AUTH") for command in server.sessions[-1].commands)


def test_external_is_the_client_certificate(face: Face) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    ours = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    tls = TLSPolicy(TLSMode.IMPLICIT, context=ours)
    with server_with(EXTERNAL, server_context=context) as server:
        with pytest.raises(smtpx.AuthenticationRefused):
            face.session(server.url, tls=tls, credentials=Credentials()).open()
        authority.issue_cert("ann@example.org").configure_cert(ours)
        for credentials in (Credentials(), Credentials("ann@example.org")):
            with face.session(server.url, tls=tls, credentials=credentials) as session:
                _ = session.send(CONTENT, ENVELOPE)
        with pytest.raises(smtpx.AuthenticationRefused):
            face.session(server.url, tls=tls, credentials=Credentials("bob@example.org")).open()
        assert [message.user for message in server.messages] == ["ann@example.org"] * 2
        assert server.breaches == []


def test_anonymous_is_for_who_asks_for_it(face: Face) -> None:
    with server_with(ANONYMOUS) as server:
        nobody = Credentials("trace@example.org")
        with pytest.raises(smtpx.ExtensionMissing):
            face.session(server.url, tls=trusting(server), credentials=nobody).open()
        with face.session(
            server.url, tls=trusting(server), credentials=nobody, mechanisms=["ANONYMOUS"]
        ):
            assert server.sessions[-1].commands[-1] == f"AUTH ANONYMOUS {b64(b'trace@example.org')}"


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


# NTLM and SPNEGO against pyspnego's own acceptor, which knows its users from a file.


def _accepting(protocol: str) -> Callable[[AuthContext], Dialogue]:
    def dialogue(_: AuthContext) -> Dialogue:
        acceptor = spnego.server(protocol=protocol, service="smtp")
        token = yield b""
        while not acceptor.complete:
            try:
                answer = acceptor.step(token)
            except spnego.exceptions.SpnegoError:
                return None
            if acceptor.complete and not answer:
                break
            token = yield answer or b""
        return acceptor.client_principal

    return dialogue


def _with_layer(protocol: str) -> Callable[[AuthContext], Dialogue]:
    """The same with what RFC 4752 §3.1 negotiates afterwards."""

    def dialogue(_: AuthContext) -> Dialogue:
        acceptor = spnego.server(protocol=protocol, service="smtp")
        token = yield b""
        while not acceptor.complete:
            token = yield acceptor.step(token) or b""
        wish = yield acceptor.wrap(b"\x07\x00\xff\xff", encrypt=False).data
        chosen = acceptor.unwrap(wish).data
        if chosen != b"\x01\x00\x00\x00":
            raise MechanismError(f"no layer is b'\\1\\0\\0\\0', not {chosen!r}")
        return acceptor.client_principal

    return dialogue


ACCEPTORS = [
    ServerMechanism("NTLM", _accepting("ntlm")),
    ServerMechanism("GSS-SPNEGO", _accepting("negotiate")),
    ServerMechanism("GSS-SPNEGO", _with_layer("negotiate")),
]


@pytest.mark.parametrize("mechanism", ACCEPTORS)
def test_ntlm_and_spnego(
    face: Face,
    mechanism: ServerMechanism,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "users"
    file.write_text(f"DOMAIN:ann:{PASSWORD}\n", "utf-8")
    monkeypatch.setenv("NTLM_USER_FILE", str(file))
    with server_with(mechanism) as server:
        tls, named = trusting(server), [mechanism.name]
        ann = Credentials("DOMAIN\\ann", PASSWORD)
        with pytest.raises(smtpx.ExtensionMissing):
            face.session(server.url, tls=tls, credentials=ann).open()
        with face.session(server.url, tls=tls, credentials=ann, mechanisms=named) as session:
            _ = session.send(CONTENT, ENVELOPE)
        assert server.messages[0].user == "DOMAIN\\ann"
        assert server.breaches == []


def test_ntlm_refuses_another_password(
    face: Face, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "users"
    file.write_text(f"DOMAIN:ann:{PASSWORD}\n", "utf-8")
    monkeypatch.setenv("NTLM_USER_FILE", str(file))
    wrong = Credentials("DOMAIN\\ann", "another-password")
    with server_with(ACCEPTORS[0]) as server, pytest.raises(smtpx.AuthenticationRefused):
        face.session(
            server.url, tls=trusting(server), credentials=wrong, mechanisms=["NTLM"]
        ).open()


# Where the secret comes from.


def answering(face: Face, *answers: str) -> Callable[[], Any]:
    """A source that is asynchronous where the face is."""
    left = list(answers)

    async def later() -> str:
        if face.name == "trio":
            await trio.lowlevel.checkpoint()
        return left.pop(0)

    return (lambda: left.pop(0)) if face.runner is None else later


@pytest.mark.parametrize("mechanism", [OAUTHBEARER, XOAUTH2])
def test_a_token_is_renewed_once_on_the_same_connection(
    face: Face, mechanism: ServerMechanism
) -> None:
    with server_with(mechanism) as server:
        tom = Credentials("tom", token=answering(face, "ya29.old-token-of-tom", TOKEN))
        with face.session(server.url, tls=trusting(server), credentials=tom) as session:
            _ = session.send(CONTENT, ENVELOPE)
        assert server.messages[0].user == "tom"
        bad = answering(face, "ya29.old-token-of-tom", "ya29.bad-token-of-tom")
        with pytest.raises(smtpx.AuthenticationRefused) as caught:
            face.session(
                server.url, tls=trusting(server), credentials=Credentials("tom", token=bad)
            ).open()
        assert caught.value.details["status"] in ("401", "invalid_token")
        assert len(server.sessions) == 2
        assert server.breaches == []


@pytest.mark.requirement("T28")
def test_a_client_asks_its_source_for_every_connection(face: Face) -> None:
    with server_with(XOAUTH2) as server:
        tom = Credentials("tom", token=answering(face, TOKEN, TOKEN))
        pool = smtpx.PoolLimits(idle=0)
        with face.client(server.url, tls=trusting(server), credentials=tom, pool=pool) as client:
            for _ in range(2):
                _ = client.send(CONTENT, ENVELOPE)
        assert len(server.sessions) == 2


def test_an_asynchronous_source_is_none_for_a_blocking_session() -> None:
    async def later() -> str:
        raise AssertionError("nobody awaits it")

    with server_with(XOAUTH2) as server:
        session = smtpx.Session(
            server.url, tls=trusting(server), credentials=Credentials("tom", token=later)
        )
        with pytest.raises(smtpx.LocalProtocolError, match="AsyncClient"):
            session.open()
        assert not session.is_open


def test_a_source_that_never_answers_has_the_time_of_auth(runner: Any) -> None:
    async def never() -> str:
        if runner.__class__.__name__ == "TrioRunner":
            await trio.sleep_forever()
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    with server_with(XOAUTH2) as server:
        session = smtpx.AsyncSession(
            server.url,
            tls=trusting(server),
            credentials=Credentials("tom", token=never),
            timeouts=Timeouts(auth=0.05),
        )
        with pytest.raises(smtpx.TimedOut, match="source") as caught:
            runner.run(session.open)
        assert caught.value.phase == "auth"


def test_what_a_source_raises_is_the_callers(face: Face) -> None:
    def broken() -> str:
        raise KeyError("no network")

    with server_with(XOAUTH2) as server, pytest.raises(KeyError, match="no network"):
        face.session(
            server.url, tls=trusting(server), credentials=Credentials("tom", token=broken)
        ).open()


def test_a_source_that_runs_out_does_not_pass_for_a_login(face: Face) -> None:
    empty = iter(())
    with server_with(XOAUTH2) as server:
        session = face.session(
            server.url,
            tls=trusting(server),
            credentials=Credentials("tom", token=lambda: next(empty)),
        )
        with pytest.raises(RuntimeError, match="StopIteration"):
            session.open()
        assert not session.is_open


# Hostile servers. The plugin tests/secrecy.py looks whether the password can be seen anywhere.

REMOTE = TLSPolicy(TLSMode.NONE)
SAID = b64(f"\0ann\0{PASSWORD}".encode())
FAULTS: dict[str, list[Fault]] = {
    "refused with an echo": [Refuse("AUTH", f"535 5.7.8 you said {SAID}")],
    "refused with an echo in clear": [Refuse("AUTH", f"535 {PASSWORD} is wrong\n{SAID}")],
    "an echo as a challenge": [
        ReplaceReply("AUTH", f"334 {b64(PASSWORD.encode())}\r\n".encode()),
        Refuse("AUTH-RESPONSE", "535 5.7.8 no"),
    ],
    "an echo that is no reply": [ReplaceReply("AUTH", f"{PASSWORD}\r\n".encode())],
    "an echo with a strange code": [ReplaceReply("AUTH", f"399 {PASSWORD}\r\n".encode())],
    "an echo behind the reply": [AppendToReply("AUTH", f"250 {PASSWORD}\r\n".encode())],
    "an echo as parting words": [Shutdown("AUTH", f"421 {PASSWORD}, and good-bye")],
    "a yes before the question": [AppendToReply("EHLO", b"235 2.7.0 welcome\r\n")],
    "a reply behind the reply": [AppendToReply("AUTH", b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n")],
    "a refusal behind the yes": [AppendToReply("AUTH", b"535 5.7.8 no\r\n")],
    "a challenge behind the yes": [AppendToReply("AUTH", b"334 \r\n")],
    "no base64": [ReplaceReply("AUTH", b"334 ***\r\n")],
    "half a reply": [TruncateReply("AUTH", keep=5)],
    "nothing": [Close("AUTH")],
    "a reset": [Reset("AUTH")],
    "challenges without end": [Endless("AUTH", b"334 bW9yZQ==\r\n")],
    "a challenge without end": [Endless("AUTH", b"334-" + b"QUFB" * 200 + b"\r\n")],
    "a challenge of a megabyte": [ReplaceReply("AUTH", b"334 " + b"QUFB" * 250_000 + b"\r\n")],
    "silence": [Stall("AUTH")],
}


@pytest.mark.requirement("T26")
@pytest.mark.requirement("T27")
@pytest.mark.parametrize(
    ("mechanism", "fault"),
    [
        (mechanism, fault)
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")
        for fault in FAULTS
        # Nobody reads the prompts of those that have nothing to prove.
        if fault != "no base64" or mechanism not in ("PLAIN", "LOGIN")
    ],
)
def test_a_hostile_server_gets_an_error_and_nothing_is_seen(
    face: Face, mechanism: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "smtpx")
    lines: list[str] = []
    with server_with(tls=ServerTLS.NONE, faults=FAULTS[fault]) as server:
        session = face.session(
            server.url,
            credentials=ANN,
            mechanisms=[mechanism],
            timeouts=Timeouts.each(0.1 if fault == "silence" else 5),
            observer=lambda line: lines.append(str(line)),
        )
        with pytest.raises(smtpx.SMTPError) as caught:
            session.open()
        assert not session.is_open
    assert isinstance(
        caught.value,
        smtpx.AuthenticationRefused
        | smtpx.RemoteProtocolError
        | smtpx.ConnectionLost
        | smtpx.TimedOut,
    )
    seen = "\n".join([*lines, caplog.text, str(caught.value)])
    assert PASSWORD not in seen
    assert SAID not in seen
    assert b64(PASSWORD.encode()) not in seen


@pytest.mark.requirement("T22")
@pytest.mark.parametrize("credentials", [ANN, Credentials("tom", token=TOKEN)])
def test_nothing_that_shows_the_secret_goes_over_a_plain_line(credentials: Credentials) -> None:
    """To a remote host; the loopback, where the server is, counts as this machine."""
    from smtpx._core.authentication import log_in
    from smtpx._core.connection import Connection
    from smtpx._wire.extensions import Extensions

    connection = Connection()
    connection.extensions = Extensions({"AUTH": "PLAIN LOGIN XOAUTH2 OAUTHBEARER"})
    with pytest.raises(smtpx.TLSPolicyError):
        _ = next(log_in(connection, credentials))


def test_iterations_without_end_are_not_calculated(face: Face) -> None:
    with server_with(scram("SHA-256", iterations=2_000_000)) as server:
        with pytest.raises(smtpx.RemoteProtocolError, match="1000000 iterations"):
            face.session(server.url, tls=trusting(server), credentials=ANN).open()
        assert server.sessions[-1].commands[-1] == "*"


@pytest.mark.parametrize("at", range(0, 700, 23))
def test_a_connection_that_breaks_anywhere_in_the_exchange(at: int) -> None:
    with server_with(tls=ServerTLS.NONE, faults=[CutOutput(at)]) as server:
        session = smtpx.Session(server.url, credentials=ANN, timeouts=Timeouts.each(5))
        try:
            session.open()
        except (smtpx.ConnectionLost, smtpx.RemoteProtocolError):
            assert not session.is_open
        else:
            session.close()


@pytest.mark.requirement("T26")
def test_a_password_in_a_url_is_in_no_traceback(face: Face) -> None:
    with server_with() as server:
        url = server.url.replace("://", "://ann:another-password@")
        tls = trusting(server)
        with pytest.raises(smtpx.AuthenticationRefused):
            face.send(CONTENT, url, envelope=ENVELOPE, tls=tls)
        with face.client(url, tls=tls) as client, pytest.raises(smtpx.AuthenticationRefused):
            client.send(CONTENT, ENVELOPE)
    with pytest.raises(smtpx.ConnectionLost):
        face.send(CONTENT, url, envelope=ENVELOPE, tls=tls)


@pytest.mark.parametrize(
    ("offered", "given", "remedy"),
    [
        ("XOAUTH2 OAUTHBEARER", {"password": "s3cret-of-hers"}, r"it wants a token, .*token=…"),
        ("XOAUTH2 GSSAPI", {"password": "s3cret-of-hers"}, "it wants a token"),
        ("PLAIN LOGIN", {"token": "t0ken-of-hers"}, "it wants a password"),
        ("LOGIN", {}, "it wants a password"),
        ("GSSAPI NTLM", {"password": "s3cret-of-hers"}, r"GSSAPI is .* mechanisms=\['GSSAPI'\]"),
        ("NTLM", {"password": "s3cret-of-hers"}, r"mechanisms=\['NTLM'\]"),
        ("X-OWN", {"password": "s3cret-of-hers"}, r"X-OWN\) we can use none \(with"),
    ],
)
def test_what_the_server_wants_in_place_of_it_is_said(
    face: Face, offered: str, given: dict[str, Any], remedy: str
) -> None:
    offer = f"250-mail.test\r\n250 AUTH {offered}\r\n".encode()
    with server_with(faults=[ReplaceReply("EHLO", offer)]) as server:
        session = face.session(
            server.url, tls=trusting(server), credentials=Credentials("ann", **given)
        )
        with pytest.raises(smtpx.ExtensionMissing, match=remedy):
            session.open()
