"""Every face of smtpx, driven as a plan says; what it says is noted.

Whatever a face raises that is neither an `SMTPError` nor the caller's own is a violation; so are
connections of the pool that are still taken when all calls have ended.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, TypeAlias

import trio

import smtpx
from smtpx import AsyncClient, AsyncSession, Client, PoolLimits, Session, Timeouts
from smtpx import smtplib as old
from tests.certainty.judge import NOT_ACCEPTED, UNKNOWN, Told, Verdict
from tests.certainty.mails import Mail
from tests.certainty.plans import Plan

OURS = str(Path(smtpx.__file__).parent)
HERE = str(Path(__file__).parent)
IN_DOUBT = "in doubt"


class CallersError(Exception):
    """What the caller's iterable raises."""


class CallersExit(BaseException):
    """What the caller's iterable raises, and few expect."""


class Round:
    """One plan, run against a server at a port."""

    def __init__(
        self, plan: Plan, port: int, ca_file: str, told: Told, end_idle: Callable[[], object]
    ) -> None:
        self.plan = plan
        self.end_idle = end_idle
        self.told = told
        self.port = port
        self.ca_file = ca_file
        self.chance = Random(f"clients {plan.seed}")
        told.resends = plan.on_doubt == "resend" and "many" in plan.face

    @property
    def url(self) -> str:
        server = self.plan.server
        scheme = {"implicit": "smtps", "starttls": "smtp", "none": "smtp"}[server["tls"]]
        query = {"none": "", "implicit": f"?ca={self.ca_file}"}.get(
            server["tls"], f"?tls=starttls&ca={self.ca_file}"
        )
        return f"{'lmtp' if server['lmtp'] else scheme}://127.0.0.1:{self.port}{query}"

    @property
    def options(self) -> dict[str, Any]:
        return {"timeouts": Timeouts.each(self.plan.timeouts)}

    @property
    def limits(self) -> PoolLimits:
        return PoolLimits(**self.plan.pool)

    @property
    def many(self) -> Any:
        plan = self.plan
        return {
            "connections": plan.connections,
            "window": plan.window,
            "on_doubt": plan.on_doubt,
        }

    def run(self) -> None:
        match self.plan.face:
            case "session":
                self.by_session()
            case "send" | "threads":
                self.by_client()
            case "one shot":
                for mail in self.told.mails:
                    self.attempt(mail, lambda item: smtpx.send(item[0], self.url, envelope=item[1], **self.options))
            case "many" | "abandoned many" | "failing many" | "interrupted many":
                self.by_send_many()
            case "interrupted send":
                self.interrupted_send()
            case "async send":
                self.in_world(self.by_tasks)
            case "async many":
                self.in_world(self.by_async_send_many)
            case "smtplib":
                self.by_smtplib()

    # One message after the other.

    def attempt(self, mail: Mail, send: Callable[[tuple[Any, Any]], Any]) -> bool:
        """Send one; False if it failed."""
        item = self.told.hand_over(mail)
        try:
            self.told.result(send(item), mail)
        except smtpx.SMTPError as error:
            self.told.error(error, mail)
            return False
        except KeyboardInterrupt as interruption:
            self.told.error(interruption, mail)
            return False
        except BaseException as error:
            self.told.foreign(error)
            self.told.error(error, mail)
            return False
        return True

    def pause(self) -> None:
        if not self.plan.pauses or self.chance.random() < 0.7:
            return
        if self.plan.theme == "idle":
            _ = self.end_idle()
        else:
            time.sleep(self.chance.choice((0.001, 0.005, 0.02)))

    def by_session(self, around: Callable[[], Any] = suppress) -> None:
        """A session until it is over, then another."""
        left = list(reversed(self.told.mails))
        for _ in range(len(left) + 30):
            if not left:
                return
            session = Session(self.url, **self.options)
            try:
                session.open()
            except smtpx.SMTPError:
                continue
            try:
                while left and session.is_open:
                    with around():
                        _ = self.attempt(left.pop(), lambda item: session.send(*item))
                    self.pause()
            finally:
                session.close()

    def by_client(self) -> None:
        left = list(reversed(self.told.mails))

        def work() -> None:
            while left:
                try:
                    mail = left.pop()
                except IndexError:
                    return
                _ = self.attempt(mail, lambda item: client.send(*item))
                self.pause()

        with Client(self.url, pool=self.limits, **self.options) as client:
            threads = [threading.Thread(target=work) for _ in range(self.plan.callers - 1)]
            for thread in threads:
                thread.start()
            work()
            for thread in threads:
                thread.join()
            self.look_at_slots(client)

    def look_at_slots(self, client: Client | AsyncClient) -> None:
        """Nobody sends any more."""
        there = client.statistics()
        if there.opening or there.busy or there.waiting:
            self.told.problem("a leaked slot of the pool", str(there))

    # Many at once.

    def source(self) -> Iterator[Any]:
        """What the caller gives to `send_many`."""
        slow, fails = "slow" in self.plan.how, "error" in self.plan.how
        at = self.chance.randrange(1, len(self.told.mails) + 1) if fails else None
        if self.plan.how == "exit":
            at = self.chance.randrange(1, len(self.told.mails) + 1)
        for number, mail in enumerate(self.told.mails):
            if number == at:
                raise CallersExit if self.plan.how == "exit" else CallersError
            if slow and self.chance.random() < 0.1:
                time.sleep(self.chance.choice((0.001, 0.012, 0.03)))
            message, envelope = self.told.hand_over(mail)
            yield message if envelope is None else (message, envelope)

    async def arriving(self, sleep: Callable[[float], Awaitable[object]]) -> AsyncIterator[Any]:
        """The same from an asynchronous iterable."""
        slow, fails = "slow" in self.plan.how, "error" in self.plan.how
        at = self.chance.randrange(1, len(self.told.mails) + 1) if fails else None
        for number, mail in enumerate(self.told.mails):
            if number == at:
                raise CallersError
            if slow and self.chance.random() < 0.1:
                await sleep(self.chance.choice((0, 0.001, 0.012, 0.03)))
            message, envelope = self.told.hand_over(mail)
            yield message if envelope is None else (message, envelope)

    def by_send_many(self) -> None:
        plan, told = self.plan, self.told
        calls = 3 if plan.face == "interrupted many" else 1
        with Client(self.url, pool=self.limits, **self.options) as client:
            source = self.source()
            for _ in range(calls):
                results = client.send_many(source, **self.many)
                stop_after = self.chance.randrange(len(told.mails) + 1)
                count = 0
                try:
                    while plan.face != "abandoned many" or count < stop_after:
                        with self.interrupting() if plan.face == "interrupted many" else suppress():
                            result = next(results)
                        told.result(result)
                        count += 1
                except StopIteration:
                    pass
                except smtpx.SMTPError as error:
                    told.results_of(error)
                except (KeyboardInterrupt, CallersError, CallersExit) as error:
                    told.results_of(error)
                except BaseException as error:
                    told.foreign(error)
                    told.results_of(error)
                else:
                    told.abandoned = True
                if plan.how == "close":
                    results.close()  # type: ignore[attr-defined] # it is a generator
                del results
                _ = gc.collect(0)
            self.look_at_slots(client)

    # Ctrl-C.

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Have SIGINT come at some moment; it counts only where smtpx is at work."""
        if self.chance.random() < 0.3:
            yield
            return
        with _interrupter.after(self.chance.random() * self.chance.choice((0.001, 0.005, 0.03))):
            yield

    def interrupted_send(self) -> None:
        match self.plan.how:
            case "session":
                self.by_session(self.interrupting)
            case "client":
                with Client(self.url, pool=self.limits, **self.options) as client:
                    for mail in self.told.mails:
                        with self.interrupting():
                            _ = self.attempt(mail, lambda item: client.send(*item))
                    self.look_at_slots(client)
            case _:
                for mail in self.told.mails:
                    with self.interrupting():
                        _ = self.attempt(mail, lambda item: smtpx.send(item[0], self.url, envelope=item[1], **self.options))

    # Tasks.

    def in_world(self, main: Callable[[World], Awaitable[None]]) -> None:
        name = self.plan.world
        if name == "trio":
            trio.run(main, TrioWorld())
            return
        factory = None
        if name == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(lambda _, about: self.told.problem("noise of the loop", str(about)))
            runner.run(self.and_no_tasks(main(AsyncioWorld())))

    async def and_no_tasks(self, main: Any) -> None:
        await main
        for _ in range(20):
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if not left:
                return
            await asyncio.sleep(0.005)
        self.told.problem("a leaked task", str(left))

    async def by_tasks(self, world: World) -> None:
        plan = self.plan
        left = list(reversed(self.told.mails))

        async def one(client: Any, mail: Mail) -> None:
            if plan.cancel and self.chance.random() < 0.4:
                delay = self.chance.random() * self.chance.choice((0.001, 0.005, 0.02))
                await world.cancelled_after(delay, lambda: self.attempt_in(world, mail, client.send))
            else:
                await self.attempt_in(world, mail, client.send)
            if plan.pauses and plan.theme == "idle":
                self.pause()
            elif plan.pauses and self.chance.random() < 0.3:
                await world.sleep(self.chance.choice((0.001, 0.005, 0.02)))

        async def work() -> None:
            while left:
                await one(client, left.pop())

        if self.chance.random() < 0.25:
            await self.by_async_sessions(world, left, one)
            return
        async with AsyncClient(self.url, pool=self.limits, **self.options) as client:
            await world.all_of([work] * plan.callers)
            self.look_at_slots(client)

    async def by_async_sessions(
        self, world: World, left: list[Mail], one: Callable[[Any, Mail], Awaitable[None]]
    ) -> None:
        if self.chance.random() < 0.3:
            for mail in left:
                await one(_OneShot(self.url, self.options), mail)
            return
        for _ in range(len(left) + 30):
            if not left:
                return
            session = AsyncSession(self.url, **self.options)
            try:
                await session.open()
            except smtpx.SMTPError:
                continue
            try:
                while left and session.is_open:
                    await one(session, left.pop())
            finally:
                await session.close()

    async def attempt_in(
        self, world: World, mail: Mail, send: Callable[..., Awaitable[Any]]
    ) -> None:
        item = self.told.hand_over(mail)
        try:
            result = await send(*item)
        except smtpx.SMTPError as error:
            self.told.error(error, mail)
        except world.Cancelled as cancellation:
            self.told.error(cancellation, mail)
            raise
        except BaseException as error:
            self.told.foreign(error)
            self.told.error(error, mail)
        else:
            self.told.result(result, mail)

    async def by_async_send_many(self, world: World) -> None:
        plan = self.plan
        async with AsyncClient(self.url, pool=self.limits, **self.options) as client:
            source = self.arriving(world.sleep) if "async" in plan.how else self.source()
            results = client.send_many(source, **self.many)
            listen = lambda: self.listen(world, results)  # noqa: E731
            if plan.cancel:
                delay = self.chance.random() * self.chance.choice((0.005, 0.02, 0.1))
                await world.cancelled_after(delay, listen)
            else:
                await listen()
            await results.aclose()
            del results
            self.look_at_slots(client)

    async def listen(self, world: World, results: Any) -> None:
        told, plan = self.told, self.plan
        stop_after = self.chance.randrange(len(told.mails) + 1) if "break" in plan.how else None
        sleepy = self.chance.random() < 0.3
        told.abandoned = True  # Unless the generator itself ends, by whatever it raises.
        count = 0
        while count != stop_after:
            try:
                result = await anext(results)
            except StopAsyncIteration:
                told.abandoned = False
                return
            except (smtpx.SMTPError, CallersError, CallersExit) as error:
                told.abandoned = False
                told.results_of(error)
                return
            except world.Cancelled as cancellation:
                told.abandoned = False
                told.results_of(cancellation)
                raise
            except BaseException as error:
                told.abandoned = False
                told.foreign(error)
                told.results_of(error)
                return
            told.result(result)
            count += 1
            if sleepy and self.chance.random() < 0.1:
                await world.sleep(0.003)

    # The old API.

    def by_smtplib(self) -> None:
        left = list(reversed(self.told.mails))
        for _ in range(len(left) + 30):
            if not left:
                return
            try:
                smtp = self.connected()
            except (old.SMTPException, OSError):
                continue
            try:
                while left and smtp.sock is not None:
                    self.sendmail(smtp, left.pop())
                    self.pause()
            finally:
                with suppress(old.SMTPException, OSError):
                    if smtp.sock is not None:
                        _ = smtp.quit()
                smtp.close()

    def connected(self) -> old.SMTP:
        import ssl

        context = None
        if self.plan.server["tls"] != "none":
            context = ssl.create_default_context(cafile=self.ca_file)
        timeout = self.plan.timeouts
        if self.plan.server["tls"] == "implicit":
            return old.SMTP_SSL("127.0.0.1", self.port, "[127.0.0.1]", timeout=timeout, context=context)
        smtp = old.SMTP("127.0.0.1", self.port, "[127.0.0.1]", timeout=timeout)
        if self.plan.server["tls"] == "starttls":
            try:
                _ = smtp.starttls(context=context)
            except BaseException:
                smtp.close()
                raise
        return smtp

    def sendmail(self, smtp: old.SMTP, mail: Mail) -> None:
        item, envelope = self.told.hand_over(mail)
        verdicts: dict[str, Verdict] = dict.fromkeys(mail.recipients, NOT_ACCEPTED)
        try:
            if envelope is None:
                refused = smtp.send_message(item)
            elif not mail.recipients[-1].isascii():
                refused = smtp.sendmail(mail.sender, mail.recipients, item, ["SMTPUTF8"])
            else:
                refused = smtp.sendmail(mail.sender, mail.recipients, item)
        except old.SMTPServerDisconnected as error:
            if IN_DOUBT in str(error):
                verdicts = dict.fromkeys(mail.recipients, UNKNOWN)
        except (old.SMTPException, smtpx.AddressError, UnicodeEncodeError):
            pass  # The last as ever, where SMTPUTF8 is not offered.
        except BaseException as error:
            self.told.foreign(error)
        else:
            verdicts = {
                each: smtpx.Status.REFUSED if each in refused else smtpx.Status.ACCEPTED
                for each in mail.recipients
            }
        self.told.tell(mail, verdicts)


class _OneShot:
    """`asend` with the look of a client."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options

    async def send(self, message: Any, envelope: Any) -> Any:
        return await smtpx.asend(message, self._url, envelope=envelope, **self._options)


