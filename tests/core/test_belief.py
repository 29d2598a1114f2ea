"""Which replies are believed, and what uses a session up: dialogues that once went wrong."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from textwrap import dedent
from typing import TypeVar, cast

import pytest

from smtpx._core.connection import Connection
from smtpx._core.learnt import Learnt
from smtpx._core.sending import deliver
from smtpx._core.steps import Glance, More, Receive, Send, Step, Steps
from smtpx._core.streaming.stream import stream
from smtpx._core.streaming.supply import Budget, Outgoing, Supply, Window
from smtpx._drivers.interruption import value_of_lost
from smtpx._wire.content import Content
from smtpx.envelope import Envelope
from smtpx.errors import (
    ConnectionLost,
    ContentRefused,
    RecipientsRefused,
    RemoteProtocolError,
    SessionFull,
    SMTPError,
)
from smtpx.replies import Reply
from smtpx.results import SendResult, Status
from smtpx.testing import Mode, play

from .transcripts import connected, plays

ACCEPTED, REFUSED, IN_DOUBT, NOT_TRIED = Status
BY_BDAT, BY_DATA = ("PIPELINING", "CHUNKING"), ("PIPELINING",)
ONE = Envelope("a@x.test", ["b@y.test"])
TWO = Envelope("a@x.test", ["b@y.test", "c@y.test"])
HI = b"hi\r\n"
Value = TypeVar("Value")


def statuses(result: SendResult) -> list[Status]:
    return [outcome.status for outcome in result.outcomes]


def sent(
    script: str,
    *keywords: str,
    envelope: Envelope = ONE,
    content: bytes = HI,
    lmtp: bool = False,
    open_transaction: bool = False,
    takes_chunks: bool = False,
) -> tuple[SendResult, Connection]:
    """Send one message, in every mode."""
    connection = connected()

    def make() -> Steps[SendResult]:
        nonlocal connection
        connection = connected(*keywords, lmtp=lmtp)
        connection.open_transaction = open_transaction
        connection.learnt.takes_chunks = takes_chunks
        return deliver(connection, content, envelope)

    return plays(make, script).value, connection


class Streamed:
    """Some messages sent over one session, and what is left of them."""

    def __init__(
        self,
        script: str,
        *keywords: str,
        messages: int = 2,
        takes_chunks: bool = True,
        resend: bool = False,
        window: int = 64,
        mode: Mode | None = None,
        recipients: Sequence[str] = ("b@y.test",),
    ) -> None:
        def make() -> Steps[SMTPError | None]:
            self.results: list[SendResult] = []
            self.connection = connected(*keywords)
            self.connection.learnt.takes_chunks = takes_chunks
            self.connection.learnt.takes_reset = takes_chunks
            ready = [Outgoing(HI, Envelope(f"s{i}@x.test", recipients)) for i in range(messages)]
            self.supply = Supply(resend, ready=deque(ready), exhausted=True)
            self.budget = Budget(100)
            return stream(
                self.connection, self.supply, self.results.append, Window(window), self.budget
            )

        if mode is None:
            self.over = plays(make, script).value
        else:
            self.over = play(make(), dedent(script), mode).value

    @property
    def told(self) -> dict[str, Status]:
        return {str(envelope_of(result)): result.outcomes[0].status for result in self.results}

    @property
    def left(self) -> int:
        return len(self.supply.ready)


def envelope_of(result: SendResult) -> str:
    return str(result.outcomes[0].recipient)


def bdat(i: int, *, reset: bool) -> str:
    return f"""
        {"C: RSET" if reset else ""}
        C: MAIL FROM:<s{i}@x.test>
        C: RCPT TO:<b@y.test>
        C: BDAT 4 LAST
        C: hi
        """


_TO_TWO = """
    {}
    C: MAIL FROM:<s{}@x.test>
    C: RCPT TO:<b@y.test>
    C: RCPT TO:<c@y.test>
    C: BDAT 4 LAST
    C: hi
    """


_ONE_BY_BDAT = """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: BDAT 4 LAST
            C: hi
            S: 250 ok
            S: 250 ok
            """


def data(i: int, *, reset: bool) -> str:
    return f"""
        {"C: RSET" if reset else ""}
        C: MAIL FROM:<s{i}@x.test>
        C: RCPT TO:<b@y.test>
        C: DATA
        """


class TestAReplyTooMany:
    @pytest.mark.requirement("T32")
    @pytest.mark.parametrize(
        "replies",
        [
            ["451 stray", "250 sender", "250 recipient", "250 taken"],
            ["250 sender", "450 stray", "250 recipient", "250 taken"],
            ["250 sender", "250 recipient", "250 taken", "250 stray"],
            ["250 sender", "250 recipient", "554 stray", "250 taken"],
        ],
    )
    @pytest.mark.parametrize("late", [False, True])
    def test_at_once_nothing_is_believed(self, replies: list[str], late: bool):
        script = """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: BDAT 4 LAST
            C: hi
            """ + "".join(f"\n            S: {reply}" for reply in replies[: -1 if late else None])
        if late:
            script += f"\n            S!: {replies[-1]}"
        connection = connected(*BY_BDAT)
        result = play(deliver(connection, HI, ONE), dedent(script), Mode.WHOLE).value
        assert statuses(result) == [IN_DOUBT]
        assert isinstance(result.error, RemoteProtocolError)
        assert not connection.usable

    def test_a_refusal_of_mail_and_an_acceptance_contradict_each_other(self):
        result, _ = sent(
            """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: BDAT 4 LAST
            C: hi
            S: 451 stray
            S: 250 sender
            S: 250 recipient
            """,
            *BY_BDAT,
        )
        assert statuses(result) == [IN_DOUBT]

    @pytest.mark.requirement("T32")
    def test_after_data(self):
        result, connection = sent(
            """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: RCPT TO:<c@y.test>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 550 no such user
            S: 354 go ahead
            C: hi
            C: .
            S: 250 stray
            S!: 554 refused
            """,
            *BY_DATA,
            envelope=TWO,
        )
        # The 354 shows that what came before it was in step.
        assert statuses(result) == [IN_DOUBT, REFUSED]
        assert not connection.usable

    def test_in_lock_step(self):
        result, _ = sent(
            """
            C: MAIL FROM:<a@x.test>
            S: 250 ok
            C: RCPT TO:<b@y.test>
            S: 250 ok
            C: DATA
            S: 354 go ahead
            C: hi
            C: .
            S: 250 stray
            S!: 554 refused
            """
        )
        assert statuses(result) == [IN_DOUBT]

    def test_the_end_behind_the_acceptance_takes_nothing_back(self):
        result, connection = sent(_ONE_BY_BDAT + "S: 250 taken\n            S!: <close>", *BY_BDAT)
        assert statuses(result) == [ACCEPTED]
        assert result.error is None
        assert not connection.usable

    def test_a_421_behind_the_refusal_takes_nothing_back(self):
        """Whichever of them answers the content, it was not taken."""
        script = _ONE_BY_BDAT + "S: 554 spam\n            S!: 421 4.7.0 too many errors"
        result, connection = sent(script, *BY_BDAT)
        assert statuses(result) == [REFUSED]
        assert not connection.usable

    @pytest.mark.parametrize("window", [False, True])
    def test_a_421_behind_the_acceptance_may_answer_the_content(self, window: bool):
        """With a reply too many before them, the last that was due is that to RCPT."""
        script = _ONE_BY_BDAT + "S: 250 taken\n            S!: 421 4.3.2 shutting down"
        if window:
            streamed = Streamed(script.replace("<a@", "<s0@"), *BY_BDAT, messages=1)
            assert [statuses(result) for result in streamed.results] == [[IN_DOUBT]]
            return
        result, connection = sent(script, *BY_BDAT)
        assert statuses(result) == [IN_DOUBT]
        assert isinstance(result.error, RemoteProtocolError)
        assert not connection.usable

    @pytest.mark.parametrize(
        ("first", "last", "told"),
        [
            ("250 taken", "250 taken", [ACCEPTED, IN_DOUBT]),
            ("250 taken", "554 spam", [ACCEPTED, REFUSED]),
            ("554 stray", "250 taken", [IN_DOUBT, IN_DOUBT]),
            ("554 stray", "554 spam", [REFUSED, IN_DOUBT]),
        ],
    )
    def test_behind_a_window_it_takes_back_what_a_reply_too_many_would_change(
        self, first: str, last: str, told: list[Status]
    ):
        """Had one come before, the yes to the second RSET would be that to the first content."""
        script = f"""
            S: 250 ok
            S: 250 ok
            S: {first}
            S: 250 reset
            S: 250 ok
            S: 250 ok
            S: {last}
            S!: 421 4.3.2 shutting down
            """
        streamed = Streamed(
            bdat(0, reset=False) + bdat(1, reset=True) + script, *BY_BDAT, mode=Mode.WHOLE
        )
        assert Counter(status for [status] in map(statuses, streamed.results)) == Counter(told)

    @pytest.mark.parametrize(
        ("content", "reset", "told"),
        [
            ("250 taken", "250 reset", ACCEPTED),
            ("250 stray", "502 what", IN_DOUBT),
            ("554 stray", "250 reset", IN_DOUBT),
            ("554 spam", "502 what", REFUSED),
        ],
    )
    def test_behind_a_reset(self, content: str, reset: str, told: Status):
        script = f"""
            C: RSET
            S: 250 ok
            S: 250 ok
            S: {content}
            S: {reset}
            S!: 421 4.3.2 shutting down
            """
        streamed = Streamed(
            bdat(0, reset=False) + script, *BY_BDAT, takes_chunks=False, messages=1, mode=Mode.WHOLE
        )
        assert [statuses(result) for result in streamed.results] == [[told]]

    @pytest.mark.parametrize("lmtp", [False, True])
    def test_so_may_one_behind_a_content_that_goes_by_data(self, lmtp: bool):
        script = """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            C: hi
            C: .
            S: 250 stray
            S!: 421 4.3.2 shutting down
            """
        result, _ = sent(script, *BY_DATA, lmtp=lmtp)
        assert statuses(result) == [IN_DOUBT]

    @pytest.mark.parametrize("stray", ["550 stray", "250 stray"])
    def test_nor_is_a_content_behind_a_421_told_by_one_of_two_replies(self, stray: str):
        script = f"""
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: RCPT TO:<c@y.test>
            C: DATA
            S: 250 ok
            S: 421 shutting down, in a while
            S: 250 ok
            S: 354 go ahead
            C: hi
            C: .
            S: {stray}
            S!: 250 taken
            """
        result, _ = sent(script, *BY_DATA, envelope=TWO)
        assert statuses(result) == [REFUSED, IN_DOUBT]

    def test_what_came_along_with_it_in_a_window_is_in_doubt(self):
        streamed = Streamed(
            bdat(0, reset=False)
            + bdat(1, reset=True)
            + """
            S: 250 ok
            S: 250 ok
            S: 552 too big
            S: 250 stray
            S: 250 ok
            S: 250 ok
            S: 250 ok
            S!: 250 taken
            """,
            *BY_BDAT,
        )
        assert [statuses(result) for result in streamed.results][-1] == [IN_DOUBT]
        assert streamed.left == 0

    def test_a_content_is_told_of_when_the_next_group_shows_that_it_was_in_step(self):
        streamed = Streamed(
            data(0, reset=False)
            + """
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            C: hi
            C: .
            """
            + data(1, reset=True)
            + """
            S: 250 stray
            S: 554 refused
            S: 250 ok
            S: 250 ok
            S: 250 ok
            """,
            *BY_DATA,
        )
        assert isinstance(streamed.over, RemoteProtocolError)
        assert [statuses(result) for result in streamed.results] == [[IN_DOUBT]]
        assert streamed.left == 1

    @pytest.mark.parametrize(
        "replies",
        [
            ["421 stray", "250 sender", "250 recipient", "554 refused"],
            ["250 sender", "421 stray", "250 recipient", "554 refused"],
            ["250 sender", "250 recipient", "421 stray", "250 taken"],
        ],
    )
    def test_a_421_is_one_too_many_like_any_other(self, replies: list[str]):
        script = """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: BDAT 4 LAST
            C: hi
            """ + "".join(f"\n            S: {reply}" for reply in replies)
        connection = connected(*BY_BDAT)
        result = play(deliver(connection, HI, ONE), dedent(script), Mode.WHOLE).value
        assert statuses(result) == [IN_DOUBT]

    def test_nor_is_what_follows_it_in_a_window_believed(self):
        streamed = Streamed(
            bdat(0, reset=False)
            + bdat(1, reset=True)
            + """
            S: 421 stray
            S: 250 ok
            S: 250 ok
            S: 250 taken
            S: 250 ok
            S: 250 ok
            S: 250 ok
            S: 554 refused
            """,
            *BY_BDAT,
            mode=Mode.WHOLE,
        )
        assert [statuses(result) for result in streamed.results] == [[IN_DOUBT], [IN_DOUBT]]


class TestLMTP:
    GROUP = """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: RCPT TO:<d@y.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 354 go ahead
        C: hi
        C: .
        """
    THREE = Envelope("a@x.test", ["b@y.test", "c@y.test", "d@y.test"])

    @pytest.mark.requirement("RFC 2033 §4.2")
    def test_a_421_answers_one_recipient(self):
        script = self.GROUP + "S: 250 one\n        S: 421 4.3.2 shutting down\n        S: <close>"
        result, connection = sent(script, *BY_DATA, envelope=self.THREE, lmtp=True)
        assert statuses(result) == [ACCEPTED, REFUSED, IN_DOUBT]
        assert isinstance(result.error, ConnectionLost)
        assert not connection.usable

    def test_who_goes_on_after_a_421_is_heard(self):
        script = self.GROUP + "S: 250 one\n        S: 421 4.3.2 not that\n        S: 250 three"
        result, _ = sent(script, *BY_DATA, envelope=self.THREE, lmtp=True)
        assert statuses(result) == [ACCEPTED, REFUSED, ACCEPTED]


class TestTheEndOfASession:
    @pytest.mark.requirement("T35")
    @pytest.mark.parametrize("keywords", [BY_DATA, ()])
    def test_a_refusal_that_was_heard_counts_though_the_server_hangs_up(
        self, keywords: tuple[str, ...]
    ):
        script = """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: DATA
            S: 250 ok
            S: 550 no such user
            S: <close>
            """
        if not keywords:
            script = """
                C: MAIL FROM:<a@x.test>
                S: 250 ok
                C: RCPT TO:<b@y.test>
                S: 550 no such user
                """
        result, _ = sent(script, *keywords)
        assert statuses(result) == [REFUSED]
        assert isinstance(result.error, RecipientsRefused)

    def test_in_a_stream_too(self):
        streamed = Streamed(
            data(0, reset=False)
            + """
            S: 250 ok
            S: 550 no such user
            S: <close>
            """,
            *BY_DATA,
        )
        assert [statuses(result) for result in streamed.results] == [[REFUSED]]
        assert streamed.left == 1
        assert streamed.budget.answered == 1

    def test_behind_the_lone_dot(self):
        """DATA was answered by 354 though nobody was accepted; the server hangs up."""
        streamed = Streamed(
            data(0, reset=False)
            + """
            S: 250 ok
            S: 550 no such user
            S: 354 go ahead
            C: .
            S: <close>
            """,
            *BY_DATA,
        )
        assert isinstance(streamed.over, ConnectionLost)
        assert [statuses(result) for result in streamed.results] == [[REFUSED]]
        assert streamed.left == 1

    @pytest.mark.parametrize(
        ("final", "second"), [("250 taken", ACCEPTED), ("<silence>", IN_DOUBT)]
    )
    def test_a_content_that_was_wanted_after_a_421(self, final: str, second: Status):
        """The server goes on; and if it says nothing to the content, that is no refusal."""
        script = f"""
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: RCPT TO:<c@y.test>
            C: DATA
            S: 250 ok
            S: 421 shutting down, in a while
            S: 250 ok
            S: 354 go ahead
            C: hi
            C: .
            S: {final}
            """
        result, _ = sent(script, *BY_DATA, envelope=TWO)
        assert statuses(result) == [REFUSED, second]

    @pytest.mark.parametrize("end", ["<close>", "<silence>", "<reset>"])
    @pytest.mark.parametrize("goes_on", [True, False])
    def test_what_is_unanswered_after_a_421(self, goes_on: bool, end: str):
        """Who took another message after it may have taken those behind that one as well."""
        said = ["250 ok"] * 4 + ["421 not now", "503 no", "503 no"]
        said += ["250 ok"] * 4 * goes_on
        streamed = Streamed(
            bdat(0, reset=False)
            + "".join(bdat(number, reset=True) for number in (1, 2, 3))
            + "".join(f"            S: {each}\n" for each in [*said, end]),
            *BY_BDAT,
            messages=4,
        )
        told = [(result.outcomes[0].status, result.reply) for result in streamed.results]
        assert [status for status, _ in told] == (
            [ACCEPTED, ACCEPTED, IN_DOUBT] if goes_on else [ACCEPTED]
        )
        assert streamed.left == (1 if goes_on else 3)

    @pytest.mark.parametrize("messages", [1, 2])
    @pytest.mark.parametrize("end", ["<close>", "<silence>", "<reset>"])
    def test_nothing_is_said_to_a_content_behind_a_421(self, end: str, messages: int):
        """One recipient was accepted, so that the server may have taken the content."""
        said = f"""
            S: 250 ok
            S: 250 ok
            S: 421 not that one
            S: {end}
            """
        alone, _ = sent(
            _TO_TWO.format("", 0) + said, *BY_BDAT, envelope=TWO.replace(sender="s0@x.test")
        )
        assert statuses(alone) == [IN_DOUBT, REFUSED]
        written = "".join(_TO_TWO.format("C: RSET" if i else "", i) for i in range(messages))
        streamed = Streamed(
            written + said, *BY_BDAT, messages=messages, recipients=("b@y.test", "c@y.test")
        )
        assert [statuses(result) for result in streamed.results] == [[IN_DOUBT, REFUSED]]
        assert streamed.left == messages - 1

    @pytest.mark.parametrize("refused_at", [0, 1])
    def test_a_421_before_the_content_is_no_answer_to_the_message(self, refused_at: int):
        replies = ["250 ok", "250 ok"]
        replies[refused_at:] = ["421 4.7.0 too many errors"]
        streamed = Streamed(
            bdat(0, reset=False)
            + "".join(f"        S: {reply}\n" for reply in replies)
            + "        S: <close>\n",
            *BY_BDAT,
            messages=1,
        )
        assert streamed.results == []
        assert streamed.left == 1

    def test_a_421_to_data_is_none_either(self):
        streamed = Streamed(
            data(0, reset=False)
            + """
            S: 250 ok
            S: 250 ok
            S: 421 4.7.0 too many errors
            """,
            *BY_DATA,
            messages=1,
        )
        assert streamed.results == []
        assert streamed.left == 1

    @pytest.mark.parametrize("resend", [False, True])
    def test_of_a_message_partly_in_doubt_only_that_part_is_sent_again(self, resend: bool):
        results: list[SendResult] = []
        supply = Supply(
            resend,
            ready=deque([Outgoing(HI, Envelope("a@x.test", ["b@y.test", "c@y.test"]))]),
            exhausted=True,
        )
        script = """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: RCPT TO:<c@y.test>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            C: hi
            C: .
            S: 250 one
            S: <close>
            """
        connection = connected(*BY_DATA, lmtp=True)
        procedure = stream(connection, supply, results.append, Window(), Budget(9))
        _ = play(procedure, dedent(script))
        if not resend:
            assert [statuses(result) for result in results] == [[ACCEPTED, IN_DOUBT]]
            return
        assert results == []
        again = """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<c@y.test>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            C: hi
            C: .
            S: 250 two
            """
        connection = connected(*BY_DATA, lmtp=True)
        procedure = stream(connection, supply, results.append, Window(), Budget(9))
        _ = play(procedure, dedent(again))
        assert [statuses(result) for result in results] == [[ACCEPTED, ACCEPTED]]


class TestRefusedReset:
    """Some servers answer RSET by 500, 502 or 503."""

    @pytest.mark.parametrize("code", [500, 502, 503])
    def test_in_a_window_what_plainly_was_accepted_counts(self, code: int):
        streamed = Streamed(
            bdat(0, reset=False)
            + bdat(1, reset=True)
            + bdat(2, reset=True)
            + f"""
            S: 250 ok
            S: 250 ok
            S: 250 taken
            S: {code} what?
            S: 250 ok
            S: 250 ok
            S: 250 taken
            S: {code} what?
            S: 250 ok
            S: 550 no such user
            S: 554 nobody to send to
            C: QUIT
            S: 221 bye
            """,
            *BY_BDAT,
            messages=3,
        )
        assert [statuses(r) for r in streamed.results] == [[ACCEPTED], [ACCEPTED], [REFUSED]]
        assert isinstance(streamed.over, RemoteProtocolError)

    def test_behind_a_failure_the_message_was_not_looked_at(self):
        streamed = Streamed(
            bdat(0, reset=False)
            + bdat(1, reset=True)
            + """
            S: 250 ok
            S: 550 no such user
            S: 554 nobody to send to
            S: 502 what?
            S: 503 nested MAIL
            S: 550 no such user
            S: 554 nobody to send to
            C: QUIT
            S: 221 bye
            """,
            *BY_BDAT,
        )
        assert [statuses(r) for r in streamed.results] == [[REFUSED]]
        assert streamed.left == 1

    def test_it_may_be_the_sign_of_a_reply_too_many(self):
        streamed = Streamed(
            bdat(0, reset=False)
            + bdat(1, reset=True)
            + """
            S: 250 ok
            S: 250 ok
            S: 250 taken
            S: 502 stray
            S: 250 reset
            S: 250 ok
            S: 250 ok
            C: QUIT
            S: 554 refused
            """,
            *BY_BDAT,
        )
        assert statuses(streamed.results[-1]) == [IN_DOUBT]
        assert IN_DOUBT in statuses(streamed.results[0]) or statuses(streamed.results[0]) == [
            ACCEPTED
        ]

    def test_by_data_the_next_goes_by_another_session(self):
        streamed = Streamed(
            data(0, reset=False)
            + """
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            C: hi
            C: .
            """
            + data(1, reset=True)
            + """
            S: 250 taken
            S: 502 what?
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            """,
            *BY_DATA,
        )
        assert [statuses(r) for r in streamed.results] == [[ACCEPTED]]
        assert streamed.left == 1
        assert streamed.connection.learnt.refuses_reset

    def test_once_it_is_known_messages_go_without(self):
        results: list[SendResult] = []
        connection = connected(*BY_BDAT)
        connection.learnt.refuses_reset = True
        ready = [Outgoing(HI, Envelope(f"s{i}@x.test", "b@y.test")) for i in range(2)]
        script = (bdat(0, reset=False) + "S: 250 ok\n" * 3) + (
            bdat(1, reset=False) + "S: 250 ok\n" * 3
        )
        procedure = stream(
            connection,
            Supply(ready=deque(ready), exhausted=True),
            results.append,
            Window(),
            Budget(9),
        )
        assert play(procedure, dedent("\n".join(map(str.strip, script.splitlines())))).value is None
        assert [statuses(r) for r in results] == [[ACCEPTED], [ACCEPTED]]

    @pytest.mark.parametrize("keywords", [BY_BDAT, BY_DATA, ()])
    def test_one_message_behind_a_failure_waits_for_it(self, keywords: tuple[str, ...]):
        """Refused, and MAIL with it, the next content would go under the former sender."""
        result, connection = sent(
            """
            C: RSET
            S: 502 what?
            """,
            *keywords,
            open_transaction=True,
        )
        assert statuses(result) == [NOT_TRIED]
        assert connection.learnt.refuses_reset
        assert not connection.usable

    def test_in_a_stream_it_is_tried_behind_the_first_message(self):
        """No second message is written before it is known that RSET parts it from the first."""
        streamed = Streamed(
            bdat(0, reset=False)
            + """
            C: RSET
            S: 250 ok
            S: 550 no such user
            S: 554 nobody to send to
            S: 502 what?
            """,
            *BY_BDAT,
            takes_chunks=False,
        )
        assert [statuses(result) for result in streamed.results] == [[REFUSED]]
        assert streamed.left == 1
        assert streamed.connection.learnt.refuses_reset

    def test_nobody_gets_an_empty_message(self):
        """MAIL was refused and DATA was not: the transaction is another message's."""
        result, connection = sent(
            """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: DATA
            S: 503 nested MAIL
            S: 250 ok
            S: 354 go ahead
            """,
            *BY_DATA,
        )
        assert statuses(result) == [REFUSED]
        assert not connection.usable

    def test_a_421_to_it_is_no_answer_to_the_message(self):
        result, _ = sent(
            """
            C: RSET
            S: 421 4.7.0 too many errors
            """,
            *BY_DATA,
            open_transaction=True,
        )
        assert statuses(result) == [NOT_TRIED]
        assert isinstance(result.error, ConnectionLost)


