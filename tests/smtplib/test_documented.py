"""What the classic documentation of smtplib promises, row by row."""

from __future__ import annotations

import io
import os
import smtplib as old
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from smtpx import smtplib
from smtpx.testing import AuthForm, Server
from tests.smtplib.scripted import CLOSE, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(refuse_recipients={"no@example.net": "550 5.1.1 no such user"}) as server:
        yield server


def client_of(server: Any, **options: Any) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", server.port, timeout=10, **options)


def test_the_constructor_connects_and_with_says_quit(server: Server) -> None:
    with client_of(server) as client:
        assert client.noop()[0] == 250
        assert isinstance(client.sock, socket.socket)
    assert client.sock is None
    assert [command.split()[0] for command in server.sessions[0].commands] == ["noop", "QUIT"]


@pytest.mark.parametrize("greeting", [b"554 go away\r\n", b"199 hm\r\n", b"SSH-2.0\r\n"])
def test_a_host_that_does_not_answer_properly_is_a_connect_error(greeting: bytes) -> None:
    with serving({"GREETING": greeting}) as server:
        with pytest.raises(smtplib.SMTPConnectError) as caught:
            client_of(server)
        assert caught.value.smtp_code in (554, 199, -1)


def test_connect_returns_the_greeting_without_judging_it() -> None:
    with serving({"GREETING": b"554-go\r\n554 away\r\n"}) as server:
        client = smtplib.SMTP(timeout=10)
        assert client.connect("127.0.0.1", server.port) == (554, b"go\naway")
        client.close()


def test_the_port_may_be_a_suffix_of_the_host(server: Server) -> None:
    with smtplib.SMTP(f"127.0.0.1:{server.port}") as client:
        assert client.noop()[0] == 250


def test_connect_defaults_to_localhost_and_its_own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[object] = []

    def refuse(*arguments: object) -> socket.socket:
        dialled.append(arguments)
        raise ConnectionRefusedError

    monkeypatch.setattr(smtplib.socket, "create_connection", refuse)
    for client in (smtplib.SMTP(timeout=3), smtplib.SMTP_SSL(timeout=3), smtplib.LMTP(timeout=3)):
        with pytest.raises(ConnectionRefusedError):
            client.connect()
    assert dialled == [(("localhost", port), 3, None) for port in (25, 465, 2003)]


def test_a_port_that_is_no_number() -> None:
    with pytest.raises(OSError, match="nonnumeric port"):
        smtplib.SMTP("localhost:bogus")


@pytest.mark.parametrize("kind", [smtplib.SMTP, smtplib.SMTP_SSL, smtplib.LMTP])
def test_a_timeout_of_zero(kind: Any) -> None:
    with pytest.raises(ValueError, match="non-blocking"):
        kind("localhost", timeout=0)


def test_source_address(server: Server) -> None:
    client = client_of(server, source_address=("127.0.0.2", 0))
    assert client.sock is not None
    assert client.sock.getsockname()[0] == "127.0.0.2"
    client.quit()
    client.connect("127.0.0.1", server.port, source_address=("127.0.0.3", 0))
    assert client.sock.getsockname()[0] == "127.0.0.3"
    client.quit()


def test_docmd_getreply_and_putcmd() -> None:
    with serving({"XHELLO": b"250-one \r\n250 two\r\n"}) as server, client_of(server) as client:
        assert client.docmd("XHELLO", "a b") == (250, b"one\ntwo")
        client.putcmd("noop")
        assert client.getreply() == (250, b"ok")
        assert server.commands == ["XHELLO a b", "noop"]


def test_users_may_read_the_file_themselves(server: Server) -> None:
    with client_of(server) as client:
        client.send(b"NOOP\r\nNOOP\r\n")
        assert client.file.readline().startswith(b"250 ")
        assert client.getreply()[0] == 250


def test_ehlo_stores_the_extensions() -> None:
    offered = ["SIZE 1000", "AUTH=LOGIN", "AUTH PLAIN CRAM-MD5", "X-Odd a  b", "!odd"]
    with serving(extensions=offered) as server, client_of(server) as client:
        assert client.ehlo("me.example")[0] == 250
        assert server.commands == ["ehlo me.example"]
        assert client.esmtp_features == {
            "size": "1000",
            "auth": " LOGIN PLAIN CRAM-MD5",
            "x-odd": "a  b",
        }
        assert client.does_esmtp
        assert client.has_extn("SiZe")
        assert not client.has_extn("nope")
        assert client.ehlo_resp == "\n".join(["mail.test", *offered]).encode()


