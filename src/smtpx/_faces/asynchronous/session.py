"""One session, in a task."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterable
from types import TracebackType
from typing import Self, TypeVar, Unpack

from smtpx._accounting import account_again
from smtpx._core.feeding import fed
from smtpx._core.given import Message
from smtpx._core.housekeeping import ask, quit_session, reset, say
from smtpx._core.naming import named
from smtpx._core.sending import deliver
from smtpx._core.steps import Steps
from smtpx._core.xclient import ClientAttributes, xclient
from smtpx._drivers.async_dialling import Dialling
from smtpx._drivers.current import current_world
from smtpx._drivers.racing import called_off
from smtpx._drivers.waiting import Deadline
from smtpx._drivers.world import AsyncDriver, World
from smtpx._faces.asynchronous.arriving import Arriving, close, readable
from smtpx._faces.course import Course
from smtpx._faces.forking import forks
from smtpx._faces.keywords import SessionOptions
from smtpx._faces.opened import Opened
from smtpx._faces.opening import Opening, Watch, not_reached
from smtpx._faces.settings import Settings
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.replies import Reply
from smtpx.results import SendResult

T = TypeVar("T")


class AsyncSession(Opened[AsyncDriver]):
    """A `Session` for asyncio and trio: whichever runs the task that opens it.

    A call that is cancelled closes the connection at once. If it was sending, what became of the
    message hangs on the cancellation as ``.result``. A note names those for whom it is in doubt.
    Not to be shared between tasks; an `AsyncClient` is. A call that is made while another one is
    under way raises a `LocalProtocolError` at once, and disturbs nothing; only `abort` ends that.

    The options are those of `SessionOptions`: tls, credentials, mechanisms, client_name,
    source_address, proxy, proxy_header, timeout, timeouts, limits, ignore_extensions, observer,
    signer, check. The dialogue also goes to the logger ``smtpx.wire`` at DEBUG.
    """

    __module__ = "smtpx"

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
        try:
            settings = Settings.of(endpoint, **options)
        finally:
            del endpoint, options  # R14
        super().__init__(settings, socket)
        self._world: World | None = None
        self._dialling: Dialling | None = None

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
            self.abort()  # A task that is cancelled waits for nothing: it might be cancelled again.
            return
        await self._close_by(Deadline.after(self._settings.timeouts.total))
        if error is None:
            self._heed_observer()

    async def open(self) -> None:
        """Dial, read the greeting, say EHLO, start TLS and log in, as the settings ask.

        Raises:
            SMTPError: as `Session.open`.
        """
        await self._open_by(Deadline.after(self._settings.timeouts.total))

    async def _open_by(self, deadline: Deadline) -> None:
        """Open the session as part of a call that has a deadline."""
        self._see_that_it_is_unopened()
        try:
            self._is_opening = True
            await self._open_now(deadline)
        finally:
            self._is_opening = False

    async def _open_now(self, deadline: Deadline) -> None:
        settings = self._settings
        self._forks = forks()
        world = self._world = current_world()
        watch = self._watch = Watch(settings)
        connected = self._held
        try:
            handshakes = self._handshakes or settings.handshakes()
            if connected is None:
                self._dialling = Dialling(
                    world,
                    settings.dialled,
                    remaining=lambda: deadline.within(settings.timeouts.connect),
                    sources=settings.sources,
                )
                connected = await self._dialling.connected()
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
            if self._is_called_off:
                raise called_off(settings.endpoint)
            await self._driver.run(opening.procedure(), deadline)
            handshakes.keep(opening.handshake)
            watch.heed()
        except BaseException as error:
            if self._driver is not None:
                self._driver.close()
            watch.closed(self._connection, error)
            raise
        finally:
            self._dialling = None  # R14: it knows the login.

    async def close(self) -> None:
        """Say QUIT, if the server still listens, and close the connection.

        Whatever the server does, it never fails, and what was accepted stays accepted.

        Raises:
            LocalProtocolError: another call is under way; `abort` ends that.
        """
        self._see_that_it_is_free()
        await self._close_by(Deadline.after(self._settings.timeouts.total))
        self._heed_observer()

    async def _close_by(self, deadline: Deadline) -> None:
        """Close the session as part of a call that has a deadline."""
        if self._world is None or self._driver is None:
            return
        try:
            if self.is_open and self._connection is not None and not self._is_at_work:
                _ = await self._driver.run(quit_session(self._connection), deadline)
                self._driver.part()
        finally:
            self.abort()
        await self._world.vanish()

    def abort(self) -> None:
        """Close the connection at once, without QUIT."""
        if self._forks != forks():
            return  # The loop that would close it is the parent's, as is the connection.
        self._is_called_off = True
        if self._driver is not None:
            self._driver.close()
        elif self._dialling is not None:
            self._dialling.call_off()
            return  # Whoever opens it tells how that has ended.
        if self._watch is not None:
            self._watch.closed(self._connection)

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
        course = Course(envelope, all_or_nothing)
        given = readable(message)
        try:
            try:
                course.prepare(self._settings.check, given)
                await self._attempt(course, Deadline.after(self._settings.timeouts.total))
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

    async def _carry(self, course: Course) -> None:
        """Open, send and close, by one deadline."""
        deadline = Deadline.after(self._settings.timeouts.total)
        await self._open_by(deadline)
        try:
            await self._attempt(course, deadline)
        except Exception:
            await self._close_by(deadline.for_farewell())
            raise
        except BaseException:
            self.abort()  # A task that is cancelled does not wait for a farewell.
            raise
        await self._close_by(deadline.for_farewell())
        self._heed_observer()

    async def _attempt(self, course: Course, deadline: Deadline) -> None:
        """Send a message; note in its course what becomes of it.

        Raises:
            ExtensionMissing, LocalProtocolError, AddressError: nothing was sent.
            BaseException: the attempt was interrupted; or what the observer raised.
        """
        connection, driver = self._parts
        course.connection = connection
        message = course.message
        try:
            procedure = deliver(connection, message, course.envelope, course.all_or_nothing)
            if isinstance(message, Arriving):
                procedure = fed(procedure, message)
                course.latest = await driver.run(procedure, deadline, message.more)
            else:
                course.latest = await driver.run(procedure, deadline)
        except BaseException as error:
            if not isinstance(error, SMTPError):
                connection.broken = True  # The driver has closed it.
            course.broke_off(error)
            raise
        finally:
            if not (connection.usable or driver.is_running):
                self.abort()
        self._heed_observer()

    async def command(self, text: str) -> Reply:
        """Send any command that stands alone, such as ``ETRN example.org``; return its reply.

        Raises:
            LocalProtocolError: the text has control characters, or is a command with a procedure
                of its own.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
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
        """VRFY: ask whether an address is known (RFC 5321 §3.5).

        The reply is returned, whatever it says.

        Raises:
            LocalProtocolError: it is empty, too long, or has a control character.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return await self._run(ask(self._parts[0], "VRFY", "address", address))

    async def expand(self, mailing_list: str) -> Reply:
        """EXPN: ask for the members of a list (RFC 5321 §3.5).

        The reply is returned, whatever it says.

        Raises:
            LocalProtocolError: it is empty, too long, or has a control character.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return await self._run(ask(self._parts[0], "EXPN", "mailing_list", mailing_list))

    async def help(self, topic: str = "") -> Reply:
        """HELP (RFC 5321 §4.1.1.8).

        The reply is returned, whatever it says.

        Raises:
            LocalProtocolError: it is too long, or has a control character.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return await self._run(ask(self._parts[0], "HELP", "topic", topic))

    async def noop(self) -> Reply:
        """NOOP: nothing, answered (RFC 5321 §4.1.1.9).

        Raises:
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return await self.command("NOOP")

    async def reset(self) -> Reply:
        """RSET: give up the open mail transaction. `send` does it by itself where needed.

        Raises:
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return await self._run(reset(self._parts[0]))

    async def _run(self, procedure: Steps[T]) -> T:
        connection, driver = self._parts
        try:
            deadline = Deadline.after(self._settings.timeouts.total)
            value = await driver.run(named(connection, procedure), deadline)
        finally:
            if not (driver.is_running or (connection.usable and not driver.closed)):
                self.abort()
        self._heed_observer()
        return value
