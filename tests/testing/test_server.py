"""The server over real sockets: with smtplib, with TLS, and what it writes down."""

import asyncio
import base64
import gc
import smtplib
import socket
import ssl
import sys
import threading
import types
from email.message import EmailMessage
from typing import Any

import pytest

import smtpx.testing
from smtpx.testing import (
    ALL_EXTENSIONS,
    USUAL_EXTENSIONS,
    Extension,
    Latency,
    ReplaceReply,
    Server,
    ServerTLS,
    Stall,
)
from tests.network import one_port

from .wire import ENVELOPE, Wire, opened

CONTENT = b"Subject: x\r\n\r\n.hello\r\n"


def test_smtplib_sends():
    with Server(users={"jo": "secret"}) as server:
        with smtplib.SMTP(server.host, server.port) as client:
            client.login("jo", "secret")
            client.sendmail("a@b.example", ["x@y.example", "z@y.example"], CONTENT)
        (message,) = server.wait_for_messages(1)
        (session,) = server.wait_until_idle()
    assert message.content == CONTENT
    assert message.recipients == ("x@y.example", "z@y.example")
    assert message.user == session.user == "jo"
    assert message.mail_parameters == {"SIZE": str(len(CONTENT))}
    assert server.url == f"smtp://127.0.0.1:{server.port}"
    assert session.quit
    assert not session.open
    assert server.breaches == []


@pytest.mark.parametrize("tls", [ServerTLS.STARTTLS, ServerTLS.IMPLICIT])
def test_smtplib_sends_under_tls(tls):
    with Server(tls=tls) as server:
        client: smtplib.SMTP
        if tls is ServerTLS.IMPLICIT:
            client = smtplib.SMTP_SSL("localhost", server.port, context=server.client_context())
        else:
            client = smtplib.SMTP("localhost", server.port)
            client.starttls(context=server.client_context())
        with client:
            client.sendmail("a@b.example", ["x@y.example"], CONTENT)
        (session,) = server.wait_until_idle()
        assert server.url.startswith("smtps:" if tls is ServerTLS.IMPLICIT else "smtp:")
        assert server.ca_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
        ca_file = server.ca_file
        context = ssl.create_default_context(cafile=str(ca_file))
        assert context.get_ca_certs()
    assert server.messages[0].tls
    assert session.tls_version in ("TLSv1.2", "TLSv1.3")
    assert session.server_name == "localhost"
    assert session.quit
    assert server.breaches == []
    assert not ca_file.exists()


@pytest.mark.parametrize(
    "options", [{"certificate_names": ["other.test"]}, {"certificate_expired": True}]
)
def test_bad_certificates(options):
    with Server(tls=ServerTLS.IMPLICIT, **options) as server:
        with Wire(server) as wire, pytest.raises(ssl.SSLCertVerificationError):
            wire.start_tls(server.client_context())
        (session,) = server.wait_until_idle()
    assert session.tls_error


def test_untrusted_certificate_after_starttls():
    with Server(tls=ServerTLS.STARTTLS) as server, opened(server) as wire:
        assert wire.ask("STARTTLS") == [220]
        with pytest.raises(ssl.SSLCertVerificationError):
            wire.start_tls(ssl.create_default_context())
        (session,) = server.wait_until_idle()
        assert "alert" in str(session.tls_error).lower()


def test_a_context_of_ones_own():
    with Server(tls=ServerTLS.IMPLICIT) as giver:
        context = giver._own_authority().server_context
        with Server(tls=ServerTLS.IMPLICIT, server_context=context) as server:
            with opened(server, context=giver.client_context()) as wire:
                assert wire.ask("QUIT") == [221]
                assert wire.rest() == b""
            with pytest.raises(RuntimeError, match="authority"):
                server.client_context()


def test_garbage_in_place_of_a_handshake():
    with Server(tls=ServerTLS.IMPLICIT) as server:
        with Wire(server) as wire:
            wire.send("EHLO me")
            wire.rest()
        (session,) = server.wait_until_idle()
    assert session.tls_error
    assert session.commands == []


def test_starttls_injection_by_the_client():
    with Server(tls=ServerTLS.STARTTLS) as server, opened(server) as wire:
        wire.send("STARTTLS\r\nMAIL FROM:<evil@b.example>")
        assert wire.code() == 220
        wire.start_tls(server.client_context())
        assert wire.ask("MAIL FROM:<>", "EHLO me.example", "QUIT") == [503, 250, 221]
        assert len(server.breaches) == 2
        assert server.breaches[0].startswith("session 1: 'MAIL FROM:<evil@")


