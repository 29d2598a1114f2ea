"""What leaves as content: CRLF and nothing else, dots doubled, whatever came in and however."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx._wire.content import PIECE, Content

PARTS = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\r\n.", b"\n.\n", b"\r.\r", b"\r\n.\r\n", b"\0"]
)
TEXTS = st.lists(PARTS, max_size=14).map(b"".join)


def canonical(octets: bytes) -> bytes:
    """What a receiver is to get, written from the rule and not from the code."""
    lines = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def received(wire: bytes) -> bytes:
    """What a strict receiver makes of the octets after DATA (RFC 5321 §4.5.2)."""
    *lines, dot, rest = wire.split(b"\r\n")
    assert (dot, rest) == (b".", b"")
    plain: list[bytes] = []
    for line in lines:
        assert b"\r" not in line
        assert b"\n" not in line
        assert line != b"."
        plain.append(line[1:] if line.startswith(b".") else line)
    return b"".join(line + b"\r\n" for line in plain)


def wire_of(content: Content) -> bytes:
    return b"".join(content.stuffed()) + b".\r\n"


def cut(octets: bytes, sizes: list[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield octets[start : start + size]
        start += size
    yield octets[start:]


@pytest.mark.requirement("T10")
@settings(max_examples=600)
@given(octets=TEXTS, sizes=st.lists(st.integers(1, 7), max_size=10))
def test_what_is_received_is_the_content_however_it_comes(octets, sizes):
    expected = canonical(octets)
    for content in (
        Content(octets),
        Content(bytearray(octets)),
        Content(memoryview(octets)),
        Content(io.BytesIO(octets)),
        Content(cut(octets, sizes)),
        Content([*cut(octets, sizes)]),
    ):
        assert received(wire_of(content)) == expected


@pytest.mark.requirement("T9")
@settings(max_examples=60, deadline=None)
@given(before=TEXTS, after=TEXTS, short=st.integers(-4, 4), kind=st.booleans())
def test_the_edges_of_pieces(before, after, short, kind):
    octets = before.ljust(PIECE + short, b"x") + after + b"y" * (PIECE - 2) + after
    content = Content(octets) if kind else Content(io.BytesIO(octets))
    assert received(wire_of(content)) == canonical(octets)
    if kind:
        assert content.size == len(canonical(octets))


@pytest.mark.requirement("T6")
@given(octets=TEXTS)
def test_the_size_is_that_of_what_is_received(octets):
    assert Content(octets).size == len(canonical(octets))


def test_a_file_states_its_own_size_and_is_read_from_where_it_stands():
    file = io.BytesIO(b"skipped" + b"x" * 10 + b"\r\n")
    _ = file.read(7)
    content = Content(file)
    assert content.size == 12
    assert b"".join(content.stuffed()) == b"x" * 10 + b"\r\n"


def test_an_iterator_does_not_say_its_size():
    assert Content(iter([b"x"])).size is None


@given(octets=TEXTS)
def test_binary_content_is_untouched(octets):
    content = Content(octets, binary=True)
    assert b"".join(content.raw()) == octets
    assert content.size == len(octets)


@given(octets=TEXTS)
def test_chunks_are_the_same_without_the_dots(octets):
    assert b"".join(Content(octets).pieces()) == canonical(octets)


@pytest.mark.parametrize(
    ("octets", "internationalized"),
    [
        ("Subject: ä\r\n\r\nx".encode(), True),
        ("Subject: a\r\n\r\nä".encode(), False),
        ("Subject: a\n\nä".encode(), False),
        ("Subject: a\r\rä".encode(), False),
        (b"Subject: a", False),
        (b"Subject: a\r\n\r\n" + b"x" * PIECE + "ä".encode(), False),
        ("Subject: ä\n\n".encode() + b"x" * PIECE, True),
    ],
)
def test_6532_internationalized_header(octets, internationalized):
    assert Content(octets).internationalized_header is internationalized


def test_pieces_are_bounded():
    content = Content(iter([b"x" * 10 * PIECE]))
    assert max(len(piece) for piece in content.stuffed()) <= 2 * PIECE
