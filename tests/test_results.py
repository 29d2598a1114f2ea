"""What became of a message: recipients by status, queue ids, strictness."""

from __future__ import annotations

import copy
import pickle
from time import process_time

import pytest

from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, ContentRefused, RecipientsRefused
from smtpx.replies import Reply
from smtpx.results import Outcome, SendResult, Status, outcomes_of

ANN, BOB, EVE, DAN = (Address(name, "x.test") for name in ("ann", "bob", "eve", "dan"))
OK = Reply.of(250, "2.0.0 ok")
NO = Reply.of(550, "5.1.1 no such user")
LATER = Reply.of(451, "4.7.1 later")
MIXED = SendResult(
    (
        Outcome(ANN, Status.ACCEPTED, OK),
        Outcome(BOB, Status.REFUSED, NO),
        Outcome(EVE, Status.IN_DOUBT, None),
        Outcome(DAN, Status.NOT_TRIED, None),
        Outcome(BOB, Status.REFUSED, LATER),
    ),
    OK,
    None,
)


def test_recipients_are_sorted_by_what_became_of_them() -> None:
    assert [outcome.recipient for outcome in MIXED.accepted] == [ANN]
    assert [outcome.recipient for outcome in MIXED.refused] == [BOB, BOB]
    assert [outcome.recipient for outcome in MIXED.in_doubt] == [EVE]
    assert [outcome.recipient for outcome in MIXED.not_tried] == [DAN]


@pytest.mark.parametrize(
    ("status", "reply", "retryable"),
    [
        (Status.ACCEPTED, OK, False),
        (Status.REFUSED, NO, False),
        (Status.REFUSED, LATER, True),
        (Status.REFUSED, None, False),
        (Status.IN_DOUBT, None, False),
        (Status.IN_DOUBT, LATER, False),
        (Status.NOT_TRIED, None, True),
        (Status.NOT_TRIED, NO, True),
    ],
)
def test_retryable_is_what_is_safe_to_send_again_and_may_succeed(
    status: Status, reply: Reply | None, retryable: bool
) -> None:
    assert Outcome(ANN, status, reply).retryable is retryable


def test_an_outcome_reads_as_a_sentence() -> None:
    assert str(Outcome(BOB, Status.REFUSED, NO)) == "bob@x.test refused: 550 5.1.1 no such user"
    assert str(Outcome(EVE, Status.IN_DOUBT, None)) == "eve@x.test in doubt"
    assert Outcome(BOB, Status.REFUSED, NO).enhanced == (5, 1, 1)
    assert Outcome(EVE, Status.IN_DOUBT, None).enhanced is None


# As the servers' own documentation, source and real sessions have them.
@pytest.mark.parametrize(
    ("text", "queue_id"),
    [
        pytest.param("2.0.0 Ok: queued as 4WzQ1k2Jp9z3x", "4WzQ1k2Jp9z3x", id="Postfix, long"),
        pytest.param("2.0.0 Ok: queued as 7F2B41A0C3", "7F2B41A0C3", id="Postfix, short"),
        pytest.param(
            "2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 7F2B41A0C3",
            "7F2B41A0C3",
            id="Amavis before Postfix",
        ),
        pytest.param("OK id=1rXyZa-0002Bc-3D", "1rXyZa-0002Bc-3D", id="Exim before 4.97"),
        pytest.param("OK id=1rXyZa-00000002BcD-3Ef4", "1rXyZa-00000002BcD-3Ef4", id="Exim"),
        pytest.param(
            "2.0.0 41C8xQ2s012345 Message accepted for delivery", "41C8xQ2s012345", id="Sendmail"
        ),
        pytest.param("ok 1700000000 qp 12345", "12345", id="qmail"),
        pytest.param(
            "2.6.0 <a.b@mx.test> [InternalId=4711, Hostname=mx.test] Queued mail for delivery",
            "4711",
            id="Exchange",
        ),
        pytest.param(
            "2.6.0 <DB9PR01MB1@DB9PR01MB1.eurprd01.prod.outlook.com> [InternalId=20263655603224,"
            " Hostname=DB9PR01MB1.eurprd01.prod.outlook.com] 8192 bytes in 0.135, 59.142 KB/sec"
            " Queued mail for delivery",
            "20263655603224",
            id="Office 365",
        ),
        pytest.param(
            "2.0.0 OK  1700000000 a640c23a62f3a-a5c1d2e3f4si123456ejc.123 - gsmtp",
            "a640c23a62f3a-a5c1d2e3f4si123456ejc.123",
            id="Gmail",
        ),
        pytest.param(
            "2.0.0 OK 1700000000 k8-20020a05600c1c8800b0040a.12 - gsmtp",
            "k8-20020a05600c1c8800b0040a.12",
            id="Gmail submission",
        ),
        pytest.param(
            "Ok 0100018c1a2b3c4d-1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d-000000",
            "0100018c1a2b3c4d-1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d-000000",
            id="Amazon SES",
        ),
        pytest.param("2.0.0 1a2b3c4d Message accepted for delivery", "1a2b3c4d", id="OpenSMTPD"),
        pytest.param(
            "Message Queued (6E3A2B1C-0D4F-4E5A-9B8C-7D6E5F4A3B2C.1)",
            "6E3A2B1C-0D4F-4E5A-9B8C-7D6E5F4A3B2C.1",
            id="Haraka",
        ),
        pytest.param(
            "Ok: queued as -HJx_4dIRvyoAbCdEfGhIj", "-HJx_4dIRvyoAbCdEfGhIj", id="SendGrid"
        ),
        pytest.param("2.0.0 Ok", None, id="none"),
        pytest.param("ok", None, id="no more than ok"),
        pytest.param("Message accepted for delivery", None, id="a sentence"),
        pytest.param("Queued mail for delivery", None, id="another sentence"),
        pytest.param("", None, id="no text"),
    ],
)
def test_the_queue_id_is_found_in_what_servers_say(text: str, queue_id: str | None) -> None:
    assert SendResult((), Reply.of(250, text), None).queue_id == queue_id


def test_a_refusal_names_no_queue_id() -> None:
    assert SendResult((), Reply.of(550, "Ok: queued as 7F2B41A0C3"), None).queue_id is None
    assert SendResult((), None, None).queue_id is None


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("junk", ["a", "0123456789abcdef-", "ok: ", "queued as ", "id=", "1 ", "-"])
def test_a_queue_id_is_looked_for_in_linear_time(junk: str) -> None:
    text = (junk * 60000)[:60000]
    result = SendResult((), Reply.of(250, "2.0.0 OK 1234567890" + text), None)
    began = process_time()
    _ = result.queue_id
    assert process_time() - began < 0.2


def test_all_accepted_raises_nothing() -> None:
    SendResult((Outcome(ANN, Status.ACCEPTED, OK),), OK, None).raise_for_refused()


def test_one_refused_raises_the_first_refusal() -> None:
    with pytest.raises(RecipientsRefused) as caught:
        MIXED.raise_for_refused()
    assert str(caught.value) == "the message to bob@x.test was refused: 550 5.1.1 no such user"
    assert caught.value.result is MIXED
    assert not caught.value.transient


@pytest.mark.parametrize("error", [ContentRefused("DATA", NO), ConnectionLost("x", phase="mail")])
def test_the_error_of_the_whole_goes_before(error: ContentRefused | ConnectionLost) -> None:
    result = SendResult(MIXED.outcomes, None, error)
    with pytest.raises(type(error)) as caught:
        result.raise_for_refused()
    assert caught.value is error


def test_a_refusal_without_words_raises_nothing() -> None:
    SendResult((Outcome(BOB, Status.REFUSED, None),), None).raise_for_refused()


def test_a_plain_success_is_told_of_every_recipient_when_asked() -> None:
    result = SendResult(Envelope("a@x.test", [ANN, BOB, ANN]), OK, message="which")
    told = (
        Outcome(ANN, Status.ACCEPTED, OK),
        Outcome(BOB, Status.ACCEPTED, OK),
        Outcome(ANN, Status.ACCEPTED, OK),
    )
    assert result.outcomes == result.accepted == told
    assert result.outcomes == told
    assert (result.error, result.message) == (None, "which")
    assert result.refused == result.in_doubt == result.not_tried == ()


def test_each_verdict_belongs_to_its_recipient() -> None:
    envelope = Envelope(None, [ANN, BOB])
    assert outcomes_of(envelope, [(Status.ACCEPTED, OK), (Status.REFUSED, NO)]) == (
        Outcome(ANN, Status.ACCEPTED, OK),
        Outcome(BOB, Status.REFUSED, NO),
    )
    with pytest.raises(ValueError, match="shorter"):
        outcomes_of(envelope, [(Status.ACCEPTED, OK)])


def test_a_result_is_complete_if_everybody_accepted() -> None:
    accepted = Outcome(ANN, Status.ACCEPTED, OK)
    assert SendResult((accepted, accepted), OK).complete
    assert SendResult(Envelope(None, [ANN, BOB]), OK).complete
    assert not SendResult((), None, ConnectionLost("x", phase="mail")).complete
    for other in MIXED.outcomes[1:]:
        assert not SendResult((accepted, other), OK).complete


def test_a_result_shows_everyone() -> None:
    assert repr(MIXED) == f"<SendResult {MIXED}>"
    assert str(MIXED) == (
        "ann@x.test accepted: 250 2.0.0 ok; bob@x.test refused: 550 5.1.1 no such user; "
        "eve@x.test in doubt; dan@x.test not tried; bob@x.test refused: 451 4.7.1 later"
    )
    assert repr(MIXED.accepted) == "(<Outcome ann@x.test accepted: 250 2.0.0 ok>,)"


def test_a_result_with_thousands_shows_some() -> None:
    shown = str(SendResult(Envelope(None, [ANN] * 5000), OK))
    assert shown.endswith("; ann@x.test accepted: 250 2.0.0 ok; and 4980 more")
    assert len(shown) < 1000


@pytest.mark.parametrize("outcomes", [(), (Outcome(DAN, Status.NOT_TRIED, None),)])
def test_a_result_shows_its_error_where_no_outcome_says_why(outcomes: tuple[Outcome, ...]) -> None:
    result = SendResult(outcomes, None, ConnectionLost("nobody is there", phase="connect"))
    assert "nobody is there" in str(result)
    refused = ContentRefused("the content", NO)
    result = SendResult((Outcome(BOB, Status.REFUSED, NO),), None, refused)
    assert str(result) == "bob@x.test refused: 550 5.1.1 no such user"


@pytest.mark.parametrize("result", [MIXED, SendResult(Envelope(None, [ANN, BOB]), OK, message=1)])
def test_a_result_can_be_pickled_and_copied(result: SendResult) -> None:
    for twin in (pickle.loads(pickle.dumps(result)), copy.copy(result), copy.deepcopy(result)):
        assert twin.outcomes == result.outcomes
        assert (twin.reply, twin.error, twin.message) == (result.reply, None, None)


def test_a_result_pickles_without_its_message() -> None:
    result = SendResult(MIXED.outcomes, MIXED.reply, None, message=iter([b"a generator does not"]))
    again = pickle.loads(pickle.dumps(result))
    assert again.outcomes == MIXED.outcomes
    assert again.message is None
    assert result.message is not None
