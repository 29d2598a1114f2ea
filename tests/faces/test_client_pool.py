"""A client shares a few connections among threads, or tasks, and gives each back in order."""

from __future__ import annotations

import os

import pytest

import smtpx
from smtpx import CloseReason, Envelope, PoolLimits, Timeouts
from smtpx.testing import ALL_EXTENSIONS, Extension, Latency, Refuse, Server, Stall
from tests.faces.conftest import Face

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(30)


@pytest.mark.requirement("T43")
def test_those_who_share_never_mix_and_never_exceed_the_bound(face: Face):
    with (
        Server(faults=[Latency(0.002)]) as server,
        face.client(server.url, pool=PoolLimits(open=3)) as client,
    ):
        assert face.at_once(8, client, 25, CONTENT, ENVELOPE) == []
        statistics = client.statistics()
        assert len(server.sessions) <= 3
        assert len(server.messages) == 200
        assert all(message.content == CONTENT for message in server.messages)
        assert server.breaches == []
    assert statistics.acquired == 200
    assert statistics.opened == len(server.sessions)
    assert statistics.reused == 200 - statistics.opened
    assert statistics.busy == 0


@pytest.mark.requirement("T41")
def test_messages_per_connection(face: Face):
    with Server() as server:
        with face.client(server.url, pool=PoolLimits(messages=3)) as client:
            for _ in range(7):
                _ = client.send(CONTENT, ENVELOPE)
            _ = list(client.send_many([(CONTENT, ENVELOPE)] * 10))
        _ = server.wait_until_idle()
        per_session = [
            sum(command.startswith("MAIL") for command in session.commands)
            for session in server.sessions
        ]
        assert sum(per_session) == 17
        assert max(per_session) == 3
        assert all(session.quit for session in server.sessions)


def test_9422_mailmax_is_obeyed(face: Face):
    with Server(extensions=ALL_EXTENSIONS | {Extension.LIMITS}, mail_limit=2) as server:
        with face.client(server.url) as client:
            results = list(client.send_many([(CONTENT, ENVELOPE)] * 5))
        assert [len(result.accepted) for result in results] == [1] * 5
        assert len(server.sessions) == 3
        assert server.breaches == []


def test_a_caller_waits_no_longer_than_it_may(face: Face):
    with (
        Server(faults=[Stall("MAIL")]) as server,
        face.client(
            server.url, pool=PoolLimits(open=1, wait=0.05), timeouts=Timeouts.each(1)
        ) as client,
    ):
        errors = face.at_once(2, client, 1, CONTENT, ENVELOPE)
        assert [type(error) for error in errors] == [smtpx.TimedOut] * 2
        assert "PoolLimits" in str(errors[0])
        assert client.statistics().timed_out == 1


def test_the_rate(face: Face):
    limits = PoolLimits(rate=100, burst=1)
    with Server() as server, face.client(server.url, pool=limits) as client:
        for _ in range(4):
            _ = client.send(CONTENT, ENVELOPE)
        _ = list(client.send_many([(CONTENT, ENVELOPE)] * 4))
        assert len(server.messages) == 8
        assert client.statistics().rate_seconds > 0


def test_too_many_connections_lowers_the_bound(face: Face):
    with (
        Server(faults=[Refuse("EHLO", "421 4.7.0 too many", session=2), Latency(0.01)]) as server,
        face.client(server.url, pool=PoolLimits(open=4)) as client,
    ):
        errors = face.at_once(4, client, 1, CONTENT, ENVELOPE)
        assert [type(error) for error in errors] == [smtpx.HelloRefused]
        assert client.statistics().refused_for_load == 1


def test_closed(face: Face):
    with Server() as server:
        client = face.client(server.url)
        _ = client.send(CONTENT, ENVELOPE)
        client.close()
        assert server.wait_until_idle()[0].quit
        assert client.statistics().closed == {CloseReason.SHUTDOWN: 1}
        for call in (
            lambda: client.send(CONTENT, ENVELOPE),
            lambda: list(client.send_many([(CONTENT, ENVELOPE)])),
        ):
            with pytest.raises(smtpx.LocalProtocolError, match="closed"):
                _ = call()


def test_aborted(face: Face):
    with Server() as server:
        client = face.client(server.url)
        _ = client.send(CONTENT, ENVELOPE)
        client.close(abort=True)
        assert not server.wait_until_idle()[0].quit


@pytest.mark.requirement("T43")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork_the_child_opens_its_own(face: Face):
    if face.name == "trio":
        pytest.skip("a run of trio does not outlive a fork")
    with Server() as server, face.client(server.url) as client:
        _ = client.send(CONTENT, ENVELOPE)
        child = os.fork()
        if not child:
            code = 1
            try:
                in_child = face.in_child(client)
                in_child.send(CONTENT, ENVELOPE)
                in_child.close()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        _ = client.send(CONTENT, ENVELOPE)
        assert len(server.sessions) == 2
        of_parent = server.sessions[0]
        assert [command[:4] for command in of_parent.commands].count("MAIL") == 2
        assert not of_parent.quit
        assert server.breaches == []