class TestChunksThatAreNotKnown:
    @pytest.mark.parametrize("code", [500, 502, 503])
    @pytest.mark.parametrize("text", ["", "S!: 500 hi?"])
    def test_bdat_is_not_known_and_nothing_was_taken(self, code: int, text: str):
        result, connection = sent(
            f"""
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: BDAT 4 LAST
            C: hi
            S: 250 ok
            S: 250 ok
            S: {code} what?
            {text}
            """,
            *BY_BDAT,
        )
        assert statuses(result) == [NOT_TRIED]
        assert "ignore_extensions" in str(result.error)
        assert "CHUNKING" in connection.learnt.broken
        assert not connection.usable

    def test_a_chunk_that_is_passed_over_in_silence(self):
        """The yes to RSET is not believed to be one to the content, which was not taken."""
        streamed = Streamed(
            bdat(0, reset=False)
            + """
            C: RSET
            S: 250 ok
            S: 250 ok
            S: 250 reset
            S: <silence>
            """,
            *BY_BDAT,
            takes_chunks=False,
        )
        assert [statuses(result) for result in streamed.results] == [[IN_DOUBT]]

    def test_unless_one_of_the_replies_may_be_an_acceptance(self):
        streamed = Streamed(
            bdat(0, reset=False)
            + """
            C: RSET
            S: 250 ok
            S: 250 ok
            S: 502 stray
            S: 250 taken
            S: 250 reset
            """,
            *BY_BDAT,
            takes_chunks=False,
            mode=Mode.WHOLE,
        )
        assert [statuses(result) for result in streamed.results] == [[IN_DOUBT]]

    def test_a_server_that_has_taken_chunks_knows_them(self):
        result, connection = sent(
            """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: BDAT 4 LAST
            C: hi
            S: 250 ok
            S: 250 ok
            S: 503 not now
            """,
            *BY_BDAT,
            takes_chunks=True,
        )
        assert statuses(result) == [REFUSED]
        assert isinstance(result.error, ContentRefused)
        assert connection.usable

    @pytest.mark.parametrize("text", ["", "S: 500 hi?"])
    def test_the_next_session_does_without(self, text: str):
        streamed = Streamed(
            bdat(0, reset=False)
            + f"""
            C: RSET
            S: 250 ok
            S: 250 ok
            S: 502 what?
            {text}
            S: 250 reset
            """,
            *BY_BDAT,
            takes_chunks=False,
            mode=Mode.WHOLE,
        )
        assert streamed.results == []
        assert streamed.left == 2
        assert streamed.connection.learnt.broken >= {"CHUNKING", "BINARYMIME"}

    @pytest.mark.parametrize("text", ["500 hi?", "502 hi?"])
    def test_a_refused_chunk_that_was_read_as_commands(self, text: str):
        """Nobody was accepted, and whatever came of the text is a refusal, too."""
        result, connection = sent(
            f"""
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: BDAT 4 LAST
            C: hi
            S: 250 ok
            S: 550 no such user
            S: 503 nobody to send to
            S!: {text}
            """,
            *BY_BDAT,
        )
        assert statuses(result) == [REFUSED]
        assert isinstance(result.error, RecipientsRefused)
        assert "CHUNKING" in connection.learnt.broken
        assert not connection.usable

    @pytest.mark.parametrize(
        "line", [b"DATA", b"data", b"Data ", b"BDAT 5 LAST", b"bdat 0", b"dAtA\t"]
    )
    @pytest.mark.parametrize("first", [True, False])
    def test_what_could_become_a_message_is_sent_after_a_go_ahead(self, line: bytes, first: bool):
        content = (b"" if first else b"Subject: x\r\n\r\n") + line + b"\r\n"
        assert Content(content).has_commands()
        lines = "".join(f"            C: {part}\n" for part in content.decode().splitlines())
        lines = lines.replace("\t", "\\t").replace("C: Data ", "C: Data\\x20")
        result, _ = sent(
            """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 354 go ahead
            """
            + lines
            + """            C: .
            S: 250 taken
            """,
            *BY_BDAT,
            content=content,
        )
        assert statuses(result) == [ACCEPTED]

    @pytest.mark.parametrize("line", [b"x DATA", b"BDATA", b"data:image/png", b"DATABASE"])
    def test_what_could_not(self, line: bytes):
        assert not Content(b"Subject: x\r\n\r\n" + line + b"\r\n").has_commands()


