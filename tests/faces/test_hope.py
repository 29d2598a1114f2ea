"""`send_many`: when a session's end costs an attempt, and when nothing can be hoped for."""

from __future__ import annotations

import socket
from collections import Counter
from email.message import EmailMessage

import pytest

import smtpx
from smtpx import NOTHING_YET, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import (
    Close,
    Extension,
    Fault,
    Refuse,
    Server,
    ServerTLS,
    Shutdown,
    Stall,
    TruncateReply,
)
from tests.faces.conftest import Face
from tests.faces.test_send_many import WAYS, check, numbered

pytestmark = pytest.mark.timeout(60)

SOON = Timeouts.each(2)
TOO_MANY = "421 too many messages in this connection"


def letter(i: int, recipients: int = 1) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"s{i}@x.test"
    message["To"] = ", ".join(f"r{i}-{j}@y.test" for j in range(recipients))
    message.set_content("hello")
    return message


def told_until_the_error(face: Face, url: str, items, **options):
    """What `send_many` yields, and the error it ends with."""
    results = []
    with face.client(url, timeouts=options.pop("timeouts", SOON)) as client:
        try:
            for result in client.send_many(items, **options):
                results.append(result)
        except smtpx.SMTPError as error:
            return results, error
    return results, None


class TestAServerThatEndsSessions:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("command", ["RSET", "MAIL"])
    def test_after_so_many_messages(self, face: Face, way: str, command: str):
        """As Exim does by smtp_accept_max_per_connection. What it does once is learnt."""
        if command == "RSET" and way == "lock-step":
            pytest.skip("there is no RSET where every message was accepted")
        messages = numbered(60)
        fault = Shutdown(command, TOO_MANY, nth=10 if command == "RSET" else 11)
        with Server(extensions=WAYS[way], faults=[fault]) as server:
            results, error = told_until_the_error(face, server.url, messages)
            assert check(server, messages, results) == {"accepted": 60}
            assert error is None
            assert len(server.sessions) <= 7

    @pytest.mark.parametrize("way", WAYS)
    def test_a_client_that_sends_one_by_one_goes_on_in_another(self, face: Face, way: str):
        messages = numbered(30)
        with Server(extensions=WAYS[way], faults=[Shutdown("MAIL", TOO_MANY, nth=11)]) as server:
            with face.client(server.url, timeouts=SOON) as client:
                results = [client.send(content, envelope) for content, envelope in messages]
            assert all(len(result.accepted) == 1 for result in results)
            assert len(server.messages) == 30

    @pytest.mark.parametrize("way", WAYS)
    def test_it_costs_no_message_an_attempt_where_another_was_sent(self, face: Face, way: str):
        messages = numbered(40)
        with Server(extensions=WAYS[way], faults=[Close("MAIL", nth=3)]) as server:
            results, error = told_until_the_error(face, server.url, messages, window=2)
            tally = check(server, messages, results)
        assert error is None
        assert tally["not tried"] == tally["refused"] == 0


class TestNoHope:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("connections", [1, 2])
    @pytest.mark.parametrize("fault", [Close("MAIL"), Shutdown("MAIL"), Shutdown("EHLO", nth=1)])
    def test_a_dead_server_is_given_up(self, face: Face, way: str, connections: int, fault):
        messages = numbered(200)
        with Server(extensions=WAYS[way], faults=[fault]) as server:
            results, error = told_until_the_error(
                face, server.url, messages, connections=connections
            )
            assert isinstance(error, smtpx.SMTPError)
            assert {o.status for r in results for o in r.outcomes} <= {
                smtpx.Status.NOT_TRIED,
                smtpx.Status.IN_DOUBT,
            }
            assert len(server.sessions) <= 9

    def test_a_silent_one_costs_a_few_timeouts(self, face: Face):
        messages = numbered(200)
        with Server(faults=[Stall("MAIL")], extensions=WAYS["DATA"]) as server:
            results, error = told_until_the_error(
                face, server.url, messages, timeouts=Timeouts.each(0.05)
            )
            assert isinstance(error, smtpx.TimedOut)
            assert len(server.sessions) <= 6
        # What was read ahead is told of; the rest was never read.
        assert {o.status for r in results for o in r.outcomes} == {smtpx.Status.NOT_TRIED}

    def test_while_another_session_is_still_at_work(self, face: Face):
        """No loop asks for more for ever; the others are told that there is no hope."""
        faults: list[Fault] = [
            Stall("END-OF-DATA", session=1),
            *(Shutdown("EHLO", session=i) for i in range(2, 12)),
        ]
        with Server(faults=faults, extensions=WAYS["DATA"]) as server:
            results, _ = told_until_the_error(
                face,
                server.url,
                iter(numbered(100)),
                connections=5,
                timeouts=Timeouts.each(1),
            )
            assert Counter(id(r.message) for r in results).most_common(1)[0][1] == 1


