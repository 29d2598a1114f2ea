"""An OAuth 2.0 server's introspection endpoint (RFC 7662), as Dovecot asks it."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


class TokenEndpoint:
    """Knows tokens, each with its user; every other token is inactive. What was asked is kept."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        asked: list[str] = []
        self.asked = asked

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = parse_qs(urlsplit(self.path).query).get("token", [""])[0]
                asked.append(token)
                known = token in tokens
                body = {"active": True, "username": tokens[token]} if known else {"active": False}
                octets = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        """Where to ask; the token is to be appended."""
        return f"http://127.0.0.1:{self._server.server_port}/introspect?token="

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
