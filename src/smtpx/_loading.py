"""What is loaded when it is first needed, in a process that may have no file descriptor left."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager

from smtpx._loaders import AMID_LOADING, is_loading
from smtpx.errors import LocalProtocolError

NONE_LEFT = (errno.EMFILE, errno.ENFILE)
"""What the system says where no more files can be opened."""


def refuse_amid_loading() -> None:
    """Refuse to send in a thread that is loading: what it needs may be half made (`UNDER_WAY`).

    Raises:
        LocalProtocolError: a signal handler has interrupted the load.
    """
    if is_loading():
        raise LocalProtocolError(AMID_LOADING)


@contextmanager
def loading(what: str) -> Generator[None, None, None]:
    """Load a module, or a file, within.

    Raises:
        LocalProtocolError: there is no descriptor left to read it by, or no memory. Or a signal
            handler needs it that has interrupted this very thread while it was being loaded.
    """
    try:
        yield
    except MemoryError as error:
        raise LocalProtocolError(f"there is no memory left to load what {what} needs") from error
    except (OSError, ImportError) as error:
        if isinstance(error, OSError) and error.errno not in NONE_LEFT:
            raise
        if isinstance(error, ImportError) and is_loading():
            raise LocalProtocolError(AMID_LOADING) from error
        if isinstance(error, ImportError) and can_open():
            raise
        raise LocalProtocolError(
            f"there is no file descriptor left to load what {what} needs: close what is not "
            "needed, or raise the limit (ulimit -n)"
        ) from error


def can_open() -> bool:
    """False if there is no descriptor left: some modules say then that they miss another one."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True
