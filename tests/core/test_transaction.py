"""The mail transaction (RFC 5321 §3.3), pipelined (2920), over LMTP (2033), by BDAT (3030)."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx._core.connection import Connection
from smtpx._core.steps import Glance, Receive, Send
from smtpx._core.transaction import transaction
from smtpx._wire.content import PIECE, Content
from smtpx.envelope import BodyType, Envelope, Notify, Recipient
from smtpx.errors import (
    ConnectionLost,
    ContentRefused,
    ExtensionMissing,
    LocalProtocolError,
    RecipientsRefused,
    RemoteProtocolError,
    SenderRefused,
    TimedOut,
)
from smtpx.options import Timeouts
from smtpx.results import SendResult, Status
from smtpx.testing import Mode, play

from .transcripts import connected, plays

TWO = Envelope("a@x.test", ["b@y.test", "c@y.test"])
ONE = Envelope("a@x.test", ["b@y.test"])


def run(
    script: str,
    *keywords: str,
    envelope: Envelope = TWO,
    content: bytes = b"hi\r\n",
    lmtp: bool = False,
    all_or_nothing: bool = False,
    open_transaction: bool = False,
) -> tuple[SendResult, Connection, int]:
    """Play one transaction in every mode; return its result, connection and round trips."""
    connection = connected()

    def make():
        nonlocal connection
        connection = connected(*keywords, lmtp=lmtp)
        connection.open_transaction = open_transaction
        source = Content(content, binary=envelope.body is BodyType.BINARY)
        return transaction(connection, envelope, source, all_or_nothing=all_or_nothing)

    played = plays(make, script)
    return played.value, connection, played.round_trips


def statuses(result: SendResult) -> list[Status]:
    return [outcome.status for outcome in result.outcomes]


ACCEPTED, REFUSED, IN_DOUBT, NOT_TRIED = Status


def test_2920_one_group_and_the_content_are_two_round_trips():
    result, connection, round_trips = run(
        """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: DATA
        S: 250 2.1.0 ok
        S: 250 2.1.5 ok
        S: 251 2.1.5 will forward
        S: 354 go ahead
        C: hi
        C: .
        S: 250 2.0.0 Ok: queued as 4B1F
        """,
        "PIPELINING",
    )
    assert round_trips == 2
    assert statuses(result) == [ACCEPTED, ACCEPTED]
    assert result.error is None
    assert result.queue_id == "4B1F"
    assert not connection.open_transaction
    assert connection.usable


def test_lock_step_without_pipelining():
    result, _, round_trips = run(
        """
        C: MAIL FROM:<a@x.test>
        S: 250 ok
        C: RCPT TO:<b@y.test>
        S: 250 ok
        C: RCPT TO:<c@y.test>
        S: 550 5.1.1 no such user
        C: DATA
        S: 354 go ahead
        C: hi
        C: .
        S: 250 ok
        """
    )
    assert round_trips == 5
    assert statuses(result) == [ACCEPTED, REFUSED]
    (refused,) = result.refused
    assert str(refused) == "c@y.test refused: 550 5.1.1 no such user"
    assert str(refused.enhanced) == "5.1.1"
    assert not refused.retryable


@pytest.mark.requirement("T35")
def test_2920_3_1_a_lone_dot_where_354_comes_with_nobody_accepted():
    result, connection, _ = run(
        """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: DATA
        S: 250 ok
        S: 450 4.2.1 later
        S: 550 5.1.1 no
        S: 354 go ahead
        C: .
        S: 250 thank you for nothing
        """,
        "PIPELINING",
    )
    assert statuses(result) == [REFUSED, REFUSED]
    assert isinstance(result.error, RecipientsRefused)
    assert result.error.transient
    assert result.reply is None
    assert connection.open_transaction
    assert connection.usable


def test_sender_refused_in_a_group():
    result, connection, _ = run(
        """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: DATA
        S: 550 5.7.1 not you
        S: 503 5.5.1 MAIL first
        S: 503 5.5.1 MAIL first
        S: 503 5.5.1 MAIL first
        """,
        "PIPELINING",
    )
    assert isinstance(result.error, SenderRefused)
    assert [outcome.reply.code for outcome in result.outcomes if outcome.reply] == [550, 550]
    assert connection.usable


def test_sender_refused_in_lock_step_asks_nothing_more():
    result, _, _ = run("C: MAIL FROM:<a@x.test>\nS: 452 4.3.1 full")
    assert isinstance(result.error, SenderRefused)
    assert all(outcome.retryable for outcome in result.outcomes)


def test_reset_goes_first_where_a_transaction_may_be_open():
    # Real Postfix answers 503 to the next MAIL and 250 to the next RCPT: without RSET the
    # content would go out under the former sender, and where it is refused, with it.
    result, _, round_trips = run(
        """
        C: RSET
        S: 250 flushed
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go ahead
        C: hi
        C: .
        S: 250 ok
        """,
        "PIPELINING",
        envelope=ONE,
        open_transaction=True,
    )
    assert round_trips == 3
    assert statuses(result) == [ACCEPTED]


def test_a_refused_reset_ends_the_session():
    result, connection, _ = run(
        """
        C: RSET
        S: 500 what?
        """,
        envelope=ONE,
        open_transaction=True,
    )
    assert isinstance(result.error, RemoteProtocolError)
    assert statuses(result) == [NOT_TRIED]
    assert connection.broken


def test_all_or_nothing_sends_data_only_when_everyone_was_accepted():
    # MailKit#1459: with DATA in the group, the accepted ones were mailed empty messages.
    result, connection, _ = run(
        """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 no
        """,
        "PIPELINING",
        all_or_nothing=True,
    )
    assert statuses(result) == [NOT_TRIED, REFUSED]
    assert isinstance(result.error, RecipientsRefused)
    assert connection.open_transaction


def test_all_or_nothing_with_everyone_accepted_is_three_round_trips():
    result, _, round_trips = run(
        """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        S: 250 ok
        S: 250 ok
        C: DATA
        S: 354 go ahead
        C: hi
        C: .
        S: 250 ok
        """,
        "PIPELINING",
        envelope=ONE,
        all_or_nothing=True,
    )
    assert round_trips == 3
    assert statuses(result) == [ACCEPTED]


def test_data_refused():
    result, connection, _ = run(
        """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 no
        S: 451 4.3.0 disk
        """,
        "PIPELINING",
    )
    assert [outcome.reply.code for outcome in result.outcomes if outcome.reply] == [451, 550]
    assert isinstance(result.error, ContentRefused)
    assert connection.open_transaction


def test_content_refused_leaves_a_session_that_resets():
    result, connection, _ = run(
        """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go ahead
        C: hi
        C: .
        S: 554 5.7.1 spam
        """,
        "PIPELINING",
        envelope=ONE,
    )
    assert isinstance(result.error, ContentRefused)
    assert "554 5.7.1 spam" in str(result.error)
    assert result.error.result is result
    assert connection.open_transaction
    assert connection.usable


@pytest.mark.requirement("T33")
@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(
    ("mail", "rcpt", "data", "kind"),
    [(421, 0, 0, SenderRefused), (250, 421, 0, RecipientsRefused), (250, 250, 421, ContentRefused)],
)
def test_421_is_the_reply_and_the_end(pipelining, mail, rcpt, data, kind):
    said = [code for code in (mail, rcpt, data) if code]
    commands = ["MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA"]
    if pipelining:
        script = "".join(f"C: {command}\n" for command in commands)
        script += "".join(f"S: {code} text\n" for code in said)
        if len(said) < len(commands):
            script += "S: <close>"
    else:
        script = "".join(
            f"C: {command}\nS: {code} text\n" for command, code in zip(commands, said, strict=False)
        )
    result, connection, _ = run(script, *(["PIPELINING"] if pipelining else []), envelope=ONE)
    assert isinstance(result.error, kind)
    assert result.error.transient
    assert statuses(result) == [REFUSED]
    assert not connection.usable


@pytest.mark.parametrize("final", ["250 queued", "554 no recipients"])
def test_who_goes_on_after_a_421_is_heard(final):
    """RFC 5321 §3.8 has it close; what was on its way may have been accepted all the same."""
    result, connection, _ = run(
        f"""
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: BDAT 4 LAST
        C: hi
        S: 250 ok
        S: 421 4.7.0 not you
        S: 250 ok
        S: {final}
        """,
        "PIPELINING",
        "CHUNKING",
    )
    accepted = final.startswith("250")
    assert statuses(result) == [REFUSED, ACCEPTED if accepted else REFUSED]
    assert not connection.usable


@pytest.mark.parametrize("heard", [b"", b"250 ok\r\n"])
def test_what_goes_out_as_one_is_given_the_time_of_its_end(heard: bytes):
    """A server may keep every reply back until it has looked at the content."""
    procedure = transaction(connected("PIPELINING", "CHUNKING"), ONE, Content(b"hi\r\n"))
    assert isinstance(next(procedure), Glance)
    assert isinstance(procedure.send(None), Send)
    step = procedure.send(b"")
    if heard:
        step = procedure.send(heard)
    assert isinstance(step, Receive)
    assert step.timeout == Timeouts().data_termination


def test_421_to_the_end_of_data_is_a_refusal_not_a_doubt():
    result, _, _ = run(
        """
        C: MAIL FROM:<a@x.test>
        S: 250 ok
        C: RCPT TO:<b@y.test>
        S: 250 ok
        C: DATA
        S: 354 go ahead
        C: hi
        C: .
        S: 421 4.3.2 shutting down
        """,
        envelope=ONE,
    )
    assert statuses(result) == [REFUSED]


class TestInDoubt:
    """RFC 1047: from the last octet of the content to the whole of its reply."""

    GROUP = """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 no
        S: 354 go ahead
        C: hi
        C: .
        """

    @pytest.mark.requirement("T39")
    @pytest.mark.parametrize(
        ("ending", "kind"),
        [
            ("S: <close>", ConnectionLost),
            ("S: <reset>", ConnectionLost),
            ("S: <silence>", TimedOut),
            ("S: 250 queu\\\nS: <close>", ConnectionLost),
            ("S: 250-queued\nS: <close>", ConnectionLost),
            ("S: 2\\\nS: <silence>", TimedOut),
            ("S: 250-ok\nS: 550 no", RemoteProtocolError),
            ("S: 354 go on", RemoteProtocolError),
            ("S: thanks!", RemoteProtocolError),
        ],
    )
    def test_no_whole_reply_to_the_end_of_data(self, ending, kind):
        result, connection, _ = run(self.GROUP + ending, "PIPELINING")
        assert statuses(result) == [IN_DOUBT, REFUSED]
        assert isinstance(result.error, kind)
        assert [str(o.recipient) for o in result.in_doubt] == ["b@y.test"]
        assert not result.accepted
        assert connection.broken

    @pytest.mark.requirement("T39")
    def test_the_error_says_so(self):
        result, _, _ = run(self.GROUP + "S: <close>", "PIPELINING")
        assert isinstance(result.error, ConnectionLost)
        assert result.error.in_doubt
        assert result.error.phase == "data_termination"
        assert "end of data" in str(result.error)

    @pytest.mark.parametrize(
        ("before", "second"),
        [
            ("", NOT_TRIED),
            ("S: 250 ok\n", NOT_TRIED),
            ("S: 250 ok\nS: 250 ok\nS: 550 no\n", REFUSED),
        ],
    )
    def test_nothing_is_in_doubt_before_the_content(self, before, second):
        script = """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: RCPT TO:<c@y.test>
            C: DATA
        """
        lines = "\n".join(f"            {line}" for line in before.splitlines())
        result, _, _ = run(script + lines + "\n            S: <close>", "PIPELINING")
        assert statuses(result) == [NOT_TRIED, second]
        assert isinstance(result.error, ConnectionLost)
        assert not result.error.in_doubt

    def test_lost_in_the_middle_of_a_long_content(self):
        script = (
            """
            C: MAIL FROM:<a@x.test> SIZE=1572866
            C: RCPT TO:<b@y.test>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            """
            + f"C: {'x' * PIECE}\\\n            S: <reset>"
        )
        result, _, _ = run(script, "PIPELINING", "SIZE", envelope=ONE, content=b"x" * 3 * PIECE)
        assert statuses(result) == [NOT_TRIED]

    @pytest.mark.requirement("T34")
    def test_an_early_refusal_is_the_reason(self):
        # Postfix answers 552 in the middle of a content that is too large, and hangs up.
        script = (
            """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            """
            + f"C: {'x' * PIECE}\\\n            S!: 552 5.3.4 too big"
        )
        played = play(
            transaction(connected("PIPELINING"), ONE, Content(b"x" * 3 * PIECE)), script, Mode.BYTE
        )
        result = played.value
        assert statuses(result) == [REFUSED]
        assert isinstance(result.error, ContentRefused)
        assert "552 5.3.4 too big" in str(result.error)


@pytest.mark.requirement("T32")
class TestBeforeTheContent:
    """What comes between the 354 and the content, in a segment of its own, answers neither."""

    GROUP = """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go ahead
        """

    @pytest.mark.parametrize(
        ("ending", "status", "kind"),
        [
            ("S!: 250 queued", NOT_TRIED, RemoteProtocolError),
            ("S!: 354 go ahead", NOT_TRIED, RemoteProtocolError),
            ("S!: 25\\\nS: <close>", NOT_TRIED, RemoteProtocolError),
            ("S!: 554 5.7.1 no", REFUSED, ContentRefused),
            ("S!: 421 4.3.2 shutting down", REFUSED, ContentRefused),
            ("S!: <close>", NOT_TRIED, ConnectionLost),
            ("S!: <reset>", NOT_TRIED, ConnectionLost),
        ],
    )
    def test_nothing_of_it_is_sent(self, ending, status, kind):
        result, connection, _ = run(self.GROUP + ending, "PIPELINING", envelope=ONE)
        assert statuses(result) == [status]
        assert isinstance(result.error, kind)
        assert connection.broken

    def test_nor_the_last_of_many_pieces(self):
        script = self.GROUP + f"C: {'x' * PIECE}\\\nS!: 250 queued"
        result, _, _ = run(script, "PIPELINING", envelope=ONE, content=b"x" * (PIECE + 1))
        assert statuses(result) == [NOT_TRIED]
        assert isinstance(result.error, RemoteProtocolError)


class TestLMTP:
    """RFC 2033 §4.2: after the end of data, one reply for each recipient that was accepted."""

    GROUP = """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: RCPT TO:<b@y.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 no
        S: 250 ok
        S: 354 go ahead
        C: hi
        C: .
        """
    THREE = Envelope("a@x.test", ["b@y.test", "c@y.test", "b@y.test"])

    def run(self, ending):
        return run(self.GROUP + ending, "PIPELINING", envelope=self.THREE, lmtp=True)

    @pytest.mark.requirement("T36")
    def test_each_has_its_own(self):
        result, connection, _ = self.run("S: 250 delivered\n        S: 452 4.2.2 full")
        assert [o.reply.code for o in result.outcomes if o.reply] == [250, 550, 452]
        assert statuses(result) == [ACCEPTED, REFUSED, REFUSED]
        assert result.error is None
        assert connection.usable

    @pytest.mark.requirement("T36")
    def test_all_refused(self):
        result, _, _ = self.run("S: 452 4.2.2 full\n        S: 452 4.2.2 full")
        assert isinstance(result.error, ContentRefused)

    @pytest.mark.requirement("T36")
    def test_one_missing_is_in_doubt_for_that_one_only(self):
        result, _, _ = self.run("S: 250 delivered\n        S: <close>")
        assert statuses(result) == [ACCEPTED, REFUSED, IN_DOUBT]
        assert isinstance(result.error, ConnectionLost)

    @pytest.mark.requirement("T36")
    def test_one_too_many_leaves_open_whose_each_of_them_is(self):
        """As from a server that answers for those, too, whom it refused before the content."""
        connection = connected("PIPELINING", lmtp=True)
        script = self.GROUP + "S: 250 one\n        S: 250 two\n        S: 250 three\n"
        first = play(transaction(connection, self.THREE, Content(b"hi\r\n")), script, Mode.WHOLE)
        assert statuses(first.value) == [IN_DOUBT, REFUSED, IN_DOUBT]
        assert isinstance(first.value.error, RemoteProtocolError)
        assert not connection.usable


class TestStaleConnection:
    """R3, T32: what waits to be read before a command is no answer to it."""

    @pytest.mark.requirement("T32")
    def test_a_421_while_idle(self):
        result, connection, _ = run("S!: 421 4.4.2 idle too long", envelope=ONE)
        assert isinstance(result.error, ConnectionLost)
        assert result.error.reply is not None
        assert "idle too long" in str(result.error)
        assert statuses(result) == [NOT_TRIED]
        assert not connection.usable

    @pytest.mark.requirement("T32")
    def test_a_stray_250_is_not_taken_for_the_reply_to_mail(self):
        result, connection, _ = run("S!: 250 surprise", envelope=ONE)
        assert isinstance(result.error, RemoteProtocolError)
        assert connection.broken

    @pytest.mark.requirement("T32")
    def test_a_closed_connection(self):
        result, _, _ = run("S!: <close>", envelope=ONE)
        assert isinstance(result.error, ConnectionLost)

    def test_the_session_is_over_for_good(self):
        connection = connected()
        connection.broken = True
        with pytest.raises(LocalProtocolError, match="over"):
            _ = play(transaction(connection, ONE, Content(b"hi\r\n")), "")


class TestContent:
    @pytest.mark.requirement("T9")
    def test_4_5_2_dots_and_line_ends(self):
        played = play(
            transaction(connected("SIZE"), ONE, Content(b".\n.b\rc\r\n.d")),
            "C: MAIL FROM:<a@x.test> SIZE=14\nS: 250 ok\nC: RCPT TO:<b@y.test>\nS: 250 ok\n"
            "C: DATA\nS: 354 go\nC: ..\nC: ..b\nC: c\nC: ..d\nC: .\nS: 250 ok\n",
        )
        assert statuses(played.value) == [ACCEPTED]

    def test_empty_content(self):
        played = play(
            transaction(connected(), ONE, Content(b"")),
            "C: MAIL FROM:<a@x.test>\nS: 250 ok\nC: RCPT TO:<b@y.test>\nS: 250 ok\n"
            "C: DATA\nS: 354 go\nC: .\nS: 250 ok\n",
        )
        assert statuses(played.value) == [ACCEPTED]

    def test_1870_too_large_is_known_before_a_byte_is_sent(self):
        with pytest.raises(LocalProtocolError, match="at most 3"):
            _ = play(transaction(connected("SIZE 3"), ONE, Content(b"hi\r\n")), "")

    def test_6152_eight_bit_content_needs_8bitmime(self):
        content = Content("Subject: x\n\nä\n".encode())
        with pytest.raises(ExtensionMissing, match="8BITMIME"):
            _ = play(transaction(connected(), ONE, content), "")
        script = "C: MAIL FROM:<a@x.test> BODY=8BITMIME\nS: 550 no"
        assert play(transaction(connected("8BITMIME"), ONE, content), script).value.error

    def test_6531_internationalized_addresses_and_headers_need_smtputf8(self):
        to_joerg = Envelope("a@x.test", ["jörg@y.test"])
        for envelope, content in [
            (to_joerg, Content(b"hi")),
            (ONE, Content("Subject: ä\n\nhi\n".encode())),
        ]:
            with pytest.raises(ExtensionMissing, match="SMTPUTF8"):
                _ = play(transaction(connected("8BITMIME"), envelope, content), "")
        script = (
            "C: MAIL FROM:<a@x.test> SMTPUTF8\nS: 250 ok\n"
            "C: RCPT TO:<j\\xc3\\xb6rg@y.test>\nS: 550 no"
        )
        played = play(transaction(connected("SMTPUTF8"), to_joerg, Content(b"hi")), script)
        assert statuses(played.value) == [REFUSED]

    def test_a_stream_asks_for_8bitmime_where_there_is_some(self):
        content = Content(iter([b"hi\n"]))
        script = "C: MAIL FROM:<a@x.test> BODY=8BITMIME\nS: 550 no"
        played = play(transaction(connected("8BITMIME", "SIZE"), ONE, content), script)
        assert statuses(played.value) == [REFUSED]

    def test_a_stream_that_turns_out_8_bit_breaks_off_where_there_is_none(self):
        connection = connected()
        content = Content(iter(["ä\n".encode()]))
        with pytest.raises(LocalProtocolError, match="nobody got the message"):
            _ = play(
                transaction(connection, ONE, content),
                "C: MAIL FROM:<a@x.test>\nS: 250 ok\nC: RCPT TO:<b@y.test>\nS: 250 ok\n"
                "C: DATA\nS: 354 go\n",
            )
        assert connection.broken

    def test_a_source_that_fails_never_ends_as_if_it_were_whole(self):
        def source():
            yield b"half of it\r\n"
            raise OSError("disk")

        connection = connected()
        with pytest.raises(OSError, match="disk"):
            _ = play(
                transaction(connection, ONE, Content(source())),
                "C: MAIL FROM:<a@x.test>\nS: 250 ok\nC: RCPT TO:<b@y.test>\nS: 250 ok\n"
                "C: DATA\nS: 354 go\n",
            )
        assert connection.broken

    def test_the_source_is_not_read_before_somebody_wants_it(self):
        source = io.BytesIO(b"hi\r\n")
        result = play(
            transaction(connected(), ONE, Content(source)),
            "C: MAIL FROM:<a@x.test>\nS: 550 no",
        ).value
        assert result.error is not None
        assert source.tell() == 0


def test_options_are_on_the_right_command():
    envelope = Envelope(
        None,
        [Recipient("b@y.test", notify=Notify.SUCCESS | Notify.DELAY, orcpt="b+c@z.test")],
        envid="Q=1",
    )
    result, _, _ = run(
        """
        C: MAIL FROM:<> ENVID=Q+3D1
        C: RCPT TO:<b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@z.test
        C: DATA
        S: 550 no
        S: 503 no
        S: 503 no
        """,
        "PIPELINING",
        "DSN",
        envelope=envelope,
    )
    assert isinstance(result.error, SenderRefused)


class TestWindow:
    """R6: unanswered commands stay within the window, in whole commands."""

    def test_a_large_group_is_sent_as_replies_come(self):
        names = [f"user{i}@example.test" for i in range(300)]
        connection = connected("PIPELINING")
        procedure = transaction(connection, Envelope("a@x.test", names), Content(b"hi\r\n"))
        unanswered, most, writes, asked = 0, 0, 0, []
        step = next(procedure)
        while True:
            if isinstance(step, Glance):
                answer = None
            elif isinstance(step, Send):
                writes += 1
                data = bytes(step.data)
                if data.endswith(b".\r\n"):
                    break
                asked += data.splitlines(keepends=True)
                unanswered += len(data)
                most = max(most, unanswered)
                answer = b""
            else:
                command = asked.pop(0)
                unanswered -= len(command)
                answer = b"354 go\r\n" if command == b"DATA\r\n" else b"250 ok\r\n"
            step = procedure.send(answer)
        assert most <= connection.limits.window
        # Refilled by halves: some ten writes for ten kilobytes of commands, not three hundred.
        assert writes < 12


CODES = st.sampled_from([250, 250, 251, 450, 451, 550, 553])


@given(
    mail=CODES,
    rcpt=st.lists(CODES, min_size=1, max_size=5),
    data=st.sampled_from([354, 354, 451, 554]),
    final=CODES,
    all_or_nothing=st.booleans(),
    lmtp=st.booleans(),
)
def test_pipelined_and_lock_step_come_to_the_same(mail, rcpt, data, final, all_or_nothing, lmtp):
    """The same replies to the same commands, in a group or one by one: equal results."""
    envelope = Envelope("a@x.test", [f"r{i}@y.test" for i in range(len(rcpt))])
    results = []
    for keywords in ((), ("PIPELINING",)):
        connection = connected(*keywords, lmtp=lmtp)
        procedure = transaction(
            connection, envelope, Content(b"hi\r\n"), all_or_nothing=all_or_nothing
        )
        result = _answered(procedure, mail, rcpt, data, final, lmtp)
        results.append((result, connection.usable))
    (lock_step, usable), (pipelined, still_usable) = results
    assert lock_step.outcomes == pipelined.outcomes
    assert lock_step.reply == pipelined.reply
    assert type(lock_step.error) is type(pipelined.error)
    assert str(lock_step.error) == str(pipelined.error)
    assert usable
    assert still_usable


def _answered(procedure, mail, rcpt, data, final, lmtp):
    """Be a server that gives these answers, and no content where it accepted nobody."""
    refused_all = mail >= 400 or all(code >= 400 for code in rcpt)
    accepted = [] if mail >= 400 else [code for code in rcpt if code < 400]
    answers: list[bytes] = []
    pending = iter(rcpt)
    step = next(procedure)
    while True:
        try:
            match step:
                case Glance():
                    step = procedure.send(None)
                case Receive():
                    step = procedure.send(answers.pop(0))
                case Send(octets):
                    wire = bytes(octets)
                    if wire.endswith(b"\r\n.\r\n"):
                        answers += [b"%d end\r\n" % final] * (len(accepted) if lmtp else 1)
                    else:
                        for line in wire.splitlines():
                            if line.startswith(b"MAIL"):
                                answers.append(b"%d mail\r\n" % mail)
                            elif line.startswith(b"RCPT"):
                                code = next(pending)
                                answers.append(b"%d rcpt\r\n" % (503 if mail >= 400 else code))
                            elif line == b"DATA":
                                answers.append(b"%d data\r\n" % (554 if refused_all else data))
                    step = procedure.send(b"")
        except StopIteration as stop:
            return stop.value
