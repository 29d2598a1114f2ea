"""Errors name the server they came of, once, and say what to do."""

from __future__ import annotations

import pickle

import pytest

from smtpx._core.authentication import authenticate, log_in
from smtpx._core.connection import Connection
from smtpx._core.naming import named
from smtpx._core.opening import open_session
from smtpx._core.sending import deliver
from smtpx._core.steps import Steps
from smtpx.envelope import Envelope
from smtpx.errors import (
    AuthenticationRefused,
    ContentRefused,
    ExtensionMissing,
    GreetingRefused,
    HelloRefused,
    MalformedReply,
    RecipientsRefused,
    ReplyError,
    SenderRefused,
    SMTPError,
    TimedOut,
    TLSPolicyError,
)
from smtpx.results import SendResult
from smtpx.sasl import OAuthBearer
from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import Channel
from smtpx.testing import Mode, play
from smtpx.tls import TLSMode

from .transcripts import connected, fails, plays

SERVER = "mail.example.com:587"
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ANN_TO_BOB = Envelope("ann@example.org", "bob@example.net")


def at_server(*keywords: str, tls: bool = True) -> Connection:
    connection = connected(*keywords, tls=tls)
    connection.server = SERVER
    return connection


def opening(tls: TLSMode = TLSMode.NONE, *, lmtp: bool = False) -> Steps[None]:
    connection = Connection(server=SERVER, lmtp=lmtp)
    return named(connection, open_session(connection, "me.example", tls))


def refused(script: str, *keywords: str, tls: bool = True) -> SMTPError:
    """Send a message; the error of its result, which is the same in every mode."""
    errors: list[SMTPError] = []

    def sending() -> Steps[SendResult]:
        return deliver(at_server(*keywords, tls=tls), CONTENT, ANN_TO_BOB)

    for _ in Mode:
        error = plays(sending, script).value.error
        assert error is not None
        errors.append(error)
    assert len({str(error) for error in errors}) == 1
    return errors[0]


def check_named(error: SMTPError) -> None:
    assert error.server == SERVER
    assert str(error).count(SERVER) == 1
    assert f"with {SERVER}" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


class TestTheServerIsNamedOnce:
    def test_in_what_ends_the_opening(self):
        error = fails(opening, "S: 554 no service here", GreetingRefused)
        check_named(error)
        assert str(error) == f"the connection was refused: 554 no service here (with {SERVER})"
        assert isinstance(error, ReplyError)
        assert error.command is None

    def test_in_a_refused_hello_whose_command_is_the_one_that_was_said(self):
        error = fails(
            opening,
            """
            S: 220 mx.test
            C: EHLO me.example
            S: 550 go away
            C: HELO me.example
            S: 550 I said go away
            """,
            HelloRefused,
        )
        check_named(error)
        assert isinstance(error, HelloRefused)
        assert error.command == "HELO me.example"

    @pytest.mark.parametrize(
        ("reply", "is_of_name"),
        [
            ("550 Helo command rejected: need fully-qualified hostname", True),
            ("501 5.5.4 Invalid domain name", True),
            ("504 5.5.2 <x>: need FQDN", True),
            ("501 no", True),
            ("554 5.7.1 You are not allowed", False),
        ],
    )
    def test_in_a_refusal_of_what_this_machine_calls_itself(self, reply: str, is_of_name: bool):
        script = f"S: 220 hi\nC: EHLO me.example\nS: {reply}\nC: HELO me.example\nS: {reply}\n"
        assert ("give client_name=" in str(fails(opening, script, HelloRefused))) is is_of_name

    @pytest.mark.parametrize("reply", ["500 5.5.1 unknown command", "502 not implemented"])
    def test_where_the_other_protocol_is_spoken(self, reply: str):
        script = f"S: 220 hi\nC: EHLO me.example\nS: {reply}\nC: HELO me.example\nS: {reply}\n"
        assert "use lmtp://" in str(fails(opening, script, HelloRefused))
        script = f"S: 220 hi\nC: LHLO me.example\nS: {reply}\n"
        assert "use smtp://" in str(fails(lambda: opening(lmtp=True), script, HelloRefused))

    def test_in_what_takes_too_long(self):
        check_named(fails(opening, "S: <silence>", TimedOut))

    def test_in_a_refusal(self):
        error = refused(
            """
            C: MAIL FROM:<ann@example.org>
            S: 250 ok
            C: RCPT TO:<bob@example.net>
            S: 550 5.1.1 no such user
            """
        )
        assert isinstance(error, RecipientsRefused)
        check_named(error)
        assert error.command == "RCPT TO:<bob@example.net>"

    def test_in_a_refused_content_which_is_no_command(self):
        error = refused(
            """
            C: MAIL FROM:<ann@example.org>
            S: 250 ok
            C: RCPT TO:<bob@example.net>
            S: 250 ok
            C: DATA
            S: 354 go ahead
            C: Subject: hi
            C:
            C: hello
            C: .
            S: 552 5.3.4 too big
            """
        )
        assert isinstance(error, ContentRefused)
        check_named(error)
        assert error.command is None
        assert str(error).startswith("the content was refused: 552 5.3.4 too big")

    def test_in_what_a_partial_refusal_raises(self):
        def sending() -> Steps[SendResult]:
            two = Envelope("ann@example.org", ["bob@example.net", "eve@example.net"])
            return deliver(at_server(), CONTENT, two)

        result = plays(
            sending,
            """
            C: MAIL FROM:<ann@example.org>
            S: 250 ok
            C: RCPT TO:<bob@example.net>
            S: 250 ok
            C: RCPT TO:<eve@example.net>
            S: 550 no
            C: DATA
            S: 354 go ahead
            C: Subject: hi
            C:
            C: hello
            C: .
            S: 250 ok
            """,
        ).value
        with pytest.raises(RecipientsRefused) as caught:
            result.raise_for_refused()
        check_named(caught.value)
        assert caught.value.command is None
        assert "the message to eve@example.net was refused: 550 no" in str(caught.value)

    def test_not_again_where_the_message_has_it(self):
        error = SMTPError(f"no connection with {SERVER}: nobody listens")
        error.server = SERVER
        assert str(error) == f"no connection with {SERVER}: nobody listens"


