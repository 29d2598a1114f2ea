"""Content into canonical bytes: CRLF line ends, dot-stuffing, in bounded memory.

RFC 5321 §2.3.8: a CR or LF leaves only as CRLF; §4.5.2: a leading dot is doubled. What a receiver
takes for a line end must be one for everybody, else a second message can be smuggled in.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Protocol, TypeAlias, cast, runtime_checkable

from smtpx.errors import LocalProtocolError

Octets: TypeAlias = bytes | bytearray | memoryview
Source: TypeAlias = Octets | BinaryIO | Iterable[bytes]


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


_BLANK_LINE = re.compile(rb"\A(?=[\r\n])|\n(?=[\r\n])|\r(?=\r)")
PIECE = 65536
"""Octets handed to the transport at once."""


class Content:
    """The content of one message, from wherever it comes.

    Bytes can be sent again; a file or an iterator is read once, as it is sent.
    """

    __slots__ = ("_canonical", "_data", "_read", "size")

    size: int | None
    """Octets after line ends are made canonical (RFC 1870 §5), as far as known before reading.

    A file states its own size: a close estimate where its lines do not end in CRLF.
    """

    def __init__(self, source: Source, *, binary: bool = False) -> None:
        """Take bytes, a binary file or an iterable of bytes; `binary` ones have no lines.

        Raises:
            TypeError: it is something else; text must be encoded first.
        """
        self._data: bytes | None = None
        self._canonical = False
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
            self._canonical = not binary and len(data) <= PIECE
            self._data = data = canonical(data) if self._canonical else data
            self._read: Callable[[], Iterator[bytes]] = lambda: _slices(data)
            self.size = len(data) if binary or self._canonical else _canonical_size(data)
        elif isinstance(source, (str, io.TextIOBase)):
            raise TypeError("content is bytes: encode the text, or open the file in binary mode")
        elif isinstance(source, _Readable):
            self._read = lambda: _file(source)
            self.size = _file_size(source)
        elif isinstance(source, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            self._read = lambda: _chain(source)
            self.size = None
        else:
            raise TypeError(
                "content is bytes, an EmailMessage, a binary file or an iterable of bytes, "
                f"not {type(source).__name__}"
            )

    @property
    def eight_bit(self) -> bool | None:
        """True if an octet is above 127; ``None`` where that shows only in reading."""
        return None if self._data is None else not self._data.isascii()

    @property
    def whole(self) -> bytes | None:
        """All of the canonical content, where it is at hand and small."""
        return self._data if self._canonical else None

    @property
    def is_repeatable(self) -> bool:
        """True if it can be read again; a file or an iterator cannot."""
        return self._data is not None

    @property
    def internationalized_header(self) -> bool:
        """True if the header section is known to have octets above 127 (RFC 6532)."""
        if self._data is None or self._data.isascii():
            return False
        return not _BLANK_LINE.split(self._data, 1)[0].isascii()

    def pieces(self, *, seven_bit: bool = False) -> Iterator[bytes]:
        """The canonical content in pieces, for BDAT; it ends with CRLF unless it is empty.

        Raises:
            LocalProtocolError: `seven_bit` is asked for and an octet is above 127.
        """
        octets = self._seven_bit() if seven_bit else self._read()
        return octets if self._canonical else _canonical_pieces(octets)

    def stuffed(self, *, seven_bit: bool = False) -> Iterator[bytes]:
        """The pieces with leading dots doubled, for DATA; the end of data is not among them."""
        at_line_start = True
        for piece in self.pieces(seven_bit=seven_bit):
            starts_with_dot = at_line_start and piece.startswith(b".")
            at_line_start = piece.endswith(b"\n")
            stuffed = piece.replace(b"\r\n.", b"\r\n..") if b"\n." in piece else piece
            yield b"." + stuffed if starts_with_dot else stuffed

    def raw(self) -> Iterator[bytes]:
        """The content untouched, for BODY=BINARYMIME."""
        return self._read()

    def _seven_bit(self) -> Iterator[bytes]:
        for octets in self._read():
            if not octets.isascii():
                raise LocalProtocolError(
                    "the content has octets above 127 and the server does not offer 8BITMIME; "
                    "the connection was closed in the middle of it, nobody got the message"
                )
            yield octets


def canonical(data: bytes) -> bytes:
    """Make every CR, LF and CRLF a CRLF, and end the last line."""
    if data.endswith(b"\n") and _is_canonical(data):
        return data
    return b"".join(_canonical_pieces((data,)))


def _canonical_pieces(octets: Iterable[bytes]) -> Iterator[bytes]:
    lines = _LineEnds()
    ended = True
    for some in octets:
        if piece := lines.feed(some):
            ended = piece.endswith(b"\n")
            yield piece
    if lines.finish() or not ended:
        yield b"\r\n"


class _LineEnds:
    """CR, LF and CRLF become CRLF across any chunking."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = False  # a CR whose LF may come with the next octets

    def feed(self, octets: bytes) -> bytes:
        if self._held:
            octets = b"\r" + octets
            self._held = False
        if octets.endswith(b"\r"):
            octets = octets[:-1]
            self._held = True
        if _is_canonical(octets):
            return octets
        unix = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return unix.replace(b"\n", b"\r\n")

    def finish(self) -> bool:
        """True if a last line end is still to be written."""
        return self._held


def _is_canonical(octets: bytes) -> bool:
    # The decoder notes which line ends it saw, at memory speed; as text of one byte a character.
    seen = io.IncrementalNewlineDecoder(None, translate=False)
    seen.decode(octets.decode("latin-1"), final=True)
    return seen.newlines in (None, "\r\n")


def _canonical_size(data: bytes) -> int:
    pairs = data.count(b"\r\n")
    size = len(data) + data.count(b"\r") + data.count(b"\n") - 2 * pairs
    return size if data.endswith((b"\r", b"\n")) else size + 2


def _file_size(source: object) -> int | None:
    if not isinstance(source, io.IOBase) or not source.seekable():
        return None
    position = source.tell()
    size = source.seek(0, io.SEEK_END) - position
    _ = source.seek(position)
    return size


def _slices(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


def _file(source: _Readable) -> Iterator[bytes]:
    while octets := source.read(PIECE):
        yield _bytes_only(octets)


def _chain(source: Iterable[bytes]) -> Iterator[bytes]:
    for octets in source:
        yield from _slices(_bytes_only(octets))


def _bytes_only(octets: object) -> bytes:
    if isinstance(octets, bytes):
        return octets
    if isinstance(octets, (bytearray, memoryview)):
        return bytes(cast("bytes", octets))
    raise TypeError(f"content must give bytes, not {type(octets).__name__}")
