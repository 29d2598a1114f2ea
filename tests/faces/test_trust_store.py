"""The authorities that are trusted where nobody says which: this Python's, or the system's."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import smtpx
from smtpx import Pin, PinKind, Timeouts, TLSFailure, TLSMode, TLSPolicy, TLSVersion
from smtpx._drivers import contexts
from smtpx.testing import Server, ServerTLS
from tests.certificates import ca_file_of, certificate_file_of, der_of, serving
from tests.faces.conftest import Face

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = smtpx.Envelope("ann@example.org", "bob@example.net")
PATIENT = Timeouts.each(10)
PROTECTED = [ServerTLS.STARTTLS, ServerTLS.IMPLICIT]
AUTHORITY = trustme.CA(organization_name="Acme authorities")

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    """The context of all who say nothing is made once: here for each test."""
    contexts._system_context.cache_clear()
    yield
    contexts._system_context.cache_clear()


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A Python that finds no authority, as python.org's does on macOS."""
    monkeypatch.setitem(sys.modules, "truststore", None)
    missing = str(tmp_path / "missing")
    monkeypatch.setenv("SSL_CERT_FILE", missing)
    monkeypatch.setenv("SSL_CERT_DIR", missing)
    return missing


@pytest.fixture
def truststore(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The package, on a system that trusts our authority, and no other."""
    package = pytest.importorskip("truststore")
    if sys.platform in ("win32", "darwin"):
        pytest.skip("the system's authorities are not ours to choose")
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file_of(AUTHORITY, tmp_path)))
    return package


def url_of(server: Server) -> str:
    return f"smtp://localhost:{server.port}?tls={server.tls.value}"


def failure(face: Face, server: Server, **options: Any) -> smtpx.TLSPolicyError:
    with pytest.raises(smtpx.TLSPolicyError) as caught:
        face.session(url_of(server), timeouts=PATIENT, **options).open()
    return caught.value


@pytest.mark.skipif(sys.platform == "win32", reason="its authorities are in no file")
@pytest.mark.parametrize("tls", PROTECTED)
class TestNoAuthorities:
    def test_are_told_of(self, face: Face, nothing: str, tls: ServerTLS) -> None:
        with Server(tls=tls, server_context=serving(AUTHORITY.issue_cert("localhost"))) as server:
            error = failure(face, server)
        assert error.reason is TLSFailure.NO_AUTHORITIES
        assert f"{nothing} (SSL_CERT_FILE)" in str(error)
        assert "smtpx[truststore]" in str(error)

    def test_that_a_variable_promises_are_told_of_beside_others(
        self,
        face: Face,
        nothing: str,
        tls: ServerTLS,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        monkeypatch.setenv("SSL_CERT_DIR", str(ca_file_of(AUTHORITY, tmp_path).parent))
        with Server(
            tls=tls, server_context=serving(trustme.CA().issue_cert("localhost"))
        ) as server:
            error = failure(face, server)
        assert error.reason is TLSFailure.UNKNOWN_AUTHORITY
        assert f"none were found in {nothing} (SSL_CERT_FILE)" in str(error)

    def test_are_no_matter_where_a_file_is_given(
        self, face: Face, nothing: str, tls: ServerTLS, tmp_path: Path
    ) -> None:
        context = serving(trustme.CA().issue_cert("localhost"))
        policy = TLSPolicy(TLSMode(tls.value), ca_file=ca_file_of(AUTHORITY, tmp_path))
        with Server(tls=tls, server_context=context) as server:
            with pytest.raises(smtpx.TLSPolicyError) as caught:
                face.session(f"smtp://localhost:{server.port}", tls=policy).open()
            assert caught.value.reason is TLSFailure.UNKNOWN_AUTHORITY


@pytest.mark.parametrize("tls", PROTECTED)
class TestTruststore:
    def test_says_who_is_trusted(self, face: Face, truststore: Any, tls: ServerTLS) -> None:
        certificate = AUTHORITY.issue_cert("localhost")
        with (
            Server(tls=tls, server_context=serving(certificate)) as server,
            face.session(url_of(server), timeouts=PATIENT) as session,
        ):
            assert type(contexts._system_context()) is truststore.SSLContext
            protection = session.protection
            assert session.send(CONTENT, ENVELOPE).error is None
        assert protection.is_verified
        assert protection.names == ("localhost",)
        assert protection.certificate == der_of(certificate)

    def test_and_who_is_not(self, face: Face, truststore: Any, tls: ServerTLS) -> None:
        for names, authority, reason in (
            (["localhost"], trustme.CA(), TLSFailure.UNKNOWN_AUTHORITY),
            (["mail.example.net"], AUTHORITY, TLSFailure.CERTIFICATE_OF_ANOTHER_HOST),
        ):
            context = serving(authority.issue_cert(*names))
            with Server(tls=tls, server_context=context) as server:
                assert failure(face, server).reason is reason

    def test_beside_pins(self, face: Face, truststore: Any, tls: ServerTLS) -> None:
        certificate = AUTHORITY.issue_cert("localhost")
        with Server(tls=tls, server_context=serving(certificate)) as server:
            pinned = TLSPolicy(TLSMode(tls.value), pins=Pin.of(PinKind.KEY, der_of(certificate)))
            with face.session(f"smtp://localhost:{server.port}", tls=pinned) as session:
                assert session.protection.is_verified
            other = TLSPolicy(TLSMode(tls.value), pins=Pin(PinKind.KEY, bytes(32)))
            with pytest.raises(smtpx.TLSPolicyError) as caught:
                face.session(f"smtp://localhost:{server.port}", tls=other).open()
            assert caught.value.reason is TLSFailure.PIN_MISMATCH

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_sees_the_certificates_of_each_connection(
        self,
        face: Face,
        truststore: Any,
        tls: ServerTLS,
        version: ssl.TLSVersion,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As on Windows and macOS, where the system looks at them: one resumed shows none."""

        def verify(_: ssl.SSLContext, chain: list[bytes], server_hostname: str | None) -> None:
            if not chain:
                raise ssl.SSLCertVerificationError("Peer sent no certificates to verify")

        monkeypatch.setattr(sys.modules["truststore._api"], "_verify_peercerts_impl", verify)
        context = serving(AUTHORITY.issue_cert("localhost"))
        context.maximum_version = version
        protections: list[smtpx.Protection] = []

        def observe(event: smtpx.Event) -> None:
            if isinstance(event, smtpx.Protected):
                protections.append(event.protection)

        pool = smtpx.PoolLimits(messages=1)
        with (
            Server(tls=tls, server_context=context) as server,
            face.client(url_of(server), pool=pool, observer=observe) as client,
        ):
            for _ in range(2):
                assert client.send(CONTENT, ENVELOPE).error is None
        assert [one.is_resumed for one in protections] == [False, False]
        assert all(one.is_verified for one in protections)

    def test_a_certificate_and_a_version_of_ours_are_heeded(
        self, face: Face, truststore: Any, tls: ServerTLS, tmp_path: Path
    ) -> None:
        context = serving(AUTHORITY.issue_cert("localhost"))
        AUTHORITY.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        ours = certificate_file_of(AUTHORITY.issue_cert("ann@example.org"), tmp_path)
        policy = TLSPolicy(
            TLSMode(tls.value),
            minimum_version=TLSVersion.TLS_1_3,
            client_certificate=smtpx.ClientCertificate(ours),
        )
        with (
            Server(tls=tls, server_context=context) as server,
            face.session(f"smtp://localhost:{server.port}", tls=policy) as session,
        ):
            assert session.send(CONTENT, ENVELOPE).error is None
            assert session.protection.version == "TLSv1.3"


def test_truststore_is_left_alone_where_a_file_says_whom_to_trust(tmp_path: Path) -> None:
    policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file_of(AUTHORITY, tmp_path))
    assert type(contexts.context_for(policy)) is ssl.SSLContext
