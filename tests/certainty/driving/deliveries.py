"""`Delivery` and `AsyncDelivery`, by a name server that has faults of its own."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from smtpx.delivery import (
    AddressPolicy,
    AsyncDelivery,
    Delivery,
    DeliveryLimits,
    NameServers,
)
from smtpx.testing import Misanswer, NameFault, NameServer
from tests.certainty.driving import worlds
from tests.certainty.driving.asynchronous import attempt as attempt_in
from tests.certainty.driving.asynchronous import by_iterator as by_iterator_in
from tests.certainty.driving.blocking import by_iterator, by_threads
from tests.certainty.driving.scene import Scene
from tests.certainty.driving.worlds import World

LATE = 0.05


@contextmanager
def names(scene: Scene) -> Iterator[NameServers]:
    there = scene.plan.exchangers
    assert there is not None
    faults = [
        NameFault(Misanswer[does], name, type, times, LATE)
        for does, name, type, times in there.name_faults
    ]
    with NameServer("\n".join(there.zone), faults=faults) as server:
        yield NameServers("127.0.0.1", port=server.port, validating=False)


def options(scene: Scene) -> dict[str, Any]:
    there = scene.plan.exchangers
    assert there is not None
    known = scene.options
    return {
        "port": scene.port,
        "addresses": AddressPolicy(["127.0.0.0/8"]),
        # A worker asks in each of its shifts.
        "resolver_timeout": 0.2 if scene.plan.is_kept else 1.0,
        "limits": DeliveryLimits(**there.limits),
        "seed": scene.plan.seed,
        **{name: known[name] for name in ("timeouts", "observer", "signer")},
    }


def by_delivery(scene: Scene) -> None:
    """A delivery, shared by so many threads."""
    with delivering(scene) as delivery:
        by_threads(scene, delivery.send)


def by_many_deliveries(scene: Scene) -> None:
    with delivering(scene) as delivery:
        by_iterator(scene, lambda source: delivery.send_many(source, **many(scene)))


@contextmanager
def delivering(scene: Scene) -> Iterator[Delivery]:
    """A delivery, whose threads have ended afterwards."""
    with (
        names(scene) as resolver,
        Delivery("mail.sender.test", resolver=resolver, **options(scene)) as delivery,
    ):
        yield delivery
        # A second interruption leaves what is on its way to itself.
        for thread in threading.enumerate():
            # One whose start was interrupted never runs.
            if thread.name == "smtpx.delivery" and thread.is_alive():
                thread.join()


def many(scene: Scene) -> dict[str, Any]:
    known = scene.many
    return {name: known[name] for name in ("connections", "window", "mark")}


def by_async_delivery(scene: Scene) -> None:
    worlds.run(scene.plan.world, lambda world: _by_async_delivery(scene, world), scene.told)


async def _by_async_delivery(scene: Scene, world: World) -> None:
    left = list(reversed(scene.told.mails))
    async with delivering_in_tasks(scene) as delivery:

        async def work() -> None:
            while left:
                await attempt_in(scene, world, left.pop(), delivery.send)

        await world.all_of([work] * scene.plan.callers)


@asynccontextmanager
async def delivering_in_tasks(scene: Scene) -> AsyncIterator[AsyncDelivery]:
    """The same for tasks."""
    with names(scene) as resolver:
        async with AsyncDelivery(
            "mail.sender.test", resolver=resolver, **options(scene)
        ) as delivery:
            yield delivery


def by_async_many_deliveries(scene: Scene) -> None:
    worlds.run(scene.plan.world, lambda world: _by_async_many(scene, world), scene.told)


async def _by_async_many(scene: Scene, world: World) -> None:
    async with delivering_in_tasks(scene) as delivery:
        await by_iterator_in(scene, world, lambda source: delivery.send_many(source, **many(scene)))
