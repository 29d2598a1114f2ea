"""TLS as every face does it, with real servers: whom it trusts, and what it says of whom it does
not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import smtpx
from smtpx import (
    ClientCertificate,
    Credentials,
    Endpoint,
    Envelope,
    Pin,
    PinKind,
    PoolLimits,
    Timeouts,
    TLSFailure,
    TLSMode,
    TLSPolicy,
    TLSVersion,
)
from smtpx._core.learnt import Learnt
from smtpx.testing import AppendToReply, Fault, ReplaceReply, Server, ServerTLS, Stall
from tests.certificates import (
    DAY,
    NOW,
    ca_file_of,
    certificate_file_of,
    certificate_in,
    der_of,
    encrypted_key_of,
    self_signed,
    serving,
)
from tests.faces.conftest import Face
from tests.tls_endings import Endings

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
PATIENT = Timeouts.each(10)
PROTECTED = [ServerTLS.STARTTLS, ServerTLS.IMPLICIT]

pytestmark = pytest.mark.timeout(30)

AUTHORITY = trustme.CA(organization_name="Acme authorities")


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    return ca_file_of(AUTHORITY, tmp_path)


def opened(face: Face, server: Server, **policy: Any) -> Any:
    """A session that is not open yet."""
    tls = TLSPolicy(TLSMode(server.tls.value), **policy)
    return face.session(f"smtp://localhost:{server.port}", tls=tls, timeouts=PATIENT)


def failure(face: Face, server: Server, **policy: Any) -> smtpx.TLSPolicyError:
    """What it says of this server; the server must not hear a word inside TLS."""
    with pytest.raises(smtpx.TLSPolicyError) as caught, opened(face, server, **policy):
        pass
    (session,) = server.wait_until_idle()
    before_tls = ["EHLO [127.0.0.1]", "STARTTLS"] if server.tls is ServerTLS.STARTTLS else []
    assert session.commands == before_tls
    return caught.value


def old(version: ssl.TLSVersion, context: ssl.SSLContext) -> ssl.SSLContext:
    """The same, but it speaks this version only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # That is the point.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


