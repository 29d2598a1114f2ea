"""STARTTLS and SMTP_SSL: verified unless the peer is this machine, and nothing slips in before."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from smtpx import smtplib
from smtpx._smtplib import protection
from smtpx.testing import AppendToReply, Server, ServerTLS
from tests import certificates
from tests.smtplib.scripted import serving
from tests.tls_endings import Endings

MESSAGE = "use a custom context"

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def starttls() -> Iterator[Server]:
    with Server(tls=ServerTLS.STARTTLS, users={"jo": "secret"}) as server:
        yield server


@pytest.fixture
def implicit() -> Iterator[Server]:
    with Server(tls=ServerTLS.IMPLICIT) as server:
        yield server


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the peer be another machine."""
    monkeypatch.setattr(protection, "is_local", lambda _: False)


def client_of(server: Any, host: str = "127.0.0.1") -> smtplib.SMTP:
    return smtplib.SMTP(host, server.port, "client.example.org", timeout=10)


def ssl_client_of(server: Any, **options: Any) -> smtplib.SMTP_SSL:
    return smtplib.SMTP_SSL("localhost", server.port, "client.example.org", timeout=10, **options)


def test_starttls_with_a_context(starttls: Server) -> None:
    with client_of(starttls, "localhost") as client:
        assert client.starttls(context=starttls.client_context())[0] == 220
        assert isinstance(client.sock, ssl.SSLSocket)
        assert (client.ehlo_resp, client.esmtp_features, client.does_esmtp) == (None, {}, False)
        assert client.login("jo", "secret")[0] == 235
        assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
        assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
    assert len(starttls.messages) == 2


@pytest.mark.requirement("RFC 8446 §6.1")
def test_the_end_of_a_session_is_said_in_tls_too() -> None:
    context = certificates.serving(trustme.CA().issue_cert("localhost"))
    with Endings(context) as server:
        client = ssl_client_of(server)
        assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
        assert client.quit()[0] == 221
    assert server.said == ["close_notify"]
    with Endings(context) as server:
        with ssl_client_of(server) as client:
            assert client.noop()[0] == 250
        ssl_client_of(server).close()
    assert sorted(server.said) == ["close_notify", "the end of the stream"]


def test_this_machine_needs_no_certificate(starttls: Server, implicit: Server) -> None:
    with client_of(starttls) as client:
        client.starttls()
        assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
    with ssl_client_of(implicit) as client:
        assert client.sendmail("a@example.org", "b@example.net", "hi") == {}


@pytest.mark.requirement("T14")
@pytest.mark.usefixtures("remote")
def test_every_other_machine_does(starttls: Server) -> None:
    client = client_of(starttls, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"hand in a context: .*cafile"):
        client.starttls()
    assert client.sock is None
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


@pytest.mark.requirement("T14")
@pytest.mark.usefixtures("remote")
def test_every_other_machine_does_so_over_implicit_tls(implicit: Server) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"hand in a context: .*cafile"):
        ssl_client_of(implicit)


