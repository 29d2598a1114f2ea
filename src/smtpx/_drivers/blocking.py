"""The blocking driver: answers a procedure's steps from one socket, with `ssl` where asked."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, TypeVar, assert_never

from smtpx._core.steps import Glance, Receive, Send, StartTLS, Step, Steps
from smtpx.errors import SMTPError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

_BUFFER = 65536


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


class BlockingDriver:
    """Owns one connected socket; a driver that failed, or was interrupted, has closed it."""

    def __init__(
        self,
        connected: socket.socket,
        context: ssl.SSLContext | None,
        server_hostname: str | None,
    ) -> None:
        self._socket = connected
        self._context = context
        self._server_hostname = server_hostname
        self._reply_due: float | None = None

    def run(self, procedure: Steps[T], deadline: Deadline) -> T:
        """Run a procedure to its end and return its value.

        Raises:
            SMTPError: the procedure failed; it knows whether the connection can go on.
            BaseException: anything else, such as KeyboardInterrupt or an error of the caller's
                own file, ends the procedure and closes the socket.
        """
        try:
            step = next(procedure)
            while True:
                try:
                    answer = self._answer(step, deadline)
                except OSError as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        except SMTPError:
            raise
        except BaseException:
            # Interrupted, in the middle of who knows what: never to be used again.
            procedure.close()
            self.close()
            raise

    def close(self) -> None:
        """Close the socket; nothing more is said."""
        self._socket.close()

    @property
    def closed(self) -> bool:
        """True once the socket is closed on our side."""
        return self._socket.fileno() < 0

    @property
    def socket(self) -> socket.socket:
        """The socket as it is now: an `ssl.SSLSocket` once TLS is on."""
        return self._socket

    def _answer(self, step: Step, deadline: Deadline) -> bytes | None:
        match step:
            case Receive(timeout, fresh):
                return self._receive(timeout, fresh, deadline)
            case Send(data, timeout):
                self._socket.settimeout(deadline.within(timeout))
                self._socket.sendall(data)
                return b""
            case Glance():
                return self._glance()
            case StartTLS(timeout):
                self._start_tls(deadline.within(timeout))
                return b""
            case _:
                assert_never(step)

    def _receive(self, timeout: float | None, fresh: bool, deadline: Deadline) -> bytes:
        if fresh:
            self._reply_due = None if timeout is None else time.monotonic() + timeout
            left = timeout
        else:
            left = self._left()
        self._socket.settimeout(deadline.within(left))
        return self._socket.recv(_BUFFER)

    def _left(self) -> float | None:
        if self._reply_due is None:
            return None
        left = self._reply_due - time.monotonic()
        if left <= 0:
            raise TimeoutError("the reply did not come whole")
        return left

    def _glance(self) -> bytes | None:
        if not self._is_readable():
            return None
        self._socket.settimeout(0)
        try:
            return self._socket.recv(_BUFFER)
        except BlockingIOError:
            return None
        except OSError as error:
            # TLS may have read a record of its own, such as a session ticket, and no octets.
            if type(error).__name__ == "SSLWantReadError":
                return None
            raise

    def _is_readable(self) -> bool:
        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            return True
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([self._socket], [], [], 0)[0])

    def _start_tls(self, timeout: float | None) -> None:
        if self._context is None:
            raise AssertionError("a policy that asks for TLS has made a context")
        self._socket.settimeout(timeout)
        self._socket = self._context.wrap_socket(
            self._socket, server_hostname=self._server_hostname
        )