class TestLimits:
    """RFC 9422."""

    def test_each_part_of_a_divided_message_counts_for_mailmax(self):
        result, _ = sent(
            """
            C: MAIL FROM:<a@x.test>
            C: RCPT TO:<b@y.test>
            C: BDAT 4 LAST
            C: hi
            S: 250 ok
            S: 250 ok
            S: 250 taken
            """,
            *BY_BDAT,
            "LIMITS RCPTMAX=1 MAILMAX=1",
            envelope=TWO,
        )
        assert statuses(result) == [ACCEPTED, NOT_TRIED]
        assert isinstance(result.error, SessionFull)

    def test_an_interruption_of_a_later_part_forgets_no_earlier_one(self):
        """Whoever is interrupted outside of the procedure knows no more than the connection."""
        connection = connected(*BY_BDAT, "LIMITS RCPTMAX=1")
        procedure = deliver(connection, HI, TWO)
        step, written = next(procedure), 0
        while written < 2:
            written += isinstance(step, Send)
            if written < 2:
                step = procedure.send(b"250 ok\r\n" * 3 if isinstance(step, Receive) else None)
        procedure.close()
        assert connection.content_ended

    def test_an_interruption_within_a_part_has_one_result(self):
        connection = connected(*BY_BDAT, "LIMITS RCPTMAX=1")
        procedure = deliver(connection, HI, TWO)
        _ = next(procedure)
        with pytest.raises(KeyboardInterrupt) as caught:
            _ = procedure.throw(KeyboardInterrupt())
        result = vars(caught.value)["result"]
        assert statuses(result) == [NOT_TRIED, NOT_TRIED]
        assert result.error.result is result

    def test_a_session_that_had_its_transactions_begins_none(self):
        connection = connected(*BY_BDAT, "LIMITS MAILMAX=1")
        connection.transactions = 1
        result = play(deliver(connection, HI, ONE), "").value
        assert isinstance(result.error, SessionFull)
        assert statuses(result) == [NOT_TRIED]


