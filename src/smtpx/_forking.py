"""No child is forked while another thread loads what the child will need.

Python locks a module while it is loaded, and the lock is the thread's that loads it. A child has
not got that thread, and would wait for it for ever.
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from collections.abc import Callable
from time import monotonic, sleep

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
    # No public function tells of these locks; where they are not found, nothing is waited for.
    importing = vars(sys.modules.get("_frozen_importlib", sys))
    locks: dict[str, Callable[[], object]] = importing.get("_module_locks", {})
    me = get_ident()
    for name, reference in list(locks.items()):
        top = name.partition(".")[0]
        if top == "smtpx" or top in sys.stdlib_module_names:
            owner = getattr(reference(), "owner", None)
            if owner is not None and owner != me:
                return True
    return False
