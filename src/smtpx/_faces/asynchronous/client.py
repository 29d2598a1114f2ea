"""A server as an application sees it: `AsyncClient`, and `asend()`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from types import TracebackType
from typing import Literal, Self, Unpack

from smtpx import _checks
from smtpx._accounting import account_again
from smtpx._core.given import Message
from smtpx._core.learnt import Learnt
from smtpx._core.streaming.supply import Window
from smtpx._drivers.waiting import Deadline
from smtpx._ends import no_end
from smtpx._faces.arguments import check_many, check_pool
from smtpx._faces.asynchronous.arriving import close, readable
from smtpx._faces.asynchronous.many import TaskSending
from smtpx._faces.asynchronous.pool import TaskPools, Turn
from smtpx._faces.asynchronous.session import AsyncSession
from smtpx._faces.course import Course
from smtpx._faces.keywords import SessionOptions
from smtpx._faces.settings import Settings
from smtpx._unbegun import Unbegun
from smtpx._uncopied import Uncopied
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.marking import Mark
from smtpx.options import PoolLimits
from smtpx.pausing import NothingYet
from smtpx.pooling import PoolStatistics
from smtpx.results import SendResult


class AsyncClient(Uncopied):
    """A `Client` for asyncio and trio: a few connections, opened when needed and kept.

    To be shared between tasks; each has a connection of its own while it sends. What is cancelled
    closes its connection, as in an `AsyncSession`. Each loop, also in threads side by side, has
    connections of its own, as many as the pool's limits allow. So has the child after `fork`.

    The options are those of `SessionOptions`: tls, credentials, mechanisms, client_name,
    source_address, proxy, proxy_header, timeout, timeouts, limits, ignore_extensions, observer,
    signer, check. The dialogue also goes to the logger ``smtpx.wire`` at DEBUG.
    """

    __module__ = "smtpx"

    def __init__(
        self,
        endpoint: str | Endpoint,
        *,
        pool: PoolLimits | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        """Check the settings, those of a `Session`; nothing is dialled yet.

        `pool` bounds the connections: how many, how long, how many messages, how fast.

        Raises:
            EndpointError, LocalProtocolError: a setting is wrong.
        """
        try:
            settings = Settings.of(endpoint, **options)
            self._limits = check_pool(pool)
        except Exception:
            del endpoint, options  # R14
            raise
        self._server = str(settings.endpoint)
        self._check = settings.check
        self._total = settings.timeouts.total
        handshakes, learnt = settings.handshakes(), Learnt()
        self._pools = TaskPools(
            lambda: AsyncSession(endpoint, **options)._resuming(handshakes, learnt),
            self._limits,
            str(settings.endpoint),
        )

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<AsyncClient {self._server}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, Exception):
            self._pools.abort()  # A task that is cancelled waits for nothing.
        else:
            await self.close()

    async def send(
        self,
        message: Message | AsyncIterable[bytes],
        envelope: Envelope | None = None,
        *,
        all_or_nothing: bool = False,
    ) -> SendResult:
        """Send one message, over a connection that is free or new; see `AsyncSession.send`.

        A connection that turns out to have been closed while it was idle is replaced by a new one.

        Raises:
            TimedOut: no connection was free for too long.
            SMTPError: as `Session.open` and `Session.send`.
        """
        course = Course(envelope, all_or_nothing)
        given = readable(message)
        try:
            try:
                course.prepare(self._check, given)
                await self._take(course, Deadline.after(self._total))
            finally:
                if given is not message:
                    await close(given)
            return course.verdict()
        except BaseException as error:
            try:
                course.hang_on(error)
            except BaseException as another:
                account_again(course.hang_on, another)
                raise
            raise

    async def _take(self, course: Course, deadline: Deadline) -> None:
        """Carry out what a message needs, over one session after the other."""
        pool = self._pools.here()
        async with Turn(pool, deadline) as lease:
            await lease.session._attempt(course, deadline)
            while True:
                if not course.goes_on(lease, deadline):
                    break
                with course.another_attempt():
                    await pool.replace(lease, deadline)
                    await lease.session._attempt(course, deadline)

    def send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope] | NothingYet]
        | AsyncIterable[Message | tuple[Message, Envelope] | NothingYet],
        *,
        connections: int = 1,
        window: int = 64,
        on_doubt: Literal["report", "resend"] = "report",
        mark: Mark | None = None,
    ) -> AsyncGenerator[SendResult, None]:
        """Send messages as they come, pipelined; yield what became of each as it is known.

        See `Client.send_many`. The connections are at work in the background while the caller is
        busy with a result, until so many are waiting for it. They have ended when the iterator has
        been read to its end, or closed: `contextlib.aclosing` closes it where a `break` leaves it.

        Raises:
            SMTPError: no connection can be had. Each message that was read has had its result
                before: take them in a loop, for `list()` would lose them all.
            TypeError, ValueError: as `Client.send_many`; raised by the call itself.
        """
        check_many(messages, connections, window, on_doubt, mark, self._limits)
        unbegun = Unbegun("AsyncClient.send_many()", "nothing was sent", awaited=True)
        return self._send_many(unbegun, messages, connections, window, on_doubt, mark)

    async def _send_many(
        self,
        unbegun: Unbegun,
        messages: Iterable[Message | tuple[Message, Envelope] | NothingYet]
        | AsyncIterable[Message | tuple[Message, Envelope] | NothingYet],
        connections: int,
        window: int,
        on_doubt: Literal["report", "resend"],
        mark: Mark | None,
    ) -> AsyncGenerator[SendResult, None]:
        unbegun.begin()
        sending = TaskSending(
            self._pools.here(),
            messages,
            connections,
            Window(messages=window),
            resend_doubtful=on_doubt == "resend",
            check=self._check,
            mark=mark,
        )
        results = sending.results
        try:
            async with sending:
                while True:
                    if not await sending.go_on():
                        break
                    while True:
                        if not results:
                            break
                        # Kept until the caller comes back: an interruption meanwhile loses none.
                        yield results[0]
                        _ = results.popleft()
        except BaseException as error:
            reason = error
            try:
                reason = no_end(error, "what send_many was given")
                sending.tell(reason)
            except BaseException as another:
                account_again(sending.tell_elsewhere, another)
                raise
            if reason is not error:
                raise reason from error
            raise

    def statistics(self) -> PoolStatistics:
        """What the pool of connections holds, and has done so far."""
        return self._pools.statistics()

    async def close(self, *, abort: bool = False) -> None:
        """Close the connections; those in use when they are done, or with `abort` at once.

        Nothing can be sent any more.
        """
        _checks.flag("abort", abort)
        await self._pools.close(abort=abort)


async def asend(
    message: Message | AsyncIterable[bytes],
    endpoint: str | Endpoint,
    envelope: Envelope | None = None,
    *,
    all_or_nothing: bool = False,
    **options: Unpack[SessionOptions],
) -> SendResult:
    """Send one message over a connection of its own; see `AsyncSession.send`.

    The options are those of a `Client`. It is one session: where a server takes but so many domains
    in one (RFC 9422 §4.3), recipients in others are told as not tried. An
    `AsyncClient` opens another.

    Raises:
        SMTPError: as `Session.open` and `Session.send`.
    """
    try:
        session = AsyncSession(endpoint, **options)
    finally:
        del endpoint, options  # R14: passwords may stand in them, and a traceback may show locals.
    course = Course(envelope, all_or_nothing)
    try:
        given = readable(message)
        try:
            course.prepare(session._settings.check, given)
            await session._carry(course)
        finally:
            if given is not message:
                await close(given)
        return course.verdict()
    except BaseException as error:
        try:
            course.hang_on(error)
        except BaseException as another:
            account_again(course.hang_on, another)
            raise
        raise


asend.__module__ = "smtpx"
