"""The blocking classes: `Session`, `Client`, and `send()`."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar, Unpack

from smtpx import _checks
from smtpx._core.connection import Connection
from smtpx._core.delivery import Message, deliver
from smtpx._core.housekeeping import ask, quit_session, reset, say
from smtpx._core.learnt import Learnt
from smtpx._core.naming import named
from smtpx._core.pool import PoolStatistics
from smtpx._core.steps import Steps
from smtpx._core.xclient import ClientAttributes, xclient
from smtpx._drivers.blocking import BlockingDriver
from smtpx._drivers.dialling import Dialling
from smtpx._drivers.resumption import Handshakes
from smtpx._drivers.waiting import Deadline
from smtpx._faces.arguments import check_blocking, check_many, check_pool
from smtpx._faces.course import Course
from smtpx._faces.forking import forks
from smtpx._faces.opening import Opening, Watch, not_reached, taken
from smtpx._faces.pool import SessionPool
from smtpx._faces.settings import SessionOptions, Settings
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, SMTPError
from smtpx.marking import Mark
from smtpx.options import PoolLimits
from smtpx.replies import Reply
from smtpx.results import SendResult
from smtpx.tls import Protection

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake

T = TypeVar("T")


class Session:
    """One connection to one server, with every command at hand.

    It is opened by `with` or `open()`, and closed for good by either end: make another then. Not
    to be shared between threads; a `Client` is.

    The URL says where and how (`Endpoint.parse`), and `tls` how, where it does not; `credentials`
    go before its user. Without either, STARTTLS is required of every host but this machine.

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
        """Check the settings; nothing is dialled yet.

        A connected `socket` is taken in place of dialling, and belongs to the session once that
        is opened: it is closed with it, whatever happens. The URL says what is spoken, and whose
        certificate is expected.

        Raises:
            EndpointError, LocalProtocolError: a setting is wrong.
            TypeError, ValueError: one is of another kind, or there is no such option.
        """
        self._settings = Settings.of(endpoint, **options)
        self._held = None if socket is None else taken(socket, self._settings)
        self._handshakes: Handshakes | None = None
        self._learnt = Learnt()
        self._handshake: Handshake | None = None
        self._driver: BlockingDriver | None = None
        self._connection: Connection | None = None
        self._watch: Watch | None = None
        self._forks = forks()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close_by(Deadline(self._settings.timeouts.total))
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
        self._open_by(Deadline(self._settings.timeouts.total))

    def _open_by(self, deadline: Deadline) -> None:
        """Open the session as part of a call that has a deadline (private to smtpx)."""
        if self._connection is not None:
            raise LocalProtocolError("a session is opened once: make another one")
        try:
            self._begin()
            connected = self._held
            if connected is None:
                with self._dialling(deadline) as dialling:
                    while (connected := dialling.go_on(wait=True)) is None:
                        pass
            procedure, driver = self._dialled(connected)
            driver.run(procedure, deadline)
            self._opened()
        except BaseException as error:
            self._not_opened(error)
            raise

    def _begin(self) -> None:
        """Tell the observer that the session begins (private to smtpx)."""
        self._forks = forks()
        self._watch = Watch(self._settings)
        self._handshakes = self._handshakes or self._settings.handshakes()

    def _dialling(self, deadline: Deadline) -> Dialling:
        """What connects to the server, as far as somebody goes on with it (private to smtpx)."""
        settings = self._settings
        return Dialling(
            settings.dialled,
            remaining=lambda: deadline.within(settings.timeouts.connect),
            sources=settings.sources,
        )

    def _dialled(self, connected: socket.socket) -> tuple[Steps[None], BlockingDriver]:
        """The procedure that opens the session, and the driver that runs it (private to smtpx)."""
        self._held = connected
        settings, watch, handshakes = self._settings, self._watch, self._handshakes
        if watch is None or handshakes is None:
            raise AssertionError("a session is begun before it is dialled")
        opening = Opening(settings, handshakes, connected, watch, self._learnt)
        self._handshake = opening.handshake
        self._settings = settings.without_credentials()
        driver = self._driver = BlockingDriver(connected, opening.handshake)
        self._connection = opening.connection
        return opening.procedure(), driver

    def _opened(self) -> None:
        """Note that the procedure has come to its end (private to smtpx)."""
        if self._handshakes is not None:
            self._handshakes.keep(self._handshake)
        self._heed_observer()

    def _not_opened(self, error: BaseException) -> None:
        """Close what was connected; the session is over before it began (private to smtpx)."""
        transport = self._driver or self._held
        if transport is not None:
            transport.close()
        not_reached(error, self._settings)
        if self._watch is not None:
            self._watch.closed(self._connection, error)

    def _resuming(self, handshakes: Handshakes, learnt: Learnt) -> Self:
        """Share with others of one client what is agreed and known (private to smtpx)."""
        self._handshakes, self._learnt = handshakes, learnt
        return self

    def close(self) -> None:
        """Say QUIT, if the server still listens, and close the connection.

        Whatever the server does, it never fails, and what was accepted stays accepted.
        """
        self._close_by(Deadline(self._settings.timeouts.total))
        self._heed_observer()

    def _close_by(self, deadline: Deadline) -> None:
        """Close the session as part of a call that has a deadline (private to smtpx)."""
        try:
            if self.is_open and self._connection is not None and self._driver is not None:
                _ = self._driver.run(quit_session(self._connection), deadline)
                self._driver.part()
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once, without QUIT."""
        if self._driver is not None:
            if self._forks != forks():
                self._driver.socket.close()  # The parent's TLS goes on: not a word to its peer.
                return
            self._driver.close()
        if self._watch is not None:
            self._watch.closed(self._connection)

    def __repr__(self) -> str:
        return f"<Session {self._settings.endpoint}, {self._state}>"

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
        course = Course(envelope, all_or_nothing=all_or_nothing)
        try:
            course.prepare(self._settings.check, message)
            self._attempt(course, Deadline(self._settings.timeouts.total))
            return course.verdict()
        except BaseException as error:
            course.hang_on(error)
            raise

    def _carry(self, course: Course) -> None:
        """Open, send and close, by one deadline (private to smtpx)."""
        deadline = Deadline(self._settings.timeouts.total)
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
        """Send a message; note in its course what becomes of it (private to smtpx).

        Raises:
            ExtensionMissing, LocalProtocolError, AddressError: nothing was sent.
            BaseException: the attempt was interrupted; or what the observer raised.
        """
        connection, driver = self._parts
        try:
            course.latest = driver.run(
                deliver(
                    connection,
                    course.message,
                    course.envelope,
                    all_or_nothing=course.all_or_nothing,
                ),
                deadline,
            )
        except BaseException as error:
            course.broke_off(connection, error)
            raise
        finally:
            if driver.closed or not connection.usable:
                self.abort()
        self._heed_observer()

    def command(self, text: str) -> Reply:
        """Send any command that stands alone, such as ``ETRN example.org``; return its reply.

        Raises:
            LocalProtocolError: the text has control characters, or is a command with a procedure
                of its own.
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
        """VRFY: ask whether an address is known (RFC 5321 §3.5)."""
        return self._run(ask(self._parts[0], "VRFY", "address", address))

    def expand(self, mailing_list: str) -> Reply:
        """EXPN: ask for the members of a list (RFC 5321 §3.5)."""
        return self._run(ask(self._parts[0], "EXPN", "mailing_list", mailing_list))

    def help(self, topic: str = "") -> Reply:
        """HELP (RFC 5321 §4.1.1.8)."""
        return self._run(ask(self._parts[0], "HELP", "topic", topic))

    def noop(self) -> Reply:
        """NOOP: nothing, answered."""
        return self.command("NOOP")

    def reset(self) -> Reply:
        """RSET: give up the open mail transaction. `send` does it by itself where needed."""
        return self._run(reset(self._parts[0]))

    @property
    def _parts(self) -> tuple[Connection, BlockingDriver]:
        """For those who run procedures of their own on it (private to smtpx).

        Raises:
            LocalProtocolError: it is not open, or the parent process's.
        """
        if self._connection is None or self._driver is None:
            raise LocalProtocolError("open the session first: `with session:` or session.open()")
        if self._forks != forks():
            raise LocalProtocolError("this session is the parent process's: open another one")
        return self._connection, self._driver

    def _run(self, procedure: Steps[T]) -> T:
        connection, driver = self._parts
        try:
            deadline = Deadline(self._settings.timeouts.total)
            value = driver.run(named(connection, procedure), deadline)
        finally:
            if driver.closed or not connection.usable:
                self.abort()
        self._heed_observer()
        return value


