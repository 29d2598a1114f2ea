"""Write the pages that differ from the code."""

from __future__ import annotations

from . import write

write()
