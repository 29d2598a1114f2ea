"""An HTTPS server for tests: of policies, and of reports."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time


class HTTPSHost:
    """An HTTPS server that says what it is told, to whoever asks."""

    def __init__(self, context: ssl.SSLContext, port: int = 0) -> None:
        self.answer = b""
        self.drips = 0.0
        """Seconds between any two octets of the answer."""
        self.parts = False
        """It says by TLS that it has said all (close_notify)."""
        self.resets = False
        """It ends the connection by a reset, once all of the answer is on its way."""
        self.asked = 0
        self.requests: list[bytes] = []
        self.context = context
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self._is_stopping = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def says(self, text: str, kind: str = "text/plain", status: str = "200 OK") -> None:
        body = text.encode()
        self.answer = (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def _serve(self) -> None:
        while not self._is_stopping:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                continue
            self.asked += 1
            connected.settimeout(5)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                with self.context.wrap_socket(connected, server_side=True) as channel:
                    self.requests.append(_read(channel))
                    if self.drips:
                        self._drip(channel)
                    else:
                        channel.sendall(self.answer)
                    if self.parts:
                        _ = channel.unwrap()
                    if self.resets:
                        linger = struct.pack("ii", 1, 0)
                        channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            except OSError:
                connected.close()

    def _drip(self, channel: ssl.SSLSocket) -> None:
        for place in range(len(self.answer)):
            if self._is_stopping:
                break
            channel.sendall(self.answer[place : place + 1])
            time.sleep(self.drips)

    def close(self) -> None:
        self._is_stopping = True
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()


def _read(channel: ssl.SSLSocket) -> bytes:
    """A request with its content, as far as it says how long that is."""
    whole = channel.recv(65536)
    head, _, content = whole.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    left = int(found[1]) - len(content) if found else 0
    while left > 0:
        part = channel.recv(65536)
        if not part:
            break
        left -= len(part)
        whole += part
    return whole
