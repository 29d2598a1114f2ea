"""`python -m bench.resumption`: what a `Client` saves that opens connections again and again.

Each message takes a connection of its own, to a server that is verified. Either each connection
has a new `Client`, whose handshake is whole, or one `Client` opens them all, and resumes. Round
trips and octets are counted; CPU is the client's, and both take turns.

TLS 1.2 resumes one round trip faster, but only after STARTTLS, where the client goes on: with TLS
from the start the greeting waits for the client's last word in any case. TLS 1.3 takes as many
round trips whole as resumed.
"""

from __future__ import annotations

import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product, starmap
from pathlib import Path
from typing import NamedTuple

import trustme

import smtpx
from bench import client, processes

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
MODES = (smtpx.TLSMode.STARTTLS, smtpx.TLSMode.IMPLICIT)
RTT = 60
CONTENT = b"".join(client.pieces(2048))


class Price(NamedTuple):
    """What a message costs whose connection is opened for it."""

    round_trips: int
    octets: int
    """In both directions, of TCP's load."""
    cpu: float
    """Seconds of the client."""


class Kind(NamedTuple):
    """Where TLS begins, and which."""

    mode: smtpx.TLSMode
    version: ssl.TLSVersion


@contextmanager
def server(kind: Kind) -> Iterator[tuple[processes.Service, trustme.CA]]:
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.pem"
        issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        arguments = ("--tls", kind.mode.value, "--certificate", str(path))
        with processes.service("bench.sink", *arguments) as running:
            yield running, authority


class Counter:
    """Carries connections to a port, one after the other, and counts their octets."""

    def __init__(self, port: int) -> None:
        self.octets = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with target:
            try:
                while octets := source.recv(65536):
                    self.octets += len(octets)
                    target.sendall(octets)
            except OSError:
                pass


class Sender:
    """Sends messages, each over a connection that is opened for it."""

    def __init__(self, authority: trustme.CA, kind: Kind, *, resuming: bool) -> None:
        context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        context.maximum_version = kind.version
        self._policy = smtpx.TLSPolicy(kind.mode, context=context)
        self._resuming = resuming
        self._client: smtpx.Client | None = None

    def send(self, port: int) -> None:
        if self._client is None or not self._resuming:
            url = f"smtp://127.0.0.1:{port}"
            pool = smtpx.PoolLimits(messages=1)
            self._client = smtpx.Client(url, tls=self._policy, pool=pool)
        envelope = smtpx.Envelope(client.SENDER, client.recipients(1))
        _ = self._client.send(CONTENT, envelope)


def measure(kind: Kind, *, rounds: int = 5, each: int = 40) -> dict[bool, Price]:
    """By whether sessions are resumed."""
    with server(kind) as (sink, authority):
        return {
            resuming: Price(
                round_trips(sink, Sender(authority, kind, resuming=resuming)),
                octets(sink, Sender(authority, kind, resuming=resuming)),
                seconds,
            )
            for resuming, seconds in cpu(sink, authority, kind, rounds, each).items()
        }


def round_trips(sink: processes.Service, sender: Sender) -> int:
    """Of the second connection: the first has nothing to resume."""
    with processes.wire(sink, RTT) as wire:
        sender.send(wire.port)
        _ = wire.report()
        sender.send(wire.port)
        return int(wire.report())


def octets(sink: processes.Service, sender: Sender) -> int:
    counter = Counter(sink.port)
    try:
        sender.send(counter.port)
        before = counter.octets
        sender.send(counter.port)
        return counter.octets - before
    finally:
        counter.close()


def cpu(
    sink: processes.Service, authority: trustme.CA, kind: Kind, rounds: int, each: int
) -> dict[bool, float]:
    senders = {resuming: Sender(authority, kind, resuming=resuming) for resuming in (False, True)}
    spent: dict[bool, list[float]] = {resuming: [] for resuming in senders}
    for _ in range(rounds + 1):  # The first round warms up.
        for resuming, sender in senders.items():
            began = time.process_time()
            for _ in range(each):
                sender.send(sink.port)
            spent[resuming].append((time.process_time() - began) / each)
    return {resuming: statistics.median(times[1:]) for resuming, times in spent.items()}


def main() -> None:
    print(f"{'a message, and its connection':32}{'round trips':>12}{'octets':>10}{'CPU':>12}")
    for kind in starmap(Kind, product(MODES, VERSIONS)):
        for resuming, price in measure(kind).items():
            handshake = "resumed" if resuming else "whole"
            name = f"{kind.mode.value}, {kind.version.name}, {handshake}"
            cost = f"{price.cpu * 1e6:,.0f} µs"
            print(f"  {name:30}{price.round_trips:12}{price.octets:10,}{cost:>12}")


if __name__ == "__main__":
    main()