@pytest.mark.requirement("T14")
@pytest.mark.usefixtures("remote")
def test_the_name_is_verified(implicit: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ssl.create_default_context

    def trusting(**_: object) -> ssl.SSLContext:
        return made(cafile=str(implicit.ca_file))

    monkeypatch.setattr(ssl, "create_default_context", trusting)
    with ssl_client_of(implicit) as client:
        assert client.noop()[0] == 250
    monkeypatch.setattr(
        socket, "create_connection", lambda *_: _connected(("127.0.0.1", implicit.port))
    )
    with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example"):
        smtplib.SMTP_SSL("other.example", 465)


def _connected(address: tuple[str, int]) -> socket.socket:
    connected = socket.socket()
    connected.settimeout(10)
    connected.connect(address)
    return connected


@pytest.mark.usefixtures("remote")
def test_a_context_that_does_not_verify_gives_the_old_behaviour(
    starttls: Server, implicit: Server
) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with client_of(starttls) as client:
        client.starttls(context=context)
    with ssl_client_of(implicit, context=context) as secure:
        assert secure.noop()[0] == 250
        assert secure.context is context


def test_connect_says_which_name_is_verified(starttls: Server) -> None:
    client = smtplib.SMTP(timeout=10, local_hostname="x")
    client.connect(f"localhost:{starttls.port}")
    client.starttls(context=starttls.client_context())
    client.quit()


def test_the_context_of_an_unconnected_client() -> None:
    client = smtplib.SMTP_SSL(local_hostname="x")
    assert client.context.verify_mode is ssl.CERT_REQUIRED
    own = ssl.create_default_context()
    client.context = own
    assert client.context is own


@pytest.fixture(scope="module")
def key_and_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder: Path = tmp_path_factory.mktemp("keys")
    issued = trustme.CA().issue_cert("client@example.org")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return str(folder / "key.pem"), str(folder / "cert.pem")


def test_keyfile_and_certfile_work_on_every_python(
    starttls: Server, implicit: Server, key_and_certificate: tuple[str, str]
) -> None:
    keyfile, certfile = key_and_certificate
    with client_of(starttls) as client:
        with pytest.warns(DeprecationWarning, match=MESSAGE) as caught:
            client.starttls(keyfile, certfile)
        assert caught[0].filename == __file__
    with client_of(starttls) as client, pytest.warns(DeprecationWarning, match=MESSAGE):
        client.starttls(certfile=certfile, keyfile=keyfile)
    with pytest.warns(DeprecationWarning, match=MESSAGE) as caught:
        secure = smtplib.SMTP_SSL("localhost", implicit.port, "x", keyfile, certfile, 10)
    assert caught[0].filename == __file__
    assert (secure.keyfile, secure.certfile) == (keyfile, certfile)
    secure.quit()


def test_keyfile_and_context_exclude_each_other(starttls: Server) -> None:
    context = ssl.create_default_context()
    with client_of(starttls) as client:
        for options in ({"keyfile": "x"}, {"certfile": "x"}):
            with pytest.raises(ValueError, match="mutually exclusive"):
                client.starttls(context=context, **options)
            with pytest.raises(ValueError, match="mutually exclusive"):
                smtplib.SMTP_SSL("localhost", context=context, **options)  # type: ignore[arg-type] # str
        assert client.noop()[0] == 250
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match="certfile must be specified"):
                client.starttls(keyfile="x")


def test_starttls_that_is_not_offered_or_refused() -> None:
    with (
        serving() as server,
        client_of(server) as client,
        pytest.raises(smtplib.SMTPNotSupportedError),
    ):
        client.starttls()
    answers = {"STARTTLS": b"454 not now\r\n"}
    with serving(answers, extensions=["STARTTLS"]) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            client.starttls()
        assert caught.value.args == (454, b"not now")
        assert client.noop()[0] == 250


@pytest.mark.requirement("T12")
@pytest.mark.parametrize("extra", [b"250-injected\r\n250 AUTH PLAIN\r\n", b"2", b"\n"])
def test_what_follows_the_220_in_plain_text_ends_the_session(extra: bytes) -> None:
    fault = AppendToReply("STARTTLS", extra)
    with Server(tls=ServerTLS.STARTTLS, faults=[fault]) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPException, match="plain text"):
            client.starttls(context=server.client_context())
        assert client.sock is None


def test_a_reset_behind_the_220() -> None:
    was_read = threading.Event()

    def write(connection: socket.socket, octets: bytes) -> None:
        connection.sendall(octets)
        if octets == b"220 go\r\n":
            assert was_read.wait(10)
            linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()

    class Waiting(smtplib.SMTP):
        def docmd(self, cmd: str, args: str = "") -> tuple[int, bytes]:
            reply = super().docmd(cmd, args)
            was_read.set()
            assert self.sock is not None
            assert select.select([self.sock], [], [], 10)[0]
            return reply

    with serving({"STARTTLS": b"220 go\r\n"}, extensions=["STARTTLS"], write=write) as server:
        client = Waiting("127.0.0.1", server.port, "client.example.org", timeout=10)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.starttls()
        assert client.sock is None


def test_a_handshake_that_fails() -> None:
    with serving({"STARTTLS": b"220 go\r\n"}, extensions=["STARTTLS"]) as server:
        client = client_of(server)
        with pytest.raises(ssl.SSLError):
            client.starttls()
        assert client.sock is None


@pytest.mark.requirement("T15")
def test_what_was_known_before_is_forgotten(starttls: Server) -> None:
    with client_of(starttls) as client:
        client.ehlo()
        assert client.has_extn("starttls")
        client.starttls()
        assert not client.has_extn("size")
        client.ehlo_or_helo_if_needed()
        assert client.has_extn("auth")
        assert not client.has_extn("starttls")
