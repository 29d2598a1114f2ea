"""`Session`, `Client`, `send()` and `send_many`, in one thread and in several, and under Ctrl-C."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import smtpx
from smtpx import Client, Session
from tests.certainty.driving.interrupting import Interrupter
from tests.certainty.driving.scene import CallersError, CallersExit, Scene
from tests.certainty.mails import Mail


def around(scene: Scene) -> Callable[[], AbstractContextManager[None]]:
    """What each call is made in."""
    if "interrupted" in scene.plan.face:
        return Interrupter(scene.chance).mostly
    return nullcontext


def attempt(scene: Scene, mail: Mail, send: Callable[..., Any]) -> None:
    """Send one message, and note what is said of it."""
    told = scene.told
    message, envelope = told.hand_over(mail)
    try:
        result = send(message, envelope, **scene.each)
    except (smtpx.SMTPError, KeyboardInterrupt) as error:
        told.error(error, mail)
    except BaseException as error:
        told.foreign(error)
        told.error(error, mail)
    else:
        told.result(result, mail)


def by_session(scene: Scene) -> None:
    """A session until it is over, then another."""
    left = list(reversed(scene.told.mails))
    protected = around(scene)
    for _ in range(len(left) + 30):
        if not left:
            return
        session = Session(scene.url, **scene.options)
        try:
            session.open()
        except smtpx.SMTPError:
            continue
        try:
            while left and session.is_open:
                with protected():
                    attempt(scene, left.pop(), session.send)
                scene.pause()
        finally:
            session.close()


def by_one_shots(scene: Scene) -> None:
    def send(message: Any, envelope: Any, **each: Any) -> Any:
        return smtpx.send(message, scene.url, envelope=envelope, **each, **scene.options)

    protected = around(scene)
    for mail in scene.told.mails:
        with protected():
            attempt(scene, mail, send)


def by_client(scene: Scene) -> None:
    """A client, shared by so many threads."""
    with Client(scene.url, pool=scene.limits, **scene.options) as client:
        by_threads(scene, client.send)
        scene.look_at_slots(client)


def by_threads(scene: Scene, send: Callable[..., Any]) -> None:
    """Each takes the next message, until all are sent; this thread is one of them."""
    left = list(reversed(scene.told.mails))
    protected = around(scene)

    def work() -> None:
        while left:
            try:
                mail = left.pop()
            except IndexError:
                return
            with protected():
                attempt(scene, mail, send)
            scene.pause()

    threads = [threading.Thread(target=work) for _ in range(scene.plan.callers - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()


def by_send_many(scene: Scene) -> None:
    with Client(scene.url, pool=scene.limits, **scene.options) as client:
        by_iterator(scene, lambda source: client.send_many(source, **scene.many))
        scene.look_at_slots(client)


def by_iterator(scene: Scene, send_many: Callable[[Any], Any]) -> None:
    """Many messages, heard to the end or not; after an interruption the rest by another call."""
    plan, told = scene.plan, scene.told
    protected = around(scene)
    source = scene.source()
    for _ in range(3 if "interrupted many" in plan.face else 1):
        results: Any = send_many(source)
        stop_after = scene.chance.randrange(plan.count + 1) if plan.abandons else None
        count = 0
        try:
            while count != stop_after:
                with protected():
                    result = next(results)
                told.result(result)
                count += 1
            told.abandoned = True
        except StopIteration:
            pass
        except (smtpx.SMTPError, KeyboardInterrupt, CallersError, CallersExit) as error:
            told.results_of(error)
        except BaseException as error:
            told.foreign(error)
            told.results_of(error)
        if plan.how == "close":
            results.close()
        del results
        _ = gc.collect(0)
