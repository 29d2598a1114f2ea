"""A signer given once signs whatever goes out, last of all, on every face."""

from __future__ import annotations

import io
from email.message import EmailMessage
from pathlib import Path

import pytest

import smtpx
from smtpx import Envelope
from smtpx.testing import ALL_EXTENSIONS, Extension, Server

from .conftest import Face

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\n\nhello\n"
CANONICAL = CONTENT.replace(b"\n", b"\r\n")


class Recorder:
    """Puts a field before what it is given, and keeps that."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, content: bytes) -> bytes:
        self.given.append(content)
        return b"X-Signed: %d\r\n" % len(self.given) + content


def test_all_that_is_sent_is_signed(face: Face):
    signer = Recorder()
    with Server() as server:
        with face.session(server.url, signer=signer) as session:
            _ = session.send(CONTENT, ENVELOPE)
        with face.client(server.url, signer=signer) as client:
            _ = client.send(CONTENT, ENVELOPE)
            results = list(client.send_many([(CONTENT, ENVELOPE)] * 3))
        assert [result.error for result in results] == [None] * 3
        assert signer.given == [CANONICAL] * 5
        assert sorted(message.content for message in server.messages) == [
            b"X-Signed: %d\r\n" % (i + 1) + CANONICAL for i in range(5)
        ]
        assert server.breaches == []


def test_one_shot():
    with Server() as server:
        _ = smtpx.send(CONTENT, server.url, envelope=ENVELOPE, signer=Recorder())
        assert server.messages[0].content == b"X-Signed: 1\r\n" + CANONICAL


def test_after_every_conversion(face: Face):
    message = EmailMessage()
    message["From"] = "ann@example.org"
    message["To"] = "bob@example.net"
    message["Bcc"] = "eve@example.net"
    message.set_content("käse\n", cte="8bit")
    signer = Recorder()
    with (
        Server(extensions=frozenset({Extension.PIPELINING})) as server,
        face.session(server.url, signer=signer) as session,
    ):
        _ = session.send(message)
        assert server.messages[0].content == b"X-Signed: 1\r\n" + signer.given[0]
    assert signer.given[0].isascii()
    assert b"Bcc" not in signer.given[0]
    assert b"\n" not in signer.given[0].replace(b"\r\n", b"")


def test_binary_parts_are_encoded_where_there_is_a_signer(face: Face):
    message = EmailMessage()
    message["From"] = "ann@example.org"
    message["To"] = "bob@example.net"
    message.set_content(b"\0\n\r\xff", "application", "octet-stream", cte="binary")
    assert Extension.BINARYMIME in ALL_EXTENSIONS
    for signer in (None, Recorder()):
        with (
            Server(extensions=ALL_EXTENSIONS) as server,
            face.session(server.url, signer=signer) as session,
        ):
            _ = session.send(message)
            (received,) = server.messages
        assert (b"base64" in received.content) is (signer is not None)


def test_large_content_is_canonical_before_it_is_signed(face: Face):
    signer = Recorder()
    with Server() as server, face.session(server.url, signer=signer) as session:
        _ = session.send(b"Subject: hi\n\n" + b".line\n" * 30_000, ENVELOPE)
        assert server.messages[0].content == b"X-Signed: 1\r\n" + signer.given[0]
    assert signer.given == [b"Subject: hi\r\n\r\n" + b".line\r\n" * 30_000]


def test_a_signer_may_write_the_content_anew(face: Face):
    with Server() as server, face.session(server.url, signer=lambda _: b"Other: x\n\n") as session:
        _ = session.send(CONTENT, ENVELOPE)
        assert server.messages[0].content == b"Other: x\r\n\r\n"


def failing(content: bytes) -> bytes:
    raise ConnectionError("the key store is away")


def mute(content: bytes) -> bytes:
    return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("signer", "message"),
    [(failing, "the signer failed: .*key store is away"), (mute, "returns the content as bytes")],
)
def test_a_signer_that_fails_sends_nothing_and_ends_nothing(face: Face, signer, message: str):
    with Server() as server:
        with face.session(server.url, signer=signer) as session:
            with pytest.raises(smtpx.LocalProtocolError, match=message):
                _ = session.send(CONTENT, ENVELOPE)
            assert session.noop().positive
        with face.client(server.url, signer=signer) as client:
            (result,) = client.send_many([(CONTENT, ENVELOPE)])
        assert isinstance(result.error, smtpx.LocalProtocolError)
        assert [str(outcome.recipient) for outcome in result.not_tried] == ["bob@example.net"]
        assert server.messages == []


def test_what_can_be_read_only_once_is_refused_before_it_is_read(face: Face, tmp_path: Path):
    path = tmp_path / "message.eml"
    _ = path.write_bytes(CONTENT)
    with (
        Server() as server,
        face.session(server.url, signer=Recorder()) as session,
        path.open("rb") as file,
    ):
        for source in (file, io.BytesIO(CONTENT), iter([CONTENT])):
            with pytest.raises(smtpx.LocalProtocolError, match="give bytes"):
                _ = session.send(source, ENVELOPE)
        assert file.tell() == 0
        assert server.messages == []


def test_binary_content_is_refused(face: Face):
    envelope = Envelope("ann@example.org", "bob@example.net", body=smtpx.BodyType.BINARY)
    with (
        Server() as server,
        face.session(server.url, signer=Recorder()) as session,
        pytest.raises(smtpx.LocalProtocolError, match="BINARYMIME"),
    ):
        _ = session.send(CONTENT, envelope)
