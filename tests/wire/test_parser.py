"""Bytes into replies (RFC 5321 §4.2): whatever comes, in whatever pieces, in bounded memory."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx._wire.parser import TLS_ALERT, ReplyParser
from smtpx.errors import MalformedReply, RemoteProtocolError
from smtpx.options import Limits
from smtpx.replies import Reply

SMALL = Limits(reply_line=40, reply_size=100, reply_lines=4)


def talk(chunks: list[bytes], limits: Limits) -> tuple[list[bytes], str | None, bool]:
    """The replies after a peer said `chunks`, the error without its quote, or if nothing waits."""
    parser = ReplyParser(limits)
    replies: list[bytes] = []
    try:
        for chunk in chunks:
            parser.feed(chunk)
            while (reply := parser.next_reply()) is not None:
                replies.append(reply.raw)
    except RemoteProtocolError as error:
        shown = str(error)
    else:
        return replies, None, parser.is_empty
    assert shown.isprintable()
    assert len(shown) < 400
    return replies, ": ".join(shown.split(": ")[:2]), False


def parsed(wire: bytes) -> list[Reply]:
    replies, error, _ = talk([wire], Limits())
    assert error is None, error
    return [Reply(raw) for raw in replies]


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    return [wire[start:end] for start, end in pairwise(edges)]


TALK = st.lists(
    st.sampled_from(
        [
            b"250",
            b"250 ",
            b"250-",
            b"550 no",
            b"\r\n",
            b"\n",
            b"\r",
            b"x" * 15,
            b"4",
            b"2\0",
            b"\xff",
        ]
    ),
    max_size=20,
).map(b"".join)


@pytest.mark.requirement("T29")
@given(TALK | st.binary(max_size=80), st.lists(st.integers(0, 400)), st.sampled_from([0, 1]))
@example(b"250-" + b"a" * 30 + b"\r\n250-" + b"a" * 30 + b"\r\n250 " + b"a" * 30 + b"\r\n", [], 1)
@example(b"250-a\r\n" * 4 + b"250 b\r\n", [], 1)
@example(b"x" * 60 + b"\r\n", [], 1)
@example(b"250-" + b"a" * 40 + b"\r\n" + b"x" * 100, [], 1)
def test_any_chunking_gives_the_same_replies_or_the_same_error(
    wire: bytes, places: list[int], small: int
) -> None:
    limits = SMALL if small else Limits()
    whole = talk([wire], limits)
    assert talk(cut(wire, places), limits) == whole
    assert talk([bytes([octet]) for octet in wire], limits) == whole


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_the_documented_error(wire: bytes) -> None:
    for limits in (SMALL, Limits()):
        replies, error, _ = talk([wire], limits)
        assert wire.startswith(b"".join(replies))
        assert error is None or error.startswith("the server broke the protocol: ")


CODES = st.from_regex(r"[2-5][0-5][0-9]", fullmatch=True, alphabet=st.characters(codec="ascii"))
TEXTS = st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"").rstrip(b"\r"))


@pytest.mark.requirement("RFC 5321 §4.2")
@given(st.lists(st.tuples(CODES, st.lists(TEXTS, min_size=1, max_size=4)), max_size=5),
       st.sampled_from([b"\r\n", b"\n"]))  # fmt: skip
def test_what_servers_say_is_understood(said: list[tuple[str, list[bytes]]], end: bytes) -> None:
    wire = b"".join(
        b"".join(b"%s-%s%s" % (code.encode(), text, end) for text in texts[:-1])
        + b"%s %s%s" % (code.encode(), texts[-1], end)
        for code, texts in said
    )
    assert [(str(reply.code), reply.lines) for reply in parsed(wire)] == [
        (code, tuple(text.decode("utf-8", "replace") for text in texts)) for code, texts in said
    ]


@pytest.mark.requirement("T31")
@pytest.mark.parametrize(
    "line",
    [
        b"+22 ok", b"2_0 ok", b" 22 ok", b"22 ok", b"2500 ok", b"25 ok", b"2 ok", b"", b" ", b"ok",
        b"-22 ok", b"0250 ok", b"0x0 ok", b"2e2 ok", b"150 ok", b"050 ok", b"600 ok", b"250ok",
        b"260 ok", b"999 ok", b"250+ok", b"250\tok", b"250\0", b"250_ok", b"\xef\xbb\xbf250 ok",
        "٢٥٠ ok".encode(), "２５０ ok".encode(), "²50 ok".encode(), b"25\r0 ok", b"250\rok",
        b"\r250 ok", b"HTTQ/1.1 400 Bad Request", b"SSG-2.0-OpenSSH",
    ],
)  # fmt: skip
def test_a_line_that_is_no_reply_is_refused(line: bytes) -> None:
    for end in (b"\r\n", b"\n"):
        _, error, _ = talk([b"250 ok\r\n" + line + end], Limits())
        assert error == "the server broke the protocol: this is no reply"


@pytest.mark.parametrize("end", [b"", b"\n", b"P"])
def test_a_tls_alert_is_seen_though_it_has_no_line_end(end: bytes) -> None:
    parser = ReplyParser(Limits())
    parser.feed(b"\x15\x03\x03\x00\x02\x02" + end)
    with pytest.raises(MalformedReply) as caught:
        _ = parser.next_reply()
    assert caught.value.line.startswith(TLS_ALERT)


@pytest.mark.requirement("T31")
@pytest.mark.parametrize(
    "wire",
    [
        b"550-no\r\n250 ok\r\n",
        b"250-ok\r\n550 no\r\n",
        b"250-ok\r\n251 ok\r\n",
        b"250-a\r\n250-b\r\n550-c\r\n250 d\r\n",
        b"250-ok\r\n421 bye\r\n",
    ],
)
def test_a_reply_keeps_its_code(wire: bytes) -> None:
    replies, error, _ = talk([wire], Limits())
    assert replies == []
    assert error is not None
    assert "goes on with" in error


def test_a_reply_that_goes_on_with_no_reply_is_refused() -> None:
    assert talk([b"250-a\r\nfree text\r\n250 b\r\n"], Limits())[1] is not None


@pytest.mark.parametrize(
    ("wire", "lines"),
    [
        (b"250\r\n", ("",)),
        (b"250\n", ("",)),
        (b"250 \r\n", ("",)),
        (b"250-\r\n250\r\n", ("", "")),
        (b"250-\r\n250-\r\n250 \r\n", ("", "", "")),
        (b"250 a\rb\r\n", ("a\rb",)),
        (b"250  two spaces\r\n", (" two spaces",)),
        (b"250 -\r\n", ("-",)),
        (b"250--\r\n250 x\r\n", ("-", "x")),
    ],
)
def test_odd_but_legal(wire: bytes, lines: tuple[str, ...]) -> None:
    [reply] = parsed(wire)
    assert reply.lines == lines


@pytest.mark.requirement("T31")
def test_a_bare_lf_ends_a_line_and_a_bare_cr_does_not() -> None:
    assert len(parsed(b"250 a\n250 b\r\n250 c\n")) == 3
    assert len(parsed(b"250 a\r250 b\r\n")) == 1


@pytest.mark.requirement("T19")
@pytest.mark.parametrize("wire", [b"2", b"250", b"250 ok", b"250 ok\r", b"250-", b"250-ok\r\n",
                                  b"250-ok\r\n250 ok\r", b"250-ok\r\n2"])  # fmt: skip
def test_a_reply_cut_short_is_never_a_reply(wire: bytes) -> None:
    assert talk([wire], Limits()) == ([], None, False)


@pytest.mark.requirement("T12")
@pytest.mark.parametrize(
    ("wire", "cut"),
    [
        (b"", False),
        (b"250 Ok\r\n", False),
        (b"250 Ok\r\n25", True),
        (b"250-a\r\n250 b\r\n", False),
        (b"250 Ok\r\n250-a\r\n", True),
    ],
)
def test_whole_replies_that_wait_are_not_cut_short(wire: bytes, cut: bool) -> None:
    parser = ReplyParser(Limits())
    parser.feed(wire)
    assert parser.is_cut is cut


def test_it_is_empty_only_when_no_byte_waits() -> None:
    parser = ReplyParser(Limits())
    assert parser.is_empty
    parser.feed(b"220 go\r\n2")
    assert not parser.is_empty
    assert parser.next_reply() == Reply.of(220, "go")
    assert not parser.is_empty
    parser.feed(b"50 ok\r\n")
    assert parser.next_reply() == Reply.of(250, "ok")
    assert parser.is_empty
    assert parser.next_reply() is None


@given(TALK, st.integers(1, 5), st.lists(st.integers(0, 400), max_size=3))
@example(b"250 a\r\n250-b\r\n250 c\r\n", 2, [])
@example(b"250\r\n250\n250 x\r\n", 3, [])
@example(b"250 a\r\n354 b\r\n", 2, [])
@example(b"250-a\r\n250 b\r\n250 c\r\n", 2, [7])
def test_positive_replies_taken_together_are_those_taken_one_by_one(
    wire: bytes, count: int, places: list[int]
) -> None:
    replies, error, _ = talk([wire], Limits())
    parser = ReplyParser(Limits())
    found: list[bytes] = []
    try:
        for chunk in cut(wire, places):
            parser.feed(chunk)
            while True:
                last, taken = parser.next_positives([count, 1, count])
                if taken:
                    together = replies[len(found) : len(found) + taken]
                    assert [raw[:1] for raw in together] == [b"2"] * taken
                    ends = [count - 1, count, 2 * count][: len(last)]
                    assert last == [together[end] for end in ends]
                    assert taken == ends[-1] + 1
                    found += together
                elif (reply := parser.next_reply()) is not None:
                    found.append(reply.raw)
                else:
                    break
    except RemoteProtocolError:
        assert error is not None
    assert found == replies


def test_positive_replies_are_taken_all_or_none() -> None:
    parser = ReplyParser(Limits())
    parser.feed(b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n550 e\r\n")
    assert parser.next_positives([5]) == ([], 0)
    assert parser.next_positives([2, 3]) == ([b"250 b\r\n"], 2)
    assert parser.next_positives([1, 1, 1]) == ([b"250 c\r\n", b"250 d\r\n"], 2)
    assert parser.next_positives([1]) == ([], 0)
    assert parser.next_reply() == Reply.of(550, "e")
    assert parser.next_positives([1]) == ([], 0)


@pytest.mark.requirement("T29")
def test_a_line_too_long_is_not_taken_among_others() -> None:
    parser = ReplyParser(SMALL)
    parser.feed(b"250 ok\r\n250 " + b"a" * 60 + b"\r\n")
    assert parser.next_positives([1, 1]) == ([], 0)
    assert parser.next_reply() == Reply.of(250, "ok")
    with pytest.raises(RemoteProtocolError, match="too large"):
        _ = parser.next_reply()


@pytest.mark.requirement("T29")
@pytest.mark.parametrize(
    "piece", [b"x", b"250 ", b"x" * 1000, b"250-a\r\n", b"250-\n", b"250-" + b"a" * 8000 + b"\r\n"]
)
@pytest.mark.parametrize("start", [b"", b"250-hello\r\n", b"250 "])
def test_what_does_not_end_is_refused_before_it_fills_the_memory(
    start: bytes, piece: bytes
) -> None:
    if start == b"250 " and b"\n" in piece:
        start = b""
    parser = ReplyParser(Limits())
    parser.feed(start)
    fed = len(start)
    with pytest.raises(RemoteProtocolError):
        while fed < 1_000_000:
            parser.feed(piece)
            fed += len(piece)
            assert parser.next_reply() is None
    bound = Limits().reply_size if b"\n" in piece else Limits().reply_line + len(start)
    assert fed <= bound + len(piece)


@pytest.mark.requirement("T29")
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_limit_is_the_last_that_is_taken(end: bytes) -> None:
    def line(size: int, hyphen: bytes = b" ") -> bytes:
        return b"250" + hyphen + b"a" * (size - 4 - len(end)) + end

    def refused(wire: bytes) -> bool:
        return talk([wire], SMALL)[1] is not None

    assert not refused(line(40))
    assert refused(line(41))
    assert not refused(line(40, b"-") + line(40, b"-") + line(20))
    assert refused(line(40, b"-") + line(40, b"-") + line(21))
    assert not refused(line(8, b"-") * 3 + line(8))
    assert refused(line(8, b"-") * 4 + line(8))


@pytest.mark.requirement("T29")
def test_limits_hold_for_each_reply_by_itself() -> None:
    for wire in (
        (b"250-" + b"a" * 30 + b"\r\n") * 2 + b"250 b\r\n",
        b"250-a\r\n" * 3 + b"250 b\r\n",
    ):
        replies, error, _ = talk([wire * 50], SMALL)
        assert (len(replies), error) == (50, None)


def test_the_error_quotes_what_came_in_short_and_safely() -> None:
    parser = ReplyParser(Limits())
    parser.feed(b"\x1b[2J" + b"x" * 5000 + b"\r\n")
    with pytest.raises(RemoteProtocolError, match=r"'\\x1b\[2Jxxx") as caught:
        _ = parser.next_reply()
    assert len(str(caught.value)) < 200
