"""Through SOCKS5, SOCKS4a and HTTP CONNECT, on every face."""

from __future__ import annotations

import base64
import socket
import traceback
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, Session, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import PLAIN as PLAIN_MECHANISM
from smtpx.testing import Server, ServerTLS
from tests.faces.conftest import Face
from tests.faces.proxy_servers import SERVERS, ProxyServer
from tests.network import refusing
from tests.tracebacks import told_by

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")
PLAIN = TLSPolicy(TLSMode.NONE)
USERS = {"ann": "s3cret"}

every_scheme = pytest.mark.parametrize("scheme", SERVERS)


@every_scheme
@pytest.mark.parametrize("early", [False, True], ids=["", "greeting in the same segment"])
def test_the_proxy_looks_up_the_name(face: Face, scheme: str, early: bool) -> None:
    with (
        Server() as server,
        ProxyServer(SERVERS[scheme], names={"mx.test": server.port}, early=early) as proxy,
        face.session("smtp://mx.test", tls=PLAIN, proxy=f"{scheme}://127.0.0.1:{proxy.port}") as s,
    ):
        assert s.send(CONTENT, ENVELOPE).error is None
        assert proxy.asked == [("mx.test", 25)]
        assert server.breaches == []
        assert len(server.messages) == 1


@every_scheme
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_an_address_is_passed_on(face: Face, scheme: str, host: str) -> None:
    with (
        Server() as server,
        ProxyServer(SERVERS[scheme]) as proxy,
        face.session(
            f"smtp://{host}:{server.port}", tls=PLAIN, proxy=f"{scheme}://127.0.0.1:{proxy.port}"
        ) as session,
    ):
        assert session.send(CONTENT, ENVELOPE).error is None
        assert proxy.asked == [(host.strip("[]"), server.port)]


@every_scheme
@pytest.mark.parametrize("tls", [ServerTLS.STARTTLS, ServerTLS.IMPLICIT])
def test_tls_is_with_the_server_not_with_the_proxy(face: Face, scheme: str, tls: ServerTLS) -> None:
    with (
        Server(tls=tls, certificate_names=["mx.test"]) as server,
        ProxyServer(SERVERS[scheme], names={"mx.test": server.port}) as proxy,
    ):
        policy = TLSPolicy(TLSMode(tls.value), ca_file=server.ca_file)
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        with face.session("smtp://mx.test", tls=policy, proxy=url) as session:
            assert session.send(CONTENT, ENVELOPE).error is None
        assert server.sessions[0].server_name == "mx.test"


@every_scheme
def test_a_client_goes_through_it_each_time(face: Face, scheme: str) -> None:
    with Server() as server, ProxyServer(SERVERS[scheme], names={"mx.test": server.port}) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        messages = [(CONTENT, ENVELOPE)] * 6
        with face.client("smtp://mx.test?tls=none", proxy=url) as client:
            results = list(client.send_many(messages, connections=2))
        assert [result.error for result in results] == [None] * 6
        assert set(proxy.asked) == {("mx.test", 25)}


@every_scheme
def test_what_is_behind_a_proxy_is_not_this_machine(face: Face, scheme: str) -> None:
    """localhost is the proxy's own: neither plain text by default, nor a password in it."""
    with (
        Server(users={"ann": "pw"}, mechanisms=[PLAIN_MECHANISM]) as server,
        ProxyServer(SERVERS[scheme]) as proxy,
    ):
        place = f"127.0.0.1:{server.port}"
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        with pytest.raises(smtpx.TLSPolicyError, match="STARTTLS"):
            face.session(f"smtp://{place}", proxy=url).open()
        with pytest.raises(smtpx.SMTPError) as caught:
            face.session(f"smtp://ann:pw@{place}?tls=none", proxy=url).open()
        assert not isinstance(caught.value, smtpx.ReplyError)
        assert all("AUTH" not in c for session in server.sessions for c in session.commands)


