"""The asynchronous classes: `AsyncSession`, `AsyncClient`, and `asend()`, for asyncio and trio."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack

from smtpx import _checks
from smtpx._core.connection import Connection
from smtpx._core.delivery import Message, deliver
from smtpx._core.feeding import fed
from smtpx._core.housekeeping import ask, quit_session, reset, say
from smtpx._core.learnt import Learnt
from smtpx._core.naming import named
from smtpx._core.pool import PoolStatistics
from smtpx._core.steps import Steps
from smtpx._core.supply import Window
from smtpx._core.xclient import ClientAttributes, xclient
from smtpx._drivers.resumption import Handshakes
from smtpx._drivers.waiting import Deadline
from smtpx._drivers.worlds import AsyncDriver, World, current_world, dial
from smtpx._faces.arguments import check_many, check_pool
from smtpx._faces.arriving import Arriving
from smtpx._faces.course import Course
from smtpx._faces.forking import forks
from smtpx._faces.opening import Opening, Watch, not_reached, taken
from smtpx._faces.settings import SessionOptions, Settings
from smtpx._faces.taskpool import TaskPools, Turn
from smtpx._faces.tasksending import TaskSending
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, SMTPError
from smtpx.marking import Mark
from smtpx.options import PoolLimits
from smtpx.replies import Reply
from smtpx.results import SendResult
from smtpx.tls import Protection

T = TypeVar("T")


class AsyncSession:
    """A `Session` for asyncio and trio: whichever runs the task that opens it.

    A call that is cancelled closes the connection at once. If it was sending, what became of the
    message hangs on the cancellation as ``.result``, and a note names those for whom it is in
    doubt. Not to be shared between tasks; an `AsyncClient` is.

    The options are those of `SessionOptions`: tls, credentials, mechanisms, client_name,
    source_address, proxy, proxy_header, timeout, timeouts, limits, ignore_extensions, observer,
    signer, check. The dialogue also goes to the logger ``smtpx.wire`` at DEBUG.
    """

    def __init__(
        self,
        endpoint: str | Endpoint,
        *,
        socket: socket.socket | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        """Check the settings; nothing is dialled yet. See `Session`.

        Raises:
            EndpointError, LocalProtocolError: a setting is wrong.
        """
        self._settings = Settings.of(endpoint, **options)
        self._held = None if socket is None else taken(socket, self._settings)
        self._handshakes: Handshakes | None = None
        self._learnt = Learnt()
        self._world: World | None = None
        self._driver: AsyncDriver | None = None
        self._connection: Connection | None = None
        self._watch: Watch | None = None
        self._forks = forks()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, Exception):
            self.abort()  # Who is cancelled does not wait for a farewell.
        await self._close_by(Deadline(self._settings.timeouts.total))
        if error is None:
            self._heed_observer()

    async def open(self) -> None:
        """Dial, read the greeting, say EHLO, start TLS and log in, as the settings ask.

        Raises:
            SMTPError: as `Session.open`.
        """
        await self._open_by(Deadline(self._settings.timeouts.total))

    async def _open_by(self, deadline: Deadline) -> None:
        """Open the session as part of a call that has a deadline (private to smtpx)."""
        if self._connection is not None:
            raise LocalProtocolError("a session is opened once: make another one")
        settings = self._settings
        self._forks = forks()
        world = self._world = current_world()
        watch = self._watch = Watch(settings)
        connected = self._held
        try:
            handshakes = self._handshakes or settings.handshakes()
            connected = connected or await dial(
                world,
                settings.dialled,
                remaining=lambda: deadline.within(settings.timeouts.connect),
                sources=settings.sources,
            )
            opening = Opening(settings, handshakes, connected, watch, self._learnt)
            self._settings = settings.without_credentials()
        except BaseException as error:
            if connected is not None:
                connected.close()
            not_reached(error, settings)
            watch.closed(None, error)
            raise
        try:
            self._driver = await world.drive(connected, opening.handshake)
            self._connection = opening.connection
            await self._driver.run(opening.procedure(), deadline)
            handshakes.keep(opening.handshake)
            watch.heed()
        except BaseException as error:
            if self._driver is not None:
                self._driver.close()
            watch.closed(self._connection, error)
            raise

    def _resuming(self, handshakes: Handshakes, learnt: Learnt) -> Self:
        """Share with others of one client what is agreed and known (private to smtpx)."""
        self._handshakes, self._learnt = handshakes, learnt
        return self

    async def close(self) -> None:
        """Say QUIT, if the server still listens, and close the connection.

        Whatever the server does, it never fails, and what was accepted stays accepted.
        """
        await self._close_by(Deadline(self._settings.timeouts.total))
        self._heed_observer()

    async def _close_by(self, deadline: Deadline) -> None:
        """Close the session as part of a call that has a deadline (private to smtpx)."""
        if self._world is None or self._driver is None:
            return
        try:
            if self.is_open and self._connection is not None:
                _ = await self._driver.run(quit_session(self._connection), deadline)
                self._driver.part()
        finally:
            self.abort()
        await self._world.vanish()

    def abort(self) -> None:
        """Close the connection at once, without QUIT."""
        if self._forks != forks():
            return  # The loop that would close it is the parent's, as is the connection.
        if self._driver is not None:
            self._driver.close()
        if self._watch is not None:
            self._watch.closed(self._connection)

    def __repr__(self) -> str:
        return f"<AsyncSession {self._settings.endpoint}, {self._state}>"

    @property
    def _state(self) -> str:
        if self._connection is None:
            return "not open"
        return "open" if self.is_open else "closed"

    def _heed_observer(self) -> None:
        """Raise what the observer has raised meanwhile (private to smtpx)."""
        if self._watch is not None and self._watch.failure is not None:
            self._watch.heed()

    @property
    def is_open(self) -> bool:
        """True while commands can be sent, as far as is known without asking the server."""
        return (
            self._driver is not None
            and self._connection is not None
            and not self._driver.closed
            and self._connection.usable
            and self._forks == forks()
        )

    @property
    def greeting(self) -> Reply | None:
        """The server's first words."""
        return None if self._connection is None else self._connection.greeting

    @property
    def extensions(self) -> Extensions:
        """What the server offers, under the protection the session has now."""
        return NO_EXTENSIONS if self._connection is None else self._connection.extensions

    @property
    def protection(self) -> Protection | None:
        """What the TLS handshake agreed on; ``None`` without TLS."""
        return None if self._connection is None else self._connection.protection

    async def send(
        self,
        message: Message | AsyncIterable[bytes],
        envelope: Envelope | None = None,
        *,
        all_or_nothing: bool = False,
    ) -> SendResult:
        """Send one message; return what became of each recipient. See `Session.send`.

        The message may also be an asynchronous iterable of bytes, which is read a little ahead of
        what is sent. A file or an iterator is read without waiting for it, so it must not block
        for long.

        Raises:
            SMTPError: as `Session.send`.
        """
        course = Course(envelope, all_or_nothing=all_or_nothing)
        try:
            await self._send_by(course, message, Deadline(self._settings.timeouts.total))
            return course.verdict()
        except BaseException as error:
            course.hang_on(error)
            raise

    async def _send_by(
        self, course: Course, message: Message | AsyncIterable[bytes], deadline: Deadline
    ) -> None:
        """Send a message as part of a call that has a deadline (private to smtpx)."""
        if not isinstance(message, bytes) and isinstance(message, AsyncIterable):
            async with Arriving(message) as arriving:
                await self._send_by(course, arriving, deadline)
            return
        course.prepare(self._settings.check, message)
        await self._attempt(course, deadline)

    async def _carry(self, course: Course, message: Message | AsyncIterable[bytes]) -> None:
        """Open, send and close, by one deadline (private to smtpx)."""
        if not isinstance(message, bytes) and isinstance(message, AsyncIterable):
            async with Arriving(message) as arriving:
                await self._carry(course, arriving)
            return
        course.prepare(self._settings.check, message)
        deadline = Deadline(self._settings.timeouts.total)
        await self._open_by(deadline)
        try:
            await self._attempt(course, deadline)
        except Exception:
            await self._close_by(deadline.for_farewell())
            raise
        except BaseException:
            self.abort()  # Who is cancelled does not wait for a farewell.
            raise
        await self._close_by(deadline.for_farewell())
        self._heed_observer()

    async def _attempt(self, course: Course, deadline: Deadline) -> None:
        """Send a message; note in its course what becomes of it (private to smtpx).

        Raises:
            ExtensionMissing, LocalProtocolError, AddressError: nothing was sent.
            BaseException: the attempt was interrupted; or what the observer raised.
        """
        connection, driver = self._parts
        message = course.message
        try:
            procedure = deliver(
                connection, message, course.envelope, all_or_nothing=course.all_or_nothing
            )
            if isinstance(message, Arriving):
                procedure = fed(procedure, message)
                course.latest = await driver.run(procedure, deadline, message.more)
            else:
                course.latest = await driver.run(procedure, deadline)
        except BaseException as error:
            course.broke_off(connection, error)
            raise
        finally:
            if driver.closed or not connection.usable:
                self.abort()
        self._heed_observer()

    async def command(self, text: str) -> Reply:
        """Send any command that stands alone, such as ``ETRN example.org``; return its reply.

        Raises:
            LocalProtocolError: the text has control characters, or is a command with a procedure
                of its own.
        """
        return await self._run(say(self._parts[0], text))

    async def xclient(self, **attributes: Unpack[ClientAttributes]) -> Reply:
        """XCLIENT: say for which client we speak, where the server trusts us to (Postfix).

        The session starts anew, as that client's; the reply is that to the EHLO that follows.

        Raises:
            ExtensionMissing: the server does not offer XCLIENT, or not all of the attributes.
            ReplyError, HelloRefused: the server said no.
        """
        return await self._run(xclient(self._parts[0], attributes))

    async def verify(self, address: str) -> Reply:
        """VRFY: ask whether an address is known (RFC 5321 §3.5)."""
        return await self._run(ask(self._parts[0], "VRFY", "address", address))

    async def expand(self, mailing_list: str) -> Reply:
        """EXPN: ask for the members of a list (RFC 5321 §3.5)."""
        return await self._run(ask(self._parts[0], "EXPN", "mailing_list", mailing_list))

    async def help(self, topic: str = "") -> Reply:
        """HELP (RFC 5321 §4.1.1.8)."""
        return await self._run(ask(self._parts[0], "HELP", "topic", topic))

    async def noop(self) -> Reply:
        """NOOP: nothing, answered."""
        return await self.command("NOOP")

    async def reset(self) -> Reply:
        """RSET: give up the open mail transaction. `send` does it by itself where needed."""
        return await self._run(reset(self._parts[0]))

    @property
    def _parts(self) -> tuple[Connection, AsyncDriver]:
        """For those who run procedures of their own on it (private to smtpx).

        Raises:
            LocalProtocolError: it is not open, or the parent process's.
        """
        if self._connection is None or self._driver is None:
            raise LocalProtocolError("open the session first: `async with session:` or open()")
        if self._forks != forks():
            raise LocalProtocolError("this session is the parent process's: open another one")
        return self._connection, self._driver

    async def _run(self, procedure: Steps[T]) -> T:
        connection, driver = self._parts
        try:
            deadline = Deadline(self._settings.timeouts.total)
            value = await driver.run(named(connection, procedure), deadline)
        finally:
            if driver.closed or not connection.usable:
                self.abort()
        self._heed_observer()
        return value


