"""`send_many` of the blocking face: one thread, many sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, cast

from smtpx._core.delivery import Message
from smtpx._core.stream import stream
from smtpx._core.supply import Outgoing, Supply, Window, not_sent
from smtpx._drivers.multiplexed import Lane, Multiplexer
from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.results import SendResult

if TYPE_CHECKING:
    from smtpx._faces.sync import Session

# Messages taken from the caller's iterable at a time.
_READ_AHEAD = 16
# A message that this many sessions could not send is not tried again.
_ATTEMPTS = 3


def send_many(
    new_session: Callable[[], Session],
    messages: Iterable[Message | tuple[Message, Envelope]],
    *,
    connections: int,
    window: int,
    resend_doubtful: bool,
) -> Iterator[SendResult]:
    """Send messages over sessions of their own; see `Client.send_many`."""
    sending = _Sending(new_session, messages, Window(messages=window), resend_doubtful)
    try:
        yield from sending.run(connections)
    finally:
        sending.close()


class _Sending:
    """One call of `send_many`."""

    def __init__(
        self,
        new_session: Callable[[], Session],
        messages: Iterable[Message | tuple[Message, Envelope]],
        window: Window,
        resend_doubtful: bool,
    ) -> None:
        self._new_session = new_session
        self._source = iter(messages)
        self._source_error: BaseException | None = None
        self._window = window
        self._supply = Supply(resend_doubtful)
        self._results: deque[SendResult] = deque()
        self._multiplexer: Multiplexer[SMTPError | None] = Multiplexer()
        self._sessions: dict[Lane[SMTPError | None], Session] = {}

    def run(self, connections: int) -> Iterator[SendResult]:
        results = self._results
        lost: SMTPError | None = None
        self._refill()
        while True:
            while results:
                yield results.popleft()
            # As many sessions as there is work for; a session that ended is followed by another.
            while lost is None and len(self._sessions) < min(connections, self._work()):
                try:
                    self._start()
                except SMTPError as error:
                    lost = error
            if not self._sessions:
                break
            for lane in self._multiplexer.turn():
                self._end(lane)
        self._give_up(lost)
        yield from results
        if lost is not None:
            raise lost
        if self._source_error is not None:
            raise self._source_error

    def _work(self) -> int:
        return len(self._supply.ready) + (0 if self._supply.exhausted else 1)

    def close(self) -> None:
        """End the sessions that are still at work, in the middle of it."""
        self._multiplexer.close()
        for session in self._sessions.values():
            session.abort()

    def _start(self) -> None:
        session = self._new_session()
        session.open()
        connection, driver = session.parts
        procedure = stream(connection, self._supply, self._results.append, self._window)
        lane = Lane(driver, procedure, self._refill)
        self._sessions[lane] = session
        self._multiplexer.add(lane)
        if lane.finished:  # On this machine, a lane may never have to wait.
            self._end(lane)

    def _end(self, lane: Lane[SMTPError | None]) -> None:
        session = self._sessions.pop(lane)
        session.close()
        error = lane.value
        if error is None:
            return
        ready = self._supply.ready
        hopeless = [outgoing for outgoing in ready if outgoing.attempts >= _ATTEMPTS]
        for outgoing in hopeless:
            ready.remove(outgoing)
            self._results.append(not_sent(outgoing, error))

    def _give_up(self, lost: SMTPError | None) -> None:
        """Account for what no session is left for."""
        while lost is not None and self._supply.ready:
            self._results.append(not_sent(self._supply.ready.popleft(), lost))

    def _refill(self) -> None:
        supply = self._supply
        try:
            for _ in range(_READ_AHEAD):
                item = next(self._source)
                if isinstance(item, tuple):
                    message, envelope = cast("tuple[Message, Envelope]", item)
                    supply.ready.append(Outgoing(message, envelope))
                else:
                    supply.ready.append(Outgoing(item, None))
        except StopIteration:
            supply.exhausted = True
        except Exception as error:
            # What was read before is sent before the caller hears of it.
            self._source_error = error
            supply.exhausted = True
