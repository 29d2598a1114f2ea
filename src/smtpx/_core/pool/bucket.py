"""How fast messages go: a token bucket."""

from __future__ import annotations

import math


class Bucket:
    """A token bucket as one number: when it is full again. A token lets one message go."""

    __slots__ = ("_burst", "_full_at", "_interval", "ready_at")

    def __init__(self, rate: float | None, burst: int) -> None:
        self._interval = 0.0 if rate is None else 1 / rate
        self._burst = burst
        self._fill_at(-math.inf)

    def _fill_at(self, moment: float) -> None:
        self._full_at = moment
        self.ready_at = moment - (self._burst - 1) * self._interval
        """When there is a token."""

    def take(self, now: float, wanted: int) -> int:
        """Take as many as there are, up to `wanted`; not before `ready_at`, so that is one."""
        if not self._interval:
            return wanted
        full_at = max(self._full_at, now)
        # The rounding of two moments must not cost the token that is there.
        there = int(self._burst - (full_at - now) / self._interval + 1e-6)
        taken = max(1, min(wanted, there))
        self._fill_at(full_at + taken * self._interval)
        return taken

    def put_back(self, tokens: int) -> None:
        """Give back what was taken and not used."""
        self._fill_at(self._full_at - tokens * self._interval)
