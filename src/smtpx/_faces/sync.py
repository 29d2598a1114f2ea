"""The blocking classes: `Session`, `Client`, and `send()`."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack

from smtpx import _checks
from smtpx._core.connection import Connection
from smtpx._core.delivery import Message, deliver
from smtpx._core.division import left_over, resumed
from smtpx._core.housekeeping import ask, quit_session, reset, say
from smtpx._core.pool import PoolStatistics
from smtpx._core.steps import Steps
from smtpx._core.verdicts import untried
from smtpx._core.xclient import ClientAttributes, xclient
from smtpx._drivers.blocking import BlockingDriver
from smtpx._drivers.dialling import dial
from smtpx._drivers.resumption import Handshakes
from smtpx._drivers.waiting import Deadline
from smtpx._faces.arguments import check_blocking, check_many, check_pool, ready
from smtpx._faces.opening import Opening, Watch, taken
from smtpx._faces.pool import SessionPool
from smtpx._faces.settings import SessionOptions, Settings
from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, SessionFull, SMTPError
from smtpx.options import PoolLimits
from smtpx.replies import Reply
from smtpx.results import SendResult, accepted
from smtpx.tls import Protection

T = TypeVar("T")


class Session:
    """One connection to one server, with every command at hand.

    It is opened by `with` or `open()`, and closed for good by either end: make another then. Not
    to be shared between threads; a `Client` is.

    The URL says where and how (`Endpoint.parse`), and `tls` how, where it does not; `credentials`
    go before its user. Without either, STARTTLS is required of every host but this machine.
    """

    def __init__(
        self,
        endpoint: str | Endpoint,
        *,
        socket: socket.socket | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        """Check the settings; nothing is dialled yet.

        The options are those of `SessionOptions`: tls, credentials, mechanisms, client_name,
        source_address, proxy, proxy_header, timeout, timeouts, limits, observer, signer, check. The
        dialogue also goes to the logger ``smtpx.wire`` at DEBUG.

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
        self._driver: BlockingDriver | None = None
        self._connection: Connection | None = None
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Dial, read the greeting, say EHLO, start TLS and log in, as the settings ask.

        Raises:
            ConnectionLost, TimedOut: no address of the host answers, or not any more.
            GreetingRefused, HelloRefused, TLSRefused, AuthenticationRefused: the server said no.
            TLSPolicyError: the connection cannot be protected as asked.
            ExtensionMissing: credentials were given, and the server has no use for them.
            LocalProtocolError: the session was opened before.
        """
        if self._connection is not None:
            raise LocalProtocolError("a session is opened once: make another one")
        settings = self._settings
        deadline = Deadline(settings.timeouts.total)
        watch = self._watch = Watch(settings)
        connected = self._held
        try:
            handshakes = self._handshakes or settings.handshakes()
            connected = connected or dial(
                settings.dialled,
                remaining=lambda: deadline.within(settings.timeouts.connect),
                sources=settings.sources,
            )
            opening = Opening(settings, handshakes, connected, watch)
            self._settings = settings.without_credentials()
            self._driver = BlockingDriver(connected, opening.handshake)
            self._connection = opening.connection
            self._driver.run(opening.procedure(), deadline)
            handshakes.keep(opening.handshake)
        except BaseException as error:
            transport = self._driver or connected
            if transport is not None:
                transport.close()
            watch.closed(self._connection, error)
            raise

    def resuming(self, handshakes: Handshakes) -> Self:
        """Share context and TLS sessions with others of one client (private to smtpx)."""
        self._handshakes = handshakes
        return self

    def close(self) -> None:
        """Say QUIT, if the server still listens, and close the connection. Never fails.

        What was accepted stays accepted, whatever happens here.
        """
        if self._driver is None or self._connection is None:
            return
        try:
            if not self._driver.closed:
                _ = self._driver.run(
                    quit_session(self._connection), Deadline(self._settings.timeouts.total)
                )
                self._driver.part()
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once, without QUIT."""
        if self._driver is not None:
            self._driver.close()
        if self._watch is not None:
            self._watch.closed(self._connection)

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
        message, envelope = ready(self._settings.check, message, envelope, all_or_nothing)
        return accepted(self.attempt(message, envelope, all_or_nothing=all_or_nothing))

    def attempt(
        self, message: Message, envelope: Envelope | None, *, all_or_nothing: bool = False
    ) -> SendResult:
        """Send one message; what the server says or does is all in the result (private to smtpx).

        Raises:
            ExtensionMissing, LocalProtocolError, AddressError: nothing was sent.
        """
        connection = self._opened()
        return self._run(deliver(connection, message, envelope, all_or_nothing=all_or_nothing))

    def command(self, text: str) -> Reply:
        """Send any command that stands alone, such as ``ETRN example.org``; return its reply.

        Raises:
            LocalProtocolError: the text has control characters, or is a command with a procedure
                of its own.
        """
        return self._run(say(self._opened(), text))

    def xclient(self, **attributes: Unpack[ClientAttributes]) -> Reply:
        """XCLIENT: say for which client we speak, where the server trusts us to (Postfix).

        The session starts anew, as that client's; the reply is that to the EHLO that follows.

        Raises:
            ExtensionMissing: the server does not offer XCLIENT, or not all of the attributes.
            ReplyError, HelloRefused: the server said no.
        """
        return self._run(xclient(self._opened(), attributes))

    def verify(self, address: str) -> Reply:
        """VRFY: ask whether an address is known (RFC 5321 §3.5)."""
        return self._run(ask(self._opened(), "VRFY", "address", address))

    def expand(self, mailing_list: str) -> Reply:
        """EXPN: ask for the members of a list (RFC 5321 §3.5)."""
        return self._run(ask(self._opened(), "EXPN", "mailing_list", mailing_list))

    def help(self, topic: str = "") -> Reply:
        """HELP (RFC 5321 §4.1.1.8)."""
        return self._run(ask(self._opened(), "HELP", "topic", topic))

    def noop(self) -> Reply:
        """NOOP: nothing, answered."""
        return self.command("NOOP")

    def reset(self) -> Reply:
        """RSET: give up the open mail transaction. `send` does it by itself where needed."""
        return self._run(reset(self._opened()))

    @property
    def parts(self) -> tuple[Connection, BlockingDriver]:
        """For those who run procedures of their own on it (private to smtpx)."""
        if self._driver is None:
            raise LocalProtocolError("open the session first: `with session:` or session.open()")
        return self._opened(), self._driver

    def _opened(self) -> Connection:
        if self._connection is None:
            raise LocalProtocolError("open the session first: `with session:` or session.open()")
        return self._connection

    def _run(self, procedure: Steps[T]) -> T:
        if self._driver is None or self._connection is None:
            raise AssertionError("a connection comes with its driver")
        try:
            return self._driver.run(procedure, Deadline(self._settings.timeouts.total))
        finally:
            if self._driver.closed or not self._connection.usable:
                self.abort()


