"""One plan: its listeners, its sessions and its ledger."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from tests.certainty.hostile.machine import Machine
from tests.certainty.hostile.proxies import Proxy
from tests.certainty.hostile.sockets import linger, reset, shut

ATTEMPTS = 20
"""To find a port that is free at several addresses."""


class Round:
    """Serves on a port of its own until it is finished, or dies.

    It may be several hosts with one ledger, each at its address, and each as faulty as is its own.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.transcript: deque[str] = deque(maxlen=20_000)
        self.hurry = threading.Event()
        """Set when nobody waits any more: no pause, no fault."""
        self.idle_calls = 0
        self.resting = threading.Lock()
        """Held where a session comes to rest, and where those at rest are counted."""
        self.kept = 0
        self.context: ssl.SSLContext | None = None
        if any({**plan, **host}["tls"] != "none" for host in plan["hosts"]):
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(plan["certificate"])
        self._ledger = os.open(plan["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._dead = False
        self._sessions: list[Machine] = []
        self._wakers: set[object] = set()
        self._listeners = self._listen([host["address"] for host in plan["hosts"]])
        self.port: int = self._listeners[0].getsockname()[1]
        self._accepting = [
            threading.Thread(target=self._accept, args=(listener, {**plan, **host}), daemon=True)
            for listener, host in zip(self._listeners, plan["hosts"], strict=True)
        ]
        for thread in self._accepting:
            thread.start()
        self.proxy = Proxy(self) if plan["proxy"] else None

    def _listen(self, addresses: list[str]) -> list[socket.socket]:
        """A listener at each address, all at one port."""
        for attempt in range(ATTEMPTS):
            listeners: list[socket.socket] = []
            port = 0
            try:
                for address in addresses:
                    listeners.append(self._bound(address, port))
                    port = listeners[0].getsockname()[1]
            except OSError:
                for listener in listeners:
                    shut(listener)
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return listeners
        raise AssertionError("the last attempt raises")

    def _bound(self, address: str, port: int) -> socket.socket:
        listener = socket.socket()
        if self.plan["receive_buffer"]:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.plan["receive_buffer"])
            # Small segments keep the client's own buffer small, so that its writes wait.
            with suppress(AttributeError, OSError):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        listener.bind((address, port))
        listener.listen(64)
        return listener

    def note(self, what: str, **facts: object) -> None:
        """Write to the ledger; it is there whatever happens next."""
        line = json.dumps({"what": what, **facts}) + "\n"
        with self._lock:
            _ = os.write(self._ledger, line.encode())

    def end_idle(self) -> int:
        """End the sessions that are at rest, as servers do that have waited for too long."""
        with self.resting:
            self.idle_calls += 1
            ended = [session for session in list(self._sessions) if session.is_resting]
        for session in ended:
            session.thread.join(1)
        return len(ended)

    def die(self) -> None:
        """Serve nobody any more; those who are connected find out."""
        self._dead = True
        self._listen_no_more()
        for session in list(self._sessions):
            with suppress(OSError):
                linger(session.socket)
                session.socket.shutdown(socket.SHUT_RDWR)

    def finish(self, seconds: float) -> dict[str, object]:
        """Read what is still on its way, and end."""
        self.hurry.set()
        if not self._dead:
            self._listen_no_more()
        for thread in self._accepting:
            thread.join(seconds)
        until = time.monotonic() + seconds
        left_open = 0
        for session in self._sessions:
            session.thread.join(max(0.01, until - time.monotonic()))
            if session.thread.is_alive():
                left_open += 1
                with suppress(OSError):
                    session.socket.shutdown(socket.SHUT_RDWR)
                session.thread.join(1)
        if self.proxy is not None:
            left_open += self.proxy.end(seconds)
        os.close(self._ledger)
        return {"sessions": len(self._sessions), "left open": left_open}

    def _accept(self, listener: socket.socket, plan: dict[str, Any]) -> None:
        while True:
            connected, whose = listener.accept()
            if whose in self._wakers or self._dead:
                reset(connected)
                shut(listener)
                return
            with self._lock:
                session = Machine(self, plan, connected, len(self._sessions))
                self._sessions.append(session)
            session.thread.start()

    def _listen_no_more(self) -> None:
        """End `_accept` after all who wait, by one more connection: that works everywhere."""
        for listener in self._listeners:
            with suppress(OSError), socket.socket() as waker:
                waker.bind(("127.0.0.1", 0))
                self._wakers.add(waker.getsockname())
                waker.settimeout(5)
                waker.connect(listener.getsockname())