class _Interrupter:
    """Sends this process SIGINT from a thread, and turns it into an interruption of smtpx alone."""

    def __init__(self) -> None:
        self._armed = False
        self._timers: list[threading.Timer] = []

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, self._heard)
        self._armed = True
        self._start(seconds)
        try:
            yield
        finally:
            self._armed = False
            while self._timers:
                timer = self._timers.pop()
                timer.cancel()
                timer.join()
            _ = signal.signal(signal.SIGINT, before)

    def _start(self, seconds: float) -> None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
        self._timers.append(timer)
        timer.start()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        """Raise where smtpx is at work; what is ours may not be interrupted: a little later then."""
        if not self._armed:
            return
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(OURS):
                self._armed = False
                raise KeyboardInterrupt
            if file.startswith(HERE):
                break
            frame = frame.f_back
        self._start(0.0005)


_interrupter = _Interrupter()


class AsyncioWorld:
    Cancelled = asyncio.CancelledError

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def all_of(self, calls: list[Callable[[], Any]]) -> None:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                _ = group.create_task(call())

    async def cancelled_after(self, seconds: float, call: Callable[[], Any]) -> None:
        task = asyncio.ensure_future(call())
        handle = asyncio.get_running_loop().call_later(seconds, task.cancel)
        _ = await asyncio.wait([task])
        handle.cancel()
        if not task.cancelled():
            task.result()


class TrioWorld:
    Cancelled = trio.Cancelled

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def all_of(self, calls: list[Callable[[], Any]]) -> None:
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(call)

    async def cancelled_after(self, seconds: float, call: Callable[[], Any]) -> None:
        with trio.move_on_after(seconds):
            await call()


World: TypeAlias = AsyncioWorld | TrioWorld
