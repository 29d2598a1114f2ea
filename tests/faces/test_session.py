"""`Session` over real sockets, against the embedded server."""

from __future__ import annotations

import io
import logging
import os
import socket
import threading
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, Status, TLSMode, TLSPolicy
from smtpx.testing import (
    ALL_EXTENSIONS,
    Close,
    Extension,
    Refuse,
    Reset,
    Server,
    ServerTLS,
    Shutdown,
)
from tests.faces.conftest import Face

ENVELOPE = Envelope("ann@example.org", ["bob@example.net", "eve@example.net"])
CONTENT = b"Subject: hi\r\n\r\n.hello\r\n"
REFUSE_EVE = {"eve@example.net": "550 5.1.1 no such user"}


def trusting(server: Server, mode: TLSMode = TLSMode.STARTTLS) -> TLSPolicy:
    return TLSPolicy(mode, ca_file=server.ca_file)


def test_a_message_arrives_as_it_was_sent(face: Face):
    with Server() as server, face.session(server.url) as session:
        result = session.send(CONTENT, ENVELOPE)
        (message,) = server.messages
    assert message.content == CONTENT
    assert message.sender == "ann@example.org"
    assert message.recipients == ("bob@example.net", "eve@example.net")
    assert message.mail_parameters == {"SIZE": str(len(CONTENT))}
    assert result.queue_id == message.queue_id
    assert [outcome.status for outcome in result.outcomes] == [Status.ACCEPTED] * 2
    assert server.breaches == []


@pytest.mark.parametrize("recipients", [1, 10])
def test_round_trips_counted_at_the_server(face: Face, recipients):
    """RFC 3030: all at once; RFC 2920: a group and the content; else one command at a time."""
    envelope = Envelope("a@x.test", [f"r{i}@y.test" for i in range(recipients)])

    def round_trips(*without: Extension) -> int:
        with Server(extensions=ALL_EXTENSIONS - set(without)) as server:
            with face.session(server.url) as session:
                before = server.sessions[0].round_trips
                _ = session.send(CONTENT, envelope)
                trips = server.sessions[0].round_trips - before
            assert server.breaches == []
            return trips

    assert round_trips() == 1
    assert round_trips(Extension.CHUNKING) == 2
    assert round_trips(Extension.PIPELINING) == 1 + recipients + 1 + 1


def test_partial_refusal_is_a_result(face: Face):
    with Server(refuse_recipients=REFUSE_EVE) as server, face.session(server.url) as session:
        result = session.send(CONTENT, ENVELOPE)
        (accepted,), (refused,) = result.accepted, result.refused
        assert str(accepted.recipient) == "bob@example.net"
        assert str(refused.enhanced) == "5.1.1"
        with pytest.raises(smtpx.RecipientsRefused) as caught:
            result.raise_for_refused()
        assert caught.value.result is result
        assert server.messages[0].recipients == ("bob@example.net",)


def test_nobody_accepted_is_an_error_and_the_session_goes_on(face: Face):
    with (
        Server(refuse_recipients=REFUSE_EVE) as server,
        face.session(server.url) as session,
    ):
        with pytest.raises(smtpx.RecipientsRefused) as caught:
            _ = session.send(CONTENT, Envelope("a@x.test", "eve@example.net"))
        assert caught.value.command == "RCPT TO:<eve@example.net>"
        assert caught.value.result is not None
        result = session.send(CONTENT, Envelope("c@x.test", "bob@example.net"))
        assert result.error is None
        assert [message.sender for message in server.messages] == ["c@x.test"]


def test_all_or_nothing(face: Face):
    with Server(refuse_recipients=REFUSE_EVE) as server, face.session(server.url) as session:
        with pytest.raises(smtpx.RecipientsRefused) as caught:
            _ = session.send(CONTENT, ENVELOPE, all_or_nothing=True)
        assert caught.value.result is not None
        assert [str(o.recipient) for o in caught.value.result.not_tried] == ["bob@example.net"]
        assert session.send(CONTENT, Envelope("a@x.test", "bob@example.net")).error is None
        assert len(server.messages) == 1


