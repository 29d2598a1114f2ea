"""Which threads load modules: a fork waits for them, and a signal handler must not need these."""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Callable, Iterator

__all__ = ["AMID_LOADING", "UNDER_WAY", "is_loading", "loaders"]

AMID_LOADING = (
    "a signal handler has interrupted this thread while it loads what sending needs, and cannot "
    "send: have it set a flag"
)

UNDER_WAY: dict[str, Callable[[], object]] = vars(sys.modules.get("_frozen_importlib", sys)).get(
    "_module_locks", {}
)
"""CPython's own table of what is being loaded; other Pythons show none. Nothing public tells."""


def loaders() -> Iterator[int]:
    """The threads that load a module of ours, or of Python's."""
    for name, reference in list(UNDER_WAY.items()):
        top = name.partition(".")[0]
        # While Python starts, `site` may run anybody's program.
        if top == "smtpx" or (top in sys.stdlib_module_names and top != "site"):
            owner = getattr(reference(), "owner", None)
            if isinstance(owner, int):
                yield owner


def is_loading() -> bool:
    """True if this very thread does: a signal handler has interrupted it."""
    return get_ident() in loaders()