class AsyncClient:
    """A `Client` for asyncio and trio: a few connections, opened when needed and kept.

    To be shared between tasks; each has a connection of its own while it sends. What is cancelled
    closes its connection, as in an `AsyncSession`. Each loop, also in threads side by side, has
    connections of its own, with the limits of the pool for each; so has the child after `fork`.

    The options are those of `SessionOptions`: tls, credentials, mechanisms, client_name,
    source_address, proxy, proxy_header, timeout, timeouts, limits, ignore_extensions, observer,
    signer, check. The dialogue also goes to the logger ``smtpx.wire`` at DEBUG.
    """

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
        settings = Settings.of(endpoint, **options)
        self._server = str(settings.endpoint)
        self._check = settings.check
        self._limits = check_pool(pool)
        self._total = settings.timeouts.total
        handshakes, learnt = settings.handshakes(), Learnt()
        self._pools = TaskPools(
            lambda: AsyncSession(endpoint, **options)._resuming(handshakes, learnt),
            self._limits,
            str(settings.endpoint),
        )

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
        # Who is cancelled does not wait for a farewell.
        await self.close(abort=error is not None and not isinstance(error, Exception))

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
        course = Course(envelope, all_or_nothing=all_or_nothing)
        try:
            await self._take(course, message, Deadline(self._total))
            return course.verdict()
        except BaseException as error:
            course.hang_on(error)
            raise

    async def _take(
        self, course: Course, message: Message | AsyncIterable[bytes], deadline: Deadline
    ) -> None:
        """Carry out what a message needs, over one session after the other."""
        if not isinstance(message, bytes) and isinstance(message, AsyncIterable):
            async with Arriving(message) as arriving:
                await self._take(course, arriving, deadline)
            return
        course.prepare(self._check, message)
        pool = self._pools.here()
        async with Turn(pool, deadline) as lease:
            await lease.session._attempt(course, deadline)
            while course.goes_on(lease):
                try:
                    await pool.replace(lease, deadline)
                    await lease.session._attempt(course, deadline)
                except SMTPError as error:
                    if not course.failed(error):
                        raise

    def send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope]]
        | AsyncIterable[Message | tuple[Message, Envelope]],
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
            SMTPError: no connection can be had; what was not sent by then is yielded before.
            TypeError, ValueError: as `Client.send_many`; raised by the call itself.
        """
        check_many(messages, connections, window, on_doubt, mark, self._limits)
        return self._send_many(messages, connections, window, on_doubt, mark)

    async def _send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope]]
        | AsyncIterable[Message | tuple[Message, Envelope]],
        connections: int,
        window: int,
        on_doubt: Literal["report", "resend"],
        mark: Mark | None,
    ) -> AsyncGenerator[SendResult, None]:
        async with TaskSending(
            self._pools.here(),
            messages,
            connections,
            Window(messages=window),
            resend_doubtful=on_doubt == "resend",
            check=self._check,
            mark=mark,
        ) as sending:
            results = sending.results
            while await sending.go_on():
                while results:
                    # Kept until the caller comes back: who is interrupted meanwhile loses none.
                    yield results[0]
                    _ = results.popleft()

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

    The options are those of a `Client`.

    Raises:
        SMTPError: as `Session.open` and `Session.send`.
    """
    session = AsyncSession(endpoint, **options)
    del endpoint  # R14: a password may stand in it, and a traceback may show locals.
    course = Course(envelope, all_or_nothing=all_or_nothing)
    try:
        await session._carry(course, message)
        return course.verdict()
    except BaseException as error:
        course.hang_on(error)
        raise
