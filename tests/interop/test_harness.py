"""The harness itself, held by the standard library's client: what fails here is not smtpx's."""

import base64
import hmac
import re
import shutil
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.daemon import Daemon, StartError, wait_until
from tests.interop.postfix import Postfix, added, original

# In one process, which starts one Postfix for all.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("postfix")]

CONTENT = b"From: <ann@elsewhere.test>\r\nSubject: Hello\r\n\r\nHow are you?\r\n"
SENDER = "ann@elsewhere.test"


@pytest.fixture
def trusting(postfix: Postfix) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(postfix.ca_file))


@pytest.fixture
def client(postfix: Postfix) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(postfix.host, postfix.port, "client.test", timeout=10) as client:
        client.ehlo()
        yield client


def test_plain_send(postfix: Postfix, client: smtplib.SMTP) -> None:
    assert client.sendmail(SENDER, ["plain@example.test"], CONTENT) == {}
    [raw] = postfix.messages("plain@example.test")
    assert original(raw) == CONTENT
    assert re.fullmatch(
        rb"Return-Path: <ann@elsewhere.test>\n"
        rb"X-Original-To: plain@example.test\n"
        rb"Delivered-To: plain@example.test\n"
        rb"Received: from client.test \(unknown \[127.0.0.1\]\)\n"
        rb"\tby mail.example.test \(Postfix\) with ESMTP id \w+\n"
        rb"\tfor <plain@example.test>; [^\n]* \+0000 \(UTC\)\n",
        added(raw),
    )


