"""The envelope: addresses, and options within their ranges."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from email.message import EmailMessage

import pytest

from smtpx.addresses import Address
from smtpx.envelope import BodyType, DeliverBy, Envelope, Notify, Recipient, Ret
from smtpx.errors import AddressError, LocalProtocolError

ANN = Address("ann", "x.test")
NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "recipients",
    [
        "ann@x.test",
        ANN,
        Recipient(ANN),
        ["ann@x.test"],
        (ANN,),
        iter([Recipient("ann@x.test")]),
        {"ann@x.test": None},
    ],
    ids=lambda value: type(value).__name__,
)
def test_recipients_are_strings_values_or_any_iterable_of_them(recipients: list[str]) -> None:
    assert Envelope(None, recipients).recipients == (Recipient("ann@x.test"),)


def test_recipients_keep_their_order_and_number() -> None:
    names = ["c@x.test", "a@x.test", "c@x.test", "b@x.test"]
    assert [str(recipient) for recipient in Envelope(None, names).recipients] == names


def test_recipients_are_what_they_were_whenever_they_are_looked_at() -> None:
    names = ["ann@x.test", "Bob@X.test"]
    looked_at, not_yet = Envelope(None, names), Envelope(None, names)
    recipients = looked_at.recipients
    assert recipients == (Recipient(ANN), Recipient("Bob@X.test"))
    names.clear()
    assert looked_at.recipients is recipients
    for twin in (not_yet, pickle.loads(pickle.dumps(not_yet)), copy.deepcopy(not_yet)):
        assert hash(twin) == hash(looked_at)
        assert twin == looked_at
        assert repr(twin) == repr(looked_at)
    with pytest.raises(FrozenInstanceError):
        not_yet.recipients = ()  # type: ignore[misc] # the type checker knows


def test_there_is_at_least_one_recipient() -> None:
    with pytest.raises(LocalProtocolError, match="at least one recipient"):
        Envelope("a@x.test", [])


@pytest.mark.requirement("RFC 5321 §4.5.5")
@pytest.mark.parametrize("null", [None, "", "<>"])
def test_the_null_reverse_path_can_be_written_three_ways(null: str | None) -> None:
    assert Envelope(null, ANN).sender is None


@pytest.mark.parametrize("sender", ["a@x.test", Address("a", "x.test")])
def test_a_sender_is_a_string_or_a_value(sender: str | Address) -> None:
    assert Envelope(sender, ANN).sender == Address("a", "x.test")


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("bad", ["a@x.test\r\nDATA", "a@b> X=1", "Ann <ann@x.test>", "", "a@"])
def test_what_is_no_address_never_gets_into_an_envelope(bad: str) -> None:
    for make in (Recipient, lambda text: Envelope(None, text), lambda text: Envelope(None, [text])):
        with pytest.raises(AddressError):
            make(bad)
    if bad:
        with pytest.raises(AddressError):
            Envelope(bad, ANN)


def test_without_options_an_envelope_asks_for_nothing() -> None:
    envelope = Envelope("a@x.test", ANN)
    assert (envelope.body, envelope.ret, envelope.envid, envelope.auth) == (None,) * 4
    assert (envelope.deliver_by, envelope.hold, envelope.priority) == (None,) * 3
    assert not envelope.require_tls
    assert not envelope.drop_unsupported
    [recipient] = envelope.recipients
    assert (recipient.notify, recipient.orcpt, recipient.unchanged_since) == (None,) * 3


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(lambda: Envelope(None, ANN, priority=10), id="RFC 6710 §5: 9 at most"),
        pytest.param(lambda: Envelope(None, ANN, priority=-10), id="RFC 6710 §5: -9 at least"),
        pytest.param(lambda: Envelope(None, ANN, hold=0), id="RFC 4865 §4: no 0"),
        pytest.param(lambda: Envelope(None, ANN, hold=-1), id="RFC 4865 §4: nothing below"),
        pytest.param(lambda: Envelope(None, ANN, hold=10**9), id="RFC 4865 §4: nine digits"),
        pytest.param(lambda: Envelope(None, ANN, hold=datetime(2030, 1, 1)), id="hold is aware"),
        pytest.param(lambda: Envelope(None, ANN, envid=""), id="RFC 3461 §4.4: not empty"),
        pytest.param(lambda: Envelope(None, ANN, envid="x" * 101), id="RFC 3461 §4.4: up to 100"),
        pytest.param(lambda: Envelope(None, ANN, envid="+" * 34), id="RFC 3461 §4: as xtext"),
        pytest.param(lambda: Envelope(None, ANN, envid="ü"), id="RFC 3461 §4: ASCII"),
        pytest.param(lambda: Recipient(ANN, orcpt="rfc822;ü@x.test"), id="RFC 6533 §3: utf-8"),
        pytest.param(lambda: Recipient(ANN, orcpt="x400;" + "=" * 166), id="RFC 3461 §4.2: 500"),
        pytest.param(lambda: Recipient(ANN, orcpt="utf-8;a\n"), id="RFC 6533 §3: no control"),
        pytest.param(
            lambda: Envelope(None, ANN, deliver_by=DeliverBy(10**9)), id="RFC 2852 §4: nine digits"
        ),
        pytest.param(
            lambda: Envelope(None, ANN, deliver_by=DeliverBy(-(10**9), returned=False)),
            id="RFC 2852 §4: nine digits below zero",
        ),
        pytest.param(
            lambda: Envelope(None, ANN, deliver_by=DeliverBy(0)), id="RFC 2852 §4: R is above 0"
        ),
        pytest.param(
            lambda: Envelope(None, ANN, deliver_by=DeliverBy(-1)), id="RFC 2852 §4: R not below"
        ),
        pytest.param(
            lambda: Recipient(ANN, unchanged_since=datetime(2030, 1, 1)), id="RRVS is aware"
        ),
    ],
)
def test_an_option_out_of_its_range_is_refused(refused: Callable[[], object]) -> None:
    with pytest.raises(LocalProtocolError):
        refused()


def test_an_option_at_the_edge_of_its_range_is_taken() -> None:
    for priority in (-9, 0, 9):
        assert Envelope(None, ANN, priority=priority).priority == priority
    for hold in (1, 999_999_999, NOON, NOON.astimezone(timezone(timedelta(hours=-5)))):
        assert Envelope(None, ANN, hold=hold).hold == hold
    for by in (
        DeliverBy(1),
        DeliverBy(999_999_999),
        DeliverBy(0, returned=False),
        DeliverBy(-999_999_999, returned=False, trace=True),
    ):
        assert Envelope(None, ANN, deliver_by=by).deliver_by == by
    assert Envelope(None, ANN, envid="x" * 100).envid == "x" * 100


@pytest.mark.requirement("RFC 6531 §3.3")
@pytest.mark.parametrize(
    ("sender", "recipients", "needed"),
    [
        ("a@x.test", ["b@x.test"], False),
        (None, ["b@x.test"], False),
        ("ü@x.test", ["b@x.test"], True),
        (None, ["b@x.test", "ü@x.test"], True),
        ("a@ü.test", ["b@ü.test"], False),
    ],
)
def test_one_internationalized_local_part_needs_smtputf8(
    sender: str | None, recipients: list[str], needed: bool
) -> None:
    assert Envelope(sender, recipients).needs_smtputf8 is needed


@pytest.mark.requirement("RFC 3461 §4.1")
@pytest.mark.parametrize(
    ("envelope", "shown"),
    [
        (Envelope("a@x.test", "b@x.test"), "Envelope('a@x.test', ['b@x.test'])"),
        (
            Envelope(None, [Recipient("b@x.test", orcpt="c@x.test"), "d@x.test"], priority=0),
            "Envelope(None, [Recipient('b@x.test', orcpt='c@x.test'), 'd@x.test'], priority=0)",
        ),
    ],
)
def test_it_is_shown_as_it_is_made(envelope: Envelope, shown: str) -> None:
    assert repr(envelope) == shown
    assert eval(shown) == envelope
    assert repr(Envelope("a@x.test", ["b@x.test"] * 99)).endswith("'b@x.test', … 79 more])")


def test_notify_never_stands_alone() -> None:
    assert Notify.NEVER | Notify.DELAY == Notify.DELAY
    assert not Notify.NEVER
    assert set(Notify.SUCCESS | Notify.DELAY) == {Notify.SUCCESS, Notify.DELAY}


def test_an_envelope_is_a_value() -> None:
    def make() -> Envelope:
        return Envelope(
            "a@x.test",
            [Recipient("b@x.test", notify=Notify.NEVER, orcpt="c@x.test", unchanged_since=NOON)],
            body=BodyType.EIGHT_BIT,
            ret=Ret.HEADERS,
            envid="id",
            auth="<>",
            require_tls=True,
            deliver_by=DeliverBy(60),
            hold=NOON,
            priority=3,
            drop_unsupported=True,
        )

    envelope = make()
    assert envelope == make()
    assert hash(envelope) == hash(make())
    assert pickle.loads(pickle.dumps(envelope)) == copy.deepcopy(envelope) == envelope
    assert envelope != Envelope("a@x.test", "b@x.test")
    with pytest.raises(FrozenInstanceError):
        envelope.sender = None  # type: ignore[misc] # the type checker knows


# --- from_message: its recipients are tested with the messages they come from -------------------


def message() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@x.test>"
    message["To"] = "Bob <bob@x.test>, eve@bücher.test"
    message["Bcc"] = "dan@x.test"
    return message


def test_options_come_with_the_header() -> None:
    envelope = Envelope.from_message(
        message(), ret=Ret.HEADERS, envid="42", require_tls=True, hold=60, priority=3,
        deliver_by=DeliverBy(600), body=BodyType.EIGHT_BIT, auth="<>", drop_unsupported=True,
    )  # fmt: skip
    assert envelope == Envelope(
        "ann@x.test", ["bob@x.test", "eve@bücher.test", "dan@x.test"], ret=Ret.HEADERS,
        envid="42", require_tls=True, hold=60, priority=3, deliver_by=DeliverBy(600),
        body=BodyType.EIGHT_BIT, auth="<>", drop_unsupported=True,
    )  # fmt: skip


@pytest.mark.parametrize("null", ["", "<>"])
def test_the_sender_may_be_another_than_the_author(null: str) -> None:
    envelope = Envelope.from_message(message(), sender="bounces@x.test")
    assert str(envelope.sender) == "bounces@x.test"
    assert Envelope.from_message(message(), sender=null).sender is None
    anonymous = message()
    del anonymous["From"]
    assert Envelope.from_message(anonymous, sender=null).sender is None


@pytest.mark.requirement("RFC 3461 §4.1")
def test_notify_is_for_all_or_for_some() -> None:
    envelope = Envelope.from_message(message(), notify=Notify.NEVER)
    assert [each.notify for each in envelope.recipients] == [Notify.NEVER] * 3
    envelope = Envelope.from_message(message(), notify={"eve@bücher.test": Notify.FAILURE})
    assert [each.notify for each in envelope.recipients] == [None, Notify.FAILURE, None]


@pytest.mark.requirement("RFC 3461 §4.2")
def test_orcpt_is_each_address_itself_or_what_is_said_of_some() -> None:
    envelope = Envelope.from_message(message(), orcpt=True)
    originals = ["bob@x.test", "eve@xn--bcher-kva.test", "dan@x.test"]
    assert [each.orcpt for each in envelope.recipients] == originals
    envelope = Envelope.from_message(message(), orcpt={"dan@x.test": "rfc822;list@x.test"})
    assert [each.orcpt for each in envelope.recipients] == [None, None, "rfc822;list@x.test"]


def test_an_option_for_nobody_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="notify is given for ted"):
        _ = Envelope.from_message(message(), notify={"ted@x.test": Notify.NEVER})
    with pytest.raises(LocalProtocolError, match="orcpt is given for ted"):
        _ = Envelope.from_message(message(), orcpt={"ted@x.test": "bob@x.test"})


def test_replace_changes_what_it_is_told_and_nothing_else() -> None:
    envelope = Envelope("a@x.test", ["b@x.test"], ret=Ret.FULL, envid="1", priority=2)
    assert envelope.replace() == envelope
    changed = envelope.replace(sender=None, recipients=[Recipient("ü@x.test")], envid=None)
    assert changed == Envelope(None, ["ü@x.test"], ret=Ret.FULL, priority=2)
    assert changed.needs_smtputf8
    with pytest.raises(LocalProtocolError, match="priority"):
        _ = envelope.replace(priority=10)
