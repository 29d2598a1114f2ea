"""A worker of asyncio and trio: it asks the ledger in a thread, and sends the mail in the loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from smtpx.errors import SMTPError
from smtpx.pausing import NOTHING_YET
from smtpx.results import SendResult

from ._claiming import OwnerLost
from ._delivering import Round
from ._threads import in_thread, sleep
from ._working import Working

__all__ = ["AsyncShift"]

# Seconds after which it is looked whether to stop.
_LOOK = 0.25


class AsyncShift(Working):
    """A worker of the asynchronous face."""

    is_async = True

    async def __aenter__(self) -> Self:
        await in_thread(self.begin)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # In the loop: what is cancelled may wait for nothing, and this is short.
        try:
            self.end(error)
        finally:
            if self.own is not None:
                is_cancelled = error is not None and not isinstance(error, Exception)
                await self.own.close(abort=is_cancelled)

    async def work(self, *, until_empty: bool) -> None:
        """Send what is due, and what will be, until it is to stop."""
        with self.tending():
            await self._work(until_empty=until_empty)

    async def _work(self, *, until_empty: bool) -> None:
        while not self.is_stopping:
            # What dead workers had may be due again, and then is in the round that follows.
            _ = await in_thread(self._core.watcher.reap)
            sent = await self._send_due(None)
            if await in_thread(self._core.report) or sent:
                continue
            if until_empty:
                if self.failure is not None:
                    raise self.failure
                limited = await in_thread(self.is_limited)
                if not (self._core.watcher.suspense or limited):
                    return
            await self._sleep()

    async def deliver(self, batch: str) -> bool:
        """Send what is due of one batch; the value is false if some of that is left."""
        while await self._send_due(batch):
            pass
        _ = await in_thread(self._core.report)
        if self.failure is not None:
            raise self.failure
        return not await in_thread(self.is_left, batch)

    async def _send_due(self, batch: str | None) -> int:
        """Send what is due; the value is how many deliveries that were."""
        self.failure = None
        a_round = self.round(batch)
        try:
            await self._send(a_round, batch)
        except OwnerLost:
            await in_thread(self.renew)
        return self.judged(a_round)

    async def _send(self, a_round: Round, batch: str | None) -> None:
        async def mark(messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
            return await in_thread(a_round.mark, messages, results)

        failure: BaseException | None = None
        try:
            results = self.client.send_many(
                self._items(a_round),
                connections=self.connections,
                window=self.window,
                mark=mark,
            )
            async with aclosing(results):
                async for result in results:
                    await _hear(a_round, result)
        except SMTPError as error:
            failure = error
            self.fail(error)
        except BaseException as error:
            failure = error
            raise
        finally:
            a_round.end(failure)

    async def _items(self, a_round: Round) -> AsyncIterator[Any]:
        """What is due; and as long as that is on its way, what will be."""
        while True:
            a_round.go_on()
            items = await in_thread(a_round.more)
            for item in items:
                if a_round.is_stopping:
                    return  # What was claimed and not begun is given back.
                yield item
            if items:
                continue
            if not await in_thread(a_round.goes_on):
                return
            yield NOTHING_YET

    async def _sleep(self) -> None:
        """Wait until there may be something to do, or it is to stop."""
        left = await in_thread(self.pause)
        while not self.is_stopping and left > 0:
            await sleep(min(left, _LOOK))
            left -= _LOOK


async def _hear(a_round: Round, result: SendResult) -> None:
    a_round.hear(result)
    if a_round.has_to_note:
        await in_thread(a_round.flush)
