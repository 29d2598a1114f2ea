"""Content in pieces (RFC 5321 §2.3.8, §4.5.2): every source, every edge, bounded and lazy."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import NamedTemporaryFile, SpooledTemporaryFile
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx._wire.content import PIECE, SMALL, Content, canonical
from smtpx.errors import LocalProtocolError


@cache
def reference(octets: bytes) -> bytes:
    """RFC 5321 §2.3.8 octet by octet: a CR, an LF and a CRLF each end a line, the end does too."""
    lines = bytearray()
    after_cr = False
    for octet in octets:
        if octet == 0x0D or (octet == 0x0A and not after_cr):
            lines += b"\r\n"
        elif octet != 0x0A:
            lines.append(octet)
        after_cr = octet == 0x0D
    if octets and octets[-1] not in b"\r\n":
        lines += b"\r\n"
    return bytes(lines)


def unstuff(wire: bytes) -> bytes:
    """RFC 5321 §4.5.2 as a receiver does it; no line is a lone dot, no CR or LF is alone."""
    assert not wire or wire.endswith(b"\r\n")
    plain: list[bytes] = []
    for line in wire.split(b"\r\n")[:-1]:
        assert b"\r" not in line
        assert b"\n" not in line
        assert line != b"."
        plain.append(line.removeprefix(b"."))
    return b"".join(line + b"\r\n" for line in plain)


def check(content: Content, octets: bytes) -> None:
    stated = content.size
    assert unstuff(b"".join(content.stuffed())) == reference(octets)
    if content.is_repeatable:
        assert stated == len(reference(octets))
        assert b"".join(content.pieces()) == reference(octets)
        assert unstuff(b"".join(content.stuffed())) == reference(octets)


def chunked(octets: bytes, *sizes: int) -> Iterator[bytes]:
    edges = [0]
    while edges[-1] < len(octets):
        edges.append(edges[-1] + max(1, sizes[len(edges) % len(sizes)]))
    yield from (octets[start:end] for start, end in pairwise(edges))


class Dribble:
    """A file of which a read gives as much as it likes."""

    def __init__(self, octets: bytes, most: int) -> None:
        self._file = io.BytesIO(octets)
        self._most = most

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._most))


SOURCES: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of every second octet": lambda octets: memoryview(
        b"".join(bytes([octet, 0x0D]) for octet in octets)
    )[::2],
    "BytesIO": io.BytesIO,
    "unsized file": lambda octets: Dribble(octets, 7),
    "list": lambda octets: [octets],
    "list of octets": lambda octets: [octets[i : i + 1] for i in range(len(octets))],
    "tuple with empty chunks": lambda octets: (b"", octets, b"", b""),
    "iterator": lambda octets: iter([octets[:3], octets[3:]]),
    "generator": lambda octets: chunked(octets, 1, 2, 3),
    "bytearrays": lambda octets: [bytearray(octets[:5]), memoryview(octets[5:])],
}
every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
MIXES = st.text("\r\n.a", max_size=12).map(str.encode) | st.lists(
    st.sampled_from([b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\r\n..", b".", b"\xe9", b"\0", b"text"]),
    max_size=8,
).map(b"".join)


@pytest.mark.requirement("T6")
@pytest.mark.requirement("T9")
@pytest.mark.requirement("T10")
@given(MIXES)
@settings(max_examples=5 * settings().max_examples)
def test_what_is_sent_is_the_content_and_cannot_end_early(octets: bytes) -> None:
    for source in SOURCES.values():
        check(Content(source(octets)), octets)
    assert canonical(octets) == reference(octets)


@pytest.mark.requirement("T9")
@given(MIXES, st.lists(st.integers(1, 7), min_size=1, max_size=5))
@settings(max_examples=5 * settings().max_examples)
def test_however_the_chunks_fall(octets: bytes, sizes: list[int]) -> None:
    check(Content(chunked(octets, *sizes)), octets)


def test_every_mix_of_up_to_six_line_ends_dots_and_text() -> None:
    mixes = [b""]
    for _ in range(6):
        mixes += [mix + octet for mix in mixes if len(mix) == len(mixes[-1])
                  for octet in (b"\r", b"\n", b".", b"a")]  # fmt: skip
    for octets in mixes:
        check(Content(octets), octets)
        check(Content(octets[i : i + 1] for i in range(len(octets))), octets)


@pytest.mark.requirement("RFC 5321 §4.5.2")
@pytest.mark.parametrize(
    ("octets", "wire"),
    [
        (b"", b""),
        (b"a", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b"a\r\n\r\n", b"a\r\n\r\n"),
        (b".", b"..\r\n"),
        (b".a", b"..a\r\n"),
        (b"..", b"...\r\n"),
        (b"a.\r\n", b"a.\r\n"),
        (b"a\n.\nb", b"a\r\n..\r\nb\r\n"),
        (b"a\r.\rb", b"a\r\n..\r\nb\r\n"),
        (b"a\r\n.\r\nb", b"a\r\n..\r\nb\r\n"),
        (b"a\n.\r\nMAIL FROM:<>\r\n", b"a\r\n..\r\nMAIL FROM:<>\r\n"),
        (b"a\r\n.\rb", b"a\r\n..\r\nb\r\n"),
        (b"\r", b"\r\n"),
        (b"\n\r", b"\r\n\r\n"),
        (b"\r\r\n", b"\r\n\r\n"),
        (b"\r\n\n.", b"\r\n\r\n..\r\n"),
    ],
)
def test_a_leading_dot_is_doubled_and_every_line_ends_with_crlf(octets: bytes, wire: bytes) -> None:
    for source in SOURCES.values():
        assert b"".join(Content(source(octets)).stuffed()) == wire


EDGES = [
    b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\r\r\n.", b"\r\n..", b".\r\n.", b"\n\r.\n", b"\r", b"\n",
    b".", b"\r\n", b"ab",
]  # fmt: skip


@pytest.fixture
def piece(monkeypatch: pytest.MonkeyPatch) -> int:
    """How long a piece is, here: where it ends is what counts, and shorter ones are soon read."""
    monkeypatch.setattr("smtpx._wire.content.SMALL", 512)
    monkeypatch.setattr("smtpx._wire.content.PIECE", 4096)
    return 4096


@pytest.mark.requirement("T10")
@pytest.mark.parametrize("edge", EDGES, ids=repr)
def test_whatever_lies_across_the_edge_of_a_piece(edge: bytes, piece: int) -> None:
    for offset in range(-len(edge) - 1, 2):
        start = b"x" * (piece + offset) + edge
        middle = start.ljust(2 * piece + offset, b"y") + edge
        for octets in (start, start + b"z", middle + b"z" * 9, middle):
            for source in (bytes, io.BytesIO, lambda o: chunked(o, piece), lambda o: iter([o])):
                check(Content(source(octets)), octets)


@pytest.mark.requirement("T10")
@every_source
def test_large_content_of_every_source(source: Callable[[bytes], Any]) -> None:
    if source is SOURCES["list of octets"]:
        octets = b"a line\n.\r\n" * 2000
    else:
        octets = b"a line\n.another\r\n..\r\r\n\xe9" * 15_000  # 330 000 octets
    check(Content(source(octets)), octets)


def test_a_real_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    octets = b"head\n" + b"line\n.\r" * (PIECE // 4)
    path = tmp_path / "message"
    path.write_bytes(octets)
    for buffering in (-1, 0):
        with path.open("rb", buffering=buffering) as file:
            assert Content(file).size == len(octets)
            check(Content(file), octets)
        with path.open("rb", buffering=buffering) as file:
            _ = file.read(5)
            assert Content(file).size == len(octets) - 5
            check(Content(file), octets[5:])


def test_a_temporary_file_and_a_pipe_are_files_too() -> None:
    import os

    for make in (NamedTemporaryFile, SpooledTemporaryFile):
        with make() as file:
            file.write(b"a\n.\n")
            file.seek(0)
            check(Content(file), b"a\n.\n")
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe:
        with open(writing, "wb") as file:
            file.write(b"a\n.\n")
        content = Content(pipe)
        assert content.size is None
        check(content, b"a\n.\n")


# --- sizes, pieces, memory ---------------------------------------------------------------------


@pytest.mark.requirement("RFC 1870 §5")
@given(MIXES, st.integers(-3, 3))
@settings(deadline=None, max_examples=20)
def test_the_size_of_bytes_is_that_of_what_is_sent(octets: bytes, around: int) -> None:
    for data in (octets, octets.ljust(PIECE + around, b"."), b"x" * (PIECE + around) + octets):
        assert Content(data).size == sum(map(len, Content(data).pieces())) == len(reference(data))


def test_the_size_of_an_iterator_is_unknown_and_of_a_file_its_own() -> None:
    assert Content(iter([b"a"])).size is None
    assert Content(Dribble(b"a", 1)).size is None  # type: ignore[arg-type] # close to a BinaryIO
    assert Content(io.BytesIO(b"abc\r\n")).size == 5


@pytest.mark.requirement("T44")
@pytest.mark.parametrize("octets", [b"\n" * 9 * PIECE, b"\n." * 5 * PIECE, b"x" * 9 * PIECE])
def test_no_piece_is_much_larger_than_what_is_read_at_once(octets: bytes) -> None:
    for source in (bytes, io.BytesIO, lambda data: iter([data])):
        assert max(map(len, Content(source(octets)).pieces())) <= 2 * PIECE + 2
        assert max(map(len, Content(source(octets)).stuffed())) <= 3 * PIECE + 2


@pytest.mark.requirement("T44")
def test_a_source_is_read_only_as_far_as_it_is_sent() -> None:
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield b"x" * 1000 + b"\r\n"

    content = Content(endless())
    assert taken == []
    stuffed = content.stuffed()
    assert 0 < len(next(stuffed)) <= PIECE
    assert len(taken) == PIECE // 1002 + 1


@pytest.mark.requirement("T44")
def test_large_bytes_are_not_copied_before_they_are_sent() -> None:
    octets = b"x" * 3 * PIECE
    assert Content(octets)._data is octets
    line = b"a line\r\n"
    assert Content(line).whole is line


@pytest.mark.requirement("T44")
def test_canonical_bytes_are_not_copied_when_they_are_sent() -> None:
    lines = b"a line\r\n" * PIECE
    content = Content(lines)
    for pieces in (content.pieces(), content.stuffed(), Content(lines, binary=True).raw()):
        assert all(isinstance(piece, memoryview) and piece.obj is lines for piece in pieces)
    # Only the piece with a dot to double is.
    dotted = lines[:PIECE] + b".\r\n".rjust(PIECE) + lines[:PIECE] + b".\r\n"
    kinds = [type(piece) for piece in Content(dotted).stuffed()]
    assert kinds == [memoryview, memoryview, memoryview, bytes]


def test_a_callers_bytearray_may_change_afterwards() -> None:
    for size in (10, 2 * PIECE):
        data = bytearray(b"x" * size)
        content = Content(data)
        data[:] = b"\n.\n"
        check(content, b"x" * size)


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("junk", [b"\r", b"\n", b"\n.", b"\r\n.\r\n", b".", b"\r\n", b"\xe9"])
def test_content_takes_linear_time(junk: bytes) -> None:
    octets = junk * (2_000_000 // len(junk))
    began = process_time()
    for source in (octets, io.BytesIO(octets)):
        content = Content(source)
        _ = content.internationalized_header
        for _ in content.stuffed():
            pass
    assert process_time() - began < 1


# --- what is said about it ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, SMALL - 2, SMALL - 1, SMALL + 1])
def test_small_bytes_are_at_hand_as_a_whole(size: int) -> None:
    octets = b"x" * size
    whole = Content(octets).whole
    assert whole == (None if size + 2 > SMALL else octets + b"\r\n")
    assert Content(io.BytesIO(octets)).whole is None
    assert Content(octets, binary=True).whole is None


@every_source
def test_only_bytes_can_be_read_again(source: Callable[[bytes], Any]) -> None:
    made = source(b"a\xe9")
    held = isinstance(made, (bytes, bytearray, memoryview))
    assert Content(made).is_repeatable is held
    assert Content(made).eight_bit is (True if held else None)


@pytest.mark.requirement("RFC 6152")
@pytest.mark.parametrize("size", [10, 2 * PIECE])
def test_an_octet_above_127_makes_it_eight_bit(size: int) -> None:
    assert Content(b"\x7f\0" * size).eight_bit is False
    assert Content(b"\x7f" * size + b"\x80").eight_bit is True


@pytest.mark.requirement("RFC 6152")
@every_source
@pytest.mark.parametrize("size", [10, 2000])
def test_eight_bit_content_never_passes_as_seven_bit(
    source: Callable[[bytes], Any], size: int
) -> None:
    plain = b"a\n.\n" * size
    assert unstuff(b"".join(Content(source(plain)).stuffed(seven_bit=True))) == reference(plain)
    for way in (Content.stuffed, Content.pieces):
        with pytest.raises(LocalProtocolError, match="8BITMIME"):
            for piece in way(Content(source(plain + b"\x80")), seven_bit=True):
                assert bytes(piece).isascii()


@pytest.mark.requirement("RFC 3030 §3")
@every_source
@pytest.mark.parametrize("size", [1, 20_000])
def test_binary_content_is_untouched(source: Callable[[bytes], Any], size: int) -> None:
    octets = b"\r\n.\n\r.\0\xff" * size
    if source is SOURCES["list of octets"]:
        octets = octets[:1000]
    content = Content(source(octets), binary=True)
    if content.is_repeatable:
        assert content.size == len(octets)
    assert b"".join(content.raw()) == octets


@pytest.mark.requirement("RFC 6532")
@pytest.mark.parametrize("body", ["", "x" * PIECE])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize(
    ("header", "internationalized"), [("Subject: é", True), ("Subject: e", False), ("", False)]
)
def test_a_header_is_internationalized_whatever_the_body(
    header: str, internationalized: bool, end: str, body: str
) -> None:
    text = f"From: a@x.test{end}{header}{end}" if header else ""
    octets = f"{text}{end}body é{end}{body}".encode()
    assert Content(octets).internationalized_header is internationalized
    assert not Content(io.BytesIO(octets)).internationalized_header


@pytest.mark.parametrize("blank", ["\r\n\n", "\n\r\n", "\n\r", "\r\r\n"])
def test_line_ends_of_two_kinds_end_a_header_too(blank: str) -> None:
    octets = f"Subject: e{blank}é\n{'x' * PIECE}".encode()
    assert not Content(octets).internationalized_header


# --- what is no content ------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["text", io.StringIO("text")])
def test_text_has_to_be_encoded_first(source: Any) -> None:
    with pytest.raises(TypeError, match="encode the text"):
        Content(source)


@pytest.mark.parametrize("source", [None, 3, object(), 2.5])
def test_what_is_no_content_is_named(source: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(source).__name__}"):
        Content(source)


class TextFile:
    def read(self, size: int, /) -> str:
        return "text"


@pytest.mark.parametrize("source", [["text"], [1, 2], iter([b"a", None]), TextFile()])
def test_a_source_that_gives_no_bytes_is_named_in_reading(source: Any) -> None:
    with pytest.raises(TypeError, match="must give bytes"):
        list(Content(source).stuffed())


def test_an_error_of_the_source_comes_out_as_it_is() -> None:
    def failing() -> Iterator[bytes]:
        yield b"a"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Content(failing()).stuffed())
