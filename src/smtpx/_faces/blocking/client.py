"""A server as an application sees it: `Client`, and `send()`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Literal, Self, Unpack

from smtpx import _checks
from smtpx._accounting import account_again
from smtpx._core.given import Message
from smtpx._core.learnt import Learnt
from smtpx._drivers.waiting import Deadline
from smtpx._ends import no_end
from smtpx._faces.arguments import check_blocking, check_many, check_pool
from smtpx._faces.blocking.pool import SessionPool
from smtpx._faces.course import Course
from smtpx._faces.keywords import SessionOptions
from smtpx._faces.settings import Settings
from smtpx._loading import loading
from smtpx._unbegun import Unbegun
from smtpx._uncopied import Uncopied
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.marking import Mark
from smtpx.options import PoolLimits
from smtpx.pausing import NothingYet
from smtpx.pooling import PoolStatistics
from smtpx.results import SendResult


class Client(Uncopied):
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
        self._pool = SessionPool(
            lambda session: session(endpoint, **options)._resuming(handshakes, learnt),
            self._limits,
            str(settings.endpoint),
        )

    @_checks.even_half_made
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
        course = Course(envelope, all_or_nothing)
        try:
            course.prepare(self._check, message)
            self._take(course, Deadline.after(self._total))
            return course.verdict()
        except BaseException as error:
            try:
                course.hang_on(error)
            except BaseException as another:
                account_again(course.hang_on, another)
                raise
            raise

    def _take(self, course: Course, deadline: Deadline) -> None:
        """Carry out what a message needs, over one session after the other."""
        pool = self._pool
        lease = pool.acquire(1, deadline)
        try:
            try:
                lease.session._attempt(course, deadline)
                while True:
                    if not course.goes_on(lease, deadline):
                        break
                    with course.another_attempt():
                        pool.replace(lease, deadline)
                        lease.session._attempt(course, deadline)
            except Exception:
                pool.release(lease, deadline)
                raise
            pool.release(lease, deadline)
        except BaseException:
            place, lease.place = lease.place, None
            pool.give_up(place, None)
            raise

    def send_many(
        self,
        messages: Iterable[Message | tuple[Message, Envelope] | NothingYet],
        *,
        connections: int = 1,
        window: int = 64,
        on_doubt: Literal["report", "resend"] = "report",
        mark: Mark | None = None,
    ) -> Iterator[SendResult]:
        """Send messages as they come, pipelined; yield what became of each as it is known.

        An item is an `EmailMessage`, or a message and its `Envelope`; the result has it as its
        `message`. The iterable is read as far as there is room, in this thread. A message that is
        refused, or cannot be sent at all, is a result with its `error`, and stops no other. An
        iterable that has no message just now gives `smtpx.NOTHING_YET`, and is asked again.

        Over each of so many `connections`, as far as the pool has them, up to `window` messages
        are on their way at once. When a connection breaks, those that were not yet written go by
        another one. Those that were, and not answered, are in doubt: reported, or sent again at
        the price of a possible duplicate. A `mark` is asked before they may be: see `smtpx.Mark`.

        Raises:
            SMTPError: no connection can be had. Each message that was read has had its result
                before: take them in a loop, for `list()` would lose them all.
            TypeError, ValueError: an argument is wrong, or there are to be more `connections`
                than `PoolLimits.open` has; raised by the call itself.
        """
        check_blocking(messages)
        check_many(messages, connections, window, on_doubt, mark, self._limits)
        unbegun = Unbegun("Client.send_many()", "nothing was sent")
        return self._send_many(unbegun, messages, connections, window, on_doubt, mark)

    def _send_many(
        self,
        unbegun: Unbegun,
        messages: Iterable[Message | tuple[Message, Envelope] | NothingYet],
        connections: int,
        window: int,
        on_doubt: Literal["report", "resend"],
        mark: Mark | None,
    ) -> Iterator[SendResult]:
        unbegun.begin()
        with loading("send_many"):  # Much that nothing else needs.
            from smtpx._core.streaming.supply import Window
            from smtpx._faces.blocking.many import Sending

        sending = Sending(
            self._pool,
            messages,
            connections,
            Window(messages=window),
            resend_doubtful=on_doubt == "resend",
            check=self._check,
            mark=mark,
        )
        results = sending.results
        try:
            while True:
                if not sending.go_on():
                    break
                while True:
                    if not results:
                        break
                    # No signal handler runs between these, as it would after a call.
                    result = results[0]
                    del results[0]
                    yield result
            sending.end()
        except BaseException as error:
            reason = error
            try:
                reason = no_end(error, "what send_many was given")
                sending.end(reason)
            except BaseException as another:
                try:
                    account_again(sending.end, another)
                finally:
                    # Where nothing can be called any more, the pool takes back what is unclaimed.
                    for lease in sending.leases:
                        lease.place = None
                raise
            if reason is not error:
                raise reason from error
            raise

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

    The options are those of a `Client`. It is one session: where a server takes but so many domains
    in one (RFC 9422 §4.3), recipients in others are told as not tried. A `Client` opens another.

    Raises:
        SMTPError: as `Session.open` and `Session.send`.
    """
    try:
        with loading("a session"):
            from smtpx._faces.blocking.session import Session

        session = Session(endpoint, **options)
    finally:
        del endpoint, options  # R14: passwords may stand in them, and a traceback may show locals.
    course = Course(envelope, all_or_nothing)
    try:
        course.prepare(session._settings.check, message)
        session._carry(course)
        return course.verdict()
    except BaseException as error:
        try:
            course.hang_on(error)
        except BaseException as another:
            account_again(course.hang_on, another)
            raise
        raise


send.__module__ = "smtpx"
