"""What a message becomes for servers without 8BITMIME, or with BINARYMIME."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage

import pytest

from smtpx import BodyType, Envelope, ExtensionMissing, LocalProtocolError, compose
from smtpx.testing import Extension, Server, Via

from .conftest import Face

OLD = frozenset({Extension.PIPELINING, Extension.SIZE})
ENVELOPE = Envelope("a@x.test", "b@x.test")
CONTENT = (
    b"From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\ngr\xc3\xbc\xc3\x9f dich\r\n"
)
DATA = bytes(range(256)) * 400


def with_binary_part() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "a@x.test"
    message["To"] = "b@x.test"
    message.set_content("hi\n")
    message.add_attachment(DATA, "image", "png", cte="binary", filename="x.png")
    return message


@pytest.mark.requirement("RFC 6152")
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_encoded_where_the_server_has_no_8bitmime(face: Face, kind: type):
    with Server(extensions=OLD) as server, face.session(server.url) as session:
        _ = session.send(kind(CONTENT), ENVELOPE)
        (received,) = server.messages
        assert server.breaches == []
    assert received.content.isascii()
    again = message_from_bytes(received.content)
    assert again.get_payload(decode=True) == "grüß dich\r\n".encode()


def test_bytes_that_the_server_takes_are_sent_as_they_are(face: Face):
    with Server() as server, face.session(server.url) as session:
        _ = session.send(CONTENT, ENVELOPE)
        assert server.messages[0].content == CONTENT


@pytest.mark.parametrize(
    "content", [b"DKIM-Signature: v=1\r\n" + CONTENT, b"Subject: \xe4\r\n\r\n"]
)
def test_what_may_not_be_changed_is_refused_before_anything_is_said(face: Face, content: bytes):
    with Server(extensions=OLD) as server, face.session(server.url) as session:
        with pytest.raises(LocalProtocolError, match=r"the server cannot take|the server takes no"):
            _ = session.send(content, ENVELOPE)
        assert server.messages == []
        assert not [said for said in server.sessions[0].commands if said.startswith("MAIL")]


def test_who_asks_for_eight_bits_gets_them_or_nothing(face: Face):
    envelope = ENVELOPE.replace(body=BodyType.EIGHT_BIT)
    with (
        Server(extensions=OLD) as server,
        face.session(server.url) as session,
        pytest.raises(ExtensionMissing, match="8BITMIME"),
    ):
        _ = session.send(CONTENT, envelope)


def test_a_message_is_seven_bit_where_the_envelope_says_so(face: Face):
    envelope = ENVELOPE.replace(body=BodyType.SEVEN_BIT)
    with Server() as server, face.session(server.url) as session:
        _ = session.send(message_from_bytes(CONTENT), envelope)
        assert server.messages[0].content.isascii()


def test_many_messages_are_encoded_too(face: Face):
    with Server(extensions=OLD) as server, face.client(server.url) as client:
        results = list(client.send_many([(CONTENT, ENVELOPE)] * 3))
        assert [len(result.accepted) for result in results] == [1, 1, 1]
        assert all(received.content.isascii() for received in server.messages)


@pytest.mark.requirement("RFC 3030 §3")
@pytest.mark.parametrize("many", [False, True])
def test_binary_parts_go_as_they_are_where_the_server_has_binarymime(face: Face, many: bool):
    with Server() as server, face.client(server.url) as client:
        if many:
            (result,) = client.send_many([with_binary_part()])
            assert result.error is None
        else:
            _ = client.send(with_binary_part())
        (received,) = server.messages
        assert server.breaches == []
    assert received.mail_parameters["BODY"] == "BINARYMIME"
    assert received.via is Via.BDAT
    assert b"\r\n\r\n" + DATA + b"\r\n--" in received.content


@pytest.mark.parametrize("extensions", [OLD, OLD | {Extension.EIGHT_BIT_MIME, Extension.CHUNKING}])
def test_binary_parts_go_in_base64_where_it_has_not(face: Face, extensions: frozenset[Extension]):
    with Server(extensions=extensions) as server, face.session(server.url) as session:
        _ = session.send(with_binary_part())
        (received,) = server.messages
        assert server.breaches == []
    assert "BODY" not in received.mail_parameters
    *_, image = message_from_bytes(received.content).walk()
    assert image.get_payload(decode=True) == DATA


def test_who_asks_for_binary_gets_it_or_nothing(face: Face):
    envelope = ENVELOPE.replace(body=BodyType.BINARY)
    with (
        Server(extensions=OLD) as server,
        face.session(server.url) as session,
        pytest.raises(ExtensionMissing, match="BINARYMIME"),
    ):
        _ = session.send(with_binary_part(), envelope)


@pytest.mark.requirement("RFC 6532")
def test_an_internationalized_address_in_the_header_alone(face: Face):
    message = compose(sender="a@x.test", to="b@x.test", reply_to="jörg@x.test", text="hi")
    with Server() as server, face.session(server.url) as session:
        _ = session.send(message)
        (received,) = server.messages
        assert "SMTPUTF8" in received.mail_parameters
        assert "Reply-To: jörg@x.test\r\n".encode() in received.content
    no_utf8 = OLD | {Extension.EIGHT_BIT_MIME}
    with (
        Server(extensions=no_utf8) as server,
        face.session(server.url) as session,
        pytest.raises(ExtensionMissing, match="SMTPUTF8"),
    ):
        _ = session.send(message)