@pytest.mark.parametrize("without", [set(), {Extension.CHUNKING}])
def test_content_refused_then_another_goes_out_under_its_own_sender(
    face: Face, without: set[Extension]
):
    with (
        Server(
            extensions=ALL_EXTENSIONS - without,
            faults=[Refuse("END-OF-DATA", "554 5.7.1 spam", nth=1)],
        ) as server,
        face.session(server.url) as session,
    ):
        with pytest.raises(smtpx.ContentRefused, match=r"554 5\.7\.1 spam"):
            _ = session.send(CONTENT, ENVELOPE)
        _ = session.send(CONTENT, Envelope("c@x.test", "d@x.test"))
        assert [(m.sender, m.recipients) for m in server.messages] == [("c@x.test", ("d@x.test",))]


class TestMessages:
    def message(self) -> EmailMessage:
        message = EmailMessage()
        message["From"] = "Ann <ann@example.org>"
        message["To"] = "Bob <bob@example.net>"
        message["Bcc"] = "eve@example.net"
        message["Subject"] = "grüße"
        message.set_content("käse\n.\n", cte="8bit")
        return message

    def test_the_header_is_the_envelope(self, face: Face):
        message = self.message()
        with Server() as server, face.session(server.url) as session:
            _ = session.send(message)
            (received,) = server.messages
        assert received.sender == "ann@example.org"
        assert received.recipients == ("bob@example.net", "eve@example.net")
        assert b"Bcc" not in received.content
        assert message["Bcc"] == "eve@example.net"
        assert received.mail_parameters["BODY"] == "8BITMIME"
        assert "käse\r\n.\r\n".encode() in received.content

    def test_seven_bit_where_the_server_has_no_8bitmime(self, face: Face):
        with (
            Server(extensions=frozenset({Extension.PIPELINING})) as server,
            face.session(server.url) as session,
        ):
            _ = session.send(self.message())
            assert server.messages[0].content.isascii()
            assert server.breaches == []

    def test_internationalized_mailbox(self, face: Face):
        message = self.message()
        message.replace_header("To", "jörg@bücher.example")
        with Server() as server, face.session(server.url) as session:
            _ = session.send(message)
            (received,) = server.messages
        assert received.smtputf8
        assert received.recipients[0] == "jörg@xn--bcher-kva.example"
        assert "grüße".encode() in received.content
        assert server.breaches == []

    def test_bytes_need_an_envelope(self, face: Face):
        with (
            Server() as server,
            face.session(server.url) as session,
            pytest.raises(smtpx.LocalProtocolError, match="Envelope"),
        ):
            _ = session.send(CONTENT)

    @pytest.mark.parametrize("make", [io.BytesIO, lambda data: iter([data[:5], data[5:]])])
    def test_files_and_iterators(self, face: Face, make):
        with Server() as server, face.session(server.url) as session:
            _ = session.send(make(CONTENT), ENVELOPE)
            assert server.messages[0].content == CONTENT

    def test_a_long_stream(self, face: Face, tmp_path: Path):
        line = b"x" * 77 + b"\n"
        path = tmp_path / "message"
        _ = path.write_bytes(line * 30_000)
        with Server() as server, face.session(server.url) as session:
            with path.open("rb") as file:
                _ = session.send(file, ENVELOPE)
            assert server.messages[0].content == line.replace(b"\n", b"\r\n") * 30_000
            assert server.breaches == []

    @pytest.mark.parametrize(
        "wrong", [lambda: "text", lambda: io.StringIO("text"), lambda: 7, lambda: iter(["text"])]
    )
    def test_what_is_not_bytes(self, face: Face, wrong):
        with Server() as server, face.session(server.url) as session, pytest.raises(TypeError):
            _ = session.send(wrong(), ENVELOPE)


