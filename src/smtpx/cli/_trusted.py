"""Files that say where mail and passwords go, or have a password: whose word and eyes they are for.

Only POSIX says whose a file is, and who may write it; elsewhere the folder's rights decide.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from smtpx.cli._exits import Exit, Stop
from smtpx.cli._marks import unmarked
from smtpx.cli._reading import reading

__all__ = ["first_of", "obeyed", "private", "refuse_readable", "secret_in"]

_MOST = 4096


def obeyed(path: Path, *, is_named: bool) -> tuple[bytes, os.stat_result]:
    """What a file says that directs mail and passwords, and what was read.

    One that `is_named` on purpose may be anybody's, and a pipe. One that was found is the caller's
    or root's, so nobody else has put it there, whoever may write its folder.

    Raises:
        Stop: somebody else may have written it.
        OSError: it cannot be read.
    """

    def opened(name: str, flags: int) -> int:
        # Else a FIFO would wait for its writer.
        return os.open(name, flags if is_named else flags | getattr(os, "O_NONBLOCK", 0))

    with reading(path), open(path, "rb", opener=opened) as file:
        state = os.fstat(file.fileno())
        if not (is_named or stat.S_ISREG(state.st_mode)):
            raise Stop(f"{path} is no regular file: remove it", Exit.CONFIGURATION)
        if os.name == "posix":
            _refuse_strangers(path, state, is_named=is_named)
        return file.read(), state


def _refuse_strangers(path: Path, state: os.stat_result, *, is_named: bool) -> None:
    others = {state.st_uid, path.lstat().st_uid} - {os.geteuid(), 0}
    if others and not is_named:
        raise Stop(
            f"{path} is of another user (uid {others.pop()}), who would direct your mail and "
            "passwords: take it over with chown, or name it by --config",
            Exit.CONFIGURATION,
        )
    if stat.S_ISREG(state.st_mode) and state.st_mode & 0o022:
        raise Stop(
            f"others can write {path}, and so direct your mail and passwords: chmod go-w {path}",
            Exit.CONFIGURATION,
        )


def refuse_readable(path: Path, state: os.stat_result, what: str) -> None:
    """A secret is for its owner's eyes; `what` says which it is.

    Raises:
        Stop: others can read it.
    """
    if os.name == "posix" and stat.S_ISREG(state.st_mode) and state.st_mode & 0o077:
        problem = f"{path} has {what}, and others can read it: chmod 600 {path}"
        raise Stop(problem, Exit.CONFIGURATION)


def private(name: str, flags: int) -> int:
    """An opener for `open`: what it makes has mail or addresses in it, and is for its owner."""
    return os.open(name, flags, 0o600)


def secret_in(path: Path, what: str) -> str:
    """The first line of a file that nobody else can read.

    Raises:
        Stop: others can read it, or it is not UTF-8.
        OSError: it cannot be read.
    """
    with reading(path), path.open("rb") as file:
        refuse_readable(path, os.fstat(file.fileno()), what)
        octets = file.read(_MOST)
    try:
        return first_of(octets)
    except UnicodeDecodeError:
        raise Stop(f"{path} is not UTF-8: convert it", Exit.CONFIGURATION) from None


def first_of(octets: bytes) -> str:
    """The first line of a text.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    lines = unmarked(octets).splitlines()
    return lines[0].decode() if lines else ""
