"""Bytes into replies: the same for any chunking, bounded, and nothing but the grammar."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx._wire.parser import ReplyParser
from smtpx.errors import RemoteProtocolError
from smtpx.options import Limits

LINES = st.sampled_from(
    [
        b"250 ok\r\n",
        b"250-a\r\n250 b\r\n",
        b"354 go\n",
        b"250\r\n",
        b"550-x\r\n550-\r\n550 z\r\n",
        b"25",
        b"\n",
        b"\r\n",
        b"250-x\r\n550 y\r\n",
        b"2500 x\r\n",
        b"a" * 30,
        b"250 \r bare\r\n",
        b"421 bye\r\n",
        b"250-",
    ]
)


def replies(chunks: list[bytes], limits: Limits | None = None) -> tuple[list[bytes], str]:
    """The replies, and how it ended."""
    parser = ReplyParser(limits or Limits())
    found: list[bytes] = []
    try:
        for chunk in chunks:
            parser.feed(chunk)
            while (reply := parser.next_reply()) is not None:
                found.append(reply.raw)
    except RemoteProtocolError as error:
        return found, str(error)
    return found, "whole" if parser.is_empty else "cut short"


@settings(max_examples=500)
@given(octets=st.lists(LINES, max_size=6).map(b"".join), cuts=st.lists(st.integers(0, 80)))
def test_any_chunking_gives_the_same_replies_or_the_same_error(octets, cuts):
    edges = sorted({0, len(octets), *(c for c in cuts if c < len(octets))})
    chunks = [octets[a:b] for a, b in pairwise(edges)]
    single = [octets[i : i + 1] for i in range(len(octets))]
    assert replies([octets] if octets else []) == replies(chunks) == replies(single)


@pytest.mark.requirement("T31")
@given(st.binary(max_size=60))
def test_arbitrary_octets_give_replies_or_the_documented_error(octets):
    found, _ = replies([octets])
    for raw in found:
        assert raw[:1] in b"2345"
        assert raw[:3].isdigit()


@pytest.mark.requirement("T31")
@pytest.mark.parametrize(
    "line",
    [
        b"+22 x",
        b"2_0 x",
        b" 22 x",
        b"22 x",
        b"2500 x",
        b"250x",
        b"199 x",
        b"600 x",
        b"260 x",
        "٢٥٠ x".encode(),
        b"\xff\xfe50 x",
        b"",
        b"25\x000 x",
    ],
)
def test_what_is_no_reply(line):
    with pytest.raises(RemoteProtocolError):
        parser = ReplyParser(Limits())
        parser.feed(line + b"\r\n")
        _ = parser.next_reply()


def test_a_line_without_its_end_is_no_line():
    for octets in (b"250", b"250 ok", b"250 ok\r", b"250-ok\r\n", b"250-ok\r\n250 ok"):
        assert replies([octets]) == ([], "cut short")


@pytest.mark.requirement("T29")
@pytest.mark.parametrize(
    ("chunk", "most"),
    [(b"250-x\r\n", 80_000), (b"x" * 1000, 20_000), (b"250-" + b"y" * 400 + b"\r\n", 80_000)],
)
def test_endless_replies_end(chunk, most):
    parser = ReplyParser(Limits())
    fed = 0
    with pytest.raises(RemoteProtocolError):
        while fed < 10 * most:
            parser.feed(chunk)
            fed += len(chunk)
            assert parser.next_reply() is None
    assert fed <= most


@pytest.mark.requirement("T29")
def test_the_limits_are_the_callers():
    limits = Limits(reply_line=20, reply_size=60, reply_lines=4)
    assert replies([b"250 " + b"x" * 14 + b"\r\n"], limits)[1] == "whole"
    assert "large" in replies([b"250 " + b"x" * 15 + b"\r\n"], limits)[1]
    assert replies([b"250-x\r\n" * 3 + b"250 x\r\n"], limits)[1] == "whole"
    assert "large" in replies([b"250-x\r\n" * 4 + b"250 x\r\n"], limits)[1]
    assert "large" in replies([b"250-" + b"x" * 14 + b"\r\n"] * 4, limits)[1]


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([b"250 ok\r\n", b"250\n", b"550 no\r\n", b"25"]), max_size=6),
    st.integers(1, 4),
)
def test_positives_are_taken_together_or_not_at_all(lines, count):
    octets = b"".join(lines)
    parser = ReplyParser(Limits())
    parser.feed(octets)
    last = parser.next_positives(count)
    if last is None:
        one_by_one, _ = replies([octets])
        assert len(one_by_one) < count or any(r[:1] != b"2" for r in one_by_one[:count])
        parser_again = ReplyParser(Limits())
        parser_again.feed(octets)
    else:
        assert [raw[:1] for raw in lines[:count]] == [b"2"] * count
        assert last.raw == lines[count - 1]
