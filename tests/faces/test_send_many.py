"""`send_many`: everything arrives once, under its own envelope, or is accounted for."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections import Counter
from email.message import EmailMessage
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import smtpx
from smtpx import Envelope, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import (
    ALL_EXTENSIONS,
    AppendToReply,
    Close,
    CutInput,
    Extension,
    Fault,
    Refuse,
    Reset,
    Server,
    ServerTLS,
    Shutdown,
    TruncateReply,
)
from tests.faces.conftest import Face

pytestmark = pytest.mark.timeout(60)

WAYS = {
    "BDAT": ALL_EXTENSIONS,
    "DATA": ALL_EXTENSIONS - {Extension.CHUNKING, Extension.BINARYMIME},
    "lock-step": ALL_EXTENSIONS - {Extension.PIPELINING},
}
SOON = Timeouts.each(2)


def numbered(count: int, recipients: int = 1) -> list[tuple[bytes, Envelope]]:
    """Messages that tell by their content which envelope is theirs."""
    return [
        (
            b"Subject: %d\r\n\r\n.%d\r\n" % (i, i),
            Envelope(f"s{i}@x.test", [f"r{i}-{j}@y.test" for j in range(recipients)]),
        )
        for i in range(count)
    ]


def check(
    server: Server,
    messages: list[tuple[bytes, Envelope]],
    results: list[smtpx.SendResult],
    *,
    parts: int = 1,
) -> Counter[str]:
    """Each message has one result; what was taken was taken once, under its own envelope.

    Of a message that is divided that holds for each of so many parts.
    """
    by_content = dict(messages)
    assert Counter(id(r.message) for r in results) == Counter(id(c) for c, _ in messages)
    taken = Counter(message.content for message in server.messages)
    assert all(times <= parts for times in taken.values())
    arrived = Counter((one.content, to) for one in server.messages for to in one.recipients)
    assert all(times == 1 for times in arrived.values())
    for message in server.messages:
        envelope = by_content[message.content]
        assert message.sender == str(envelope.sender)
        assert set(message.recipients) <= {str(r) for r in envelope.recipients}
    tally: Counter[str] = Counter()
    for result in results:
        got = {
            recipient
            for message in server.messages
            if message.content == result.message
            for recipient in message.recipients
        }
        accepted = {str(outcome.recipient) for outcome in result.accepted}
        doubtful = {str(outcome.recipient) for outcome in result.in_doubt}
        assert accepted <= got <= accepted | doubtful
        for outcome in result.outcomes:
            tally[outcome.status.value] += 1
    return tally


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tls", [ServerTLS.NONE, ServerTLS.IMPLICIT])
@pytest.mark.parametrize("connections", [1, 4])
def test_all_arrive(face: Face, way, tls, connections):
    messages = numbered(140, recipients=2)  # More than two windows.
    with Server(extensions=WAYS[way], tls=tls) as server:
        policy = None
        if tls is ServerTLS.IMPLICIT:
            policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=server.ca_file)
        with face.client(server.url, tls=policy) as client:
            results = list(client.send_many(messages, connections=connections))
        assert check(server, messages, results) == {"accepted": 280}
        assert server.breaches == []
        assert len(server.sessions) <= connections


@pytest.mark.parametrize("window", [1, 2, 7, 64])
def test_round_trips_by_bdat(face: Face, window):
    messages = numbered(64)
    with Server() as server:
        with face.client(server.url) as client:
            results = list(client.send_many(messages, window=window))
        assert check(server, messages, results) == {"accepted": 64}
        # The greeting, EHLO and QUIT; and one round trip for at least half a window.
        most = 64 / max(window // 2, 1) + 5
        assert server.sessions[0].round_trips <= most


def test_round_trips_by_data(face: Face):
    messages = numbered(50)
    with Server(extensions=WAYS["DATA"]) as server:
        with face.client(server.url) as client:
            _ = list(client.send_many(messages))
        # One for each message, and the opening and the end.
        assert server.sessions[0].round_trips <= 50 + 5


@settings(
    max_examples=8 * settings().max_examples // 30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    way=st.sampled_from(sorted(WAYS)),
    mail=st.sets(st.integers(0, 39)),
    rcpt=st.sets(st.tuples(st.integers(0, 39), st.integers(0, 1))),
    end=st.sets(st.integers(1, 40)),
    window=st.integers(1, 16),
    connections=st.integers(1, 3),
)
def test_never_into_the_wrong_transaction(face: Face, way, mail, rcpt, end, window, connections):
    """Refusals at random: a wholly refused message leaves the server's transaction open."""
    messages = numbered(40, recipients=2)
    commands = ("END-OF-DATA", "BDAT")
    faults: list[Fault] = [
        Refuse(command, "554 5.7.1 no", nth=n) for n in end for command in commands
    ]
    with Server(
        extensions=WAYS[way],
        refuse_senders={f"s{i}@x.test": "550 5.7.1 not you" for i in mail},
        refuse_recipients={f"r{i}-{j}@y.test": "450 4.2.1 later" for i, j in rcpt},
        faults=faults,
    ) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages, window=window, connections=connections))
        tally = check(server, messages, results)
        assert server.breaches == []
    assert sum(tally.values()) == 80
    assert tally["in doubt"] == tally["not tried"] == 0