def test_helo_and_ehlo_use_the_local_hostname(server: Server) -> None:
    with client_of(server, local_hostname="other.example") as client:
        client.helo()
        client.ehlo()
        assert client.helo_resp
    assert server.sessions[0].commands[:2] == ["helo other.example", "ehlo other.example"]


def test_ehlo_refused_means_helo_and_no_options() -> None:
    with serving({"EHLO": b"500 what\r\n"}) as server, client_of(server) as client:
        client.sendmail("a@example.org", "b@example.net", "hi", ["BODY=8BITMIME"], ["NOTIFY=NEVER"])
        assert server.commands == [
            "ehlo client.example.org",
            "helo client.example.org",
            "mail from:<a@example.org>",
            "rcpt to:<b@example.net>",
            "data",
        ]


def test_neither_ehlo_nor_helo() -> None:
    refusing = {"EHLO": b"500 what\r\n", "HELO": b"550 no\r\n"}
    with serving(refusing) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPHeloError) as caught:
            client.sendmail("a@example.org", "b@example.net", "hi")
        assert caught.value.args == (550, b"no")


def test_quit_returns_its_reply_and_forgets(server: Server) -> None:
    client = client_of(server)
    client.ehlo()
    assert client.quit()[0] == 221
    assert (client.sock, client.esmtp_features, client.ehlo_resp) == (None, {}, None)
    client.connect("127.0.0.1", server.port)
    assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
    client.quit()


def test_with_raises_if_quit_is_refused() -> None:
    with serving({"QUIT": b"500 stay\r\n"}) as server:
        with pytest.raises(smtplib.SMTPResponseException) as caught, client_of(server):
            pass
        assert caught.value.args == (500, b"stay")


def test_with_does_not_mind_a_connection_that_is_gone() -> None:
    with serving({"NOOP": CLOSE}) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()
        assert client.sock is None


def test_without_a_connection_everything_says_so() -> None:
    client = smtplib.SMTP()
    for call in (client.noop, client.ehlo, client.getreply, client.quit, client.starttls):
        with pytest.raises(smtplib.SMTPServerDisconnected, match="please run connect"):
            call()
    client.ehlo_resp = b""
    with pytest.raises(smtplib.SMTPServerDisconnected, match="please run connect"):
        client.sendmail("a@b", "c@d", "")


def test_help_rset_noop_verify_expn() -> None:
    answers = {"HELP": b"214-one\r\n214 two\r\n", "VRFY": b"252 maybe\r\n", "EXPN": b"550 no\r\n"}
    with serving(answers) as server, client_of(server) as client:
        assert client.help() == b"one\ntwo"
        assert client.help("rset") == b"one\ntwo"
        assert client.rset() == (250, b"ok")
        assert client.noop() == (250, b"ok")
        assert client.verify("Jo <jo@example.org>") == (252, b"maybe")
        assert client.vrfy("jo") == (252, b"maybe")
        assert client.expn("staff") == (550, b"no")
        assert server.commands == [
            "help", "help rset", "rset", "noop", "vrfy jo@example.org", "vrfy jo", "expn staff",
        ]  # fmt: skip


@pytest.mark.parametrize("text", ["a b@c", "Jo Smith", "a@b c", "x, y"])
def test_what_is_asked_about_is_not_glued_together(text: str) -> None:
    with serving() as server, client_of(server) as client:
        client.verify(text)
        client.expn(text)
        assert server.commands == [f"vrfy {text}", f"expn {text}"]


def test_a_transaction_by_single_commands(server: Server) -> None:
    with client_of(server) as client:
        client.ehlo()
        assert client.mail("a@example.org", ["size=4"])[0] == 250
        assert client.rcpt("b@example.net")[0] == 250
        assert client.rcpt(["c@example.net"])[0] == 250  # type: ignore[arg-type] # always taken
        assert client.rcpt("no@example.net") == (550, b"5.1.1 no such user")
        assert client.data("hi\n.\n")[0] == 250
    (message,) = server.messages
    assert message.recipients == ("b@example.net", "c@example.net")
    assert message.content == b"hi\r\n.\r\n"
    assert not server.breaches


def test_single_commands_and_sendmail_mix(server: Server) -> None:
    with client_of(server) as client:
        for _ in range(2):
            assert client.noop()[0] == 250
            assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
            assert client.mail("a@example.org")[0] == 250
            assert client.rset()[0] == 250
            client.sendmail("a@example.org", ["b@example.net", "no@example.net"], b"hi")
    assert len(server.messages) == 4
    assert not server.breaches


