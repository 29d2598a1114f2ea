"""How fast mail goes, as people write it."""

from __future__ import annotations

import argparse
import re

__all__ = ["rate_of"]

_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}


def rate_of(text: str) -> float:
    """Read ``600/min`` or ``50/5m``: messages a second.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = re.fullmatch(r"(\d{1,7})/(\d{0,5})(s|min|m|h|d)", text.strip())
    if match is None or not int(match[1]) or match[2] == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is no rate such as 10/s, 600/min or 50/5m")
    return int(match[1]) / (int(match[2] or 1) * _UNITS[match[3]])