@pytest.mark.parametrize("keywords", [BY_BDAT, BY_DATA, ()])
@pytest.mark.parametrize("answer", [b"", None])
def test_nothing_is_asked_twice_without_a_step_between(
    keywords: tuple[str, ...], answer: bytes | None
):
    """More that brings nothing, whatever it says, ends the asking: no loop without an end."""
    supply = Supply()
    results: list[SendResult] = []
    procedure = stream(connected(*keywords), supply, results.append, Window(), Budget(9))
    asked = 0
    step = next(procedure)
    with pytest.raises(StopIteration):
        for _ in range(9):
            if isinstance(step, More):
                asked += 1
                step = procedure.send(answer)
            else:
                step = procedure.send(None)
    assert asked == 1


def test_refusals_that_fill_a_chunk_say_nothing_of_the_message_before():
    """A stray reply shifts all: 503 and one 503 too many look like a chunk read as commands."""
    two = Envelope("a@x.test", ["b@y.test", "c@y.test"])
    connection = connected(*BY_BDAT)
    connection.learnt.takes_chunks = connection.learnt.takes_reset = True
    results: list[SendResult] = []
    supply = Supply(ready=deque([Outgoing(HI, two), Outgoing(HI, ONE)]), exhausted=True)
    script = """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: BDAT 4 LAST
        C: hi
        C: RSET
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: BDAT 4 LAST
        C: hi
        S: 250 sender
        S: 250 stray
        S: 250 recipient
        S: 450 recipient
        S: 250 taken
        S: 250 reset
        S: 450 sender
        S: 503 MAIL first
        S: 503 MAIL first
        """
    procedure = stream(connection, supply, results.append, Window(), Budget(9))
    assert isinstance(play(procedure, dedent(script), Mode.WHOLE).value, RemoteProtocolError)
    told = {len(result.outcomes): set(statuses(result)) for result in results}
    assert told == {2: {IN_DOUBT}, 1: {REFUSED}}


