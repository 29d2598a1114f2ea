"""Large contents in files: synced and renamed before a row of the ledger speaks of them."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .states import LedgerCorrupt, LedgerUnavailable

__all__ = ["Spool"]

_PIECE = 524288


class Spool:
    """A directory of contents, each under its digest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _path(self, digest: bytes) -> Path:
        return self._directory / digest.hex()

    def keep(self, digest: bytes, octets: bytes) -> None:
        """Have a content there, for good.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        path = self._path(digest)
        if _is_kept(path, len(octets)):
            return
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        try:
            self._directory.mkdir(exist_ok=True)
            with unfinished.open("xb") as file:
                _ = file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            _ = unfinished.replace(path)
            _sync(self._directory)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise LedgerUnavailable(
                f"a large message cannot be kept in {self._directory}: {error.strerror or error}"
            ) from error

    def pieces(self, digest: bytes, size: int) -> Iterator[bytes]:
        """The octets of a content. The last of them come only if all are what was kept.

        Raises:
            LedgerCorrupt: they are not, or the file is none that can be read to its end.
            LedgerUnavailable: it is not there, or cannot be read now.
        """
        path = self._path(digest)
        seen, read, held = hashlib.sha256(), 0, b""
        try:
            # To open a FIFO waits for whoever writes into it; and of a device nobody knows.
            if not stat.S_ISREG(path.stat().st_mode):
                raise LedgerCorrupt(f"{path}: it is no file: restore it, then retry()")
            with path.open("rb") as file:
                while True:
                    piece = file.read(_PIECE)
                    if not piece:
                        break
                    if held:
                        yield held
                    held = piece
                    read += len(piece)
                    seen.update(piece)
        except FileNotFoundError as error:
            # An empty mount point looks like a spool from which a file was removed.
            raise LedgerUnavailable(
                f"{path}: the spool is not there, or not whole: mount its file system, or restore "
                "the file"
            ) from error
        except OSError as error:
            raise LedgerUnavailable(f"{path}: {error.strerror or error}") from error
        if read != size or seen.digest() != digest:
            raise LedgerCorrupt(f"{path}: it is not what was written: restore it, then retry()")
        yield held

    def forget(self, digest: bytes) -> None:
        """Remove a content."""
        self._path(digest).unlink(missing_ok=True)


def _is_kept(path: Path, size: int) -> bool:
    """True if a content is there; what else has its name is replaced by it."""
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def _sync(directory: Path) -> None:
    """Have the name of a new file on the disk, where a system lets us."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return  # Windows opens no directories; its file systems keep names by themselves.
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
