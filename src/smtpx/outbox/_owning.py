"""Who owns what was claimed: a worker that shows that it lives, and what tells that one died.

Nobody's clock is compared with another's as long as both run. A worker that has shown no new beat
for the time of a lease, measured by the monotonic clock of whoever looks, is dead. Only of one that
is seen for the first time, the ledger's own times say how long it has been silent.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from . import _claiming
from ._preparing import new_id
from ._store import Store
from .states import OutboxError

__all__ = ["Owner", "Watcher"]

_LOG = logging.getLogger("smtpx.outbox")
# Beats in the time of a lease: as many may be missed, but one.
_BEATS = 6
# The workers of this process that live: a thread that has no time to beat is not dead.
_living: set[tuple[int, str]] = set()


class Owner:
    """A worker, from its first claim to its last; a thread shows that it lives."""

    def __init__(self, store: Store, lease: float) -> None:
        self.id = new_id()
        self._store = store
        self._pause = lease / _BEATS
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="smtpx outbox", daemon=True)

    def begin(self) -> None:
        """Be known to all that look at the ledger."""
        _living.add((os.getpid(), self.id))
        self._store.transact(_claiming.register, self.id, time.time())
        self._thread.start()

    def end(self, error: BaseException | None) -> None:
        """Give to others what is still its own; `error` is why it ends, where there is a reason."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        _living.discard((os.getpid(), self.id))
        try:
            _ = self._store.transact(_claiming.retire, self.id, time.time())
        except OutboxError:
            if error is None:
                raise
            # Others find it dead in the time of a lease.

    def _live(self) -> None:
        while not self._ended.wait(self._pause):
            try:
                self._store.transact(_claiming.beat, self.id, time.time())
            except OutboxError as error:
                _LOG.warning("the outbox's ledger cannot be reached: %s", error)


class Watcher:
    """Looks for workers that died, and gives to others what they had."""

    def __init__(self, store: Store, lease: float) -> None:
        self._store = store
        self._lease = lease
        self._seen: dict[str, tuple[int, float]] = {}
        """Of each worker, its last beat, and when it was first looked at."""
        self._lock = threading.Lock()

    def reap(self) -> int:
        """Give to others what dead workers had; the value is how many messages were in doubt."""
        with self._lock:
            dead = self._dead()
        found = 0
        for owner, beat in dead:
            found += self._store.transact(_claiming.reap, owner, beat, time.time())
        return found

    def _dead(self) -> list[tuple[str, int]]:
        rows = self._store.look(_claiming.workers)
        moment, now = time.monotonic(), time.time()
        known, self._seen = self._seen, {}
        dead: list[tuple[str, int]] = []
        for owner, beat, last in rows:
            before, since = known.get(owner, (None, moment))
            if before == beat:
                is_dead = moment - since >= self._lease
            else:
                since = moment
                is_dead = before is None and now - last >= 2 * self._lease
            self._seen[owner] = beat, since
            if is_dead and (os.getpid(), owner) not in _living:
                dead.append((owner, beat))
        return dead