def test_what_a_full_session_left_to_another_is_not_put_back_by_it():
    """RCPTDOMAINMAX: the second message is under way elsewhere when the first session breaks."""
    ready = [Outgoing(HI, Envelope("a@x.test", [f"b@{domain}.test"])) for domain in ("y", "z")]
    supply = Supply(ready=deque(ready), exhausted=True)

    def begun() -> Steps[SMTPError | None]:
        connection = connected(*BY_BDAT, "LIMITS RCPTDOMAINMAX=1")
        connection.learnt.takes_chunks = connection.learnt.takes_reset = True
        results: list[SendResult] = []
        procedure = stream(connection, supply, results.append, Window(), Budget(9))
        step = next(procedure)
        while not isinstance(step, Receive):
            step = procedure.send(None if isinstance(step, Glance) else b"")
        return procedure

    full, other = begun(), begun()
    with pytest.raises(StopIteration):
        for _ in range(9):
            _ = full.throw(ConnectionResetError())
    assert list(supply.ready) == []
    other.close()


def test_a_second_try_that_decides_for_some_does_not_undo_the_first():
    """LMTP, sent again because it was in doubt: one is refused then, and the other in doubt."""
    results: list[SendResult] = []
    doubt = ConnectionLost("lost", phase="data_termination")
    supply = Supply(True, ready=deque([Outgoing(HI, TWO, doubt=doubt)]), exhausted=True)

    def tried(recipients: str, finals: str) -> None:
        script = f"""
            C: MAIL FROM:<a@x.test>
            S: 250 sender
            {recipients}
            C: DATA
            S: 354 go ahead
            C: hi
            C: .
            {finals}
            """
        procedure = stream(connected(lmtp=True), supply, results.append, Window(), Budget(9))
        _ = play(procedure, "\n".join(line.strip() for line in script.splitlines()), Mode.WHOLE)

    both = "C: RCPT TO:<b@y.test>\nS: 250 ok\nC: RCPT TO:<c@y.test>\nS: 250 ok"
    tried(both, "S: 552 too big\nS: <close>")
    tried("C: RCPT TO:<c@y.test>\nS: 250 ok", "S: 250 taken")
    assert [statuses(result) for result in results] == [[IN_DOUBT, ACCEPTED]]


