"""A DNS server on loopback that says what it is told, and goes wrong as it is told."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from enum import Enum
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Fault(Enum):
    """What is wrong with an answer."""

    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    NOTIMP = "NOTIMP"
    FORMERR = "FORMERR"
    YXDOMAIN = "YXDOMAIN"
    SERVFAIL_ONCE = "SERVFAIL once"
    SILENCE = "silence"
    TRUNCATED = "truncated by UDP"
    TRUNCATED_NO_TCP = "truncated by UDP, and TCP is closed at once"
    GARBAGE = "garbage"
    GARBAGE_FIRST = "garbage, then the answer"
    WRONG_ID_FIRST = "another id, then the answer"
    WRONG_QUESTION = "another question"
    ALIAS_LOOP = "an alias of itself"


class NameServer:
    """Serves a zone given as lines of presentation format; a context.

    Names in `insecure` are answered without AD; all others are vouched for.
    """

    def __init__(
        self,
        zone: str,
        *,
        insecure: tuple[str, ...] = (),
        faults: dict[tuple[str, str], Fault] | None = None,
    ) -> None:
        self._records: dict[tuple[str, str], dns.rrset.RRset] = {}
        self._names: set[str] = set()
        for line in filter(None, map(str.strip, zone.splitlines())):
            name, kind, data = line.split(None, 2)
            name = name.lower()
            known = self._records.get((name, kind))
            if known is None:
                rrset = dns.rrset.from_text(f"{name}.", 300, "IN", kind, data)
                self._records[name, kind] = rrset
            else:
                known.add(dns.rrset.from_text(f"{name}.", 300, "IN", kind, data)[0])
            # What is above a name exists, too.
            labels = name.split(".")
            self._names |= {".".join(labels[place:]) for place in range(len(labels))}
        self._insecure = insecure
        self._faults = faults or {}
        self._lock = threading.Lock()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.packets: Counter[tuple[str, str]] = Counter()
        self._struck: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        for _ in range(20):
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp.bind(("127.0.0.1", 0))
            self.port = self._udp.getsockname()[1]
            self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                self._tcp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self._udp.close()
                self._tcp.close()
        self._tcp.listen(64)
        self._tcp.settimeout(0.1)
        self._udp.settimeout(0.1)
        self._is_stopping = False
        self._threads = [threading.Thread(target=run) for run in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_stopping = True
        # Neither of the two has to wait for its time to be up.
        self._udp.sendto(b"", self._udp.getsockname())
        socket.create_connection(self._tcp.getsockname()).close()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while not self._is_stopping:
            try:
                wire, peer = self._udp.recvfrom(4096)
            except OSError:
                continue
            if not wire:
                continue
            for answer in self._answers(wire, tcp=False):
                self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while not self._is_stopping:
            try:
                connected, _ = self._tcp.accept()
            except OSError:
                continue
            with connected:
                connected.settimeout(2)
                try:
                    length = struct.unpack("!H", connected.recv(2, socket.MSG_WAITALL))[0]
                    wire = connected.recv(length, socket.MSG_WAITALL)
                    for answer in self._answers(wire, tcp=True):
                        connected.sendall(struct.pack("!H", len(answer)) + answer)
                except (OSError, struct.error):
                    pass

    def _answers(self, wire: bytes, *, tcp: bool) -> list[bytes]:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        with self._lock:
            self.packets[name, kind] += 1
            self.asked[name, kind] = 1
            is_first = (name, kind) not in self._struck
            self._struck.add((name, kind))
        fault = self._faults.get((name, kind))
        response = self._response(query, name, kind)
        match fault:
            case None:
                return [response.to_wire()]
            case Fault.SILENCE:
                return []
            case Fault.GARBAGE:
                return [b"\x00garbage"]
            case Fault.GARBAGE_FIRST:
                return [b"\x00garbage", response.to_wire()]
            case Fault.WRONG_ID_FIRST:
                right = response.to_wire()
                return [bytes([right[0] ^ 1]) + right[1:], right]
            case Fault.WRONG_QUESTION:
                other = dns.message.make_query("elsewhere.example.", kind)
                other.id = query.id
                return [dns.message.make_response(other).to_wire()]
            case Fault.TRUNCATED if tcp:
                return [response.to_wire()]
            case Fault.TRUNCATED_NO_TCP if tcp:
                return []
            case Fault.TRUNCATED | Fault.TRUNCATED_NO_TCP:
                short = dns.message.make_response(query)
                short.flags |= dns.flags.TC
                return [short.to_wire()]
            case Fault.ALIAS_LOOP:
                looping = dns.message.make_response(query)
                looping.answer = [
                    dns.rrset.from_text(f"{name}.", 300, "IN", "CNAME", f"also.{name}."),
                    dns.rrset.from_text(f"also.{name}.", 300, "IN", "CNAME", f"{name}."),
                ]
                return [looping.to_wire()]
            case Fault.SERVFAIL_ONCE if not is_first:
                return [response.to_wire()]
            case _:
                failed = dns.message.make_response(query)
                failed.set_rcode(dns.rcode.from_text(fault.value.split()[0]))
                return [failed.to_wire()]

    def _response(self, query: dns.message.Message, name: str, kind: str) -> dns.message.Message:
        response = dns.message.make_response(query)
        secure = True
        for _ in range(20):
            secure = secure and name not in self._insecure
            found = self._records.get((name, kind))
            alias = self._records.get((name, "CNAME"))
            if found is not None:
                response.answer.append(found)
                break
            if alias is None:
                if name not in self._names:
                    response.set_rcode(dns.rcode.NXDOMAIN)
                break
            response.answer.append(alias)
            name = alias[0].target.to_text(omit_final_dot=True).lower()
        if secure and query.flags & dns.flags.AD:
            response.flags |= dns.flags.AD
        return response
