"""A password is shown nowhere, and kept no longer than it is needed."""

from __future__ import annotations

import base64
import dataclasses
import gc
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, FunctionType, ModuleType

import pytest
import trustme

import smtpx
from smtpx import ClientCertificate, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import (
    CRAM_MD5,
    LOGIN,
    PLAIN,
    XOAUTH2,
    Close,
    Refuse,
    ReplaceReply,
    Reset,
    Server,
    ServerMechanism,
    ServerTLS,
    Stall,
)
from tests.certificates import ca_file_of, certificate_file_of, encrypted_key_of, serving
from tests.faces.conftest import Face
from tests.tracebacks import told_by

USER, PASSWORD = "ann", "s3cret-of-hers"
SECRETS = [
    PASSWORD,
    base64.b64encode(PASSWORD.encode()).decode(),
    base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(),
]


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("mechanism", [PLAIN, LOGIN, CRAM_MD5], ids=lambda m: m.name)
@pytest.mark.parametrize("point", ["AUTH", "AUTH-RESPONSE"])
@pytest.mark.parametrize(
    "fault",
    [
        Close,
        Reset,
        Stall,
        lambda point: Refuse(point, "535 5.7.8 no"),
        lambda point: ReplaceReply(point, b"hm\r\n"),
        lambda point: ReplaceReply(point, b"334 ?\r\n"),
        lambda point: ReplaceReply(point, b"334 \r\n"),
    ],
    ids=["close", "reset", "stall", "535", "garbage", "no base64", "another challenge"],
)
def test_a_traceback_that_shows_variables_shows_no_secret(
    face: Face, mechanism: ServerMechanism, point: str, fault
):
    with Server(users={USER: PASSWORD}, mechanisms=[mechanism], faults=[fault(point)]) as server:
        url = f"smtp://{USER}:{PASSWORD}@127.0.0.1:{server.port}"
        session = face.session(url, timeouts=dataclasses.replace(Timeouts.each(10), auth=0.1))
        try:
            session.open()
        except smtpx.SMTPError as error:
            told = told_by(error)
            assert "mechanism" in told
            assert not [secret for secret in SECRETS if secret in told]
        finally:
            session.close()


TOKEN = "t0ken-of-hers"
SAID = base64.b64encode(f"user={USER}\1auth=Bearer {TOKEN}\1\1".encode())
LINE = b"AUTH XOAUTH2 " + SAID


@pytest.mark.parametrize(
    "echo",
    [
        b"334 " + LINE,
        b"334 !! " + LINE,
        b"334 \xff" + LINE,
        b"334-" + LINE + b"\r\n334 =",
        b"334 " + LINE + b"\r\n334 " + LINE,
        b"334 " + SAID + b"\r\n250 " + LINE,
        b"334 " + base64.b64encode(LINE),
        b"334 " + base64.b64encode(b'{"status": "' + SAID + b'"}'),
        b"334-" + LINE + b"\r\n335 " + LINE,
        b"354 " + LINE,
        b"235 ok\r\n334 " + LINE,
        b"hm " + LINE,
    ],
)
def test_an_echo_of_a_token_is_shown_nowhere(face: Face, echo: bytes):
    """The challenge is answered as it came, and no frame shows it so."""
    fault = ReplaceReply("AUTH", echo + b"\r\n")
    with Server(users={USER: TOKEN}, mechanisms=[XOAUTH2], faults=[fault]) as server:
        session = face.session(
            f"smtp://127.0.0.1:{server.port}",
            credentials=smtpx.Credentials(USER, token=TOKEN),
            timeouts=dataclasses.replace(Timeouts.each(10), auth=0.1),
        )
        with pytest.raises(smtpx.SMTPError) as raised:
            session.open()
        session.close()
    link: BaseException | None = raised.value
    while link is not None:
        told = told_by(link) + repr(link)
        assert not [secret for secret in (TOKEN, SAID.decode()) if secret in told]
        link = link.__cause__ or link.__context__


@pytest.mark.requirement("T28")
def test_an_open_session_has_forgotten_the_password(face: Face):
    password = "".join(reversed(PASSWORD))
    with (
        Server(users={USER: password}) as server,
        face.session(f"smtp://{USER}:{password}@127.0.0.1:{server.port}") as session,
    ):
        held = reachable([session if face.runner is None else session.target])
        assert session.extensions in held
        assert password not in held


@pytest.mark.requirement("T28")
def test_an_open_session_has_forgotten_the_password_of_a_key(face: Face, tmp_path: Path):
    password = "-".join(reversed(PASSWORD))
    authority = trustme.CA()
    ours = authority.issue_cert(USER)
    certificate = ClientCertificate(
        certificate_file_of(ours, tmp_path), encrypted_key_of(ours, password, tmp_path), password
    )
    tls = TLSPolicy(
        TLSMode.IMPLICIT, ca_file=ca_file_of(authority, tmp_path), client_certificate=certificate
    )
    context = serving(authority.issue_cert("localhost"))
    with (
        Server(tls=ServerTLS.IMPLICIT, server_context=context) as server,
        face.session(f"smtps://localhost:{server.port}", tls=tls) as session,
    ):
        held = reachable([session if face.runner is None else session.target])
        assert session.extensions in held
        assert password not in held


def reachable(roots: Iterable[object]) -> list[object]:
    """All that these objects hold, and what that holds, but for code and what is running."""
    found: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in found or isinstance(thing, (ModuleType, FunctionType, FrameType, type)):
            continue
        found[id(thing)] = thing
        waiting += gc.get_referents(thing)
    return list(found.values())
