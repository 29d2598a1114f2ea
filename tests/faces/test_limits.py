"""LIMITS (RFC 9422): a message goes in as many transactions, and sessions, as the server wants."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smtpx
from smtpx import Envelope
from smtpx.testing import ALL_EXTENSIONS, Extension, Refuse, ReplaceReply, Server
from tests.faces.conftest import Face

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
WAYS = {
    "BDAT": ALL_EXTENSIONS,
    "DATA": ALL_EXTENSIONS - {Extension.CHUNKING},
    "lock-step": ALL_EXTENSIONS - {Extension.CHUNKING, Extension.PIPELINING},
}
every_way = pytest.mark.parametrize("way", WAYS)


def everyone(count: int, domains: int = 1) -> list[str]:
    return [f"r{i}@{i % domains}.test" for i in range(count)]


def received(server: Server) -> list[str]:
    return sorted(name for message in server.messages for name in message.recipients)


def session_shares(server: Server) -> list[int]:
    return [len(message.recipients) for message in server.messages]


@every_way
def test_rcptmax_divides_the_recipients(face: Face, way: str) -> None:
    names = everyone(7)
    with Server(extensions=WAYS[way], recipient_limit=3) as server:
        with face.session(server.url) as session:
            result = session.send(CONTENT, Envelope("a@x.test", names))
        assert [str(outcome.recipient) for outcome in result.accepted] == names
        assert result.error is None
        assert session_shares(server) == [3, 3, 1]
        assert {message.content for message in server.messages} == {CONTENT}
        assert server.breaches == []


def test_a_refused_part_is_that_of_its_recipients(face: Face) -> None:
    names = everyone(5)
    refused = {names[2]: "550 5.1.1 no", names[3]: "550 5.1.1 no"}
    with Server(extensions=ALL_EXTENSIONS, recipient_limit=2, refuse_recipients=refused) as server:
        with face.session(server.url) as session:
            result = session.send(CONTENT, Envelope("a@x.test", names))
        assert [str(outcome.recipient) for outcome in result.refused] == names[2:4]
        assert [str(outcome.recipient) for outcome in result.outcomes] == names
        assert result.error is None
        assert received(server) == sorted({*names} - {*refused})


def test_nobody_at_all_raises(face: Face) -> None:
    names = everyone(4)
    with (
        Server(
            extensions=ALL_EXTENSIONS,
            recipient_limit=2,
            refuse_recipients=dict.fromkeys(names, "550 no"),
        ) as server,
        face.session(server.url) as session,
    ):
        with pytest.raises(smtpx.RecipientsRefused) as caught:
            _ = session.send(CONTENT, Envelope("a@x.test", names))
        assert caught.value.result is not None
        assert len(caught.value.result.refused) == 4


def test_all_or_nothing_needs_one_transaction(face: Face) -> None:
    with (
        Server(extensions=ALL_EXTENSIONS, recipient_limit=2) as server,
        face.session(server.url) as session,
    ):
        with pytest.raises(smtpx.LocalProtocolError, match="RCPTMAX"):
            _ = session.send(CONTENT, Envelope("a@x.test", everyone(3)), all_or_nothing=True)
        _ = session.send(CONTENT, Envelope("a@x.test", everyone(2)), all_or_nothing=True)
        assert len(server.messages) == 1


def test_what_one_part_cannot_ask_for_is_refused_before_the_first(face: Face) -> None:
    """Here that somebody's address needs SMTPUTF8, which the server lacks."""
    names = [*everyone(2), "\u00fc@0.test"]
    extensions = ALL_EXTENSIONS - {Extension.SMTPUTF8}
    with Server(extensions=extensions, recipient_limit=2) as server:
        with face.session(server.url) as session, pytest.raises(smtpx.ExtensionMissing) as caught:
            session.send(CONTENT, Envelope("a@x.test", names))
        assert caught.value.result is None
        assert received(server) == []


def test_what_can_be_read_once_is_refused_before_it_is_read(face: Face) -> None:
    with (
        Server(extensions=ALL_EXTENSIONS, recipient_limit=2) as server,
        face.session(server.url) as session,
    ):
        file = io.BytesIO(CONTENT)
        with pytest.raises(smtpx.LocalProtocolError, match="give bytes"):
            _ = session.send(file, Envelope("a@x.test", everyone(3)))
        assert file.tell() == 0
        _ = session.send(file, Envelope("a@x.test", everyone(2)))
        assert len(server.messages) == 1


def test_a_session_names_no_more_domains_than_it_may(face: Face) -> None:
    names = everyone(6, domains=3)
    with (
        Server(extensions=ALL_EXTENSIONS, domain_limit=2) as server,
        face.session(server.url) as session,
    ):
        result = session.send(CONTENT, Envelope("a@x.test", names))
        assert [str(outcome.recipient) for outcome in result.not_tried] == [
            "r2@2.test",
            "r5@2.test",
        ]
        assert isinstance(result.error, smtpx.SessionFull)
        _ = session.send(CONTENT, Envelope("a@x.test", "b@1.test"))
        with pytest.raises(smtpx.SessionFull, match="RCPTDOMAINMAX"):
            _ = session.send(CONTENT, Envelope("a@x.test", "b@2.test"))
        assert server.breaches == []


