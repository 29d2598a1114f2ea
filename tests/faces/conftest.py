"""Every face seen as the blocking one, so that one suite holds for all.

What is asynchronous runs in a loop of the test's own, which stands still between two calls.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, Protocol, TypeVar

import pytest
import trio
import trio.lowlevel

import smtpx

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:
    uvloop = None

T = TypeVar("T")


class Runner(Protocol):
    """Runs coroutines one after the other, all in the same run of a loop."""

    def run(self, call: Callable[[], Awaitable[T]]) -> T: ...

    def close(self) -> None: ...


class AsyncioRunner:
    def __init__(self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        self._runner = asyncio.Runner(loop_factory=loop_factory)
        self._unhandled: list[object] = []
        self._runner.get_loop().set_exception_handler(lambda _, context: self._note(context))

    def _note(self, context: object) -> None:
        self._unhandled.append(context)

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        async def main() -> T:
            return await call()

        try:
            return self._runner.run(main())
        except KeyboardInterrupt:
            # It broke off the loop, which would go on to its end were it not ours.
            self._runner.run(asyncio.sleep(0.01))
            raise

    def close(self) -> None:
        async def tasks() -> set[asyncio.Task[Any]]:
            return asyncio.all_tasks() - {asyncio.current_task()}

        left = self._runner.run(tasks())
        self._runner.close()
        assert not left
        assert not self._unhandled


class TrioRunner:
    """A run of trio as the guest of whoever calls, who lends it time for the length of a call."""

    def __init__(self) -> None:
        self._turns: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._calls, arriving = trio.open_memory_channel[Callable[[], Awaitable[None]] | None](1)
        self._running = True
        trio.lowlevel.start_guest_run(
            self._main,
            arriving,
            run_sync_soon_threadsafe=self._turns.put,
            done_callback=self._done,
            restrict_keyboard_interrupt_to_checkpoints=True,
        )

    async def _main(
        self, arriving: trio.MemoryReceiveChannel[Callable[[], Awaitable[None]] | None]
    ) -> None:
        while (call := await arriving.receive()) is not None:
            await call()

    def _done(self, _: object) -> None:
        self._running = False

    def _hand_over(self, call: Callable[[], Awaitable[None]] | None) -> None:
        self._turns.put(lambda: self._calls.send_nowait(call))

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        ended: list[tuple[T | None, BaseException | None]] = []

        async def noted() -> None:
            try:
                ended.append((await call(), None))
            except BaseException as error:
                ended.append((None, error))

        self._hand_over(noted)
        while not ended:
            self._turns.get()()
        value, error = ended[0]
        if error is not None:
            raise error
        return value  # type: ignore[return-value] # what the call returned

    def close(self) -> None:
        self._hand_over(None)
        while self._running:
            self._turns.get()()


class View:
    """An asynchronous object whose calls block."""

    def __init__(self, target: Any, runner: Runner) -> None:
        self.target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.target, name)
        if inspect.iscoroutinefunction(value):
            return lambda *args, **options: self._runner.run(lambda: value(*args, **options))
        if name == "send_many":
            return lambda *args, **options: self._each(value(*args, **options))
        return value

    def _each(self, items: AsyncGenerator[Any]) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._runner.run(items.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(items.aclose)

    def __enter__(self) -> Any:
        self._runner.run(self.target.__aenter__)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._runner.run(lambda: self.target.__aexit__(*raised))


class Face:
    """The public classes, as blocking ones."""

    def __init__(self, name: str, runner: Runner | None) -> None:
        self.name = name
        self.runner = runner

    def share_of(self, count: int) -> range:
        """Those of so many that fall to this face, where all that differ fall to some face."""
        return range(FACES.index(self.name), count, len(FACES))

    def _view(self, target: Any) -> Any:
        return target if self.runner is None else View(target, self.runner)

    def session(self, *args: Any, **options: Any) -> Any:
        kind = smtpx.Session if self.runner is None else smtpx.AsyncSession
        return self._view(kind(*args, **options))

    def client(self, *args: Any, **options: Any) -> Any:
        kind = smtpx.Client if self.runner is None else smtpx.AsyncClient
        return self._view(kind(*args, **options))

    def send(self, *args: Any, **options: Any) -> Any:
        if self.runner is None:
            return smtpx.send(*args, **options)
        return self.runner.run(lambda: smtpx.asend(*args, **options))

    def at_once(self, count: int, client: Any, times: int, *message: Any) -> list[Exception]:
        """Have so many threads, or tasks, each send a message so many times; return the errors."""
        errors: list[Exception] = []

        def send() -> None:
            try:
                for _ in range(times):
                    _ = client.send(*message)
            except Exception as error:
                errors.append(error)

        async def asend() -> None:
            try:
                for _ in range(times):
                    _ = await client.target.send(*message)
            except Exception as error:
                errors.append(error)

        if self.runner is not None:
            self.runner.run(together([asend] * count))
            return errors
        threads = [threading.Thread(target=send) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return errors

    def in_child(self, client: Any) -> Any:
        """The same client after a fork, where the loop is another one."""
        runner = runner_of(self.name)
        return client if runner is None else View(client.target, runner)


def together(calls: Sequence[Callable[[], Awaitable[Any]]]) -> Callable[[], Awaitable[None]]:
    """All of these calls side by side, as one."""

    async def main() -> None:
        if trio.lowlevel.in_trio_task():
            async with trio.open_nursery() as nursery:
                for call in calls:
                    nursery.start_soon(call)
        else:
            _ = await asyncio.gather(*[call() for call in calls])

    return main


async def turn() -> None:
    """Let the loop do what it has to do."""
    for _ in range(3):
        if trio.lowlevel.in_trio_task():
            await trio.lowlevel.checkpoint()
        else:
            await asyncio.sleep(0)


def runner_of(name: str) -> Runner | None:
    if name == "sync":
        return None
    if name == "trio":
        return TrioRunner()
    if name == "uvloop":
        assert uvloop is not None
        return AsyncioRunner(uvloop.new_event_loop)
    return AsyncioRunner()


ASYNCHRONOUS = ["asyncio", "trio"] + (["uvloop"] if uvloop is not None else [])
FACES = ["sync", *ASYNCHRONOUS]


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    runner = runner_of(request.param)
    yield Face(request.param, runner)
    if runner is not None:
        runner.close()


@pytest.fixture(params=ASYNCHRONOUS)
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    runner = runner_of(request.param)
    assert runner is not None
    yield runner
    runner.close()
