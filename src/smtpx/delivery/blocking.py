"""Delivery in a thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from socket import SocketType
from ssl import SSLError
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast

from smtpx import _checks
from smtpx._accounting import account_again
from smtpx._unbegun import Unbegun
from smtpx._uncopied import Uncopied
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, SMTPError
from smtpx.marking import Mark
from smtpx.pausing import NothingYet
from smtpx.sansio import Driver, dial

from ._answers import Answers
from ._asking import Asker
from ._deadline import NEVER, Deadline
from ._dnspython import NameServers
from ._fetching import WITHIN, left_of, unreachable
from ._hosts import Hosts
from ._many import Message, check_many, sent
from ._policy import renewing
from ._renewals import Renewals
from ._resolving import Plan
from ._sessions import Sessions
from ._settings import (
    AnyContent,
    DeliveryOptions,
    Settings,
    as_it_is,
    domain_of,
    ready,
    verdict,
)
from ._steps import (
    Allowance,
    Away,
    Begin,
    Count,
    Fetch,
    Keep,
    LookUps,
    Mail,
    Marked,
    Recall,
    Renew,
    Steps,
    Try,
)
from ._walking import planned
from .mta_sts import FetchFailed
from .outcomes import DeliveryResult
from .reports import SentReport, TLSReports
from .resolver import Answer, Resolver

__all__ = ["Delivery", "deliver"]

T = TypeVar("T")

_NO_CONTENT = b""


def _unasked() -> None:
    """Nobody has to be asked before a message may leave."""


class Delivery(Uncopied):
    """From a message to the mail exchangers of its recipients, without a server of your own.

    It finds the mail exchangers in the DNS, decides what TLS has to give there (DANE, MTA-STS,
    REQUIRETLS), and tries one after the other. It does not try again later: an outbox does.

    Safe to share between threads. After `fork` the child begins anew, and leaves its parent's
    sessions alone. A context, at whose end it is closed.
    """

    hop = None
    """An outbox keeps to each domain's own limits."""

    def __init__(
        self,
        client_name: str,
        *,
        resolver: NameServers | Resolver | None = None,
        **options: Unpack[DeliveryOptions],
    ) -> None:
        """Check the settings; nothing is looked up or dialled yet.

        `client_name` is the full name of this host, by which it says EHLO. `resolver` answers
        questions to the DNS: by default the system's name servers (`NameServers.system`). The
        options are those of `DeliveryOptions`.

        Raises:
            LocalProtocolError, TypeError, ValueError: an argument is wrong.
            ExtraMissing: dnspython is not installed, and no other resolver is given.
        """
        self._settings = Settings(client_name, resolver, options)
        self._sharing = _Sharing(self._settings, self._renew)
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Deliver nothing any more; what has begun is brought to its end.

        Sessions that were kept are closed; five seconds are all that servers have for that.
        """
        self._is_closed = True
        if self._sharing.process == os.getpid():
            self._sharing.sessions.close()
        self._settings.close()

    def plan(self, domain: str) -> Plan:
        """What would be done with mail for a domain, without a connection to its exchangers.

        Raises:
            AddressError: it is no domain.
            LocalProtocolError: the delivery is closed.
        """
        settings = self._settings
        settings.look_anew()
        return self._run(planned(domain_of(domain), settings.rules, settings.seed), _NO_CONTENT)

    def send(self, message: AnyContent, envelope: Envelope | None = None) -> DeliveryResult:
        """Send one message to the mail exchangers of each recipient.

        An `EmailMessage` can do without an envelope. A file or an iterable is read into memory,
        for it may have to be sent more than once. What interrupts it, such as Ctrl-C, carries what
        became of the message as ``.result``.

        Raises:
            SMTPError: nobody gets the message: `DeliveryFailed` where no server said so. Its
                `result` tells of each recipient.
            LocalProtocolError, AddressError, TypeError: it cannot be sent.
        """
        content, envelope = ready(message, envelope)
        return self._deliver(content, envelope, _unasked, verdict)

    def send_many(
        self,
        messages: Iterable[Message | NothingYet],
        *,
        connections: int = 4,
        window: int = 4,
        mark: Mark | None = None,
    ) -> Iterator[DeliveryResult]:
        """Send messages, each an `EmailMessage` or a pair of content and envelope.

        Yield a result for each as it comes; a message that cannot be sent is a result with its
        `error`. So many `connections` times `window` messages are on their way at once, at most
        64, and no more than half of them for one domain: one that is slow holds up no other. What
        takes long makes room for up to four times as many. A `mark` is asked before anything of a
        message may leave, in this thread (`smtpx.Mark`). An iterable that has no message just now
        gives `smtpx.NOTHING_YET`, and is asked again. Whatever ends it early waits for what has
        begun, and carries as ``.results`` what was not yielded.

        Raises:
            TypeError, ValueError, LocalProtocolError: an argument is wrong, or the delivery is
                closed; by the call itself.
        """
        most = check_many(messages, connections, window, mark)
        self._check_open()
        unbegun = Unbegun("Delivery.send_many()", "nothing was sent")
        return sent(unbegun, messages, most, mark, self._deliver)

    @property
    def reports(self) -> TLSReports | None:
        """Who reports on TLS, if anybody does."""
        return self._settings.reports

    def send_reports(self, *, most: int = 1000) -> list[SentReport]:
        """Send the TLS reports that are due (RFC 8460): what has become of each.

        A day is reported on in the four hours after it, in UTC; each domain has a time of its
        own. What cannot be sent is tried again, for a day. So this has to be called from time to
        time, from one process or several. The worker of an outbox does so by itself. No more
        than so many are sent as `most` says.

        Raises:
            LocalProtocolError: the delivery has no `reports`, or is closed.
            sqlite3.Error: the file of the reports cannot be used.
            TypeError, ValueError: `most` is no number above 0.
        """
        _checks.count("most", most, 1)
        settings = self._settings
        found: list[SentReport] = []
        while len(found) < most and (due := settings.next_report()) is not None:
            report, procedure = due
            sent = self._run(procedure, b"")
            settings.end(report, sent)
            found.append(sent)
        return found

    def _deliver(
        self,
        content: AnyContent,
        envelope: Envelope,
        mark: Callable[[], None],
        judge: Callable[[DeliveryResult], DeliveryResult] = as_it_is,
    ) -> DeliveryResult:
        course, deadline = self._settings.course(content, envelope), self._settings.deadline()
        try:
            return judge(self._run(course.steps(), content, mark, deadline))
        except BaseException as error:
            try:
                course.hang_on(error)
            except BaseException as another:
                account_again(course.hang_on, another)
                raise
            raise

    def _run(
        self,
        procedure: Steps[T],
        content: AnyContent,
        mark: Callable[[], None] = _unasked,
        deadline: Deadline = NEVER,
    ) -> T:
        try:
            self._check_open()
        except LocalProtocolError:
            procedure.close()
            raise
        settings, sharing = self._settings, self._sharing
        left = settings.resolver_timeout
        try:
            step = next(procedure)
            while True:
                try:
                    answer: Any = None
                    match step:
                        case LookUps():
                            began = monotonic()
                            seconds = min(left, deadline.ends - began)
                            if seconds <= 0:
                                deadline.check(f"to look up {step.questions[0].name}")
                            answer = sharing.look_up(step, seconds)
                            left = max(left - (monotonic() - began), 0.0)
                        case Begin(_, is_last):
                            most = deadline if is_last else deadline.share()
                            left = min(settings.resolver_timeout, most.left)
                        case Recall():
                            answer = settings.known(step.domain)
                        case Away(addresses):
                            answer = sharing.hosts.away(addresses, monotonic())
                        case Try():
                            deadline.check(f"to try {step.host}")
                            answer = sharing.sessions.attempt(step, content, deadline)
                        case Marked():
                            mark()
                        case Fetch():
                            answer = self._fetch(step)
                        case Renew():
                            sharing.renewals.renew(step, deadline)
                        case Keep():
                            settings.keep(step)
                        case Allowance(place):
                            answer = settings.allows(place)
                        case Count():
                            settings.count(step)
                        case Mail():
                            answer = self.send(step.message, step.envelope)
                except BaseException as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _check_open(self) -> None:
        """Make sure that something can be delivered.

        Raises:
            LocalProtocolError: the delivery is closed.
        """
        if self._is_closed:
            raise LocalProtocolError("the delivery is closed: make another one")
        if self._sharing.process != os.getpid():
            # After a fork nothing is ours, neither sessions nor locks.
            inherited, self._sharing = self._sharing, _Sharing(self._settings, self._renew)
            inherited.sessions.abandon()

    def _renew(self, step: Renew) -> None:
        self._run(renewing(step.domain, step.id, self._settings.rules), _NO_CONTENT)

    def _fetch(self, step: Fetch) -> bytes:
        """Speak HTTPS at whichever address answers first.

        Raises:
            FetchFailed: none has.
        """
        until = monotonic() + WITHIN
        tls, port = self._settings.policy_tls(step.host), self._settings.rules.policy_port
        left, addresses = WITHIN, step.addresses
        while True:
            dialled = dial(addresses, port, total=left)
            if dialled.socket is None:
                raise unreachable(step.host, dialled)
            try:
                left = max(until - monotonic(), 0.001)
                with Driver(dialled.socket, tls=tls) as driver:
                    return driver.run(step.dialogue(), timeout=left)
            except FetchFailed as error:
                failure = error
            except (OSError, SMTPError) as error:
                failure = FetchFailed(
                    f"{step.host} [{dialled.address}]: {error}",
                    is_certificate=isinstance(error, SSLError),
                )
            except BaseException:
                # By one call of C, whatever interrupts what follows.
                SocketType.close(dialled.socket)
                raise
            left = until - monotonic()
            addresses = left_of(addresses, dialled)
            if left <= 0 or not addresses:
                raise failure


class _Sharing:
    """What the threads of one process have in common."""

    def __init__(self, settings: Settings, renew: Callable[[Renew], None]) -> None:
        self.process = os.getpid()
        self.hosts = Hosts()
        self.sessions = Sessions(settings, self.hosts)
        self.renewals = Renewals(renew)
        self._settings = settings
        self._answers = Answers()
        self._asker: Asker | None = None
        self._servers: NameServers | None = None
        """Whom it asks."""

    def look_up(self, step: LookUps, seconds: float) -> Sequence[Answer]:
        """Answer questions, within so many seconds."""
        resolver = self._settings.resolver
        if not isinstance(resolver, NameServers):
            return cast("Resolver", resolver).look_up(step.questions)
        asker = self._asker
        if asker is None or resolver is not self._servers:
            self._answers.belong_to(resolver)
            asker = self._asker = Asker(resolver, self._answers)
            self._servers = resolver
        if step.fresh:
            self._answers.forget(step.questions)
        return asker.ask(step.questions, seconds, step.needed)


def deliver(
    message: AnyContent,
    envelope: Envelope | None = None,
    *,
    client_name: str,
    resolver: NameServers | Resolver | None = None,
    **options: Unpack[DeliveryOptions],
) -> DeliveryResult:
    """Send one message to the mail exchangers of its recipients; see `Delivery`.

    Raises:
        SMTPError, TypeError, ValueError: as `Delivery` and `Delivery.send`.
    """
    with Delivery(client_name, resolver=resolver, **options) as delivery:
        return delivery.send(message, envelope)