def demanding(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same, but it asks for a certificate of this authority."""
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def other_ciphers(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same, but it can only sign with a key that it has not."""
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def issued(*names: str, **options: Any) -> ssl.SSLContext:
    return serving(AUTHORITY.issue_cert(*(names or ("localhost",)), **options))


MISCONFIGURED: dict[str, tuple[Callable[[Path], ssl.SSLContext], TLSFailure, list[str]]] = {
    "expired": (
        lambda _: issued(not_after=NOW - DAY),
        TLSFailure.CERTIFICATE_EXPIRED,
        [f"expired on {NOW - DAY:%Y-%m-%d at %H:%M} UTC", "renew"],
    ),
    "not yet valid": (
        lambda _: issued(not_before=NOW + DAY),
        TLSFailure.CERTIFICATE_NOT_YET_VALID,
        [f"on {NOW + DAY:%Y-%m-%d at %H:%M} UTC", "clock"],
    ),
    "of another host": (
        lambda _: issued("mail.example.net", "192.0.2.1"),
        TLSFailure.CERTIFICATE_OF_ANOTHER_HOST,
        ["mail.example.net, 192.0.2.1", "'localhost'", "server_hostname"],
    ),
    "of many other hosts": (
        lambda _: issued(*(f"{n}.example.net" for n in range(7))),
        TLSFailure.CERTIFICATE_OF_ANOTHER_HOST,
        ["4.example.net and 2 more"],
    ),
    "self-signed": (
        lambda folder: self_signed("localhost", folder),
        TLSFailure.CERTIFICATE_SELF_SIGNED,
        ["nobody but itself", "pins_suffice"],
    ),
    "unknown authority": (
        lambda _: serving(trustme.CA(organization_name="Strangers").issue_cert("localhost")),
        TLSFailure.UNKNOWN_AUTHORITY,
        ["Strangers", "ca_file"],
    ),
    "too old": (
        lambda _: old(ssl.TLSVersion.TLSv1_1, issued()),
        TLSFailure.NO_COMMON_VERSION,
        ["no version of TLS", "minimum_version"],
    ),
    "other ciphers": (
        lambda _: other_ciphers(issued()),
        TLSFailure.NO_COMMON_CIPHER,
        ["cipher suite"],
    ),
}


@pytest.mark.requirement("T14")
@pytest.mark.parametrize("tls", PROTECTED)
@pytest.mark.parametrize("wrong", MISCONFIGURED)
def test_what_is_wrong_is_said(face: Face, tls, wrong, tmp_path, ca_file):
    make, reason, words = MISCONFIGURED[wrong]
    with Server(tls=tls, server_context=make(tmp_path)) as server:
        error = failure(face, server, ca_file=ca_file)
    assert error.reason is reason
    assert [word for word in words if word not in str(error)] == []


@pytest.mark.requirement("RFC 8446 §6.2")
def test_the_server_is_told_why(face: Face):
    said: list[BaseException] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                _ = issued("127.0.0.1").wrap_socket(connection, server_side=True).recv(1)
            except OSError as error:
                said.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(smtpx.TLSPolicyError):
            face.session(f"smtps://127.0.0.1:{listener.getsockname()[1]}", timeouts=PATIENT).open()
        thread.join()
    assert "alert unknown ca" in str(said[0])


def test_a_minimum_version(face: Face, ca_file):
    with (
        Server(
            tls=ServerTLS.IMPLICIT, server_context=old(ssl.TLSVersion.TLSv1_2, issued())
        ) as server,
        opened(face, server, ca_file=ca_file) as session,
    ):
        assert session.protection.version == TLSVersion.TLS_1_2.value
    with Server(
        tls=ServerTLS.IMPLICIT, server_context=old(ssl.TLSVersion.TLSv1_2, issued())
    ) as server:
        error = failure(face, server, ca_file=ca_file, minimum_version=TLSVersion.TLS_1_3)
        assert error.reason is TLSFailure.NO_COMMON_VERSION


class TestTheWrongPort:
    """465 is TLS from the start, 587 begins in plain text; people take one for the other."""

    def test_plain_text_where_tls_should_be(self, face: Face):
        with (
            Server() as server,
            pytest.raises(smtpx.TLSPolicyError, match="submission://") as caught,
        ):
            face.session(f"smtps://localhost:{server.port}", timeouts=PATIENT).open()
        assert caught.value.reason is TLSFailure.NOT_TLS

    def test_plain_text_after_starttls(self, face: Face, ca_file):
        faults: list[Fault] = [ReplaceReply("TLS-HANDSHAKE", b"220 hello again\r\n")]
        with Server(tls=ServerTLS.STARTTLS, faults=faults) as server:
            error = failure(face, server, ca_file=ca_file)
        assert error.reason is TLSFailure.NOT_TLS
        assert "took STARTTLS" in str(error)

    @pytest.mark.parametrize("description", [b"\x0a", b"\x50"])
    def test_a_tls_alert_where_a_greeting_should_be(self, face: Face, description):
        alert = b"\x15\x03\x03\x00\x02\x02" + description
        with (
            Server(faults=[ReplaceReply("GREETING", alert)]) as server,
            pytest.raises(smtpx.TLSPolicyError, match="smtps://") as caught,
        ):
            face.session(server.url, timeouts=PATIENT).open()
        assert caught.value.reason is TLSFailure.TLS_EXPECTED

    def test_a_greeting_that_never_comes(self, face: Face):
        timeouts = Timeouts(greeting=0.1)
        with (
            Server(tls=ServerTLS.IMPLICIT) as server,
            pytest.raises(smtpx.TimedOut, match="smtps://"),
        ):
            face.session(f"smtp://127.0.0.1:{server.port}", timeouts=timeouts).open()

    def test_no_such_advice_under_tls(self, face: Face):
        with Server(tls=ServerTLS.IMPLICIT, faults=[Stall("GREETING")]) as server:
            tls = TLSPolicy(TLSMode.IMPLICIT, ca_file=server.ca_file)
            with pytest.raises(smtpx.TimedOut) as caught:
                face.session(server.url, tls=tls, timeouts=Timeouts(greeting=0.1)).open()
        assert "smtps://" not in str(caught.value)


class TestPins:
    @pytest.mark.parametrize("tls", PROTECTED)
    @pytest.mark.parametrize("kind", PinKind)
    def test_of_certificate_or_key(self, face: Face, tls, kind, ca_file):
        certificate = AUTHORITY.issue_cert("localhost")
        pin = Pin.of(kind, der_of(certificate))
        with (
            Server(tls=tls, server_context=serving(certificate)) as server,
            opened(face, server, ca_file=ca_file, pins=[str(pin)]) as session,
        ):
            assert session.send(CONTENT, ENVELOPE).error is None

    @pytest.mark.requirement("T14")
    @pytest.mark.parametrize("tls", PROTECTED)
    @pytest.mark.parametrize("suffice", [False, True])
    @pytest.mark.parametrize("kind", PinKind)
    def test_the_key_is_another_one_now(self, face: Face, tls, suffice, kind, ca_file):
        before, now = (AUTHORITY.issue_cert("localhost") for _ in range(2))
        policy: dict[str, Any] = {"pins": Pin.of(kind, der_of(before)), "pins_suffice": suffice}
        if not suffice:
            policy["ca_file"] = ca_file
        with Server(tls=tls, users={"ann": "s3cret"}, server_context=serving(now)) as server:
            error = failure(face, server, **policy)
        assert error.reason is TLSFailure.PIN_MISMATCH
        # What it has is shown, to be compared.
        assert str(Pin.of(kind, der_of(now))) in str(error)

    def test_one_of_several_is_enough(self, face: Face, ca_file):
        certificates = [AUTHORITY.issue_cert("localhost") for _ in range(3)]
        pins = [Pin.of(PinKind.KEY, der_of(one)) for one in certificates[:2]]
        pins.append(Pin.of(PinKind.CERTIFICATE, der_of(certificates[2])))
        for certificate in certificates:
            with (
                Server(tls=ServerTLS.IMPLICIT, server_context=serving(certificate)) as server,
                opened(face, server, ca_file=ca_file, pins=pins) as session,
            ):
                assert session.protection.certificate == der_of(certificate)

    def test_beside_authorities_not_instead_of_them(self, face: Face, tmp_path):
        stranger = trustme.CA().issue_cert("localhost")
        with Server(tls=ServerTLS.IMPLICIT, server_context=serving(stranger)) as server:
            pin = Pin.of(PinKind.CERTIFICATE, der_of(stranger))
            error = failure(face, server, pins=pin)
        assert error.reason is TLSFailure.UNKNOWN_AUTHORITY

    def test_instead_of_authorities_where_it_says_so(self, face: Face, tmp_path):
        context = self_signed("somewhere.example", tmp_path)
        with Server(tls=ServerTLS.STARTTLS, server_context=context) as server:
            der = certificate_in(tmp_path / "self-signed.pem")
            pins = [Pin.of(PinKind.CERTIFICATE, der)]
            with opened(face, server, pins=pins, pins_suffice=True) as session:
                protection = session.protection
                assert session.send(CONTENT, ENVELOPE).error is None
        assert not protection.is_verified
        assert protection.certificate == der
        assert protection.names == ("somewhere.example",)
        assert protection.expires == NOW + DAY

    def test_beside_a_context_of_the_callers_own(self, face: Face):
        certificate = trustme.CA().issue_cert("localhost")
        for pinned, reason in ((certificate, None), (AUTHORITY.issue_cert("x"), "pinned")):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            pin = Pin.of(PinKind.CERTIFICATE, der_of(pinned))
            with Server(tls=ServerTLS.IMPLICIT, server_context=serving(certificate)) as server:
                if reason is None:
                    with opened(face, server, context=context, pins=pin):
                        pass
                else:
                    error = failure(face, server, context=context, pins=pin)
                    assert error.reason is TLSFailure.PIN_MISMATCH


def test_what_was_agreed_on_can_be_read(face: Face, ca_file):
    certificate = AUTHORITY.issue_cert("localhost", "192.0.2.1", not_after=NOW + DAY)
    with (
        Server(tls=ServerTLS.STARTTLS, server_context=serving(certificate)) as server,
        opened(face, server, ca_file=ca_file) as session,
    ):
        protection = session.protection
    assert protection.version == TLSVersion.TLS_1_3.value
    assert protection.cipher.startswith("TLS_")
    assert protection.certificate == der_of(certificate)
    assert protection.names == ("localhost", "192.0.2.1")
    assert protection.expires == NOW + DAY
    assert (protection.is_verified, protection.is_resumed) == (True, False)


@pytest.mark.parametrize("verifies", [True, False])
def test_the_whole_chain_that_was_sent_can_be_read(face: Face, ca_file, verifies: bool):
    certificate = AUTHORITY.create_child_ca().issue_cert("localhost")
    sent = [ssl.PEM_cert_to_DER_cert(pem.bytes().decode()) for pem in certificate.cert_chain_pems]
    policy: dict[str, Any] = {"ca_file": ca_file}
    if not verifies:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        policy = {"context": context}
    with (
        Server(tls=ServerTLS.STARTTLS, server_context=serving(certificate)) as server,
        opened(face, server, **policy) as session,
    ):
        assert session.protection.chain == tuple(sent)
    assert len(sent) == 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
class TestClientCertificate:
    def server(self, version: ssl.TLSVersion, **options: Any) -> Server:
        context = demanding(issued())
        context.maximum_version = version
        return Server(server_context=context, **options)

    @pytest.mark.parametrize("tls", PROTECTED)
    def test_it_is_shown(self, face: Face, version, tls, tmp_path, ca_file):
        ours = certificate_file_of(AUTHORITY.issue_cert("ann@example.org"), tmp_path)
        with self.server(version, tls=tls) as server:
            certificate = ClientCertificate(ours)
            with opened(face, server, ca_file=ca_file, client_certificate=certificate) as session:
                assert session.send(CONTENT, ENVELOPE).error is None

    @pytest.mark.parametrize("tls", PROTECTED)
    @pytest.mark.parametrize("ours", ["none", "a stranger's", "expired"])
    def test_it_is_not_taken(self, face: Face, version, tls, ours, tmp_path, ca_file):
        policy: dict[str, Any] = {"ca_file": ca_file}
        if ours == "a stranger's":
            shown = trustme.CA().issue_cert("ann@example.org")
        else:
            shown = AUTHORITY.issue_cert("ann@example.org", not_after=NOW - DAY)
        if ours != "none":
            policy["client_certificate"] = ClientCertificate(certificate_file_of(shown, tmp_path))
        with self.server(version, tls=tls) as server:
            error = failure(face, server, **policy)
        assert "client_certificate" in str(error)
        # TLS 1.2 has one word for a certificate that is missing and for all that is not shared.
        vague = ours == "none" and version is ssl.TLSVersion.TLSv1_2
        expected = TLSFailure.NO_COMMON_CIPHER if vague else TLSFailure.CLIENT_CERTIFICATE
        assert error.reason is expected


class TestFiles:
    """What cannot be read is said before anything is dialled."""

    NOBODY = "smtp://localhost:1"

    def refused(self, face: Face, **policy: Any) -> str:
        tls = TLSPolicy(TLSMode.STARTTLS, **policy)
        texts: list[str] = []
        for make in (face.client, lambda url, **options: face.session(url, **options).open()):
            with pytest.raises(smtpx.LocalProtocolError) as caught:
                _ = make(self.NOBODY, tls=tls)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
        return texts[0]

    def test_authorities(self, face: Face, tmp_path):
        assert "nowhere.pem" in self.refused(face, ca_file=tmp_path / "nowhere.pem")
        empty = tmp_path / "empty.pem"
        empty.touch()
        assert "PEM" in self.refused(face, ca_file=empty)

    def test_certificate(self, face: Face, tmp_path):
        missing = ClientCertificate(tmp_path / "nowhere.pem")
        assert "nowhere.pem" in self.refused(face, client_certificate=missing)
        one, other = (AUTHORITY.issue_cert(name) for name in ("ann", "bob"))
        file = certificate_file_of(one, tmp_path)
        key = tmp_path / "other.pem"
        other.private_key_pem.write_to_path(str(key))
        text = self.refused(face, client_certificate=ClientCertificate(file, key))
        assert "does not belong" in text

    def test_password(self, face: Face, tmp_path, ca_file):
        ours = AUTHORITY.issue_cert("ann@example.org")
        file = certificate_file_of(ours, tmp_path)
        key = encrypted_key_of(ours, "s3cret", tmp_path)
        text = self.refused(face, client_certificate=ClientCertificate(file, key))
        assert "password" in text
        for wrong in ("wr0ng", lambda: "wr0ng"):
            text = self.refused(face, client_certificate=ClientCertificate(file, key, wrong))
            assert "password" in text
            assert "wr0ng" not in text
        with Server(tls=ServerTLS.IMPLICIT, server_context=demanding(issued())) as server:
            for right in ("s3cret", lambda: "s3cret"):
                certificate = ClientCertificate(file, key, right)
                with opened(face, server, ca_file=ca_file, client_certificate=certificate):
                    pass


ONE_MESSAGE_EACH = PoolLimits(messages=1)


def reconnecting(face: Face, server: Server, **options: Any) -> Any:
    """A client that opens a connection for each message."""
    url = f"smtp://localhost:{server.port}"
    return face.client(url, pool=ONE_MESSAGE_EACH, timeouts=PATIENT, **options)


def resumptions(server: Server) -> list[bool]:
    return [session.tls_resumed for session in server.wait_until_idle()]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
class TestResumption:
    def server(self, version: ssl.TLSVersion, **options: Any) -> Server:
        context = issued()
        context.maximum_version = version
        return Server(server_context=context, **options)

    @pytest.mark.parametrize("tls", PROTECTED)
    def test_a_client_resumes_its_own(self, face: Face, version, tls, ca_file):
        policy = TLSPolicy(TLSMode(tls.value), ca_file=ca_file)
        with self.server(version, tls=tls) as server:
            with reconnecting(face, server, tls=policy) as client:
                for _ in range(4):
                    assert client.send(CONTENT, ENVELOPE).error is None
            assert resumptions(server) == [False, True, True, True]
            assert server.breaches == []

    def test_what_was_agreed_on_is_known_all_the_same(self, face: Face, version, ca_file):
        for verified in (True, False):
            policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file)
            if not verified:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                policy = TLSPolicy(TLSMode.IMPLICIT, context=context)
            with self.server(version, tls=ServerTLS.IMPLICIT) as server:
                url = f"smtps://localhost:{server.port}"
                handshakes = smtpx.Session(url, tls=policy)._settings.handshakes()
                seen: list[smtpx.Protection] = []
                for _ in range(3):
                    session = face.session(url, tls=policy)
                    _ = getattr(session, "target", session)._resuming(handshakes, Learnt())
                    with session:
                        seen.append(session.protection)
            assert [one.is_resumed for one in seen] == [False, True, True]
            assert {one.is_verified for one in seen} == {verified}
            assert {one.names for one in seen} == {("localhost",)}
            assert len({(one.certificate, one.expires) for one in seen}) == 1

    @pytest.mark.requirement("T17")
    def test_never_what_another_has_left(self, face: Face, version, ca_file):
        trusting = TLSPolicy(TLSMode.STARTTLS, ca_file=ca_file)
        others: list[dict[str, Any]] = [
            {"tls": trusting},
            {"tls": trusting, "credentials": Credentials("bob", "s3cret")},
            {"tls": TLSPolicy(TLSMode.STARTTLS, ca_file=ca_file, server_hostname="localhost")},
        ]
        users = {"ann": "s3cret", "bob": "s3cret"}
        with self.server(version, tls=ServerTLS.STARTTLS, users=users) as server:
            ann = {"tls": trusting, "credentials": Credentials("ann", "s3cret")}
            for options in (ann, *others):
                with reconnecting(face, server, **options) as client:
                    for _ in range(2):
                        assert client.send(CONTENT, ENVELOPE).error is None
            assert resumptions(server) == [False, True] * 4

    @pytest.mark.requirement("T17")
    def test_another_name_is_looked_at_though_the_context_is_the_same(
        self, face: Face, version, ca_file
    ):
        # OpenSSL would resume what was agreed on under the right name, and not look again.
        context = ssl.create_default_context(cafile=ca_file)
        with self.server(version, tls=ServerTLS.IMPLICIT) as server:
            right = TLSPolicy(TLSMode.IMPLICIT, context=context)
            with reconnecting(face, server, tls=right) as client:
                for _ in range(2):
                    _ = client.send(CONTENT, ENVELOPE)
            wrong = TLSPolicy(TLSMode.IMPLICIT, context=context, server_hostname="evil.example")
            with (
                reconnecting(face, server, tls=wrong) as client,
                pytest.raises(smtpx.TLSPolicyError) as caught,
            ):
                _ = client.send(CONTENT, ENVELOPE)
            assert caught.value.reason is TLSFailure.CERTIFICATE_OF_ANOTHER_HOST
            assert len(server.messages) == 2

    @pytest.mark.requirement("T17")
    def test_nothing_is_resumed_when_the_callers_context_asks_for_more(
        self, face: Face, version, ca_file
    ):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        policy = TLSPolicy(TLSMode.IMPLICIT, context=context)
        with self.server(version, tls=ServerTLS.IMPLICIT) as server:
            with reconnecting(face, server, tls=policy) as client:
                _ = client.send(CONTENT, ENVELOPE)
                context.verify_mode = ssl.CERT_REQUIRED
                with pytest.raises(smtpx.TLSPolicyError) as caught:
                    _ = client.send(CONTENT, ENVELOPE)
            assert caught.value.reason is TLSFailure.UNKNOWN_AUTHORITY

    @pytest.mark.parametrize("kind", PinKind)
    def test_pins_hold_in_resumed_sessions(self, face: Face, version, kind, ca_file):
        certificate = AUTHORITY.issue_cert("localhost")
        context = serving(certificate)
        context.maximum_version = version
        pin = Pin.of(kind, der_of(certificate))
        policy = TLSPolicy(TLSMode.STARTTLS, ca_file=ca_file, pins=pin)
        with Server(tls=ServerTLS.STARTTLS, server_context=context) as server:
            with reconnecting(face, server, tls=policy) as client:
                for _ in range(3):
                    assert client.send(CONTENT, ENVELOPE).error is None
            assert resumptions(server) == [False, True, True]