class Client:
    """A mail server as an application sees it: a few connections, opened when needed and kept.

    Safe to share between threads; each has a connection of its own while it sends. After `fork`
    the child opens its own and leaves its parent's alone. A signal handler may use it, too, but
    for the moments in which it interrupts the client itself: `LocalProtocolError` says so then.

    The options, which `Session`, `send` and their asynchronous kin take, too (`SessionOptions`):

    - `tls`: a `TLSPolicy`, where the URL does not say what protects the connection.
    - `credentials`: a `Credentials` to log in with; goes before the URL's user and password.
    - `mechanisms`: the SASL mechanisms to log in by, or `smtpx.sasl.HASHED` or `MUTUAL`.
    - `client_name`: the EHLO argument; by default the socket's own address.
    - `source_address`: IP address and port to connect from, or one of each family.
    - `proxy`: the URL of a SOCKS or HTTP proxy.
    - `proxy_header`: a `ProxyHeader`, said first: for whose connection we speak.
    - `timeout`: seconds for a whole call, such as 30; by default each phase has its own.
    - `timeouts`: a `Timeouts`, seconds for each phase.
    - `limits`: a `Limits`, how much of the server's talk is taken.
    - `ignore_extensions`: EHLO keywords not to be believed, such as ``{"CHUNKING"}``.
    - `observer`: called with every event, the lines of the dialogue among them, such as `print`.
    - `signer`: writes each content anew, last of all, such as a `DKIMSigner`.
    - `check`: a `Check`, what is done about messages that are not as they should be.
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
        self._pool = SessionPool(
            lambda: Session(endpoint, **options)._resuming(handshakes, learnt),
            self._limits,
            str(settings.endpoint),
        )

    def __repr__(self) -> str:
        return f"<Client {self._server}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def send(
        self, message: Message, envelope: Envelope | None = None, *, all_or_nothing: bool = False
    ) -> SendResult:
        """Send one message, over a connection that is free or new; see `Session.send`.

        A connection that turns out to have been closed while it was idle is replaced by a new one.

        Raises:
            TimedOut: no connection was free for too long.
            SMTPError: as `Session.open` and `Session.send`.
        """
        course = Course(envelope, all_or_nothing=all_or_nothing)
        try:
            course.prepare(self._check, message)
            self._take(course, Deadline(self._total))
            return course.verdict()
        except BaseException as error:
            course.hang_on(error)
            raise

    def _take(self, course: Course, deadline: Deadline) -> None:
        """Carry out what a message needs, over one session after the other."""
        pool = self._pool
        lease = pool.acquire(deadline=deadline)
        try:
            lease.session._attempt(course, deadline)
            while course.goes_on(lease):
                try:
                    pool.replace(lease, deadline)
                    lease.session._attempt(course, deadline)
                except SMTPError as error:
                    if not course.failed(error):
                        raise
        except Exception:
            pool.release(lease, deadline=deadline)
            raise
        except BaseException:
            pool.drop(lease)
            raise
        pool.release(lease, deadline=deadline)

    def send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope]],
        *,
        connections: int = 1,
        window: int = 64,
        on_doubt: Literal["report", "resend"] = "report",
        mark: Mark | None = None,
    ) -> Iterator[SendResult]:
        """Send messages as they come, pipelined; yield what became of each as it is known.

        An item is an `EmailMessage`, or a message and its `Envelope`; the result has it as its
        `message`. The iterable is read as far as there is room, in this thread. A message that is
        refused, or cannot be sent at all, is a result with its `error`, and stops no other.

        Over each of so many `connections`, as far as the pool has them, up to `window` messages
        are on their way at once. When a connection breaks, those that were not yet written go by
        another one; those that were, and not answered, are in doubt: reported, or sent again at
        the price of a possible duplicate. A `mark` is asked before they may be: see `smtpx.Mark`.

        Raises:
            SMTPError: no connection can be had; what was not sent by then is yielded before.
            TypeError, ValueError: an argument is wrong, or there are to be more `connections`
                than `PoolLimits.open` has; raised by the call itself.
        """
        check_blocking(messages)
        check_many(messages, connections, window, on_doubt, mark, self._limits)
        return self._send_many(messages, connections, window, on_doubt, mark)

    def _send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope]],
        connections: int,
        window: int,
        on_doubt: Literal["report", "resend"],
        mark: Mark | None,
    ) -> Iterator[SendResult]:
        # Much that nothing else needs.
        from smtpx._core.supply import Window
        from smtpx._faces.sending import Sending

        with Sending(
            self._pool,
            messages,
            connections,
            Window(messages=window),
            resend_doubtful=on_doubt == "resend",
            check=self._check,
            mark=mark,
        ) as sending:
            results = sending.results
            while sending.go_on():
                while results:
                    # No signal handler runs between these, as it would after a call.
                    result = results[0]
                    del results[0]
                    yield result

    def statistics(self) -> PoolStatistics:
        """What the pool of connections holds, and has done so far."""
        return self._pool.statistics()

    def close(self, *, abort: bool = False) -> None:
        """Close the connections; those in use when they are done, or with `abort` at once.

        Nothing can be sent any more.
        """
        _checks.flag("abort", abort)
        self._pool.close(abort=abort)


def send(
    message: Message,
    endpoint: str | Endpoint,
    envelope: Envelope | None = None,
    *,
    all_or_nothing: bool = False,
    **options: Unpack[SessionOptions],
) -> SendResult:
    """Send one message over a connection of its own; see `Session.send`.

    The options are those of a `Client`.

    Raises:
        SMTPError: as `Session.open` and `Session.send`.
    """
    session = Session(endpoint, **options)
    del endpoint  # R14: a password may stand in it, and a traceback may show locals.
    course = Course(envelope, all_or_nothing=all_or_nothing)
    try:
        course.prepare(session._settings.check, message)
        session._carry(course)
        return course.verdict()
    except BaseException as error:
        course.hang_on(error)
        raise
