"""The sessions that a `Client` shares among threads."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from smtpx._core.pool.decisions import Ticket, Wait
from smtpx._drivers.waiting import NO_DEADLINE, Deadline
from smtpx._faces.blocking.parting import part
from smtpx._faces.leasing import FAREWELL, Lease, Leasing, leave_observers, wait_for
from smtpx._loading import loading
from smtpx.errors import LocalProtocolError
from smtpx.options import PoolLimits

if TYPE_CHECKING:
    from smtpx._faces.blocking.session import Session

    _Leasing = Leasing[Session]
else:  # A session comes with all that speaks SMTP: the first that is begun loads it.
    _Leasing = Leasing


class SessionPool(_Leasing):
    """Leases sessions to threads, at most so many at a time."""

    def __init__(
        self, new_session: Callable[[type[Session]], Session], limits: PoolLimits, server: str
    ) -> None:
        super().__init__(limits, server)
        self._new_session = new_session

    def acquire(self, messages: int = 1, deadline: Deadline | None = None) -> Lease[Session]:
        """Lease a session for up to `messages`; wait for it as long as the limits say.

        Raises:
            TimedOut: there was none for so long.
            LocalProtocolError: the pool is closed.
            SMTPError: as `Session.open`.
        """
        lease = self._ask(messages)
        if lease.held is not None and not self._given_up:
            return lease
        try:
            if isinstance(lease.place, Ticket):
                self._wait(lease, lease.place, deadline or NO_DEADLINE)
            self._make_ready(lease, deadline)
        except BaseException as error:
            place, lease.place = lease.place, None
            self.give_up(place, error)
            raise
        return lease

    def claim_now(self, messages: int) -> Lease[Session] | None:
        """Lease a session if there is one, or a place for one, without waiting.

        Raises:
            LocalProtocolError: the pool is closed.
        """
        lease = self._ask(messages)
        try:
            ticket = lease.place
            if isinstance(ticket, Ticket):
                lease.place = None
                self.give_up(ticket, None)
                return None
        except BaseException as error:
            place, lease.place = lease.place, None
            self.give_up(place, error)
            raise
        return lease

    def replace(self, lease: Lease[Session], deadline: Deadline | None = None) -> None:
        """Have a new session in place of one that was gone.

        Raises:
            LocalProtocolError, SMTPError: as `acquire`; nothing is leased any more then.
        """
        try:
            if not self._in_turn(self._reopen, lease):
                raise LocalProtocolError("the client is closed")
            self._make_ready(lease, deadline)
        except BaseException as error:
            place, lease.place = lease.place, None
            self.give_up(place, error)
            raise

    def release(self, lease: Lease[Session], deadline: Deadline | None = None) -> None:
        """Give a session back.

        Raises:
            Exception: what the observer of the session raised meanwhile.
        """
        self._give_back(lease)
        if self._given_up:
            self._part(deadline, lease.held)
        if lease.held is not None:
            lease.held._heed_observer()

    def close(self, *, abort: bool) -> None:
        """Lease no more; close what is idle, and what is leased when it is released, or at once."""
        self._shut(abort=abort)
        for session in self._close_given_up(NO_DEADLINE, abort=abort):
            session._heed_observer()

    def _make_ready(self, lease: Lease[Session], deadline: Deadline | None) -> None:
        """Open a session, where none came with the lease."""
        if lease.held is not None:
            if self._given_up:
                self._part(deadline)
            return
        session = self.begin(lease, deadline)
        if deadline is None:
            session.open()
        else:
            session._open_by(deadline)
        self.fill(lease, session)

    def begin(self, lease: Lease[Session], deadline: Deadline | None = None) -> Session:
        """The session that is to be opened for a lease."""
        if self._given_up:
            # First, so that the server never sees more than there may be.
            self._part(deadline)
        with loading("a session"):
            from smtpx._faces.blocking.session import Session

        session = self._new_session(Session)
        lease.begin(session)
        return session

    def _wait(self, lease: Lease[Session], ticket: Ticket[Session], deadline: Deadline) -> None:
        bell: SimpleQueue[None] = SimpleQueue()
        lease.wake = lambda: bell.put(None)
        while isinstance(ticket.decision, Wait):
            try:
                bell.get(timeout=wait_for(ticket, deadline))
            except Empty:
                self._in_turn(self._take_back)
        self._answered(lease, ticket.decision)

    def _part(self, deadline: Deadline | None, mine: Session | None = None) -> None:
        """Close what the pool has given up, in a call that is about another session, or `mine`."""
        parted = self._close_given_up(deadline or NO_DEADLINE, mine=mine)
        leave_observers(parted, mine)

    def _close_given_up(
        self, deadline: Deadline, *, mine: Session | None = None, abort: bool = False
    ) -> list[Session]:
        parting: list[Session] = []
        try:
            self._hand_over(parting)
            leave_observers(parting, mine)  # Of calls that are over.
            if not abort:
                part(parting, deadline.for_farewell(FAREWELL))
            self._abort(parting)
        except BaseException:
            self._given_up.extend(parting)  # If we are interrupted again, others close them.
            self._abort(parting)
            raise
        return parting
