"""Messages out of whatever people keep them in: a file, an mbox, a Maildir, a folder, stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from smtpx.cli._console import Console, printable
from smtpx.cli._exits import Stop
from smtpx.cli._reading import reading

__all__ = ["messages_in"]

_LARGEST = 50 * 1024**2


def messages_in(name: str, console: Console) -> Iterator[tuple[str, bytes]]:
    """Each message, with the name of where it is.

    Raises:
        Stop: there is no such file or folder.
    """
    if name == "-":
        with reading("standard input"):
            yield from _in_stream("standard input", sys.stdin.buffer, console)
        return
    path = Path(name)
    if path.is_dir():
        for file in _files(path):
            with reading(file), file.open("rb") as stream:
                yield from _in_stream(str(file), stream, console)
    elif path.exists():
        with reading(path), path.open("rb") as stream:
            yield from _in_stream(name, stream, console)
    else:
        raise Stop(f"{printable(name)} does not exist: give a file, an mbox, a Maildir or a folder")


def _files(folder: Path) -> list[Path]:
    """A Maildir's messages, or every file below a folder; no links, which could be a circle."""
    if (folder / "cur").is_dir() and (folder / "new").is_dir():
        found = [*(folder / "new").iterdir(), *(folder / "cur").iterdir()]
    else:
        found = [*folder.rglob("*")]
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))


def _in_stream(name: str, stream: BinaryIO, console: Console) -> Iterator[tuple[str, bytes]]:
    first = stream.readline(_LARGEST)
    if not first.startswith(b"From "):
        octets = first + stream.read(_LARGEST - len(first))
        if stream.read(1):
            console.warning(f"{printable(name)} is larger than 50 MB: only its beginning is read")
        yield name, octets
        return
    for number, octets in enumerate(_in_mbox(stream), 1):
        yield f"{name}:{number}", octets


def _in_mbox(stream: BinaryIO) -> Iterator[bytes]:
    """Cut at each ``From `` after an empty line; the first has been read (RFC 4155)."""
    lines: list[bytes] = []
    size, after_empty = 0, False
    for line in iter(lambda: stream.readline(_LARGEST), b""):
        if after_empty and line.startswith(b"From "):
            yield b"".join(lines)
            lines, size = [], 0
        else:
            size += len(line)
            if size <= _LARGEST:
                lines.append(line[1:] if line.lstrip(b">").startswith(b"From ") else line)
        after_empty = line in (b"\n", b"\r\n")
    yield b"".join(lines)