def test_the_pinned_key_changes_under_a_client(face: Face, ca_file):
    before = AUTHORITY.issue_cert("localhost")
    context = serving(before)
    context.num_tickets = 0  # It resumes nothing: each handshake shows what it has by then.
    pin = Pin.of(PinKind.KEY, der_of(before))
    policy = TLSPolicy(TLSMode.STARTTLS, ca_file=ca_file, pins=pin)
    with Server(tls=ServerTLS.STARTTLS, server_context=context) as server:
        with reconnecting(face, server, tls=policy) as client:
            _ = client.send(CONTENT, ENVELOPE)
            AUTHORITY.issue_cert("localhost").configure_cert(context)
            with pytest.raises(smtpx.TLSPolicyError) as caught:
                _ = client.send(CONTENT, ENVELOPE)
        assert caught.value.reason is TLSFailure.PIN_MISMATCH
        assert len(server.messages) == 1


@pytest.mark.skipif(not hasattr(__import__("socket"), "AF_UNIX"), reason="no unix sockets")
def test_tls_over_a_unix_socket(face: Face, tmp_path, ca_file):
    path = tmp_path / "s"
    with Server(tls=ServerTLS.STARTTLS, path=path, server_context=issued()) as server:
        endpoint = Endpoint("", 0, TLSMode.STARTTLS, path=str(server.path))
        policy = TLSPolicy(TLSMode.STARTTLS, ca_file=ca_file)
        with face.session(endpoint, tls=policy) as session:
            assert session.protection.is_verified


