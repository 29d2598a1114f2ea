"""Delivery in a task of asyncio or trio."""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from inspect import isawaitable
from ssl import SSLError
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast

from smtpx import AsyncSession, _checks
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, SMTPError
from smtpx.marking import Mark
from smtpx.sansio import AsyncDriver

from ._dnspython import Ask, Asking, NameServers, Pause, asking
from ._fetching import WITHIN
from ._many import Message, at_once, check_many, heed, taken, told_as, unsendable
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
from ._worlds import in_trio, pause, together
from .mta_sts import FetchFailed
from .outcomes import DeliveryResult
from .reports import SentReport, TLSReports
from .resolver import Answer, AsyncResolver, Question, Resolver

__all__ = ["AsyncDelivery"]

T = TypeVar("T")


class AsyncDelivery:
    """A `Delivery` for asyncio and trio: whichever runs the task that calls it."""

    hop = None
    """An outbox keeps to each domain's own limits."""

    def __init__(
        self,
        client_name: str,
        *,
        resolver: NameServers | AsyncResolver | Resolver | None = None,
        **options: Unpack[DeliveryOptions],
    ) -> None:
        """Check the settings; nothing is looked up or dialled yet. See `Delivery`.

        Raises:
            LocalProtocolError, TypeError, ValueError, ExtraMissing: as `Delivery`.
        """
        self._settings = Settings(client_name, resolver, options)
        self._answers = Answers()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Deliver nothing any more."""
        self._is_closed = True
        self._settings.close()

    async def plan(self, domain: str) -> Plan:
        """What would be done with mail for a domain; see `Delivery.plan`.

        Raises:
            AddressError, LocalProtocolError: as `Delivery.plan`.
        """
        settings = self._settings
        return await self._run(planned(domain_of(domain), settings.rules, settings.seed), b"")

    async def send(self, message: AnyContent, envelope: Envelope | None = None) -> DeliveryResult:
        """Send one message to the mail exchangers of each recipient; see `Delivery.send`.

        What is cancelled carries what became of the message as ``.result``.

        Raises:
            SMTPError, TypeError: as `Delivery.send`.
        """
        content, envelope = ready(message, envelope)
        return verdict(await self._deliver(content, envelope, None))

    def send_many(
        self,
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        connections: int = 4,
        window: int = 4,
        mark: Mark | None = None,
    ) -> AsyncIterator[DeliveryResult]:
        """Send messages; see `Delivery.send_many`.

        Messages go in batches of `connections` times `window`, at most 64. The next batch begins
        when all of one are done. A `mark` that returns an awaitable is awaited.

        Raises:
            TypeError, ValueError: an argument is wrong; by the call itself.
        """
        if hasattr(messages, "__aiter__"):
            most = at_once(connections, window, mark)
        else:
            most = check_many(messages, connections, window, mark)
        return self._send_many(messages, most, mark)

    async def _send_many(
        self, messages: Any, most: int, mark: Mark | None
    ) -> AsyncIterator[DeliveryResult]:
        source = aiter(messages) if hasattr(messages, "__aiter__") else _each(messages)
        told: list[DeliveryResult] = []

        async def one(message: Message) -> None:
            async def ask() -> None:
                if mark is not None:
                    said: Any = mark([told_as(message)], [])
                    heed(await said if isawaitable(said) else said)

            try:
                content, envelope = taken(message)
                result = await self._deliver(content, envelope, ask)
                result.message = told_as(message)
            except SMTPError as error:
                result = unsendable(message, error)
            except BaseException as error:
                known = vars(error).get("result")
                if isinstance(known, DeliveryResult):
                    known.message = told_as(message)
                    told.append(known)
                raise
            told.append(result)

        is_over = False
        try:
            while not is_over:
                batch: list[Message] = []
                while len(batch) < most and not is_over:
                    message: Any = await anext(source, source)
                    is_over = message is source
                    if not is_over:
                        batch.append(message)
                if batch:
                    _ = await together(one, batch)
                while told:
                    yield told[0]
                    del told[0]
        except BaseException as error:
            vars(error)["results"] = [] if isinstance(error, GeneratorExit) else told
            raise

    @property
    def reports(self) -> TLSReports | None:
        """Who reports on TLS, if anybody does."""
        return self._settings.reports

    async def send_reports(self, *, most: int = 1000) -> list[SentReport]:
        """Send the TLS reports that are due; see `Delivery.send_reports`.

        Raises:
            LocalProtocolError, TypeError, ValueError: as `Delivery.send_reports`.
        """
        _checks.count("most", most, 1)
        settings = self._settings
        found: list[SentReport] = []
        while len(found) < most and (due := settings.next_report()) is not None:
            report, procedure = due
            sent = await self._run(procedure, b"")
            settings.end(report, sent)
            found.append(sent)
        return found

    async def _deliver(
        self,
        content: AnyContent,
        envelope: Envelope,
        mark: Callable[[], Awaitable[None]] | None,
    ) -> DeliveryResult:
        settings = self._settings
        obeys = obeys_policies(content, envelope)
        procedure = delivered(envelope, settings.rules, settings.seed, obeys_policies=obeys)
        return await self._run(procedure, content, mark)

    async def _run(
        self,
        procedure: Steps[T],
        content: AnyContent,
        mark: Callable[[], Awaitable[None]] | None = None,
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
                            answer: Any = await self._look_up(step)
                        case Try():
                            answer = await self._try(step, content)
                        case Marked():
                            if mark is not None:
                                await mark()
                            answer = None
                        case Fetch():
                            answer = await self._fetch(step)
                        case Recall():
                            answer = self._settings.known(step.domain)
                        case Keep():
                            self._settings.keep(step)
                            answer = None
                        case Count():
                            self._settings.count(step)
                            answer = None
                        case Mail():
                            answer = await self.send(step.message, step.envelope)
                except BaseException as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value

    async def _try(self, step: Try, content: AnyContent) -> Said:
        settings = self._settings
        session = AsyncSession(
            Endpoint(step.address, settings.rules.port),
            tls=settings.tls(step.host, step.terms),
            **settings.session,
        )
        try:
            async with session:
                believe(step.terms, session.protection)
                result = await session.send(content, step.envelope)
        except SMTPError as error:
            return Said(error.result, error, session.protection)
        return Said(result, result.error, session.protection)

    async def _fetch(self, step: Fetch) -> bytes:
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
                async with AsyncDriver(endpoint, tls=tls, timeout=left) as driver:
                    left = max(until - monotonic(), 0.001)
                    return await driver.run(step.dialogue(), timeout=left)
            except FetchFailed as error:
                failure = error
            except (OSError, SMTPError) as error:
                failure = FetchFailed(
                    f"{step.host} [{address}]: {error}", is_certificate=isinstance(error, SSLError)
                )
        raise failure

    async def _look_up(self, step: LookUps) -> Sequence[Answer]:
        questions = step.questions
        if step.fresh:
            self._answers.forget(questions)
        resolver = self._settings.resolver
        if isinstance(resolver, NameServers):
            return await together(self._ask, questions)
        answers: Any = resolver.look_up(questions)
        if isawaitable(answers):
            answers = await answers
        return cast("Sequence[Answer]", answers)

    async def _ask(self, question: Question) -> Answer:
        answer = self._answers.get(question)
        if answer is None:
            answer = await _asked(asking(question, self._settings.resolver))
            self._answers.keep(question, answer)
        return answer


async def _each(messages: Iterable[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message


async def _asked(procedure: Asking) -> Answer:
    """Run one question to its answer."""
    import dns.asyncbackend
    import dns.asyncquery
    import dns.exception

    # Given, for dnspython keeps what it has found out by itself for ever.
    backend = dns.asyncbackend.get_backend("trio" if in_trio() else "asyncio")
    try:
        step = next(procedure)
        while True:
            try:
                response: Any = None
                match step:
                    case Pause(seconds):
                        await pause(seconds)
                    case Ask(query, server, port, True, timeout):
                        response = await dns.asyncquery.tcp(
                            query, server, timeout, port, backend=backend
                        )
                    case Ask(query, server, port, _, timeout):
                        response = await dns.asyncquery.udp(
                            *(query, server, timeout, port),
                            ignore_unexpected=True,
                            ignore_errors=True,
                            backend=backend,
                        )
            except (OSError, dns.exception.DNSException, ValueError, EOFError) as error:
                step = procedure.throw(error)
            else:
                step = procedure.send(response)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer
