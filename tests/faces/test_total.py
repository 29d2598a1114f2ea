"""`Timeouts.total` is one deadline over a whole call, whatever it takes to carry it out."""

from __future__ import annotations

import time
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, PoolLimits, Timeouts
from smtpx._drivers.waiting import Deadline
from smtpx.testing import ALL_EXTENSIONS, Latency, Server, Stall
from tests.faces.conftest import Face

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("way", ["client", "one shot"])
def test_it_is_not_begun_anew_with_the_transaction(face: Face, way: str):
    """Greeting, EHLO and the message: three waits, of which two fit."""
    timeouts = Timeouts.each(20, total=0.8)
    with Server(faults=[Latency(0.3)]) as server, pytest.raises(smtpx.TimedOut):
        if way == "client":
            with face.client(server.url, timeouts=timeouts) as client:
                _ = client.send(CONTENT, ENVELOPE)
        else:
            _ = face.send(CONTENT, server.url, envelope=ENVELOPE, timeouts=timeouts)


def test_it_is_not_begun_anew_with_each_session(face: Face):
    """RCPTDOMAINMAX=1: each domain wants a session of its own, and each of them its time."""
    names = [f"bob@{n}.test" for n in range(40)]
    with (
        Server(extensions=ALL_EXTENSIONS, domain_limit=1, faults=[Latency(0.05)]) as server,
        face.client(server.url, timeouts=Timeouts.each(20, total=2)) as client,
    ):
        result = client.send(CONTENT, Envelope("ann@example.org", names))
        assert result.accepted
        assert result.not_tried or result.in_doubt
        assert isinstance(result.error, smtpx.TimedOut)
        assert client.statistics().busy == 0


def test_a_session_can_be_given_another_one(face: Face):
    """By whoever has less time for the next call; it holds for those after it, too."""
    with (
        Server(faults=[Stall("NOOP", times=None)]) as server,
        face.session(server.url, timeouts=Timeouts(mail=20, total=20)) as session,
    ):
        assert session.total == 20
        itself = vars(session).get("target", session)
        itself.total = 0.3
        assert session.total == 0.3
        with pytest.raises(smtpx.TimedOut, match="total"):
            session.noop()
        with pytest.raises(ValueError, match="total"):
            itself.total = 0


def test_what_our_side_took_is_not_the_servers_fault(face: Face):
    def slow(content: bytes) -> bytes:
        time.sleep(0.2)
        return content

    with Server() as server, pytest.raises(smtpx.TimedOut) as caught:
        _ = face.send(
            CONTENT, server.url, envelope=ENVELOPE, signer=slow, timeouts=Timeouts(total=0.15)
        )
    assert "the time was up while we got ready to write (total, for" in str(caught.value)


def test_what_took_the_time_is_what_it_says(face: Face):
    """A kept connection whose server is mute: there is no time left for another one."""
    with (
        Server(refuse_recipients={"bob@example.net": "550 no"}, faults=[Stall("RSET")]) as server,
        face.client(server.url, timeouts=Timeouts.each(20, total=0.6)) as client,
    ):
        with pytest.raises(smtpx.RecipientsRefused):
            _ = client.send(CONTENT, ENVELOPE)
        with pytest.raises(smtpx.TimedOut, match="the reply to RSET") as caught:
            _ = client.send(CONTENT, Envelope("ann@example.org", "carol@example.net"))
        assert caught.value.phase == "other"
        assert caught.value.result is not None
        assert caught.value.result.not_tried
        assert client.statistics().busy == 0


def test_where_the_time_is_for_each_command_another_one_follows(face: Face):
    with (
        Server(refuse_recipients={"bob@example.net": "550 no"}, faults=[Stall("RSET")]) as server,
        face.client(server.url, timeouts=Timeouts(other=0.2, total=20)) as client,
    ):
        with pytest.raises(smtpx.RecipientsRefused):
            _ = client.send(CONTENT, ENVELOPE)
        assert client.send(CONTENT, Envelope("ann@example.org", "carol@example.net")).complete
        assert client.statistics().opened == 2


def test_no_host_is_sought_where_there_is_no_time(face: Face):
    timeouts = Timeouts.each(20, total=1e-9)
    for host in ("127.0.0.1", "localhost", "mx.invalid"):
        with pytest.raises(smtpx.TimedOut, match="the total time is used up") as caught:
            _ = face.send(CONTENT, f"smtp://{host}:2525?tls=none", ENVELOPE, timeouts=timeouts)
        assert "not found" not in str(caught.value)


def the_only_connection(face: Face, client: Any) -> object:
    """It is held as long as the value is."""
    if face.runner is None:
        return client._pool.acquire()

    async def hold() -> object:
        return await client.target._pools.here().acquire()

    return face.runner.run(hold)


def test_the_wait_for_a_connection_counts(face: Face):
    with (
        Server() as server,
        face.client(
            server.url, pool=PoolLimits(open=1, wait=60), timeouts=Timeouts.each(60, total=1)
        ) as client,
    ):
        held = the_only_connection(face, client)
        with pytest.raises(smtpx.TimedOut, match="waited for a connection"):
            _ = client.send(CONTENT, ENVELOPE)
        assert client.statistics().waiting == 0
        del held
        assert client.send(CONTENT, ENVELOPE).accepted


@pytest.mark.parametrize("way", ["client", "one shot"])
def test_a_farewell_that_takes_too_long_is_no_failure(face: Face, way: str):
    timeouts = Timeouts.each(60, total=2)
    with Server(faults=[Stall("QUIT")]) as server:
        if way == "client":
            limits = PoolLimits(idle=0)
            with face.client(server.url, timeouts=timeouts, pool=limits) as client:
                assert client.send(CONTENT, ENVELOPE).accepted
        else:
            result = face.send(CONTENT, server.url, envelope=ENVELOPE, timeouts=timeouts)
            assert result.accepted


def test_a_moment_is_left_for_the_farewell():
    spent = Deadline(1e-9)
    with pytest.raises(TimeoutError):
        _ = spent.within(5)
    assert 0 < (spent.for_farewell().within(5) or 0) < 1
    assert 0 < (Deadline(60).for_farewell(0.5).within(5) or 0) <= 0.5
    assert Deadline(None).for_farewell().within(5) == 5
