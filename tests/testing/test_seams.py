"""What the inbox, the plugin and long runs need of the server (seams S2 to S7)."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib

import pytest

import smtpx
import smtpx.testing
from smtpx.observing import Speaker
from smtpx.testing import (
    Latency,
    Mailbox,
    ReceivedMessage,
    Refuse,
    Server,
    Shutdown,
    TruncateReply,
    fault_text,
    read_fault,
)

ENVELOPE = smtpx.Envelope("ann@example.org", "bob@example.net")


def send(server: Server, content: bytes = b"Subject: x\r\n\r\nhello\r\n", **options) -> None:
    _ = smtpx.send(content, server.url, ENVELOPE, **options)


def test_s2_on_the_callers_loop() -> None:
    async def main() -> list[ReceivedMessage]:
        tasks = asyncio.all_tasks()
        async with Server() as server:
            _ = await smtpx.asend(b"Subject: x\r\n\r\nhello\r\n", server.url, ENVELOPE)
            assert asyncio.all_tasks() == tasks  # nothing of ours is left running
        return server.messages

    assert len(asyncio.run(main())) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_url_of_all_addresses_is_one_that_clients_can_dial(host: str) -> None:
    server = Server(host=host)
    try:
        server.start()
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with contextlib.closing(server):
        assert smtpx.Endpoint.parse(server.url).host in ("127.0.0.1", "::1")
        send(server)
        assert len(server.messages) == 1


def test_s2_what_is_open_is_closed() -> None:
    async def main() -> None:
        async with Server() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert (await reader.readline()).startswith(b"220")
        assert await reader.read() == b""
        writer.close()

    asyncio.run(main())


def test_s2_an_error_inside_is_raised_at_the_end() -> None:
    def fails(_: ReceivedMessage) -> None:
        raise ValueError("mine")

    async def main() -> None:
        async with Server(mailbox=Mailbox(on_message=fails)) as server:
            with pytest.raises(smtpx.SMTPError):
                _ = await smtpx.asend(b"Subject: x\r\n\r\n", server.url, ENVELOPE)

    with pytest.raises(RuntimeError, match="The test server failed"):
        asyncio.run(main())


def test_s3_a_mailbox_that_keeps_so_many() -> None:
    came: list[str] = []
    mailbox = Mailbox(keep=2, on_message=lambda message: came.append(message.queue_id))
    with Server(mailbox=mailbox) as server:
        for _ in range(5):
            send(server)
        assert [message.queue_id for message in server.messages] == came[-2:]
        assert mailbox.received == 5


def test_s3_a_mailbox_that_keeps_so_much() -> None:
    with Server(mailbox=Mailbox(keep_octets=2500)) as server:
        for size in (1000, 1000, 1000, 3000, 10):
            send(server, b"X: y\r\n\r\n" + b"x" * (size - 10) + b"\r\n")
        assert [len(message.content) for message in server.messages] == [10]


def test_s3_records_of_sessions_are_bounded() -> None:
    with Server(keep_sessions=3) as server, smtplib.SMTP("127.0.0.1", server.port) as open_one:
        for _ in range(5):
            send(server)
        _ = open_one.noop()
        _ = server.wait_for_messages(5)
        numbers = [session.number for session in server.sessions]
    assert numbers[0] == 1  # it is still open
    assert numbers[-1] == 6
    assert len(numbers) <= 4


def test_s4_the_dialogue_has_replies_times_and_breaches() -> None:
    with Server(users={"ann": "hunter2-of-ann"}) as server:
        with smtplib.SMTP("127.0.0.1", server.port) as client:
            _ = client.ehlo("localhost")
            _ = client.login("ann", "hunter2-of-ann")
            _ = client.docmd("MAIL", "FROM:ann@example.org")
            _ = client.sendmail("ann@example.org", "bob@example.net", b"Subject: x\r\n\r\n")
        (session,) = server.wait_until_idle()
    said = session.dialogue
    assert [line.at for line in said] == sorted(line.at for line in said)
    assert said[0].speaker is Speaker.SERVER
    assert said[0].text.startswith("220 ")
    wrong = [line for line in said if line.breaches]
    assert [line.text for line in wrong] == ["MAIL FROM:ann@example.org"]
    content = [line.text for line in said if line.speaker is None]
    assert content == ["content, 14 octets"]
    assert said[-1].text.startswith("221 ")
    told = "\n".join(line.text for line in said)
    assert "[redacted]" in told
    assert "hunter2" not in told


def test_s4_the_dialogue_is_bounded() -> None:
    with Server() as server:
        with smtpx.Session(server.url) as session:
            for _ in range(1100):
                _ = session.noop()
        (record,) = server.wait_until_idle()
    assert len(record.dialogue) == 1000
    assert len(record.commands) > 1100


def test_s4_so_are_the_other_records_where_sessions_are() -> None:
    """A server that runs for weeks: one session must not fill its memory."""
    with Server(keep_sessions=10) as server:
        with smtplib.SMTP("127.0.0.1", server.port) as client:
            for _ in range(1500):
                _ = client.docmd("BOGUS")
        (record,) = server.wait_until_idle()
    assert len(record.commands) == len(record.breaches) == 1000


@pytest.mark.parametrize("chunking", [True, False])
def test_s5_what_is_too_large_is_read_and_not_kept(chunking: bool) -> None:
    limit = 100_000
    ignored = [] if chunking else ["CHUNKING", "SIZE"]
    content = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 100
    with Server(size_limit=limit) as server:
        with smtpx.Session(server.url, ignore_extensions=[*ignored, "SIZE"]) as session:
            with pytest.raises(smtpx.ContentRefused, match="552"):
                _ = session.send(b"X: y\r\n\r\n" + (b"x" * 70 + b"\r\n") * 20_000, ENVELOPE)
            assert session.send(content, ENVELOPE).complete
        (message,) = server.messages
        assert message.content == content
        assert server.breaches == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_s6_any_login(mechanism: str) -> None:
    with Server(any_login=True) as server:
        credentials = smtpx.Credentials("whoever", "whatever")
        send(server, credentials=credentials, mechanisms=[mechanism])
        assert server.messages[0].user == "whoever"


SPELT = {
    "RCPT bob@*: 451 4.3.0 later x2": Refuse("RCPT", "451 4.3.0 later", matching="bob@*", times=2),
    "END-OF-DATA: lose": TruncateReply("END-OF-DATA", keep=0),
    "MAIL: 421 4.3.2 Down": Shutdown("MAIL", "421 4.3.2 Down"),
    "DATA: close x1": smtpx.testing.Close("DATA", times=1),
    "EHLO: stall": smtpx.testing.Stall("EHLO"),
    "latency: 0.2": Latency(0.2),
    "drip: 10 0.1": smtpx.testing.Drip(10, 0.1),
    "cut-content: 100": smtpx.testing.CutContent(100),
}


@pytest.mark.parametrize(("text", "fault"), SPELT.items(), ids=SPELT)
def test_s7_faults_have_one_spelling(text: str, fault: smtpx.testing.Fault) -> None:
    assert read_fault(text) == fault
    assert fault_text(fault) == text


def test_s7_it_is_read_as_people_write_it() -> None:
    assert read_fault(" rcpt  bob@*:451 4.3.0 later ×2 ") == read_fault(
        "RCPT bob@*: 451 4.3.0 later x2"
    )


@pytest.mark.parametrize(
    "text", ["", "RCPT", "RCPT: 250 fine", "BOB: close", "latency: soon", "latency x: 1", "x" * 500]
)
def test_s7_what_is_no_fault(text: str) -> None:
    with pytest.raises(ValueError, match="is no fault"):
        _ = read_fault(text)


@pytest.mark.parametrize("number", ["1e9", "soon", "1.2.3", "²", "9" * 5000, "1_0", "inf"])
@pytest.mark.parametrize("kind", ["latency", "drip", "cut-output"])
def test_s7_what_is_no_number(kind: str, number: str) -> None:
    with pytest.raises(ValueError, match=r"is no fault \(.* is no number such as 10 or 0\.2\): "):
        _ = read_fault(f"{kind}: {number}")


def test_s7_it_strikes_whom_it_means_and_as_often_as_it_says() -> None:
    fault = read_fault("RCPT bob@*: 451 4.3.0 later x2")
    to = ["bob@example.net", "kim@example.net"]
    with Server(faults=[fault]) as server:
        results = [
            smtpx.send(b"Subject: x\r\n\r\n", server.url, smtpx.Envelope("ann@example.org", to))
            for _ in range(3)
        ]
        assert server.unstruck == []
    assert [len(result.accepted) for result in results] == [1, 1, 2]
    assert {str(each.recipient) for result in results for each in result.refused} == {to[0]}