@pytest.mark.parametrize("on_doubt", ["report", "resend"])
def test_who_was_to_get_it_is_told_though_no_connection_was_had(face: Face, on_doubt):
    """Also where the header alone says who; a doubt does not get lost."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    results, error = told_until_the_error(
        face, f"smtp://127.0.0.1:{port}", [letter(1, 2)], on_doubt=on_doubt
    )
    assert isinstance(error, smtpx.ConnectionLost)
    (result,) = results
    assert [str(outcome.recipient) for outcome in result.not_tried] == [
        "r1-0@y.test",
        "r1-1@y.test",
    ]


def test_a_doubt_outlives_the_connections_that_cannot_be_had(face: Face):
    faults: list[Fault] = [
        TruncateReply("BDAT", keep=0, session=1),
        *(Refuse("GREETING", "554 go away", session=i) for i in range(2, 9)),
    ]
    with Server(faults=faults) as server:
        results, _ = told_until_the_error(face, server.url, [letter(1)], on_doubt="resend")
        assert len(server.messages) == 1
    (result,) = results
    assert len(result.in_doubt) == 1


@pytest.mark.parametrize("way", WAYS)
def test_an_interruption_tells_of_what_was_begun_and_put_back(face: Face, way: str):
    """Of a divided message, too, of which a part was accepted."""
    messages = numbered(12, recipients=3)

    def source():
        yield from messages
        while not server.messages:
            yield NOTHING_YET
        raise KeyboardInterrupt

    extensions = WAYS[way] | {Extension.LIMITS}
    with (
        Server(extensions=extensions, recipient_limit=1) as server,
        face.client(server.url) as client,
    ):
        told = []
        with pytest.raises(KeyboardInterrupt) as caught:
            for result in client.send_many(source(), window=4):
                told.append(result)
        told.extend(getattr(caught.value, "results", []))
        client.close()
        _ = server.wait_until_idle()
        assert all(len(result.outcomes) == 3 for result in told)
        assert check(server, messages, told, parts=3)["accepted"]


@pytest.mark.timeout(40)
@pytest.mark.parametrize("command", ["GREETING", "EHLO"])
def test_a_connection_that_is_not_answered_holds_up_no_other(face: Face, command: str):
    """By default it would for a minute, at every turn."""
    messages = numbered(100)
    with Server(faults=[Stall(command, session=2)]) as server:
        with face.client(server.url) as client:
            results = list(client.send_many(messages, connections=2, window=2))
            assert client.statistics().opening == 0
        assert check(server, messages, results) == {"accepted": 100}


def test_extra_sessions_are_opened_under_tls_beside_the_first(face: Face):
    messages = numbered(400)
    with Server(tls=ServerTLS.STARTTLS) as server:
        policy = TLSPolicy(TLSMode.STARTTLS, ca_file=server.ca_file)
        with face.client(server.url, tls=policy) as client:
            results = list(client.send_many(messages, connections=4, window=2))
        assert check(server, messages, results) == {"accepted": 400}
        assert {session.tls_version for session in server.sessions} == {"TLSv1.3"}
        assert 1 < len(server.sessions) <= 4
