"""`check=` of everything that sends: pass, refuse, or fix."""

from __future__ import annotations

import io
import pickle
import re
from email import message_from_bytes, policy
from email.header import Header
from email.message import EmailMessage
from email.mime.text import MIMEText
from typing import Any

import pytest

from smtpx import Check, CheckFailed, Envelope, LocalProtocolError, Rule, Session, check
from smtpx.testing import ALL_EXTENSIONS, Server

from .conftest import Face

ENVELOPE = Envelope("a@x.test", ["b@y.test", "c@y.test"])
BAD = b"From: a@x.test\r\nTo: b@y.test\r\nBcc: c@y.test\r\n\r\n" + b"word " * 300
HOPELESS = b"To: b@y.test\r\n\r\nhi\r\n"
GOOD = b"From: a@x.test\r\nDate: Mon, 07 Jan 2030 12:00:00 +0000\r\n\r\nhi\r\n"

ways = pytest.mark.parametrize("way", ["send", "session", "client", "many"])


def message() -> EmailMessage:
    made = EmailMessage()
    made["From"] = "a@x.test"
    made["To"] = "b@y.test"
    made["Bcc"] = "c@y.test"
    made.set_content("hi\n")
    return made


def sent(
    face: Face, way: str, server: Server, policy: Check | None, message: Any, *envelope: Envelope
):
    """Send a message in one of the ways there are; return the result, or raise its error."""
    options: dict[str, Any] = {} if policy is None else {"check": policy}
    if way == "send":
        return face.send(message, server.url, envelope=envelope[0] if envelope else None, **options)
    if way == "session":
        with face.session(server.url, **options) as session:
            return session.send(message, *envelope)
    with face.client(server.url, **options) as client:
        if way == "client":
            return client.send(message, *envelope)
        (result,) = client.send_many([(message, *envelope)] if envelope else [message])
        assert result.message is message
        if result.error is not None:
            raise result.error
        return result


@ways
def test_by_default_it_passes(face: Face, way: str):
    with Server() as server:
        _ = sent(face, way, server, None, BAD, ENVELOPE)
        assert server.messages[0].content == BAD + b"\r\n"


@ways
def test_what_is_wrong_is_refused_before_a_word_is_said_of_it(face: Face, way: str):
    with Server() as server:
        with pytest.raises(
            CheckFailed, match=r"Date: there is none \(RFC 5322 §3\.6\.1\)"
        ) as caught:
            _ = sent(face, way, server, Check.REFUSE, BAD, ENVELOPE)
        said = [line for session in server.sessions for line in session.commands]
        assert not [line for line in said if line.startswith(("MAIL", "RSET"))]
    rules = {finding.rule for finding in caught.value.findings}
    assert rules == {Rule.DATE_MISSING, Rule.BCC_PRESENT, Rule.LINE_TOO_LONG}
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.findings == caught.value.findings


@ways
def test_what_is_right_passes_as_it_is(face: Face, way: str):
    with Server() as server:
        for policy in (Check.REFUSE, Check.FIX):
            _ = sent(face, way, server, policy, GOOD, ENVELOPE)
        first, second = [received.content for received in server.messages]
        assert first == GOOD  # A warning is no error …
        assert second.replace(b"Message-ID", b"") != GOOD  # … and is mended where it can be.


@ways
def test_what_can_be_mended_is_mended_on_a_copy(face: Face, way: str):
    with Server() as server:
        result = sent(face, way, server, Check.FIX, BAD, ENVELOPE)
        assert len(result.accepted) == 2
        made = message()
        before = made.as_bytes()
        _ = sent(face, way, server, Check.FIX, made)
        assert made.as_bytes() == before
        for received in server.messages:
            assert received.recipients == ("b@y.test", "c@y.test")
            again = message_from_bytes(received.content)
            assert re.fullmatch(r"<[0-9a-f]{32}@x\.test>", again["Message-ID"])
            assert again["Date"].endswith("+0000")
            assert "Bcc" not in again
            assert max(map(len, received.content.split(b"\r\n"))) < 999
        assert server.breaches == []


@ways
@pytest.mark.parametrize(
    "author", ["Kör <ann@x.test>", Header("Kör <ann@x.test>", "utf-8"), "Kör <ann@bücher.test>"]
)
def test_an_older_message_beyond_ascii_is_mended(face: Face, way: str, author: Any):
    made: Any = MIMEText("grüß dich\n", "plain", "utf-8")
    made["From"], made["To"] = author, "Zoë <b@y.test>"
    with Server() as server:
        _ = sent(face, way, server, Check.FIX, made)
        _ = sent(face, way, server, Check.FIX, made.as_bytes(), ENVELOPE)
        for received in server.messages:
            again = message_from_bytes(received.content, policy=policy.default)
            (found,) = again["From"].addresses
            assert (found.display_name, found.username) == ("Kör", "ann")
            assert [each.addr_spec for each in again["To"].addresses] == ["b@y.test"]


@ways
def test_what_cannot_be_mended_is_refused(face: Face, way: str):
    with Server() as server:
        with pytest.raises(CheckFailed, match="From: there is none") as caught:
            _ = sent(face, way, server, Check.FIX, HOPELESS, ENVELOPE)
        assert [finding.rule for finding in caught.value.findings] == [Rule.FROM_MISSING]
        assert server.messages == []


@ways
@pytest.mark.parametrize("policy", [Check.REFUSE, Check.FIX])
def test_what_can_be_read_only_once_cannot_be_checked(face: Face, way: str, policy: Check):
    with Server() as server:
        with pytest.raises(LocalProtocolError, match="give bytes"):
            _ = sent(face, way, server, policy, io.BytesIO(GOOD), ENVELOPE)
        assert server.messages == []


def test_one_message_that_is_refused_stops_no_other(face: Face):
    with Server() as server, face.client(server.url, check=Check.REFUSE) as client:
        batch = [(GOOD, ENVELOPE), (BAD, ENVELOPE), (GOOD, ENVELOPE)]
        results = list(client.send_many(batch))
        assert sorted(isinstance(result.error, CheckFailed) for result in results) == [
            False,
            False,
            True,
        ]
        assert len(server.messages) == 2


def test_a_message_in_several_transactions_has_one_message_id(face: Face):
    with (
        Server(extensions=ALL_EXTENSIONS, recipient_limit=1) as server,
        face.client(server.url, check=Check.FIX) as client,
    ):
        _ = client.send(BAD, ENVELOPE)
        _ = list(client.send_many([(BAD, ENVELOPE)]))
        stamps = [message_from_bytes(each.content)["Message-ID"] for each in server.messages]
        assert len(stamps) == 4
        assert (stamps[0], stamps[2]) == (stamps[1], stamps[3])
        assert stamps[0] != stamps[2]


def test_a_server_may_be_asked_about_before():
    with Server(size_limit=1000) as server, Session(server.url) as session:
        (finding,) = check(
            GOOD + b"Message-ID: <a@b>\r\n" + b"x\r\n" * 400, ENVELOPE, session.extensions
        )[-1:]
        assert finding.rule is Rule.SIZE_EXCEEDED
