"""What errors say to people: which server, what was waited for, and what to do."""

from __future__ import annotations

import contextlib
import pickle
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import smtpx
from smtpx import Envelope, PoolLimits, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import Close, Extension, Server, Stall
from tests.faces.conftest import Face

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
PATIENT = Timeouts.each(10)
PASSWORD = "s3cret-of-ann"

pytestmark = pytest.mark.timeout(30)


@contextlib.contextmanager
def peer(says: bytes = b"") -> Iterator[int]:
    """Something that is no mail server: it says this at once, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.sendall(says)
                    while connection.recv(4096):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def check_named(error: smtpx.SMTPError | None, server: str) -> None:
    assert error is not None
    assert error.server == server
    assert str(error).count(server) == 1
    assert PASSWORD not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


class TestTheServer:
    def test_that_nobody_is(self, face: Face, deaf_port: int) -> None:
        url = f"submission://ann:{PASSWORD}@127.0.0.1:{deaf_port}"
        for call in (
            face.session(url).open,
            lambda: face.client(url).send(CONTENT, ENVELOPE),
            lambda: face.send(CONTENT, url, envelope=ENVELOPE),
        ):
            with pytest.raises(smtpx.ConnectionLost) as caught:
                call()
            check_named(caught.value, f"127.0.0.1:{deaf_port}")

    def test_that_has_no_address(self, face: Face) -> None:
        with pytest.raises(smtpx.ConnectionLost) as caught:
            face.session("smtp://mail.invalid", timeouts=PATIENT).open()
        check_named(caught.value, "mail.invalid:25")

    def test_is_not_the_proxy_before_it(self, face: Face, deaf_port: int) -> None:
        proxy = f"socks5://127.0.0.1:{deaf_port}"
        with pytest.raises(smtpx.ConnectionLost) as caught:
            face.session("submission://mail.example.com", proxy=proxy).open()
        check_named(caught.value, "mail.example.com:587")
        assert f"127.0.0.1:{deaf_port}" in str(caught.value)

    def test_of_a_unix_socket(self, face: Face, tmp_path: Path) -> None:
        path = tmp_path / "lmtp"
        with pytest.raises(smtpx.ConnectionLost) as caught:
            face.session(f"lmtp+unix://{path}").open()
        check_named(caught.value, str(path))

    def test_that_refuses_a_login(self, face: Face) -> None:
        with Server(users={"ann": "other"}) as server:
            url = f"smtp://ann:{PASSWORD}@127.0.0.1:{server.port}"
            with pytest.raises(smtpx.AuthenticationRefused) as caught:
                face.session(url, timeouts=PATIENT).open()
        check_named(caught.value, f"127.0.0.1:{server.port}")
        assert "app password" in str(caught.value)

    @pytest.mark.parametrize("all_or_nothing", [False, True])
    def test_that_wants_one(self, face: Face, all_or_nothing: bool) -> None:
        with (
            Server(users={"ann": PASSWORD}, require_authentication=True) as server,
            face.client(server.url) as client,
            pytest.raises(smtpx.SenderRefused) as caught,
        ):
            client.send(CONTENT, ENVELOPE, all_or_nothing=all_or_nothing)
        check_named(caught.value, f"127.0.0.1:{server.port}")
        assert "no credentials were given" in str(caught.value)

    def test_that_is_lost_in_the_middle(self, face: Face) -> None:
        with (
            Server(faults=[Close("MAIL")]) as server,
            face.session(server.url, timeouts=PATIENT) as session,
            pytest.raises(smtpx.ConnectionLost) as caught,
        ):
            session.send(CONTENT, ENVELOPE)
        check_named(caught.value, f"127.0.0.1:{server.port}")

    def test_that_is_asked_for_something_else(self, face: Face) -> None:
        with (
            Server(faults=[Close("NOOP")]) as server,
            face.session(server.url, timeouts=PATIENT) as session,
            pytest.raises(smtpx.ConnectionLost) as caught,
        ):
            session.noop()
        check_named(caught.value, f"127.0.0.1:{server.port}")

    def test_whose_connections_are_all_in_use(self, face: Face) -> None:
        limits = PoolLimits(open=1, idle=1, wait=0.05)
        with (
            Server(faults=[Stall("MAIL")]) as server,
            face.client(server.url, pool=limits, timeouts=Timeouts.each(1)) as client,
        ):
            errors = face.at_once(2, client, 1, CONTENT, ENVELOPE)
            (error,) = [one for one in errors if "no connection was free" in str(one)]
            assert isinstance(error, smtpx.TimedOut)
            check_named(error, f"127.0.0.1:{server.port}")

    @pytest.mark.parametrize(
        "left_out", [set(), {Extension.CHUNKING}, {Extension.CHUNKING, Extension.PIPELINING}]
    )
    def test_that_refuses_one_of_many(self, face: Face, left_out: set[Extension]) -> None:
        from smtpx.testing import ALL_EXTENSIONS

        messages = [
            (CONTENT, Envelope("ann@example.org", name)) for name in ("bob@x.test", "eve@x.test")
        ]
        with (
            Server(
                extensions=ALL_EXTENSIONS - left_out, refuse_recipients={"eve@x.test": "550 no"}
            ) as server,
            face.client(server.url, timeouts=PATIENT) as client,
        ):
            good, bad = sorted(client.send_many(messages), key=lambda each: each.error is not None)
        assert good.error is None
        check_named(bad.error, f"127.0.0.1:{server.port}")

    def test_to_which_none_of_many_can_go(self, face: Face, deaf_port: int) -> None:
        url = f"smtp://127.0.0.1:{deaf_port}"
        with face.client(url) as client:
            results = client.send_many([(CONTENT, ENVELOPE)])
            check_named(next(results).error, f"127.0.0.1:{deaf_port}")

    def test_has_no_part_in_a_mistake_of_the_caller(self, face: Face) -> None:
        with Server() as server, face.client(server.url) as client:
            with pytest.raises(smtpx.LocalProtocolError) as caught:
                client.send(CONTENT)
            assert caught.value.server is None


class TestWhatIsBehindThePort:
    @pytest.mark.parametrize(
        ("greeting", "protocol"),
        [
            (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", "IMAP"),
            (b"+OK ready\r\n", "POP3"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        ],
    )
    def test_is_told_at_once(self, face: Face, greeting: bytes, protocol: str) -> None:
        with peer(greeting) as port, pytest.raises(smtpx.MalformedReply) as caught:
            face.session(f"smtp://127.0.0.1:{port}").open()
        assert f"speaks {protocol}" in str(caught.value)
        check_named(caught.value, f"127.0.0.1:{port}")

    def test_may_be_silent(self, face: Face) -> None:
        timeouts = Timeouts(greeting=0.1)
        with peer() as port, pytest.raises(smtpx.TimedOut) as caught:
            face.session(f"smtp://127.0.0.1:{port}", timeouts=timeouts).open()
        assert "while we waited for the greeting (greeting=0.1 seconds)" in str(caught.value)
        assert "HTTP" in str(caught.value)

    def test_may_be_silent_for_the_whole_call(self, face: Face) -> None:
        with peer() as port, pytest.raises(smtpx.TimedOut) as caught:
            face.session(f"smtp://127.0.0.1:{port}", timeout=0.1).open()
        assert "while we waited for the greeting (total, for the whole call)" in str(caught.value)

    def test_may_be_silent_where_tls_should_be(self, face: Face) -> None:
        timeouts = Timeouts(tls=0.1)
        with peer() as port, pytest.raises(smtpx.TimedOut) as caught:
            face.session(f"smtps://127.0.0.1:{port}", timeouts=timeouts).open()
        assert "while we waited for the TLS handshake (tls=0.1 seconds)" in str(caught.value)
        assert "wrote" not in str(caught.value)
        assert caught.value.phase == "tls"


class TestPort465:
    """It begins with TLS (RFC 8314 §7.3): who waits for its greeting waits for nothing."""

    @pytest.mark.parametrize("url", ["submission://mail.test:465", "smtp://mail.test:465"])
    def test_without_tls_is_refused_before_anything_is_dialled(self, face: Face, url: str) -> None:
        for call in (face.session, face.client, lambda url: face.send(CONTENT, url)):
            with pytest.raises(smtpx.EndpointError, match="use smtps://"):
                call(url)

    @pytest.mark.parametrize("tls", ["starttls", "opportunistic", "none", "implicit"])
    def test_is_taken_by_who_says_otherwise(self, face: Face, tls: str) -> None:
        _ = face.session(f"submission://mail.test:465?tls={tls}")
        _ = face.session("submission://mail.test:465", tls=TLSPolicy(TLSMode(tls)))


def test_a_lost_connection_does_not_say_that_we_wrote(face: Face) -> None:
    with (
        Server() as server,
        face.session(server.url, timeouts=PATIENT) as session,
    ):
        server.close()
        with pytest.raises(smtpx.ConnectionLost) as caught:
            _ = session.noop()
    assert "while we wrote" not in str(caught.value)


def test_a_port_that_never_answers_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpx._drivers.racing import unreachable

    silence: list[tuple[str, OSError]] = [("192.0.2.1 port 25: timed out", TimeoutError())]
    refusal: list[tuple[str, OSError]] = [("192.0.2.1 port 25: no", ConnectionRefusedError())]
    for url, words in (
        ("smtp://mail.test", "out to port 25: try submission:// (port 587)"),
        ("submission://mail.test", "try smtps:// (port 465)"),
        ("smtps://mail.test", "try submission:// (port 587)"),
    ):
        endpoint = smtpx.Endpoint.parse(url)
        assert words in str(unreachable(endpoint, silence))
        assert "try" not in str(unreachable(endpoint, refusal))


def test_an_observer_hears_of_the_server(face: Face) -> None:
    ended: list[smtpx.SMTPError | None] = []

    def observe(event: smtpx.Event) -> None:
        if isinstance(event, smtpx.MessageEnded):
            ended.append(event.result.error)
            check_named(event.result.error, f"127.0.0.1:{server.port}")

    with (
        Server(refuse_recipients={"bob@example.net": "550 no"}) as server,
        face.session(server.url, observer=observe, timeouts=PATIENT) as session,
        pytest.raises(smtpx.RecipientsRefused),
    ):
        session.send(CONTENT, ENVELOPE)
    assert len(ended) == 1
