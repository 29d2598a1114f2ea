"""What a task of asyncio's waits for ends, whatever is interrupted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from smtpx._drivers.asyncio_wait import Wait

pytestmark = pytest.mark.timeout(10)


@pytest.mark.parametrize("is_scheduled", [False, True])
def test_a_wait_whose_end_is_interrupted_can_be_ended(is_scheduled: bool) -> None:
    """As by Ctrl-C, before the loop has taken what it is to call, or after."""

    async def main() -> list[str]:
        loop: Any = asyncio.get_running_loop()
        went_on: list[str] = []
        waits: list[Wait] = []

        def call_soon(*args: Any, **options: Any) -> None:
            del loop.call_soon
            if is_scheduled:
                loop.call_soon(*args, **options)
            raise KeyboardInterrupt

        async def wait() -> None:
            for name in ("first", "second"):
                waits.append(Wait(loop))
                await waits[-1]
                went_on.append(name)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        loop.call_soon = call_soon
        with pytest.raises(KeyboardInterrupt):
            waits[0].end()
        waits[0].end()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert went_on == ["first"]
        waits[1].end()
        await task
        return went_on

    assert asyncio.run(main()) == ["first", "second"]