@every_scheme
def test_user_and_password(face: Face, scheme: str) -> None:
    with (
        Server() as server,
        ProxyServer(SERVERS[scheme], names={"mx.test": server.port}, users=USERS) as proxy,
    ):
        place = f"127.0.0.1:{proxy.port}"
        who = "ann" if scheme == "socks4a" else "ann:s3cret"
        with face.session("smtp://mx.test?tls=none", proxy=f"{scheme}://{who}@{place}") as session:
            assert session.send(CONTENT, ENVELOPE).error is None


@pytest.mark.requirement("T26")
@every_scheme
def test_a_refused_password_shows_nowhere(face: Face, scheme: str) -> None:
    with (
        Server() as server,
        ProxyServer(SERVERS[scheme], names={"mx.test": server.port}, users=USERS) as proxy,
    ):
        who = "bob" if scheme == "socks4a" else "bob:Zq7Kw"
        session = face.session(
            "smtp://mx.test?tls=none", proxy=f"{scheme}://{who}@127.0.0.1:{proxy.port}"
        )
        with pytest.raises(smtpx.ConnectionLost, match=f"{scheme} proxy 127.0.0.1") as caught:
            session.open()
        assert caught.value.phase == "connect"
        assert server.sessions == []
        shown = "".join(traceback.format_exception(caught.value))
        assert "Zq7Kw" not in shown + repr(caught.value) + repr(session)


@pytest.mark.requirement("T26")
def test_what_a_proxy_echoes_of_the_password_shows_nowhere(face: Face) -> None:
    def serve(_: ProxyServer, client: socket.socket) -> None:
        told = client.recv(65536).partition(b"Basic ")[2].split()[0]
        client.sendall(b"HTTP/1.1 407 " + told + b" is ann:Zq7Kw-of-ann \xff\r\n\r\n")

    with ProxyServer(serve) as proxy:
        url = f"http://ann:Zq7Kw-of-ann@127.0.0.1:{proxy.port}"
        with pytest.raises(smtpx.ConnectionLost, match="said no: ") as caught:
            face.session("smtp://mx.test", proxy=url).open()
    told = told_by(caught.value) + every_frame_of(caught.value)
    for secret in ("Zq7Kw", base64.b64encode(b"ann:Zq7Kw-of-ann").decode()):
        assert secret not in told
    assert caught.value.__context__ is None


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("says", [b"", b"\x05\x02\x01\x01", b"\x05\x02"])
def test_python_socks_shows_no_password_either(face: Face, scheme: str, says: bytes) -> None:
    def serve(_: ProxyServer, client: socket.socket) -> None:
        client.sendall(says)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass

    with ProxyServer(serve) as proxy:
        url = f"{scheme}://ann:Zq7Kw-of-ann@127.0.0.1:{proxy.port}"
        session = face.session("smtp://mx.test", proxy=url)
        with pytest.raises(smtpx.ConnectionLost) as caught:
            session.open()
    assert "Zq7Kw" not in every_frame_of(caught.value)


