"""Content into canonical bytes: CRLF line ends, dot-stuffing, in bounded memory.

RFC 5321 §2.3.8: a CR or LF leaves only as CRLF; §4.5.2: a leading dot is doubled. What a receiver
takes for a line end must be one for everybody, else a second message can be smuggled in.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol, TypeAlias, cast, runtime_checkable

from smtpx.errors import LocalProtocolError

Octets: TypeAlias = bytes | bytearray | memoryview
Source: TypeAlias = Octets | BinaryIO | Iterable[bytes]
Piece: TypeAlias = bytes | memoryview


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


_CANONICAL = ("\r\n", None)
_LEADING_DOT = re.compile(rb"\n\.")  # found in half the time that `in` takes
# A line of DATA or BDAT, or nearly: nothing is quicker to pass over.
_COMMAND = rb"[BDbd][ADad][ATat][ATat][ \t\r]"
_LATER_COMMAND = re.compile(rb"\n" + _COMMAND)
_BLANK_LINE = rb"\A(?=[\r\n])|\n(?=[\r\n])|\r(?=\r)"
SMALL = 65536
"""Content of up to so many octets is handled as a whole."""
PIECE = 524288
"""Octets of larger content that are read, or handed to the transport, at once."""


class Content:
    """The content of one message, from wherever it comes.

    Bytes can be sent again; a file or an iterator is read once, as it is sent.
    """

    __slots__ = ("_data", "_is_ready", "_source", "eight_bit", "size", "whole")

    eight_bit: bool | None
    """True if an octet is above 127; ``None`` where that shows only in reading."""
    whole: bytes | None
    """All of the canonical content, where it is at hand and small."""
    size: int | None
    """Octets after line ends are made canonical (RFC 1870 §5), as far as known before reading.

    A file states its own size: a close estimate where its lines do not end in CRLF.
    """

    def __init__(self, source: Source, binary: bool = False) -> None:
        """Take bytes, a binary file or an iterable of bytes; `binary` ones have no lines.

        Raises:
            TypeError: it is something else; text must be encoded first.
        """
        if type(source) is bytes or isinstance(source, (bytes, bytearray, memoryview)):
            data = source if type(source) is bytes else bytes(source)
            size = len(data)
            is_canonical, is_ascii = _examine(data)
            # Its bytes are canonical as they stand: any part can be sent without a copy.
            is_ready = is_canonical and not binary and data.endswith(b"\r\n")
            if not (is_ready or binary):
                if size > SMALL:
                    size = _canonical_size(data)
                else:
                    data = canonical(data)
                    size = len(data)
                    is_ready = True
            self._data: bytes | None = data
            self._is_ready = is_ready
            self.eight_bit = not is_ascii
            self.size = size
            self.whole = data if is_ready and size <= SMALL else None
        elif isinstance(source, (str, io.TextIOBase)):
            raise TypeError("content is bytes: encode the text, or open the file in binary mode")
        elif isinstance(source, (_Readable, Iterable)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            self._data = self.whole = self.eight_bit = None
            self._is_ready = False
            self._source: object = source
            self.size = _file_size(source)
        else:
            raise TypeError(
                "content is bytes, an EmailMessage, a binary file or an iterable of bytes, "
                f"not {type(source).__name__}"
            )

    @property
    def is_repeatable(self) -> bool:
        """True if it can be read again; a file or an iterator cannot."""
        return self._data is not None

    def has_commands(self) -> bool:
        """True if it could become a message by itself, were it read as commands.

        Some servers that refuse BDAT go on to read its chunk so. No message comes of that without
        a line of DATA or BDAT. Only what is `whole` is looked at.
        """
        whole = self.whole
        return whole is not None and (
            _LATER_COMMAND.search(whole) is not None
            or (whole[:1] in {b"B", b"b", b"D", b"d"} and re.match(_COMMAND, whole) is not None)
        )

    @property
    def internationalized_header(self) -> bool:
        """True if the header section is known to have octets above 127 (RFC 6532)."""
        if self._data is None or not self.eight_bit:
            return False
        return not re.split(_BLANK_LINE, self._data, maxsplit=1)[0].isascii()

    def pieces(self, *, seven_bit: bool = False) -> Iterator[Piece]:
        """The canonical content in pieces, for BDAT; it ends with CRLF unless it is empty.

        Raises:
            LocalProtocolError: `seven_bit` is asked for and an octet is above 127.
        """
        if self._is_ready and self._data is not None and not (seven_bit and self.eight_bit):
            return _views(self._data)
        return _canonical_pieces(self._seven_bit() if seven_bit else self._read())

    def stuffed(self, *, seven_bit: bool = False) -> Iterator[Piece]:
        """The pieces with leading dots doubled, for DATA; the end of data is not among them."""
        if self._is_ready and self._data is not None and not (seven_bit and self.eight_bit):
            return _stuffed_views(self._data)
        return _stuffed(_canonical_pieces(self._seven_bit() if seven_bit else self._read()))

    def raw(self) -> Iterator[Piece]:
        """The content untouched, for BODY=BINARYMIME."""
        return self._read() if self._data is None else _views(self._data)

    def _read(self) -> Iterator[bytes]:
        if self._data is not None:
            return _slices(self._data)
        source = self._source
        if isinstance(source, _Readable):
            return _gathered(_file(source))
        return _gathered(_chain(cast("Iterable[bytes]", source)))

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


def _stuffed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    at_line_start = True
    for piece in pieces:
        yield with_dots_doubled(piece, at_line_start)
        at_line_start = piece.endswith(b"\n")


def _stuffed_views(data: bytes) -> Iterator[Piece]:
    """Stuff canonical content, and copy only those pieces in which there is a dot to double."""
    view = memoryview(data)
    for start in range(0, len(data), PIECE):
        end = start + PIECE
        at_line_start = start == 0 or data[start - 1] == 0x0A
        if (at_line_start and data.startswith(b".", start)) or _LEADING_DOT.search(
            data, start, end
        ):
            yield with_dots_doubled(data[start:end], at_line_start)
        else:
            yield view[start:end]


def with_dots_doubled(piece: bytes, at_line_start: bool = True) -> bytes:
    """Double the leading dots of a piece of canonical content, or of all of it."""
    # In canonical content each LF ends a line, also one that its CR is parted from.
    stuffed = piece.replace(b"\n.", b"\n..") if _LEADING_DOT.search(piece) else piece
    return b"." + stuffed if at_line_start and piece.startswith(b".") else stuffed


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
    return _examine(octets)[0]


def _examine(octets: bytes) -> tuple[bool, bool]:
    """Whether all line ends are canonical, and whether all octets are ASCII, in one pass."""
    # The decoder notes which line ends it saw, at memory speed; as text of one byte a character,
    # of which there is never more than a processor's cache holds.
    seen = io.IncrementalNewlineDecoder(None, False)
    if len(octets) <= SMALL:
        text = octets.decode("latin-1")
        seen.decode(text, True)
        return seen.newlines in _CANONICAL, text.isascii()
    is_ascii = True
    view = memoryview(octets)
    for start in range(0, len(octets), SMALL):
        text = str(view[start : start + SMALL], "latin-1")
        is_ascii = is_ascii and text.isascii()
        seen.decode(text)
        if seen.newlines not in _CANONICAL:
            return False, octets.isascii()
    seen.decode("", final=True)
    return seen.newlines in _CANONICAL, is_ascii


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


def _views(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(data), PIECE):
        yield view[start : start + PIECE]


def _gathered(some: Iterable[bytes]) -> Iterator[bytes]:
    """Join what a source gives in small measures: each piece is a write, and may be a chunk."""
    held: list[bytes] = []
    size = 0
    for octets in some:
        if held and size + len(octets) > PIECE:
            yield b"".join(held)
            held.clear()
            size = 0
        held.append(octets)
        size += len(octets)
    if size:
        yield b"".join(held)


def _file(source: _Readable) -> Iterator[bytes]:
    while octets := _bytes_only(source.read(PIECE)):  # An empty text is none, too.
        yield octets


def _chain(source: Iterable[bytes]) -> Iterator[bytes]:
    for octets in source:
        yield from _slices(_bytes_only(octets))


def _bytes_only(octets: object) -> bytes:
    if isinstance(octets, bytes):
        return octets
    if isinstance(octets, (bytearray, memoryview)):
        return bytes(cast("bytes", octets))
    raise TypeError(f"content must give bytes, not {type(octets).__name__}")