def test_what_is_out_of_place_is_so_after_a_421_as_well():
    """The server goes on, and answers the content by what is neither yes nor no."""
    result, connection = sent(
        """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: RCPT TO:<c@y.test>
        C: BDAT 4 LAST
        C: hi
        S: 250 sender
        S: 250 recipient
        S: 421 4.3.2 shutting down
        S: 354 go ahead
        """,
        *BY_BDAT,
        envelope=TWO,
        takes_chunks=True,
    )
    assert statuses(result)[0] is IN_DOUBT
    assert not connection.usable


def carried(
    procedure: Steps[SMTPError | None], heard: list[bytes], found: list[bytes | None]
) -> tuple[list[bytes], SMTPError | None]:
    """What it writes, and its value: what it hears comes in turn, then nothing but the end."""
    written: list[bytes] = []
    step = next(procedure)
    for _ in range(99):
        answer: bytes | None = None
        if isinstance(step, Send):
            written.append(bytes(step.data))
            answer = b""
        elif isinstance(step, Receive):
            answer = heard.pop(0) if heard else b""
        elif isinstance(step, Glance):
            answer = found.pop(0) if found else None
        try:
            step = procedure.send(answer)
        except StopIteration as ended:
            return written, ended.value
    raise AssertionError("it never ends")


