"""Ways to a server, on every face: sockets the caller holds, sources, names nobody looks up."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import PLAIN, Server, ServerTLS, Stall
from tests.faces.conftest import Face
from tests.network import Resolver, dead, entry

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")
STARTTLS = TLSPolicy(TLSMode.STARTTLS)


@pytest.mark.requirement("T51")
def test_one_dead_address_holds_nobody_up(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a minute for each address, this ends in time only if both are tried at once."""
    with dead("::1") as silent, Server() as server:
        _ = Resolver(monkeypatch, [entry("::1", silent), entry("127.0.0.1", server.port)])
        patient = Timeouts.each(60)
        with face.session("smtp://mx.test", tls=TLSPolicy(TLSMode.NONE), timeouts=patient) as s:
            assert s.send(CONTENT, ENVELOPE).error is None
        assert len(server.wait_until_idle()) == 1


def test_identification_costs_no_look_up(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **options: Any) -> Any:
        raise AssertionError("nobody should ask the resolver")

    with Server() as server:
        resolver = Resolver(monkeypatch, [entry("127.0.0.1", server.port)])
        for name in ("getfqdn", "gethostbyaddr", "gethostbyname", "gethostname", "getnameinfo"):
            monkeypatch.setattr(socket, name, forbidden)
        with face.session("smtp://mx.test?tls=none"):
            pass
        assert resolver.asked == ["mx.test"] * len(resolver.asked)
        assert server.sessions[0].commands[0] == "EHLO [127.0.0.1]"


def test_the_url_says_whom_to_trust(face: Face) -> None:
    with Server(tls=ServerTLS.STARTTLS, certificate_names=["mx.test"]) as server:
        place = f"smtp://127.0.0.1:{server.port}?tls=starttls"
        with pytest.raises(smtpx.TLSPolicyError):
            face.session(place).open()
        with pytest.raises(smtpx.TLSPolicyError):
            face.session(f"{place}&ca={server.ca_file}").open()
        with face.session(f"{place}&ca={server.ca_file}&server_hostname=mx.test") as session:
            assert session.protection is not None
            assert session.protection.names == ("mx.test",)


class TestHeldSocket:
    def test_it_is_taken_and_closed_with_the_session(self, face: Face) -> None:
        with Server() as server:
            held = socket.create_connection(("127.0.0.1", server.port))
            session = face.session("smtp://localhost", socket=held)
            assert held.fileno() >= 0
            with session:
                assert session.send(CONTENT, ENVELOPE).error is None
            assert held.fileno() < 0
            assert server.sessions[0].quit

    def test_it_is_closed_when_the_session_cannot_be_opened(self, face: Face) -> None:
        with Server(faults=[Stall("EHLO")]) as server:
            held = socket.create_connection(("127.0.0.1", server.port))
            session = face.session("smtp://localhost", socket=held, timeouts=Timeouts(hello=0.05))
            with pytest.raises(smtpx.TimedOut):
                session.open()
            assert held.fileno() < 0

    def test_the_url_names_the_peer_to_tls(self, face: Face) -> None:
        with Server(tls=ServerTLS.IMPLICIT, certificate_names=["mx.test"]) as server:
            policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=server.ca_file)
            held = socket.create_connection(("127.0.0.1", server.port))
            with face.session("smtps://mx.test", tls=policy, socket=held) as session:
                assert session.protection.names == ("mx.test",)

    def test_a_unix_socket_to_another_host_is_not_this_machine(
        self, face: Face, tmp_path: Path
    ) -> None:
        if not hasattr(socket, "AF_UNIX"):
            pytest.skip("no unix sockets here")
        path = tmp_path / "s"
        with Server(path=path, users={"ann": "pw"}, mechanisms=[PLAIN]) as server:
            for url in ("smtp://mx.test", "smtp://ann:pw@mx.test?tls=none"):
                held = socket.socket(socket.AF_UNIX)
                held.connect(str(path))
                with pytest.raises(smtpx.SMTPError) as caught:
                    face.session(url, socket=held).open()
                assert not isinstance(caught.value, smtpx.ReplyError)
            assert all("AUTH" not in c for session in server.sessions for c in session.commands)
            held = socket.socket(socket.AF_UNIX)
            held.connect(str(path))
            with face.session("smtp://localhost", socket=held) as session:
                assert session.send(CONTENT, ENVELOPE).error is None

    def test_who_has_hung_up(self, face: Face) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            held = socket.create_connection(listener.getsockname())
            listener.accept()[0].close()
            with pytest.raises(smtpx.ConnectionLost):
                face.session("smtp://localhost", socket=held).open()
            assert held.fileno() < 0

    def test_is_closed_where_the_policy_cannot_be_read(self, face: Face, tmp_path: Path):
        with Server() as server:
            held = socket.create_connection(("127.0.0.1", server.port))
            tls = TLSPolicy(TLSMode.STARTTLS, ca_file=tmp_path / "none.pem")
            with pytest.raises(smtpx.LocalProtocolError, match="ca_file"):
                face.session("smtp://localhost", socket=held, tls=tls).open()
            assert held.fileno() < 0

    def test_what_cannot_be_taken(self, face: Face) -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket() as stream,
            ssl.create_default_context().wrap_socket(
                socket.socket(), server_hostname="mx.test", do_handshake_on_connect=False
            ) as protected,
        ):
            for wrong in (datagrams, protected):
                with pytest.raises(smtpx.LocalProtocolError, match="stream socket, without TLS"):
                    _ = face.session("smtp://localhost", socket=wrong)
            for option in ({"proxy": "http://127.0.0.1"}, {"source_address": ("127.0.0.1", 0)}):
                with pytest.raises(smtpx.LocalProtocolError, match="connected already"):
                    _ = face.session("smtp://localhost", socket=stream, **option)
            with pytest.raises(TypeError, match="a Client opens several"):
                _ = face.client("smtp://localhost", socket=stream)


