"""A server that answers each command by the bytes it was given, right or wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, repeat

CLOSE = b"<close>"
"""In an answer: close the connection here."""
SILENCE = b"<silence>"
"""In an answer: say nothing more, until the client closes."""

OK = {
    "GREETING": b"220 mail.test\r\n",
    "DATA": b"354 go ahead\r\n",
    "QUIT": b"221 bye\r\n" + CLOSE,
}

Answers = Mapping[str, bytes | Sequence[bytes]]


class ScriptedServer:
    """Listens on loopback; each verb has its answers, the last of them for ever.

    ``GREETING`` and ``END`` (the lone dot) count as verbs; what is not listed gets 250.
    """

    def __init__(
        self,
        answers: Answers | None = None,
        *,
        extensions: Sequence[str] = ("PIPELINING", "SIZE 1000000"),
        write: Callable[[socket.socket, bytes], None] | None = None,
    ) -> None:
        lines = ["mail.test", *extensions]
        ehlo = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
        self.answers: dict[str, bytes | Sequence[bytes]] = {
            **OK,
            "EHLO": ehlo.encode(),
            "LHLO": ehlo.encode(),
            **(answers or {}),
        }
        self.commands: list[str] = []
        self.contents: list[bytes] = []
        self.writes: list[bytes] = []
        self._write = write or socket.socket.sendall
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        # A connection of our own ends the wait for one; closing a listener does not everywhere.
        self._stopped = True
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()

    _stopped = False

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._stopped:
                    return
                connection.settimeout(10)
                try:
                    self._converse(connection)
                except OSError:
                    pass  # The client went away, as some tests have it.

    def _converse(self, connection: socket.socket) -> None:
        queues: dict[str, Iterator[bytes]] = {}

        def say(verb: str) -> bool:
            if verb not in queues:
                given = self.answers.get(verb, b"250 ok\r\n")
                several = [given] if isinstance(given, bytes) else list(given)
                queues[verb] = chain(several, repeat(several[-1]))
            answer = next(queues[verb])
            for ending in (CLOSE, SILENCE):
                if answer.endswith(ending):
                    self._write(connection, answer.removesuffix(ending))
                    if ending is SILENCE:
                        while connection.recv(65536):
                            pass
                    return False
            self._write(connection, answer)
            # RFC 5321 §3.8: after a 421 the server closes.
            return not answer.startswith(b"421")

        buffer = b""

        def line() -> bytes:
            nonlocal buffer
            while b"\n" not in buffer:
                octets = connection.recv(65536)
                if not octets:
                    return b""
                self.writes.append(octets)
                buffer += octets
            found, _, buffer = buffer.partition(b"\n")
            return found + b"\n"

        if not say("GREETING"):
            return
        while octets := line():
            command = octets.decode("utf-8", "replace").rstrip("\r\n")
            self.commands.append(command)
            verb = command.split(" ")[0].upper()
            going = self.answers.get(verb, b"")
            if not say(verb):
                return
            if verb == "DATA" and _last(going).startswith(b"3"):
                content = b""
                while (octets := line()) != b".\r\n":
                    if not octets:
                        return
                    content += octets
                self.contents.append(content)
                if not say("END"):
                    return


def _last(answer: bytes | Sequence[bytes]) -> bytes:
    return answer if isinstance(answer, bytes) else answer[-1]


@contextmanager
def serving(answers: Answers | None = None, **options: object) -> Iterator[ScriptedServer]:
    with ScriptedServer(answers, **options) as server:  # type: ignore[arg-type] # passed on
        yield server


def drip(connection: socket.socket, octets: bytes, pause: threading.Event, seconds: float) -> None:
    """Write octet by octet."""
    for octet in octets:
        connection.sendall(bytes([octet]))
        if pause.wait(seconds):
            return