@pytest.mark.parametrize("ending", ["eof", "no chunks"])
def test_a_session_that_cannot_say_quit_does_not_show_that_replies_were_in_step(ending: str):
    """RSET refused: only a 221 tells that from a reply too many."""
    connection = connected(*BY_BDAT)
    connection.learnt.takes_reset = True
    connection.learnt.takes_chunks = ending == "eof"
    if ending == "eof":
        ready = [Outgoing(HI, Envelope(f"s{i}@x.test", "b@y.test")) for i in range(2)]
        heard = b"250 ok\r\n250 ok\r\n250 taken\r\n500 what\r\n250 ok\r\n250 ok\r\n250 taken\r\n"
        found: list[bytes | None] = [None, b""]
    else:
        connection.open_transaction = True
        ready = [Outgoing(HI, ONE)]
        heard = b"500 what\r\n250 ok\r\n250 ok\r\n503 what\r\n500 what\r\n"
        found = []
    results: list[SendResult] = []
    supply = Supply(ready=deque(ready), exhausted=True)
    procedure = stream(connection, supply, results.append, Window(), Budget(9))
    _, over = carried(procedure, [heard], found)
    assert isinstance(over, RemoteProtocolError)
    assert ACCEPTED not in {status for result in results for status in statuses(result)}
    assert len(results) + len(supply.ready) == len(ready)


def test_what_a_server_hung_up_on_goes_back_before_what_follows_it():
    """Else the message over which a server falls is not known as the one that was tried first."""
    results: list[SendResult] = []
    ready = [Outgoing(HI, Envelope(f"s{i}@x.test", "b@y.test")) for i in range(2)]
    supply, budget = Supply(ready=deque(ready), exhausted=True), Budget(9)
    procedure = stream(connected(*BY_DATA), supply, results.append, Window(), budget)
    _ = carried(procedure, [b"250 ok\r\n250 ok\r\n354 go\r\n"], [None, None, b""])
    assert list(supply.ready) == ready
    assert supply.ready[0] is budget.first
    assert results == []


def test_a_first_message_that_fills_a_write_is_followed_by_a_reset_as_well():
    line = b"x" * 70 + b"\r\n"
    results: list[SendResult] = []
    ready = [Outgoing(line * 910, ONE), Outgoing(HI, ONE)]
    connection = connected(*BY_BDAT)
    supply = Supply(ready=deque(ready), exhausted=True)
    procedure = stream(connection, supply, results.append, Window(), Budget(9))
    written, over = carried(procedure, [b"250 ok\r\n" * 4, b"250 ok\r\n" * 3], [])
    assert over is None
    assert written[0].endswith(b"RSET\r\n")
    assert connection.learnt.takes_reset
    assert [statuses(result) for result in results] == [[ACCEPTED], [ACCEPTED]]


def test_a_reply_that_is_not_believed_teaches_nothing():
    results: list[SendResult] = []
    connection = connected(*BY_BDAT)
    supply = Supply(ready=deque([Outgoing(HI, TWO)]), exhausted=True)
    procedure = stream(connection, supply, results.append, Window(), Budget(9))
    heard = (
        b"250 sender\r\n250 recipient\r\n550 recipient\r\n250 taken\r\n250 reset\r\n250 stray\r\n"
    )
    _, over = carried(procedure, [heard], [])
    assert isinstance(over, RemoteProtocolError)
    assert [statuses(result) for result in results] == [[IN_DOUBT, IN_DOUBT]]
    assert not connection.learnt.takes_chunks


@pytest.mark.parametrize(
    "parting",
    [
        "4.4.2 mx.test Error: timeout exceeded",
        "mx.test: SMTP command timeout - closing connection",
        "Idle timeout",
        "4.3.2 shutting down",
        "Connection timed out",
        "session closed for inactivity",
    ],
)
def test_a_session_that_ended_for_time_says_nothing_of_how_many_messages_it_takes(parting: str):
    learnt = Learnt()
    for _ in range(2):
        learnt.session_ended(1, Reply.of(421, parting))
    assert learnt.messages is None
    learnt.session_ended(1, Reply.of(421, "too many messages in this connection"))
    assert learnt.messages == 1


