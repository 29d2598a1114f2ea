"""No child is forked while another thread loads what the child will need.

Python locks a module while it is loaded, and the lock is the thread's that loads it. A child has
not got that thread, and would wait for it for ever.
"""

from __future__ import annotations

import os
from _thread import get_ident
from time import monotonic, sleep

from smtpx._loaders import loaders

__all__ = ["have_forks_wait"]

# Seconds for which a fork waits.
_PATIENCE = 10.0


def have_forks_wait() -> None:
    """Have each fork wait until no other thread loads a module of ours, or of Python's."""
    global _is_done
    if not _is_done and hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(before=_before_fork)
        _is_done = True


_is_done = False


def _before_fork() -> None:
    end = monotonic() + _PATIENCE
    while _are_others_loading() and monotonic() < end:
        sleep(0.001)


def _are_others_loading() -> bool:
    me = get_ident()
    return any(owner != me for owner in loaders())
