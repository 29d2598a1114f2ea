"""Small proxies of the tests' own, each as its document has it: SOCKS5, SOCKS4a, HTTP CONNECT."""

from __future__ import annotations

import base64
import ipaddress
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class ProxyServer:
    """Takes one connection after the other, and passes each on to where it is asked to.

    It looks up no name: `names` says where each leads, so that a test sees who resolved it.
    """

    def __init__(
        self,
        serve: Callable[[ProxyServer, socket.socket], socket.socket | None],
        *,
        names: dict[str, int] | None = None,
        users: dict[str, str] | None = None,
        early: bool = False,
    ) -> None:
        self.asked: list[tuple[str, int]] = []
        self.early = early
        """Say the answer in one write with the first that the server says."""
        self.users = users or {}
        self._names = names or {}
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in [self._listener, *self._open]:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It is not connected any more.
        for thread in self._threads:
            thread.join()
        for connection in [self._listener, *self._open]:
            connection.close()

    def _start(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            self._start(self._handle, client)

    def _handle(self, client: socket.socket) -> None:
        try:
            server = self._serve(self, client)
        except (OSError, struct.error):
            server = None  # The client has gone.
        if server is None:
            client.close()
            return
        self._start(self._pass_on, client, server)
        self._pass_on(server, client)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while octets := source.recv(65536):
                sink.sendall(octets)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # Either side has gone.

    def connect(self, host: str, port: int) -> socket.socket:
        self.asked.append((host, port))
        server = socket.create_connection(("127.0.0.1", self._names.get(host, port)))
        self._open.append(server)
        return server

    def answer(self, client: socket.socket, octets: bytes, server: socket.socket) -> socket.socket:
        if self.early:
            octets += server.recv(65536)
        client.sendall(octets)
        return server


def exactly(client: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        part = client.recv(size - len(octets))
        if not part:
            raise OSError("the client hung up")
        octets += part
    return octets


def until_nul(client: socket.socket) -> bytes:
    octets = b""
    while (octet := exactly(client, 1)) != b"\0":
        octets += octet
    return octets


def socks5(proxy: ProxyServer, client: socket.socket) -> socket.socket | None:
    """RFC 1928, RFC 1929."""
    version, count = exactly(client, 2)
    methods = exactly(client, count)
    assert version == 5
    if proxy.users:
        if 2 not in methods:
            client.sendall(b"\x05\xff")
            return None
        client.sendall(b"\x05\x02")
        assert exactly(client, 1) == b"\x01"
        user = exactly(client, exactly(client, 1)[0]).decode()
        password = exactly(client, exactly(client, 1)[0]).decode()
        if proxy.users.get(user) != password:
            client.sendall(b"\x01\x01")
            return None
        client.sendall(b"\x01\x00")
    else:
        client.sendall(b"\x05\x00")
    version, command, _, kind = exactly(client, 4)
    assert (version, command) == (5, 1)
    match kind:
        case 1:
            host = str(ipaddress.IPv4Address(exactly(client, 4)))
        case 4:
            host = str(ipaddress.IPv6Address(exactly(client, 16)))
        case _:
            host = exactly(client, exactly(client, 1)[0]).decode()
    (port,) = struct.unpack("!H", exactly(client, 2))
    try:
        server = proxy.connect(host, port)
    except ConnectionRefusedError:
        client.sendall(b"\x05\x05\x00\x01" + bytes(6))
        return None
    bound = b"\x03\x04abcd\x04\x38" if proxy.early else b"\x01" + bytes(6)
    return proxy.answer(client, b"\x05\x00\x00" + bound, server)


def socks4a(proxy: ProxyServer, client: socket.socket) -> socket.socket | None:
    """SOCKS4, and the host name of 4a behind an address 0.0.0.x."""
    version, command, port, address = struct.unpack("!BBH4s", exactly(client, 8))
    assert (version, command) == (4, 1)
    user = until_nul(client).decode()
    host = str(ipaddress.IPv4Address(address))
    if address[:3] == bytes(3) and address[3]:
        host = until_nul(client).decode()
    if proxy.users and user not in proxy.users:
        client.sendall(b"\x00\x5d" + bytes(6))
        return None
    try:
        server = proxy.connect(host, port)
    except ConnectionRefusedError:
        client.sendall(b"\x00\x5b" + bytes(6))
        return None
    return proxy.answer(client, b"\x00\x5a" + bytes(6), server)


def http_connect(proxy: ProxyServer, client: socket.socket) -> socket.socket | None:
    """CONNECT (RFC 9110 §9.3.6), Basic (RFC 7617)."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(client, 1)
    request, *lines = head.decode().split("\r\n")
    method, target, version = request.split(" ")
    assert (method, version) == ("CONNECT", "HTTP/1.1")
    fields = dict(line.split(": ", 1) for line in lines if line)
    assert fields["Host"] == target
    if proxy.users:
        scheme, _, token = fields.get("Proxy-Authorization", "").partition(" ")
        user, _, password = base64.b64decode(token).decode("latin-1").partition(":")
        if scheme != "Basic" or proxy.users.get(user) != password:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
    host, _, port = target.rpartition(":")
    try:
        server = proxy.connect(host.strip("[]"), int(port))
    except ConnectionRefusedError:
        client.sendall(b"HTTP/1.1 502 Bad \x1bGateway\r\nContent-Length: 0\r\n\r\n")
        return None
    return proxy.answer(client, b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", server)


SERVERS = {"socks5": socks5, "socks4a": socks4a, "http": http_connect}
