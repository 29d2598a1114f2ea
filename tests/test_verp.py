"""Variable envelope return paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx import verp
from smtpx.addresses import Address
from smtpx.envelope import Envelope, Notify, Recipient
from smtpx.errors import AddressError, LocalProtocolError

SENDER = Address.parse("bounces@example.org")
local_parts = st.text(
    st.characters(
        min_codepoint=0x20, exclude_characters="\x7f", exclude_categories=["Cc", "Cs", "Zl", "Zp"]
    ),
    min_size=1,
    max_size=24,
)
domains = st.sampled_from(["example.net", "a.b.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"])


def test_it_looks_as_everybody_writes_it() -> None:
    path = verp.encode("bounces@example.org", "bob@example.net")
    assert str(path) == "bounces+bob=example.net@example.org"
    assert verp.decode(str(path)) == (SENDER, Address("bob", "example.net"))


@given(local_parts, domains)
def test_decoding_is_the_inverse(local_part: str, domain: str) -> None:
    recipient = Address.parse(str(Address(local_part, domain)))
    path = verp.encode(SENDER, recipient)
    assert verp.decode(path) == verp.decode(str(path)) == (SENDER, recipient)


@given(local_parts, domains)
def test_what_is_none_is_not_taken_for_one(local_part: str, domain: str) -> None:
    address = Address.parse(str(Address(local_part, domain)))
    found = verp.decode(address)
    assert found is None or verp.encode(*found) == address


@pytest.mark.parametrize(
    "address",
    ["bob@example.net", "bounces+x@example.org", "a=b@x.test", "+bob=x.test@y.test", "a+=b@x.test",
     "a+b=@x.test", "a+b=-@x.test", "a+postmaster=@x.test", "postmaster"],
)  # fmt: skip
def test_other_addresses(address: str) -> None:
    assert verp.decode(address) is None


@pytest.mark.parametrize(
    ("sender", "recipient", "why"),
    [
        ("news+weekly@example.org", "bob@example.net", "has a . already"),
        ("bounces@example.org", "bob", "no @ and domain"),
        ("postmaster", "bob@example.net", "with a domain"),
        ("bounces@example.org", "postmaster", "with a domain"),
        ("bounces@example.org", "b" * 200 + "@" + "example." * 5 + "net", "longer than 256"),
    ],
)
def test_what_cannot_be_one_is_refused(sender: str, recipient: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        _ = verp.encode(sender, recipient)


def test_a_message_apart_for_each_recipient() -> None:
    recipients = [Recipient("bob@x.test", notify=Notify.FAILURE), Recipient("eve@y.test")]
    envelope = Envelope("bounces@example.org", recipients, envid="42")
    pairs = list(verp.apart(b"content", envelope))
    assert [message for message, _ in pairs] == [b"content"] * 2
    assert [each.recipients for _, each in pairs] == [(recipients[0],), (recipients[1],)]
    assert [str(each.sender) for _, each in pairs] == [
        "bounces+bob=x.test@example.org",
        "bounces+eve=y.test@example.org",
    ]
    assert {each.envid for _, each in pairs} == {"42"}


def test_nothing_is_sent_apart_unless_everything_can_be() -> None:
    long = "b" * 200 + "@" + "example." * 5 + "net"
    with pytest.raises(AddressError, match="longer"):
        _ = verp.apart(b"content", Envelope("bounces@example.org", ["bob@x.test", long]))
    with pytest.raises(LocalProtocolError, match="null sender"):
        _ = verp.apart(b"content", Envelope(None, ["bob@x.test"]))


@pytest.mark.parametrize("message", [5, None, "content", Envelope("a@x.test", ["b@y.test"])])
def test_what_is_no_message_is_refused(message: Any) -> None:
    with pytest.raises(TypeError, match=r"^message: give an EmailMessage or bytes"):
        _ = verp.apart(message, Envelope("bounces@example.org", ["bob@x.test"]))