class TestTLS:
    def test_starttls_and_auth(self, face: Face):
        with Server(tls=ServerTLS.STARTTLS, users={"ann": "secret"}) as server:
            url = f"submission://ann:secret@localhost:{server.port}"
            with face.session(url, tls=trusting(server)) as session:
                assert session.protection
                _ = session.send(CONTENT, ENVELOPE)
            assert server.messages[0].tls
            assert server.messages[0].user == "ann"
            assert server.breaches == []

    def test_implicit(self, face: Face):
        with Server(tls=ServerTLS.IMPLICIT) as server:
            tls = trusting(server, TLSMode.IMPLICIT)
            with face.session(f"smtps://localhost:{server.port}", tls=tls) as session:
                _ = session.send(CONTENT, ENVELOPE)
            assert server.messages[0].tls

    @pytest.mark.requirement("T14")
    def test_an_unknown_authority_is_refused_by_default(self, face: Face):
        with (
            Server(tls=ServerTLS.STARTTLS) as server,
            pytest.raises(smtpx.TLSPolicyError, match="certificate verify failed"),
            face.session(f"smtp://localhost:{server.port}?tls=starttls"),
        ):
            pass

    @pytest.mark.requirement("T14")
    def test_the_certificate_of_another_host_is_refused(self, face: Face):
        with Server(tls=ServerTLS.STARTTLS, certificate_names=["other.example"]) as server:
            with pytest.raises(smtpx.TLSPolicyError, match=r"mismatch|not valid"):
                face.session(server.url, tls=trusting(server)).open()
            tls = TLSPolicy(
                TLSMode.STARTTLS, ca_file=server.ca_file, server_hostname="other.example"
            )
            with face.session(server.url, tls=tls) as session:
                assert session.protection

    @pytest.mark.requirement("T13")
    def test_required_where_it_is_not_offered(self, face: Face):
        with (
            Server(users={"ann": "secret"}) as server,
            pytest.raises(smtpx.TLSPolicyError, match="does not offer STARTTLS"),
            face.session(f"smtp://ann:secret@127.0.0.1:{server.port}?tls=starttls"),
        ):
            pass
        assert [c.split()[0] for c in server.sessions[0].commands] == ["EHLO"]

    def test_no_descriptor_is_left_when_opening_fails(self, face: Face):
        with Server(tls=ServerTLS.STARTTLS) as server:
            for _ in range(3):
                with pytest.raises(smtpx.TLSPolicyError):
                    face.session(f"smtp://localhost:{server.port}?tls=starttls").open()
            # A socket left open would be a ResourceWarning, which is an error here.
            _ = server.wait_until_idle()


def test_wrong_password(face: Face):
    with Server(users={"ann": "secret"}) as server:
        with pytest.raises(smtpx.AuthenticationRefused) as caught:
            face.session(f"smtp://ann:wrong@127.0.0.1:{server.port}").open()
        assert caught.value.reply.code == 535


def test_lmtp_over_a_unix_socket(face: Face, tmp_path: Path):
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no unix sockets")
    replies = {"eve@example.net": "452 4.2.2 full"}
    with (
        Server(lmtp=True, path=tmp_path / "s", lmtp_replies=replies) as server,
        face.session(server.url) as session,
    ):
        result = session.send(CONTENT, ENVELOPE)
        assert [outcome.status for outcome in result.outcomes] == [
            Status.ACCEPTED,
            Status.REFUSED,
        ]
        assert server.sessions[0].commands[0] == "LHLO localhost"
        assert server.breaches == []


def test_ipv6(face: Face):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Server(host="::1") as server, face.session(server.url) as session:
        _ = session.send(CONTENT, ENVELOPE)
        assert server.messages[0].helo == "[IPv6:::1]"


def test_source_address(face: Face):
    with Server() as server, face.session(server.url, source_address=("127.0.0.5", 0)) as session:
        _ = session.send(CONTENT, ENVELOPE)
        assert server.messages[0].helo == "[127.0.0.5]"