@pytest.mark.requirement("T12")
@pytest.mark.parametrize("injected", [b"250 evil\r\n", b"2"])
def test_what_is_injected_behind_starttls_ends_a_resuming_session_too(
    face: Face, injected, ca_file
):
    faults = [AppendToReply("STARTTLS", injected)]
    with Server(tls=ServerTLS.STARTTLS, server_context=issued()) as server:
        policy = TLSPolicy(TLSMode.STARTTLS, ca_file=ca_file)
        with reconnecting(face, server, tls=policy) as client:
            _ = client.send(CONTENT, ENVELOPE)
            server.add_fault(*faults)
            with pytest.raises((smtpx.RemoteProtocolError, smtpx.TLSPolicyError)):
                _ = client.send(CONTENT, ENVELOPE)
        assert len(server.messages) == 1
        assert server.sessions[1].commands == ["EHLO [127.0.0.1]", "STARTTLS"]


@pytest.mark.requirement("RFC 8446 §6.1")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("ending", ["QUIT is answered", "QUIT is not answered", "broken off"])
def test_the_end_of_a_session_is_said_in_tls_too(
    face: Face, version: ssl.TLSVersion, ending: str, tmp_path: Path, ca_file: Path
) -> None:
    context = issued("127.0.0.1")
    context.maximum_version = version
    policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file)
    timeouts = dataclasses.replace(PATIENT, quit=0.1)
    said: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(
            connection, server_side=True, suppress_ragged_eofs=False
        ) as protected:
            for words in (b"220 mail.test\r\n", b"250 mail.test\r\n"):
                protected.sendall(words)
                try:
                    said.append(protected.recv(1000))
                except OSError:
                    return
            if ending == "QUIT is answered":
                protected.sendall(b"221 bye\r\n")
            try:
                while protected.recv(1000):
                    pass
                said.append(b"close_notify")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        session = face.session(f"smtps://127.0.0.1:{port}", tls=policy, timeouts=timeouts)
        session.open()
        if ending == "broken off":
            session.abort()
        session.close()
        thread.join()
    assert said[0] == b"EHLO [127.0.0.1]\r\n"
    assert said[2:] == ([b"close_notify"] if ending != "broken off" else [])


