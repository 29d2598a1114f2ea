"""`AsyncSession`, `AsyncClient`, `asend()` and their `send_many`, cancelled at any moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import smtpx
from smtpx import AsyncClient, AsyncSession
from tests.certainty.driving import worlds
from tests.certainty.driving.scene import CallersError, CallersExit, Scene
from tests.certainty.driving.worlds import World
from tests.certainty.mails import Mail

Send: TypeAlias = Callable[..., Awaitable[Any]]


def by_async_send(scene: Scene) -> None:
    way = {"session": _by_sessions, "one shot": _by_one_shots}.get(scene.plan.how, _by_client)
    worlds.run(scene.plan.world, lambda world: way(scene, world), scene.told)


def by_async_send_many(scene: Scene) -> None:
    worlds.run(scene.plan.world, lambda world: _by_send_many(scene, world), scene.told)


async def _by_client(scene: Scene, world: World) -> None:
    """A client, shared by so many tasks."""
    left = list(reversed(scene.told.mails))

    async def work() -> None:
        while left:
            await attempt(scene, world, left.pop(), client.send)

    async with AsyncClient(scene.url, pool=scene.limits, **scene.options) as client:
        await world.all_of([work] * scene.plan.callers)
        scene.look_at_slots(client)


async def _by_sessions(scene: Scene, world: World) -> None:
    left = list(reversed(scene.told.mails))
    for _ in range(len(left) + 30):
        if not left:
            return
        session = AsyncSession(scene.url, **scene.options)
        try:
            await session.open()
        except smtpx.SMTPError:
            continue
        try:
            while left and session.is_open:
                await attempt(scene, world, left.pop(), session.send)
        finally:
            await session.close()


async def _by_one_shots(scene: Scene, world: World) -> None:
    async def send(message: Any, envelope: Any, **each: Any) -> Any:
        return await smtpx.asend(message, scene.url, envelope=envelope, **each, **scene.options)

    for mail in scene.told.mails:
        await attempt(scene, world, mail, send)


async def attempt(scene: Scene, world: World, mail: Mail, send: Send) -> None:
    """Send one message, cancelled or not."""
    chance = scene.chance
    if scene.plan.cancel and chance.random() < 0.4:
        delay = chance.random() * chance.choice((0.001, 0.005, 0.02))
        await world.cancelled_after(delay, lambda: _sent(scene, world, mail, send))
    else:
        await _sent(scene, world, mail, send)
    if scene.plan.theme == "idle":
        scene.pause()
    elif seconds := scene.idle_for:
        await world.sleep(seconds)


async def _sent(scene: Scene, world: World, mail: Mail, send: Send) -> None:
    """Send one message, and note what is said of it."""
    told = scene.told
    message, envelope = told.hand_over(mail)
    try:
        result = await send(message, envelope, **scene.each)
    except smtpx.SMTPError as error:
        told.error(error, mail)
    except world.Cancelled as cancellation:
        told.error(cancellation, mail)
        raise
    except BaseException as error:
        told.foreign(error)
        told.error(error, mail)
    else:
        told.result(result, mail)


async def _by_send_many(scene: Scene, world: World) -> None:
    async with AsyncClient(scene.url, pool=scene.limits, **scene.options) as client:
        await by_iterator(scene, world, lambda source: client.send_many(source, **scene.many))
        scene.look_at_slots(client)


async def by_iterator(scene: Scene, world: World, send_many: Callable[[Any], Any]) -> None:
    """Many messages, heard to the end or not."""
    chance = scene.chance
    source = _arriving(scene, world) if "async" in scene.plan.how else scene.source()
    results = send_many(source)

    async def listen() -> None:
        await _listen(scene, world, results)

    if scene.plan.cancel:
        delay = chance.random() * chance.choice((0.005, 0.02, 0.1))
        await world.cancelled_after(delay, listen)
    else:
        await listen()
    await results.aclose()


async def _arriving(scene: Scene, world: World) -> AsyncIterator[Any]:
    for mail, delay in scene.coming():
        if delay:
            await world.sleep(delay)
        yield scene.item(mail)


async def _listen(scene: Scene, world: World, results: Any) -> None:
    told, chance = scene.told, scene.chance
    stop_after = chance.randrange(scene.plan.count + 1) if scene.plan.abandons else None
    is_sleepy = chance.random() < 0.3
    # Unless the iterator itself ends, by whatever it raises, nobody listens to its end.
    told.abandoned = True
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
        if is_sleepy and chance.random() < 0.1:
            await world.sleep(0.003)