def test_every_address_of_a_host_is_tried(face: Face, monkeypatch: pytest.MonkeyPatch):
    with Server() as server:
        resolve = socket.getaddrinfo
        closed = socket.create_server(("127.0.0.1", 0))
        dead_port = closed.getsockname()[1]
        closed.close()

        def found(host, port, *args, **kwargs):
            return [
                # As where the system was built without IPv6: not even a socket can be made.
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP, "", ("127.0.0.1", 1)),
                *resolve("127.0.0.1", dead_port, *args, **kwargs),
                *resolve("127.0.0.1", server.port, *args, **kwargs),
            ]

        monkeypatch.setattr(socket, "getaddrinfo", found)
        with face.session("smtp://localhost:1") as session:
            assert session.is_open


def test_no_address_answers(face: Face):
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    with pytest.raises(smtpx.ConnectionLost, match=rf"127\.0\.0\.1:{port}") as caught:
        face.session(f"smtp://127.0.0.1:{port}").open()
    assert caught.value.phase == "connect"
    assert isinstance(caught.value, OSError)


class TestCommands:
    def test_every_command_is_available(self, face: Face):
        with Server() as server, face.session(server.url, client_name="me.example") as session:
            assert session.noop().positive
            assert session.reset().positive
            assert session.verify("bob").code in (250, 252, 502)
            assert session.expand("list").code in (250, 252, 502)
            assert session.help().code in (211, 214)
            assert session.command("XYZZY").code == 500
            assert session.greeting is not None
            assert session.extensions.pipelining
        assert server.sessions[0].commands[0] == "EHLO me.example"
        assert server.sessions[0].commands[-1] == "QUIT"

    @pytest.mark.requirement("RFC 5321 §4.5.3.1.4")
    def test_a_command_line_has_its_length(self, face: Face):
        with Server() as server, face.session(server.url) as session:
            assert session.verify("b" * 505).code == 252
            for call in (session.verify, session.expand, session.help, session.command):
                with pytest.raises(smtpx.LocalProtocolError, match=r"longer than 510"):
                    _ = call("VRFY " + "b" * 506)
            assert session.noop().positive
        assert max(map(len, server.sessions[0].commands)) == 510

    @pytest.mark.parametrize("text", [" DATA", " NOOP", "", " ", "-X", "\xa0DATA", "ÜX", "250 ok"])
    def test_a_command_begins_with_its_verb(self, face: Face, text):
        with Server() as server:
            with (
                face.session(server.url) as session,
                pytest.raises(smtpx.LocalProtocolError, match="begin with a verb"),
            ):
                _ = session.command(text)
            assert server.sessions[0].commands[1:] == ["QUIT"]

    @pytest.mark.parametrize("topic", ["x\r\n", "x\n", "x\t", "x\0"])
    def test_nothing_is_cut_off_before_the_guard_looks(self, face: Face, topic):
        with Server() as server:
            with face.session(server.url) as session:
                for call in (session.help, session.verify, session.expand, session.command):
                    with pytest.raises(smtpx.LocalProtocolError, match="control"):
                        _ = call(topic)
            assert server.sessions[0].commands[1:] == ["QUIT"]

    def test_vrfy_and_expn_need_an_argument(self, face: Face):
        with Server() as server:
            with face.session(server.url) as session:
                for call in (session.verify, session.expand):
                    with pytest.raises(smtpx.LocalProtocolError, match="is empty"):
                        _ = call("")
            assert server.sessions[0].commands[1:] == ["QUIT"]

    @pytest.mark.parametrize("text", ["DATA", "data ", "ehlo x", "AUTH PLAIN", "STARTTLS", "quit"])
    def test_commands_with_a_procedure_of_their_own(self, face: Face, text):
        with (
            Server() as server,
            face.session(server.url) as session,
            pytest.raises(smtpx.LocalProtocolError, match="method"),
        ):
            _ = session.command(text)

    @pytest.mark.requirement("T1")
    @pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\x7f", "\x1b", "\r\nRCPT TO:<x@y>"])
    def test_no_control_character_reaches_the_wire(self, face: Face, bad):
        with Server(users={"ann": "secret"}) as server:
            with face.session(server.url) as session:
                sent = server.sessions[0].commands
                for call in (
                    lambda: session.command(f"XX {bad}x"),
                    lambda: session.verify(f"bob{bad}"),
                    lambda: session.expand(f"bob{bad}"),
                    lambda: session.help(f"{bad}x"),
                    lambda: session.send(CONTENT, Envelope(f"a{bad}@x.test", "b@x.test")),
                    lambda: session.send(CONTENT, Envelope("a@x.test", f"b@x{bad}.test")),
                    lambda: session.send(CONTENT, Envelope("a@x.test", f'"b{bad}"@x.test')),
                    lambda: session.send(
                        CONTENT, Envelope("a@x.test", "b@x.test", envid=f"x{bad}")
                    ),
                    lambda: session.send(
                        CONTENT, Envelope("a@x.test", "b@x.test", auth=f"x{bad}@y")
                    ),
                    lambda: session.send(
                        CONTENT,
                        Envelope("a@x.test", smtpx.Recipient("b@x.test", orcpt=f"rfc822;{bad}")),
                    ),
                ):
                    with pytest.raises((smtpx.LocalProtocolError, smtpx.AddressError)):
                        _ = call()
                assert server.sessions[0].commands == sent
            with pytest.raises(smtpx.LocalProtocolError):
                _ = face.session(server.url, client_name=f"me{bad}")
            with pytest.raises(smtpx.LocalProtocolError):
                _ = face.session(server.url, client_name=f"me x{bad}")
            with pytest.raises(smtpx.EndpointError):
                _ = face.session(f"smtp://127.0.0.1{bad}:{server.port}")

    def test_a_session_is_opened_once(self, face: Face):
        with Server() as server:
            session = face.session(server.url)
            with pytest.raises(smtpx.LocalProtocolError, match="open"):
                _ = session.noop()
            with session, pytest.raises(smtpx.LocalProtocolError, match="once"):
                session.open()
            assert not session.is_open
            with pytest.raises(smtpx.SMTPError):
                _ = session.noop()
            session.close()


