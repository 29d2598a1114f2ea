"""TLS over a socket that does not block, by pieces: for drivers that have one thread and a clock.

`ssl.SSLSocket` and the TLS of asyncio's loops read and write by themselves. A peer that sends
records without content, such as key updates, keeps its caller inside one call for as long as it
likes; and when a write fails, nobody knows of the records that went out before. So TLS is done
over buffers. One bounded read fills them at a time, and what leaves them is counted.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpx._drivers.handshakes import Handshake
    from smtpx._drivers.waiting import Transport

# The most that is read at once: one record of TLS, with its frame.
_PIECE = 16384 + 256 + 5
# The most that is encrypted ahead of what the socket has taken: a few records.
_BATCH = 65536


class Channel:
    """A TLS connection over a connected socket, or what does as one, and used as that is.

    Where the socket must be waited for, it raises `ssl.SSLWantReadError` or
    `ssl.SSLWantWriteError`. No call reads more than one piece.
    """

    def __init__(self, carrier: Transport, handshake: Handshake) -> None:
        self._carrier = carrier
        self._handshake = handshake
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = handshake.wrap(self._incoming, self._outgoing)
        self._ciphertext: bytes | memoryview = b""
        """What has left `_outgoing`, and the socket has not taken."""
        self._held = 0
        """Octets that are encrypted, and not counted as taken."""
        self._unsent = 0
        """Octets of ciphertext up to the end of those: TLS may put its own behind them."""
        self._has_ended = False
        """True if the end was read behind content, and is still to be told."""
        self._is_cut = False
        """True if the stream has ended below TLS, before any close_notify that was read."""

    def do_handshake(self) -> bool:
        """Go on with the handshake, as far as one piece leads; True once it is done."""
        self._drain()
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._drain()
            self._feed()
            return False
        except ssl.SSLError:
            self._speak()  # An alert tells the peer why.
            raise
        self._drain()
        return True

    def pending(self) -> bool:
        """True if something was read from the socket, and not told: it is not waited for then."""
        return self._has_ended or self._incoming.pending > 0

    def recv(self, size: int, /) -> bytes:
        """Read the content of one piece; ``b""`` is the end.

        `size` is for each of its records: 16,384 octets, the largest, or more.
        """
        if self._outgoing.pending > _PIECE:
            # The peer has TLS answer, and does not read: nothing more is read of it, either.
            if self._held:
                raise ssl.SSLWantWriteError
            self._drain()
        if not self.pending():
            self._feed()
        try:
            content = self._content(size)
            if not content and not self._is_cut:
                self._handshake.note_close()
            return content
        except ssl.SSLEOFError:
            return b""  # Peers close without close_notify, and end what they say by its form.
        finally:
            if self._outgoing.pending:
                self._speak()

    def _content(self, size: int) -> bytes:
        content = self._tls.read(size)
        # Servers that put each reply in a record of its own have them read together all the same.
        while content and self._incoming.pending:
            try:
                more = self._tls.read(size)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                more = b""  # It is raised anew, in its turn.
            if not more:
                self._has_ended = True
                break
            content += more
        return content

    def send(self, octets: bytes | memoryview, /) -> int:
        """Write what fits; the value is how many octets the peer may have, or more.

        What follows those is to be given next: some of it may be encrypted already.
        """
        if not self._held:
            self._held = self._encrypt(octets)
            self._unsent = len(self._ciphertext) + self._outgoing.pending
        gone = self._transmit()
        self._unsent -= gone
        if self._unsent > 0:
            # R15: no record is shorter than what it holds, and the last one has not gone whole.
            gone = min(gone, self._held - 1)
        else:
            gone = self._held
        self._held -= gone
        return gone

    def part(self, connected: socket.socket) -> None:
        """Say to the socket that nothing follows, unless a write has been left unfinished."""
        if self._is_drained():
            self._handshake.part(connected)

    def _encrypt(self, octets: bytes | memoryview) -> int:
        if len(octets) > _BATCH:
            octets = memoryview(octets)[:_BATCH]
        try:
            return self._tls.write(octets)
        except ssl.SSLWantReadError:
            # TLS 1.2 agrees anew, which a context of the caller's own may allow.
            self._speak()
            self._feed()
            raise ssl.SSLWantWriteError from None  # It is called again, with a look at the clock.

    def _feed(self) -> None:
        """Read one piece of what has come."""
        try:
            octets = self._carrier.recv(_PIECE)
        except BlockingIOError:
            raise ssl.SSLWantReadError from None
        if octets:
            _ = self._incoming.write(octets)
        else:
            self._is_cut = True
            self._incoming.write_eof()

    def _transmit(self) -> int:
        """Write to the socket once; the value is how many octets of ciphertext it took."""
        ciphertext = self._ciphertext or self._outgoing.read()
        self._ciphertext = ciphertext
        try:
            gone = self._carrier.send(ciphertext)
        except BlockingIOError:
            raise ssl.SSLWantWriteError from None
        self._ciphertext = b"" if gone == len(ciphertext) else memoryview(ciphertext)[gone:]
        return gone

    def _is_drained(self) -> bool:
        return not self._ciphertext and not self._outgoing.pending

    def _drain(self) -> None:
        while not self._is_drained():
            _ = self._transmit()

    def _speak(self) -> None:
        """Write what TLS says on its own account, as far as there is room."""
        if self._held:
            return  # It goes along with the content, which is counted.
        try:
            self._drain()
        except OSError:
            pass  # There is no room; or it will show when something is read or written.