def test_trustme_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(smtpx.ExtraMissing, match=r"smtpx\[testing\]"):
        Server(tls=ServerTLS.STARTTLS).start()


def test_lmtp_over_a_unix_socket(tmp_path):
    path = tmp_path / "lmtp"
    replies = {"full@y.example": "452 4.2.2 full"}
    with Server(lmtp=True, path=path, lmtp_replies=replies) as server:
        assert server.url == f"lmtp+unix://{path}"
        with Wire(server) as wire:
            assert wire.code() == 220
            assert wire.ask("LHLO me.example", ENVELOPE[0]) == [250, 250]
            for name in ("x", "full", "x"):
                assert wire.ask(f"RCPT TO:<{name}@y.example>") == [250]
            assert wire.ask("DATA") == [354]
            wire.send(b"hello\r\n.\r\n")
            assert [wire.code(), wire.code(), wire.code()] == [250, 452, 250]
        assert server.messages[0].recipients == ("x@y.example", "x@y.example")
    assert not path.exists()
    assert server.breaches == []


def test_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Server(host="::1", tls=ServerTLS.IMPLICIT) as server:
        assert server.url == f"smtps://[::1]:{server.port}"
        with smtplib.SMTP_SSL("::1", server.port, context=server.client_context()) as client:
            assert client.noop()[0] == 250


def test_round_trips_in_lock_step_and_in_groups():
    with Server() as server:
        with opened(server) as wire:
            assert wire.ask(*ENVELOPE, "DATA", ".", "QUIT") == [250, 250, 354, 250, 221]
        with opened(server) as wire:
            wire.send("\r\n".join([*ENVELOPE, "DATA"]))
            assert [wire.code() for _ in range(3)] == [250, 250, 354]
            wire.send(b"x\r\n" * 1000)
            wire.send(".\r\nMAIL FROM:<>\r\nQUIT")
            assert [wire.code() for _ in range(3)] == [250, 250, 221]
        with opened(server) as wire:
            group = "\r\n".join([*ENVELOPE, "BDAT 3 LAST", "x"]) + "\r\n"
            wire.send((group * 20).encode())
            assert [wire.code() for _ in range(60)] == [250] * 60
        lock_step, grouped, chunked = server.wait_until_idle()
    assert [lock_step.round_trips, grouped.round_trips, chunked.round_trips] == [6, 3, 2]
    assert lock_step.reads == 6
    assert chunked.bytes_in == len("EHLO me.example\r\n") + 20 * len(group)
    assert len(server.messages) == 22
    assert server.breaches == []


def test_unanswered_is_a_breach():
    with Server(faults=[Latency(0.02)]) as server, Wire(server) as wire:
        wire.send("EHLO me.example")
        assert [wire.code(), wire.code()] == [220, 250]
        assert server.breaches == [
            "session 1: 'EHLO me.example\\r\\n' sent before the reply to GREETING, "
            "but PIPELINING was not offered (RFC 2920 §3.1)"
        ]


def test_everything_it_can_be_told():
    with Server(
        extensions=USUAL_EXTENSIONS - {Extension.CHUNKING},
        ehlo_lines=["X-HELLO"],
        hostname="mx.test",
        greeting="220 mx.test hi",
        size_limit=5,
    ) as server:
        with Wire(server) as wire:
            assert wire.reply() == b"220 mx.test hi\r\n"
            wire.send("EHLO me")
            lines = wire.reply().decode().split("\r\n")
        assert lines[0] == "250-mx.test greets me"
        assert "250-SIZE 5" in lines
        assert lines[-2:] == ["250 X-HELLO", ""]
        assert not any("CHUNKING" in line or "BINARYMIME" in line for line in lines)


def test_waiting():
    with Server() as server:
        with pytest.raises(TimeoutError, match="for 1 messages; there are 0"):
            server.wait_for_messages(1, timeout=0.01)
        with opened(server) as wire:
            with pytest.raises(TimeoutError):
                server.wait_until_idle(timeout=0.01)
            sender = threading.Thread(target=lambda: wire.ask(*ENVELOPE, "DATA", "."))
            sender.start()
            assert len(server.wait_for_messages(1)) == 1
            sender.join()
            server.clear_messages()
            assert server.messages == []


