"""The outbox of the asynchronous face: asyncio and trio.

No database here is asynchronous by itself: SQLite's library is not, and psycopg's knows no trio. So
the ledger's operations run in a thread, while the mail is sent by an `AsyncClient` in the loop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack
from weakref import WeakSet

from smtpx import AsyncClient, _checks
from smtpx._unbegun import Unbegun
from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.merging import Template
from smtpx.results import SendResult

from ._arguments import check_cursor, check_several, id_of
from ._asking import Sought, sought_of
from ._claiming import OwnerLost
from ._delivering import Round
from ._opening import check_url
from ._options import FIVE_DAYS, OutboxOptions, PutOptions, settings_of, terms_of
from ._preparing import AnyContent
from ._tls_reporting import reporting_async
from ._via import AsyncVia
from ._working import Working, stopped_by_sigterm
from .outbox import Outbox, Put
from .states import Delivery, Event, State, Submission

__all__ = ["AsyncOutbox"]

P = ParamSpec("P")
T = TypeVar("T")

# What one visit to the thread brings.
_PAGE = 500
# Seconds after which it is looked whether to stop.
_LOOK = 0.25


class AsyncOutbox:
    """An `Outbox` for asyncio and trio, with the same names, awaited.

    The ledger is opened by `async with`, or by the first call. Tasks may share it.
    """

    def __init__(self, url: str, **options: Unpack[OutboxOptions]) -> None:
        """Check the arguments, those of an `Outbox`; nothing is opened yet.

        Raises:
            ValueError, TypeError, AddressError: one of them is wrong.
        """
        check_url(url)
        _ = settings_of(options)
        self._make = partial(Outbox, url, **options)
        self._outbox: Outbox | None = None
        self._shifts: WeakSet[Working] = WeakSet()

    async def __aenter__(self) -> Self:
        _ = await self._opened()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _opened(self) -> Outbox:
        if self._outbox is None:
            made = await in_thread(self._make)
            if self._outbox is None:
                self._outbox = made
            else:
                made.close()  # Another task was quicker.
        return self._outbox

    async def close(self) -> None:
        """Close the ledger; it is opened again when it is needed."""
        if self._outbox is not None:
            self._outbox.close()

    async def put(
        self,
        message: AnyContent,
        envelope: Envelope | None = None,
        *,
        key: str | None = None,
        connection: object = None,
        **options: Unpack[PutOptions],
    ) -> str:
        """Keep a message until it is delivered; see `Outbox.put`.

        `connection` is an asynchronous one of psycopg, aiosqlite or SQLAlchemy. What `Outbox.put`
        takes will do, too.
        """
        outbox = await self._opened()
        if connection is None:
            return await in_thread(outbox.put, message, envelope, key=key, **options)
        if hasattr(connection, "__aenter__"):
            from ._borrowed import run_on_async

            operation, *arguments = await in_thread(
                outbox._putting, message, envelope, key, options, spools=False
            )
            (id,) = await run_on_async(connection, outbox._store, operation, *arguments)
            return str(id)
        # It is the caller's, and may be his thread's alone.
        return outbox.put(message, envelope, key=key, connection=connection, **options)

    def put_many(
        self, messages: Iterable[Put] | AsyncIterable[Put], **options: Unpack[PutOptions]
    ) -> AsyncIterator[str]:
        """Keep messages as they come; yield their ids: see `Outbox.put_many`."""
        _ = terms_of(options)
        if not isinstance(messages, AsyncIterable):
            check_several("messages", messages, "messages or tuples")
        unbegun = Unbegun("AsyncOutbox.put_many()", "no message is in the outbox", awaited=True)
        return self._put_many(unbegun, messages, options)

    async def _put_many(
        self,
        unbegun: Unbegun,
        messages: Iterable[Put] | AsyncIterable[Put],
        options: PutOptions,
    ) -> AsyncIterator[str]:
        unbegun.begin()
        outbox = await self._opened()
        if not isinstance(messages, AsyncIterable):
            ids = outbox.put_many(messages, **options)
            while page := await in_thread(_some, ids):
                for id in page:
                    yield id
            return
        several: list[Put] = []
        async for message in messages:
            several.append(message)
            if len(several) == _PAGE:
                for id in await in_thread(_all, outbox.put_many(several, **options)):
                    yield id
                several = []
        for id in await in_thread(_all, outbox.put_many(several, **options)):
            yield id

    async def put_merge(
        self,
        template: Template,
        rows: Iterable[Mapping[str, Any]],
        **options: Unpack[PutOptions],
    ) -> str:
        """Keep a copy of a template for each row of values; see `Outbox.put_merge`.

        The rows are read in a thread.
        """
        outbox = await self._opened()
        return await in_thread(outbox.put_merge, template, rows, **options)

    async def status(self, id: str) -> Submission:
        """All about one message; see `Outbox.status`."""
        return await in_thread((await self._opened()).status, id)

    async def counts(self, campaign: str | None = None) -> dict[State, int]:
        """How many recipients are in each state; see `Outbox.counts`."""
        return await in_thread((await self._opened()).counts, campaign)

    def find(
        self,
        *,
        state: State | None = None,
        recipient: str | Address | None = None,
        older_than: timedelta | None = None,
    ) -> AsyncIterator[Delivery]:
        """Some of the deliveries; see `Outbox.find`."""
        return self._find(sought_of(state, recipient, older_than))

    async def _find(self, sought: Sought) -> AsyncIterator[Delivery]:
        found = (await self._opened())._find(sought)
        while page := await in_thread(_some, found):
            for delivery in page:
                yield delivery

    async def cancel(self, id: str, *, recipient: str | Address | None = None) -> int:
        """Send nothing of a message any more; see `Outbox.cancel`."""
        return await in_thread((await self._opened()).cancel, id, recipient=recipient)

    async def retry(
        self,
        id: str,
        *,
        recipient: str | Address | None = None,
        expires: timedelta = FIVE_DAYS,
    ) -> int:
        """Try a message again at once; see `Outbox.retry`."""
        outbox = await self._opened()
        return await in_thread(outbox.retry, id, recipient=recipient, expires=expires)

    async def resolve(
        self, id: str, recipient: str | Address, outcome: Literal["accepted", "resend"]
    ) -> None:
        """Settle what is in doubt; see `Outbox.resolve`."""
        await in_thread((await self._opened()).resolve, id, recipient, outcome)

    async def purge(self, *, older_than: timedelta) -> int:
        """Forget messages of which all is over; see `Outbox.purge`."""
        return await in_thread((await self._opened()).purge, older_than=older_than)

    def events(self, after: int = 0) -> AsyncIterator[Event]:
        """What has become of messages; see `Outbox.events`."""
        check_cursor("after", after)
        return self._events(after)

    async def _events(self, after: int) -> AsyncIterator[Event]:
        found = (await self._opened())._events(after)
        while page := await in_thread(_some, found):
            for event in page:
                yield event

    async def report(self, callback: Callable[[Event], object], *, name: str = "default") -> int:
        """Call back with each new event, in a thread; see `Outbox.report`."""
        return await in_thread((await self._opened()).report, callback, name=name)

    async def run(
        self,
        via: AsyncVia,
        *,
        connections: int = 4,
        window: int | None = None,
        until_empty: bool = False,
    ) -> None:
        """Send what is due, and what will be, until `stop`, SIGTERM or a cancellation.

        See `Outbox.run`; `via` is a server's URL or an `AsyncClient`.
        """
        _checks.flag("until_empty", until_empty)
        outbox = await self._opened()
        shift = _Shift(outbox._core, via, AsyncClient, connections, window)
        self._shifts.add(shift)
        try:
            with stopped_by_sigterm(shift):
                async with shift, reporting_async(shift.client, lambda: shift.is_stopping):
                    while not shift.is_stopping:
                        _ = await in_thread(outbox._core.watcher.reap)
                        sent = await shift.rounds(None)
                        if await in_thread(outbox._core.report) or sent:
                            continue
                        if until_empty:
                            if shift.failure is not None:
                                raise shift.failure
                            limited = await in_thread(shift.is_limited)
                            if not (outbox._core.watcher.suspense or limited):
                                return
                        await shift.sleep()
        finally:
            self._shifts.discard(shift)

    def stop(self) -> None:
        """Have each `run` of this object return, once what is on its way has been answered."""
        for shift in [*self._shifts]:
            shift.stop()

    async def deliver(
        self, batch: str, via: AsyncVia, *, connections: int = 1, window: int | None = None
    ) -> None:
        """Send what is due of one batch; see `Outbox.deliver`."""
        outbox = await self._opened()
        _ = id_of("batch", batch)
        async with _Shift(outbox._core, via, AsyncClient, connections, window) as shift:
            while True:
                if not await shift.rounds(batch):
                    break
            _ = await in_thread(outbox._core.report)
            if shift.failure is not None:
                raise shift.failure

    async def reconcile(self) -> list[str]:
        """Take from dead workers what they had; see `Outbox.reconcile`."""
        return await in_thread((await self._opened()).reconcile)


class _Shift(Working):
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

    async def rounds(self, batch: str | None) -> int:
        """Send what is due of both kinds; the value is how many deliveries that were."""
        self.failure = None
        sent = 0
        for hold in (False, True):
            a_round = self.round(hold, batch)
            try:
                await self._send(a_round)
            except OwnerLost:
                await in_thread(self.renew)
            sent += self.judged(a_round)
            if self.failure is not None:
                break
        return sent

    async def _send(self, a_round: Round) -> None:
        async def mark(messages: Sequence[object], results: Sequence[SendResult]) -> list[bool]:
            return await in_thread(a_round.mark, messages, results)

        failure: BaseException | None = None
        try:
            results = self.client.send_many(
                _items(a_round), connections=self.connections, window=a_round.window, mark=mark
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

    async def sleep(self) -> None:
        """Wait until there may be something to do, or it is to stop."""
        left = await in_thread(self.pause)
        while not self.is_stopping and left > 0:
            await _sleep(min(left, _LOOK))
            left -= _LOOK


async def _hear(a_round: Round, result: SendResult) -> None:
    a_round.hear(result)
    if a_round.has_to_note:
        await in_thread(a_round.flush)


async def _items(a_round: Round) -> AsyncIterator[Any]:
    while items := await in_thread(a_round.more):
        for item in items:
            if a_round.is_stopping:
                return  # What was claimed and not begun is given back.
            yield item


def _some(items: Any) -> list[Any]:
    return list(islice(items, _PAGE))


def _all(items: Any) -> list[Any]:
    return list(items)


def _is_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())


async def _sleep(seconds: float) -> None:
    if _is_trio():
        import trio

        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def in_thread(call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call it in a thread, and wait until it is done, also where we are cancelled meanwhile."""
    bound = partial(call, *args, **named)
    if _is_trio():
        import trio

        return await trio.to_thread.run_sync(bound)
    future = asyncio.get_running_loop().run_in_executor(None, bound)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.cancelled():
            _ = await asyncio.wait([future])
        raise
