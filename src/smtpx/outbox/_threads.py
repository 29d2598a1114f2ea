"""What blocks, called in a thread of the world that waits for it: asyncio or trio."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

__all__ = ["in_thread", "is_trio", "sleep"]

P = ParamSpec("P")
T = TypeVar("T")


def is_trio() -> bool:
    """True if trio runs whoever calls."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())


async def sleep(seconds: float) -> None:
    """Let others run for so long."""
    if is_trio():
        import trio

        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def in_thread(call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call it in a thread, and wait until it is done, also where we are cancelled meanwhile."""
    bound = partial(call, *args, **named)
    if is_trio():
        import trio

        return await trio.to_thread.run_sync(bound)
    future = asyncio.get_running_loop().run_in_executor(None, bound)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.cancelled():
            _ = await asyncio.wait([future])
        raise
