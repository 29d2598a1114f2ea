"""The asynchronous classes: `AsyncSession`, `AsyncClient`, and `asend()`, for asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeVar, Unpack, cast

from smtpx._core.authentication import log_in
from smtpx._core.connection import Connection
from smtpx._core.delivery import Message, deliver
from smtpx._core.housekeeping import quit_session, reset, say
from smtpx._core.opening import open_session
from smtpx._core.steps import Steps
from smtpx._core.supply import Outgoing, not_sent
from smtpx._drivers.contexts import context_for
from smtpx._drivers.dialling import address_literal, is_local
from smtpx._drivers.waiting import Deadline
from smtpx._drivers.worlds import AsyncDriver, World, current_world, dial
from smtpx._faces.settings import SessionOptions, Settings
from smtpx._faces.sync import _observer
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import (
    AddressError,
    ConnectionLost,
    ExtensionMissing,
    LocalProtocolError,
    SMTPError,
)
from smtpx.replies import Reply
from smtpx.results import SendResult

T = TypeVar("T")

# What is wrong with one message, and not with the connection.
_UNSENDABLE = (LocalProtocolError, AddressError, ExtensionMissing, TypeError)


class AsyncSession:
    """A `Session` for asyncio and trio: whichever runs the task that opens it.

    A call that is cancelled closes the connection at once. If it was sending, what became of the
    message hangs on the cancellation as ``.result``, and a note names those for whom it is in
    doubt. Not to be shared between tasks; an `AsyncClient` is.
    """

    def __init__(self, endpoint: str | Endpoint, **options: Unpack[SessionOptions]) -> None:
        """Check the settings; nothing is dialled yet. See `Session`.

        Raises:
            EndpointError, LocalProtocolError: a setting is wrong.
        """
        self._settings = Settings.of(endpoint, **options)
        self._world: World | None = None
        self._driver: AsyncDriver | None = None
        self._connection: Connection | None = None

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
        await self.close()

    async def open(self) -> None:
        """Dial, read the greeting, say EHLO, start TLS and log in, as the settings ask.

        Raises:
            SMTPError: as `Session.open`.
        """
        if self._connection is not None:
            raise LocalProtocolError("a session is opened once: make another one")
        settings = self._settings
        deadline = Deadline(settings.timeouts.total)
        world = self._world = current_world()
        connected = await dial(
            world,
            settings.endpoint,
            remaining=lambda: deadline.within(settings.timeouts.connect),
            source_address=settings.source_address,
        )
        try:
            local = is_local(connected)
            policy = settings.policy(peer_is_local=local)
            context = context_for(policy)
            name = settings.client_name or address_literal(connected)
        except BaseException:
            connected.close()
            raise
        hostname = policy.server_hostname or settings.endpoint.host
        driver = self._driver = await world.drive(connected, context, hostname)
        connection = self._connection = Connection(
            lmtp=settings.endpoint.lmtp,
            local=local,
            timeouts=settings.timeouts,
            limits=settings.limits,
            observer=_observer(settings.observer),
        )
        try:
            await self._run(open_session(connection, name, policy.mode), deadline)
            if settings.credentials is not None:
                _ = await self._run(log_in(connection, settings.credentials), deadline)
        except BaseException:
            driver.close()
            raise

    async def close(self) -> None:
        """Say QUIT, if the server still listens, and close the connection. Never fails.

        What was accepted stays accepted, whatever happens here.
        """
        if self._world is None or self._driver is None or self._connection is None:
            return
        try:
            if not self._driver.closed:
                _ = await self._run(quit_session(self._connection))
        finally:
            self._driver.close()
        await self._world.vanish()

    def abort(self) -> None:
        """Close the connection at once, without QUIT."""
        if self._driver is not None:
            self._driver.close()

    @property
    def is_open(self) -> bool:
        """True while commands can be sent, as far as is known without asking the server."""
        return (
            self._driver is not None
            and self._connection is not None
            and not self._driver.closed
            and self._connection.usable
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
    def is_protected(self) -> bool:
        """True if TLS is on."""
        return self._connection is not None and self._connection.tls

    async def send(
        self, message: Message, envelope: Envelope | None = None, *, all_or_nothing: bool = False
    ) -> SendResult:
        """Send one message; return what became of each recipient. See `Session.send`.

        A file or an iterator is read without waiting for it, so it must not block for long.

        Raises:
            SMTPError: as `Session.send`.
        """
        connection = self._opened()
        result = await self._run(
            deliver(connection, message, envelope, all_or_nothing=all_or_nothing)
        )
        if result.error is not None and not result.accepted:
            raise result.error
        return result

    async def command(self, text: str) -> Reply:
        """Send any command that stands alone, such as ``ETRN example.org``; return its reply.

        Raises:
            LocalProtocolError: the text has control characters, or is a command with a procedure
                of its own.
        """
        return await self._run(say(self._opened(), text))

    async def verify(self, address: str) -> Reply:
        """VRFY: ask whether an address is known (RFC 5321 §3.5)."""
        return await self.command(f"VRFY {address}")

    async def expand(self, mailing_list: str) -> Reply:
        """EXPN: ask for the members of a list (RFC 5321 §3.5)."""
        return await self.command(f"EXPN {mailing_list}")

    async def help(self, topic: str = "") -> Reply:
        """HELP (RFC 5321 §4.1.1.8)."""
        return await self.command(f"HELP {topic}".rstrip())

    async def noop(self) -> Reply:
        """NOOP: nothing, answered."""
        return await self.command("NOOP")

    async def reset(self) -> Reply:
        """RSET: give up the open mail transaction. `send` does it by itself where needed."""
        return await self._run(reset(self._opened()))

    def _opened(self) -> Connection:
        if self._connection is None:
            raise LocalProtocolError("open the session first: `async with session:` or open()")
        return self._connection

    async def _run(self, procedure: Steps[T], deadline: Deadline | None = None) -> T:
        if self._driver is None:
            raise AssertionError("a connection comes with its driver")
        try:
            return await self._driver.run(
                procedure, deadline or Deadline(self._settings.timeouts.total)
            )
        finally:
            if self._connection is not None and not self._connection.usable:
                self._driver.close()


class AsyncClient:
    """A `Client` for asyncio and trio: opened when needed, kept, opened again.

    To be shared between tasks, which take turns on its one connection. Cancelled as an
    `AsyncSession` is: the next task finds a new connection.
    """

    def __init__(self, endpoint: str | Endpoint, **options: Unpack[SessionOptions]) -> None:
        """Check the settings, those of a `Session`; nothing is dialled yet.

        Raises:
            EndpointError, LocalProtocolError: a setting is wrong.
        """
        _ = Settings.of(endpoint, **options)
        self._endpoint = endpoint
        self._options = options
        self._run: object = None
        self._lock: AbstractAsyncContextManager[object] | None = None
        self._session: AsyncSession | None = None
        self._reused = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, Exception) and self._session is not None:
            self._session.abort()  # Who is cancelled does not wait for a farewell.
        await self.close()

    async def send(
        self, message: Message, envelope: Envelope | None = None, *, all_or_nothing: bool = False
    ) -> SendResult:
        """Send one message, over a connection that is opened if there is none.

        See `AsyncSession.send`. A connection that turns out to have been closed while it was idle
        is opened anew, once.

        Raises:
            SMTPError: as `Session.open` and `Session.send`.
        """
        async with self._turn():
            try:
                session = await self._ready()
                return await session.send(message, envelope, all_or_nothing=all_or_nothing)
            except ConnectionLost as lost:
                # It was idle too long, and nothing was accepted or read of the message yet.
                if not self._reused or lost.phase not in ("other", "mail") or lost.in_doubt:
                    raise
            session = await self._ready()
            return await session.send(message, envelope, all_or_nothing=all_or_nothing)

    async def send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope]]
        | AsyncIterable[Message | tuple[Message, Envelope]],
    ) -> AsyncIterator[SendResult]:
        """Send messages one after the other; yield what became of each, in their order.

        An item is an `EmailMessage`, or a message and its `Envelope`; the result has it as its
        `message`. A message that is refused, or cannot be sent at all, is a result with its
        `error`, and stops no other.

        Raises:
            SMTPError: no connection can be had.
        """
        source = messages if isinstance(messages, AsyncIterable) else _asynchronous(messages)
        async for item in source:
            if isinstance(item, tuple):
                outgoing = Outgoing(*cast("tuple[Message, Envelope]", item))
            else:
                outgoing = Outgoing(item, None)
            try:
                result = await self.send(outgoing.message, outgoing.envelope)
            except (SMTPError, TypeError) as error:
                if isinstance(error, SMTPError) and error.result is not None:
                    result = error.result
                elif isinstance(error, _UNSENDABLE):
                    result = not_sent(outgoing, error)
                else:
                    raise
            result.message = outgoing.message
            yield result

    async def close(self, *, abort: bool = False) -> None:
        """Say QUIT and close the connection, if there is one. Never fails.

        With `abort` it is closed at once, whoever is using it.
        """
        if abort and self._session is not None:
            self._session.abort()
        async with self._turn():
            if self._session is not None:
                session, self._session = self._session, None
                await session.close()

    def _turn(self) -> AbstractAsyncContextManager[object]:
        """The lock, made when it is used: a client may be older than the loop that runs it."""
        world = current_world()
        run = world.current_run()
        if self._lock is None or self._run is not run:
            self._lock, self._run = world.make_lock(), run
            if self._session is not None:
                self._session.abort()  # It belonged to a run that is over.
                self._session = None
        return self._lock

    async def _ready(self) -> AsyncSession:
        """The session, opened if it is not."""
        self._reused = self._session is not None and self._session.is_open
        if self._session is None or not self._session.is_open:
            self._session = AsyncSession(self._endpoint, **self._options)
            await self._session.open()
        return self._session


async def asend(
    message: Message,
    endpoint: str | Endpoint,
    *,
    envelope: Envelope | None = None,
    all_or_nothing: bool = False,
    **options: Unpack[SessionOptions],
) -> SendResult:
    """Send one message over a connection of its own; see `AsyncSession.send`.

    Raises:
        SMTPError: as `Session.open` and `Session.send`.
    """
    async with AsyncSession(endpoint, **options) as session:
        return await session.send(message, envelope, all_or_nothing=all_or_nothing)


async def _asynchronous(
    messages: Iterable[Message | tuple[Message, Envelope]],
) -> AsyncIterator[Message | tuple[Message, Envelope]]:
    for message in messages:
        yield message
