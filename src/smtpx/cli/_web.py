"""The inbox over HTTP: uvicorn within bounds.

Whoever opens connections and says nothing, or an octet now and then, would else keep them for ever;
so would one that never reads what it asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Generator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

__all__ = ["serve"]

_MOST_CONNECTIONS = 256
_REQUEST = 10.0
"""Seconds that a whole request may take to arrive, or the next one to begin."""
_STALL = 30.0
"""Seconds in which what is written has to be read."""
_BACKLOG = 128
_USED_UP = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Bounded(H11Protocol):
    """A connection that is used, or goes."""

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; one too many ends at once."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and with it every wait."""
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._await_request()

    def pause_writing(self) -> None:
        """The other side does not read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALL, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
        super().resume_writing()

    def _await_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(_REQUEST, self._end_unless_answering)

    def _end_unless_answering(self) -> None:
        # What has been asked for may take its time: events have no end.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete or cycle.more_body:
            self.transport.abort()


class _Mistakes(logging.Handler):
    """Tells of each in one sentence."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._told = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of what was logged."""
        error = record.exc_info[1] if record.exc_info else None
        why = record.getMessage() if error is None else f"{type(error).__name__}: {error}"
        self._told(f"a mistake in smtpx ({why}): --debug shows where")


class _Complaints:
    """What asyncio complains of."""

    def __init__(self, tell: Callable[[str], None], listener: socket.socket) -> None:
        self._told = tell
        self._listener = listener
        self._is_used_up = False

    def __call__(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of it in one sentence."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _USED_UP:
            if not self._is_used_up:
                self._is_used_up = True
                self._told(f"browsers have to wait ({error.strerror}): raise it by ulimit -n")
        elif self._listener.fileno() >= 0:  # Else it would go on to listen, though that is over.
            why = context["message"] if error is None else f"{type(error).__name__}: {error}"
            self._told(f"a mistake in smtpx ({why}): --debug shows where")


@contextlib.contextmanager
def _told(tell: Callable[[str], None] | None, listener: socket.socket) -> Generator[None]:
    """Tell of mistakes, in place of a traceback; without `tell` they are logged as usual."""
    if tell is None:
        yield
        return
    log, mistakes = logging.getLogger("uvicorn.error"), _Mistakes(tell)
    log.addHandler(mistakes)
    log.setLevel(logging.ERROR)
    asyncio.get_running_loop().set_exception_handler(_Complaints(tell, listener))
    try:
        yield
    finally:
        log.removeHandler(mistakes)
        log.setLevel(logging.NOTSET)


async def serve(
    app: Any,
    listener: socket.socket,
    *,
    ended: asyncio.Event,
    before_end: Callable[[], None],
    tell: Callable[[str], None] | None,
) -> None:
    """Serve an application at a socket that listens, until `ended`; then close the socket.

    `before_end` is to end what would be answered for ever. `tell` is told of mistakes.
    """
    config = uvicorn.Config(
        app,
        http=_Bounded,
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
        backlog=_BACKLOG,
    )
    server = uvicorn.Server(config)
    # It would raise each signal anew once it has ended; ours says what ends.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    with _told(tell, listener):
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        stopping = asyncio.ensure_future(ended.wait())
        try:
            _ = await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            before_end()
            server.should_exit = True
            _ = stopping.cancel()
            await serving
            listener.close()
