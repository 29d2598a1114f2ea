"""What is loaded when it is first needed, in a process that may have no file descriptor left."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from smtpx.errors import LocalProtocolError

NONE_LEFT = (errno.EMFILE, errno.ENFILE)
"""What the system says where no more files can be opened."""


@contextmanager
def loading(what: str) -> Generator[None, None, None]:
    """Load a module, or a file, within.

    Raises:
        LocalProtocolError: there is no descriptor left to read it by.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NONE_LEFT:
            raise
        raise LocalProtocolError(
            f"there is no file descriptor left to load what {what} needs: close what is not "
            "needed, or raise the limit (ulimit -n)"
        ) from error
