"""The blocking driver: answers a procedure's steps from one socket, with `ssl` where asked.

The socket itself never blocks: a write is tried before it is waited for, which nearly always
saves a system call, and each wait has the deadline of its phase.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Coroutine
from threading import RLock, get_ident
from typing import TYPE_CHECKING, TypeVar

from smtpx._core.steps import (
    Asked,
    BrokenOff,
    Glance,
    Mark,
    Obtain,
    Receive,
    Send,
    StartTLS,
    Steps,
    with_octets_written,
)
from smtpx._drivers.interruption import abandon, broken_off, under_way
from smtpx._drivers.waiting import Deadline, Pace, Transport, Waiter
from smtpx.errors import LocalProtocolError, SMTPError

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake
    from smtpx._drivers.protected import Channel

T = TypeVar("T")

_BUFFER = 65536
# Who uses the socket, if it is one of several in a selector.
_A_SELECTOR = -1


class BlockingDriver:
    """Owns one connected socket; a driver that failed, or was interrupted, has closed it.

    Another thread may close it at any time. The socket then says that it has ended, and whoever
    waits for it closes it: the system gives the number of what is closed to the next one who opens
    something, and a thread would wait for that.
    """

    def __init__(self, connected: socket.socket, handshake: Handshake | None) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._transport: Transport = connected
        self._channel: Channel | None = None
        self._waiter = Waiter(connected)
        self._wants_read: tuple[type[OSError], ...] = (BlockingIOError,)
        self._wants_write: tuple[type[OSError], ...] = (BlockingIOError,)
        self._wait_for_room = self._waiter.until_writable
        self._handshake = handshake
        self._reply_due: float | None = None
        self._pace = Pace()
        self._user: int | None = None
        """The thread that may be waiting for the socket."""
        self._is_given_up = False
        self._lock = RLock()

    def run(self, procedure: Steps[T], deadline: Deadline) -> T:
        """Run a procedure to its end and return its value.

        Raises:
            LocalProtocolError: another procedure is being run; it is not disturbed.
            SMTPError: the procedure failed; it knows whether the connection can go on.
            BaseException: anything else, such as KeyboardInterrupt or an error of the caller's
                own file, ends the procedure and closes the socket. What became of the message
                hangs on it as ``.result``.
        """
        answer: bytes | None = None
        user = get_ident()
        # No thread takes over between these.
        if self._user is not None:
            raise under_way()
        try:
            self._user = user
            step = next(procedure)
            while True:
                try:
                    if type(step) is Glance:  # The commonest first.
                        answer = self._glance()
                    elif type(step) is Receive:
                        answer = self._receive(step, deadline)
                    elif type(step) is Send:
                        answer = self._send(step, deadline)
                    elif isinstance(step, (Obtain, Mark)):
                        answer = asked(step)
                    elif isinstance(step, StartTLS):
                        answer = self._start_tls(step, deadline)
                    else:
                        raise AssertionError("one message at a time needs no more of them")
                except OSError as error:
                    step = procedure.throw(deadline.judged(self.judged(error)))
                else:
                    step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        except SMTPError:
            raise
        except BaseException as error:
            # Interrupted, in the middle of who knows what: never to be used again. This one call of
            # C is made, even if the next signal comes now.
            socket.SocketType.close(self._socket)
            abandon(procedure, error)
            raise
        finally:
            answer = None  # R14: a traceback with locals would show what the server echoes.
            self._user = None
            if self._is_given_up:
                self.close()

    def part(self) -> None:
        """Close the socket in good order: under TLS the peer is told (RFC 8446 §6.1)."""
        if self._channel is not None:
            self._channel.part(self._socket)
        self.close()

    def close(self) -> None:
        """Close the socket, or have it be closed by whoever uses it; nothing more is said."""
        self._is_given_up = True
        with self._lock:
            if not self.is_used:
                self._socket.close()
                return
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # The peer was faster.

    @property
    def is_running(self) -> bool:
        """True while a call uses it."""
        return self._user is not None

    @property
    def is_used(self) -> bool:
        """True while somebody may wait for the socket, who closes it then."""
        return self._user not in (None, get_ident())

    def lend(self) -> None:
        """Have a selector wait for the socket."""
        self._user = _A_SELECTOR

    def take_back(self) -> None:
        """No selector waits for it any more."""
        self._user = None
        if self._is_given_up:
            self.close()

    @property
    def closed(self) -> bool:
        """True once the socket is closed on our side, or is to be."""
        return self._is_given_up or self._socket.fileno() < 0

    def judged(self, error: OSError) -> OSError:
        """The same error, or that we have closed the socket ourselves."""
        return broken_off(error) if self._is_given_up else error

    def end(self) -> bytes:
        """What is read at the end of the stream.

        Raises:
            BrokenOff: we have closed the socket ourselves.
        """
        if self._is_given_up:
            raise BrokenOff
        return b""

    @property
    def socket(self) -> socket.socket:
        """The socket, whether there is TLS over it or not."""
        return self._socket

    @property
    def transport(self) -> Transport:
        """What is read from and written to now: TLS once it is on."""
        return self._transport

    @property
    def wants(self) -> tuple[tuple[type[OSError], ...], tuple[type[OSError], ...]]:
        """What the transport raises when it has nothing to read, and no room to write."""
        return self._wants_read, self._wants_write

    def _receive(self, step: Receive, deadline: Deadline) -> bytes:
        seconds = step.timeout
        if self._is_given_up:
            raise BrokenOff
        if self._pace.is_behind:
            self._pace.refill()
        if seconds is not None:
            if step.fresh:
                self._reply_due = time.monotonic() + seconds
            elif (left := _left(self._reply_due)) is not None:
                # There may be more, again and again: it is too late.
                if left == 0:
                    raise TimeoutError("timed out")
                seconds = left
        if deadline.end is not None:
            seconds = deadline.within(seconds)
        channel = self._channel
        while True:
            if channel is None or not channel.pending():
                self._waiter.until_readable(seconds)
            try:
                return self._transport.recv(_BUFFER) or self.end()
            except self._wants_read:
                pass  # Part of a TLS record, or a wake-up for nothing.
            except self._wants_write:
                self._waiter.until_writable(seconds)
            if step.timeout is not None:
                seconds = _left(self._reply_due)
            seconds = deadline.within(seconds)
            if seconds == 0:
                raise TimeoutError("timed out")

    def _send(self, step: Send, deadline: Deadline) -> bytes:
        unsent, pace = step.data, self._pace
        try:
            if deadline.end is not None:
                _ = deadline.within(step.timeout)
            sent = self._write(unsent)
            if sent == len(unsent):
                if pace.is_behind:
                    pace.took_at_once(step)
                return b""
            pace.begin(step)
            while True:
                pace.advance(sent)
                unsent = memoryview(unsent)[sent:]
                if not unsent:
                    pace.end()
                    return b""
                seconds = deadline.within(pace.left)
                if seconds == 0:
                    raise TimeoutError("timed out")
                if not sent:
                    self._wait_for_room(seconds)
                sent = self._write(unsent)
        except OSError as error:
            taken = len(step.data) - len(unsent)
            raise with_octets_written(error, taken) from error.__cause__

    def _write(self, octets: bytes | memoryview) -> int:
        """How many octets could be written at once."""
        try:
            return self._transport.send(octets)
        except self._wants_write:
            self._wait_for_room = self._waiter.until_writable
        except self._wants_read:
            # TLS has something of its own to hear first.
            self._wait_for_room = self._waiter.until_readable
        return 0

    def _glance(self) -> bytes | None:
        channel = self._channel
        if (channel is None or not channel.pending()) and not self._waiter.is_readable():
            return None
        try:
            return self._transport.recv(_BUFFER) or self.end()
        except (*self._wants_read, *self._wants_write):
            # TLS may have read a record of its own, such as a session ticket, and no octets.
            return None

    def _start_tls(self, step: StartTLS, deadline: Deadline) -> bytes:
        seconds = deadline.within(step.timeout)
        due = None if seconds is None else time.monotonic() + seconds
        while True:
            try:
                if self.shake_hands(step):
                    return b""
            except self._wants_read:
                self._waiter.until_readable(_left(due))
            except self._wants_write:
                self._waiter.until_writable(_left(due))
            if _left(due) == 0:
                raise TimeoutError("timed out")

    def shake_hands(self, step: StartTLS) -> bool:
        """Go on with a TLS handshake, as far as it goes at once; True once it is done.

        Raises:
            OSError: it failed; or one of `wants`, when the socket has to be waited for.
        """
        import ssl

        from smtpx._drivers.protected import Channel

        handshake = self._handshake
        if handshake is None:
            raise LocalProtocolError("StartTLS: no TLSPolicy says whom the driver may trust")
        channel = self._channel
        if channel is None:
            channel = self._channel = Channel(self._socket, handshake)
            self._transport = channel
            self._wants_read = (ssl.SSLWantReadError,)
            self._wants_write = (ssl.SSLWantWriteError,)
        try:
            is_done = channel.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            handshake.note_failure(step)
            raise
        if is_done:
            handshake.note(step)
        return is_done


def asked(step: Asked) -> bytes:
    """Ask code of the caller's, which has to answer at once."""
    awaitable = step.ask()
    if awaitable is None:
        return b""
    for unawaited in (awaitable, step.given if isinstance(step, Mark) else None):
        if isinstance(unawaited, Coroutine):
            unawaited.close()
    what = "the mark" if isinstance(step, Mark) else "the source of the password or token"
    raise LocalProtocolError(
        f"{what} is asynchronous: give a plain function, or use smtpx.AsyncClient"
    )


def _left(due: float | None) -> float | None:
    return None if due is None else max(due - time.monotonic(), 0)