class TestDialogue:
    def test_goes_to_the_log_and_the_observer_without_secrets(
        self, face: Face, caplog: pytest.LogCaptureFixture
    ):
        lines: list[str] = []
        with (
            Server(users={"ann": "s3cret"}) as server,
            caplog.at_level(logging.DEBUG, "smtpx.wire"),
        ):
            url = f"smtp://ann:s3cret@127.0.0.1:{server.port}"

            def observe(event: smtpx.Event) -> None:
                if isinstance(event, smtpx.Line):
                    lines.append(str(event))

            with face.session(url, observer=observe) as session:
                _ = session.send(CONTENT, ENVELOPE)
        logged = [record.getMessage() for record in caplog.records if record.name == "smtpx.wire"]
        assert logged == lines
        assert "C: MAIL FROM:<ann@example.org> SIZE=23" in lines
        assert "C: BDAT 23 LAST" in lines
        text = "\n".join(lines)
        assert "s3cret" not in text
        assert "AHMz" not in text  # base64 of NUL s3…
        assert any("redacted" in line for line in lines)

    def test_silent_when_nobody_listens(self, face: Face, caplog: pytest.LogCaptureFixture):
        with Server() as server, face.session(server.url) as session:
            _ = session.noop()
        assert not [record for record in caplog.records if record.name == "smtpx.wire"]


def test_one_shot(face: Face):
    with Server() as server:
        result = face.send(CONTENT, server.url, envelope=ENVELOPE)
        assert len(result.accepted) == 2
        assert server.sessions[0].commands[-1] == "QUIT"


