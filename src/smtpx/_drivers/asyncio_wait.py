"""What a task of asyncio's waits for, without a turn of the loop in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context


class Wait:
    """What a task waits for; when octets come it goes on at once, within the loop's callback.

    A future would have it go on in the loop's next turn, which is a fifth of what asyncio adds to
    the price of a message. To asyncio, what has this flag is a future (`asyncio.isfuture`).
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_error",
        "_is_ending",
        "_loop",
        "_resume",
        "_resume_in",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._error: BaseException | None = None
        self._is_ending = False
        self._resume: Callable[[Wait], object] | None = None
        self._resume_in: Context | None = None

    def __await__(self) -> Generator[Wait, None, None]:
        self._asyncio_future_blocking = True
        yield self

    # What the driver calls. A wait that is over is not ended again.

    @property
    def is_over(self) -> bool:
        """True if the task goes on, or will."""
        return self._resume is None or self._is_ending

    def end_within_callback(self) -> None:
        """Resume the task, if the loop has called us and no other task is running."""
        resume, context = self._resume, self._resume_in
        if self._is_ending or resume is None or context is None:
            return
        if asyncio.current_task(self._loop) is not None:
            self.end()
            return
        self._resume = None
        try:
            _ = context.run(resume, self)
        except (KeyboardInterrupt, SystemExit) as interruption:
            # These end the loop, not the transport that called: uvloop's would swallow them.
            _ = self._loop.call_soon(_raise, interruption)

    def end(self, error: BaseException | None = None) -> None:
        """Have the loop resume the task, with an error if there is one."""
        if not self.is_over:
            self._error = error
            _ = self._loop.call_soon(self._go_on, context=self._resume_in)
            # Not before: Ctrl-C may come within the call, and the task would wait for ever.
            self._is_ending = True

    def _go_on(self) -> None:
        resume, self._resume = self._resume, None
        if resume is not None:
            _ = resume(self)

    # What the task calls.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task."""
        return self._loop

    def add_done_callback(
        self, fn: Callable[[Wait], object], /, *, context: Context | None = None
    ) -> None:
        """Take what resumes the task."""
        self._resume, self._resume_in = fn, context

    def cancel(self, msg: object = None) -> bool:
        """End the wait by a cancellation, unless it has ended."""
        if self.is_over:
            return False
        self.end(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return True

    def result(self) -> None:
        """Raise the error, if there is one."""
        if self._error is not None:
            raise self._error


def _raise(error: BaseException) -> None:
    raise error
