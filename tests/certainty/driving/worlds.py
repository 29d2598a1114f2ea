"""asyncio, uvloop and trio behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio

from tests.certainty.judge import Told

Call: TypeAlias = Callable[[], Any]


class Asyncio:
    Cancelled = asyncio.CancelledError

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def all_of(self, calls: list[Call]) -> None:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                _ = group.create_task(call())

    async def cancelled_after(self, seconds: float, call: Call) -> None:
        """Make a call, and cancel it if it takes so long."""
        task = asyncio.ensure_future(call())
        handle = asyncio.get_running_loop().call_later(seconds, task.cancel)
        _ = await asyncio.wait([task])
        handle.cancel()
        if not task.cancelled():
            task.result()


class Trio:
    Cancelled = trio.Cancelled

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def all_of(self, calls: list[Call]) -> None:
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(call)

    async def cancelled_after(self, seconds: float, call: Call) -> None:
        with trio.move_on_after(seconds):
            await call()


World: TypeAlias = Asyncio | Trio


def run(name: str, main: Callable[[World], Awaitable[None]], told: Told) -> None:
    """Run it in the world of that name; tasks that outlive it are a violation."""
    if name == "trio":
        trio.run(_without_tasks_of_trio, main, told)
        return
    factory = None
    if name == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(
            lambda _, about: told.problem("noise of the loop", str(about))
        )
        runner.run(_without_tasks(main, told))


async def _without_tasks(main: Callable[[World], Awaitable[None]], told: Told) -> None:
    await main(Asyncio())
    left: set[Any] = set()
    for _ in range(20):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0.005)
    told.problem("a leaked task", str(left))


async def _without_tasks_of_trio(main: Callable[[World], Awaitable[None]], told: Told) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    await main(Trio())
    for _ in range(20):
        left = trio.lowlevel.current_statistics().tasks_living - before
        if left <= 0:
            return
        await trio.sleep(0.005)
    told.problem("a leaked task", f"{left} of trio's")
