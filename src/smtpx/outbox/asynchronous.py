"""The outbox of the asynchronous face: asyncio and trio.

No database here is asynchronous by itself: SQLite's library is not, and psycopg's knows no trio. So
the ledger's operations run in a thread, while the mail is sent by an `AsyncClient` in the loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from smtpx import AsyncClient, _checks
from smtpx._unbegun import Unbegun
from smtpx._uncopied import Uncopied
from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.merging import Template

from ._arguments import check_cursor, check_several, id_of
from ._asking import Sought, sought_of
from ._async_shift import AsyncShift
from ._intake import Put
from ._opening import check_url
from ._options import FIVE_DAYS, OutboxOptions, PutOptions, settings_of, terms_of
from ._preparing import AnyContent
from ._stopping import Running
from ._threads import in_thread
from ._tls_reporting import reporting_async
from ._via import AsyncVia
from ._working import stopped_by_sigterm
from .outbox import Outbox
from .states import Counts, Delivery, Event, State, Submission

__all__ = ["AsyncOutbox"]

# What one visit to the thread brings.
_PAGE = 500


class AsyncOutbox(Uncopied):
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
        self._running = Running()

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
                outbox._intake.operation, message, envelope, key, options, spools=False
            )
            (id,) = await run_on_async(connection, outbox._store, operation, *arguments)
            return str(id)
        # It is the caller's, and may be his thread's alone.
        return outbox.put(message, envelope, key=key, connection=connection, **options)

    def put_many(
        self, messages: Iterable[Put] | AsyncIterable[Put], **options: Unpack[PutOptions]
    ) -> AsyncIterator[str]:
        """Keep messages as they come; yield their ids: see `Outbox.put_many`."""
        _ = terms_of(options, 0.0)
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

    async def counts(self, campaign: str | None = None) -> Counts:
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
        shift = AsyncShift(outbox._core, via, AsyncClient, connections, window)
        with self._running.begun(shift), stopped_by_sigterm(shift):
            async with shift, reporting_async(shift.client, lambda: shift.is_stopping):
                await shift.work(until_empty=until_empty)

    def stop(self) -> None:
        """Have each `run` of this object return, once what is on its way has been answered.

        Where none has begun, as a task that was only made, the next one returns at once.
        """
        self._running.stop()

    async def deliver(
        self, batch: str, via: AsyncVia, *, connections: int = 1, window: int | None = None
    ) -> bool:
        """Send what is due of one batch; see `Outbox.deliver`."""
        outbox = await self._opened()
        _ = id_of("batch", batch)
        async with AsyncShift(outbox._core, via, AsyncClient, connections, window) as shift:
            return await shift.deliver(batch)

    async def wake(self, batches: Iterable[str]) -> None:
        """Have the dispatcher call for what was put in; see `Outbox.wake`."""
        await in_thread((await self._opened()).wake, batches)

    async def reconcile(self) -> list[str]:
        """Take from dead workers what they had; see `Outbox.reconcile`."""
        return await in_thread((await self._opened()).reconcile)


def _some(items: Any) -> list[Any]:
    return list(islice(items, _PAGE))


def _all(items: Any) -> list[Any]:
    return list(items)