def every_frame_of(error: BaseException) -> str:
    """The frames that an error and its causes have come through, but for those of the tests."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown: list[str] = []
    link: traceback.TracebackException | None = told
    while link is not None:
        shown += [f"{f.filename} {f.locals}" for f in link.stack if "tests" not in f.filename]
        link = link.__cause__ or link.__context__
    return "\n".join(shown)


@pytest.mark.parametrize(
    ("scheme", "says"),
    [
        ("http", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000),
        ("socks5", b"\x05\x00\x05\x00\x00\x03\x03\xff\xfe\xfd\x00\x19"),
    ],
)
def test_a_proxy_that_talks_nonsense_is_to_blame(face: Face, scheme: str, says: bytes) -> None:
    def serve(_: ProxyServer, client: socket.socket) -> None:
        client.sendall(says)
        while client.recv(65536):
            pass

    with ProxyServer(serve) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        with pytest.raises(smtpx.ConnectionLost, match=f"the {scheme} proxy") as caught:
            face.session("smtp://mx.test", tls=PLAIN, proxy=url).open()
        assert caught.value.phase == "connect"


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("host", ["mx.test\r\nX-Evil: 1", "mx test", "mx\0.test", ""])
def test_an_endpoint_of_ones_own_is_no_way_around_the_guard(face: Face, host: str) -> None:
    with pytest.raises(smtpx.EndpointError, match="host"):
        _ = face.session(smtpx.Endpoint(host, 25), proxy="http://127.0.0.1")


@every_scheme
def test_a_server_that_refuses(face: Face, scheme: str) -> None:
    with refusing("127.0.0.1") as closed, ProxyServer(SERVERS[scheme]) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        with pytest.raises(smtpx.ConnectionLost, match=r"said no: ") as caught:
            face.session(f"smtp://127.0.0.1:{closed}", tls=PLAIN, proxy=url).open()
        assert str(caught.value).isprintable()


_UNRESOLVED = {
    "socks5": [b"\x05\x00", b"\x05\x04\x00\x01" + bytes(6)],
    "socks4a": [b"\x00\x5b" + bytes(6)],
    "http": [b"HTTP/1.1 502 no such host\r\n\r\n"],
}


@every_scheme
@pytest.mark.parametrize("way", ["says no", "hangs up", "is mute"])
def test_a_name_that_the_proxy_cannot_resolve(face: Face, scheme: str, way: str) -> None:
    """It is asked once, by name, and nothing of the message was tried."""
    asked: list[bytes] = []

    def serve(proxy: ProxyServer, client: socket.socket) -> None:
        *before, last = _UNRESOLVED[scheme]
        for answer in before:
            _ = client.recv(65536)
            client.sendall(answer)
        asked.append(client.recv(65536))
        if way == "says no":
            client.sendall(last)
        elif way == "is mute":
            _ = client.recv(1)

    with ProxyServer(serve) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        timeouts = Timeouts(connect=0.2) if way == "is mute" else Timeouts()
        kind: Any = smtpx.TimedOut if way == "is mute" else smtpx.ConnectionLost
        with face.client("smtp://nx.test?tls=none", proxy=url, timeouts=timeouts) as client:
            with pytest.raises(kind, match=f"the {scheme} proxy") as caught:
                client.send(CONTENT, ENVELOPE)
            assert (caught.value.phase, caught.value.in_doubt) == ("connect", False)
            assert len(asked) == 1
            with pytest.raises(kind) as caught:
                _ = [*client.send_many([(CONTENT, ENVELOPE)] * 2)]
            assert caught.value.phase == "connect"
    assert len(asked) == 2
    assert all(b"nx.test" in request for request in asked)


@every_scheme
def test_a_proxy_that_is_not_there(face: Face, scheme: str) -> None:
    with refusing("127.0.0.1") as closed:
        session = face.session("smtp://mx.test", proxy=f"{scheme}://127.0.0.1:{closed}")
        with pytest.raises(smtpx.ConnectionLost, match=f"no connection with 127.0.0.1:{closed}"):
            session.open()


@pytest.mark.requirement("T30a")
@every_scheme
@pytest.mark.parametrize("says", [b"", b"\x05", b"\x00", b"HTTP/1.1 200 OK\r\nX:"])
def test_a_proxy_that_stalls_or_drips(face: Face, scheme: str, says: bytes) -> None:
    def serve(_: ProxyServer, client: socket.socket) -> None:
        client.sendall(says)
        while client.recv(100):
            client.sendall(says[-1:])

    timeouts = Timeouts(connect=0.15)
    with ProxyServer(serve) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        with pytest.raises((smtpx.TimedOut, smtpx.ConnectionLost)) as caught:
            face.session("smtp://mx.test", tls=PLAIN, proxy=url, timeouts=timeouts).open()
        assert isinstance(caught.value, smtpx.TimedOut | smtpx.ConnectionLost)
        assert caught.value.phase == "connect"


@every_scheme
@pytest.mark.parametrize("says", [b"", b"\x05", b"SSH-2.0\r\n", b"HTTP/1.1 2", b"x" * 40_000])
def test_what_is_no_proxy(face: Face, scheme: str, says: bytes) -> None:
    def serve(_: ProxyServer, client: socket.socket) -> None:
        client.sendall(says)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass

    with ProxyServer(serve) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        with pytest.raises(smtpx.ConnectionLost) as caught:
            face.session("smtp://mx.test", tls=PLAIN, proxy=url).open()
        assert caught.value.phase == "connect"
        assert len(str(caught.value)) < 500


@every_scheme
def test_plain_text_before_the_handshake_ends_the_session(face: Face, scheme: str) -> None:
    with (
        Server() as server,
        ProxyServer(SERVERS[scheme], names={"mx.test": server.port}, early=True) as proxy,
        pytest.raises(smtpx.RemoteProtocolError, match="before the TLS handshake"),
    ):
        face.session("smtps://mx.test", proxy=f"{scheme}://127.0.0.1:{proxy.port}").open()


def test_a_unix_socket_has_no_proxy() -> None:
    with pytest.raises(smtpx.LocalProtocolError, match="unix socket"):
        _ = Session("lmtp+unix:///run/lmtp", proxy="socks5://127.0.0.1")


def test_without_python_socks_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "python_socks", None)
    with pytest.raises(smtpx.LocalProtocolError, match=r"smtpx\[proxy\]"):
        _ = Session("smtp://mx.test", proxy="socks5://127.0.0.1")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_http_proxy_ends_its_lines_as_it_likes(face: Face, end: bytes) -> None:
    def serve(proxy: ProxyServer, client: socket.socket) -> socket.socket:
        while not client.recv(65536).endswith(b"\r\n\r\n"):
            pass
        said = end.join([b"HTTP/1.0 200 OK", b"Via: x", b"", b""])
        return proxy.answer(client, said, proxy.connect("127.0.0.1", server.port))

    with (
        Server() as server,
        ProxyServer(serve) as proxy,
        face.session("smtp://mx.test", tls=PLAIN, proxy=f"http://127.0.0.1:{proxy.port}") as s,
    ):
        assert s.send(CONTENT, ENVELOPE).error is None


@pytest.mark.parametrize("says", [b"220 mx.test ESMTP\r\n", b"SSH-2.0-x\n", b"\x05\x00", b"HTTQ"])
def test_what_speaks_no_http_is_not_waited_for(face: Face, says: bytes) -> None:
    def serve(_: ProxyServer, client: socket.socket) -> None:
        client.sendall(says)
        while client.recv(65536):
            pass

    with ProxyServer(serve) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        session = face.session("smtp://mx.test", tls=PLAIN, proxy=url, timeouts=Timeouts.each(50))
        with pytest.raises(smtpx.ConnectionLost, match=r"speaks no HTTP, and says .*is it a proxy"):
            session.open()


@pytest.mark.parametrize(
    ("scheme", "shown"),
    [("http", b"CONNECT [fe80::1%eth0]:25 "), ("socks5", b"\x05\x01\x00\x04\xfe\x80")],
)
def test_an_address_of_ipv6_has_its_form_with_a_zone_as_well(
    face: Face, scheme: str, shown: bytes
) -> None:
    heard: list[bytes] = []

    def serve(_: ProxyServer, client: socket.socket) -> None:
        heard.append(client.recv(65536))
        if scheme == "socks5":
            client.sendall(b"\x05\x00")
            heard.append(client.recv(65536))

    with ProxyServer(serve) as proxy, pytest.raises(smtpx.ConnectionLost):
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        face.session(smtpx.Endpoint("fe80::1%eth0", 25), tls=PLAIN, proxy=url).open()
    assert heard[-1].startswith(shown)
