"""What `repr` and `print` show of clients, sessions, results and the rest; no password in any."""

from __future__ import annotations

import re

import smtpx
from smtpx import Envelope
from smtpx.testing import Server
from tests.faces.conftest import Face

ENVELOPE = Envelope("ann@example.org", ["bob@example.net", "eve@example.net"])
REFUSE_EVE = {"eve@example.net": "550 5.1.1 no such user"}
PASSWORD = "correct horse battery"
URL = "submission://ann:correct%20horse%20battery@mail.example.com"


def shown(target: object) -> str:
    return repr(getattr(target, "target", target))


def test_a_client_shows_its_server_and_no_password(face: Face):
    client = face.client(URL)
    name = type(getattr(client, "target", client)).__name__
    assert shown(client) == f"<{name} mail.example.com:587>"
    credentials = smtpx.Credentials("ann", PASSWORD)
    session = face.session("smtp://mail.example.com", credentials=credentials)
    name = type(getattr(session, "target", session)).__name__
    assert shown(session) == f"<{name} mail.example.com:25, not open>"


def test_a_session_shows_what_became_of_it(face: Face):
    transcript = smtpx.Transcript()
    assert repr(transcript) == "<Transcript of 0 sessions, 0 lines>"
    with Server(refuse_recipients=REFUSE_EVE, users={"ann": PASSWORD}) as server:
        assert repr(server) == f"<Server {server.url}, running, received 0>"
        session = face.session(server.url, observer=transcript)
        with session:
            assert shown(session).endswith(f"127.0.0.1:{server.port}, open>")
            result = session.send(b"Subject: hi\r\n\r\nhello\r\n", ENVELOPE)
        assert shown(session).endswith(f"127.0.0.1:{server.port}, closed>")
        assert repr(server) == f"<Server {server.url}, running, received 1>"
    assert repr(server).endswith(", closed, received 1>")
    lines = len(transcript.sessions[0].splitlines())
    assert repr(transcript) == f"<Transcript of 1 session, {lines} lines>"
    assert repr(result.refused) == ("(<Outcome eve@example.net refused: 550 5.1.1 no such user>,)")
    assert str(result) == "; ".join(map(str, result.outcomes))
    assert not result.complete


def test_each_result_has_the_row_its_copy_was_rendered_of(face: Face):
    message = smtpx.compose(sender="ann@example.org", to="{{address}}", text="Dear {{name}}")
    template = smtpx.Template(message)
    assert repr(template) == "<Template with address, name>"
    rows = [
        {"name": "Bob", "address": "bob@example.net", "id": 1},
        {"name": "Eve", "address": "eve@example.net", "id": 2},
    ]
    with Server(refuse_recipients=REFUSE_EVE) as server, face.client(server.url) as client:
        results = list(client.send_many(map(template.render, rows)))
        assert {id(result.values) for result in results} == {id(row) for row in rows}
        assert [result.values["id"] for result in results if not result.complete] == [2]
        assert client.send(*template.render(rows[0])).values is None
        plain = list(client.send_many([(b"Subject: hi\r\n\r\nhello\r\n", ENVELOPE)]))
        assert [result.values for result in plain] == [None]


def test_what_a_server_received_is_shown_by_its_size():
    with Server(refuse_recipients=REFUSE_EVE) as server:
        _ = smtpx.send(b"Subject: hi\r\n\r\nhello\r\n", server.url, ENVELOPE)
        (received,), (record,) = server.messages, server.sessions
    octets = len(received.content)
    assert repr(received) == (
        f"<ReceivedMessage from <ann@example.org> to bob@example.net: {octets} octets>"
    )
    told = repr(record)
    assert re.fullmatch("<SessionRecord 1, (open|closed), [4-6] commands>", told)


def test_an_attachment_is_shown_without_its_octets():
    whole = smtpx.Attachment(b"x" * 1000, "a.bin")
    assert repr(whole) == "<Attachment 1000 octets, 'a.bin'>"
    assert repr(smtpx.Attachment("a.pdf")) == "<Attachment 'a.pdf'>"