@pytest.mark.parametrize(
    ("way", "command"),
    [
        *product(["BDAT"], ["MAIL", "RCPT", "BDAT"]),
        *product(["DATA", "lock-step"], ["MAIL", "RCPT", "DATA", "END-OF-DATA"]),
    ],
)
@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("fault", [Close, Reset, Shutdown])
def test_a_session_that_ends_in_between(face: Face, way, connections, fault, command):
    messages = numbered(30)  # One of three sessions has ten of them.
    with Server(extensions=WAYS[way], faults=[fault(command, nth=9)]) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages, window=8, connections=connections))
        tally = check(server, messages, results)
        assert server.breaches == []
        assert server.unstruck == []
    # What was not written went by another session; at most a window is in doubt each time.
    assert tally["not tried"] == 0
    assert tally["accepted"] + tally["in doubt"] + tally["refused"] == 30
    if way != "BDAT":
        assert tally["in doubt"] <= 4 * connections


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [500, 1000, 1500, 2500, 4000])
def test_the_input_cut_off(face: Face, way, at):
    messages = numbered(60)
    with Server(extensions=WAYS[way], faults=[CutInput(at, session=1)]) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages, window=8))
        tally = check(server, messages, results)
    assert tally["not tried"] == tally["refused"] == 0


@pytest.mark.requirement("T32")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("point", ["RSET", "MAIL", "RCPT", "DATA", "BDAT", "END-OF-DATA"])
@pytest.mark.parametrize("nth", [1, 3])
def test_a_reply_too_many_is_never_an_acceptance(face: Face, way, point, nth):
    messages = numbered(3)
    refused = messages[-1][0]
    with Server(
        extensions=WAYS[way],
        faults=[AppendToReply(point, b"250 ok\r\n", nth=nth, session=1)],
        refuse_content=lambda message: "554 5.6.0 no" if message.content == refused else None,
    ) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages))
        tally = check(server, messages, results)
    assert tally["accepted"] < 3


@pytest.mark.requirement("T33")
def test_a_421_behind_the_last_acceptance_may_be_the_reply_to_the_content(face: Face):
    """It is so where a reply too many came before; those before the last are right even then."""
    messages = numbered(3)
    fault = AppendToReply("BDAT", b"421 4.7.0 enough\r\n", nth=3)
    with Server(faults=[fault]) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages))
            assert client.statistics().open == 0
        assert check(server, messages, results) == {"accepted": 2, "in doubt": 1}


@pytest.mark.parametrize("way", ["BDAT", "DATA"])
def test_in_doubt_is_reported_or_sent_again_as_the_caller_says(face: Face, way):
    command = "BDAT" if way == "BDAT" else "END-OF-DATA"
    fault = TruncateReply(command, keep=0, nth=3, session=1)
    messages = numbered(6)
    with Server(extensions=WAYS[way], faults=[fault]) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages, window=2))
        tally = check(server, messages, results)
        assert tally["in doubt"] >= 1
    with Server(extensions=WAYS[way], faults=[fault]) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages, window=2, on_doubt="resend"))
        assert [len(r.accepted) for r in results] == [1] * 6
        # The price: the one that had been taken without our knowing is there twice.
        assert len(server.messages) == 7