class Client:
    """A mail server as an application sees it: a few connections, opened when needed and kept.

    Safe to share between threads; each has a connection of its own while it sends. After `fork`
    the child opens its own and leaves its parent's alone.
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
        self._check = settings.check
        self._limits = check_pool(pool)
        handshakes = settings.handshakes()
        self._pool = SessionPool(
            lambda: Session(endpoint, **options).resuming(handshakes), self._limits
        )

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
        message, envelope = ready(self._check, message, envelope, all_or_nothing)
        lease = self._pool.acquire()
        try:
            result = lease.session.attempt(message, envelope, all_or_nothing=all_or_nothing)
            if lease.was_gone(result.error):
                lease = self._pool.replace(lease)
                result = lease.session.attempt(message, envelope, all_or_nothing=all_or_nothing)
            while isinstance(result.error, SessionFull):
                share = left_over(envelope, result)
                try:
                    lease = self._pool.replace(lease)
                    rest = lease.session.attempt(message, share.envelope)
                except SMTPError as error:
                    rest = untried(share.envelope, error)
                result = resumed(result, share, rest)
            return accepted(result)
        finally:
            self._pool.release(lease)

    def send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope]],
        *,
        connections: int = 1,
        window: int = 64,
        on_doubt: Literal["report", "resend"] = "report",
    ) -> Iterator[SendResult]:
        """Send messages as they come, pipelined; yield what became of each as it is known.

        An item is an `EmailMessage`, or a message and its `Envelope`; the result has it as its
        `message`. The iterable is read as far as there is room, in this thread. A message that is
        refused, or cannot be sent at all, is a result with its `error`, and stops no other.

        Over each of so many `connections`, as far as the pool has them, up to `window` messages
        are on their way at once. When a connection breaks, those that were not yet written go by
        another one; those that were, and not answered, are in doubt: reported, or sent again at
        the price of a possible duplicate.

        Raises:
            SMTPError: no connection can be had; what was not sent by then is yielded before.
            TypeError, ValueError: an argument is wrong, or there are to be more `connections`
                than `PoolLimits.open` has; raised by the call itself.
        """
        check_blocking(messages)
        check_many(messages, connections, window, on_doubt, self._limits)
        return self._send_many(messages, connections, window, on_doubt)

    def _send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope]],
        connections: int,
        window: int,
        on_doubt: Literal["report", "resend"],
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
        ) as sending:
            results = sending.results
            while sending.go_on():
                while results:
                    # Kept until the caller comes back: who is interrupted meanwhile loses none.
                    yield results[0]
                    _ = results.popleft()

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
    *,
    envelope: Envelope | None = None,
    all_or_nothing: bool = False,
    **options: Unpack[SessionOptions],
) -> SendResult:
    """Send one message over a connection of its own; see `Session.send`.

    Raises:
        SMTPError: as `Session.open` and `Session.send`.
    """
    session = Session(endpoint, **options)
    del endpoint  # R14: a password may stand in it, and a traceback may show locals.
    message, envelope = ready(session._settings.check, message, envelope, all_or_nothing)
    with session:
        return accepted(session.attempt(message, envelope, all_or_nothing=all_or_nothing))