class TestWhoHasNotLoggedIn:
    @pytest.mark.parametrize(
        "reply",
        [
            "530 5.7.0 Authentication Required",
            "530 5.7.57 Client not authenticated to send mail",
            "550 5.7.1 Unable to relay",
            "553 5.7.1 <ann@example.org>: Sender address rejected: not logged in",
            "503 5.5.4 Error: send AUTH command first",
            "550 authentication required",
        ],
    )
    def test_is_told_to(self, reply):
        error = refused(f"C: MAIL FROM:<ann@example.org>\nS: {reply}", "AUTH PLAIN")
        assert isinstance(error, SenderRefused)
        assert "no credentials were given" in str(error)
        assert "submission://user:password@" in str(error)
        check_named(error)

    @pytest.mark.parametrize(
        "reply",
        [
            "554 5.7.1 <bob@example.net>: Relay access denied",
            "550 relay not permitted, authentication required",
            "550 5.7.1 <bob@example.net>... Relaying denied",
        ],
    )
    def test_is_told_so_by_a_server_that_does_not_relay(self, reply):
        error = refused(
            f"""
            C: MAIL FROM:<ann@example.org>
            S: 250 ok
            C: RCPT TO:<bob@example.net>
            S: {reply}
            """
        )
        assert isinstance(error, RecipientsRefused)
        assert "no credentials were given, and the server takes none here" in str(error)

    @pytest.mark.parametrize(
        "reply",
        [
            "550 5.1.1 no such user",
            "550 5.7.26 unauthenticated: DKIM or SPF authentication required for this domain",
            "452 4.2.2 over quota",
        ],
    )
    def test_hears_nothing_of_it_where_a_login_would_change_nothing(self, reply):
        error = refused(f"C: MAIL FROM:<ann@example.org>\nS: {reply}", "AUTH PLAIN")
        assert "credentials" not in str(error)

    @pytest.mark.parametrize(
        ("reply", "told"),
        [
            ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", True),
            ("553 5.7.1 <ann@example.org>: Sender address rejected: not owned by user bob", True),
            ("553 Relaying disallowed as ann@example.org", True),
            ("554 Message rejected: Email address is not verified.", True),
            ("550 5.7.1 message refused", False),
        ],
    )
    def test_but_who_has_hears_of_a_sender_that_is_not_theirs(self, reply: str, told: bool):
        connection = at_server("AUTH PLAIN")
        connection.authenticated = True

        def sending() -> Steps[SendResult]:
            return named(connection, deliver(connection, CONTENT, ANN_TO_BOB))

        script = f"C: MAIL FROM:<ann@example.org>\nS: {reply}"
        error = play(sending(), script, Mode.WHOLE).value.error
        assert ("from the address of the user who logged in" in str(error)) is told

    def test_nor_does_who_has(self):
        connection = at_server("AUTH PLAIN")
        connection.authenticated = True
        script = "C: MAIL FROM:<ann@example.org>\nS: 554 5.7.1 Relay access denied"
        result = play(deliver(connection, CONTENT, ANN_TO_BOB), script, Mode.WHOLE).value
        assert result.error is not None
        assert "credentials" not in str(result.error)

    def test_is_told_of_tls_where_that_is_what_misses(self):
        reply = "530 5.7.0 Must issue a STARTTLS command first"
        error = refused(f"C: MAIL FROM:<ann@example.org>\nS: {reply}", tls=False)
        assert "?tls=starttls" in str(error)
        assert "credentials" not in str(error)