def test_a_server_that_is_gone(face: Face):
    messages = numbered(5)
    server = Server()
    server.start()
    url = server.url
    server.close()
    with face.client(url, timeouts=SOON) as client:
        sending = client.send_many(messages)
        results = []
        with pytest.raises(smtpx.ConnectionLost):
            for result in sending:
                results.append(result)
    assert [len(result.not_tried) for result in results] == [1] * 5


def test_a_server_that_always_hangs_up(face: Face):
    messages = numbered(5)
    with (
        Server(faults=[Close("MAIL")]) as server,
        face.client(server.url, timeouts=SOON) as client,
    ):
        results = list(client.send_many(messages))
        assert len(results) == 5
        assert not any(result.accepted for result in results)
        assert len(server.sessions) < 20


def test_what_cannot_be_sent_stops_no_other(face: Face):
    message = EmailMessage()
    message["From"] = "a@x.test"
    message["To"] = "b@y.test"
    message.set_content("hello")
    nobody = EmailMessage()
    to_c = Envelope("a@x.test", "c@y.test")
    items: list[Any] = [message, nobody, (b"bytes", to_c), b"no envelope"]
    with Server() as server, face.client(server.url) as client:
        results = list(client.send_many(items))
        assert {id(r.message): len(r.accepted) for r in results} == {
            id(message): 1,
            id(nobody): 0,
            id(items[2][0]): 1,
            id(items[3]): 0,
        }
        assert sum(isinstance(r.error, smtpx.LocalProtocolError) for r in results) == 2
        assert len(server.messages) == 2


@pytest.mark.parametrize("item", [None, 3, "To: bob@y.test"])
def test_what_is_no_message_is_named(face: Face, item: Any):
    with Server() as server, face.client(server.url) as client:
        (result,) = client.send_many([item])
    assert "message: give an EmailMessage, bytes, a binary file" in str(result.error)
    assert f"not {type(item).__name__}" in str(result.error)


def test_the_source_is_read_as_there_is_room(face: Face):
    read = 0

    def source():
        nonlocal read
        for item in numbered(1000):
            read += 1
            yield item

    with Server() as server, face.client(server.url) as client:
        results = client.send_many(source(), window=8)
        _ = next(results)
        assert read <= 100
        results.close()
        assert client.statistics().busy == 0
        assert read <= 100


def test_a_source_that_fails(face: Face):
    def source():
        yield from numbered(3)
        raise ZeroDivisionError

    with Server() as server, face.client(server.url) as client:
        results = []
        with pytest.raises(ZeroDivisionError):
            for result in client.send_many(source()):
                results.append(result)
        assert [len(r.accepted) for r in results] == [1] * 3
        assert len(server.messages) == 3


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("way", WAYS)
def test_an_interruption_tells_what_the_caller_was_not_told(face: Face, way, kind):
    # More than one write, so that some are on their way, and less than the window.
    messages = [(c + b"x" * 3000 + b"\r\n", envelope) for c, envelope in numbered(50)]

    def source():
        yield from messages
        raise kind

    with Server(extensions=WAYS[way]) as server, face.client(server.url) as client:
        told = []
        with pytest.raises(kind) as caught:
            for result in client.send_many(source()):
                told.append(result)
        told.extend(getattr(caught.value, "results", []))
        assert client.statistics().busy == 0
        client.close()
        _ = server.wait_until_idle()
        taken = {message.content for message in server.messages}
        accepted = {result.message for result in told if result.accepted}
        doubtful = {result.message for result in told if result.in_doubt}
        untried = {result.message for result in told if result.not_tried}
        # Everything that was read is told of, and each once.
        assert len(told) == len(accepted) + len(doubtful) + len(untried) == len(messages)
        assert accepted <= taken <= accepted | doubtful
        assert doubtful or way != "BDAT"


@pytest.mark.parametrize("way", WAYS)
def test_large_contents_and_streams_take_their_turn(face: Face, way):
    large = b"x" * 70 + b"\r\n"
    items: list[Any] = [
        *numbered(5),
        (large * 3000, Envelope("l@x.test", "l@y.test")),
        (io.BytesIO(large * 2000), Envelope("f@x.test", "f@y.test")),
        (iter([b"1\n", b"2\n"]), Envelope("i@x.test", "i@y.test")),
        *numbered(5),
    ]
    with Server(extensions=WAYS[way]) as server, face.client(server.url) as client:
        results = list(client.send_many(items))
        assert all(len(r.accepted) == 1 for r in results)
        sizes = {m.sender: len(m.content) for m in server.messages}
        assert sizes["l@x.test"] == 72 * 3000
        assert sizes["f@x.test"] == 72 * 2000
        assert sizes["i@x.test"] == 6
        assert server.breaches == []


