"""A long wire in a process of its own: delays both ways, and counts the round trips waited for.

`python -m bench.wire PORT RTT` (milliseconds) prints its own port, and carries what comes there to
PORT and back, each octet half the round-trip time later, as many at once as there are: the delay
is that of distance, not of a narrow line. It serves until its standard input ends. A line
``report`` there is answered by the round trips since the last.

A round trip is counted when something is delivered to the client for the first time since the
client last said something, or connected: the client may have waited for it. TCP's own handshake
is one, before anything is carried. What the kernel does, such as slow start and Nagle's algorithm,
does not show.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

READ = 1 << 18


class Tally:
    """The round trips of all connections."""

    def __init__(self) -> None:
        self.round_trips = 0

    def report(self) -> int:
        seen, self.round_trips = self.round_trips, 0
        return seen


def carry(
    source: socket.socket,
    target: socket.socket,
    delay: float,
    on_read: Callable[[], None],
    on_delivery: Callable[[], None],
) -> None:
    """Carry what comes from `source` to `target` so much later, until either ends."""
    queue: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def deliver() -> None:
        while True:
            due, octets = queue.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if octets:
                    on_delivery()
                    target.sendall(octets)
                else:
                    target.shutdown(socket.SHUT_WR)
                    return
            except OSError:
                return

    def read() -> None:
        while True:
            try:
                octets = source.recv(READ)
            except OSError:
                octets = b""
            if octets:
                on_read()
            queue.put((time.monotonic() + delay, octets))
            if not octets:
                return

    for work in (read, deliver):
        threading.Thread(target=work, daemon=True).start()


def connect(client: socket.socket, port: int, rtt: float, tally: Tally) -> None:
    waiting = True

    def said() -> None:
        nonlocal waiting
        waiting = True

    def delivered() -> None:
        nonlocal waiting
        tally.round_trips += waiting
        waiting = False

    time.sleep(rtt)  # TCP's handshake.
    tally.round_trips += 1
    server = socket.create_connection(("127.0.0.1", port))
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    carry(client, server, rtt / 2, said, lambda: None)
    carry(server, client, rtt / 2, lambda: None, delivered)


def accept(listener: socket.socket, port: int, rtt: float, tally: Tally) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=connect, args=(client, port, rtt, tally), daemon=True).start()


def main() -> None:
    port, rtt = int(sys.argv[1]), float(sys.argv[2]) / 1000
    tally = Tally()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        threading.Thread(target=accept, args=(listener, port, rtt, tally), daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        for line in sys.stdin:
            assert line == "report\n", line
            print(tally.report(), flush=True)


if __name__ == "__main__":
    main()
