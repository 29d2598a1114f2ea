"""Delivery in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ssl import SSLError
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from smtpx import Session, _checks
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, SMTPError
from smtpx.marking import Mark
from smtpx.sansio import Driver

from ._dnspython import Ask, Asking, NameServers, Pause, asking
from ._fetching import WITHIN
from ._many import Message, check_many, sent
from ._resolving import Plan
from ._settings import (
    Answers,
    AnyContent,
    DeliveryOptions,
    Settings,
    believe,
    domain_of,
    obeys_policies,
    ready,
    verdict,
)
from ._steps import Count, Fetch, Keep, LookUps, Mail, Marked, Recall, Said, Steps, Try
from ._walking import delivered, planned
from .mta_sts import FetchFailed
from .outcomes import DeliveryResult
from .reports import SentReport, TLSReports
from .resolver import Answer, Question, Resolver

__all__ = ["Delivery", "deliver"]

T = TypeVar("T")

# Questions that are asked at once.
_WIDTH = 32


class Delivery:
    """From a message to the mail exchangers of its recipients, without a server of your own.

    It finds the mail exchangers in the DNS, decides what TLS has to give there (DANE, MTA-STS,
    REQUIRETLS), and tries one after the other. It does not try again later: an outbox does.

    Safe to share between threads. A context, at whose end it is closed.
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
        self._answers = Answers()
        self._askers = ThreadPoolExecutor(_WIDTH, "smtpx.delivery")
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
        """Deliver nothing any more."""
        self._is_closed = True
        self._askers.shutdown(wait=False, cancel_futures=True)
        self._settings.close()

    def plan(self, domain: str) -> Plan:
        """What would be done with mail for a domain, without a connection to its exchangers.

        Raises:
            AddressError: it is no domain.
            LocalProtocolError: the delivery is closed.
        """
        settings = self._settings
        return self._run(planned(domain_of(domain), settings.rules, settings.seed), _NO_CONTENT)

    def send(self, message: AnyContent, envelope: Envelope | None = None) -> DeliveryResult:
        """Send one message to the mail exchangers of each recipient.

        An `EmailMessage` can do without an envelope. A file or an iterable is read into memory,
        for it may have to be sent more than once.

        Raises:
            SMTPError: nobody gets the message: `DeliveryFailed` where no server said so. Its
                `result` tells of each recipient.
            LocalProtocolError, AddressError, TypeError: it cannot be sent.
        """
        content, envelope = ready(message, envelope)
        return verdict(self._deliver(content, envelope, _unasked))

    def send_many(
        self,
        messages: Iterable[Message],
        *,
        connections: int = 4,
        window: int = 4,
        mark: Mark | None = None,
    ) -> Iterator[DeliveryResult]:
        """Send messages, each an `EmailMessage` or a pair of content and envelope.

        Yield a result for each as it comes; a message that cannot be sent is a result with its
        `error`. So many `connections` times `window` messages are on their way at once, at most
        64: a domain that is slow holds up no other. A `mark` is asked before anything of a message
        may leave, in this thread (`smtpx.Mark`). Whatever ends it early waits for what has begun.

        Raises:
            TypeError, ValueError: an argument is wrong; by the call itself.
        """
        most = check_many(messages, connections, window, mark)
        return sent(messages, most, mark, self._deliver)

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
        self, content: AnyContent, envelope: Envelope, mark: Callable[[], None]
    ) -> DeliveryResult:
        settings = self._settings
        obeys = obeys_policies(content, envelope)
        procedure = delivered(envelope, settings.rules, settings.seed, obeys_policies=obeys)
        return self._run(procedure, content, mark)

    def _run(
        self, procedure: Steps[T], content: AnyContent, mark: Callable[[], None] | None = None
    ) -> T:
        if self._is_closed:
            procedure.close()
            raise LocalProtocolError("the delivery is closed: make another one")
        try:
            step = next(procedure)
            while True:
                try:
                    match step:
                        case LookUps():
                            answer: Any = self._look_up(step)
                        case Try():
                            answer = self._try(step, content)
                        case Marked():
                            if mark is not None:
                                mark()
                            answer = None
                        case Fetch():
                            answer = self._fetch(step)
                        case Recall():
                            answer = self._settings.known(step.domain)
                        case Keep():
                            self._settings.keep(step)
                            answer = None
                        case Count():
                            self._settings.count(step)
                            answer = None
                        case Mail():
                            answer = self.send(step.message, step.envelope)
                except BaseException as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _try(self, step: Try, content: AnyContent) -> Said:
        settings = self._settings
        session = Session(
            Endpoint(step.address, settings.rules.port),
            tls=settings.tls(step.host, step.terms),
            **settings.session,
        )
        try:
            with session:
                believe(step.terms, session.protection)
                result = session.send(content, step.envelope)
        except SMTPError as error:
            return Said(error.result, error, session.protection)
        return Said(result, result.error, session.protection)

    def _fetch(self, step: Fetch) -> bytes:
        """Speak HTTPS at whichever address answers first.

        Raises:
            FetchFailed: none has.
        """
        until = monotonic() + WITHIN
        failure = FetchFailed(f"{step.host} has no address")
        for address in step.addresses:
            endpoint = Endpoint(address, self._settings.rules.policy_port)
            tls = self._settings.policy_tls(step.host)
            left = until - monotonic()
            if left <= 0:
                break
            try:
                with Driver(endpoint, tls=tls, timeout=left) as driver:
                    left = max(until - monotonic(), 0.001)
                    return driver.run(step.dialogue(), timeout=left)
            except FetchFailed as error:
                failure = error
            except (OSError, SMTPError) as error:
                failure = FetchFailed(
                    f"{step.host} [{address}]: {error}", is_certificate=isinstance(error, SSLError)
                )
        raise failure

    def _look_up(self, step: LookUps) -> Sequence[Answer]:
        questions = step.questions
        if step.fresh:
            self._answers.forget(questions)
        resolver = self._settings.resolver
        if not isinstance(resolver, NameServers):
            answers: Sequence[Answer] = resolver.look_up(questions)
            return answers
        return list(self._askers.map(self._ask, questions))

    def _ask(self, question: Question) -> Answer:
        answer = self._answers.get(question)
        if answer is None:
            answer = _asked(asking(question, self._settings.resolver))
            self._answers.keep(question, answer)
        return answer


def _asked(procedure: Asking) -> Answer:
    """Run one question to its answer."""
    import dns.exception
    import dns.query

    try:
        step = next(procedure)
        while True:
            try:
                response: Any = None
                match step:
                    case Pause(seconds):
                        time.sleep(seconds)
                    case Ask(query, server, port, True, timeout):
                        response = dns.query.tcp(query, server, timeout, port)
                    case Ask(query, server, port, _, timeout):
                        response = dns.query.udp(
                            query, server, timeout, port, ignore_unexpected=True, ignore_errors=True
                        )
            except (OSError, dns.exception.DNSException, ValueError, EOFError) as error:
                step = procedure.throw(error)
            else:
                step = procedure.send(response)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer


def _unasked() -> None:
    """Nobody has to be asked before a message may leave."""


_NO_CONTENT = b""


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
