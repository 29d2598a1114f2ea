"""Large content by BDAT (RFC 3030 §2, §4.2): as one chunk, or as a stream of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import dedent

import pytest

from smtpx._core.connection import Connection
from smtpx._core.transaction import transaction
from smtpx._wire.content import PIECE, SMALL, Content, Source
from smtpx.envelope import BodyType, Envelope
from smtpx.errors import (
    ConnectionLost,
    ContentRefused,
    ExtensionMissing,
    LocalProtocolError,
    RemoteProtocolError,
    TimedOut,
)
from smtpx.results import SendResult, Status
from smtpx.testing import Played, play

from .transcripts import connected, plays

ACCEPTED, REFUSED, IN_DOUBT, NOT_TRIED = Status
ONE = Envelope("a@x.test", ["b@y.test"])
BINARY = Envelope("a@x.test", ["b@y.test"], body=BodyType.BINARY)
PIPELINED = ("PIPELINING", "CHUNKING")

GROUP = dedent(
    """
    C: MAIL FROM:<a@x.test>
    C: RCPT TO:<b@y.test>
    S: 250 ok
    S: 250 ok
    """
)
CHUNK = f"C: BDAT {PIECE}\nC: {'x' * PIECE}\\\n"
LAST = "C: BDAT 2 LAST\nC:\n"
"""The line end that a stream of x lacks."""


def stream(chunks: int) -> Iterator[bytes]:
    return iter([b"x" * PIECE * chunks])


def run(
    script: str,
    make_source: Callable[[], Source],
    *keywords: str,
    envelope: Envelope = ONE,
    lmtp: bool = False,
    all_or_nothing: bool = False,
) -> tuple[SendResult, Connection, Played[SendResult]]:
    """Play one transaction in every mode."""
    connection = connected()

    def make():
        nonlocal connection
        connection = connected(*(keywords or PIPELINED), lmtp=lmtp)
        content = Content(make_source(), binary=envelope.body is BodyType.BINARY)
        return transaction(connection, envelope, content, all_or_nothing=all_or_nothing)

    played = plays(make, script)
    return played.value, connection, played


def status(result: SendResult) -> Status:
    return result.outcomes[0].status


class TestOneChunk:
    """Content at hand: its size is known, and nothing is asked in its midst."""

    LINES = (b"x" * 995 + b"\r\n.\r\n") * 660  # 660 000 octets
    GROUP = dedent(
        """
        C: MAIL FROM:<a@x.test> SIZE=660000
        C: RCPT TO:<b@y.test>
        S: 250 ok
        S: 250 ok
        C: BDAT 660000 LAST
        """
    )
    CONTENT = f"C: {'x' * 995}\nC: .\n" * 660

    def run(self, script: str, content: bytes = LINES):
        return run(script, lambda: content, *PIPELINED, "SIZE")

    @pytest.mark.requirement("T11")
    @pytest.mark.parametrize(
        ("content", "pieces"), [(LINES, 2), (LINES.replace(b"\r\n", b"\n"), 2), (LINES[:-2], 3)]
    )
    def test_two_round_trips_and_a_write_for_each_piece(self, content, pieces):
        result, connection, played = self.run(self.GROUP + self.CONTENT + "S: 250 ok", content)
        assert status(result) is ACCEPTED
        assert not connection.open_transaction
        assert connection.usable
        assert played.round_trips == 2
        assert played.writes == 2 + pieces

    def test_refused(self):
        result, connection, _ = self.run(self.GROUP + self.CONTENT + "S: 552 5.3.4 too big")
        assert status(result) is REFUSED
        assert isinstance(result.error, ContentRefused)
        assert connection.open_transaction
        assert connection.usable

    @pytest.mark.requirement("T39")
    @pytest.mark.parametrize(
        ("ending", "kind"),
        [
            ("<close>", ConnectionLost),
            ("<silence>", TimedOut),
            ("25\\\nS: <close>", ConnectionLost),
        ],
    )
    def test_in_doubt_without_a_reply(self, ending, kind):
        result, connection, _ = self.run(self.GROUP + self.CONTENT + f"S: {ending}")
        assert status(result) is IN_DOUBT
        assert isinstance(result.error, kind)
        assert connection.broken

    @pytest.mark.parametrize(
        ("ending", "verdict", "kind"),
        [
            ("S!: 552 5.3.4 too big", REFUSED, ContentRefused),
            ("S!: 421 4.3.2 shutting down", REFUSED, ContentRefused),
            ("S!: 250 ok", NOT_TRIED, RemoteProtocolError),
            ("S!: <close>", NOT_TRIED, ConnectionLost),
            ("S: <reset>", NOT_TRIED, ConnectionLost),
        ],
    )
    def test_nothing_is_in_doubt_before_its_last_octets(self, ending, verdict, kind):
        script = GROUP + f"C: BDAT {3 * PIECE} LAST\nC: {'x' * PIECE}\\\n{ending}"
        result, connection, _ = run(script, lambda: b"x" * (3 * PIECE - 2) + b"\r\n")
        assert status(result) is verdict
        assert isinstance(result.error, kind)
        assert connection.broken


class TestChunks:
    """A file or an iterator: its size shows at its end."""

    @pytest.mark.requirement("T11")
    def test_replies_are_read_as_they_come_and_all_before_the_last_chunk(self):
        script = GROUP + CHUNK + "S!: 250 1\n" + CHUNK + CHUNK + "S: 250 2\nS: 250 3\n" + LAST
        result, connection, played = run(script + "S: 250 ok", lambda: stream(3))
        assert status(result) is ACCEPTED
        assert not connection.open_transaction
        assert played.round_trips == 3
        assert played.writes == 1 + 3 * 2 + 1

    def test_one_by_one_without_pipelining(self):
        script = "C: MAIL FROM:<a@x.test>\nS: 250 ok\nC: RCPT TO:<b@y.test>\nS: 250 ok\n"
        script += (CHUNK + "S: 250 ok\n") * 2 + LAST + "S: 250 ok"
        result, _, played = run(script, lambda: stream(2), "CHUNKING")
        assert status(result) is ACCEPTED
        assert played.round_trips == 5

    @pytest.mark.requirement("T11")
    def test_no_more_than_eight_are_unanswered(self):
        script = GROUP + 9 * CHUNK + "S: 250 1\n" + CHUNK + "S: 250 2\n"
        script += "S: 250 ok\n" * 8 + LAST + "S: 250 ok"
        result, _, played = run(script, lambda: stream(10))
        assert status(result) is ACCEPTED
        assert played.round_trips <= 4

    @pytest.mark.requirement("T11")
    @pytest.mark.parametrize("reply", ["452 4.3.1 full", "554 5.7.1 no"])
    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_a_refused_chunk_stops_the_rest(self, reply, k):
        script = GROUP + (CHUNK + "S!: 250 ok\n") * (k - 1) + CHUNK + f"S!: {reply}"
        result, connection, _ = run(script, lambda: stream(9))
        assert status(result) is REFUSED
        assert str(result.outcomes[0].reply) == reply
        assert isinstance(result.error, ContentRefused)
        assert connection.open_transaction
        assert connection.usable

    @pytest.mark.requirement("T11")
    def test_what_followed_a_refused_chunk_is_answered_too(self):
        script = GROUP + 3 * CHUNK
        script += "S: 250 ok\nS: 452 4.3.1 full\nS: 503 5.5.1 a chunk was refused\n"
        result, connection, _ = run(script, lambda: stream(3))
        assert str(result.outcomes[0].reply) == "452 4.3.1 full"
        assert connection.usable
        assert connection.open_transaction

    def test_a_refusal_is_one_though_the_rest_is_never_answered(self):
        script = GROUP + 3 * CHUNK + "S: 250 ok\nS: 452 4.3.1 full\nS: <close>"
        result, connection, _ = run(script, lambda: stream(3))
        assert status(result) is REFUSED
        assert isinstance(result.error, ContentRefused)
        assert connection.broken

    @pytest.mark.requirement("T32")
    @pytest.mark.parametrize("chunks", [0, 1])
    def test_what_comes_before_a_chunk_is_not_its_reply(self, chunks):
        script = GROUP + (CHUNK + "S!: 250 ok\n") * chunks + "S!: 250 of what?"
        result, _, _ = run(script, lambda: stream(3))
        assert status(result) is NOT_TRIED
        assert isinstance(result.error, RemoteProtocolError)

    @pytest.mark.requirement("T33")
    def test_a_421_is_the_reply_to_all_that_follow(self):
        script = GROUP + 3 * CHUNK + "S: 250 ok\nS: 421 4.3.2 shutting down\nS: <close>"
        result, connection, _ = run(script, lambda: stream(3))
        assert status(result) is REFUSED
        assert isinstance(result.error, ContentRefused)
        assert result.error.transient
        assert not connection.usable

    @pytest.mark.requirement("T39")
    @pytest.mark.parametrize(
        ("ending", "kind"),
        [
            ("S!: <close>", ConnectionLost),
            ("S!: 250 ok\nS: <close>", ConnectionLost),
            ("S: 25\\\nS: <close>", ConnectionLost),
            ("S: <reset>", ConnectionLost),
            ("S: <silence>", TimedOut),
            ("S: 250-ok\nS: 550 no", RemoteProtocolError),
            ("S: 250 1\nS: 250 2\nS!: 250 of what?", RemoteProtocolError),
        ],
    )
    def test_nothing_is_in_doubt_before_the_last_chunk(self, ending, kind):
        result, connection, _ = run(GROUP + 2 * CHUNK + ending, lambda: stream(2))
        assert status(result) is NOT_TRIED
        assert isinstance(result.error, kind)
        assert not getattr(result.error, "in_doubt", False)
        assert connection.broken

    @pytest.mark.requirement("T34")
    def test_the_refusal_behind_a_broken_connection_is_the_reason(self):
        script = GROUP + CHUNK + f"C: BDAT {PIECE}\n"
        script += "S!: 250 1\nS!: 552 5.3.4 too big\nS: <reset>"
        result, _, _ = run(script, lambda: stream(9))
        assert status(result) is REFUSED
        assert "too big" in str(result.error)

    @pytest.mark.requirement("T39")
    @pytest.mark.parametrize(
        ("ending", "kind"),
        [
            ("S: <close>", ConnectionLost),
            ("S: <reset>", ConnectionLost),
            ("S: <silence>", TimedOut),
        ],
    )
    def test_in_doubt_after_the_last(self, ending, kind):
        result, connection, _ = run(
            GROUP + CHUNK + "S: 250 ok\n" + LAST + ending, lambda: stream(1)
        )
        assert status(result) is IN_DOUBT
        assert isinstance(result.error, kind)
        assert connection.broken

    def test_the_last_refused(self):
        script = GROUP + CHUNK + "S: 250 ok\n" + LAST + "S: 554 5.7.1 spam"
        result, connection, _ = run(script, lambda: stream(1))
        assert status(result) is REFUSED
        assert connection.usable

    def test_a_source_that_fails_never_ends_as_if_it_were_whole(self):
        def source() -> Iterator[bytes]:
            yield b"x" * PIECE * 2
            raise OSError("disk")

        connection = connected(*PIPELINED)
        with pytest.raises(OSError, match="disk"):
            _ = play(transaction(connection, ONE, Content(source())), GROUP + CHUNK)
        assert connection.broken

    def test_7_bit_content_that_turns_out_8_bit(self):
        connection = connected(*PIPELINED)
        content = Content(iter([b"x" * PIECE + b"\xe4"]))
        with pytest.raises(LocalProtocolError, match="nobody got the message"):
            _ = play(transaction(connection, ONE, content), GROUP)
        assert connection.broken


class TestWhich:
    """Which content goes by BDAT."""

    @pytest.mark.parametrize("size", [2, SMALL])
    def test_small_content_goes_with_its_commands(self, size):
        script = f"C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nC: BDAT {size} LAST\n"
        script += f"C: {'x' * (size - 2)}\nS: 250 ok\nS: 250 ok\nS: 250 ok"
        result, _, played = run(script, lambda: b"x" * (size - 2) + b"\r\n")
        assert status(result) is ACCEPTED
        assert played.round_trips == 1

    @pytest.mark.parametrize(("keywords", "lmtp"), [(("PIPELINING",), False), (PIPELINED, True)])
    def test_without_chunking_and_over_lmtp_all_goes_by_data(self, keywords, lmtp):
        script = "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nC: DATA\nS: 250 ok\nS: 250 ok\n"
        script += f"S: 354 go\nC: {'x' * PIECE}\nC: .\nS: 250 ok"
        result, _, _ = run(script, lambda: b"x" * PIECE, *keywords, lmtp=lmtp)
        assert status(result) is ACCEPTED

    def test_all_or_nothing_is_no_round_trip_more(self):
        script = GROUP + f"C: BDAT {PIECE + 2} LAST\nC: {'x' * PIECE}\nS: 250 ok"
        result, _, played = run(script, lambda: b"x" * PIECE, all_or_nothing=True)
        assert status(result) is ACCEPTED
        assert played.round_trips == 2

    def test_nobody_accepted_means_no_chunk(self):
        script = "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nS: 250 ok\nS: 550 no"
        result, connection, _ = run(script, lambda: b"x" * PIECE)
        assert status(result) is REFUSED
        assert connection.open_transaction


class TestBinary:
    """RFC 3030 §3: BODY=BINARYMIME has no lines, and goes by BDAT however small."""

    KEYWORDS = ("CHUNKING", "BINARYMIME", "PIPELINING")
    GROUP = GROUP.replace("a@x.test>", "a@x.test> BODY=BINARYMIME")
    OCTETS = b"X: 1\r\n\r\n.\n\r\0\xff."

    @pytest.mark.parametrize("source", [lambda: TestBinary.OCTETS, lambda: [TestBinary.OCTETS]])
    def test_it_goes_untouched(self, source):
        script = self.GROUP + "C: BDAT 14 LAST\nC: X: 1\nC:\nC: .\\n\\r\\x00\\xff.\\\nS: 250 ok"
        result, _, _ = run(script, source, *self.KEYWORDS, envelope=BINARY)
        assert status(result) is ACCEPTED

    def test_a_stream_goes_in_chunks(self):
        script = self.GROUP + CHUNK + "S: 250 ok\nC: BDAT 1 LAST\nC: x\\\nS: 250 ok"
        octets = b"x" * (PIECE + 1)
        result, _, _ = run(script, lambda: iter([octets]), *self.KEYWORDS, envelope=BINARY)
        assert status(result) is ACCEPTED

    @pytest.mark.requirement("T11")
    def test_only_where_chunking_is_offered(self):
        with pytest.raises(ExtensionMissing, match="BINARYMIME"):
            _ = play(transaction(connected("BINARYMIME"), BINARY, Content(b"x")), "")
