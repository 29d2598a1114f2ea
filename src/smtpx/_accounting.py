"""The account of what was under way, where what interrupts a call strikes again."""

from __future__ import annotations

import _thread
from collections.abc import Callable
from contextvars import copy_context

__all__ = ["account_again"]


def account_again(account: Callable[[BaseException], object], error: BaseException) -> None:
    """Account for messages on an error that came while one accounted for another.

    A stack that has no room left for the call has none for its account, which is made on another:
    of all that needs less of the first, nothing can be read or sent.
    """
    if not isinstance(error, RecursionError):
        account(error)
        return
    made = _thread.allocate_lock()
    _ = made.acquire()

    def make() -> None:
        try:
            account(error)
        finally:
            made.release()

    try:
        _ = _thread.start_new_thread(copy_context().run, (make,))
    except RuntimeError:  # There are too many, or the program ends.
        account(error)
    else:
        _ = made.acquire()