class TestInterrupted:
    """What was heard by then is told only as far as nothing that comes later can change it."""

    @pytest.mark.parametrize(
        "heard",
        [
            b"550 stray\r\n",
            b"550 stray\r\n250 sender\r\n",
            b"250 sender\r\n550 stray\r\n",
            b"550 stray\r\n250 sender\r\n250 one\r\n2x what\r\n",
        ],
    )
    @pytest.mark.parametrize("messages", [0, 1, 2])
    def test_no_refusal_is_believed_that_is_not_shown_to_be_in_step(
        self, heard: bytes, messages: int
    ):
        assert self.statuses_of(TWO, messages, heard) == [[IN_DOUBT, IN_DOUBT]] * max(messages, 1)

    @pytest.mark.parametrize(
        ("behind", "first"),
        [
            (b"250 reset\r\n250 sen", ACCEPTED),
            (b"250 reset\r\n2x\r\n", IN_DOUBT),
            (b"250 reset\r\n250 s\r\n250 r\r\n250 taken\r\n250 more\r\n", IN_DOUBT),
            (b"554 refused\r\n250 sen", IN_DOUBT),
            (b"421 enough\r\n", ACCEPTED),
        ],
    )
    def test_what_has_come_behind_an_answer_is_looked_at(self, behind: bytes, first: Status):
        heard = b"250 ok\r\n250 ok\r\n250 taken\r\n" + behind
        assert self.statuses_of(ONE, 2, heard)[0] == [first]

    def statuses_of(self, envelope: Envelope, messages: int, heard: bytes) -> list[list[Status]]:
        """Interrupt a lone message, or a window of some, when all this was read."""
        connection = connected(*BY_BDAT)
        connection.learnt.takes_chunks = connection.learnt.takes_reset = True
        if not messages:
            return [statuses(_interrupted(deliver(connection, HI, envelope), heard))]
        results: list[SendResult] = []
        ready = [Outgoing(HI, envelope) for _ in range(messages)]
        supply = Supply(ready=ready, exhausted=True)
        _ = _interrupted(stream(connection, supply, results.append, Window(), Budget(9)), heard)
        return [statuses(result) for result in results]


def _interrupted(procedure: Steps[Value], heard: bytes) -> Value:
    """What a procedure returns whose caller stops listening once this was read, or that ends."""
    answers = [heard]
    try:
        step = next(procedure)
        while answers or not isinstance(step, Receive):
            if isinstance(step, Receive):
                step = procedure.send(answers.pop())
            else:
                step = procedure.send(None if isinstance(step, Glance) else b"")
    except StopIteration as stop:
        return cast("Value", stop.value)
    return cast("Value", value_of_lost(procedure))


@pytest.mark.parametrize("behind", ["554 refused", "421 enough"])
def test_where_the_server_hangs_up_behind_a_refused_reset(behind: str):
    """A refused RSET may be the reply to the content before it; a 421 is the server's good-bye."""
    script = (
        data(0, reset=False)
        + """
        S: 250 ok
        S: 250 ok
        S: 354 go ahead
        C: hi
        C: .
        """
        + data(1, reset=True)
        + f"""
        S: 250 stray
        S: {behind}
        S: <close>
        """
    )
    streamed = Streamed(script, *BY_DATA, mode=Mode.WHOLE)
    first = ACCEPTED if behind.startswith("421") else IN_DOUBT
    assert statuses(streamed.results[0]) == [first]


def test_nothing_is_written_where_the_server_may_wait_for_a_content():
    """With a reply too many before it, the 354 to a DATA that seemed refused is left over."""
    results: list[SendResult] = []
    commands = b"DATA\r\n"  # Goes alone, after a go-ahead.
    ready = [Outgoing(commands, ONE), Outgoing(HI, ONE)]
    supply = Supply(ready=ready, exhausted=True)
    connection = connected(*BY_BDAT)
    connection.learnt.takes_chunks = connection.learnt.takes_reset = True
    script = """
        C: MAIL FROM:<a@x.test>
        C: RCPT TO:<b@y.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 stray
        S!: 354 go ahead
        """
    procedure = stream(connection, supply, results.append, Window(), Budget(9))
    over = play(procedure, dedent(script), Mode.WHOLE).value
    assert isinstance(over, RemoteProtocolError)
    assert [statuses(result) for result in results] == [[REFUSED]]
    assert len(supply.ready) == 1


@pytest.mark.parametrize("at", range(1, 13))
def test_a_reply_that_comes_whenever_one_looks(at: int):
    """A server that reads a refused chunk as commands says so in its own time."""
    results: list[SendResult] = []
    connection = connected(*BY_BDAT)
    connection.learnt.takes_chunks = connection.learnt.takes_reset = True
    alone = b"DATA\r\n"  # Goes alone, after a go-ahead.
    supply = Supply(ready=[Outgoing(each, ONE) for each in (HI, alone, alone)], exhausted=True)
    procedure = stream(connection, supply, results.append, Window(), Budget(9))
    taken = [b"250 ok\r\n250 ok\r\n354 go ahead\r\n", b"250 taken\r\n"]
    said = [b"250 ok\r\n250 ok\r\n552 too big\r\n", b"250 reset\r\n", *taken, *taken]
    glances = 0
    step: Step = next(procedure)
    with pytest.raises(StopIteration) as ended:
        while True:
            if isinstance(step, Glance):
                glances += 1
                step = procedure.send(b"500 what\r\n" if glances == at else None)
            else:
                step = procedure.send(said.pop(0) if isinstance(step, Receive) else b"")
    over = ended.value.value
    assert isinstance(over, SMTPError) == (glances >= at)
    assert len(results) + len(supply.ready) == 3