@pytest.mark.requirement("RFC 8446 §6.1")
def test_the_end_of_each_of_several_sessions_is_said_in_tls_too(face: Face, ca_file: Path) -> None:
    with Endings(issued("127.0.0.1")) as server:
        policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file)
        url = f"smtps://127.0.0.1:{server.port}"
        with face.client(url, tls=policy, timeouts=PATIENT) as client:
            mails = [(CONTENT, ENVELOPE)] * 30
            assert all(result.complete for result in client.send_many(mails, connections=3))
    assert len(server.said) > 1
    assert set(server.said) == {"close_notify"}


@pytest.mark.parametrize("behind", ["close_notify", "what is no record", "half a record"])
def test_what_comes_behind_the_content_of_one_read(face: Face, behind: str, ca_file: Path) -> None:
    """The content is told first, and then at once what came behind it, if it is whole."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        protected = issued("127.0.0.1").wrap_bio(incoming, outgoing, server_side=True)
        with connection:
            while True:
                try:
                    protected.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    _ = incoming.write(connection.recv(16384))
            _ = protected.write(b"220 mail.test\r\n")
            octets = outgoing.read()
            if behind == "close_notify":
                with contextlib.suppress(ssl.SSLWantReadError):
                    protected.unwrap()
                octets += outgoing.read()
            elif behind == "what is no record":
                octets += b"\x17\x03\x03\x00\x20" + bytes(32)
            else:
                _ = protected.write(b"250 mail.test\r\n")
                rest = outgoing.read()
                octets += rest[:9]
            connection.sendall(octets)
            if behind == "half a record":
                _ = connection.recv(16384)
                connection.sendall(rest[9:])
            _ = over.wait(30)

    policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"smtps://127.0.0.1:{listener.getsockname()[1]}"
        session = face.session(url, tls=policy, timeouts=PATIENT)
        if behind == "half a record":
            session.open()
        else:
            with pytest.raises((smtpx.ConnectionLost, smtpx.TLSPolicyError)):
                session.open()
        assert session.greeting.code == 220
        session.abort()
        over.set()
        thread.join()
