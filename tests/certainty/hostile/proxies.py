"""A proxy before the server, SOCKS5 (RFC 1928) or HTTP CONNECT, as faulty as its plan says.

It knows no SMTP: what it loses, delays or cuts off is octets. Those of the client that it has read
and not passed on, no server ever had.
"""

from __future__ import annotations

import random
import selectors
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.certainty.hostile.lines import STALL, Over
from tests.certainty.hostile.sockets import knock, reset, shut

if TYPE_CHECKING:
    from tests.certainty.hostile.rounds import Round

PATIENCE = 20.0
REFUSED_METHOD = b"\x05\xff"
CONNECTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x30\x39"
# An answer with a name for an address, which has another length.
CONNECTED_BY_NAME = b"\x05\x00\x00\x03\x0aproxy.test\x30\x39"
HTTP_CONNECTED = (
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nVia: 1.0 proxy.test\r\nX: 1\r\n\r\n",
)
HTTP_REFUSALS = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nno go",
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
    b"HTTP/1.1 403 Forbidden\r\n\r\n",
)
GARBAGE = (b"\x00", b"220 proxy.test ESMTP\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x05", b"\xff" * 20)


class Proxy:
    """Listens on a port of its own, until it is ended."""

    def __init__(self, round_: Round) -> None:
        self.round = round_
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        self._tunnels: list[Tunnel] = []
        self._is_over = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def end(self, seconds: float) -> int:
        """Take no more; how many of its tunnels outlived those who wanted them."""
        self._is_over = True
        knock(self.port)
        self._accepting.join(seconds)
        left = 0
        for tunnel in self._tunnels:
            tunnel.thread.join(seconds if not left else 0)
            left += tunnel.thread.is_alive()
        return left

    def _accept(self) -> None:
        while True:
            connected, _ = self._listener.accept()
            if self._is_over:
                reset(connected)
                shut(self._listener)
                return
            tunnel = Tunnel(self.round, connected, len(self._tunnels))
            self._tunnels.append(tunnel)
            tunnel.thread.start()


class Tunnel:
    """One connection through the proxy, in a thread of its own."""

    def __init__(self, round_: Round, client: socket.socket, number: int) -> None:
        self._round = round_
        self._plan = round_.plan["proxy"]
        self._number = number
        self._chance = random.Random(f"{round_.plan['seed']} tunnel {number}")
        self._client = client
        self._server = socket.socket()
        self._fate = self._draw("tunnel")
        self._fate_at = self._chance.randrange(self._chance.choice((300, 3_000, 100_000)))
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self._client.settimeout(PATIENCE)
        self._server.settimeout(PATIENCE)
        try:
            greet = self._greet_by_socks if self._plan["kind"] == "socks5" else self._greet_by_http
            greet()
            self._relay()
        except Over:
            pass
        except OSError:
            # Who is gone is gone for the other one, too.
            reset(self._client)
            reset(self._server)
        finally:
            shut(self._client)
            shut(self._server)

    # Before the tunnel stands.

    def _greet_by_socks(self) -> None:
        count = self._exactly(2)[1]
        methods = self._exactly(count)
        method = 2 if 2 in methods and self._plan["asks"] else 0
        self._answer("method", REFUSED_METHOD, bytes((5, method)))
        if method == 2:
            _ = self._exactly(self._exactly(2)[1])
            _ = self._exactly(self._exactly(1)[0])
            self._answer("login", b"\x01\x01", b"\x01\x00")
        _ = self._exactly(4)
        host = socket.inet_ntoa(self._exactly(4))
        (port,) = struct.unpack(">H", self._exactly(2))
        no = b"\x05%c\x00\x01\0\0\0\0\0\0" % self._chance.randint(1, 9)
        self._connect(host, port, no, self._chance.choice((CONNECTED, CONNECTED_BY_NAME)))

    def _greet_by_http(self) -> None:
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            head += self._exactly(1)
        host, port = head.split()[1].decode().rsplit(":", 1)
        yes, no = self._chance.choice(HTTP_CONNECTED), self._chance.choice(HTTP_REFUSALS)
        self._connect(host, int(port), no, yes)

    def _connect(self, host: str, port: int, no: bytes, yes: bytes) -> None:
        try:
            self._server.connect((host, port))
        except OSError:
            self._client.sendall(no)
            raise Over from None
        if self._chance.random() < 0.3:
            # The server's first word comes with the proxy's, if it is one.
            self._server.settimeout(0.1)
            with suppress(TimeoutError):
                yes += self._server.recv(65536)
            self._server.settimeout(PATIENCE)
        self._answer("connect", no, yes)

    def _answer(self, point: str, no: bytes, yes: bytes) -> None:
        fate = self._draw(point)
        self._show(f"{point}: {fate or 'yes'}")
        match fate:
            case "no":
                self._client.sendall(no)
                raise Over
            case "garbage":
                self._client.sendall(self._chance.choice(GARBAGE))
                raise Over
            case "half":
                self._client.sendall(yes[: self._chance.randrange(1, len(yes))])
                raise Over
            case "close":
                raise Over
            case "reset":
                reset(self._client)
                raise Over
            case "stall":
                self._pause(STALL)
            case "pieces":
                for octet in yes:
                    self._client.sendall(bytes((octet,)))
                    self._pause(self._chance.random() * 0.001)
                return
        self._client.sendall(yes)

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            octets = self._client.recv(size - len(found))
            if not octets:
                raise Over
            found += octets
        return found

    # While it stands.

    def _relay(self) -> None:
        other = {self._client: self._server, self._server: self._client}
        passed = 0
        with selectors.DefaultSelector() as selector:
            for each in other:
                _ = selector.register(each, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(PATIENCE)
                if not ready:
                    raise Over
                for key, _ in ready:
                    here = key.fileobj
                    assert isinstance(here, socket.socket)
                    octets = here.recv(65536)
                    if not octets:
                        _ = selector.unregister(here)
                        self._show("end of the " + ("client" if here is self._client else "server"))
                        with suppress(OSError):
                            other[here].shutdown(socket.SHUT_WR)
                        continue
                    before, passed = passed, passed + len(octets)
                    if before <= self._fate_at < passed:
                        octets = self._strike(octets, self._fate_at - before, other[here])
                    other[here].sendall(octets)

    def _strike(self, octets: bytes, reached: int, there: socket.socket) -> bytes:
        """Have the fate of the tunnel come to pass; what of these is to be passed on after it."""
        if self._round.hurry.is_set():
            return octets
        self._show(f"{self._fate or 'nothing'} after {self._fate_at} octets")
        match self._fate:
            case "close":
                raise Over
            case "reset":
                raise OSError
            case "cut":
                there.sendall(octets[:reached])
                raise Over
            case "stall":
                self._pause(STALL)
            case "late":
                self._pause(self._chance.random() * 0.015)
        return octets

    def _draw(self, point: str) -> str | None:
        faults = self._plan["faults"].get(point)
        if not faults or self._round.hurry.is_set() or self._chance.random() >= self._plan["rate"]:
            return None
        return str(self._chance.choice(faults))

    def _pause(self, seconds: float) -> None:
        _ = self._round.hurry.wait(seconds)

    def _show(self, text: str) -> None:
        self._round.transcript.append(f"proxy {self._number}: {text}")