def test_a_server_that_takes_logins_after_starttls_is_told_of():
    def logging_in() -> Steps[object]:
        connection = at_server("STARTTLS", tls=False)
        return named(connection, log_in(connection, Credentials("ann", "secret")))

    error = fails(logging_in, "", ExtensionMissing)
    assert "does not offer AUTH: credentials were given, and it may after STARTTLS" in str(error)
    check_named(error)


class TestARefusedLogin:
    @staticmethod
    def refusal(script: str, mechanism: str = "PLAIN", **given: str) -> AuthenticationRefused:
        def logging_in() -> Steps[object]:
            connection = at_server(f"AUTH {mechanism}")
            credentials = Credentials("ann", given.get("password", "secret"))
            return named(connection, log_in(connection, credentials))

        error = fails(logging_in, script, AuthenticationRefused)
        assert isinstance(error, AuthenticationRefused)
        check_named(error)
        return error

    def test_names_the_mechanism_and_app_passwords(self):
        error = self.refusal("C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 535 5.7.8 bad credentials")
        assert error.command == "AUTH PLAIN"
        assert "AUTH PLAIN refused: 535 5.7.8 bad credentials" in str(error)
        assert "app password" in str(error)
        assert "secret" not in str(error)

    @pytest.mark.parametrize(
        "reply", ["535-5.7.8 Not accepted.", "534 5.7.9 App password required"]
    )
    def test_at_a_known_service_says_what_that_wants(self, reply: str):
        text = reply.replace("535-", "535 ")

        def logging_in() -> Steps[object]:
            connection = at_server("AUTH PLAIN")
            connection.server = "smtp.gmail.com:465"
            return named(connection, log_in(connection, Credentials("ann", "secret")))

        script = f"C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: {text}"
        error = fails(logging_in, script, AuthenticationRefused)
        assert "Gmail wants the whole address as user, and as password an app pass" in str(error)

    @pytest.mark.parametrize("reply", ["534 5.7.9 too weak", "538 5.7.11 Encryption required"])
    def test_where_the_mechanism_will_not_do_says_so(self, reply: str):
        error = self.refusal(f"C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: {reply}")
        assert "name one by mechanisms=[" in str(error)

    def test_where_tls_misses_says_so(self):
        def logging_in() -> Steps[object]:
            connection = at_server("AUTH PLAIN", tls=False)
            connection.local = True
            return named(connection, log_in(connection, Credentials("ann", "secret")))

        for reply in (
            "530 5.7.0 Must issue a STARTTLS command first",
            "538 5.7.11 Encryption required for requested authentication mechanism",
        ):
            script = f"C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: {reply}"
            error = fails(logging_in, script, AuthenticationRefused)
            assert "?tls=starttls" in str(error)
        assert "password" not in str(error)

    def test_for_now_says_nothing_of_the_password(self):
        error = self.refusal("C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 454 4.7.0 not now")
        assert error.transient
        assert "may be right" in str(error)
        assert "app password" not in str(error)

    def test_by_a_token_speaks_of_the_token(self):
        def logging_in() -> Steps[object]:
            connection = at_server("AUTH OAUTHBEARER")
            mechanism = OAuthBearer(Credentials("ann", token="t"), Channel("x.test", 587))
            return named(connection, authenticate(connection, mechanism))

        line = "bixhPWFubiwBaG9zdD14LnRlc3QBcG9ydD01ODcBYXV0aD1CZWFyZXIgdAEB"
        error = fails(logging_in, f"C: AUTH OAUTHBEARER {line}\nS: 535 no", AuthenticationRefused)
        assert "the token may have expired" in str(error)
        assert "app password" not in str(error)


