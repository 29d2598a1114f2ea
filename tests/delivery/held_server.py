"""A name server that keeps what it is asked until it may answer: what is asked meanwhile shows."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from types import TracebackType
from typing import Self

import dns.message
import dns.rdatatype
import dns.rrset


class HeldServer:
    """Answers each question for A with 192.0.2.1, once `release` is called; a context."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.most = 0
        """How many it has kept at a time."""
        self._news = threading.Condition()
        self._kept: list[tuple[bytes, tuple[str, int]]] = []
        self._is_released = False

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            wire, peer = self._socket.recvfrom(4096)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            name = query.question[0].name.to_text(omit_final_dot=True)
            with self._news:
                self.asked[name] += 1
                if self._is_released:
                    self._answer(wire, peer)
                else:
                    self._kept.append((wire, peer))
                    self.most = len(self._kept)
                self._news.notify_all()

    def _answer(self, wire: bytes, peer: tuple[str, int]) -> None:
        response = dns.message.make_response(dns.message.from_wire(wire))
        name = response.question[0].name
        response.answer.append(dns.rrset.from_text(name, 300, "IN", "A", "192.0.2.1"))
        self._socket.sendto(response.to_wire(), peer)

    def wait_for(self, *names: str) -> None:
        """Wait until all of these were asked for."""
        with self._news:
            assert self._news.wait_for(lambda: all(self.asked[name] for name in names), 30)

    def wait_for_count(self, count: int) -> None:
        """Wait until so many questions were asked."""
        with self._news:
            assert self._news.wait_for(lambda: self.asked.total() >= count, 30)

    def release(self) -> None:
        """Answer what is kept, and from now on at once."""
        with self._news:
            self._is_released = True
            for wire, peer in self._kept:
                self._answer(wire, peer)
            self._kept.clear()
