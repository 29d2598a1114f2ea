"""TLS reports beside the mail: while a worker runs, a delivery sends those that are due."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from smtpx._starting import Joined

__all__ = ["reporting", "reporting_async"]

_LOG = logging.getLogger("smtpx.outbox")
# Seconds between two looks whether a report is due.
_PAUSE = 60.0
_LOOK = 0.25


def _reports(via: Any) -> bool:
    return getattr(via, "reports", None) is not None


@contextmanager
def reporting(via: Any, is_stopping: Callable[[], bool]) -> Generator[None, None, None]:
    """Have it send its reports, if it has any, in a thread.

    At the end all that are due are sent; where the worker is stopping, the one on its way.
    """
    if not _reports(via):
        yield
        return
    stop = threading.Event()

    def run() -> None:
        while True:
            try:
                while True:
                    if not via.send_reports(most=1) or is_stopping():
                        break
            except Exception as error:
                _LOG.warning("no TLS reports were sent: %s", error)
            if stop.wait(_PAUSE):
                return

    thread = Joined(run, "smtpx.outbox.reports")
    try:
        thread.start()
        yield
    finally:
        stop.set()
        thread.join()


@asynccontextmanager
async def reporting_async(via: Any, is_stopping: Callable[[], bool]) -> AsyncGenerator[None, None]:
    """The same in a task; one that is cancelled breaks off what is on its way."""
    if not _reports(via):
        yield
        return
    stop = threading.Event()

    async def run(sleep: Callable[[float], Awaitable[None]]) -> None:
        while True:
            try:
                while True:
                    if not await via.send_reports(most=1) or is_stopping():
                        break
            except Exception as error:
                _LOG.warning("no TLS reports were sent: %s", error)
            left = _PAUSE
            while left > 0 and not stop.is_set():
                await sleep(_LOOK)
                left -= _LOOK
            if stop.is_set():
                return

    beside = _in_trio if _is_trio() else _in_asyncio
    async with beside(run):
        try:
            yield
        finally:
            stop.set()


def _is_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())


@asynccontextmanager
async def _in_asyncio(run: Callable[..., Awaitable[None]]) -> AsyncGenerator[None, None]:
    task = asyncio.ensure_future(run(asyncio.sleep))
    try:
        yield
        await task
    finally:
        _ = task.cancel()
        _ = await asyncio.wait([task])


@asynccontextmanager
async def _in_trio(run: Callable[..., Awaitable[None]]) -> AsyncGenerator[None, None]:
    # Not in a nursery: what is raised beside it would come out of that as a group.
    import trio

    scope, over = trio.CancelScope(), trio.Event()

    async def scoped() -> None:
        with scope:
            await run(trio.sleep)
        over.set()

    _ = trio.lowlevel.spawn_system_task(scoped)
    try:
        yield
        await over.wait()
    finally:
        scope.cancel()
        with trio.CancelScope(shield=True):
            await over.wait()
