"""Which asynchronous world is calling."""

from __future__ import annotations

import sys

from smtpx._drivers.world import World
from smtpx._loading import loading


def current_world() -> World:
    """The world whose task is calling: trio's where one of its tasks does, else asyncio."""
    with loading("a loop"):
        if "trio" in sys.modules:
            import trio

            if trio.lowlevel.in_trio_task():
                from smtpx._drivers import trio_world

                return trio_world
        from smtpx._drivers import asyncio_world

        return asyncio_world
