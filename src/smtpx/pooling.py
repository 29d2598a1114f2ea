"""What a pool of connections says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

from smtpx._values import Value

__all__ = ["CloseReason", "PoolStatistics"]


class CloseReason(Enum):
    """Why a slot was closed."""

    FAILED = "failed"
    """It was never opened: refused, unreachable or given up."""
    BROKEN = "broken"
    """Its user cannot answer for what comes next (R10)."""
    STALE = "stale"
    """It was found dead when it was to be used again."""
    IDLE_TIME = "idle time"
    AGE = "age"
    MESSAGES = "messages"
    SURPLUS = "surplus"
    """More were idle, or open, than there may be."""
    SHUTDOWN = "shutdown"


class PoolStatistics(Value, kw_only=True):
    """What a pool holds, and has done so far."""

    open: int
    """Connections that count against the bound: opening, busy and idle."""
    opening: int
    busy: int
    idle: int
    bound: int
    """How many may be open now: `PoolLimits.open`, or fewer after a refusal for load."""
    waiting: int
    """Callers who wait, for a connection or for the rate."""
    acquired: int
    """Callers who were given a connection, or leave to open one."""
    opened: int
    reused: int
    closed: Mapping[CloseReason, int]
    refused: int
    """Callers turned away because the pool was closed."""
    timed_out: int
    """Callers turned away because `PoolLimits.wait` was over."""
    cancelled: int
    """Callers who withdrew while they waited."""
    refused_for_load: int
    """Times that the server said it has too many connections."""
    connection_seconds: float
    """Seconds that callers, all together, have waited for a connection."""
    rate_seconds: float
    """Seconds that callers, all together, have waited for the rate."""

    def __reduce__(self) -> tuple[Any, ...]:
        # What shows a dict read-only is not pickled, and not copied either.
        return _statistics, ({name: getattr(self, name) for name in _SUMS}, dict(self.closed))


_SUMS = [name for name in PoolStatistics.__fields__ if name != "closed"]


def _statistics(sums: Mapping[str, Any], closed: Mapping[CloseReason, int]) -> PoolStatistics:
    return PoolStatistics(closed=MappingProxyType(dict(closed)), **sums)


def sum_of(figures: Sequence[PoolStatistics]) -> PoolStatistics:
    """The figures of several pools together."""
    closed: Counter[CloseReason] = Counter()
    for one in figures:
        closed.update(one.closed)
    return _statistics({name: sum(getattr(one, name) for one in figures) for name in _SUMS}, closed)
