"""Address lists in header fields (RFC 5322 §3.4)."""

from __future__ import annotations

import re
from contextlib import suppress
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx._message.mailboxes import addresses_in
from smtpx.addresses import Address

ADDRESSES = st.sampled_from(
    ["ann@x.test", "a.b+c@y.test", '"a, b"@x.test', r'"a\"<b>"@x.test', "bob@[192.0.2.1]", "root"]
)
COMMENTS = st.sampled_from(["", " ", "(c)", " (a (b, c@d) ; \\) ) ", "\r\n ", "\t"])
NAMES = st.sampled_from(
    ["", "Ann", "J. R. Doe", '"Doe, Jane" ', "=?utf-8?q?Eve=2C_eve=40evil=2Etest?=", "Ünal", "a:b"]
)


@st.composite
def mailboxes(draw: st.DrawFn) -> tuple[str, str]:
    """A mailbox as it may be spelt, and the address in it."""
    address, before, after = draw(ADDRESSES), draw(COMMENTS), draw(COMMENTS)
    if draw(st.booleans()):
        return f"{before}{address}{after}", address
    name = draw(NAMES.filter(lambda name: ":" not in name))
    return f"{before}{name}{before}<{after}{address}{before}>{after}", address


@st.composite
def lists(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A list of mailboxes and groups, and the addresses in it."""
    elements, addresses = [""], list[str]()
    for members in draw(st.lists(st.lists(mailboxes(), max_size=3), max_size=4)):
        spelt = ",".join(text for text, _ in members)
        elements.append(f"The team:{spelt};" if draw(st.booleans()) else spelt)
        addresses += [address for _, address in members]
    return ",".join(elements), addresses


@given(lists())
def test_the_addresses_are_read_whatever_stands_around_them(case: tuple[str, list[str]]) -> None:
    text, addresses = case
    assert addresses_in(text) == addresses


@given(st.text('ab@x.,;:"()<>[]\\=? \t\r\n\0é', max_size=30))
@example('"\n "')
def test_what_is_read_is_never_two_things_glued_together(text: str) -> None:
    try:
        found = addresses_in(text)
    except ValueError:
        return
    unfolded = re.sub(r"\r?\n(?=[ \t])", "", text)  # RFC 5322 §2.2.3, in a quoted string too.
    for address in found:
        for word in address.replace("@", ".").split("."):
            assert word in unfolded


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ann@x.test; bob@x.test", "'; bob@x.test' ends no group; a comma separates addresses"),
        ("Team: ann@x.test; bob@x.test", "'bob@x.test' follows an address; is a comma missing"),
        ("<ann@x.test> bob@x.test", "'bob@x.test' follows an address; is a comma missing"),
        ("ann@x.test bob@x.test", "'ann @ x . test bob @ x . test' is no address"),
        ("ann@x.test <bob@x.test>", "'ann@x.test' may be one address too many"),
        ("<ann@x.test", "the end comes before the >"),
        ("<>", "'' is no address"),
        ("<a b@x.test>", "'a b @ x . test' is no address"),
        ("a(b)c@x.test", "'a c @ x . test' is no address"),
        ("a > b", "'> b' is out of place"),
        ("a < b < c", "'< c' is out of place"),
        ("a@b: c", "': c' is out of place"),
        ("a: b: c", "': c' is out of place"),
        ("ann@x.test (", "'(' begins a comment without end"),
        ('"ann@x.test', "'\"ann@x.test' cannot be read"),
        ("ann@x.test\r\nbob@x.test", "is no address"),
        ("a\0b@x.test", "cannot be read"),
    ],
)
def test_what_would_have_to_be_guessed_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 # the message is what is tested
        addresses_in(text)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["<@a.test,@b.test:bob@x.test>", "bob @ x . test", "bob@x.test <bob@x.test>", "T:bob@x.test"],
)
def test_what_is_odd_but_clear_is_read(text: str) -> None:
    assert addresses_in(text) == ["bob@x.test"]


def test_a_lone_word_is_read_for_others_to_judge() -> None:
    assert addresses_in("root, Postmaster") == ["root", "Postmaster"]
    assert str(Address.parse("Postmaster")) == "Postmaster"


@pytest.mark.requirement("T8")
@pytest.mark.parametrize(
    "unit",
    ["ann@x.test, ", "(", "()", "<", '"', "\\", "a:", "a ", ",", ";", "[", "=?", "@", "\r\n ", "é"],
)
def test_much_is_read_or_refused_at_once(unit: str) -> None:
    began = process_time()
    with suppress(ValueError):
        addresses_in(unit * (2**18 // len(unit)))
    assert process_time() - began < 1
