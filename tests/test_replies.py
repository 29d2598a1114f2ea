"""Replies and enhanced status codes (RFC 5321 §4.2, 3463, 2034)."""

from __future__ import annotations

import copy
import pickle
import unicodedata
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.replies import EnhancedStatusCode, Reply

CODES = st.integers(200, 599)
# Text that has no line end of SMTP's own.
TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=40)


@pytest.mark.requirement("RFC 5321 §4.2.1")
@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (250, "positive"),
        (299, "positive"),
        (354, "intermediate"),
        (334, "intermediate"),
        (421, "transient"),
        (499, "transient"),
        (500, "permanent"),
        (599, "permanent"),
    ],
)
def test_the_first_digit_decides(code: int, meaning: str) -> None:
    reply = Reply.of(code, "text")
    meanings = ("positive", "intermediate", "transient", "permanent")
    assert [name for name in meanings if getattr(reply, name)] == [meaning]


@pytest.mark.requirement("RFC 5321 §4.2")
@given(CODES, st.lists(TEXTS, min_size=1, max_size=5))
def test_a_reply_gives_back_what_it_was_made_of(code: int, texts: list[str]) -> None:
    reply = Reply.of(code, *texts)
    assert reply.code == code
    assert reply.lines == tuple(texts)
    assert reply.text == "\n".join(texts)


def test_a_reply_may_have_no_text() -> None:
    assert Reply.of(250).lines == ("",)
    assert Reply(b"250\r\n").lines == ("",)
    assert Reply(b"250\r\n").code == 250
    assert str(Reply(b"250\r\n")) == "250"


def test_the_wire_has_a_hyphen_on_every_line_but_the_last() -> None:
    assert Reply.of(250, "one", "", "three").raw == b"250-one\r\n250-\r\n250 three\r\n"


def test_lines_end_with_crlf_or_a_bare_lf() -> None:
    assert Reply(b"250-one\n250-two\r\n250 three\n").lines == ("one", "two", "three")


def test_the_raw_octets_are_kept_and_undecodable_ones_replaced() -> None:
    reply = Reply(b"550 caf\xe9\r\n")
    assert reply.raw == b"550 caf\xe9\r\n"
    assert reply.text == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.requirement("RFC 6531 §3.7.4.1")
def test_text_is_utf8() -> None:
    assert Reply("250 grüß dich\r\n".encode()).text == "grüß dich"


@given(CODES, st.lists(st.binary(max_size=30), min_size=1, max_size=4))
def test_shown_it_is_one_line_without_control_characters(code: int, texts: list[bytes]) -> None:
    lines = [text.replace(b"\n", b"") for text in texts]
    wire = b"".join(b"%d-%s\r\n" % (code, line) for line in lines) + b"%d end\r\n" % code
    shown = str(Reply(wire))
    assert len(shown.splitlines()) == 1
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c != "\t"]
    assert shown.startswith(str(code))
    assert shown in repr(Reply(wire))


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029", "\x1c", "\x0b", "\x0c", "\x1b"])
def test_shown_no_unicode_line_end_or_escape_survives(separator: str) -> None:
    assert str(Reply.of(250, f"a{separator}b")) == "250 a\N{REPLACEMENT CHARACTER}b"


def test_shown_the_lines_are_joined_and_empty_ones_left_out() -> None:
    assert str(Reply.of(550, "5.1.1 no", "", "such user")) == "550 5.1.1 no / such user"


@pytest.mark.requirement("RFC 2034 §4")
@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"250 2.1.0 ok\r\n", (2, 1, 0)),
        (b"250 2.0.0\r\n", (2, 0, 0)),
        (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", (5, 1, 1)),
        (b"451 4.7.650 slow down\r\n", (4, 7, 650)),
        (b"550 5.7.999\ttab\r\n", (5, 7, 999)),
        (b"550 5.1.1\n", (5, 1, 1)),
        (b"354 2.0.0 no class of 3yz exists\r\n", None),
        (b"250 5.1.1 another class than the reply code's\r\n", None),
        (b"550 4.1.1 another class\r\n", None),
        (b"550 5.1.1: no space\r\n", None),
        (b"550 5.1.1.1 four numbers\r\n", None),
        (b"550 5.1 two\r\n", None),
        (b"550 5.1000.1 four digits\r\n", None),
        (b"550 no such user 5.1.1\r\n", None),
        (b"550  5.1.1 a space too many\r\n", None),
        ("550 5.١.1 digits of another script\r\n".encode(), None),
        (b"550\r\n", None),
        (b"550-\r\n550 5.1.1 not on the first line\r\n", None),
    ],
)
def test_an_enhanced_status_code_stands_first_and_agrees_with_the_reply_code(
    wire: bytes, code: tuple[int, int, int] | None
) -> None:
    assert Reply(wire).enhanced == code


@pytest.mark.requirement("RFC 3463 §2")
def test_an_enhanced_status_code_reads_class_subject_detail() -> None:
    code = Reply(b"550 5.7.26 unauthenticated\r\n").enhanced
    assert isinstance(code, EnhancedStatusCode)
    assert (code.class_, code.subject, code.detail) == (5, 7, 26)
    assert str(code) == "5.7.26"


def test_a_reply_is_a_value() -> None:
    reply = Reply.of(250, "ok")
    assert reply == Reply(b"250 ok\r\n")
    assert hash(reply) == hash(Reply(b"250 ok\r\n"))
    assert reply != Reply.of(250, "no")
    assert pickle.loads(pickle.dumps(reply)) == copy.deepcopy(reply) == reply
    with pytest.raises(FrozenInstanceError):
        reply.raw = b""  # type: ignore[misc] # the type checker knows


def test_nothing_in_a_shown_reply_turns_the_line_around() -> None:
    assert str(Reply.of(550, "no \u202eresu\u2069 \u200f")) == "550 no \ufffdresu\ufffd \ufffd"


@pytest.mark.requirement("RFC 5321 §4.5.3.1.10")
@pytest.mark.parametrize(
    ("raw", "transient"),
    [
        (b"552 5.5.3 Too many recipients\r\n", True),
        (b"552-5.5.3 Too many\r\n552 5.5.3 recipients\r\n", True),
        (b"552 5.5.3\r\n", True),
        (b"552 5.2.2 Mailbox full\r\n", False),
        (b"552 5.3.4 Message too big\r\n", False),
        (b"552 5.5.30 Something\r\n", False),
        (b"552 Too many recipients\r\n", False),
        (b"550 5.5.3 Too many recipients\r\n", False),
    ],
)
def test_one_recipient_too_many_may_have_it_another_time(raw: bytes, transient: bool):
    """RFC 821 had 552 for it; what else a 552 says is for good."""
    reply = Reply(raw)
    assert (reply.transient, reply.permanent) == (transient, not transient)
