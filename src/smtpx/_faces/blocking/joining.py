"""A session that joins those of `send_many` which are at work, opened beside them.

A server, a resolver or a network that does not answer holds up nobody but this one.
"""

from __future__ import annotations

from smtpx._core.steps import Steps
from smtpx._drivers.multiplexed import Lane, Multiplexer
from smtpx._drivers.waiting import Deadline
from smtpx._faces.blocking.pool import SessionPool
from smtpx._faces.blocking.session import Session
from smtpx._faces.leasing import Lease
from smtpx.errors import SMTPError

PAUSE = 0.02
"""Seconds after which it is seen whether a connection is there."""


class Joining:
    """One place of the pool, and the session that is being opened for it."""

    def __init__(self, pool: SessionPool, lease: Lease[Session]) -> None:
        self.lease = lease
        self.error: SMTPError | None = None
        """Why it could not be opened."""
        self._pool = pool
        self._session = session = pool.begin(lease)
        self._deadline = Deadline(session._settings.timeouts.total)
        session._begin(self._deadline)
        self._lane: Lane[SMTPError | None] | None = None

    @property
    def is_dialling(self) -> bool:
        """True while no socket shows that it goes on."""
        return self._lane is None

    def go_on(self, multiplexer: Multiplexer[SMTPError | None]) -> bool:
        """Go as far as possible at once; True once the session is open, or cannot be.

        Raises:
            BaseException: what a source of the caller's raises, or the session's observer.
        """
        self._session._is_opening = True
        try:
            if self._lane is None:
                if not self._session._connects(wait=False):
                    return False
                procedure, driver = self._session._dialled()
                self._lane = Lane(driver, _told(procedure), lambda: True, self._deadline)
                multiplexer.add(self._lane)
            if not self._lane.finished:
                return False
            if self._lane.value is not None:
                raise self._lane.value
            self._session._opened()
            self._pool.fill(self.lease, self._session)
        except SMTPError as error:
            self.error = error
            self.close(error)
            place, self.lease.place = self.lease.place, None
            self._pool.give_up(place, error)
        finally:
            self._session._is_opening = False
        return True

    def close(self, error: SMTPError) -> None:
        """Close whatever there is, unless the session is open: then it is the lease's."""
        if self.lease.held is None:
            self._session._not_opened(error)


def _told(procedure: Steps[None]) -> Steps[SMTPError | None]:
    """The same, whose failure is its value: it ends no other."""
    try:
        yield from procedure
    except SMTPError as error:
        return error
    return None