def test_a_misspelt_option_is_not_passed_over(face: Face) -> None:
    with pytest.raises(TypeError, match="unknown option: sorce_address"):
        _ = face.session("smtp://localhost", sorce_address=("127.0.0.1", 0))


@pytest.mark.parametrize(
    ("url", "options", "why"),
    [
        ("smtp://mx.test?ca=ca.pem", {"tls": STARTTLS}, "both the URL and tls="),
        ("smtp://mx.test?server_hostname=x.test", {"tls": STARTTLS}, "both the URL and tls="),
        ("smtps://mx.test", {"tls": STARTTLS}, "the URL says implicit, and tls= says starttls"),
        ("smtp://mx.test?tls=none", {"tls": STARTTLS}, "the URL says none"),
        ("smtp://mx.test", {"mechanisms": ["PLAIN"]}, "give credentials="),
        ("lmtp+unix:///run/lmtp", {"source_address": ("127.0.0.1", 0)}, "leave it out"),
    ],
)
def test_options_that_contradict_each_other(
    face: Face, url: str, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(smtpx.LocalProtocolError, match=why):
        _ = face.session(url, **options)


@pytest.mark.parametrize(
    ("option", "given", "remedy"),
    [
        ("tls", "starttls", "give a smtpx.TLSPolicy"),
        ("tls", TLSMode.STARTTLS, "give a smtpx.TLSPolicy"),
        ("credentials", ("ann", "hunter2-of-ann"), "give a smtpx.Credentials or None, not tuple"),
        ("proxy_header", b"PROXY UNKNOWN\r\n", "give a smtpx.ProxyHeader"),
        ("timeouts", 10, "give a smtpx.Timeouts"),
    ],
)
def test_what_is_no_setting_is_refused_at_once(
    face: Face, option: str, given: Any, remedy: str
) -> None:
    with pytest.raises(TypeError, match=f"{option}: {remedy}") as caught:
        _ = face.client("smtp://mx.test", **{option: given})
    assert "hunter2" not in str(caught.value)


class TestSourceAddress:
    def test_one(self, face: Face) -> None:
        with Server() as server:
            with face.session(server.url, source_address=("127.0.0.9", 0)):
                pass
            assert server.sessions[0].commands[0] == "EHLO [127.0.0.9]"

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_one_of_each_family(self, face: Face, host: str) -> None:
        sources = [("127.0.0.9", 0), ("::1", 0)]
        with Server(host=host) as server, face.session(server.url, source_address=sources) as s:
            assert s.send(CONTENT, ENVELOPE).error is None

    @pytest.mark.parametrize(
        ("source", "why"),
        [
            (("localhost", 0), "give an IP address"),
            (("", 0), "give an IP address"),
            ([("127.0.0.1", 0), ("127.0.0.2", 0)], "two of IPv4"),
        ],
    )
    def test_what_is_none(self, face: Face, source: Any, why: str) -> None:
        with pytest.raises(smtpx.LocalProtocolError, match=why):
            _ = face.session("smtp://localhost", source_address=source)

    def test_one_that_is_not_ours(self, face: Face) -> None:
        why = r"with 127\.0\.0\.1:.*assign"
        with Server() as server, pytest.raises(smtpx.ConnectionLost, match=why):
            face.session(server.url, source_address=("192.0.2.1", 0)).open()


@pytest.mark.skipif(sys.platform != "linux", reason="where the queue is full others refuse")
class TestUnixQueue:
    def test_room_is_waited_for(self, face: Face, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
            listener.bind(str(path))
            listener.listen(0)
            first.connect(str(path))
            turned_away = face.session(f"lmtp+unix://{path}", timeouts=Timeouts(connect=0.05))
            with pytest.raises(smtpx.TimedOut) as caught:
                turned_away.open()
            assert caught.value.phase == "connect"

            def make_room() -> None:
                # The session is turned away many times until then.
                with listener.accept()[0], listener.accept()[0] as second:
                    second.sendall(b"554 5.3.2 no service here\r\n")
                    _ = second.recv(100)

            timer = threading.Timer(0.1, make_room)
            timer.start()
            with pytest.raises(smtpx.GreetingRefused):
                face.session(f"lmtp+unix://{path}").open()
            timer.join()

    def test_nobody_listens(self, face: Face, tmp_path: Path) -> None:
        with pytest.raises(smtpx.ConnectionLost, match="No such file"):
            face.session(f"lmtp+unix://{tmp_path}/nothing").open()
