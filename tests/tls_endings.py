"""A server that notes how each TLS session ends: by close_notify, or by the end of the stream."""

from __future__ import annotations

import socket
import ssl
import threading
from types import TracebackType
from typing import Self

_REPLIES = {
    b"EHLO": b"250-mail.test\r\n250 PIPELINING\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 bye\r\n",
}


class Endings:
    """Takes mail by SMTP over implicit TLS, and has what each session ended with in `said`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.said: list[str] = []
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What wakes accept up on every system.
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join(30)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            try:
                protected = self._context.wrap_socket(
                    connection, server_side=True, suppress_ragged_eofs=False
                )
            except OSError:
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(protected,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, protected: ssl.SSLSocket) -> None:
        with protected:
            try:
                self._talk(protected)
            except OSError:
                self.said.append("the end of the stream")
            else:
                self.said.append("close_notify")

    def _talk(self, protected: ssl.SSLSocket) -> None:
        protected.sendall(b"220 mail.test\r\n")
        unread, is_content = b"", False
        while arrived := protected.recv(4096):
            *lines, unread = (unread + arrived).split(b"\r\n")
            for line in lines:
                verb = line[:4].upper()
                if is_content:
                    is_content = line != b"."
                    if is_content:
                        continue
                elif verb == b"DATA":
                    is_content = True
                protected.sendall(_REPLIES.get(verb, b"250 ok\r\n"))