class TestClient:
    def test_opens_once_and_is_kept(self, face: Face):
        with Server() as server:
            with face.client(server.url) as client:
                for _ in range(3):
                    _ = client.send(CONTENT, ENVELOPE)
            assert len(server.sessions) == 1
            assert len(server.messages) == 3

    def test_a_421_to_mail_is_no_answer_to_it_but_the_end_of_the_session(self, face: Face):
        with Server() as server, face.client(server.url) as client:
            _ = client.send(CONTENT, ENVELOPE)
            server.add_fault(Shutdown("MAIL", session=1))
            _ = client.send(CONTENT, ENVELOPE)
            assert len(server.sessions) == 2
            assert len(server.messages) == 2

    def test_a_421_to_the_first_mail_of_a_session_is_an_error(self, face: Face):
        with (
            Server(faults=[Shutdown("MAIL")]) as server,
            face.client(server.url) as client,
            pytest.raises(smtpx.SenderRefused),
        ):
            _ = client.send(CONTENT, ENVELOPE)
        assert len(server.sessions) == 1

    @pytest.mark.parametrize("fault", [Close, Reset])
    def test_tries_anew_when_the_idle_connection_is_gone(self, face: Face, fault):
        by_data = ALL_EXTENSIONS - {Extension.CHUNKING}
        with Server(extensions=by_data) as server, face.client(server.url) as client:
            _ = client.send(CONTENT, ENVELOPE)
            server.add_fault(fault("MAIL", session=1))
            _ = client.send(CONTENT, ENVELOPE)
            assert len(server.sessions) == 2
            assert len(server.messages) == 2

    def test_never_tries_anew_what_is_in_doubt(self, face: Face):
        with Server() as server, face.client(server.url) as client:
            _ = client.send(CONTENT, ENVELOPE)
            server.add_fault(Close("MAIL", session=1))
            with pytest.raises(smtpx.ConnectionLost) as caught:
                _ = client.send(CONTENT, ENVELOPE)
            assert caught.value.in_doubt
            assert len(server.sessions) == 1

    def test_send_many_stops_for_nobody(self, face: Face):
        messages = [
            (CONTENT, Envelope("a@x.test", "bob@example.net")),
            (CONTENT, Envelope("b@x.test", "eve@example.net")),
            (CONTENT, Envelope("c@x.test", "bob@example.net")),
        ]
        with (
            Server(refuse_recipients=REFUSE_EVE) as server,
            face.client(server.url) as client,
        ):
            results = list(client.send_many(messages))
            assert [len(result.accepted) for result in results] == [1, 0, 1]
            assert [message.sender for message in server.messages] == ["a@x.test", "c@x.test"]

    def test_threads_take_turns(self):
        with Server() as server, smtpx.Client(server.url) as client:
            threads = [
                threading.Thread(target=client.send, args=(CONTENT, ENVELOPE)) for _ in range(16)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(server.messages) == 16
            assert server.breaches == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_no_descriptor_is_left(face: Face):
    with Server() as server:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            with face.session(server.url) as session:
                _ = session.send(CONTENT, ENVELOPE)
        _ = server.wait_until_idle()
        # The server's own end of the last ones may still be on its way out.
        assert len(os.listdir("/proc/self/fd")) < before + 10


@pytest.mark.parametrize("kind", [smtpx.Session, smtpx.Client])
def test_the_user_may_stand_in_the_url_and_the_password_apart(kind: Any) -> None:
    envelope = smtpx.Envelope("ann@x.test", ["bob@y.test"])
    with Server(users={"ann": "secret"}) as server:
        url = server.url.replace("://", "://ann@")
        for credentials in (
            smtpx.Credentials(password="secret"),
            smtpx.Credentials(password=lambda: "secret"),
            smtpx.Credentials("ann", "secret"),
        ):
            with kind(url, credentials=credentials) as session:
                assert session.send(b"hi\r\n", envelope).complete
        assert {message.user for message in server.messages} == {"ann"}
    with pytest.raises(smtpx.LocalProtocolError, match="give it apart"):
        kind(url)
