"""Who owns what was claimed: a worker that shows that it lives, and what tells that one died.

A worker is dead that has shown no new beat for the time of its lease, by the monotonic clock of
whoever looks. Of one that is seen for the first time the ledger's times say how long it has been
silent; but clocks differ, and jump. So that only shortens the time for which it is looked at.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import NamedTuple
from weakref import WeakValueDictionary

from . import _claiming, _queue
from ._preparing import new_id
from ._pulse import Pulse
from ._store import Store
from .states import OutboxError

__all__ = ["Owner", "Watcher"]

_LOG = logging.getLogger("smtpx.outbox")
# Beats in the time of a lease: as many may be missed, but one.
_BEATS = 6
# Seconds by which the clock is set back, if more than its drift is mended.
_SET_BACK = 1.0


class Owner:
    """A worker, from its first claim to its last; a thread shows that it lives.

    It does so as long as somebody holds it: whatever its holder was interrupted in, it dies then.
    """

    def __init__(self, store: Store, lease: float) -> None:
        self.id = new_id()
        self._store = store
        self._lease = lease
        self._pulse = Pulse(self.beat, lease / _BEATS)

    def begin(self) -> None:
        """Be known to all that look at the ledger."""
        _living[os.getpid(), self.id] = self
        self._store.transact(_claiming.register, self.id, self._lease, self._store.now())
        self._pulse.begin()

    def end(self, error: BaseException | None) -> None:
        """Give to others what is still its own; `error` is why it ends, where there is a reason."""
        try:
            self._pulse.end()
        finally:
            self._retire(error)

    def _retire(self, error: BaseException | None) -> None:
        _ = _living.pop((os.getpid(), self.id), None)
        try:
            _ = self._store.transact(_claiming.retire, self.id, self._store.now())
        except OutboxError:
            if error is None:
                raise
            # Others find it dead in the time of a lease.

    def beat(self) -> None:
        """Show that it lives."""
        try:
            self._store.transact(_claiming.beat, self.id, self._store.now())
        except OutboxError as error:
            _LOG.warning("the outbox's ledger cannot be reached: %s", error)


# The workers of this process that live: a thread that has no time to beat is not dead.
_living: WeakValueDictionary[tuple[int, str], Owner] = WeakValueDictionary()


class _Seen(NamedTuple):
    """What is known of a worker."""

    beat: int
    since: float
    """When this beat was seen first, by the monotonic clock."""
    patience: float
    """Seconds after which it is dead that shows no other beat."""
    looks_dead: bool
    """It was silent for long before we looked: it will be known soon."""


class Watcher:
    """Looks for workers that died, and gives to others what they had."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, _Seen] = {}
        self._ahead: float | None = None
        """By how much the wall clock is ahead of the monotonic one."""
        self._lock = threading.Lock()

    def reap(self) -> int:
        """Give to others what dead workers had; the value is how many messages were in doubt."""
        with self._lock:
            dead = self._dead()
            was_set_back = self._was_set_back()
        if was_set_back:
            self._store.transact(_queue.set_back, self._store.now())
        found = 0
        for owner, beat in dead:
            found += self._store.transact(_claiming.reap, owner, beat, self._store.now())
        return found

    def reap_for_certain(self) -> None:
        """The same, and wait until it is known of all that look dead whether they are."""
        _ = self.reap()
        if suspense := self.suspense:
            time.sleep(suspense)
            _ = self.reap()

    @property
    def suspense(self) -> float:
        """Seconds until it is known of all that look dead whether they are; 0 if none does."""
        with self._lock:
            ends = [seen.since + seen.patience for seen in self._seen.values() if seen.looks_dead]
        return max(0.0, *[end - time.monotonic() for end in ends], 0.0)

    def _was_set_back(self) -> bool:
        """True if the wall clock was set back since the last look, or may have been before."""
        before, self._ahead = self._ahead, self._store.now() - time.monotonic()
        return before is None or self._ahead < before - _SET_BACK

    def _dead(self) -> list[tuple[str, int | None]]:
        rows = self._store.look(_claiming.workers)
        moment, now = time.monotonic(), self._store.now()
        known, self._seen = self._seen, {}
        dead: list[tuple[str, int | None]] = [
            (owner, None) for owner in self._store.look(_claiming.orphans)
        ]
        for owner, beat, last, lease in rows:
            if (os.getpid(), owner) in _living:
                continue
            seen = known.get(owner)
            if seen is None:
                # Silent for two leases, or in the future: dead, or one of the clocks is wrong.
                looks_dead = abs(now - last) >= 2 * lease
                seen = _Seen(beat, moment, lease / 2 if looks_dead else lease, looks_dead)
            elif seen.beat != beat:
                seen = _Seen(beat, moment, lease, looks_dead=False)
            self._seen[owner] = seen
            if moment - seen.since >= seen.patience:
                dead.append((owner, beat))
        return dead
