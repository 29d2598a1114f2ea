"""Delivery in a task of asyncio or trio."""

from __future__ import annotations

import os
from collections.abc import (
    AsyncGenerator,
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

from smtpx import _checks
from smtpx._accounting import account_again
from smtpx._ends import no_end
from smtpx._unbegun import Unbegun
from smtpx._uncopied import Uncopied
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, SMTPError
from smtpx.marking import Mark
from smtpx.pausing import NOTHING_YET, PAUSE, NothingYet
from smtpx.results import Status
from smtpx.sansio import AsyncDriver, dial_async

from ._answers import Answers
from ._asking_tasks import TaskAsker
from ._crowd import Crowd
from ._deadline import NEVER, Deadline
from ._dnspython import NameServers
from ._fetching import WITHIN, left_of, unreachable
from ._flights import unheard
from ._hosts import Hosts
from ._manners import Manners
from ._many import (
    Message,
    at_once,
    check_many,
    domains_of,
    heed,
    octets_of,
    taken,
    told_as,
    unsendable,
    unsent,
)
from ._policy import renewing
from ._renewals import TaskRenewals
from ._resolving import Plan
from ._sessions_tasks import TaskSessions
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
from ._worlds import Background, Call, World, current_world, end
from .mta_sts import FetchFailed
from .outcomes import DeliveryResult
from .reports import SentReport, TLSReports
from .resolver import Answer, AsyncResolver, Resolver

__all__ = ["AsyncDelivery"]

T = TypeVar("T")


class AsyncDelivery(Uncopied):
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
        self._is_closed = False
        self._runs: dict[object, _Sharing] = {}
        self._begin_anew()

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
        """Deliver nothing any more; see `Delivery.close`."""
        self._is_closed = True
        sharing = self._runs.get(current_world().run())
        if sharing is not None and self._process == os.getpid():
            try:
                await sharing.renewals.close()
            finally:
                await sharing.sessions.close()
        self._settings.close()

    async def plan(self, domain: str) -> Plan:
        """What would be done with mail for a domain; see `Delivery.plan`.

        Raises:
            AddressError, LocalProtocolError: as `Delivery.plan`.
        """
        settings = self._settings
        settings.look_anew()
        return await self._run(planned(domain_of(domain), settings.rules, settings.seed), b"")

    async def send(self, message: AnyContent, envelope: Envelope | None = None) -> DeliveryResult:
        """Send one message to the mail exchangers of each recipient; see `Delivery.send`.

        What is cancelled carries what became of the message as ``.result``.

        Raises:
            SMTPError, TypeError: as `Delivery.send`.
        """
        content, envelope = ready(message, envelope)
        return await self._deliver(content, envelope, None, verdict)

    def send_many(
        self,
        messages: Iterable[Message | NothingYet] | AsyncIterable[Message | NothingYet],
        *,
        connections: int = 4,
        window: int = 4,
        mark: Mark | None = None,
    ) -> AsyncIterator[DeliveryResult]:
        """Send messages; see `Delivery.send_many`.

        A `mark` that returns an awaitable is awaited. What ends it early cancels what has begun,
        and carries as ``.results`` what was not yielded.

        Raises:
            TypeError, ValueError, LocalProtocolError: an argument is wrong, or the delivery is
                closed; by the call itself.
        """
        if hasattr(messages, "__aiter__"):
            most = at_once(connections, window, mark)
        else:
            most = check_many(messages, connections, window, mark)
        self._check_open()
        unbegun = Unbegun("AsyncDelivery.send_many()", "nothing was sent", awaited=True)
        return self._send_many(unbegun, messages, most, mark)

    async def _send_many(
        self, unbegun: Unbegun, messages: Any, most: int, mark: Mark | None
    ) -> AsyncIterator[DeliveryResult]:
        unbegun.begin()
        source = aiter(messages) if hasattr(messages, "__aiter__") else _each(messages)
        world = current_world()
        news = world.make_bell()
        crowd: Crowd[object] = Crowd(most)
        running: dict[object, Background | None] = {}
        untold: dict[object, Message] = {}
        """What was read, until it is told."""
        begun: set[object] = set()
        """Those of them whose task runs."""
        told: list[DeliveryResult] = []
        failures: list[Exception] = []
        is_stopped = is_left = False

        async def run(place: object) -> None:
            if is_stopped:
                return
            begun.add(place)
            message = untold[place]
            try:
                told.append(await self._one(message, mark))
            except BaseException as error:
                known = vars(error).get("result")
                result = known if isinstance(known, DeliveryResult) else unsent(message)
                result.message = told_as(message)
                told.append(result)
                if not isinstance(error, Exception):
                    raise
                failures.append(error)
            finally:
                del running[place], untold[place]
                crowd.done(place)
                news.ring()

        def begin(place: object) -> None:
            running[place] = None
            task = world.spawn(lambda: run(place))
            if place in running:
                running[place] = task

        def account(error: BaseException) -> None:
            """Hang what was not told on what ends the call."""
            lost = [
                unsent(message, status=Status.IN_DOUBT if place in begun else Status.NOT_TRIED)
                for place, message in untold.items()
            ]
            vars(error)["results"] = [] if is_left else [*told, *lost]

        is_over = False
        try:
            while True:
                has_nothing = False
                while True:
                    now = monotonic()
                    place = crowd.next(now)
                    if place is not None:
                        begin(place)
                        continue
                    if is_over or told or failures or not crowd.wants_more(now):
                        break
                    message: Any = await anext(source, source)
                    is_over, has_nothing = message is source, message is NOTHING_YET
                    if has_nothing:
                        break
                    if not is_over:
                        place = object()
                        untold[place] = message
                        crowd.add(place, domains_of(message), octets_of(message))
                if failures:
                    raise failures[0]
                while True:
                    if not told:
                        break
                    yield told[0]
                    del told[0]
                if is_over and not untold:
                    return
                now = monotonic()
                if not is_over and crowd.wants_more(now):
                    if has_nothing:
                        await news.wait(PAUSE)
                else:
                    again = crowd.looks_again(now)
                    await news.wait(None if again is None else max(again - now, 0.0))
        except BaseException as error:
            is_stopped, is_left = True, isinstance(error, GeneratorExit)
            reason = no_end(error, "what send_many was given")
            try:
                try:
                    await end([task for task in running.values() if task is not None])
                finally:
                    if isinstance(source, AsyncGenerator):
                        await source.aclose()
            except BaseException as another:
                reason = another  # It is what the caller gets.
                raise
            finally:
                try:
                    account(reason)
                except BaseException as another:
                    account_again(account, another)
                    raise
            if reason is not error:
                raise reason from error
            raise

    async def _one(self, message: Message, mark: Mark | None) -> DeliveryResult:
        """What becomes of one of many messages."""

        async def ask() -> None:
            if mark is not None:
                said: Any = mark([told_as(message)], [])
                heed(await said if isawaitable(said) else said)

        try:
            content, envelope = taken(message)
        except SMTPError as error:
            return unsendable(message, error)
        try:
            result = await self._deliver(content, envelope, ask)
        except SMTPError as error:  # Of the delivery, which is closed: none of the message's.
            vars(error)["result"] = unsendable(message, error, envelope)
            raise
        result.message = told_as(message)
        return result

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
        judge: Callable[[DeliveryResult], DeliveryResult] = as_it_is,
    ) -> DeliveryResult:
        course, deadline = self._settings.course(content, envelope), self._settings.deadline()
        try:
            return judge(await self._run(course.steps(), content, mark, deadline))
        except BaseException as error:
            try:
                course.hang_on(error)
            except BaseException as another:
                account_again(course.hang_on, another)
                raise
            raise

    async def _run(
        self,
        procedure: Steps[T],
        content: AnyContent,
        mark: Callable[[], Awaitable[None]] | None = None,
        deadline: Deadline = NEVER,
    ) -> T:
        try:
            sharing = self._shared()
        except LocalProtocolError:
            procedure.close()
            raise
        settings = self._settings
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
                            answer = await sharing.look_up(step, seconds)
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
                            answer = await sharing.sessions.attempt(step, content, deadline)
                        case Marked():
                            if mark is not None:
                                await mark()
                        case Fetch():
                            answer = await self._fetch(step)
                        case Renew():
                            await sharing.renewals.renew(step, deadline)
                        case Keep():
                            settings.keep(step)
                        case Allowance(place):
                            answer = settings.allows(place)
                        case Count():
                            settings.count(step)
                        case Mail():
                            answer = await self.send(step.message, step.envelope)
                except BaseException as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _shared(self) -> _Sharing:
        """What the tasks of the present run have in common.

        Raises:
            LocalProtocolError: the delivery is closed.
        """
        self._check_open()
        world = current_world()
        run = world.run()
        sharing = self._runs.get(run)
        if sharing is None:
            self._runs = {
                known: one for known, one in self._runs.items() if not one.world.is_over(known)
            }
            known = self._knowledge
            sharing = _Sharing(self._settings, known, world, self._renewing)
            self._runs[run] = sharing
        return sharing

    def _check_open(self) -> None:
        if self._is_closed:
            raise LocalProtocolError("the delivery is closed: make another one")
        if self._process != os.getpid():
            # After a fork nothing is ours, neither loops nor locks.
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._knowledge = Answers(), Manners(), Hosts()
        self._runs = {}

    def _renewing(self, step: Renew) -> Call:
        async def renew() -> None:
            procedure = renewing(step.domain, step.id, self._settings.rules)
            await self._run(procedure, b"")

        return renew

    async def _fetch(self, step: Fetch) -> bytes:
        """Speak HTTPS at whichever address answers first.

        Raises:
            FetchFailed: none has.
        """
        until = monotonic() + WITHIN
        tls, port = self._settings.policy_tls(step.host), self._settings.rules.policy_port
        left, addresses = WITHIN, step.addresses
        while True:
            dialled = await dial_async(addresses, port, total=left)
            if dialled.socket is None:
                raise unreachable(step.host, dialled)
            left = max(until - monotonic(), 0.001)
            try:
                async with AsyncDriver(dialled.socket, tls=tls) as driver:
                    return await driver.run(step.dialogue(), timeout=left)
            except FetchFailed as error:
                failure = error
            except (OSError, SMTPError) as error:
                failure = FetchFailed(
                    f"{step.host} [{dialled.address}]: {error}",
                    is_certificate=isinstance(error, SSLError),
                )
            left = until - monotonic()
            addresses = left_of(addresses, dialled)
            if left <= 0 or not addresses:
                raise failure


