"""The tree of errors: every one pickles, copies and says what it has to say."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from collections.abc import Callable
from functools import partial

import pytest

from smtpx import errors
from smtpx.addresses import Address
from smtpx.errors import (
    AddressError,
    AuthenticationRefused,
    CheckFailed,
    ConnectionLost,
    ContentRefused,
    EndpointError,
    ExtensionMissing,
    ExtraMissing,
    GreetingRefused,
    HelloRefused,
    LimitExceeded,
    LocalProtocolError,
    MalformedReply,
    MarkRefused,
    RecipientsRefused,
    RemoteProtocolError,
    ReplyError,
    SenderRefused,
    SessionFull,
    SignerFailed,
    SMTPError,
    TimedOut,
    TLSFailure,
    TLSPolicyError,
    TLSRefused,
)
from smtpx.findings import Finding, Rule, Severity
from smtpx.replies import Reply
from smtpx.results import Outcome, SendResult, Status

REPLY = Reply.of(550, "5.7.1 no")
BYE = Reply.of(421, "bye")
BOB = Address.parse("bob@x.test")

ONE_OF_EACH: list[SMTPError] = [
    SMTPError("it failed"),
    ReplyError("NOOP", REPLY),
    GreetingRefused(None, REPLY),
    HelloRefused("EHLO a.test", REPLY),
    TLSRefused("STARTTLS", REPLY),
    AuthenticationRefused("AUTH PLAIN [redacted]", REPLY),
    SenderRefused("MAIL FROM:<a@x.test>", REPLY),
    RecipientsRefused("RCPT TO:<b@x.test>", REPLY),
    ContentRefused("DATA", REPLY),
    LocalProtocolError("not that"),
    SessionFull("no more"),
    LimitExceeded("SIZE", "it takes less"),
    SignerFailed("the signer failed: OSError()"),
    ExtraMissing("dkim", "dkimpy", "DKIM"),
    MarkRefused("the mark said that this message must not be sent"),
    CheckFailed((Finding(Rule.DATE_MISSING, Severity.ERROR, "Date", "there is none"),)),
    RemoteProtocolError("broken"),
    ExtensionMissing("SMTPUTF8", "an address is not ASCII"),
    TLSPolicyError("no TLS", TLSFailure.STARTTLS_MISSING),
    ConnectionLost("gone", phase="mail", reply=BYE),
    TimedOut("slow", phase="data_termination"),
    AddressError("not an address"),
    EndpointError("not a URL"),
    MalformedReply("this is no reply", b"hello\r\n"),
]


def pickled(error: SMTPError, protocol: int) -> SMTPError:
    twin: SMTPError = pickle.loads(pickle.dumps(error, protocol))
    return twin


COPIES: dict[str, Callable[[SMTPError], SMTPError]] = {
    **{
        f"pickle protocol {n}": partial(pickled, protocol=n)
        for n in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def test_the_list_here_is_complete() -> None:
    public = {getattr(errors, name) for name in errors.__all__} - {TLSFailure}
    defined = {
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, SMTPError)
    }
    assert public == defined
    assert {type(error) for error in ONE_OF_EACH} == public


def test_the_tree_that_the_docstring_draws_is_the_tree_there_is() -> None:
    drawn = errors.__doc__ or ""
    for name in {*errors.__all__} - {"TLSFailure"}:
        line = next(line for line in drawn.splitlines() if f" {name} " in f" {line} ")
        depth = (line.index(name) - line.index(line.strip()[0])) // 4
        kind = getattr(errors, name)
        assert len([base for base in kind.__mro__ if issubclass(base, SMTPError)]) - 1 == depth


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (ConnectionLost, OSError),
        (TimedOut, TimeoutError),
        (TimedOut, OSError),
        (AddressError, ValueError),
        (EndpointError, ValueError),
    ],
)
def test_an_error_is_also_the_builtin_people_catch(
    kind: type[SMTPError], base: type[Exception]
) -> None:
    assert issubclass(kind, base)


def test_a_lost_connection_is_no_timeout_and_a_timeout_no_lost_connection() -> None:
    assert not issubclass(ConnectionLost, TimeoutError)
    assert not issubclass(TimedOut, ConnectionLost)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_a_copy_keeps_type_message_and_attributes(error: SMTPError, how: str) -> None:
    twin = COPIES[how](error)
    assert type(twin) is type(error)
    assert twin is not error
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)
    assert twin.__dict__ == error.__dict__
    for name in ("reply", "command", "keyword", "phase", "transient", "in_doubt", "line"):
        assert getattr(twin, name, None) == getattr(error, name, None)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", range(len(ONE_OF_EACH)))
def test_a_copy_keeps_the_result_that_has_the_error_in_it(kind: int, how: str) -> None:
    error = copy.copy(ONE_OF_EACH[kind])
    outcomes = (Outcome(BOB, Status.IN_DOUBT, None),)
    error.result = SendResult(outcomes, None, error)
    twin = COPIES[how](error)
    assert twin.result is not None
    assert twin.result.outcomes == outcomes
    if how != "copy":  # a shallow copy shares the result
        assert twin.result.error is twin


def test_a_result_can_be_pickled_with_its_error() -> None:
    error = ConnectionLost("gone", phase="data_termination")
    result = SendResult((Outcome(BOB, Status.IN_DOUBT, None),), None, error)
    error.result = result
    twin = pickle.loads(pickle.dumps(result))
    again = twin.error
    assert isinstance(again, ConnectionLost)
    assert again.in_doubt
    assert again.result is twin


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_the_server_is_named_once_and_a_copy_names_it(error: SMTPError, how: str) -> None:
    alone = str(error)
    named = copy.copy(error)
    named.server = "mx.test:25"
    assert str(named) == f"{alone} (with mx.test:25)"
    assert str(COPIES[how](named)) == str(named)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (GreetingRefused(None, BYE), "the connection was refused: 421 bye"),
        (ContentRefused(None, BYE), "the content was refused: 421 bye"),
        (ContentRefused("DATA", BYE), "DATA refused: 421 bye"),
        (ReplyError(None, BYE), "the request was refused: 421 bye"),
        (RecipientsRefused(None, BYE, refused="the mail"), "the mail was refused: 421 bye"),
    ],
)
def test_what_is_refused_is_the_command_or_said_in_words(error: ReplyError, text: str) -> None:
    assert str(error) == text


def test_a_copy_keeps_its_notes() -> None:
    error = LocalProtocolError("no")
    error.add_note("on line 3")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["on line 3"]


def test_a_users_own_subclass_pickles_too() -> None:
    error = pickle.loads(pickle.dumps(OwnRefusal(42)))
    assert isinstance(error, OwnRefusal)
    assert error.number == 42


class OwnRefusal(RemoteProtocolError):
    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}")
        self.number = number


def test_a_refusal_says_what_was_asked_and_what_came() -> None:
    error = SenderRefused("MAIL FROM:<a@x.test>", Reply.of(451, "4.7.1 later", "please"))
    assert str(error) == "MAIL FROM:<a@x.test> refused: 451 4.7.1 later / please"
    assert error.command == "MAIL FROM:<a@x.test>"
    assert error.reply.code == 451


@pytest.mark.requirement("RFC 5321 §4.2.1")
@pytest.mark.parametrize(("code", "transient"), [(421, True), (451, True), (550, False)])
def test_a_refusal_is_transient_if_its_reply_is(code: int, transient: bool) -> None:
    assert ReplyError("MAIL", Reply.of(code)).transient is transient


def test_a_missing_extension_is_named() -> None:
    error = ExtensionMissing("DSN", "ret was asked for")
    assert error.keyword == "DSN"
    assert str(error) == "the server does not offer DSN: ret was asked for"


@pytest.mark.requirement("RFC 1047")
@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_in_doubt_means_that_a_recipient_is(error: SMTPError) -> None:
    error = copy.copy(error)
    assert not error.in_doubt
    error.result = SendResult((Outcome(BOB, Status.NOT_TRIED, None),), None, error)
    assert not error.in_doubt
    error.result = SendResult((Outcome(BOB, Status.IN_DOUBT, None),), None, error)
    assert error.in_doubt


def test_the_servers_parting_words_are_kept() -> None:
    assert ConnectionLost("gone", phase="mail", reply=BYE).reply is BYE
    assert ConnectionLost("gone", phase="mail").reply is None


def test_every_error_can_be_printed_as_a_traceback() -> None:
    for error in ONE_OF_EACH:
        assert str(error) in "".join(traceback.format_exception(error))
