"""smtpx against a real Postfix: what arrives is what was sent."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

import smtpx
from smtpx import Client, Credentials, Envelope, Session, Status, TLSMode, TLSPolicy
from smtpx import smtplib as drop_in

from .postfix import Postfix, original

# In one process, which starts one Postfix for all.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("postfix")]

SENDER = "ann@example.org"
HEADER = b"From: ann@example.org\r\nTo: someone@example.test\r\nSubject: interop\r\n\r\n"

BODIES = {
    "plain": b"hello\r\n",
    "dots": b".\r\n..\r\n.hello\r\n...\r\nhello.\r\n.\r\n",
    "a long line": b"x" * 3000 + b"\r\n" + b"." * 2000 + b"\r\n",
    "8-bit": "käse – 北京\r\n".encode(),
    "empty lines": b"\r\n\r\n\r\n",
    "three megabytes": (b"y" * 76 + b"\r\n") * 40_000,
}
Connect = Callable[[Postfix], Session]


def plain(postfix: Postfix) -> Session:
    return Session(f"smtp://127.0.0.1:{postfix.port}?tls=none")


def starttls(postfix: Postfix) -> Session:
    tls = TLSPolicy(TLSMode.STARTTLS, ca_file=postfix.ca_file)
    return Session(
        f"submission://localhost:{postfix.port}", tls=tls, credentials=Credentials("user", "secret")
    )


def implicit(postfix: Postfix) -> Session:
    tls = TLSPolicy(TLSMode.IMPLICIT, ca_file=postfix.ca_file)
    return Session(
        f"smtps://localhost:{postfix.tls_port}",
        tls=tls,
        credentials=Credentials("user@example.test", "pässword with spaces"),
    )


@pytest.fixture
def recipient(request: pytest.FixtureRequest) -> str:
    """A mailbox of the test's own."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")
    return f"{name}@example.test"[-60:].lstrip("-")


@pytest.mark.parametrize("connect", [plain, starttls, implicit])
@pytest.mark.parametrize("body", BODIES)
def test_what_arrives_is_what_was_sent(
    postfix: Postfix, recipient: str, connect: Connect, body: str
):
    content = HEADER + BODIES[body]
    with connect(postfix) as session:
        result = session.send(content, Envelope(SENDER, recipient))
    assert result.queue_id
    (message,) = postfix.messages(recipient)
    assert original(message) == content


@pytest.mark.parametrize("make", [io.BytesIO, lambda data: iter([data[:7], data[7:]])])
def test_streams(postfix: Postfix, recipient: str, make: Callable[[bytes], io.BytesIO]):
    content = HEADER + BODIES["three megabytes"]
    with plain(postfix) as session:
        _ = session.send(make(content.replace(b"\r\n", b"\n")), Envelope(SENDER, recipient))
    (message,) = postfix.messages(recipient)
    assert original(message) == content


def test_a_hundred_recipients_of_whom_some_are_refused(postfix: Postfix):
    kinds = ["hundred", "refused", "hundred", "later", "hundred"]
    names = [f"{kinds[i % 5]}{i}@example.test" for i in range(100)]
    with starttls(postfix) as session:
        result = session.send(HEADER + b"hi\r\n", Envelope(SENDER, names))
    assert len(result.accepted) == 60
    codes = {o.reply.code for o in result.refused if o.reply and o.recipient.local_part[0] == "r"}
    assert codes == {550}
    assert all(o.retryable for o in result.refused if o.recipient.local_part[0] == "l")
    for outcome in result.accepted[:3]:
        assert len(postfix.messages(str(outcome.recipient))) == 1


def test_never_into_the_transaction_of_another(postfix: Postfix, recipient: str):
    """Postfix answers 503 to a nested MAIL and 250 to the RCPT after it: RSET must come first."""
    with plain(postfix) as session:
        with pytest.raises(smtpx.RecipientsRefused):
            _ = session.send(HEADER + b"1\r\n", Envelope("first@x.test", "refused@example.test"))
        result = session.send(HEADER + b"2\r\n", Envelope("second@x.test", recipient))
    assert result.error is None
    (message,) = postfix.messages(recipient)
    assert message.startswith(b"Return-Path: <second@x.test>")
    assert original(message) == HEADER + b"2\r\n"


def test_binary_content_by_bdat_is_refused_where_binarymime_is_not_offered(postfix: Postfix):
    envelope = Envelope(SENDER, "b@example.test", body=smtpx.BodyType.BINARY)
    with plain(postfix) as session, pytest.raises(smtpx.ExtensionMissing, match="BINARYMIME"):
        _ = session.send(HEADER + b"\0", envelope)


def test_dsn_and_smtputf8(postfix: Postfix, recipient: str):
    envelope = Envelope(
        SENDER,
        smtpx.Recipient(recipient, notify=smtpx.Notify.FAILURE, orcpt="first+one@example.org"),
        ret=smtpx.Ret.HEADERS,
        envid="id+1=2",
    )
    utf8 = Envelope("jörg@example.org", f"ä{recipient}")
    with plain(postfix) as session:
        assert session.send(HEADER + b"hi\r\n", envelope).error is None
        assert session.send(HEADER + b"hi\r\n", utf8).error is None
    assert len(postfix.messages(recipient)) == 1


def test_wrong_password(postfix: Postfix):
    tls = TLSPolicy(TLSMode.STARTTLS, ca_file=postfix.ca_file)
    session = Session(
        f"smtp://localhost:{postfix.port}", tls=tls, credentials=Credentials("user", "wrong")
    )
    with pytest.raises(smtpx.AuthenticationRefused) as caught:
        session.open()
    assert caught.value.reply.code == 535


def test_many_over_one_connection(postfix: Postfix, recipient: str):
    url = f"smtp://127.0.0.1:{postfix.port}?tls=none"
    messages = [(HEADER + b"%d\r\n" % i, Envelope(SENDER, recipient)) for i in range(50)]
    with Client(url) as client:
        results = list(client.send_many(messages))
    assert [outcome.status for r in results for outcome in r.outcomes] == [Status.ACCEPTED] * 50
    arrived = {original(message) for message in postfix.messages(recipient, 50)}
    assert arrived == {content for content, _ in messages}


@pytest.mark.parametrize("body", BODIES)
def test_the_drop_in(postfix: Postfix, recipient: str, body: str):
    """It sends by DATA, with transparency, what `Session` sends by BDAT."""
    import ssl

    context = ssl.create_default_context(cafile=str(postfix.ca_file))
    content = HEADER + BODIES[body]
    with drop_in.SMTP("localhost", postfix.port) as smtp:
        smtp.starttls(context=context)
        smtp.login("user", "secret")
        refused = smtp.sendmail(SENDER, [recipient, "refused@example.test"], content)
    assert list(refused) == ["refused@example.test"]
    assert refused["refused@example.test"][0] == 550
    (message,) = postfix.messages(recipient)
    assert original(message) == content
