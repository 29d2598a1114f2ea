"""A server that keeps one kind of message waiting for its reply, and takes all others at once."""

from __future__ import annotations

import socketserver
import threading
from typing import Any, Self


class SlowServer(socketserver.ThreadingTCPServer):
    """Content for a recipient with ``slow`` in the address is answered when `released` is set.

    A session ends where RCPT has ``broken`` in it.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Dialogue)
        self.released = threading.Event()
        self.begun = threading.Event()
        """The first content that is kept waiting has come."""
        self._thread = threading.Thread(target=lambda: self.serve_forever(0.01), daemon=True)

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # A client that has gone is no news.


class _Dialogue(socketserver.StreamRequestHandler):
    server: SlowServer

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        is_slow = False
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"RCPT":
                is_slow = b"slow" in line
                if b"broken" in line:
                    return
            if verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                if is_slow:
                    self.server.begun.set()
                    _ = self.server.released.wait(60)
            if verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            offers = b"250-slow.test\r\n250 PIPELINING\r\n"
            self.wfile.write(offers if verb == b"EHLO" else b"250 ok\r\n")
