"""A worker that blocks: what it does until it is to stop, or until a batch is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from smtpx.errors import SMTPError
from smtpx.pausing import NOTHING_YET
from smtpx.results import SendResult

from ._claiming import OwnerLost
from ._delivering import Round
from ._working import Working

__all__ = ["Shift"]

# Seconds after which it is looked whether to stop.
_LOOK = 0.25


class Shift(Working):
    """A worker of the blocking face."""

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.end(error)
        finally:
            if self.own is not None:
                self.own.close()

    def work(self, *, until_empty: bool) -> None:
        """Send what is due, and what will be, until it is to stop."""
        with self.tending():
            self._work(until_empty=until_empty)

    def _work(self, *, until_empty: bool) -> None:
        while not self.is_stopping:
            # What dead workers had may be due again, and then is in the round that follows.
            _ = self._core.watcher.reap()
            sent = self._send_due(None)
            if self._core.report() or sent:
                continue
            if until_empty:
                if self.failure is not None:
                    raise self.failure
                if not (self._core.watcher.suspense or self.is_limited()):
                    return
            self._sleep()

    def deliver(self, batch: str) -> bool:
        """Send what is due of one batch; the value is false if some of that is left."""
        while self._send_due(batch):
            pass
        _ = self._core.report()
        if self.failure is not None:
            raise self.failure
        return not self.is_left(batch)

    def _send_due(self, batch: str | None) -> int:
        """Send what is due; the value is how many deliveries that were."""
        self.failure = None
        a_round = self.round(batch)
        try:
            self._send(a_round, batch)
        except OwnerLost:
            self.renew()
        return self.judged(a_round)

    def _send(self, a_round: Round, batch: str | None) -> None:
        failure: BaseException | None = None
        try:
            results = self.client.send_many(
                self._items(a_round),
                connections=self.connections,
                window=self.window,
                mark=a_round.mark,
            )
            for result in results:
                _hear(a_round, result)
        except SMTPError as error:
            failure = error
            self.fail(error)
        except BaseException as error:
            failure = error
            raise
        finally:
            a_round.end(failure)

    def _items(self, a_round: Round) -> Iterator[Any]:
        """What is due; and as long as that is on its way, what will be."""
        while True:
            a_round.go_on()
            items = a_round.more()
            for item in items:
                if a_round.is_stopping:
                    return  # What was claimed and not begun is given back.
                yield item
            if items:
                continue
            if not a_round.goes_on():
                return
            yield NOTHING_YET

    def _sleep(self) -> None:
        """Wait until there may be something to do, or it is to stop."""
        end = time.monotonic() + self.pause()
        while not self.is_stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))


def _hear(a_round: Round, result: SendResult) -> None:
    a_round.hear(result)
    if a_round.has_to_note:
        a_round.flush()
