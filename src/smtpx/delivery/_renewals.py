"""Policies that are being fetched: once for all who ask, whoever of them gives up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event, Lock

from smtpx._starting import start_thread

from ._deadline import Deadline
from ._fetching import WITHIN
from ._steps import Renew
from ._worlds import Background, Bell, Call, World, end

__all__ = ["Renewals", "TaskRenewals"]

# Fetched at once where nobody waits; what is more is fetched for the next message.
_MOST = 16


class Renewals:
    """Fetches policies, each in a thread of its own."""

    def __init__(self, fetch: Callable[[Renew], None]) -> None:
        self._fetch = fetch
        self._lock = Lock()
        self._flying: dict[str, Event] = {}

    def renew(self, step: Renew, deadline: Deadline) -> None:
        """Have a policy be fetched; and wait for it, but no longer than mail may wait."""
        with self._lock:
            done = self._flying.get(step.domain)
            if done is None:
                if not step.waits and len(self._flying) >= _MOST:
                    return
                done = self._flying[step.domain] = Event()
                try:
                    start_thread(
                        partial(self._run, step, done), f"smtpx.delivery fetches {step.domain}"
                    )
                except RuntimeError:
                    # There are too many, or the program ends: it is as if it took too long.
                    del self._flying[step.domain]
                    return
        if step.waits:
            _ = done.wait(deadline.share().within(WITHIN))

    def _run(self, step: Renew, done: Event) -> None:
        try:
            # What keeps policies, and fails, fails for those who ask it next as well.
            with suppress(Exception):
                self._fetch(step)
        finally:
            with self._lock:
                _ = self._flying.pop(step.domain, None)
            done.set()


class TaskRenewals:
    """Fetches policies, each in a task of its own, of one run of a loop."""

    def __init__(self, fetch: Callable[[Renew], Call], world: World) -> None:
        self._fetch = fetch
        self._world = world
        self._flying: dict[str, dict[Bell, None]] = {}
        """The domains, and who waits."""
        self._tasks: dict[str, Background] = {}

    async def renew(self, step: Renew, deadline: Deadline) -> None:
        """Have a policy be fetched; and wait for it, but no longer than mail may wait."""
        waiting = self._flying.get(step.domain)
        if waiting is None:
            if not step.waits and len(self._flying) >= _MOST:
                return
            waiting = self._flying[step.domain] = {}
            task = self._world.spawn(lambda: self._run(step))
            if self._flying.get(step.domain) is waiting:
                self._tasks[step.domain] = task
        if step.waits:
            bell = self._world.make_bell()
            waiting[bell] = None
            await bell.wait(deadline.share().within(WITHIN))

    async def _run(self, step: Renew) -> None:
        try:
            # What keeps policies, and fails, fails for those who ask it next as well.
            with suppress(Exception):
                await self._fetch(step)()
        finally:
            _ = self._tasks.pop(step.domain, None)
            for bell in self._flying.pop(step.domain, ()):
                bell.ring()

    async def close(self) -> None:
        """End those that no mail has waited for."""
        await end([task for domain, task in self._tasks.items() if not self._flying.get(domain)])
