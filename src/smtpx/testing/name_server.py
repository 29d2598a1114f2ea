"""A real name server for tests, in a thread of the test's own process.

::

    with NameServer("example.net MX 10 mx.example.net.") as names:
        ...  # ask names.host, names.port
    assert names.packets["example.net", "MX"] == 1
    assert names.unstruck == []  # no fault that never came to anything

It listens on the loopback interface by UDP and TCP. It needs ``dnspython``, and ``cryptography``
where zones are signed (the extra ``smtpx[testing]``).
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from smtpx import _checks
from smtpx._starting import Joined
from smtpx._uncopied import Uncopied

from ._answering import Said
from ._zones import Known, Resolved, SignedZones, module
from .name_faults import Misanswer, NameFault

__all__ = ["NameServer"]

_ATTEMPTS = 20
_NAME = re.compile(r"(?:[a-z0-9_*-]{1,63}\.)*[a-z0-9_*-]{1,63}", re.ASCII)


class NameServer(Uncopied):
    """An embedded name server; enter it, or `start` and `close` it.

    It answers as a resolver would that validates DNSSEC, and vouches for all but `insecure`. With
    `signed` it is the authority of zones that are really signed, for a resolver of your own to
    validate by `trust_anchor`.
    """

    def __init__(
        self,
        zone: str = "",
        *,
        insecure: Iterable[str] = (),
        faults: Iterable[NameFault] = (),
        signed: Sequence[str] = (),
        unsigned: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Say what it knows; nothing happens before `start`.

        `zone` has a record a line: the name, the type and the data, ``a.test MX 10 mx.a.test.``.
        Names are absolute. `insecure` are those that are answered without the AD bit. `signed`
        and `unsigned` are the names of zones; a name belongs to the nearest of them. Keys,
        signatures, denials and what a parent says of its children are made. `port` 0 is a free
        one, new with each `start`.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: a line is no record, or belongs to no zone; or two arguments exclude
                each other.
            ExtraMissing: dnspython is not installed, or cryptography for what is `signed`.
        """
        self._insecure = _names("insecure", insecure)
        self._signed, self._unsigned = _names("signed", signed), _names("unsigned", unsigned)
        if self._unsigned and not self._signed:
            raise ValueError("unsigned: give signed zones as well; else insecure is what you want")
        if self._insecure and self._signed:
            raise ValueError("insecure and signed: give one of the two")
        _checks.text("host", host)
        _checks.count("port", port, 0, 65535)
        self._faults = _faults(faults)
        self.host = host
        self.port = port
        """Where it listens; 0 before `start` where any free port will do."""
        self.packets: Counter[tuple[str, str]] = Counter()
        """How often each question came: name, lower case without a dot at the end, and type."""
        self._asked_port = port
        self._strikes: Counter[NameFault] = Counter()
        self._known: Known
        self.load(zone)
        self._thread: Joined | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._conversations: set[asyncio.Task[Any] | None] = set()

    def load(self, zone: str) -> None:
        """Know this from now on, in place of what it knew; signed zones have new keys.

        Raises:
            TypeError, ValueError: as the constructor says.
        """
        _checks.text("zone", zone)
        if self._signed:
            self._known = SignedZones(zone, self._signed, self._unsigned)
        else:
            self._known = Resolved(zone, self._insecure)

    @property
    def trust_anchor(self) -> str:
        """DS records of the signed zones that have no signed parent here, a line each."""
        return self._known.trust_anchor

    def add_fault(self, *faults: NameFault) -> None:
        """Go wrong in these ways, too.

        Raises:
            TypeError: one is no `NameFault`.
        """
        self._faults = [*self._faults, *_faults(faults)]

    def clear_faults(self) -> None:
        """Go wrong no more."""
        self._faults = []

    @property
    def unstruck(self) -> list[NameFault]:
        """Faults that never came to anything."""
        return [fault for fault in self._faults if not self._strikes[fault]]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen, and return once it can be asked.

        Raises:
            OSError: the port is in use, or the host is none of this machine.
            RuntimeError: it has been started already.
        """
        if self._thread is not None:
            raise RuntimeError("The name server has been started already.")
        sockets = self._bound()
        ready = threading.Event()
        self._thread = Joined(partial(self._run, *sockets, ready), "smtpx.testing.NameServer")
        self._thread.start()
        _ = ready.wait()

    def close(self) -> None:
        """Answer no more; a server that was never started is closed already."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stop is None:
            return
        _ = self._loop.call_soon_threadsafe(self._stop.set)
        thread.join()

    def _bound(self) -> tuple[socket.socket, socket.socket]:
        """A UDP and a TCP socket of the same port."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        for attempt in range(_ATTEMPTS):
            packets = socket.socket(family, socket.SOCK_DGRAM)
            streams = socket.socket(family, socket.SOCK_STREAM)
            try:
                packets.bind((self.host, self._asked_port))
                self.port = packets.getsockname()[1]
                if not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                    # On Windows it would take the port from one that listens.
                    streams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                streams.bind((self.host, self.port))
                # Before that another socket of the same option may be bound there, and listen.
                streams.listen()
            except OSError:
                packets.close()
                streams.close()
                if self._asked_port or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return packets, streams
        raise AssertionError("the last attempt raises")

    def _run(self, packets: socket.socket, streams: socket.socket, ready: threading.Event) -> None:
        # The selector loop everywhere: its readers can be taken away.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve(packets, streams, ready))

    async def _serve(
        self, packets: socket.socket, streams: socket.socket, ready: threading.Event
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        datagrams, _ = await self._loop.create_datagram_endpoint(
            lambda: _Packets(lambda wire: self._answers(wire, tcp=False)), sock=packets
        )
        server = await asyncio.start_server(self._converse, sock=streams)
        ready.set()
        await self._stop.wait()
        datagrams.close()
        # Accept no more, and let what is half accepted become a conversation: a closed asyncio
        # server loses the sockets it is still to make transports of.
        _ = self._loop.remove_reader(streams)
        accepting = asyncio.all_tasks() - self._conversations - {asyncio.current_task()}
        if accepting:
            # One of them may be a conversation that is about to begin, and would not end.
            _ = await asyncio.wait(accepting, timeout=0.5)
        server.close()
        await _gone()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection by TCP: each message behind its length (RFC 1035 §4.2.2)."""
        task = asyncio.current_task()
        self._conversations.add(task)
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                seconds, answers = self._answers(await reader.readexactly(length), tcp=True)
                await asyncio.sleep(seconds)
                if not answers:
                    return
                for wire in answers:
                    writer.write(struct.pack("!H", len(wire)) + wire)
                await writer.drain()
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # Whoever asked is gone, or we are.
        finally:
            writer.close()
            self._conversations.discard(task)

    def _answers(self, wire: bytes, *, tcp: bool) -> tuple[float, list[bytes]]:
        """What is said to a question, and after how many seconds."""
        try:
            query = module("message").from_wire(wire)
            asked = query.question[0]
        except (module("exception").DNSException, IndexError):
            return 0.0, []
        name = str(asked.name.to_text(omit_final_dot=True)).lower()
        kind = str(module("rdatatype").to_text(asked.rdtype))
        self.packets[name, kind] += 1
        fault = self._strike(name, kind)
        does = None if fault is None else fault.does
        spoken = self._known.answer(name, kind)
        said = Said(query, name, spoken, is_authority=bool(self._signed), tcp=tcp)
        seconds = fault.seconds if fault is not None and does is Misanswer.LATE else 0.0
        return seconds, list(said.messages(does))

    def _strike(self, name: str, type: str) -> NameFault | None:
        for fault in self._faults:
            is_over = fault.times is not None and self._strikes[fault] >= fault.times
            if not is_over and _is_about(fault, name, type):
                self._strikes[fault] += 1
                return fault
        return None


class _Packets(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], tuple[float, list[bytes]]]) -> None:
        self._answer = answer
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        seconds, answers = self._answer(data)
        loop = asyncio.get_running_loop()
        for wire in answers:
            _ = loop.call_later(seconds, self._send, wire, addr)

    def _send(self, wire: bytes, address: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(wire, address)


def _is_about(fault: NameFault, name: str, type: str) -> bool:
    return fnmatchcase(name, fault.name) and fnmatchcase(type, fault.type)


async def _gone() -> None:
    """Wait until the conversations that are cancelled have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        _ = task.cancel()
    _ = await asyncio.gather(*others, return_exceptions=True)


def _names(argument: str, given: Any) -> tuple[str, ...]:
    found: Any = list(cast("Iterator[object]", given)) if isinstance(given, Iterator) else given
    _checks.each(argument, found, "str", str)
    names = tuple(str(each).lower().rstrip(".") for each in found)
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{argument}: {_checks.shown(name)} is no name of the DNS")
    return names


def _faults(given: Iterable[NameFault]) -> list[NameFault]:
    found = list(given) if isinstance(given, Iterator) else given
    _checks.each("faults", found, "NameFault", NameFault)
    return list(found)