def test_data_refused() -> None:
    with serving({"DATA": b"451 later\r\n"}) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.data("hi")
        assert caught.value.args == (451, b"later")
        assert client.noop()[0] == 250


def test_debug_output(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    client = smtplib.SMTP(timeout=10)
    client.set_debuglevel(1)
    client.connect("127.0.0.1", server.port)
    client.noop()
    client.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"connect: to ('127.0.0.1', {server.port}) None"
    assert lines[1].startswith("reply: b'220 ")
    assert lines[2].startswith("reply: retcode (220); Msg: b'")
    assert lines[3].startswith("connect: ")
    assert lines[4] == r"send: 'noop\r\n'"


def test_debug_output_of_a_whole_session_is_the_old_one(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(module: Any) -> list[str]:
        with serving({"RCPT": [b"550 no\r\n", b"250 ok\r\n"]}, extensions=["SIZE"]) as server:
            client = module.SMTP(local_hostname="x", timeout=10)
            client.set_debuglevel(1)
            client.connect("127.0.0.1", server.port)
            client.sendmail("a@example.org", ["b@example.net", "c@example.net"], "hi\n.\n")
            client.verify("b@example.net")
            client.quit()
            return capsys.readouterr().err.replace(str(server.port), "port").lower().splitlines()

    assert printed(smtplib) == printed(old)


def test_audit_events(server: Server) -> None:
    program = f"""
import sys
events = []
sys.addaudithook(lambda name, args: name.startswith("smtplib") and events.append((name, args)))
from smtpx import smtplib
client = smtplib.SMTP("127.0.0.1", {server.port}, local_hostname="x")
client.noop()
assert [name for name, _ in events] == ["smtplib.connect", "smtplib.send"]
assert events[0][1] == (client, "127.0.0.1", {server.port})
assert events[1][1] == (client, b"noop\\r\\n")
client.close()
"""
    site = [path for path in sys.path if path]
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={"PYTHONPATH": os.pathsep.join(site)},
        timeout=30,
    )


def test_the_module_as_a_program(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    typed = "ann@example.org\nbob@example.net, no@example.net\nSubject: hi\n\nhello\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    monkeypatch.setattr(smtplib.SMTP, "default_port", server.port)
    monkeypatch.setattr(sys, "stderr", Mock(write=said.append))
    main: Any = smtplib
    main._main()
    (message,) = server.messages
    assert (message.sender, message.recipients) == ("ann@example.org", ("bob@example.net",))
    assert message.content == b"Subject: hi\r\n\r\nhello\r\n"
    assert said


def test_the_module_runs_by_its_name() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "smtpx.smtplib"],
        input="no address\nno address\n",  # for there may be a server on port 25
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.stdout.startswith("From: To: Enter message, end with ^D:\nMessage length is 0\n")


def test_override_points(server: Server) -> None:
    class Own(smtplib.SMTP):
        def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
            asked.append((host, port, timeout))
            return socket.create_connection(("127.0.0.1", server.port), 10)

    asked: list[object] = []
    with Own("proxied.example", 2525, timeout=4) as client:
        assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
    assert asked == [("proxied.example", 2525, 4)]


def test_a_socket_may_be_handed_in(server: Server) -> None:
    client = smtplib.SMTP()
    client.sock = socket.create_connection(("127.0.0.1", server.port), 10)
    assert client.getreply()[0] == 220
    assert client.sendmail("a@example.org", "b@example.net", "hi") == {}
    client.quit()


def test_a_patched_socket_module(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = Mock()
    stand_in.makefile.return_value = io.BytesIO(b"220 hi\r\n250 ok\r\n")
    module = Mock(create_connection=Mock(return_value=stand_in))
    monkeypatch.setattr(smtplib, "socket", module)
    client = smtplib.SMTP("mail.example", local_hostname="x")
    assert client.noop() == (250, b"ok")
    stand_in.sendall.assert_called_once_with(b"noop\r\n")
    client.close()
    stand_in.close.assert_called_once_with()


def test_connecting_again_closes_and_forgets() -> None:
    with serving() as server, client_of(server) as client:
        client.ehlo()
        first = client.sock
        assert first is not None
        client.connect("127.0.0.1", server.port)
        assert first.fileno() == -1
        assert client.esmtp_features == {}
        client.sendmail("a@example.org", "b@example.net", "")
        assert server.commands.count("ehlo client.example.org") == 2


def test_the_old_form_of_auth_is_understood() -> None:
    with (
        Server(users={"jo": "secret"}, auth_form=AuthForm.OLD) as server,
        client_of(server) as client,
    ):
        assert client.login("jo", "secret")[0] == 235