def test_offers_the_extensions_before_and_after_starttls(
    client: smtplib.SMTP, trusting: ssl.SSLContext
) -> None:
    always = {
        "pipelining": "",
        "size": "209715200",
        "vrfy": "",
        "etrn": "",
        "enhancedstatuscodes": "",
        "8bitmime": "",
        "dsn": "",
        "smtputf8": "",
        "chunking": "",
    }
    assert client.esmtp_features == always | {"starttls": ""}
    client.starttls(context=trusting)
    client.ehlo()
    assert client.esmtp_features == always | {"auth": " PLAIN LOGIN CRAM-MD5"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_starttls_and_auth(
    postfix: Postfix, client: smtplib.SMTP, trusting: ssl.SSLContext, mechanism: str
) -> None:
    client.starttls(context=trusting)
    client.ehlo()
    client.user, client.password = "user", "secret"
    mechanisms: dict[str, Callable[..., str]] = {
        "PLAIN": client.auth_plain,
        "LOGIN": client.auth_login,
        "CRAM-MD5": client.auth_cram_md5,
    }
    code, _text = client.auth(mechanism, mechanisms[mechanism])
    assert code == 235
    recipient = f"auth-{mechanism.lower()}@example.test"
    client.sendmail(SENDER, [recipient], CONTENT)
    [raw] = postfix.messages(recipient)
    assert original(raw) == CONTENT
    assert b" with ESMTPSA id " in added(raw)


@pytest.mark.parametrize("mechanism", ["PLAIN", "CRAM-MD5"])
def test_a_user_with_a_domain_and_a_password_beyond_ascii(
    postfix: Postfix, client: smtplib.SMTP, trusting: ssl.SSLContext, mechanism: str
) -> None:
    client.starttls(context=trusting)
    client.ehlo()
    user = "user@example.test"
    password = postfix.users[user].encode()

    def answer(challenge: bytes | None = None) -> bytes:
        if mechanism == "PLAIN":
            return b"\0" + user.encode() + b"\0" + password
        assert challenge is not None
        return user.encode() + b" " + hmac.digest(password, challenge, "md5").hex().encode()

    # By hand: smtplib writes passwords in ASCII only.
    if mechanism == "PLAIN":
        reply = client.docmd("AUTH PLAIN", base64.b64encode(answer()).decode())
    else:
        code, challenge = client.docmd("AUTH CRAM-MD5")
        assert code == 334
        reply = client.docmd(base64.b64encode(answer(base64.b64decode(challenge))).decode())
    assert reply[0] == 235


def test_a_wrong_password_is_refused(client: smtplib.SMTP, trusting: ssl.SSLContext) -> None:
    client.starttls(context=trusting)
    with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
        client.login("user", "guess")
    assert refusal.value.smtp_code == 535


def test_auth_is_not_offered_in_the_clear(client: smtplib.SMTP) -> None:
    assert client.docmd("AUTH PLAIN", "AHVzZXIAc2VjcmV0")[0] == 503


def test_the_certificate_needs_its_authority(client: smtplib.SMTP) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        client.starttls(context=ssl.create_default_context())


def test_implicit_tls(postfix: Postfix, trusting: ssl.SSLContext) -> None:
    with smtplib.SMTP_SSL(postfix.host, postfix.tls_port, context=trusting, timeout=10) as client:
        client.login("user", "secret")
        assert "starttls" not in client.esmtp_features
        client.sendmail(SENDER, ["implicit@example.test"], CONTENT)
    [raw] = postfix.messages("implicit@example.test")
    assert original(raw) == CONTENT


def test_refused_and_deferred_recipients(postfix: Postfix, client: smtplib.SMTP) -> None:
    refused = client.sendmail(
        SENDER,
        ["refused-1@example.test", "welcome@example.test", "later-1@example.test", "x@other.test"],
        CONTENT,
    )
    assert refused == {
        "refused-1@example.test": (
            550,
            b"5.1.1 <refused-1@example.test>: Recipient address rejected: No such mailbox",
        ),
        "later-1@example.test": (
            450,
            b"4.2.0 <later-1@example.test>: Recipient address rejected: Mailbox busy",
        ),
        "x@other.test": (554, b"5.7.1 <x@other.test>: Relay access denied"),
    }
    assert len(postfix.messages("welcome@example.test")) == 1


def test_who_authenticated_may_relay_and_is_refused_too(
    client: smtplib.SMTP, trusting: ssl.SSLContext
) -> None:
    client.starttls(context=trusting)
    client.login("user", "secret")
    refused = client.sendmail(SENDER, ["x@other.test", "refused@example.test"], CONTENT)
    assert list(refused) == ["refused@example.test"]


HEADER = b"Subject: Octets\r\n\r\n"


def transact(client: smtplib.SMTP, recipient: str, content: bytes, command: str) -> None:
    """One mail transaction whose content nothing of smtplib touches."""
    client.mail(SENDER)
    client.rcpt(recipient)
    if command == "DATA":
        assert client.docmd("DATA")[0] == 354
        client.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
    else:
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
    assert client.getreply()[0] == 250


@pytest.mark.parametrize("command", ["DATA", "BDAT"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("8bit", HEADER + bytes(range(0x80, 0x100)) + b"\r\n"),
        ("8bit-header", "Subject: Grüße\r\n\r\n\r\n".encode()),
        ("nul", HEADER + b"a\0b\r\n"),
        ("dots", HEADER + b".\r\n..\r\n...\r\n.a\r\na.\r\n\r\n.\r\n"),
        ("long-line", HEADER + b"x" * 3000 + b"\r\n"),
        ("longer-line", HEADER + b"x" * 1_000_000 + b"\r\n"),
        ("long-header", b"Subject: " + b"x" * 3000 + b"\r\n\r\n\r\n"),
        ("headers", b"Bcc: a@b.test\r\nReturn-Path: <x@y.test>\r\nBcc: a@b.test\r\n" + HEADER),
        ("received", b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000 (UTC)\r\n" + HEADER),
        ("spaces", HEADER + b" \t\r\nFrom here  \r\n>From there \r\n\r\n\r\n"),
        ("no-header", b"\r\nBody\r\n"),
        ("header-only", b"Subject: No body\r\n"),
        ("empty", b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_content_arrives_octet_by_octet(
    postfix: Postfix, client: smtplib.SMTP, command: str, name: str, content: bytes
) -> None:
    recipient = f"{name}-{command}@example.test"
    transact(client, recipient, content, command)
    assert [original(raw) for raw in postfix.messages(recipient)] == [content]


@pytest.mark.parametrize(
    ("name", "command", "sent", "arrives"),
    [
        ("bare-lf", "DATA", HEADER + b"a\nb\r\n", HEADER + b"a\r\nb\r\n"),
        ("bare-lf", "BDAT", HEADER + b"a\nb\r\n", HEADER + b"a\r\nb\r\n"),
        ("bare-cr", "DATA", HEADER + b"a\rb\r\r\n", HEADER + b"a b\r\n"),
        ("bare-cr", "BDAT", HEADER + b"a\rb\r\r\n", HEADER + b"a b\r\n"),
        ("unended", "BDAT", HEADER + b"a", HEADER + b"a\r\n"),
        ("no-empty-line", "DATA", b"Subject: x\r\nbody\r\n", b"Subject: x\r\n\r\nbody\r\n"),
        ("only-body", "DATA", b"body\r\n", b"\r\nbody\r\n"),
        ("spaced-colon", "DATA", b"Subject : x\r\n\r\n", b"Subject: x\r\n\r\n"),
        ("nul-in-header", "DATA", b"Subject: a\0b\r\n\r\n", b"Subject: a\r\n\r\n"),
        ("mbox", "DATA", b"From x\r\n" + HEADER, b"X-Mailbox-Line: From x\r\n" + HEADER),
        ("mbox", "BDAT", b"From x\r\n" + HEADER, b"\r\nFrom x\r\n" + HEADER),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_postfix_changes(
    postfix: Postfix, client: smtplib.SMTP, name: str, command: str, sent: bytes, arrives: bytes
) -> None:
    recipient = f"{name}-changed-by-{command}@example.test"
    transact(client, recipient, sent, command)
    assert [original(raw) for raw in postfix.messages(recipient)] == [arrives]


def test_postfix_cuts_a_huge_header_field(postfix: Postfix, client: smtplib.SMTP) -> None:
    transact(client, "huge@example.test", b"X: " + b"x" * 200_000 + b"\r\n\r\n", "DATA")
    [raw] = postfix.messages("huge@example.test")
    assert 102_000 < len(original(raw)) < 105_000


def test_bdat_by_hand_in_chunks(postfix: Postfix, client: smtplib.SMTP) -> None:
    client.mail(SENDER, ["BODY=8BITMIME"])
    client.rcpt("bdat@example.test")
    chunks = [b"Subject: Chunks\r", b"\n\r\n.\r\n", b"\xff..\r\n"]
    for chunk in chunks:
        client.send(b"BDAT %d\r\n" % len(chunk) + chunk)
        assert client.getreply()[0] == 250
    assert client.docmd("BDAT 0 LAST")[0] == 250
    assert [original(raw) for raw in postfix.messages("bdat@example.test")] == [b"".join(chunks)]


def test_a_hundred_recipients(postfix: Postfix, client: smtplib.SMTP) -> None:
    recipients = [f"hundred-{n}@example.test" for n in range(100)]
    assert client.sendmail(SENDER, recipients, CONTENT) == {}
    for recipient in recipients:
        assert [original(raw) for raw in postfix.messages(recipient)] == [CONTENT]


def test_messages_of_one_recipient_come_in_order(postfix: Postfix, client: smtplib.SMTP) -> None:
    for n in range(3):
        client.sendmail(SENDER, ["series@example.test"], HEADER + b"%d\r\n" % n)
        postfix.messages("series@example.test", n + 1)
    bodies = [original(raw) for raw in postfix.messages("series@example.test", 3)]
    assert bodies == [HEADER + b"0\r\n", HEADER + b"1\r\n", HEADER + b"2\r\n"]


@pytest.mark.parametrize("mailbox", ["Übung", "Upper.Case+x", '"a b"'])
def test_unusual_mailboxes(postfix: Postfix, client: smtplib.SMTP, mailbox: str) -> None:
    client.command_encoding = "utf-8"
    client.mail(SENDER, ["SMTPUTF8"])
    assert client.docmd(f"RCPT TO:<{mailbox}@example.test>")[0] == 250
    client.data(CONTENT)
    assert len(postfix.messages(f"{mailbox}@example.test")) == 1


def test_a_delivery_report_comes_back(postfix: Postfix, client: smtplib.SMTP) -> None:
    client.mail("reports@example.test", ["RET=HDRS", "ENVID=QQ314159"])
    client.rcpt("reported@example.test", ["NOTIFY=SUCCESS"])
    client.data(CONTENT)
    [report] = postfix.messages("reports@example.test")
    assert b"Original-Envelope-Id: QQ314159\n" in report
    assert b"Action: delivered\n" in report
    assert added(report).startswith(b"Return-Path: <>\n")


def test_message_too_big(client: smtplib.SMTP) -> None:
    code, text = client.mail(SENDER, ["SIZE=209715201"])
    assert (code, text[:5]) == (552, b"5.3.4")


def test_waiting_for_mail_is_bounded_and_shows_the_log(postfix: Postfix) -> None:
    with pytest.raises(TimeoutError, match=r"nobody@example.test has 0 of 1(?s:.*)--- mail.log"):
        postfix.messages("nobody@example.test", timeout=0)


def test_another_instance_with_settings_leaves_nothing_behind(postfix: Postfix) -> None:
    with Postfix(
        {"other": "pass"}, mechanisms=["scram-sha-256"], settings={"smtpd_tls_auth_only": "no"}
    ) as other:
        with smtplib.SMTP(other.host, other.port, timeout=10) as client:
            client.ehlo()
            assert client.esmtp_features["auth"] == " SCRAM-SHA-256"
        pids = other.pids()
        assert len(pids) > 5
        assert not set(pids) & set(postfix.pids())
    assert other.pids() == []
    assert not other.directory.exists()
    assert [pid for pid in pids if runs(pid)] == []


@pytest.mark.usefixtures("postfix")
def test_a_start_that_fails_says_why() -> None:
    broken = Postfix(settings={"inet_protocols": "carrier-pigeon"})
    with pytest.raises(StartError, match="master exited with 1") as failure, broken:
        pass
    assert 'unknown inet_protocols value "carrier-pigeon"' in failure.value.__notes__[0]
    assert broken.pids() == []
    assert not broken.directory.exists()


def test_a_daemon_that_ignores_sigterm_ends_too(tmp_path: Path) -> None:
    script = tmp_path / "stubborn"
    script.write_text("#!/bin/sh\ntrap '' TERM\nsleep 60 &\nwait\nwait\n")
    script.chmod(0o755)
    with Daemon([str(script)], tmp_path, grace=0.2) as daemon:
        daemon.wait_until_ready(lambda: len(daemon.pids()) == 2)
        pids = daemon.pids()
    assert daemon.pids() == []
    assert [pid for pid in pids if runs(pid)] == []


@pytest.mark.usefixtures("postfix")
def test_killed_tests_leave_no_daemon_behind() -> None:
    program = (
        "from tests.interop.postfix import Postfix\n"
        "postfix = Postfix().__enter__()\n"
        "print(postfix.directory, *postfix.pids(), flush=True)\n"
        "input()\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        directory, *pids = process.stdout.readline().decode().split()
        process.kill()
    assert len(pids) > 5
    assert wait_until(lambda: not any(runs(int(pid)) for pid in pids), 10)
    shutil.rmtree(directory)


def runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