@pytest.mark.parametrize("reused", [False, True])
def test_who_is_left_over_where_no_other_session_can_be_had(face: Face, reused: bool) -> None:
    names = everyone(2, domains=2)
    fault = ReplaceReply("EHLO", b"hello\r\n", session=2)
    with (
        Server(extensions=ALL_EXTENSIONS, domain_limit=1, faults=[fault]) as server,
        face.client(server.url) as client,
    ):
        if reused:
            _ = client.send(CONTENT, Envelope("a@x.test", names[0]))
        result = client.send(CONTENT, Envelope("a@x.test", names))
        assert [str(outcome.recipient) for outcome in result.accepted] == names[:1]
        assert [str(outcome.recipient) for outcome in result.not_tried] == names[1:]
        assert isinstance(result.error, smtpx.RemoteProtocolError)
        assert client.statistics().busy == client.statistics().opening == 0


def test_a_client_goes_on_in_other_sessions(face: Face) -> None:
    names = everyone(9, domains=4)
    with Server(extensions=ALL_EXTENSIONS, recipient_limit=3, domain_limit=2) as server:
        with face.client(server.url) as client:
            _ = client.send(CONTENT, Envelope("a@x.test", "b@other.test"))
            result = client.send(CONTENT, Envelope("a@x.test", names))
        assert server.breaches == []
        assert [str(outcome.recipient) for outcome in result.accepted] == names
        assert result.error is None
        assert received(server) == sorted([*names, "b@other.test"])
        assert len(server.sessions) == 3


def test_who_finds_no_other_session_is_not_tried(face: Face) -> None:
    with Server(extensions=ALL_EXTENSIONS, domain_limit=1) as server:
        server.add_fault(Refuse("GREETING", "554 5.3.2 one is enough", session=2))
        with face.client(server.url) as client:
            result = client.send(CONTENT, Envelope("a@x.test", everyone(4, domains=2)))
        assert len(result.accepted) == len(result.not_tried) == 2
        assert isinstance(result.error, smtpx.GreetingRefused)


def test_the_session_in_place_of_a_full_one_may_teach_something(face: Face) -> None:
    """It does not know the BDAT that it announced, and nothing was taken: another does without."""
    faults = [Refuse("RCPT", "550 5.1.1 nobody", session=1), Refuse("BDAT", "502 what", session=2)]
    with Server(extensions=ALL_EXTENSIONS, domain_limit=1, faults=faults) as server:
        with face.client(server.url) as client:
            with pytest.raises(smtpx.RecipientsRefused):
                _ = client.send(CONTENT, Envelope("a@x.test", "b@one.test"))
            assert client.send(CONTENT, Envelope("a@x.test", "b@two.test")).accepted
        assert len(server.messages) == 1


@every_way
def test_send_many_divides_and_goes_on_in_other_sessions(face: Face, way: str) -> None:
    messages = [
        (CONTENT, Envelope(f"s{i}@x.test", everyone(1 + i % 5, domains=1 + i % 4)))
        for i in range(12)
    ]
    with Server(extensions=WAYS[way], recipient_limit=2, domain_limit=2) as server:
        with face.client(server.url) as client:
            results = list(client.send_many(messages))
        assert server.breaches == []
        assert len(results) == len(messages)
        assert all(result.error is None for result in results)
        got = sorted((m.sender, name) for m in server.messages for name in m.recipients)
    sent = [(str(e.sender), str(r)) for _, e in messages for r in e.recipients]
    assert got == sorted(sent)


@given(
    counts=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), min_size=1, max_size=6),
    most=st.none() | st.integers(1, 4),
    domains=st.none() | st.integers(1, 3),
)
def test_whoever_is_told_accepted_got_it_once(counts, most, domains) -> None:
    messages = [
        (CONTENT, Envelope(f"s{i}@x.test", everyone(count, spread)))
        for i, (count, spread) in enumerate(counts)
    ]
    with Server(extensions=ALL_EXTENSIONS, recipient_limit=most, domain_limit=domains) as server:
        with smtpx.Client(server.url) as client:
            results = list(client.send_many(messages, window=3))
        assert server.breaches == []
        got = sorted((m.sender, name) for m in server.messages for name in m.recipients)
    assert sum(len(result.accepted) for result in results) == len(got)
    assert got == sorted((str(e.sender), str(r)) for _, e in messages for r in e.recipients)


def test_a_message_sent_by_itself_has_one_session(face: Face):
    """What that may not name is told, and another is the caller's to have."""
    envelope = Envelope("ann@example.org", ["bob@one.test", "carol@two.test"])
    with Server(extensions=ALL_EXTENSIONS, domain_limit=1) as server:
        result = face.send(b"Subject: hi\r\n\r\n", server.url, envelope)
        assert [str(outcome.recipient) for outcome in result.accepted] == ["bob@one.test"]
        assert [str(outcome.recipient) for outcome in result.not_tried] == ["carol@two.test"]
        assert "RCPTDOMAINMAX" in str(result.error)
        assert len(server.messages) == 1