class _Sharing:
    """What the tasks of one run of a loop have in common."""

    def __init__(
        self,
        settings: Settings,
        knowledge: tuple[Answers, Manners, Hosts],
        world: World,
        renewing: Callable[[Renew], Call],
    ) -> None:
        self._settings = settings
        self._answers, self._manners, self.hosts = knowledge
        self.world = world
        self.sessions = TaskSessions(settings, self.hosts, world)
        self.renewals = TaskRenewals(renewing, world)
        self._asker: TaskAsker | None = None
        self._servers: NameServers | None = None
        """Whom it asks."""

    async def look_up(self, step: LookUps, seconds: float) -> Sequence[Answer]:
        """Answer questions, within so many seconds."""
        questions = step.questions
        resolver: Any = self._settings.resolver
        if isinstance(resolver, NameServers):
            asker = self._asker
            if asker is None or resolver is not self._servers:
                self._answers.belong_to(resolver)
                asker = TaskAsker(resolver, self._answers, self._manners, self.world)
                self._asker, self._servers = asker, resolver
            if step.fresh:
                self._answers.forget(questions)
            return await asker.ask(questions, seconds, step.needed)
        seconds = seconds if step.needed else seconds / 2
        answers = resolver.look_up(questions)
        if not isawaitable(answers):
            return cast("Sequence[Answer]", answers)

        async def wait() -> Any:
            return await answers

        try:
            found: Any = await self.world.within(max(seconds, 0.001), wait)
        except TimeoutError:
            return [unheard(seconds) for _ in questions]
        return cast("Sequence[Answer]", found)


async def _each(messages: Iterable[Message | NothingYet]) -> AsyncIterator[Message | NothingYet]:
    for message in messages:
        yield message
