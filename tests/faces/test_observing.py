"""What an observer is told of sessions and messages, the same on every face."""

from __future__ import annotations

import time

import pytest

import smtpx
from smtpx import (
    Envelope,
    MessageBegun,
    MessageEnded,
    PoolLimits,
    Protected,
    SessionBegun,
    SessionClosed,
    SessionOpened,
    TLSMode,
    TLSPolicy,
)
from smtpx.testing import ALL_EXTENSIONS, Close, Extension, Refuse, Server, ServerTLS, Stall

from .conftest import Face

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", ["bob@example.net", "carol@example.net"])


def happenings(events: list[smtpx.Event]) -> list[smtpx.Event]:
    """All but the dialogue."""
    return [event for event in events if not isinstance(event, smtpx.Line)]


def test_a_session_and_a_message_from_beginning_to_end(face: Face):
    events: list[smtpx.Event] = []
    with (
        Server(tls=ServerTLS.STARTTLS, refuse_recipients={"carol@example.net": "550 no"}) as server,
        face.session(
            server.url,
            observer=events.append,
            tls=TLSPolicy(TLSMode.STARTTLS, ca_file=server.ca_file),
        ) as session,
    ):
        result = session.send(CONTENT, ENVELOPE)
    begun, protected, opened, message, ended, closed = happenings(events)
    assert isinstance(begun, SessionBegun)
    assert begun.endpoint.port == server.port
    assert isinstance(protected, Protected)
    assert protected.protection.version.startswith("TLSv1.")
    assert isinstance(opened, SessionOpened)
    assert opened.extensions.pipelining
    assert isinstance(message, MessageBegun)
    assert message.envelope is ENVELOPE
    assert isinstance(ended, MessageEnded)
    assert ended.result is result
    assert ended.number == message.number
    assert isinstance(closed, SessionClosed)
    assert not closed.is_broken
    assert closed.reply is not None
    assert closed.reply.code == 221
    assert len({event.session for event in events}) == 1


def test_a_session_that_is_not_had_tells_why(face: Face):
    events: list[smtpx.Event] = []
    with (
        Server(greeting="554 5.3.2 go away") as server,
        pytest.raises(smtpx.GreetingRefused) as no,
        face.session(server.url, observer=events.append),
    ):
        pass
    begun, closed = happenings(events)
    assert isinstance(begun, SessionBegun)
    assert isinstance(closed, SessionClosed)
    assert closed.error is no.value
    assert closed.is_broken


def test_a_connection_that_is_refused_is_a_session_that_was_not_had(face: Face):
    events: list[smtpx.Event] = []
    with Server() as server:
        url = server.url
    with pytest.raises(smtpx.ConnectionLost) as lost, face.session(url, observer=events.append):
        pass
    _, closed = happenings(events)
    assert isinstance(closed, SessionClosed)
    assert closed.error is lost.value


def test_a_lost_session_is_told_of_once(face: Face):
    events: list[smtpx.Event] = []
    with (
        Server(faults=[Close("BDAT")]) as server,
        face.session(server.url, observer=events.append) as session,
        pytest.raises(smtpx.ConnectionLost),
    ):
        _ = session.send(CONTENT, ENVELOPE)
    *_, ended, closed = happenings(events)
    assert isinstance(ended, MessageEnded)
    assert len(ended.result.in_doubt) == 2
    assert isinstance(closed, SessionClosed)
    assert closed.is_broken


@pytest.mark.parametrize("chunking", [True, False])
def test_every_message_of_send_many_has_its_beginning_and_its_end(face: Face, chunking: bool):
    events: list[smtpx.Event] = []
    extensions = smtpx.testing.USUAL_EXTENSIONS
    if not chunking:
        extensions -= {smtpx.testing.Extension.CHUNKING}
    messages = [(b"%d\r\n" % i, Envelope(f"s{i}@x.test", "bob@example.net")) for i in range(20)]
    refused = Refuse("MAIL", "550 not you", nth=7)
    with (
        Server(extensions=extensions, faults=[refused]) as server,
        face.client(server.url, observer=events.append) as client,
    ):
        results = list(client.send_many(messages, window=5))
    begun = {event.number: event for event in events if isinstance(event, MessageBegun)}
    ended = {event.number: event for event in events if isinstance(event, MessageEnded)}
    assert sorted(begun) == sorted(ended) == list(range(1, 21))
    assert {id(event.result) for event in ended.values()} == {id(result) for result in results}
    for number, event in ended.items():
        content = event.result.message
        assert isinstance(content, bytes)
        assert str(begun[number].envelope.sender) == f"s{int(content)}@x.test"
    assert sum(event.result.error is not None for event in ended.values()) == 1


def test_a_message_that_goes_by_another_session_ends_there(face: Face):
    events: list[smtpx.Event] = []
    messages = [(CONTENT, Envelope(f"s{i}@example.org", "bob@example.net")) for i in range(6)]
    refused = Refuse("MAIL", "421 4.3.2 enough", nth=3, session=1)
    with (
        Server(faults=[refused]) as server,
        face.client(server.url, observer=events.append) as client,
    ):
        results = list(client.send_many(messages, window=2))
    assert [result.error for result in results] == [None] * 6
    ended = [event.result for event in events if isinstance(event, MessageEnded)]
    assert len(ended) == 6
    assert len({event.session for event in events}) == 2
    for event in happenings(events):
        if isinstance(event, SessionClosed):
            assert event.reply is not None
            assert not event.is_broken


FAILING = ["MessageBegun", "content", "final", "MessageEnded"]


@pytest.mark.parametrize("point", FAILING)
@pytest.mark.parametrize("way", ["session", "client", "one shot", "send_many"])
def test_an_observer_that_fails_hides_nothing(face: Face, way: str, point: str):
    """Such as `print`, where the terminal takes ASCII only."""
    failures = 0

    def observe(event: smtpx.Event) -> None:
        nonlocal failures
        is_point = type(event).__name__ == point or (
            isinstance(event, smtpx.Line)
            and event.text.startswith({"content": "354", "final": "250 2.0.0"}.get(point, "-"))
        )
        if is_point and not failures:
            failures += 1
            raise UnicodeEncodeError("ascii", "é", 0, 1, "no")

    by_data = ALL_EXTENSIONS - {Extension.CHUNKING}
    with Server(extensions=by_data) as server:
        if way == "session":
            with (
                face.session(server.url, observer=observe) as session,
                pytest.raises(UnicodeEncodeError) as caught,
            ):
                _ = session.send(CONTENT, ENVELOPE)
            results: list[smtpx.SendResult] = [vars(caught.value)["result"]]
        elif way == "one shot":
            with pytest.raises(UnicodeEncodeError) as caught:
                _ = face.send(CONTENT, server.url, envelope=ENVELOPE, observer=observe)
            results = [vars(caught.value)["result"]]
        else:
            with face.client(server.url, observer=observe, pool=PoolLimits(open=1)) as client:
                results = []
                with pytest.raises(UnicodeEncodeError) as caught:
                    if way == "client":
                        _ = client.send(CONTENT, ENVELOPE)
                    for result in client.send_many([(CONTENT, ENVELOPE)]):
                        results.append(result)
                if way == "client":
                    results = [vars(caught.value)["result"]]
                else:
                    results += getattr(caught.value, "results", [])
                assert client.statistics().busy == 0
                assert client.send(CONTENT, ENVELOPE).accepted
        assert failures == 1
        assert [len(result.accepted) for result in results] == [2]
        assert server.messages


class FailsAtTheEnd:
    """An observer that fails when a session ends, each time."""

    def __init__(self) -> None:
        self.failures = 0

    def __call__(self, event: smtpx.Event) -> None:
        if isinstance(event, SessionClosed):
            self.failures += 1
            raise ValueError("the observer failed")


def test_a_session_that_another_call_has_left_ends_for_the_log_alone(
    face: Face, caplog: pytest.LogCaptureFixture
):
    """A connection that is too old is closed by whoever comes next, and sends all the same."""
    observer = FailsAtTheEnd()
    with Server() as server:
        client = face.client(server.url, observer=observer, pool=PoolLimits(idle_time=0.01))
        assert client.send(CONTENT, ENVELOPE).complete
        time.sleep(0.05)
        assert client.send(CONTENT, ENVELOPE).complete
        assert observer.failures == 1
        assert "the observer failed" in caplog.text
        with pytest.raises(ValueError, match="the observer"):
            client.close()
        assert observer.failures == 2


def test_what_a_stream_had_no_need_of_ends_for_the_log_alone(
    face: Face, caplog: pytest.LogCaptureFixture
):
    """A second connection that is still to be had when all is sent."""
    observer = FailsAtTheEnd()
    with Server(faults=[Stall("EHLO", session=2)]) as server:
        client = face.client(server.url, observer=observer)
        results = list(client.send_many([(CONTENT, ENVELOPE)] * 40, connections=2, window=4))
        assert all(result.complete for result in results)
        assert observer.failures == 1
        assert client.send(CONTENT, ENVELOPE).complete
        assert "the observer failed" in caplog.text
        with pytest.raises(ValueError, match="the observer"):
            client.close()


def test_the_end_of_a_session_in_its_own_call_comes_out_of_it(face: Face):
    observer = FailsAtTheEnd()
    with Server() as server:
        client = face.client(server.url, observer=observer, pool=PoolLimits(idle=0))
        with pytest.raises(ValueError, match="the observer") as caught:
            client.send(CONTENT, ENVELOPE)
        assert vars(caught.value)["result"].complete
        client.close()
        assert observer.failures == 1
