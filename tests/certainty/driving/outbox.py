"""`Outbox` and `AsyncOutbox`: a worker that comes back until all is settled, or often.

What a state says must be true at the server when no worker is at work.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import smtpx
from smtpx import AsyncClient, Client, Status
from smtpx.delivery import AsyncDelivery, Delivery
from smtpx.outbox import AsyncOutbox, Outbox, Retries, State, Submission
from tests.certainty.driving import worlds
from tests.certainty.driving.blocking import around
from tests.certainty.driving.deliveries import delivering, delivering_in_tasks
from tests.certainty.driving.ledgers import ledger
from tests.certainty.driving.scene import Scene
from tests.certainty.driving.worlds import World
from tests.certainty.judge import UNKNOWN, Verdict
from tests.certainty.mails import Mail

SHIFTS = 8
PAUSE = 0.03
SOON: Any = {"retries": Retries(first=0.01, most=0.02, greylisted=0.01), "lease": 2.0}
WORDS: dict[State, Verdict] = {
    State.ACCEPTED: Status.ACCEPTED,
    State.REFUSED: Status.REFUSED,
    State.IN_DOUBT: Status.IN_DOUBT,
    State.WAITING: Status.NOT_TRIED,
}


def by_outbox(scene: Scene) -> None:
    plan = scene.plan
    protected = around(scene)
    with ledger(scene) as there, Outbox(there.url, **SOON) as outbox:
        put = [(outbox.put(*given, **scene.putting), mail) for mail, given in _given(scene)]
        with _way(scene) as via:
            for shift in range(SHIFTS):
                try:
                    # The last is not interrupted: who is, leaves to another what he had.
                    if shift < SHIFTS - 1:
                        with there.troubled(), protected():
                            outbox.run(via, until_empty=True, **_worker(plan))
                    else:
                        outbox.run(via, until_empty=True, **_worker(plan))
                except smtpx.SMTPError:
                    pass
                except KeyboardInterrupt:
                    scene.told.spare += 1
                if not outbox.counts()[State.WAITING]:
                    break
                time.sleep(PAUSE)
        for id, mail in put:
            _tell(scene, mail, outbox.status(id))


def by_async_outbox(scene: Scene) -> None:
    worlds.run(scene.plan.world, lambda world: _by_async_outbox(scene, world), scene.told)


async def _by_async_outbox(scene: Scene, world: World) -> None:
    chance = scene.chance
    with ledger(scene) as there:
        async with AsyncOutbox(there.url, **SOON) as outbox:
            put = [
                (await outbox.put(*given, **scene.putting), mail) for mail, given in _given(scene)
            ]
            async with _way_in_tasks(scene) as via:

                async def work() -> None:
                    with suppress(smtpx.SMTPError):
                        await outbox.run(via, until_empty=True, **_worker(scene.plan))

                for shift in range(SHIFTS):
                    if shift == SHIFTS - 1:
                        await work()
                    elif scene.plan.cancel:
                        delay = chance.random() * chance.choice((0.005, 0.02, 0.1))
                        with there.troubled():
                            await world.cancelled_after(delay, work)
                    else:
                        with there.troubled():
                            await work()
                    if not (await outbox.counts())[State.WAITING]:
                        break
                    await world.sleep(PAUSE)
            for id, mail in put:
                _tell(scene, mail, await outbox.status(id))


@contextmanager
def _way(scene: Scene) -> Iterator[Client | Delivery]:
    """By what a worker sends."""
    if scene.plan.exchangers is not None:
        with delivering(scene) as delivery:
            yield delivery
        return
    with Client(scene.url, pool=scene.limits, **scene.options) as client:
        yield client
        scene.look_at_slots(client)


@asynccontextmanager
async def _way_in_tasks(scene: Scene) -> AsyncIterator[AsyncClient | AsyncDelivery]:
    if scene.plan.exchangers is not None:
        async with delivering_in_tasks(scene) as delivery:
            yield delivery
        return
    async with AsyncClient(scene.url, pool=scene.limits, **scene.options) as client:
        yield client
        scene.look_at_slots(client)


def _worker(plan: Any) -> dict[str, int]:
    return {"connections": plan.connections, "window": plan.window}


def _given(scene: Scene) -> Iterator[tuple[Mail, tuple[Any, ...]]]:
    for mail in scene.told.mails:
        message, envelope = scene.told.hand_over(mail)
        yield mail, (message,) if envelope is None else (message, envelope)


def _tell(scene: Scene, mail: Mail, submission: Submission) -> None:
    states = {str(each.recipient): each.state for each in submission.deliveries}
    if sorted(states) != sorted(mail.recipients):
        scene.told.problem("not one state for each recipient", f"{mail.recipients}: {states}")
    words = {who: WORDS.get(state, state.value) for who, state in states.items()}
    if State.SENDING in states.values():
        scene.told.problem("nobody sends it, and it is told as under way", str(states))
    if scene.told.resends:
        # It may have been in doubt, and waits to go again.
        words = {who: UNKNOWN if word is Status.NOT_TRIED else word for who, word in words.items()}
    scene.told.tell(mail, words)