class TestAnotherProtocol:
    @pytest.mark.parametrize(
        ("greeting", "protocol"),
        [
            ("* OK [CAPABILITY IMAP4rev1] Dovecot ready.", "IMAP"),
            ("* PREAUTH IMAP4rev1 server logged in as Smith", "IMAP"),
            ("* BYE Autologout; idle for too long", "IMAP"),
            ("+OK Dovecot ready.", "POP3"),
            ("-ERR too many connections", "POP3"),
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2", "SSH"),
            ("HTTP/1.1 400 Bad Request", "HTTP"),
            ('"IMPLEMENTATION" "Dovecot Pigeonhole"', "ManageSieve"),
        ],
    )
    def test_is_known_by_its_greeting(self, greeting, protocol):
        error = fails(opening, f"S: {greeting}", MalformedReply)
        assert isinstance(error, MalformedReply)
        assert f"the server speaks {protocol} on this port, and not SMTP" in str(error)
        assert error.line.startswith(greeting.encode())
        check_named(error)

    @pytest.mark.parametrize(
        ("greeting", "reply", "protocol"),
        [
            ("220 (vsFTPd 3.0.5)", "530 Please login with USER and PASS.", "FTP"),
            ("220-FileZilla Server 1.7.0\nS: 220 Hello", "500 Wrong command.", "FTP"),
            ("220 Microsoft FTP Service", "500 'EHLO': command not understood.", "FTP"),
            ("220 Files of the works", "530 You aren't logged in", "FTP"),
            ("200 news.test InterNetNews NNRP server ready (posting ok)", "500 What?", "NNTP"),
            ("201 news.test ready (no posting)", "480 Authentication required", "NNTP"),
        ],
    )
    def test_that_greets_as_smtp_does_is_known_by_the_rest(self, greeting, reply, protocol):
        helo = f"C: HELO me.example\nS: {reply}\n" if reply.startswith("5") else ""
        script = f"S: {greeting}\nC: EHLO me.example\nS: {reply}\n{helo}"
        said = str(fails(opening, script, HelloRefused))
        assert f"the server speaks {protocol} on this port, and not SMTP: " in said
        assert "lmtp" not in said

    @pytest.mark.parametrize(
        ("greeting", "reply"),
        [
            ("220 ftp.works.test ESMTP Postfix", "500 unknown command"),
            ("220 mx.test", "530 5.7.0 Must issue a STARTTLS command first"),
        ],
    )
    def test_is_not_taken_for_one_of_mail(self, greeting, reply):
        script = f"S: {greeting}\nC: EHLO me.example\nS: {reply}\nC: HELO me.example\nS: {reply}"
        assert "the server speaks" not in str(fails(opening, script, HelloRefused))

    def test_or_by_its_answer_to_ehlo(self):
        error = fails(
            opening,
            """
            S: 220 mx.test
            C: EHLO me.example
            S: HTTP/1.1 405 Method Not Allowed
            """,
            MalformedReply,
        )
        assert "HTTP" in str(error)

    def test_or_may_be_behind_silence(self):
        error = fails(opening, "S: <silence>", TimedOut)
        assert "a server that begins with TLS says nothing (use smtps://" in str(error)
        assert "HTTP" in str(error)

    def test_a_server_that_has_begun_its_greeting_is_not_silent(self):
        error = fails(opening, "S: 220-mx.test\nS: <silence>", TimedOut)
        assert "the time was up while we waited for the greeting" in str(error)
        assert "says nothing" not in str(error)

    def test_under_tls_silence_is_no_sign_of_tls(self):
        error = fails(lambda: opening(TLSMode.IMPLICIT), "--tls--\nS: <silence>", TimedOut)
        assert "smtps://" not in str(error)
        assert "HTTP" in str(error)

    @pytest.mark.parametrize(
        ("port", "tls", "script", "protocol"),
        [
            (80, TLSMode.NONE, "S: <silence>", "HTTP"),
            (443, TLSMode.IMPLICIT, "--tls--\nS: <silence>", "HTTP"),
            (143, TLSMode.IMPLICIT, "S!: * OK ready", "IMAP"),
        ],
    )
    def test_or_is_that_of_the_port(self, port, tls, script, protocol):
        def at_port() -> Steps[None]:
            connection = Connection(server=f"mail.example.com:{port}")
            return named(connection, open_session(connection, "me.example", tls))

        error = fails(at_port, script, SMTPError)
        assert f"port {port} is that of {protocol}" in str(error)

    def test_what_is_no_reply_and_nothing_known_is_quoted(self):
        error = fails(opening, "S: hello", MalformedReply)
        assert "the server broke the protocol: this is no reply: 'hello" in str(error)


def test_a_server_without_starttls_may_be_one_for_plain_text():
    error = fails(
        lambda: opening(TLSMode.STARTTLS),
        """
        S: 220 mx.test
        C: EHLO me.example
        S: 250 mx.test
        """,
        TLSPolicyError,
    )
    assert "?tls=none" in str(error)
    assert "container" in str(error)
    check_named(error)
