"""Where CPython runs signal handlers, as far as a profile function sees it."""

from __future__ import annotations

import sys

# A profile function that raises where a function begins makes CPython 3.11 lose its own stack.
POINTS = ("c_return",) if sys.version_info < (3, 12) else ("call", "c_return")
