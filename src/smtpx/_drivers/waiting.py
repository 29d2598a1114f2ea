"""Waiting for one descriptor with a deadline, on every system."""

from __future__ import annotations

import select
import socket
import time


class Deadline:
    """Seconds that are left of a total; without a total, as many as a phase asks for."""

    __slots__ = ("_end",)

    def __init__(self, total: float | None) -> None:
        self._end = None if total is None else time.monotonic() + total

    def within(self, seconds: float | None) -> float | None:
        """The smaller of `seconds` and what is left.

        Raises:
            TimeoutError: nothing is left.
        """
        if self._end is None:
            return seconds
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the total time is used up")
        return left if seconds is None else min(left, seconds)


class Waiter:
    """Waits until a non-blocking socket can be read or written."""

    __slots__ = ("_descriptor", "_poll")

    def __init__(self, connected: socket.socket) -> None:
        # The descriptor outlives the socket object that TLS replaces.
        self._descriptor = connected.fileno()
        self._poll = None
        if hasattr(select, "poll"):  # not on Windows
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLIN)

    def is_readable(self) -> bool:
        """True if octets, or the end of the stream, are there."""
        if self._poll is not None:
            return bool(self._poll.poll(0))
        return bool(select.select([self._descriptor], [], [], 0)[0])

    def until_readable(self, seconds: float | None) -> None:
        """Wait for octets or the end of the stream.

        Raises:
            TimeoutError: neither came within `seconds`.
        """
        if self._poll is not None:
            ready = bool(self._poll.poll(None if seconds is None else seconds * 1000))
        else:
            ready = bool(select.select([self._descriptor], [], [], seconds)[0])
        if not ready:
            raise TimeoutError("timed out")

    def until_writable(self, seconds: float | None) -> None:
        """Wait for room to write.

        Raises:
            TimeoutError: there was none within `seconds`.
        """
        if self._poll is not None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            ready = bool(poll.poll(None if seconds is None else seconds * 1000))
        else:
            ready = bool(select.select([], [self._descriptor], [], seconds)[1])
        if not ready:
            raise TimeoutError("timed out")
