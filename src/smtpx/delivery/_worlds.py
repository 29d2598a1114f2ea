"""What asynchronous delivery needs of asyncio and trio, besides the sessions."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

__all__ = ["in_trio", "pause", "together"]

T = TypeVar("T")
A = TypeVar("A")


def in_trio() -> bool:
    """True in a task of trio; else asyncio runs the task."""
    if "trio" not in sys.modules:
        return False
    import trio.lowlevel

    return trio.lowlevel.in_trio_task()


async def pause(seconds: float) -> None:
    """Wait."""
    if in_trio():
        import trio

        await trio.sleep(seconds)
    else:
        import asyncio

        await asyncio.sleep(seconds)


async def together(call: Callable[[A], Awaitable[T]], arguments: Sequence[A]) -> list[T]:
    """Call for each argument at once; what they return, in order."""
    if len(arguments) == 1:
        return [await call(arguments[0])]
    found: dict[int, T] = {}

    async def one(place: int) -> None:
        found[place] = await call(arguments[place])

    if in_trio():
        import trio

        async with trio.open_nursery() as nursery:
            for place in range(len(arguments)):
                nursery.start_soon(one, place)
    else:
        import asyncio

        async with asyncio.TaskGroup() as group:
            for place in range(len(arguments)):
                _ = group.create_task(one(place))
    return [found[place] for place in range(len(arguments))]