def test_lmtp(face: Face):
    messages = numbered(20, recipients=2)
    with Server(lmtp=True, lmtp_replies={"r3-1@y.test": "452 4.2.2 full"}) as server:
        with face.client(server.url + "?tls=none") as client:
            results = list(client.send_many(messages))
        assert sum(len(r.accepted) for r in results) == 39
        assert server.breaches == []


def answer(listener: socket.socket) -> None:
    """Serve one client as one does who reads nothing while a write of his waits."""
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    replies = {
        b"EHLO": b"250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
        b"RCPT": b"250 " + b"very " * 90 + b"well\r\n",
        b"QUIT": b"221 bye\r\n",
    }
    with connection, connection.makefile("rb") as commands:
        connection.sendall(b"220 x\r\n")
        while line := commands.readline():
            if line.startswith(b"BDAT"):
                _ = commands.read(int(line.split()[1]))
            connection.sendall(replies.get(line[:4], b"250 ok\r\n"))


def test_replies_are_read_while_a_write_waits(face: Face):
    """More of them than buffers hold: who only wrote would wait for ever, as the server does."""
    recipients = [f"{'r' * 60}{i:03}@{'y' * 60}.{'y' * 60}.test" for i in range(200)]
    messages = [(b"%d\r\n" % i, Envelope("a@x.test", recipients)) for i in range(100)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        serving = threading.Thread(target=answer, args=(listener,), daemon=True)
        serving.start()
        url = f"smtp://127.0.0.1:{listener.getsockname()[1]}"
        with face.client(url, timeouts=Timeouts.each(30)) as client:
            results = list(client.send_many(messages, window=100))
            assert sum(len(result.accepted) for result in results) == 100 * 200
        serving.join(30)


def test_a_server_with_small_buffers(face: Face):
    messages = [
        (b"z" * 3000 + b"\r\n" * (i % 3 + 1), Envelope("a@x.test", "b@y.test")) for i in range(600)
    ]
    with Server(buffer_size=2048) as server, face.client(server.url, timeouts=SOON) as client:
        results = list(client.send_many(messages, window=256))
        assert sum(len(r.accepted) for r in results) == 600
        assert len(server.messages) == 600


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("nth", range(1, 5))
def test_a_large_message_waiting_for_its_turn_is_not_lost(face: Face, way: str, nth: int):
    messages = numbered(5)
    large = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * 100_000
    messages.insert(3, (large, Envelope("large@x.test", "r@y.test")))
    faults = [Close(command, nth=nth, session=1) for command in ("BDAT", "END-OF-DATA")]
    with Server(extensions=WAYS[way], faults=faults) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages))
        assert len(results) == len(messages)
        assert sum(len(result.accepted) for result in results) <= len(server.messages)
        assert all(result.accepted or result.in_doubt for result in results)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_cannot_be_read_stops_no_other(face: Face, way: str):
    def broken():
        yield b"x" * 100_000
        raise ValueError("the disk is gone")

    messages: list[tuple[Any, Envelope]] = [*numbered(5)]
    messages.insert(2, (broken(), Envelope("broken@x.test", "r@y.test")))
    with Server(extensions=WAYS[way]) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(messages))
        assert len(results) == 6
        (failed,) = [result for result in results if result.error is not None]
        assert failed.not_tried
        assert "the disk is gone" in str(failed.error)
        assert sorted(message.sender for message in server.messages) == [
            f"s{i}@x.test" for i in range(5)
        ]


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_slowly_is_not_kept_waiting(face: Face, way: str):
    sent: list[int] = []

    def source():
        for i, message in enumerate(numbered(6)):
            time.sleep(0.05)
            sent.append(i - len(server.messages))
            yield message

    with Server(extensions=WAYS[way]) as server:
        with face.client(server.url, timeouts=SOON) as client:
            results = list(client.send_many(source()))
        assert len(results) == 6
    # When one is asked for, those before it have gone; the last of them may be on its way.
    assert max(sent) <= 2