def test_asyncio_client():
    async def main(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        greeting = await reader.readline()
        writer.write(b"QUIT\r\n")
        rest = await reader.read()
        writer.close()
        await writer.wait_closed()
        return greeting + rest

    with Server() as server:
        said = asyncio.run(main(server.port))
    assert said.startswith(b"220 mail.test")
    assert said.endswith(b"221 Bye\r\n")


def test_many_sessions_at_once():
    with Server() as server:
        wires = [Wire(server) for _ in range(50)]
        for wire in wires:
            wire.send("EHLO me")
        for wire in wires:
            wire.reply()
            wire.send("QUIT")
        for wire in wires:
            wire.rest()
            wire.socket.close()
        sessions = server.wait_until_idle()
    assert [session.number for session in sessions] == list(range(1, 51))


def test_a_callable_that_fails_fails_the_test():
    def broken(address):
        raise ZeroDivisionError(address)

    def meet(error=None):
        with Server(refuse_senders=broken) as server, opened(server) as wire:
            wire.send("MAIL FROM:<a@b>")
            wire.rest()
            if error is not None:
                raise error

    with pytest.raises(RuntimeError) as caught:
        meet()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(KeyError) as noted:
        meet(KeyError("first"))
    assert "ZeroDivisionError" in noted.value.__notes__[0]


def test_close_while_clients_connect():
    # asyncio loses a socket that is accepted in the turn in which its server is closed.
    for _ in range(30):
        with Server() as server:
            wires = [Wire(server) for _ in range(3)]
        for wire in wires:
            try:
                wire.rest()
            except ConnectionResetError:
                pass
            wire.socket.close()


@pytest.mark.parametrize("tls", list(ServerTLS))
def test_close_leaves_nothing(tls):
    before = set(threading.enumerate())  # Others may end meanwhile: trio keeps some in store.
    server = Server(tls=tls, faults=[Stall("NOOP", reading=False)])
    server.start()
    with pytest.raises(RuntimeError, match="already"):
        server.start()
    wires = [Wire(server) for _ in range(3)]
    if tls is not ServerTLS.IMPLICIT:
        wires.append(opened(server))
        wires[-1].send("NOOP")
    server.close()
    server.close()
    assert set(threading.enumerate()) <= before
    assert not any(session.open for session in server.sessions)
    for wire in wires:
        try:
            wire.rest()
        except ConnectionResetError:
            pass
        wire.socket.close()
    with pytest.raises(OSError):  # noqa: PT011 - refused, in the words of the platform
        socket.create_connection((server.host, server.port), 1)
    gc.collect()


def test_a_port_that_is_taken(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OSError):  # noqa: PT011 - in use, in the words of the platform
        Server(path=tmp_path / "taken").start()


def test_big_content():
    content = (b"x" * 76 + b"\r\n") * 200_000
    with Server() as server, opened(server) as wire:
        wire.ask(*ENVELOPE, "DATA")
        wire.send(content + b".\r\n")
        assert wire.code() == 250
        assert wire.ask(*ENVELOPE) == [250, 250]
        wire.send(b"BDAT %d LAST\r\n" % len(content) + content)
        assert wire.code() == 250
        assert [len(message.content) for message in server.messages] == [len(content)] * 2
        assert server.breaches == []


def test_small_buffers_block_who_does_not_read():
    with Server(buffer_size=4096) as server, opened(server) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            wire.send(b"RSET\r\n" * 2_000_000)
        wire.socket.settimeout(5)
        assert wire.code() == 250


def test_all_is_exact():
    assert sorted(smtpx.testing.__all__) == sorted(set(smtpx.testing.__all__))
    for name in smtpx.testing.__all__:
        assert getattr(smtpx.testing, name).__doc__
    public = {
        name
        for name, value in vars(smtpx.testing).items()
        if name[0] not in "_@" and not isinstance(value, types.ModuleType)
    }
    assert public - {"annotations", "TYPE_CHECKING", "Any"} <= set(smtpx.testing.__all__)
    with pytest.raises(AttributeError):
        _ = smtpx.testing.nothing


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("8bit", "käse\r\nbrot\r\n".encode()),
        ("quoted-printable", b"k=C3=A4se\r\nbro=\r\nt\r\n"),
        ("base64", base64.b64encode("käse\r\nbrot\r\n".encode()) + b"\r\n"),
    ],
)
@pytest.mark.parametrize("body_type", ["8BITMIME", "BINARYMIME"])
def test_a_message_is_parsed_when_asked(encoding, body, body_type):
    octets = (
        "From: Zoë <zoe@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode() + body
    with Server(extensions=ALL_EXTENSIONS) as server, opened(server) as wire:
        wire.ask(f"MAIL FROM:<a@b.example> SMTPUTF8 BODY={body_type}", ENVELOPE[1])
        wire.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
        assert wire.code() == 250
        (message,) = server.messages
    parsed = message.parsed
    assert parsed["Subject"] == "Grüße"
    assert parsed["From"] == "Zoë <zoe@example.org>"
    assert parsed["From"].addresses[0].display_name == "Zoë"
    assert parsed.get_content() == "käse\nbrot\n"
    parsed.set_content("anew\n")
    assert parsed.get_content() == "anew\n"
    assert message.parsed.get_content() == "käse\nbrot\n"


def test_what_is_no_text_is_parsed_to_the_octet():
    sent = EmailMessage()
    sent.set_content("hello\n")
    sent.add_attachment(b"\0\r\n\xff\n", maintype="image", subtype="png", filename="Übersicht.png")
    with Server() as server, smtplib.SMTP(server.host, server.port) as client:
        client.send_message(sent, "a@b.example", "x@y.example")
        (message,) = server.messages
    (attachment,) = message.parsed.iter_attachments()
    assert attachment.get_content() == b"\0\r\n\xff\n"
    assert attachment.get_filename() == "Übersicht.png"
    body = message.parsed.get_body()
    assert body is not None
    assert body.get_content() == "hello\n"


def test_a_port_of_ones_own_again_and_again():
    with one_port("127.0.0.1") as port:
        for _ in range(3):
            with Server(port=port) as server:
                assert server.url == f"smtp://127.0.0.1:{port}"
                with opened(server):
                    pass  # The server ends the connection, and its port is not free at once.


def test_a_port_in_use_is_named():
    with (
        Server() as server,
        pytest.raises(OSError, match=f"127.0.0.1:{server.port}"),
        Server(port=server.port),
    ):
        pass


def test_a_server_starts_anew():
    server = Server(tls=ServerTLS.IMPLICIT)
    for number in (1, 2):
        with server:
            assert server.ca_file.exists()
            with opened(server, context=server.client_context()) as wire:
                wire.ask(*ENVELOPE, "DATA", ".", "QUIT")
        assert len(server.messages) == number


def test_there_is_no_url_before_the_start():
    with pytest.raises(RuntimeError, match="enter it first"):
        _ = Server().url
    assert repr(Server()) == "<Server without a port, closed, received 0>"
    assert Server(port=2525).url == "smtp://127.0.0.1:2525"
    assert Server(path="s").url.startswith("smtp+unix://")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "s", "port": 25}, "path with host or port"),
        ({"path": "s", "host": "::1"}, "path with host or port"),
        ({"certificate_expired": True}, "need tls="),
        ({"certificate_names": ["mx.test"]}, "need tls="),
        (
            {
                "tls": ServerTLS.IMPLICIT,
                "certificate_expired": True,
                "server_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            },
            "beside server_context",
        ),
        ({"lmtp_replies": {"a@b.example": "450 no"}}, "without lmtp"),
        ({"lmtp": True, "refuse_ehlo": True}, "LHLO"),
        ({"refuse_recipients": {"a@b.example": "251 forwarded"}}, "begins with 4 or 5"),
        ({"refuse_recipients": {"a@b.example": "no such user"}}, "begins with 4 or 5"),
        ({"refuse_recipients": {"<a@b.example>": "550 no"}}, "the address alone"),
        ({"refuse_content": "spam"}, "begins with 4 or 5"),
        ({"greeting": "hello"}, "begins with 2 or 4 or 5"),
        ({"ehlo_lines": ["XFROB", "SIZE 1\r\nXFRY"]}, "is not one line"),
    ],
)
def test_options_of_which_nothing_would_come_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Server(**options)


def test_what_is_allowed_is_named_where_users_find_it():
    wrong: Any = "starttls"
    with pytest.raises(TypeError, match=r"^tls: give a smtpx\.testing\.ServerTLS, not str$"):
        Server(tls=wrong)
    with pytest.raises(TypeError, match=r"^data: give bytes, not str$"):
        ReplaceReply("MAIL", wrong)


@pytest.mark.parametrize("reply", ["250 Ok", "no", 550])
def test_a_callable_that_returns_no_refusal_fails_the_test(reply):
    with (
        pytest.raises(RuntimeError, match="test server failed") as caught,
        Server(refuse_recipients=lambda _: reply) as server,
        opened(server) as wire,
    ):
        wire.ask(ENVELOPE[0])
        wire.send(ENVELOPE[1])
        assert wire.rest() == b""
    assert "refuse_recipients: x@y.example" in str(caught.value.__cause__)


def test_a_password_that_could_never_match_is_refused():
    with pytest.raises(TypeError, match="users: a password: give a str, not int"):
        Server(users={"jo": 1234})  # type: ignore[dict-item]
