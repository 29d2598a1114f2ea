"""Addresses that answer and addresses that do not, on the loopback; and whoever looks them up."""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

Found = tuple[int, int, int, str, tuple[Any, ...]]


def entry(host: str, port: int) -> Found:
    """What a resolver says of an IP address."""
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


class Resolver:
    """In place of the system's: knows `mx.test`, and counts who asks for what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: Sequence[Found]) -> None:
        self.asked: list[str] = []
        self._found = list(found)
        self._others = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *args: Any, **options: Any) -> list[Found]:
        if host == "mx.test":
            self.asked.append(host)
            return self._found
        return self._others(host, port, *args, **options)  # type: ignore[return-value] # an enum


_ATTEMPTS = 100


@contextmanager
def one_port(*hosts: str) -> Iterator[int]:
    """A port that is free at all of these addresses, for servers of ours that ask for it.

    On Linux nobody else is given it meanwhile; what listens there needs SO_REUSEADDR. Elsewhere no
    more can be done than to let go of it at the last moment.
    """
    for attempt in range(_ATTEMPTS):
        with ExitStack() as stack:
            port = 0
            try:
                for host in hosts:
                    bound = stack.enter_context(socket.socket(entry(host, 0)[0]))
                    if sys.platform == "linux":
                        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    bound.bind((host, port))
                    port = bound.getsockname()[1]
            except OSError as error:
                if not port:
                    pytest.skip(f"{hosts[0]} is not of this machine: {error}")
                if error.errno == errno.EADDRINUSE and attempt < _ATTEMPTS - 1:
                    continue
                raise
            if sys.platform != "linux":
                stack.close()
            yield port
            return


@contextmanager
def dead(host: str, *, beside: Sequence[str] = ()) -> Iterator[int]:
    """A port where connecting takes for ever: its queue is full, so that nobody is let in.

    It is free at the addresses `beside` this one, as `one_port` says.
    """
    if sys.platform != "linux":
        pytest.skip("only Linux is known to drop connections when the queue is full")
    with one_port(host, *beside) as port, ExitStack() as stack:
        listener = stack.enter_context(socket.socket(entry(host, 0)[0]))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        while True:
            filler = stack.enter_context(socket.socket(entry(host, 0)[0]))
            filler.setblocking(False)
            if filler.connect_ex((host, port)) == 0:
                continue
            if not select.select([], [filler], [], 0.1)[1]:
                break
        yield port


@contextmanager
def refusing(host: str) -> Iterator[int]:
    """A port where nobody listens, and nobody will."""
    with socket.socket(entry(host, 0)[0]) as bound:
        try:
            bound.bind((host, 0))
        except OSError as error:
            pytest.skip(f"{host} is not of this machine: {error}")
        yield bound.getsockname()[1]


@contextmanager
def listening(host: str) -> Iterator[socket.socket]:
    """A port that answers."""
    with socket.socket(entry(host, 0)[0]) as listener:
        listener.bind((host, 0))
        listener.listen(16)
        yield listener


def with_small_window() -> socket.socket:
    """A port on which the client soon feels that it is not read."""
    listener = socket.socket()
    # What is accepted has it too.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def take(connection: socket.socket, octets: int) -> None:
    """Read at least so many octets.

    Raises:
        OSError: there are no more.
    """
    while octets > 0:
        taken = len(connection.recv(65536))
        if not taken:
            raise OSError("the peer has gone")
        octets -= taken
