"""One session, in a thread."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from smtpx._accounting import account_again
from smtpx._core.given import Message
from smtpx._core.housekeeping import ask, quit_session, reset, say
from smtpx._core.naming import named
from smtpx._core.sending import deliver
from smtpx._core.steps import Steps
from smtpx._core.xclient import ClientAttributes, xclient
from smtpx._drivers.blocking import BlockingDriver
from smtpx._drivers.dialling import Dialling
from smtpx._drivers.racing import called_off
from smtpx._drivers.waiting import Deadline
from smtpx._faces.course import Course
from smtpx._faces.forking import forks
from smtpx._faces.keywords import SessionOptions
from smtpx._faces.opened import Opened
from smtpx._faces.opening import Opening, Watch, not_reached
from smtpx._faces.settings import Settings
from smtpx._loaders import UNDER_WAY
from smtpx._loading import refuse_amid_loading
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.replies import Reply
from smtpx.results import SendResult

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

T = TypeVar("T")


class Session(Opened[BlockingDriver]):
    """One connection to one server, with every command at hand.

    It is opened by `with` or `open()`, and closed for good by either end: make another then. Not
    to be shared between threads; a `Client` is. A call that is made while another one is under
    way raises a `LocalProtocolError` at once, and disturbs nothing; only `abort` ends that one.

    The URL says where and how (`Endpoint.parse`), and `tls` how, where it does not; `credentials`
    go before its user. Without either, STARTTLS is required of every host but this machine.

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
        """Check the settings; nothing is dialled yet.

        A connected `socket` is taken in place of dialling, and belongs to the session once that
        is opened: it is closed with it, whatever happens. The URL says what is spoken, and whose
        certificate is expected.

        Raises:
            EndpointError, LocalProtocolError: a setting is wrong.
            TypeError, ValueError: one is of another kind, or there is no such option.
        """
        try:
            settings = Settings.of(endpoint, **options)
        finally:
            del endpoint, options  # R14
        super().__init__(settings, socket)
        self._handshake: Handshake | None = None
        self._dialling: Dialling | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close_by(Deadline.after(self._settings.timeouts.total))
        if error is None:
            self._heed_observer()

    def open(self) -> None:
        """Dial, read the greeting, say EHLO, start TLS and log in, as the settings ask.

        Raises:
            ConnectionLost, TimedOut: no address of the host answers, or not any more.
            GreetingRefused, HelloRefused, TLSRefused, AuthenticationRefused: the server said no.
            TLSPolicyError: the connection cannot be protected as asked.
            ExtensionMissing: credentials were given, and the server has no use for them.
            LocalProtocolError: the session was opened before.
        """
        self._open_by(Deadline.after(self._settings.timeouts.total))

    def _open_by(self, deadline: Deadline) -> None:
        """Open the session as part of a call that has a deadline."""
        self._see_that_it_is_unopened()
        if UNDER_WAY:
            refuse_amid_loading()
        try:
            self._is_opening = True
            self._begin(deadline)
            while True:
                if self._connects(wait=True):
                    break
            procedure, driver = self._dialled()
            driver.run(procedure, deadline)
            self._opened()
            self._is_opening = False
        except BaseException as error:
            self._is_opening = False
            if self._held is not None:
                # By one call of C, whatever interrupts what follows.
                socket.SocketType.close(self._held)
            self._not_opened(error)
            raise

    def _begin(self, deadline: Deadline) -> None:
        """Tell the observer that the session begins, and have what connects it to the server."""
        self._forks = forks()
        settings = self._settings
        self._watch = Watch(settings)
        self._handshakes = self._handshakes or settings.handshakes()
        if self._held is None:
            self._dialling = Dialling(
                settings.dialled,
                remaining=lambda: deadline.within(settings.timeouts.connect),
                sources=settings.sources,
            )

    def _connects(self, *, wait: bool) -> bool:
        """Go on dialling; True once there is a connection."""
        if self._is_called_off:
            raise called_off(self._settings.endpoint)
        if self._dialling is not None:
            self._held = self._dialling.go_on(wait=wait)
            if self._held is None:
                return False
            self._dialling.close()
            self._dialling = None
        return True

    def _dialled(self) -> tuple[Steps[None], BlockingDriver]:
        """The procedure that opens the session, and the driver that runs it."""
        settings, watch, handshakes = self._settings, self._watch, self._handshakes
        connected = self._held
        if watch is None or handshakes is None or connected is None:
            raise AssertionError("a session is begun before it is dialled")
        opening = Opening(settings, handshakes, connected, watch, self._learnt)
        self._handshake = opening.handshake
        self._settings = settings.without_credentials()
        driver = self._driver = BlockingDriver(connected, opening.handshake)
        self._connection = opening.connection
        if self._is_called_off:
            raise called_off(settings.endpoint)
        return opening.procedure(), driver

    def _opened(self) -> None:
        """Note that the procedure has come to its end."""
        if self._handshakes is not None:
            self._handshakes.keep(self._handshake)
        self._heed_observer()

    def _not_opened(self, error: BaseException) -> None:
        """Close what was connected; the session is over before it began."""
        self._let_go()
        not_reached(error, self._settings)
        if self._watch is not None:
            self._watch.closed(self._connection, error)

    def _let_go(self) -> None:
        """Close whatever there is by now of the connection."""
        if self._dialling is not None:
            self._dialling.close()
        transport = self._driver or self._held
        if transport is not None:
            transport.close()

    def close(self) -> None:
        """Say QUIT, if the server still listens, and close the connection.

        Whatever the server does, it never fails, and what was accepted stays accepted.

        Raises:
            LocalProtocolError: another call is under way; `abort` ends that.
        """
        self._see_that_it_is_free()
        self._close_by(Deadline.after(self._settings.timeouts.total))
        self._heed_observer()

    def _close_by(self, deadline: Deadline) -> None:
        """Close the session as part of a call that has a deadline."""
        try:
            if self._connection is None or self._driver is None or self._is_at_work:
                return
            if self.is_open:
                _ = self._driver.run(quit_session(self._connection), deadline)
                self._driver.part()
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once, without QUIT. Any thread may.

        A call that another thread is in ends by an error at once, as if the server had hung up.
        """
        if self._driver is not None and self._forks != forks():
            self._driver.socket.close()  # The parent's TLS goes on: not a word to its peer.
            return
        if self._watch is None:
            return  # A socket that was given is the caller's before.
        self._is_called_off = True
        if self._is_opening:
            self._call_off(self._dialling, self._driver)
            return
        self._let_go()
        if self._driver is None or not self._driver.is_used:
            self._watch.closed(self._connection)

    def _call_off(self, dialling: Dialling | None, driver: BlockingDriver | None) -> None:
        """Have whoever opens it end that."""
        if dialling is not None:
            dialling.call_off()
        if driver is not None:
            driver.close()

    def send(
        self, message: Message, envelope: Envelope | None = None, *, all_or_nothing: bool = False
    ) -> SendResult:
        """Send one message; return what became of each recipient.

        The message is an `EmailMessage`, bytes, a binary file or an iterable of bytes. Only an
        `EmailMessage` can do without an envelope: its header then says who sends and who gets it.
        With `all_or_nothing` nobody gets it unless everybody can.

        Raises:
            SenderRefused, RecipientsRefused, ContentRefused: nobody gets the message.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over; `.result` tells
                for whom the message is in doubt, and for whom nothing was sent.
            ExtensionMissing, LocalProtocolError, AddressError: nothing was sent. `CheckFailed`
                among them: the `check` that was asked for finds errors.
        """
        course = Course(envelope, all_or_nothing)
        try:
            course.prepare(self._settings.check, message)
            self._attempt(course, Deadline.after(self._settings.timeouts.total))
            return course.verdict()
        except BaseException as error:
            try:
                course.hang_on(error)
            except BaseException as another:
                account_again(course.hang_on, another)
                raise
            raise

    def _carry(self, course: Course) -> None:
        """Open, send and close, by one deadline."""
        deadline = Deadline.after(self._settings.timeouts.total)
        try:
            self._open_by(deadline)
            try:
                self._attempt(course, deadline)
            finally:
                self._close_by(deadline.for_farewell())
            self._heed_observer()
        finally:
            self.abort()

    def _attempt(self, course: Course, deadline: Deadline) -> None:
        """Send a message; note in its course what becomes of it.

        Raises:
            ExtensionMissing, LocalProtocolError, AddressError: nothing was sent.
            BaseException: the attempt was interrupted; or what the observer raised.
        """
        connection, driver = self._parts
        course.connection = connection
        try:
            course.latest = driver.run(
                deliver(connection, course.message, course.envelope, course.all_or_nothing),
                deadline,
            )
        except BaseException as error:
            if not isinstance(error, SMTPError):
                connection.broken = True  # The driver has closed it.
            course.broke_off(error)
            raise
        finally:
            if not (connection.usable or driver.is_running):
                self.abort()
        self._heed_observer()

    def command(self, text: str) -> Reply:
        """Send any command that stands alone, such as ``ETRN example.org``; return its reply.

        Raises:
            LocalProtocolError: the text has control characters, or is a command with a procedure
                of its own.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return self._run(say(self._parts[0], text))

    def xclient(self, **attributes: Unpack[ClientAttributes]) -> Reply:
        """XCLIENT: say for which client we speak, where the server trusts us to (Postfix).

        The session starts anew, as that client's; the reply is that to the EHLO that follows.

        Raises:
            ExtensionMissing: the server does not offer XCLIENT, or not all of the attributes.
            ReplyError, HelloRefused: the server said no.
        """
        return self._run(xclient(self._parts[0], attributes))

    def verify(self, address: str) -> Reply:
        """VRFY: ask whether an address is known (RFC 5321 §3.5).

        The reply is returned, whatever it says.

        Raises:
            LocalProtocolError: it is empty, too long, or has a control character.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return self._run(ask(self._parts[0], "VRFY", "address", address))

    def expand(self, mailing_list: str) -> Reply:
        """EXPN: ask for the members of a list (RFC 5321 §3.5).

        The reply is returned, whatever it says.

        Raises:
            LocalProtocolError: it is empty, too long, or has a control character.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return self._run(ask(self._parts[0], "EXPN", "mailing_list", mailing_list))

    def help(self, topic: str = "") -> Reply:
        """HELP (RFC 5321 §4.1.1.8).

        The reply is returned, whatever it says.

        Raises:
            LocalProtocolError: it is too long, or has a control character.
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return self._run(ask(self._parts[0], "HELP", "topic", topic))

    def noop(self) -> Reply:
        """NOOP: nothing, answered (RFC 5321 §4.1.1.9).

        Raises:
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return self.command("NOOP")

    def reset(self) -> Reply:
        """RSET: give up the open mail transaction. `send` does it by itself where needed.

        Raises:
            ConnectionLost, TimedOut, RemoteProtocolError: the session is over.
        """
        return self._run(reset(self._parts[0]))

    def _run(self, procedure: Steps[T]) -> T:
        connection, driver = self._parts
        try:
            deadline = Deadline.after(self._settings.timeouts.total)
            value = driver.run(named(connection, procedure), deadline)
        finally:
            if not (driver.is_running or (connection.usable and not driver.closed)):
                self.abort()
        self._heed_observer()
        return value
